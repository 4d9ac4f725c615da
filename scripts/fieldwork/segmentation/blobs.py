"""Find bright blobs of all sizes in an image, and measure how wide, high and soft they are."""

import functools
import math
from typing import NamedTuple

import cv2
import numpy as np

from fieldwork.segmentation import pixels
from fieldwork.segmentation.pixels import KERNEL_SUM

BINS = 16  # per octave of diameter
LAST_BIN = 13 * BINS
LEVEL_DIAMETER_PX = 3.4  # of a blob that answers most to the first difference of an octave
DIAMETER_EXPONENT = 0.5  # of a blob's weight: large ones are few
LEAST_SIDE_PX = 8  # of an octave
LOG_STEPS = 1024  # per octave of intensity
LEAST_RESPONSE = 31  # in those steps
MOST_BLOBS = 400  # of an image: the strongest; more would tell nothing new
OPENING_PX = 6  # radius: about twice that of an octave's largest blob
DIRECTIONS = np.array([(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)])  # (row, column)
RAY_PX = 12  # in the octave before the blob's, where blobs are 5 to 11 px wide
STEP = 64  # parts of a pixel
DIAGONAL = 181, 128  # sqrt(2) as a fraction
QUARTERS = 3, 2, 1  # of a blob's height, at which its width is measured
RISE = 7  # a ray ends where it rises by a seventh of the height: there is a neighbour


class Octave(NamedTuple):
    """An image at half the size of the octave before: whole numbers, as float32."""

    linear: np.ndarray  # (rows, columns): intensities
    smooth: np.ndarray  # (rows, columns): intensities, lightly blurred
    differences: tuple[np.ndarray, np.ndarray]  # (rows, columns): differences of Gaussians of the log


class Blobs(NamedTuple):
    """Bright blobs, those of most weight first."""

    bins: np.ndarray  # (n,) int64: scale of the strongest answer, a diameter in 1 / BINS octaves of px
    weights: np.ndarray  # (n,) int64: squared answers
    heights: np.ndarray  # (n,) int64: intensity above the ground
    widths: np.ndarray  # (n, 3) int64: diameters in 1 / STEP px at three, two and one quarter of the height


def octaves_of(values: np.ndarray, constant: int) -> list[Octave]:
    """Divide an image into octaves.

    Parameters
    ----------
    values : (rows, columns) uint16 array
        Below 2**14.
    constant : int
        Intensity at which the log turns from linear to logarithmic, below 2**14.

    Returns
    -------
    list of Octave
    """
    logs = _log_table()[constant : constant + 2**14] - _log_table()[constant]
    level, linear = _rounded(pixels.blurred(logs[values], pixels.MEDIUM)), values.astype(np.float32)
    octaves = []
    while min(level.shape) >= LEAST_SIDE_PX:
        first = _rounded(pixels.blurred(level, pixels.MEDIUM))
        second = _rounded(pixels.blurred(first, pixels.WIDE))
        smooth = _rounded(pixels.blurred(linear, pixels.NARROW))
        octaves.append(Octave(linear, smooth, (level - first, first - second)))
        level, linear = halved(second), halved(_rounded(pixels.blurred(linear, pixels.MEDIUM)))
    return octaves


