"""Detection against scikit-image's own functions, and against blobs whose place and height are known."""

import cv2
import numpy as np
import pytest
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import gaussian

from fieldwork import nuclei
from fieldwork.nuclei import detect_nuclei, intensities_at

REPEATS = 5  # fields of each kind and dtype: 7 x 10 x 5 = 350; 29 makes 2,030
DTYPES = ["bool", "uint8", "uint16", "int16", "uint32", "int64", "float16", "float32", "float64", "longdouble"]


def blobs(rng, *, count, shape=(150, 210)):
    """Gaussian blobs of height 0.4 to 1.3 at any place, overlapping too, on a noisy ground."""
    image = np.zeros(shape)
    image[rng.integers(shape[0], size=count), rng.integers(shape[1], size=count)] = rng.uniform(60, 200, count)
    return ndimage.gaussian_filter(image, 5) + rng.normal(0.05, 0.01, shape)


KINDS = {
    "sparse": lambda rng: blobs(rng, count=15),
    "dense": lambda rng: blobs(rng, count=600) / 3,
    "saturated": lambda rng: np.minimum(blobs(rng, count=60), 0.5),  # nearly every nucleus is flat on top
    "noise": lambda rng: rng.uniform(0, 1, (150, 210)),
    "alike": lambda rng: ndimage.gaussian_filter(
        (rng.random((150, 210)) > 0.997) * 150.0, 5
    ),  # no noise: equal heights
    "below zero": lambda rng: blobs(rng, count=60) - 0.3,
    "ties": lambda rng: np.tile(blobs(rng, count=3, shape=(50, 42)), (3, 5)),  # each maximum several times
}


def as_dtype(image, dtype):
    scale = {"bool": 1, "uint8": 255, "uint16": 12000, "int16": 12000, "uint32": 200000, "int64": 2**40}.get(
        dtype, 5000
    )
    if dtype == "bool":
        return image > np.median(image) + image.std()
    limits = {"uint8": (0, 255), "uint16": (0, 65535), "uint32": (0, None)}.get(dtype, (None, None))
    return (image * scale).clip(*limits).astype(dtype)


class Numpy:
    """NumPy and SciPy in the place of CuPy."""

    xp, ndimage, to_host = np, ndimage, staticmethod(np.asarray)


def candidates_by_arrays(image, *, magnitude, **options):
    """Find candidates as on a GPU."""
    return nuclei._candidates_on(Numpy, image[np.newaxis], magnitudes=[magnitude], **options)[0]


def detect_by_arrays(image, **options):
    """Find nuclei as with a GPU."""
    return nuclei._detect_among(candidates_by_arrays, image, **options)


WAYS = pytest.mark.parametrize("detect", [detect_nuclei, detect_by_arrays], ids=["opencv", "arrays"])


def reference(image, *, sigma=4, min_distance=6, threshold_abs=1000):
    smoothed = gaussian(image, sigma, preserve_range=True)
    return peak_local_max(smoothed, min_distance=min_distance, threshold_abs=threshold_abs)


@WAYS
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_peaks_are_scikit_images_in_its_order(kind, dtype, detect):
    total = 0
    for repeat in range(REPEATS):
        rng = np.random.default_rng([list(KINDS).index(kind), DTYPES.index(dtype), repeat])
        image = as_dtype(KINDS[kind](rng), dtype)
        sigma, min_distance = (4, 2.5, 1, 6, 0.7)[repeat % 5], (6, 3, 1, 10)[repeat % 4]
        threshold = float(np.quantile(image.astype(float), rng.uniform(0.1, 0.6)))
        options = {"sigma": sigma, "min_distance": min_distance, "threshold_abs": threshold}
        expected = reference(image, **options)
        total += len(expected)
        np.testing.assert_array_equal(detect(image, **options), expected)
    assert total >= 10 * REPEATS


@WAYS
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("kind", ["sparse", "dense", "noise", "alike", "below zero"])
def test_common_fields_are_done_without_scikit_image(kind, dtype, monkeypatch, detect):
    image = as_dtype(KINDS[kind](np.random.default_rng(8)), dtype)
    threshold = float(np.quantile(image.astype(float), 0.3))
    expected = reference(image, threshold_abs=threshold)
    monkeypatch.setattr(nuclei, "_by_scikit_image", None)
    np.testing.assert_array_equal(detect(image, threshold_abs=threshold), expected)
    assert len(expected) > 5


