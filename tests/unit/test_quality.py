"""The image quality figures against a slow transcription of CellProfiler's definitions."""

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

from fieldwork import quality
from workspace import REPOSITORY, SCRIPTS


def reference(image):
    """Compute CellProfiler 4's figures with NumPy and loops: no caches, no corners, no histograms."""
    image = image.astype(np.float64)
    rows, columns = image.shape
    power = np.abs(np.fft.fft2(image - image.mean())) ** 2
    squares = np.array([[i**2 + j**2 for j in range(columns)] for i in range(rows)])
    squares = np.minimum(squares, squares[::-1])  # mirrored about (n - 1) / 2, as centrosome does
    squares = np.minimum(squares, squares[:, ::-1])
    radii = 1 + np.floor(np.sqrt(squares))
    labels = [label for label in range(2, min(rows, columns)) if label < min(rows, columns) // 8]
    sums = np.array([power[radii == label].sum() for label in labels])
    slope = 0.0
    if len(labels) > 1 and image.max() > image.min():
        design = np.stack([np.log(labels), np.ones(len(labels))], axis=1)
        slope = np.linalg.lstsq(design, np.log(sums), rcond=None)[0][0]
    figures = (
        slope,
        100 * np.mean(image == image.max()),
        image.mean(),
        np.median(image),
        image.std(),
        image.min(),
        image.max(),
    )
    return dict(zip(quality.COLUMNS, figures, strict=True))


def texture(shape, dtype, seed=1):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return (smooth * 3 - 1).astype(dtype)
    limits = np.iinfo(dtype)
    return (np.minimum(smooth * 1.1, 1) * (float(limits.max) - limits.min) * 0.99 + limits.min).astype(dtype)


@pytest.mark.parametrize(
    "dtype",
    ["uint8", "uint16", "int8", "int16", "uint32", "int32", "uint64", "float16", "float32", "float64"],
)
@pytest.mark.parametrize("shape", [(64, 64), (65, 90), (91, 64), (32, 200), (39, 33)])
def test_every_figure_is_cellprofilers(shape, dtype):
    image = texture(shape, dtype)
    found, expected = quality.measure_image(image), reference(image)
    assert tuple(found) == quality.COLUMNS
    assert all(type(figure) is float for figure in found.values())
    assert abs(expected["PowerLogLogSlope"]) > 0.1
    precision = 1e-3 if dtype == "float16" else 1e-6 if dtype == "float32" else 1e-10
    for column in quality.COLUMNS:
        assert found[column] == pytest.approx(expected[column], rel=precision, abs=1e-12), column


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
@pytest.mark.parametrize("shape", [(48, 50), (47, 51)])  # an even and an odd number of pixels
def test_integer_figures_are_exact(shape, dtype):
    image = np.random.default_rng(7).integers(0, 200, shape).astype(dtype) - np.dtype(dtype).type(
        100 if dtype == "int16" else 0
    )
    found = quality.measure_image(image)
    pixels = [int(value) for value in image.ravel()]
    assert found["MeanIntensity"] == sum(pixels) / len(pixels)
    assert found["MedianIntensity"] == np.median(image)
    assert found["PercentMaximal"] == 100 * pixels.count(max(pixels)) / len(pixels)
    assert (found["MinIntensity"], found["MaxIntensity"]) == (min(pixels), max(pixels))


@pytest.mark.parametrize(
    ("shape", "steep"),
    [((8, 8), False), ((23, 99), False), ((31, 31), False), ((32, 32), True), ((1, 1), False)],
)
def test_an_image_with_fewer_than_two_radii_has_slope_zero(shape, steep):
    slope = quality.measure_image(texture(shape, "uint16") if shape != (1, 1) else np.ones(shape))["PowerLogLogSlope"]
    assert (slope != 0) is steep


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "float32"])
def test_a_constant_image(dtype):
    found = quality.measure_image(np.ones((100, 120), dtype))
    assert list(found.values()) == [0.0, 100.0, 1.0, 1.0, 0.0, 1.0, 1.0]


def test_a_mostly_dark_image_keeps_its_slope():
    image = np.zeros((128, 128), np.uint16)
    image[60:64, 50:57] = 4000  # over half of the pixels are alike: the median deviation that centrosome divides by
    assert np.median(image) == 0
    assert quality.measure_image(image)["PowerLogLogSlope"] == pytest.approx(
        reference(image)["PowerLogLogSlope"], rel=1e-9
    )


def test_blur_makes_the_slope_steeper():
    sharp = np.random.default_rng(3).normal(size=(256, 256))
    slopes = [
        quality.measure_image(ndimage.gaussian_filter(sharp, sigma))["PowerLogLogSlope"] for sigma in (0, 1, 2, 4)
    ]
    assert slopes == sorted(slopes, reverse=True)
    assert slopes[0] > slopes[-1] + 1


@pytest.mark.parametrize("scale", [1e-160, 1e-3, 1e150])
def test_the_slope_has_no_unit(scale):
    image = texture((96, 96), "float64")
    assert quality.measure_image(image * scale)["PowerLogLogSlope"] == pytest.approx(
        quality.measure_image(image)["PowerLogLogSlope"], rel=1e-9
    )


@pytest.mark.parametrize("shape", [(0, 5), (5,), (5, 5, 3)])
def test_what_is_not_an_image_is_refused(shape):
    with pytest.raises(ValueError, match=r"found an image of shape"):
        quality.measure_image(np.zeros(shape))


def test_figures_are_the_same_to_the_bit_in_other_processes_and_layouts():
    image = texture((200, 310), "uint16")
    figures = repr(quality.measure_image(image))
    assert repr(quality.measure_image(np.asfortranarray(image))) == figures
    assert repr(quality.measure_image(np.pad(image, 3)[3:-3, 3:-3])) == figures
    program = "import test_quality as t; print(t.quality.measure_image(t.texture((200, 310), 'uint16')))"
    path = os.pathsep.join([os.path.dirname(__file__), str(REPOSITORY / "tests"), str(SCRIPTS)])
    for threads in ("1", "4"):
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": threads}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert done.stdout.strip() == figures, done.stderr


def test_a_pattern_without_low_frequencies_has_slope_zero():
    board = np.indices((64, 64)).sum(axis=0) % 2 * 2.0 - 1
    assert quality.measure_image(board)["PowerLogLogSlope"] == 0


def test_a_large_image_is_taken_in_parts_to_the_same_figures(monkeypatch):
    image = np.random.default_rng(0).integers(0, 4000, (333, 257), np.uint16)
    expected = quality.measure_image(image)
    monkeypatch.setattr(quality, "PART_PX", 20_000)
    assert quality.measure_image(image) == expected


@pytest.mark.parametrize("scale", [1, 1e200])
def test_contrast_is_that_beyond_the_noise(scale, monkeypatch):
    random = np.random.default_rng(3)
    waves = 40 * np.sin(np.arange(300) / 9)[:, None] * np.sin(np.arange(400) / 7)
    noise = random.normal(500, 100, waves.shape)
    assert quality.contrast(scale * (waves + noise)) == pytest.approx(scale * waves.std(), rel=0.1)
    assert quality.contrast(scale * noise) < scale * 5
    in_one = quality.contrast(scale * (waves + noise))
    monkeypatch.setattr(quality, "PART_PX", 3000)
    assert quality.contrast(scale * (waves + noise)) == pytest.approx(in_one)
    assert quality.contrast(np.full((40, 50), 7, np.uint8)) == 0