def halved(values: np.ndarray) -> np.ndarray:
    """Return the means of squares of four pixels, rounded; a last row or column without a partner is left out.

    Mirrored images give the mirrored result, if their sides are even.
    """
    values = values[: len(values) // 2 * 2, : values.shape[1] // 2 * 2]
    sums = values[::2, ::2] + values[::2, 1::2] + values[1::2, ::2] + values[1::2, 1::2]
    return np.rint(sums * np.float32(1 / 4))


def _rounded(sums):
    return np.rint(sums * np.float32(1 / KERNEL_SUM))


@functools.cache
def _log_table():
    return np.array([0, *(round(LOG_STEPS * math.log2(number)) for number in range(1, 2**15))], np.uint16)


@functools.cache
def size_weights() -> np.ndarray:
    """Return the factor of a blob's weight for its bin, as whole numbers."""
    return np.array([round(2 ** (DIAMETER_EXPONENT * number / BINS)) for number in range(LAST_BIN + 1)], np.int64)


def bin_of(diameter: float) -> int:
    """Return the bin in which blobs of a diameter in px answer most."""
    return min(max(0, round(math.log2(diameter) * BINS)), LAST_BIN)


def bright(octaves: list[Octave], factor: int) -> Blobs:
    """Find the bright blobs of an image.

    Parameters
    ----------
    octaves : list of Octave
    factor : int
        Pixels per pixel of the first octave, for the diameters.

    Returns
    -------
    Blobs
    """
    differences = [(number, difference) for number, octave in enumerate(octaves) for difference in octave.differences]
    parts = [_peaks(differences, index, factor) for index in range(len(differences))]
    if not parts:
        nothing = np.zeros(0, np.int64)
        return Blobs(nothing, nothing, nothing, np.zeros((0, len(QUARTERS)), np.int64))
    bins, weights, numbers, rows, columns = (np.concatenate(values) for values in zip(*parts, strict=True))
    order = np.lexsort((columns, rows, bins, -weights * size_weights()[bins]))[:MOST_BLOBS]
    bins, weights, numbers, rows, columns = (values[order] for values in (bins, weights, numbers, rows, columns))
    heights, widths = np.zeros(len(bins), np.int64), np.zeros((len(bins), len(QUARTERS)), np.int64)
    for number, octave in enumerate(octaves):
        here = np.flatnonzero(numbers == number)
        if not len(here):
            continue
        where = rows[here], columns[here]
        ground = pixels.opened(octave.linear.astype(np.uint16), OPENING_PX)[where].astype(np.int64)
        heights[here] = np.maximum(octave.smooth[where].astype(np.int64) - ground, 0)
        finer = max(0, number - 1)
        if finer < number:
            where = _highest(octaves[finer].smooth, *where)[1:]
        widths[here] = _widths(octaves[finer].smooth, *where, ground, heights[here]) * (factor << finer)
    return Blobs(bins, weights, heights, widths)


def _peaks(differences, index, factor):
    """Return bins, weights, octaves, rows and columns of the maxima over space and scale of one difference."""
    octave, here = differences[index]
    high = cv2.max(cv2.dilate(here, np.ones((3, 3), np.uint8)), LEAST_RESPONSE)
    inner = here[1:-1, 1:-1] >= high[1:-1, 1:-1]  # at the border, nuclei are cut
    rows, columns = np.divmod(np.flatnonzero(inner), inner.shape[1])
    rows, columns = rows + 1, columns + 1
    value = here[rows, columns].astype(np.int64)
    finer, coarser = (_at(differences, other, octave, rows, columns) for other in (index - 1, index + 1))
    top = (value >= finer) & (value >= coarser)
    value, finer, coarser, rows, columns = (values[top] for values in (value, finer, coarser, rows, columns))
    bins = np.full(len(value), bin_of(LEVEL_DIAMETER_PX * factor) + index * BINS // 2)
    if 0 < index < len(differences) - 1:  # the top of a parabola through three scales, half an octave apart
        bend = np.maximum(2 * value - finer - coarser, 1)
        bins += ((coarser - finer) * (BINS // 2) + bend) // (2 * bend)
    return np.clip(bins, 0, LAST_BIN), value**2, np.full(len(value), octave), rows, columns


def _at(differences, index, octave, rows, columns):
    """Return another difference at pixels of an octave, the highest if there are four; 0 where there is none."""
    if not 0 <= index < len(differences):
        return np.zeros(len(rows), np.int64)
    other_octave, other = differences[index]
    if other_octave < octave:
        return _highest(other, rows, columns)[0].astype(np.int64)
    if other_octave > octave:
        rows, columns = (np.minimum(at >> 1, side - 1) for at, side in zip((rows, columns), other.shape, strict=True))
    return other[rows, columns].astype(np.int64)


def _highest(finer, rows, columns):
    """Return the highest of the four pixels of the octave before, and its rows and columns."""
    rows = 2 * rows[:, None] + (0, 0, 1, 1)
    columns = 2 * columns[:, None] + (0, 1, 0, 1)
    values = finer[rows, columns]
    chosen = np.arange(len(values)), values.argmax(axis=1)
    return values[chosen], rows[chosen], columns[chosen]


def _widths(smooth, rows, columns, ground, heights):
    """Return the (n, 3) diameters of blobs in 1 / STEP px: twice the median way in eight directions."""
    padded = np.pad(smooth, RAY_PX, mode="edge")
    steps = np.arange(RAY_PX + 1)
    offsets = (DIRECTIONS[:, :1] * padded.shape[1] + DIRECTIONS[:, 1:]) * steps
    starts = (rows + RAY_PX) * padded.shape[1] + columns + RAY_PX
    profiles = padded.ravel()[starts[:, None, None] + offsets].reshape(-1, RAY_PX + 1).astype(np.int64)
    heights, ground = np.repeat(heights, len(offsets)), np.repeat(ground, len(offsets))
    rising = profiles > np.minimum.accumulate(profiles, axis=1) + heights[:, None] // RISE
    rays = np.arange(len(profiles))
    widths = []
    for quarters in QUARTERS:
        cut = ground + heights * quarters // 4
        ended = (profiles < cut[:, None]) | rising
        ended[:, RAY_PX] = True
        last = np.maximum(ended.argmax(axis=1), 1)
        inner, outer = profiles[rays, last - 1], profiles[rays, last]
        part = np.where(outer < cut, (inner - cut) * STEP // np.maximum(inner - outer, 1), STEP // 2)
        ways = ((last - 1) * STEP + np.clip(part, 0, STEP)).reshape(-1, len(offsets))
        ways[:, 1::2] = ways[:, 1::2] * DIAGONAL[0] // DIAGONAL[1]
        ways.sort(axis=1)
        widths.append(ways[:, 3] + ways[:, 4])
    return np.stack(widths, axis=1)