@pytest.mark.parametrize("at_once", [1, 1000, nuclei.GATHERED_PX])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_candidates_of_a_batch_are_those_of_each_image(dtype, at_once, monkeypatch):
    monkeypatch.setattr(nuclei, "GATHERED_PX", at_once)
    options = {"sigma": 4, "min_distance": 6, "threshold_abs": 10}
    images = np.stack([as_dtype(KINDS[kind](np.random.default_rng(3)), dtype) for kind in KINDS])
    images[2] = images[2].max()  # a plateau: too many
    images[5] = 0
    magnitudes = [float(np.abs(image).max()) for image in images] if dtype == "float32" else [None] * len(images)
    batch = nuclei._candidates_on(Numpy, images, magnitudes=magnitudes, **options)
    counts = []
    for image, magnitude, candidates in zip(images, magnitudes, batch, strict=True):
        alone = candidates_by_arrays(image, magnitude=magnitude, **options)
        by_opencv = nuclei.candidates_by_opencv(image, magnitude=magnitude, **options)
        counts.append(None if candidates is None else len(candidates.coordinates))
        assert (candidates is None) == (alone is None) == (by_opencv is None)
        for array, other in zip(candidates or (), alone or (), strict=True):
            assert array.dtype == other.dtype
            np.testing.assert_array_equal(array, other)
        if candidates:
            np.testing.assert_allclose(candidates.heights, by_opencv.heights, rtol=1e-5)
            np.testing.assert_array_equal(candidates.coordinates, by_opencv.coordinates)
    assert counts[2] is None and counts[5] == 0 and sum(count or 0 for count in counts) > 100


@pytest.mark.parametrize("sigma", [0.7, 4, 25])
@pytest.mark.parametrize("kind", ["sparse", "saturated", "noise", "below zero"])
def test_opencv_keeps_to_the_error_bound(kind, sigma):
    image = as_dtype(KINDS[kind](np.random.default_rng(2)), "float32")
    kernel = nuclei._kernel(sigma)
    found = cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    exact = ndimage.gaussian_filter(image.astype(float), sigma, mode="nearest")
    bound = (2 * len(kernel) + 10) * 2.0**-24
    off = np.abs(found - exact)
    assert off.max() > 0
    assert (off <= bound * np.abs(image).max()).all()
    assert image.min() < 0 or (off <= bound * exact).all()


@WAYS
@pytest.mark.parametrize("threshold", [0, -1, 1e-30, -1e-50, np.inf, -np.inf, None])
@pytest.mark.parametrize("dtype", ["uint16", "float32", "float64"])
def test_odd_thresholds_and_black_grounds(threshold, dtype, detect):
    image = as_dtype(np.maximum(blobs(np.random.default_rng(4), count=30) - 0.1, 0), dtype)
    image[:60] = 0
    np.testing.assert_array_equal(detect(image, threshold_abs=threshold), reference(image, threshold_abs=threshold))


@WAYS
@pytest.mark.parametrize("height", [1e-44, 1e-30, 1e-12, 1e12, 1e31, 1e300])
def test_very_small_and_very_large_numbers(height, detect):
    image = blobs(np.random.default_rng(6), count=60).clip(0) * height
    expected = reference(image, threshold_abs=0.1 * height)
    assert len(expected) > 10
    np.testing.assert_array_equal(detect(image, threshold_abs=0.1 * height), expected)


@pytest.mark.parametrize("options", [{"sigma": (4, 2)}, {"sigma": 0}, {"min_distance": 0}, {"sigma": np.float32(3)}])
def test_other_arguments_that_scikit_image_takes(options):
    image = as_dtype(blobs(np.random.default_rng(7), count=60), "uint16")
    np.testing.assert_array_equal(detect_nuclei(image, **options), reference(image, **options))


@WAYS
def test_many_small_plateaus_neither_fill_the_memory_nor_differ(detect):
    image = np.zeros((400, 500), "uint8")
    image[::8, ::8] = image[::8, 1::8] = 200
    options = {"sigma": 0.5, "min_distance": 1, "threshold_abs": 10}
    expected = reference(image, **options)
    assert len(expected) > 2000
    np.testing.assert_array_equal(detect(image, **options), expected)


@WAYS
def test_a_threshold_and_a_height_that_only_float64_tells_apart(detect):
    image = as_dtype(blobs(np.random.default_rng(1), count=60), "uint16")
    smoothed = gaussian(image, 4, preserve_range=True)
    for row, column in reference(image):
        height = smoothed[row, column]
        for threshold in (np.nextafter(height, 0), height, np.nextafter(height, np.inf)):
            expected = reference(image, threshold_abs=threshold)
            np.testing.assert_array_equal(detect(image, threshold_abs=threshold), expected)


@pytest.mark.parametrize("apart", [5, 30])
def test_what_float64_tells_apart_is_done_without_scipy(apart, monkeypatch):
    image = np.zeros((100, 200), "uint32")  # two peaks in one square (one loses), or two to be put in order
    image[50, 80], image[50, 80 + apart] = 10**9, 10**9 + 1
    expected = reference(image, sigma=1.5)
    in_float64, calls = nuclei._in_float64, []
    monkeypatch.setattr(nuclei, "_in_float64", lambda *args: calls.append(args) or in_float64(*args))
    monkeypatch.setattr(nuclei, "_by_scipy", None)
    np.testing.assert_array_equal(detect_nuclei(image, sigma=1.5), expected)
    assert len(expected) == 1 + (apart > 6)
    assert calls


