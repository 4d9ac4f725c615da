"""A planted vignette is found in a sample and taken out of images, exactly and in any order."""

import json

import numpy as np
import pytest

from fieldwork import InputError, synthetic
from fieldwork.detection import illumination
from fieldwork.detection.illumination import Correction, StoredFunction

SHAPE = (240, 320)


def vignette(shape=SHAPE, *, corners=0.6, power=1):
    """Return light of 1 in the centre, falling off to the corners with an even power of the distance."""
    rows, columns = np.linspace(-1, 1, shape[0])[:, None], np.linspace(-1, 1, shape[1])
    return 1 - (1 - corners) * ((rows**2 + columns**2) / 2) ** power


def fields(count, *, nuclei=6, shape=SHAPE, light=None, kind=np.uint16, seed=0):
    light = vignette(shape) if light is None else light
    rng = np.random.default_rng(seed)
    return [(synthetic.plant_field(rng, shape=shape, count=nuclei)[0] * light).astype(kind) for _ in range(count)]


def function_of(images):
    cells = np.stack([illumination.cell_sums(image) for image in images])
    return illumination.function_of(illumination.light_of(cells), images[0].shape)


def corner_shares(corrected, share=8):
    """Return the means of the corners as shares of that of the centre."""
    height, width = (length // share for length in corrected.shape)
    corners = [
        corrected[rows, columns]
        for rows in (slice(height), slice(-height, None))
        for columns in (slice(width), slice(-width, None))
    ]
    middle = corrected[3 * height : -3 * height, 3 * width : -3 * width]
    return [corner.mean() / middle.mean() for corner in corners]


@pytest.mark.parametrize(
    ("count", "nuclei", "shape", "power"),
    [(24, 6, SHAPE, 1), (24, 6, SHAPE, 2), (96, 15, SHAPE, 1), (24, 40, (512, 640), 1), (40, 40, (512, 640), 2)],
)
def test_a_planted_vignette_is_corrected_in_every_corner(count, nuclei, shape, power):
    light = vignette(shape, power=power)
    function = function_of(fields(count, nuclei=nuclei, shape=shape, light=light))
    assert function.dtype == np.float32 and function.shape == shape and function.min() == 1
    assert max(corner_shares(light)) < 0.75 or power > 1
    assert all(0.97 < share < 1.03 for share in corner_shares(light / function))
    assert np.percentile(light / function, 1) / np.percentile(light / function, 99) > 0.95


def test_light_that_falls_from_one_side_and_a_shape_with_a_rest_of_cells_are_corrected():
    shape = (203, 331)
    light = np.broadcast_to(np.linspace(0.5, 1, shape[1]) ** 2, shape)
    function = function_of(fields(24, shape=shape, light=light))
    assert max(light[0] / function[0]) / min(light[0] / function[0]) < 1.03


def test_even_light_is_left_as_it_is():
    function = function_of(fields(24, light=np.ones(SHAPE)))
    assert function.min() == 1 and function.max() < 1.03


def test_the_order_of_images_changes_no_bit():
    images = fields(24)
    expected = function_of(images)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(images))
        np.testing.assert_array_equal(function_of([images[number] for number in order]), expected)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_every_type_of_image_has_the_same_light(kind):
    images = fields(24)
    if kind == np.uint8:
        images = [np.minimum(image // 16, 255) for image in images]
    function = function_of([image.astype(kind) for image in images])
    np.testing.assert_allclose(function, function_of(images), rtol=1e-6)
    shares = corner_shares(vignette() / function)
    assert all(0.97 < share < 1.03 for share in shares)


def test_a_black_ground_leaves_the_mean_of_all_images():
    images = [np.where(image > 500, image, 0) for image in fields(96, nuclei=25)]
    cells = np.stack([illumination.cell_sums(image) for image in images])
    light = illumination.light_of(cells)
    assert light.source == "the mean of all" and illumination.function_of(light, SHAPE).max() < 10.01
    assert illumination.light_of(np.zeros((3, 8, 8), np.int64)) is None
    assert (illumination.function_of(None, SHAPE) == 1).all()


def test_cells_hold_the_sums_of_their_pixels():
    image = np.random.default_rng(0).integers(0, 2**16, (200, 260)).astype(np.uint16)
    sums = illumination.cell_sums(image)
    assert sums.dtype == np.int64 and sums.shape == (66, 86)
    np.testing.assert_array_equal(sums, image[:198, :258].astype(int).reshape(66, 3, 86, 3).sum(axis=(1, 3)))


def test_two_halves_of_a_sample_say_how_uncertain_it_is():
    few, many = (
        illumination.uncertainty_of(np.stack(list(map(illumination.cell_sums, fields(count, nuclei=15)))))
        for count in (4, 48)
    )
    assert many < 0.02 < few
    assert illumination.uncertainty_of(illumination.cell_sums(fields(1)[0])[None]) is None


def stored(folder, function, name="DNA"):
    path = folder / f"{name}.npy"
    np.save(path, function)
    return StoredFunction(str(path), illumination.digest_of(path))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.uint32, np.float32, np.float64])
