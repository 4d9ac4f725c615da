"""Basins, against a slow walk uphill: every step by itself."""

import numpy as np
import pytest

from fieldwork.segmentation import basins, pixels


def walked(heights, inside):
    """Return the peak of each pixel inside; of neighbours that are equally high, the last is the way up."""
    flat, width = heights.ravel(), heights.shape[1]
    steps = [row * width + column for row in (-1, 0, 1) for column in (-1, 0, 1)]

    def peak_of(pixel):
        while (higher := max((pixel + step for step in steps), key=lambda other: (flat[other], other))) != pixel:
            pixel = higher
        return pixel

    return [peak_of(pixel) for pixel in inside.tolist()]


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (7, 5), (30, 40), (3, 4000)])
@pytest.mark.parametrize("highest", [1, 5, 2**24 - 1], ids=["plateaus", "ties", "24 bits"])
@pytest.mark.parametrize("strip", [1, 2**15])
def test_every_pixel_belongs_to_the_peak_that_a_walk_uphill_reaches(monkeypatch, shape, highest, strip):
    monkeypatch.setattr(basins, "STRIP_PX", strip)
    rng = np.random.default_rng(highest)
    image = (rng.integers(0, highest + 1, shape) * (rng.random(shape) < 0.8)).astype(np.float32)
    heights = pixels.framed(image)
    inside = np.flatnonzero(heights)
    labels, peaks = basins.basins(heights, inside)
    assert sorted(peaks) == peaks.tolist() and len(set(peaks)) == labels.max(initial=0)
    assert peaks[labels - 1].tolist() == walked(heights, inside)


def test_a_saddle_is_the_highest_way_between_two_basins_also_at_a_corner():
    image = np.array([[9, 5, 0, 0], [0, 4, 8, 0], [0, 0, 0, 3], [0, 0, 0, 7]], np.float32)
    heights = pixels.framed(image)
    inside = np.flatnonzero(heights)
    labels, peaks = basins.basins(heights, inside)
    assert heights.ravel()[peaks].tolist() == [9, 8, 7]
    assert basins.saddles(labels, heights, inside) == [(1, 2, 5.0), (2, 3, 3.0)]


def test_basins_merge_where_the_saddle_is_shallow_the_highest_saddle_first():
    saddles, peaks, areas = [(1, 2, 8.0), (2, 3, 5.0)], [9.0, 10.0, 7.0], [4, 6, 5]
    assert basins.merged(saddles, peaks, areas, lambda area: 1.5).tolist() == [0, 1, 1, 2]
    assert basins.merged(saddles, peaks, areas, lambda area: 0.5).tolist() == [0, 1, 2, 3]
    asked = []
    assert basins.merged(saddles, peaks, areas, lambda area: asked.append(area) or 2.5).tolist() == [0, 1, 1, 1]
    assert asked == [10, 15]  # the pixels of both sides, once those before are merged
