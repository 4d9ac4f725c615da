"""Basins of an image: the pixels from which the steepest way up ends at one peak, merged where saddles are shallow.

All work on `pixels.framed` images, so that every pixel inside has eight neighbours at fixed steps in the flat image.
"""

from collections.abc import Callable

import numpy as np

NEIGHBOURHOOD = 9  # pixels: a pixel and those around it
NEIGHBOUR_BITS = 4  # of a key, under the 24 of a height: which neighbour it is


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
    keys = heights.astype(np.int32).ravel()
    keys <<= NEIGHBOUR_BITS
    highest = keys.take(inside + steps[0])
    for neighbour in range(1, NEIGHBOURHOOD):
        key = keys.take(inside + steps[neighbour])
        key += neighbour
        np.maximum(highest, key, out=highest)
    highest &= 2**NEIGHBOUR_BITS - 1
    number = np.empty(heights.size, np.int32)  # of a pixel among those inside
    number[inside] = np.arange(len(inside), dtype=np.int32)
    is_peak = highest == NEIGHBOURHOOD // 2
    uphill = number.take(inside + steps.take(highest)).astype(np.int64)
    while not is_peak.take(uphill).all():
        uphill = uphill.take(uphill)
    return np.cumsum(is_peak, dtype=np.int32).take(uphill), inside[is_peak]


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
    order = np.lexsort((saddle, second, first))
    first, second, saddle = first[order], second[order], saddle[order]
    last = np.ones(len(first), bool)
    last[:-1] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    first, second, saddle = first[last], second[last], saddle[last]
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
