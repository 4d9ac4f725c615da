"""The threshold of a field: how far above the ground pixels are those of nuclei."""

import functools
import math

import cv2
import numpy as np

from fieldwork.segmentation import pixels
from fieldwork.segmentation.pixels import KERNEL_SUM, OCTAVE, TYPICAL

# Tuned on tests/accuracy's development set alone.
LOG_CONSTANT = 0.4  # of a typical nucleus's intensity; where the log turns from linear to logarithmic
LEAST_SHARE, MOST_SHARE = 0.15, 0.5  # of a typical nucleus's intensity
NOISE_FACTOR = 8  # standard deviations of what is left of the ground
LOW_SHARE, QUARTER_SHARE = 0.05, 0.25  # of pixels: hardly a field covers three quarters with nuclei
QUARTER_DEVIATIONS = 0.97  # of normal noise, between these two
OTSU_STEP = 2**6  # of the logs, for Otsu's histogram
QUARTER_STEPS = 2**16  # a histogram's length
STRIP_PX = 2**22  # counted at once; float32 counts up to 2**24


def quarters_of(smooth: np.ndarray) -> np.ndarray:
    """Return blurred pixels in quarters of a step, rounded down.

    Parameters
    ----------
    smooth : float32 array of any shape
        Whole numbers: `KERNEL_SUM` times steps of a working copy.

    Returns
    -------
    uint16 array of that shape
    """
    return (smooth * np.float32(4 / KERNEL_SUM)).astype(np.uint16)


def logs_of(smooth: np.ndarray) -> np.ndarray:
    """Return the log2 of blurred pixels, linear near 0, as whole numbers in 1 / `OCTAVE`.

    Parameters
    ----------
    smooth
        As for `quarters_of`.

    Returns
    -------
    uint16 array of that shape
    """
    return _log_table().take(quarters_of(smooth))


@functools.cache
def _log_table():
    return pixels.log_table(QUARTER_STEPS, round(4 * LOG_CONSTANT * TYPICAL))


def histogram_of(smooth: np.ndarray) -> np.ndarray:
    """Count blurred pixels by their quarters of a step.

    Parameters
    ----------
    smooth : (rows, columns) float32 array
        As for `quarters_of`.

    Returns
    -------
    (2**16,) int64 array
    """
    counts = np.zeros(QUARTER_STEPS, np.int64)
    height = max(1, STRIP_PX // smooth.shape[1])
    for row in range(0, len(smooth), height):  # OpenCV is three times as fast as NumPy, and counts in float32
        strip = quarters_of(smooth[row : row + height])
        counts += cv2.calcHist([strip], [0], None, [QUARTER_STEPS], [0, QUARTER_STEPS]).ravel().astype(np.int64)
    return counts


def threshold_of(counts: np.ndarray) -> int:
    """Return the threshold of a field, in steps of its working copy above the ground.

    It is Otsu's on the log image, but no less than what is left of the ground varies by, and neither less nor more
    than certain shares of a typical nucleus. Otsu's is that of N. Otsu, IEEE Trans. Syst. Man Cybern. 9, 62 (1979).

    Parameters
    ----------
    counts : (2**16,) int array
        From `histogram_of`, of rows all over the field.

    Returns
    -------
    int
    """
    counts = counts[: 1 + int(np.flatnonzero(counts)[-1])]
    low, quarter = (pixels.quantile_of(counts, share) / 4 for share in (LOW_SHARE, QUARTER_SHARE))
    noise = (quarter - low) / QUARTER_DEVIATIONS
    # Exact: counts are below 2**53.
    logs = np.bincount(_log_table()[: len(counts)] // OTSU_STEP, counts).astype(np.int64)
    octaves = _otsu(logs) * OTSU_STEP / OCTAVE
    otsu = (2.0**octaves - 1) * LOG_CONSTANT * TYPICAL
    value = max(otsu, LEAST_SHARE * TYPICAL, quarter + NOISE_FACTOR * noise)
    return math.ceil(min(value, MOST_SHARE * TYPICAL))


def share_near(counts: np.ndarray, threshold: int) -> float:
    """Return the share of pixels within half an octave of a threshold: those about which little decides.

    Parameters
    ----------
    counts
        As for `threshold_of`.
    threshold : int
        In steps above the ground.

    Returns
    -------
    float
    """
    first, end = (math.ceil(4 * threshold * factor) for factor in (2**-0.5, 2**0.5))
    return int(counts[first:end].sum()) / int(counts.sum())


def _otsu(counts):
    """Return Otsu's threshold of the values 0 to n - 1, in Python's integers, which have no largest."""
    numbers, below, weighted = counts.tolist(), 0, 0
    total, moment = sum(numbers), sum(value * number for value, number in enumerate(numbers))
    best, threshold = -1, 0
    for value, number in enumerate(numbers):
        below += number
        weighted += value * number
        if below in (0, total):
            continue
        between = (moment * below - weighted * total) ** 2 // (below * (total - below))
        if between > best:
            best, threshold = between, value
    return threshold
