"""Planted fields keep their promises, and matching counts every nucleus once."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from fieldwork import nuclei, synthetic


def draw(seed, *, count=40, shape=(300, 360)):
    return synthetic.plant_field(np.random.default_rng(seed), shape=shape, count=count)


@pytest.mark.parametrize("seed", range(5))
def test_nuclei_are_planted_apart_and_off_the_border(seed):
    image, centres = draw(seed)
    assert image.shape == (300, 360) and image.dtype == np.uint16
    assert len(centres) == 40
    assert pdist(centres).min() >= 24
    assert (centres >= 16).all() and (centres <= np.array(image.shape) - 1 - 16).all()


def test_a_field_holds_no_more_nuclei_than_fit_and_none_if_none_are_wanted():
    _, centres = draw(0, count=500)
    assert 60 < len(centres) < 150  # random packing covers about half: 268 x 328 px / 24**2 px / 0.55
    assert pdist(centres).min() >= 24
    image, centres = draw(0, count=0)
    assert centres.shape == (0, 2)
    assert abs(image.mean() - 300) < 2 and image.max() < 600


def test_light_is_where_the_nuclei_are_and_nowhere_else():
    image, centres = draw(2)
    heights = image[tuple(centres.T)]
    assert heights.min() > 4000 and heights.max() < 12600 and np.ptp(heights) > 3000
    far = np.ones(image.shape, bool)
    for row, column in centres:
        far[row - 13 : row + 14, column - 13 : column + 14] = False
    assert far.sum() > 20000 and image[far].max() < 600


def test_detection_finds_what_was_planted():
    planted = found = matched = 0
    for seed in range(5):
        image, centres = draw(seed, count=60)
        peaks = nuclei.detect_nuclei(image)
        planted, found = planted + len(centres), found + len(peaks)
        matched += synthetic.match(peaks, centres, within=4)
    assert planted > 200 and matched / planted > 0.97 and matched / found > 0.97


def test_one_seed_gives_one_field():
    (image, centres), (again, same), (other, _) = draw(1), draw(1), draw(2)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(centres, same)
    assert (image != other).any()


@pytest.mark.parametrize(("concentration", "left"), [(0, 150), (1, 75), (3, 15), (1e6, 0)])
def test_survivors_follow_the_hill_curve(concentration, left):
    assert synthetic.nuclei_at(concentration, most=150, half=1.0) == left


def test_every_nucleus_is_matched_once_in_any_order():
    rng = np.random.default_rng(4)
    planted = np.stack(np.meshgrid(np.arange(0, 300, 24), np.arange(0, 300, 24)), axis=-1).reshape(-1, 2)
    moved = planted + rng.uniform(-2.5, 2.5, planted.shape)  # 3.5 px at the most
    missed, invented = 10, planted[:7] + 12
    found = rng.permutation(np.vstack([moved[missed:], invented]))
    assert synthetic.match(found, planted, within=4) == len(planted) - missed
    assert synthetic.match(planted, found, within=4) == len(planted) - missed


@pytest.mark.parametrize(
    ("found", "planted", "pairs"),
    [
        ([[10, 10], [11, 10], [10, 11]], [[10, 10]], 1),
        ([[10, 10]], [[10, 10], [10, 12]], 1),
        ([[10, 12], [10, 9]], [[10, 10], [10, 14]], 2),
        ([[13, 14]], [[10, 10]], 1),  # 5 px: still within
        ([[13, 14.01]], [[10, 10]], 0),
        (np.empty((0, 2)), [[10, 10]], 0),
        ([[10, 10]], np.empty((0, 2)), 0),
    ],
)
def test_pairs_are_one_to_one_and_within_reach(found, planted, pairs):
    assert synthetic.match(found, planted, within=5) == pairs
