"""An atlas: all objects of an image side by side, none of which touches another.

What lies around an object's pixels can be seen there without its label, in one pass over all objects.
"""

from typing import NamedTuple

import cv2
import numpy as np

from fieldwork.objects.regions import Regions, reduced

WIDTH_PX = 512  # at least
# Benkrid and Crookes' codes of an outline's pixel: 1 for itself, 2 for a neighbour at a side, 10 for one at a corner.
STRAIGHT_CODES, DIAGONAL_CODES, HALF_CODES = [5, 7, 15, 17, 25, 27], [21, 33], [13, 23]


class Atlas(NamedTuple):
    """Objects, with ground between them and around them."""

    mask: np.ndarray  # (rows, columns) uint8: 1 is object
    pixels: np.ndarray  # (p,) int64: index of the regions' pixels in the flat mask


def atlas_of(regions: Regions) -> Atlas:
    """Lay the objects out in shelves: tall ones first, so that those of one shelf are about as tall."""
    tops, lefts, height, width = _shelves(regions.heights, regions.widths)
    starts = (tops[regions.owners] + regions.rows) * width + lefts[regions.owners]
    pixels = np.repeat(starts, regions.lengths) + regions.pixel_columns
    mask = np.zeros((height, width), np.uint8)
    mask.ravel()[pixels] = 1
    return Atlas(mask, pixels)


def _shelves(heights, widths):
    """Return the corner of each box in an atlas, and the atlas' size."""
    order = np.argsort(-heights, kind="stable")
    limit = max(WIDTH_PX, int(widths.max(initial=0)) + 2)
    tops, lefts = [], []
    top, left, bottom = 1, 1, 1
    for height, width in zip(heights[order].tolist(), widths[order].tolist(), strict=True):
        if left + width >= limit:
            top, left = bottom, 1
        if left == 1:
            bottom = top + height + 1
        tops.append(top)
        lefts.append(left)
        left += width + 1
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return np.array(tops, np.int64)[back], np.array(lefts, np.int64)[back], bottom + 1, limit


def squared_distances(atlas: Atlas) -> np.ndarray:
    """Return the squared distance of each of the p pixels to the nearest pixel that is not of its object, in px.

    Whole numbers: OpenCV's are of float32, and equal SciPy's after rounding.

    Returns
    -------
    (p,) int64 array
    """
    distances = cv2.distanceTransform(atlas.mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).ravel()[atlas.pixels]
    return np.rint(distances.astype(np.float64) ** 2).astype(np.int64)


def perimeters(atlas: Atlas, borders: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    """Measure perimeters, as `skimage.measure.perimeter`: the length of the line through the border's pixels.

    Parameters
    ----------
    atlas : Atlas
    borders : (b,) int array
        Which of the p pixels are at their object's border.
    firsts : (n,) int array
        The object's first one among these.

    Returns
    -------
    (n,) float64 array
        In px.
    """
    at = atlas.pixels[borders]
    width = atlas.mask.shape[1]
    outline = np.zeros(atlas.mask.size, np.uint8)
    outline[at] = 1
    # Flat images: what leaves a row at one end and enters the next one at the other is ground.
    beside = outline[2:] + outline[:-2]
    rows = outline.copy()  # of a row above or below: twice the middle and ten times the others
    rows[1:-1] += 5 * beside
    codes = outline.copy()
    codes[1:-1] += 2 * beside
    codes[width:-width] += 2 * (rows[2 * width :] + rows[: -2 * width])
    codes = codes[at]
    wholes, roots = np.zeros(50, np.int64), np.zeros(50, np.int64)  # twice the length is wholes + roots * sqrt(2)
    wholes[STRAIGHT_CODES] = roots[DIAGONAL_CODES] = 2
    wholes[HALF_CODES] = roots[HALF_CODES] = 1
    whole, root = (reduced(np.add, table[codes], firsts) for table in (wholes, roots))
    return (whole + root * np.sqrt(2)) / 2


def euler_numbers(atlas: Atlas, borders: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    """Return the number of an object's pieces without that of its holes; a piece hangs together by sides and corners.

    Parameters
    ----------
    atlas, borders, firsts
        As of `perimeters`.

    Returns
    -------
    (n,) int64 array
    """
    at = atlas.pixels[borders]
    flat, width = atlas.mask.ravel(), atlas.mask.shape[1]
    # Every square of four pixels counts whose lower right one is ground: 1 if only the upper left one is object, and -1
    # if the upper right and the lower left one are.
    below = flat[at + width] == 0
    corner = below & (flat[at + 1] == 0) & (flat[at + width + 1] == 0)
    bend = below & (flat[at + width - 1] != 0)
    return reduced(np.add, corner.astype(np.int64) - bend, firsts)
