"""How well a threshold parts nuclei from what is around them, against NumPy's variances."""

import numpy as np
import pytest

from fieldwork.segmentation import thresholds


def counts_of(quarters):
    return np.bincount(quarters, minlength=thresholds.QUARTER_STEPS)


def test_separation_is_the_share_of_the_variance_that_a_threshold_explains():
    rng = np.random.default_rng(0)
    quarters = np.concatenate([rng.poisson(200, 5000), rng.poisson(2000, 700)])
    is_above = quarters >= 4 * 150
    means = np.where(is_above, quarters[is_above].mean(), quarters[~is_above].mean())
    assert thresholds.separation_of(counts_of(quarters), 150) == pytest.approx(means.var() / quarters.var())


def test_separation_tells_two_kinds_of_pixels_from_one():
    rng = np.random.default_rng(0)
    noise = rng.normal(4000, 300, 100_000).astype(int)
    assert thresholds.separation_of(counts_of(noise), 1000) == pytest.approx(2 / np.pi, abs=0.01)
    assert thresholds.separation_of(counts_of([0] * 9 + [4000]), 500) == 1
    assert thresholds.separation_of(counts_of([8, 9]), 500) == 0 == thresholds.separation_of(counts_of([8]), 1)
