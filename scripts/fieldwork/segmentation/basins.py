"""Basins of an image: the pixels from which the steepest way up ends at one peak, merged where saddles are shallow."""

from collections.abc import Sequence

import cv2
import numpy as np

PIXELS = 2**28  # that a key can tell from each other: with heights below 2**24 it is exact in float64


def basins(heights: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the basins of the pixels of a mask. Of neighbours that are equally high, the last is the way up.

    Parameters
    ----------
    heights : (rows, columns) array of whole numbers, 0 <= height < 2**24
    mask : (rows, columns) bool array
        With less than `PIXELS` pixels.

    Returns
    -------
    labels : (rows, columns) int32 array
        Basins 1..n, and 0 outside the mask.
    peaks : (n,) int array
        Index of each basin's peak in the flat image.
    """
    pixels = np.arange(mask.size, dtype=np.float64).reshape(mask.shape)
    keys = np.where(mask, heights * float(PIXELS) + pixels, -1.0)
    highest = cv2.dilate(keys, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=-1)
    inside = np.flatnonzero(mask)
    number = np.zeros(mask.size, np.int32)  # of a pixel among those inside
    number[inside] = np.arange(len(inside), dtype=np.int32)
    uphill = number[highest.ravel()[inside].astype(np.int64) & (PIXELS - 1)]
    while True:
        further = uphill[uphill]
        if np.array_equal(further, uphill):
            break
        uphill = further
    is_peak = uphill == np.arange(len(inside))
    labels = np.zeros(mask.shape, np.int32)
    labels.ravel()[inside] = np.cumsum(is_peak, dtype=np.int32)[uphill]
    return labels, inside[is_peak]


def saddles(labels: np.ndarray, heights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the saddle between every two basins that touch, at a side or a corner.

    Parameters
    ----------
    labels : (rows, columns) int32 array
    heights : (rows, columns) array of whole numbers

    Returns
    -------
    first, second : (n,) int array
        Labels of the basins.
    saddle : (n,) array of the heights' type
        The highest way between them: of the pairs of pixels, the largest lower one.
    """
    inside = labels.ravel()
    flat, columns = heights.ravel(), labels.shape[1]
    pairs = []
    for step, wraps in ((1, True), (columns, False), (columns + 1, True), (columns - 1, True)):
        left, right = inside[:-step] if step else inside, inside[step:]
        touching = np.flatnonzero((left != right) & (left > 0) & (right > 0))
        if wraps:  # the last pixel of a row and the first of another do not touch
            column = touching % columns
            touching = touching[column != 0] if step == columns - 1 else touching[column != columns - 1]
        one, other = left[touching], right[touching]
        pairs.append(
            (np.minimum(one, other), np.maximum(one, other), np.minimum(flat[touching], flat[touching + step]))
        )
    first, second, saddle = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    order = np.lexsort((saddle, second, first))
    first, second, saddle = first[order], second[order], saddle[order]
    last = np.ones(len(first), bool)
    last[:-1] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return first[last], second[last], saddle[last]


def merged(
    labels: np.ndarray, peaks: Sequence[int], heights: np.ndarray, *, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Merge basins whose saddle lies less than `depth` below the lower of their peaks, the highest saddle first.

    Parameters
    ----------
    labels : (rows, columns) int32 array
        From `basins`.
    peaks : (n,) sequence of int
        Height of each basin's peak.
    heights : (rows, columns) array of whole numbers
    depth : int
        In the unit of the heights.

    Returns
    -------
    labels : (rows, columns) int32 array
        1..m
    merged_into : (n + 1,) int32 array
        New label of each label.
    """
    first, second, saddle = saddles(labels, heights)
    order = np.lexsort((second, first, -saddle.astype(np.int64)))
    parent = list(range(len(peaks) + 1))
    peak = [0, *(int(height) for height in peaks)]

    def root(label):
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = parent[label]
        return label

    for one, other, height in zip(first[order].tolist(), second[order].tolist(), saddle[order].tolist(), strict=True):
        higher, lower = root(one), root(other)
        if peak[higher] < peak[lower]:
            higher, lower = lower, higher
        if peak[lower] - height < depth:
            parent[lower] = higher
    roots = np.array([root(label) for label in range(len(parent))])
    _, new = np.unique(roots, return_inverse=True)
    new = new.astype(np.int32)
    return new[labels], new