def test_an_image_is_divided_in_its_own_unit_and_integers_are_measured_by_their_types_maximum(tmp_path, kind):
    function = (1 / vignette()).astype(np.float32)
    correction = Correction("DNA", None, {"DNA": stored(tmp_path, function)})
    image = np.random.default_rng(0).integers(0, 127, SHAPE).astype(kind)
    corrected = illumination.correct(image, "DNA", correction)
    np.testing.assert_allclose(corrected, image.astype(float) / function, rtol=1e-6)
    assert corrected.dtype == (np.float64 if kind == np.float64 else np.float32)
    scale = np.iinfo(kind).max if np.dtype(kind).kind in "iu" else 1
    measured = illumination.in_measured_unit(corrected, image)
    np.testing.assert_allclose(measured, image.astype(float) / function / scale, rtol=1e-6)
    assert illumination.correct(image, "DNA", Correction()) is image
    assert illumination.in_measured_unit(image, image) is image


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("percentile", [0, 1, 30, 99.9])
def test_a_background_is_a_percentile_and_nothing_falls_below_0(kind, percentile):
    image = np.random.default_rng(1).integers(3, 127, (50, 60)).astype(kind)
    if np.dtype(kind).kind == "i":
        image[0] = np.iinfo(kind).min
        image[1] = np.iinfo(kind).max
    level = int(np.sort(image, axis=None)[max(0, int(np.ceil(percentile / 100 * image.size)) - 1)])
    highest = np.iinfo(kind).max if np.dtype(kind).kind in "iu" else np.inf
    corrected = illumination.correct(image, "DNA", Correction("DNA", percentile))
    assert corrected.dtype == kind
    np.testing.assert_array_equal(corrected, np.clip(image.astype(float) - level, 0, highest))


def test_pixels_that_are_no_numbers_stay_so(tmp_path):
    image = np.ones(SHAPE, np.float32)
    image[3, 4] = np.nan
    correction = Correction("DNA", 20, {"DNA": stored(tmp_path, np.ones(SHAPE, np.float32))})
    assert np.isnan(illumination.correct(image, "DNA", correction)[3, 4])


def test_an_image_without_a_function_of_its_size_is_not_corrected(tmp_path):
    correction = Correction("DNA", None, {"DNA": stored(tmp_path, np.ones(SHAPE, np.float32))})
    with pytest.raises(illumination.UncorrectedError, match="found 239 x 320 px, .* function has 240 x 320 px"):
        illumination.correct(np.zeros((239, 320)), "DNA", correction)
    with pytest.raises(illumination.UncorrectedError, match="no image of it in the plate's sample could be read"):
        illumination.correct(np.zeros(SHAPE), "Actin", correction)


def test_a_record_counts_with_the_functions_that_it_names_alone(tmp_path):
    function = stored(tmp_path, np.ones(SHAPE, np.float32))
    record = tmp_path / "functions.json"
    channels = {"DNA": {"file": "DNA.npy", "digest": function.digest}, "Actin": {"file": None, "digest": None}}
    record.write_text(json.dumps({"channels": channels}))
    assert illumination.correction_of("DNA", 1, record) == Correction("DNA", 1, {"DNA": function})
    assert illumination.correction_of("DNA", None, None) == Correction("DNA", None, None)
    stored(tmp_path, 2 * np.ones(SHAPE, np.float32))
    with pytest.raises(InputError, match="is not the function that .* names; delete the folder"):
        illumination.correction_of("DNA", None, record)
    (tmp_path / "DNA.npy").unlink()
    with pytest.raises(InputError, match="there is no function that .* names"):
        illumination.correction_of("DNA", None, record)
