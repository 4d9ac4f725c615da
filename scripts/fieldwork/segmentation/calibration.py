"""Find what a typical nucleus of a plate is like: its diameter and its contrast."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from fieldwork.segmentation import pixels
from fieldwork.segmentation.pixels import KERNEL_SUM

COARSE_SIDE_PX = 640  # of the copy that is searched
LEAST_CONTRAST = 14  # times the noise; nuclei have more
SMALLEST_DIAMETER_PX = 7
LARGEST_DIAMETER = 0.4  # of the image's shorter side
BINS = 16  # per octave of diameter
FIRST_BIN = 2 * BINS  # 4 px
LAST_BIN = 13 * BINS
DIAMETER_EXPONENT = 0.75  # of a blob's weight
WIDTHS = np.array([1, 4, 10, 16, 19, 16, 10, 4, 1])  # sigma 1.7 bins, applied twice
LEVEL_DIAMETER_PX = 3.4  # of a disk that answers most to the difference of Gaussians of 1 and sqrt(2) px
DISK_SHARE = 0.8  # diameter of a nucleus per diameter of its blob: a log makes blobs wide
LEAST_RESPONSE = 0.03  # octaves
NEAR_OCTAVES = 0.75  # blobs of about the typical diameter


class Calibration(NamedTuple):
    """A typical nucleus of a plate; all numbers have three significant digits."""

    diameter: float | None  # px; None where no nucleus was seen
    contrast: float | None  # intensity above the background; None likewise
    noise: float  # standard deviation of a pixel of the coarse copy, in intensity


class Sample(NamedTuple):
    """What one image says of its plate's nuclei."""

    diameter: float | None  # px, of this image alone; None where it has no nuclei
    contrast: float | None
    noise: float
    has_nuclei: bool
    is_dark: bool  # dark nuclei on a bright ground
    bins: np.ndarray  # (n,) int: diameters of the blobs, in 1 / BINS octaves of px
    responses: np.ndarray  # (n,) int64: squared
    heights: np.ndarray  # (n,) float64: intensities above the background
    largest: float  # px, diameter that the image has room for


def calibrate(images: Iterable[np.ndarray]) -> Calibration:
    """Find what a typical nucleus is like in a sample of a plate's images.

    Parameters
    ----------
    images : iterable of (rows, columns) arrays of any real type

    Returns
    -------
    Calibration
    """
    return calibration_of([measure_sample(image) for image in images])


