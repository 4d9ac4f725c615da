"""Images that hold nothing, or no image at all: no nuclei, or an error that names what was found."""

import numpy as np
import pytest

from accuracy import generated
from fieldwork.segmentation import Calibration, calibrate, measure_sample, segment_field, segment_nuclei

pytestmark = pytest.mark.usefixtures("detector")  # both, one after the other
PLATE = Calibration(diameter=20.0, contrast=1500.0, noise=11.0)


@pytest.mark.parametrize(
    "image, reason",
    [
        (np.full((40, 50), np.nan), "NaN or infinite"),
        (np.where(np.arange(2000).reshape(40, 50) == 7, np.nan, 1.0), "NaN or infinite"),
        (np.where(np.arange(2000).reshape(40, 50) == 7, np.inf, 1.0).astype(np.float32), "NaN or infinite"),
        (np.where(np.arange(2000).reshape(40, 50) == 7, -np.inf, 1.0), "NaN or infinite"),
        (np.zeros((0, 50), np.uint16), "shape"),
        (np.zeros((40, 50, 3), np.uint8), "shape"),
        (np.zeros(40, np.uint8), "shape"),
        (np.zeros((40, 50), complex), "type complex128"),
        (np.zeros((40, 50), object), "type object"),
    ],
)
def test_what_is_no_image_is_refused_with_what_was_found(image, reason):
    for function in (measure_sample, lambda image: segment_nuclei(image, PLATE)):
        with pytest.raises(ValueError, match=reason) as caught:
            function(image)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 2), (3, 500), (17, 19)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "bool"])
def test_small_images_are_segmented(shape, dtype):
    image = (np.arange(shape[0] * shape[1]).reshape(shape) % 2).astype(dtype)
    for calibration in (None, PLATE, PLATE._replace(diameter=7.0), PLATE._replace(diameter=300.0)):
        labels = segment_nuclei(image, calibration)
        assert labels.shape == shape
        assert labels.dtype == np.int32


@pytest.mark.parametrize("value", [0, 7, 255, 65535, -3, 0.25, 1e30, -1e-30])
def test_constant_images_hold_nothing(value):
    image = np.full((120, 130), value)
    assert calibrate([image]).diameter is None
    assert segment_nuclei(image, PLATE).max() == 0
    assert segment_nuclei(image).max() == 0


def test_a_sample_of_no_images_has_no_nuclei():
    assert calibrate([]).diameter is None


def test_without_a_diameter_nothing_is_looked_for():
    image, _ = generated.planted_field(1, shape=(260, 348), count=20)
    nothing = Calibration(diameter=None, contrast=None, noise=3.0)
    result = segment_field(image, nothing)
    assert result.labels.max() == 0
    assert result.threshold is None


def test_intensities_of_any_size_are_segmented():
    image, truth = generated.planted_field(1, shape=(260, 348), count=20)
    for values in (image * 1e30, image * 1e-30, image.astype(np.uint64) * 2**40, image.astype(np.int64) * -1 + 2**20):
        assert segment_nuclei(values).shape == image.shape
    assert segment_nuclei(image * 1e30).max() == segment_nuclei(image * 1e-30).max() == truth.max()


@pytest.mark.parametrize(
    "dtype, span", [("float32", 6e38), ("float32", 1e-41), ("float64", 8e307), ("float64", 1e-317)]
)
def test_floats_at_the_ends_of_their_range_are_segmented(dtype, span):
    image, truth = generated.planted_field(1, shape=(260, 348), count=20)
    values = image / image.max() * span - (span / 2 if span > 1 else 0)
    with np.errstate(all="raise", under="ignore"):
        assert segment_nuclei(values.astype(dtype)).max() == truth.max()


def test_a_span_that_no_float_holds_is_refused():
    with pytest.raises(ValueError, match="expected a span that a float holds"):
        measure_sample(np.array([[-1.7e308, 1.7e308]]))


@pytest.mark.parametrize("contrast", [1e-300, 1e-9, 1e9, 1e300])
@pytest.mark.parametrize("diameter", [1e-9, 8, 20, 348, 1e4, 1e300])
def test_calibrations_that_fit_no_image_raise_nothing_and_overflow_nowhere(detector, diameter, contrast):
    image, _ = generated.planted_field(1, shape=(260, 348), count=20)
    with np.errstate(all="raise", under="ignore"):
        result = segment_field(image, Calibration(float(diameter), contrast, 10.0))
    assert result.labels.shape == image.shape
    assert np.isfinite(result.threshold)
    if contrast > 1e6 or diameter >= 348 and detector == "classical":  # of a network nothing is known there
        assert result.labels.max() == 0


def test_nuclei_that_the_border_cuts_are_outlined():
    rows, columns = np.mgrid[:200, :260]
    image = np.zeros((200, 260))
    for centre in ((0, 40), (100, 0), (199, 130), (100, 259), (0, 259), (100, 130), (50, 200)):
        image += np.hypot(rows - centre[0], columns - centre[1]) < 12
    field = (100 + 2000 * generated.smooth(image, 1)).astype(np.uint16)
    labels = segment_nuclei(field + np.random.default_rng(0).integers(0, 20, field.shape, np.uint16))
    assert labels.max() == 7
    assert labels[0, 40] and labels[100, 0] and labels[199, 130] and labels[100, 259] and labels[0, 259]