@pytest.mark.parametrize("difference", [1e-16, 1e-15, 1e-14, 1e-13, 1e-12, 1e-9])
@pytest.mark.parametrize("apart", [4, 25, 70])
def test_two_nuclei_that_are_nearly_as_bright(apart, difference):
    blob = 5000 * np.exp(-((np.arange(-30, 31) / 3) ** 2)[:, None] - (np.arange(-30, 31) / 3) ** 2)
    image = np.full((100, 200), 300.0)
    image[20:81, 30:91] += blob
    image[20:81, 30 + apart : 91 + apart] += blob * (1 + difference)
    for turned in (image, image[:, ::-1]):
        expected = reference(turned, sigma=1.5)
        assert 1 <= len(expected) <= 2
        np.testing.assert_array_equal(detect_nuclei(turned, sigma=1.5), expected)


def test_defaults_are_those_of_the_contract():
    image = as_dtype(blobs(np.random.default_rng(3), count=60) / 6, "uint16")
    expected = reference(image, sigma=4, min_distance=6, threshold_abs=1000)
    assert 20 < len(expected) < len(reference(image, threshold_abs=0))  # so that the threshold matters
    np.testing.assert_array_equal(detect_nuclei(image), expected)


@WAYS
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (5, 7), (13, 13), (14, 13), (15, 15), (30, 12)])
@pytest.mark.parametrize("sigma", [0.2, 1, 4])
@pytest.mark.parametrize("constant", [True, False])
def test_small_and_constant_images_give_scikit_images_answer(shape, constant, sigma, detect):
    image = np.full(shape, 4000, "uint16")
    if not constant:
        image[shape[0] // 2, shape[1] // 2] = 60000
    expected = reference(image, sigma=sigma)
    if min(shape) > 1:  # a peak keeps 6 px from every border: only from 13 px on there is room for one
        assert len(expected) == (not constant and min(shape) >= 13)
    found = detect(image, sigma=sigma)
    np.testing.assert_array_equal(found, expected)
    assert found.shape == (len(expected), 2) and found.dtype.kind == "i"


@pytest.mark.parametrize("value", [0, 5000, 65535])
def test_a_constant_field_has_no_nuclei(value):
    assert detect_nuclei(np.full((80, 90), value, "uint16")).shape == (0, 2)


@pytest.mark.parametrize(
    "view",
    [
        lambda image: image.T,
        lambda image: image[::-1, ::-1],
        lambda image: image[::2, 1::2],
        lambda image: np.asfortranarray(image),
        lambda image: image.astype(">u2"),
        lambda image: np.stack([image, image // 2], axis=-1)[..., 0],
    ],
    ids=["transposed", "reversed", "strided", "fortran", "big-endian", "of-colours"],
)
def test_memory_layout_does_not_matter_and_the_image_is_not_touched(view):
    image = view(as_dtype(blobs(np.random.default_rng(9), count=200, shape=(240, 300)), "uint16"))
    before = image.copy()
    image.setflags(write=False)
    expected = reference(np.array(image, dtype="uint16", order="C"))
    assert len(expected) > 10
    np.testing.assert_array_equal(detect_nuclei(image), expected)
    np.testing.assert_array_equal(image, before)


def test_planted_blobs_are_found_brightest_first_with_their_smoothed_height():
    planted = {(30, 41): 9000, (60, 20): 15000, (75, 110): 3000}  # (row, column): height, sigma 5
    rows, columns = np.mgrid[:100, :150]
    image = sum(h * np.exp(-((rows - r) ** 2 + (columns - c) ** 2) / 50) for (r, c), h in planted.items())
    coordinates = detect_nuclei(image, threshold_abs=500)
    intensities = intensities_at(coordinates, image, sigma=4)
    assert coordinates.tolist() == [[60, 20], [30, 41], [75, 110]]
    # a Gaussian of variance 25 smoothed by one of variance 16 keeps 25 / 41 of its height
    np.testing.assert_allclose(intensities, np.array([15000, 9000, 3000]) * 25 / 41, rtol=2e-3)
    assert len(detect_nuclei(image, threshold_abs=3000 * 25 / 41 + 50)) == 2


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_intensities_are_the_smoothed_images_at_the_peaks(dtype):
    image = as_dtype(blobs(np.random.default_rng(5), count=100), dtype)
    coordinates = detect_nuclei(image, sigma=3, min_distance=5, threshold_abs=20)
    intensities = intensities_at(coordinates, image, sigma=3)
    smoothed = ndimage.gaussian_filter(image.astype("float64"), 3, mode="nearest")
    assert len(coordinates) > 20 and intensities.dtype == np.float64
    np.testing.assert_allclose(intensities, smoothed[coordinates[:, 0], coordinates[:, 1]], rtol=1e-12)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_one_odd_number_is_refused(odd):
    image = np.ones((50, 50), "float32")
    image[49, 0] = odd
    with pytest.raises(ValueError, match="NaN or infinity"):
        detect_nuclei(image)


@pytest.mark.parametrize("shape", [(), (50,), (0, 0), (0, 50), (50, 0), (50, 50, 3), (1, 50, 50)])
def test_what_is_no_plane_of_pixels_is_refused_by_its_shape(shape):
    with pytest.raises(ValueError, match="2-D.*found shape " + str(shape).replace("(", r"\(").replace(")", r"\)")):
        detect_nuclei(np.ones(shape))
