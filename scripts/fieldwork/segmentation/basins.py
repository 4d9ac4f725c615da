"""Basins of an image: the pixels from which the steepest way up ends at one peak, merged where saddles are shallow.

All work on `pixels.framed` images, so that every pixel inside has eight neighbours at fixed steps in the flat image.
"""

from collections.abc import Callable

import numpy as np

OWN_NUMBER = 4  # of the pixels 0 to 8: a pixel between its neighbours
USUAL_DOUBLINGS = 3  # of the steps that a way up is followed at once; most ways end within 8 to 16 px
NEIGHBOUR_BITS = 4  # of a key, under the 24 of a height: which neighbour it is
STRIP_PX = 2**15  # at once: they stay in the processor's cache, and take half the time


def basins(heights: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the basins of some pixels. Of neighbours that are equally high, the last is the way up.

    Parameters
    ----------
    heights : (rows + 2, columns + 2) float32 array of whole numbers, 0 <= height < 2**24
        Framed. Every pixel that is not inside is lower than all those inside that it touches.
    inside : (n,) int64 array
        Indices in the flat image of the pixels, ascending.

    Returns
    -------
    labels : (n,) int32 array
        Basin of each pixel, from 1.
    peaks : (m,) int64 array
        Index in the flat image of each basin's peak.
    """
    width = heights.shape[1]
    steps = np.array([row * width + column for row in (-1, 0, 1) for column in (-1, 0, 1)])
    highest = _highest_neighbours(heights).take(inside - width - 1)
    number = np.empty(heights.size, np.int32)  # of a pixel among those inside
    number[inside] = np.arange(len(inside), dtype=np.int32)
    is_peak = highest == OWN_NUMBER
    uphill = number.take(inside + steps.take(highest)).astype(np.int64)
    for _ in range(USUAL_DOUBLINGS):
        uphill = uphill.take(uphill)
    below = np.flatnonzero(~is_peak.take(uphill))  # the few pixels whose way is longer
    while len(below):
        uphill[below] = uphill.take(uphill.take(below))
        below = below.compress(~is_peak.take(uphill.take(below)))
    peaks = np.flatnonzero(is_peak)
    label = np.zeros(len(inside), np.int32)
    label[peaks] = np.arange(1, len(peaks) + 1, dtype=np.int32)
    return label.take(uphill), inside[peaks]


def _highest_neighbours(heights):
    """Return which neighbour of each pixel is highest, from 0 to 8; as flat pixels, from the first with neighbours."""
    width, flat = heights.shape[1], heights.ravel()
    highest = np.empty(heights.size - 2 * (width + 1), np.int8)
    at_once = max(STRIP_PX, width)
    for start in range(0, highest.size, at_once):
        strip = highest[start : start + at_once]
        keys = flat[start : start + strip.size + 2 * (width + 1)].astype(np.int32) << NEIGHBOUR_BITS
        keys = _highest_of_three(_highest_of_three(keys, 1, 1), width, 3)
        np.bitwise_and(keys, 2**NEIGHBOUR_BITS - 1, out=strip, casting="unsafe")
    return highest


def _highest_of_three(keys, step, number):
    """Return the highest key of a pixel and those a step before and after it; of equal ones, the last.

    They rise by 0, `number` and 2 x `number` before, so that the lowest bits of the highest one name its pixel.
    """
    highest = keys[step:-step] + np.int32(number)
    np.maximum(highest, keys[: -2 * step], out=highest)
    return np.maximum(highest, keys[2 * step :] + np.int32(2 * number), out=highest)


def saddles(labels: np.ndarray, heights: np.ndarray, inside: np.ndarray) -> list[tuple[int, int, float]]:
    """Find the saddle between every two basins that touch, at a side or a corner.

    Parameters
    ----------
    labels : (n,) int32 array
        From `basins`.
    heights, inside
        As for `basins`.

    Returns
    -------
    list of (int, int, float)
        Labels of two basins, and the height of the highest way between them: of the pairs of pixels, the largest lower
        one. The highest saddle first.
    """
    width = heights.shape[1]
    canvas, flat = np.zeros(heights.size, np.int32), heights.ravel()
    canvas[inside] = labels
    pairs = []
    for step in (1, width - 1, width, width + 1):
        neighbours = canvas.take(inside + step)
        touching = np.flatnonzero((neighbours != labels) & (neighbours > 0))
        pixel, own, other = inside[touching], labels[touching], neighbours[touching]
        saddle = np.minimum(flat[pixel], flat[pixel + step])
        pairs.append((np.minimum(own, other), np.maximum(own, other), saddle))
    first, second, saddle = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    pair = first.astype(np.int64) * (labels.max() + 1) + second
    order = np.argsort(pair, kind="stable")
    starts = np.flatnonzero(np.diff(pair[order], prepend=-1))
    if len(starts):
        saddle = np.maximum.reduceat(saddle[order], starts)
    first, second = first[order[starts]], second[order[starts]]
    order = np.lexsort((second, first, -saddle))
    return list(zip(first[order].tolist(), second[order].tolist(), saddle[order].tolist(), strict=True))


def merged(
    saddles: list[tuple[int, int, float]],
    peaks: list[float],
    areas: list[int],
    depth_of: Callable[[int], float],
) -> np.ndarray:
    """Merge basins whose saddle lies too little below the lower of their peaks, the highest saddle first.

    Parameters
    ----------
    saddles
        From `saddles`.
    peaks, areas : list
        Height and pixels of each basin, from basin 1.
    depth_of : callable
        Takes the pixels of two basins together, returns the depth of a saddle from which they are two.

    Returns
    -------
    (n + 1,) int32 array
        New label of each label, 1..m; of 0 it is 0.
    """
    peaks, areas = [0.0, *peaks], [0, *areas]
    parent = list(range(len(peaks)))

    def root(label):
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = parent[label]
        return label

    for first, second, height in saddles:
        higher, lower = root(first), root(second)
        if higher == lower:
            continue
        if peaks[higher] < peaks[lower]:
            higher, lower = lower, higher
        if peaks[lower] - height < depth_of(areas[higher] + areas[lower]):
            parent[lower] = higher
            areas[higher] += areas[lower]
    roots = np.array([root(label) for label in range(len(parent))])
    return np.unique(roots, return_inverse=True)[1].astype(np.int32)
