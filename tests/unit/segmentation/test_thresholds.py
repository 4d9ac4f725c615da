"""How many pixels lie so near the threshold that little decides about them."""

import numpy as np
import pytest

from fieldwork.segmentation import thresholds


def counts_of(steps):
    return np.bincount(np.asarray(4 * steps).astype(int), minlength=thresholds.QUARTER_STEPS)


def test_the_share_near_a_threshold_is_that_of_pixels_within_half_an_octave():
    steps = np.exp2(np.linspace(0, 14, 14_001))  # a thousand in each octave
    assert thresholds.share_near(counts_of(steps), 500) == pytest.approx(1000 / 14_001, rel=0.01)


def test_no_pixel_of_nuclei_on_an_empty_ground_is_near_the_threshold():
    assert thresholds.share_near(counts_of(np.array([0] * 9 + [2000])), 500) == 0
