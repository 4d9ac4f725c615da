"""Basins of an image: the pixels from which the steepest way up ends at one peak, merged where saddles are shallow."""

import functools
import math
from collections.abc import Callable

import cv2
import numpy as np

PIXELS = 2**28  # that a key can tell from each other: with heights below 2**24 it is exact in float64


@functools.lru_cache(maxsize=1)  # fields of a plate have one shape
def _indices(shape):
    """Return the index of every pixel in the flat image."""
    return np.arange(math.prod(shape), dtype=np.float64).reshape(shape)


def basins(heights: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the basins of some pixels. Of neighbours that are equally high, the last is the way up.

    Parameters
    ----------
    heights : (rows, columns) float32 array of whole numbers, 0 <= height < 2**24
        With less than `PIXELS` pixels.
    inside : (n,) int array
        Indices in the flat image of the pixels; every other pixel is lower than all of them that it touches.

    Returns
    -------
    labels : (n,) int32 array
        Basin of each pixel, from 1.
    peaks : (m,) int array
        Index in the flat image of each basin's peak.
    """
    keys = np.multiply(heights, PIXELS, dtype=np.float64)
    keys += _indices(heights.shape)
    highest = cv2.dilate(keys, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=-1)
    number = np.empty(heights.size, np.int32)  # of a pixel among those inside
    number[inside] = np.arange(len(inside), dtype=np.int32)
    uphill = number[highest.ravel()[inside].astype(np.int64) & (PIXELS - 1)]
    is_peak = uphill == number[inside]
    while True:
        further = uphill[uphill]
        if np.array_equal(further, uphill):
            return np.cumsum(is_peak, dtype=np.int32)[uphill], inside[is_peak]
        uphill = further


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
    rows, columns = heights.shape
    framed = np.zeros((rows + 2, columns + 2), np.int32)  # so that the ends of rows touch nothing
    at = inside + 2 * (inside // columns) + columns + 3
    framed.ravel()[at] = labels
    high = heights.ravel()[inside]
    pairs = []
    for step, across in ((1, 1), (columns + 2, columns), (columns + 3, columns + 1), (columns + 1, columns - 1)):
        neighbours = framed.ravel()[at + step]
        touching = np.flatnonzero((neighbours != labels) & (neighbours > 0))
        here, there = labels[touching], neighbours[touching]
        saddle = np.minimum(high[touching], heights.ravel()[inside[touching] + across])
        pairs.append((np.minimum(here, there), np.maximum(here, there), saddle))
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

    for one, other, height in saddles:
        higher, lower = root(one), root(other)
        if higher == lower:
            continue
        if peaks[higher] < peaks[lower]:
            higher, lower = lower, higher
        if peaks[lower] - height < depth_of(areas[higher] + areas[lower]):
            parent[lower] = higher
            areas[higher] += areas[lower]
    roots = np.array([root(label) for label in range(len(parent))])
    return np.unique(roots, return_inverse=True)[1].astype(np.int32)