def calibration_of(
    samples: Sequence[Sample], *, diameter: float | None = None, contrast: float | None = None
) -> Calibration:
    """Find what a typical nucleus is like from what images say.

    Parameters
    ----------
    samples : sequence of Sample
    diameter, contrast : float, optional
        Known ones, which are taken as they are.

    Returns
    -------
    Calibration
    """
    noises = sorted(sample.noise for sample in samples)
    noise = pixels.rounded(noises[len(noises) // 2]) if noises else 0.0
    if diameter is None:
        diameter = _diameter(samples)
    if diameter is not None and contrast is None:
        contrast = _contrast(samples, diameter)
        if contrast is not None and not contrast > LEAST_CONTRAST * noise:
            contrast = None
    if diameter is None or contrast is None:
        return Calibration(None, None, noise)
    return Calibration(pixels.rounded(diameter), pixels.rounded(contrast), noise)


def _diameter(samples):
    counts = np.zeros(LAST_BIN + 1, np.int64)
    for sample in samples:
        diameters = DISK_SHARE * 2.0 ** (sample.bins / BINS)
        fits = (diameters >= SMALLEST_DIAMETER_PX) & (diameters <= sample.largest)
        np.add.at(counts, sample.bins[fits], sample.responses[fits])
    weights = [round(2 ** (DIAMETER_EXPONENT * number / BINS)) for number in range(len(counts))]
    # Python's whole numbers: of any size.
    pooled = np.convolve(
        np.convolve((counts >> 8).astype(object) * weights, WIDTHS.astype(object), "same"),
        WIDTHS.astype(object),
        "same",
    )
    best = max(range(len(pooled)), key=lambda number: pooled[number])
    return DISK_SHARE * 2 ** (best / BINS) if pooled[best] > 0 else None


def _contrast(samples, diameter):
    """Return the median height of the blobs of about a diameter, weighted by their responses."""
    best = np.log2(diameter / DISK_SHARE) * BINS
    heights, weights = [], []
    for sample in samples:
        near = abs(sample.bins - best) <= NEAR_OCTAVES * BINS
        heights.append(sample.heights[near])
        weights.append(sample.responses[near])
    heights, weights = np.concatenate(heights), np.concatenate(weights)
    if not len(heights):
        return None
    order = np.lexsort((weights, heights))
    total = np.cumsum(weights[order])
    return float(heights[order][np.searchsorted(total, total[-1] / 2)])


def measure_sample(image: np.ndarray) -> Sample:
    """Measure what one image says of its plate's nuclei.

    Parameters
    ----------
    image : (rows, columns) array of any real type

    Returns
    -------
    Sample
    """
    source = pixels.whole_numbers(image)
    factor = min(-(-max(image.shape) // COARSE_SIDE_PX), pixels.LARGEST_FACTOR)
    coarse = pixels.box_sums(source.values, factor)
    coarse = coarse - int(coarse.min())
    ordered = np.sort(coarse.ravel())
    floor = int(ordered[: max(1, len(ordered) // 10)].mean())
    spread = int(ordered[int(0.999 * (len(ordered) - 1))]) - floor
    step = max(1, spread // 2**11)  # 11 bits for what is not exceptionally bright
    values = np.clip((coarse - floor) // step, 0, 2**14 - 1).astype(np.uint16)
    noise = _noise(values, coarse <= ordered[len(ordered) // 2])
    unit = step * source.unit / factor**2
    bins, responses, heights = _blobs(values, noise, factor)
    sample = Sample(
        None,
        None,
        max(noise, 0.29 / step * factor) * unit,
        False,
        False,
        bins,
        responses,
        heights * unit,
        LARGEST_DIAMETER * min(image.shape),
    )
    alone = calibration_of([sample])
    return sample._replace(diameter=alone.diameter, contrast=alone.contrast, has_nuclei=alone.diameter is not None)


def _noise(values, darker):
    detail = np.abs(values * np.float32(KERNEL_SUM) - pixels.blurred(values, pixels.MEDIUM))
    counts = np.bincount(detail[darker].astype(np.int32) >> 5)
    return 1.4826 / 0.8 * pixels.quantile_of(counts, 0.5) * 2**5 / KERNEL_SUM


def _blobs(values, noise, factor):
    constant = max(round(4 * 3 * noise), 4 * 20)
    logs = (pixels.log_table(2**14, max(1, constant // 4)) >> 0)[values]
    logs = np.minimum(logs >> 2, 2**14 - 1).astype(np.uint16)  # 1 / 1024 octave
    level = pixels.blurred(logs, pixels.MEDIUM) * np.float32(1 / KERNEL_SUM)
    level = np.rint(level).astype(np.uint16)
    linear = values
    octaves = []  # (differences, heights)
    octave = 0
    while min(level.shape) >= 8:
        one = np.rint(pixels.blurred(level, pixels.MEDIUM) * np.float32(1 / KERNEL_SUM)).astype(np.uint16)
        two = np.rint(pixels.blurred(one, pixels.WIDE) * np.float32(1 / KERNEL_SUM)).astype(np.uint16)
        opened = pixels.opened(linear, 6).astype(np.int32)
        height = np.rint(pixels.blurred(linear, pixels.NARROW) * np.float32(1 / KERNEL_SUM)).astype(np.int32) - opened
        octaves.append((level.astype(np.int32) - one, one.astype(np.int32) - two, height))
        level = two[::2, ::2]
        linear = np.rint(pixels.blurred(linear, pixels.MEDIUM) * np.float32(1 / KERNEL_SUM)).astype(np.uint16)[::2, ::2]
    differences = [(number // 2, octaves[number // 2][number % 2]) for number in range(2 * len(octaves))]
    bins, responses, heights = [], [], []
    for number, (octave, here) in enumerate(differences):
        here32 = here.astype(np.float32)
        peak = (here32 >= cv2.dilate(here32, np.ones((3, 3), np.uint8))) & (here > LEAST_RESPONSE * 1024)
        rows, columns = np.nonzero(peak)
        value = here[rows, columns]
        neighbours = []
        for other in (number - 1, number + 1):
            if not 0 <= other < len(differences):
                neighbours.append(np.zeros_like(value))
                continue
            shift = differences[other][0] - octave
            there = differences[other][1]
            r = np.minimum(rows >> shift if shift > 0 else rows << -shift, there.shape[0] - 1)
            c = np.minimum(columns >> shift if shift > 0 else columns << -shift, there.shape[1] - 1)
            neighbours.append(there[r, c])
        finer, coarser = neighbours
        top = (value >= finer) & (value >= coarser)
        rows, columns, value, finer, coarser = rows[top], columns[top], value[top], finer[top], coarser[top]
        bend = 2 * value - finer - coarser
        offset = (
            np.where(bend > 0, (coarser - finer) / np.maximum(2 * bend, 1), 0.0)
            if 0 < number < len(differences) - 1
            else np.zeros(len(value))
        )
        diameter_bin = np.rint((np.log2(LEVEL_DIAMETER_PX * factor) + number / 2 + offset / 2) * BINS).astype(np.int64)
        bins.append(np.clip(diameter_bin, 0, LAST_BIN))
        responses.append(value.astype(np.int64) ** 2)
        heights.append(np.maximum(octaves[octave][2][rows, columns], 0))
    if not bins:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(bins), np.concatenate(responses), np.concatenate(heights)
