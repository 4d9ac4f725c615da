"""What doesn't change the nuclei doesn't change their labels: types, offsets, units, turns and scales."""

import json

import cv2
import numpy as np
import pytest

from accuracy import agreement, generated
from fieldwork.segmentation import Calibration, calibrate, calibration_of, measure_sample, segment_nuclei

pytestmark = pytest.mark.usefixtures("detector")  # both, one after the other

FIELDS = {
    "sparse": {"count": 30},
    "crowded": {"count": 90, "crowding": 0.8},
    "small nuclei": {"count": 90, "diameter": 9},
}
SHAPE = (260, 347)


@pytest.fixture(params=FIELDS)
def field(request):
    return generated.planted_field(5, shape=SHAPE, **FIELDS[request.param])[0]


SAME_PIXELS = {
    "32-bit integers": lambda image: image.astype(np.int32),
    "32-bit floats": lambda image: image.astype(np.float32),
    "64-bit floats": lambda image: image.astype(np.float64),
    "big endian": lambda image: image.astype(">u2"),
    "column order": np.asfortranarray,
    "a view": lambda image: np.repeat(image, 2, axis=1)[:, ::2],
    "an offset of 1": lambda image: image + np.uint16(1),
    "an offset of half the range": lambda image: image + np.uint16(32768),
    "values below 0": lambda image: image.astype(np.int32) - 5000,
}


@pytest.mark.parametrize("change", SAME_PIXELS)
def test_types_and_offsets_leave_the_same_pixels(field, change):
    expected = segment_nuclei(field)
    assert expected.max() > 20
    np.testing.assert_array_equal(segment_nuclei(SAME_PIXELS[change](field)), expected)


@pytest.fixture(scope="module")
def fields(detector):
    """Return nine planted fields, and the labels of the nuclei in them."""
    images = [
        generated.planted_field(seed, shape=SHAPE, **arguments)[0]
        for seed in (11, 12, 13)
        for arguments in FIELDS.values()
    ]
    return [(image, segment_nuclei(image)) for image in images]


def share_that_pairs(fields, change, back):
    """Return the share of nuclei that have a partner with an overlap of 0.8 in the changed images."""
    changed = [back(segment_nuclei(change(image))) for image, _ in fields]
    shares = [agreement.share_of_pairs(now, labels, 0.8) for now, (_, labels) in zip(changed, fields, strict=True)]
    weights = [int(labels.max()) for _, labels in fields]
    assert sum(weights) > 500
    return np.average(shares, weights=weights)


@pytest.mark.parametrize("factor", [3, 0.001, 1 / 65535])
def test_the_unit_of_intensity_counts_for_nothing(fields, factor):
    assert share_that_pairs(fields, lambda image: image.astype(np.int64) * factor, np.asarray) >= 0.99


TURNS = {
    "upside down": (np.flipud, np.flipud),
    "mirrored": (np.fliplr, np.fliplr),
    "a quarter": (np.rot90, lambda labels: np.rot90(labels, -1)),
    "half": (lambda image: np.rot90(image, 2), lambda labels: np.rot90(labels, 2)),
    "transposed": (np.transpose, np.transpose),
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_image_has_the_same_nuclei(fields, turn):
    assert share_that_pairs(fields, *TURNS[turn]) >= 0.99


@pytest.mark.parametrize("factor", [0.5, 2])
def test_an_image_scaled_by_two_has_as_many_nuclei(factor):
    field, _ = generated.planted_field(6, shape=SHAPE, count=40)
    way = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    scaled = cv2.resize(field, None, fx=factor, fy=factor, interpolation=way)
    assert segment_nuclei(scaled).max() == pytest.approx(segment_nuclei(field).max(), rel=0.05)


def test_labels_are_numbered_in_reading_order_of_their_first_pixels(field):
    labels = segment_nuclei(field)
    values, first = np.unique(labels, return_index=True)
    assert labels.dtype == np.int32
    assert labels.shape == field.shape
    assert values.tolist() == list(range(len(values)))
    assert np.all(np.diff(first[1:]) > 0)


@pytest.mark.parametrize("diameter, count", [(8, 200), (20, 60), (28, 40), (60, 14), (120, 4)])
def test_an_object_is_in_one_piece(diameter, count):
    field, _ = generated.planted_field(5, count=count, diameter=diameter, crowding=0.9, texture=0.25)
    labels = segment_nuclei(field)
    pieces = [cv2.connectedComponents((labels == n).astype(np.uint8))[0] - 1 for n in range(1, labels.max() + 1)]
    assert len(pieces) > count / 2
    assert pieces == [1] * len(pieces)


def test_the_image_is_left_as_it_was(field):
    before = field.copy()
    segment_nuclei(field)
    np.testing.assert_array_equal(field, before)


def test_a_calibration_is_kept_as_json(field):
    calibration = calibrate([field])
    kept = Calibration(**json.loads(json.dumps(calibration._asdict())))
    assert kept == calibration
    np.testing.assert_array_equal(segment_nuclei(field, kept), segment_nuclei(field))


def test_images_are_measured_one_by_one():
    fields = [generated.planted_field(seed, shape=SHAPE, count=30)[0] for seed in range(3)]
    assert calibration_of([measure_sample(field) for field in fields]) == calibrate(fields)
    assert calibrate(iter(fields)) == calibrate(fields)


def test_the_calibration_is_that_of_the_planted_nuclei():
    fields = [generated.planted_field(seed, diameter=24, contrast=1500, uneven=0)[0] for seed in range(2)]
    calibration = calibrate(fields)
    assert calibration.diameter == pytest.approx(24, rel=0.3)
    assert calibration.contrast == pytest.approx(1500, rel=0.3)
