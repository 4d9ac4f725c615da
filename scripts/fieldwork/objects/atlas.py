"""An atlas: objects side by side, none of which touches another.

What lies around an object's pixels can be seen there without its label, in one pass over all objects.
"""

from typing import NamedTuple

import cv2
import numpy as np

from fieldwork.objects.regions import Pixels, Regions, reduced

WIDTH_PX = 512  # of an atlas, at least
FARTHEST_PX = 40  # distance to an object's outside up to which steps are quicker than OpenCV
# Benkrid and Crookes' codes of an outline's pixel: 1 for itself, 2 for a neighbour at a side, 10 for one at a corner.
STRAIGHT_CODES, DIAGONAL_CODES, HALF_CODES = [5, 7, 15, 17, 25, 27], [21, 33], [13, 23]


class Atlas(NamedTuple):
    """Objects, with ground between them and around them."""

    depths: np.ndarray  # (rows, columns) uint8, px: distance to the ground in the row, at most 255; of ground 0
    pixels: np.ndarray  # (p,) int64: index of the objects' pixels in the flat atlas


def atlas_of(regions: Regions, pixels: Pixels) -> Atlas:
    """Lay objects out in shelves: tall ones first, so that those of one shelf are about as tall."""
    tops, lefts, height, width = _shelves(regions.heights, regions.widths)
    corners = (tops[regions.owners] + regions.rows) * width + lefts[regions.owners]
    indices = np.repeat(corners, regions.lengths) + pixels.columns
    columns, lefts, lengths = (values.astype(np.int32) for values in (pixels.columns, regions.columns, regions.lengths))
    depths = columns - np.repeat(lefts - 1, regions.lengths)
    np.minimum(depths, np.repeat(lefts + lengths, regions.lengths) - columns, out=depths)
    atlas = np.zeros((height, width), np.uint8)
    atlas.ravel()[indices] = np.minimum(depths, 255, out=depths).astype(np.uint8)
    return Atlas(atlas, indices)


def _shelves(heights, widths):
    """Return top and left of each box in an atlas, and the atlas' size."""
    order = np.argsort(-heights, kind="stable")
    limit = max(WIDTH_PX, int(widths.max(initial=0)) + 2)
    tops, lefts, left, bottom = [], [], limit, 0
    for height, width in zip(heights[order].tolist(), widths[order].tolist(), strict=True):
        if left + width >= limit:
            top, left, bottom = bottom + 1, 1, bottom + 1 + height
        tops.append(top)
        lefts.append(left)
        left += width + 1
    back = np.argsort(order)
    return np.array(tops, np.int64)[back], np.array(lefts, np.int64)[back], bottom + 1, limit


def squared_distances(atlas: Atlas, tallest: int) -> np.ndarray:
    """Return the squared distance of every pixel to the nearest pixel that is not of its object, in px.

    In its column, a pixel takes the least of depth**2 + step**2 over all steps up and down. As step**2 is a sum of odd
    numbers, steps can be taken one by one.

    Parameters
    ----------
    atlas : Atlas
    tallest : int
        Height of the tallest object.

    Returns
    -------
    (p,) array of unsigned integers
    """
    columns = atlas.depths.shape[1]
    reach = min(int(atlas.depths.max()), (tallest + 1) // 2)  # no distance is larger
    if reach > FARTHEST_PX:  # float32 holds the squares of distances up to 1600 px, once they are rounded
        distances = cv2.distanceTransform(atlas.depths, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).take(atlas.pixels)
        return np.rint(distances * distances).astype(np.uint32)
    squares = np.minimum(atlas.depths.ravel(), reach).astype(np.uint8 if reach <= 15 else np.uint16)
    squares *= squares
    above, here, below = squares[: -2 * columns], squares[columns:-columns], squares[2 * columns :]
    nearest = np.empty_like(here)
    for step in range(1, reach):
        np.minimum(above, below, out=nearest)
        nearest += nearest.dtype.type(2 * step - 1)
        np.minimum(here, nearest, out=here)
    return squares.take(atlas.pixels)


def perimeters(atlas: Atlas, borders: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    """Measure perimeters, as `skimage.measure.perimeter`: the length of the line through the border's pixels.

    Parameters
    ----------
    atlas : Atlas
    borders : (b,) int array
        Which pixels are at their object's border.
    firsts : (n,) int array
        The object's first one among these.

    Returns
    -------
    (n,) float64 array
        In px.
    """
    at = atlas.pixels[borders]
    width = atlas.depths.shape[1]
    outline = np.zeros(atlas.depths.size, np.uint8)
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
    flat, width = atlas.depths.ravel(), atlas.depths.shape[1]
    # Every square of four pixels counts whose lower right one is ground: 1 if only the upper left one is object, and -1
    # if the upper right and the lower left one are.
    below = flat[at + width] == 0
    corner = below & (flat[at + 1] == 0) & (flat[at + width + 1] == 0)
    bend = below & (flat[at + width - 1] != 0)
    return reduced(np.add, corner.astype(np.int64) - bend, firsts)
