"""The threshold of a field, and how many pixels lie so near it that little decides about them."""

import numpy as np
import pytest

from accuracy import generated
from fieldwork.segmentation import calibrate, segment_field, thresholds


def counts_of(steps):
    return np.bincount(np.asarray(4 * steps).astype(int), minlength=thresholds.QUARTER_STEPS)


def test_the_share_near_a_threshold_is_that_of_pixels_within_half_an_octave():
    steps = np.exp2(np.linspace(0, 14, 14_001))  # a thousand in each octave
    assert thresholds.share_near(counts_of(steps), 500) == pytest.approx(1000 / 14_001, rel=0.01)


def test_no_pixel_of_nuclei_on_an_empty_ground_is_near_the_threshold():
    assert thresholds.share_near(counts_of(np.array([0] * 9 + [2000])), 500) == 0


def test_the_threshold_lies_between_ground_and_nuclei():
    image, truth = generated.planted_field(3, shape=(260, 348), count=20, offset=5000, uneven=0)
    threshold = segment_field(image, calibrate([image]), method="classical").threshold
    assert np.median(image[truth == 0]) < threshold < np.median(image[truth > 0])


@pytest.mark.parametrize("turn", [np.flipud, np.fliplr, np.rot90, np.transpose])
def test_a_turned_image_has_about_the_same_threshold(turn):
    field, _ = generated.planted_field(8, shape=(1100, 530), count=25)  # of so many rows, some tell the threshold
    calibration = calibrate([field])
    before, after = (segment_field(image, calibration, method="classical").threshold for image in (field, turn(field)))
    assert after == pytest.approx(before, abs=0.03 * calibration.contrast)
