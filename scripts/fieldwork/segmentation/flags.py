"""Find what is odd about a segmented field: its focus, pixels at the camera's limit, nuclei unlike its plate's."""

import math
from typing import NamedTuple

import numpy as np

from fieldwork.segmentation.pixels import KERNEL_SUM, TYPICAL

PIXELS = 2**13  # of nuclei that are looked at, evenly spread
MOST_STEP = 40  # pixels of nuclei, of which one is looked at; with more than a nucleus has, its area would be wrong
ROWS = 512  # of the image, likewise
LEAST_OBJECTS = 5  # of less, a median tells nothing
FACTOR_DIAMETER, FACTOR_CONTRAST = 1.7, 3  # beyond, nuclei are unlike their plate's
BACKGROUND_CONTRASTS = 3  # that a field's background may be away from its plate's
BACKGROUND_SHARE = 0.01  # of itself, likewise: calibrations are rounded
BAND = 0.3, 0.7  # of a nucleus's peak: its edge
LEAST_SLOPE = 1.75  # peaks per diameter, of the edges of nuclei in focus
SOFTEST_SLOPE = 1.38  # likewise, whatever the plate
USUAL_SOFTNESS = 0.4  # of a plate; what is in focus on a softer one has less steep edges
LEAST_SATURATED, LEAST_SATURATED_PX = 0.02, 16  # of the pixels of nuclei
PILE = 3  # times as many pixels at the limit as just below it


class Nuclei(NamedTuple):
    """Some pixels of a working copy's nuclei, and the nuclei's areas and peaks."""

    slopes: np.ndarray  # (n,) float32: of pixels at edges, in peaks per pixel
    areas: np.ndarray  # (m,) int: px
    peaks: np.ndarray  # (m,) float32: above the ground


def nuclei_of(labels: np.ndarray, smooth: np.ndarray) -> Nuclei:
    """Measure the nuclei of a working copy by some of their pixels.

    Parameters
    ----------
    labels : (rows, columns) int32 array
    smooth : (rows, columns) float32 array
        Above the ground: whole numbers.

    Returns
    -------
    Nuclei
    """
    rows, columns = labels.shape
    inside = np.flatnonzero(labels.ravel() > 0)
    every = min(1 + len(inside) // PIXELS, MOST_STEP)
    inside = inside[::every]
    number, values = labels.ravel()[inside], smooth.ravel()[inside]
    areas = np.bincount(number)
    peaks = np.zeros(len(areas), np.float32)
    np.maximum.at(peaks, number, values)
    low, high = (np.float32(share) * peaks[number] for share in BAND)
    row, column = np.divmod(inside, columns)
    edge = (values > low) & (values < high) & (row > 0) & (row < rows - 1) & (column > 0) & (column < columns - 1)
    at, peak = inside[edge], peaks[number[edge]]
    flat = smooth.ravel()
    across, down = (flat[at + step] - flat[at - step] for step in (1, columns))
    return Nuclei(np.sqrt(across * across + down * down) / (2 * peak), areas[areas > 0] * every, peaks[areas > 0])


def is_out_of_focus(nuclei: Nuclei, diameter: float, softness: float | None) -> bool:
    """Return True if the edges of most nuclei are too soft for their plate.

    Parameters
    ----------
    nuclei : Nuclei
    diameter : float
        Of the plate's typical nucleus, in pixels of the working copy.
    softness : float or None
        Of its edge.
    """
    if not len(nuclei.slopes):
        return False
    share = min(1.0, USUAL_SOFTNESS / softness) if softness else 1.0
    return median(nuclei.slopes) * diameter < max(LEAST_SLOPE * share * share, SOFTEST_SLOPE)


def is_unlike_plate(nuclei: Nuclei, diameter: float) -> bool:
    """Return True if most nuclei are much larger, smaller, brighter or dimmer than the plate's.

    Parameters
    ----------
    nuclei : Nuclei
        Of a working copy in which a typical nucleus has `TYPICAL`.
    diameter : float
        Of the plate's typical nucleus, in pixels of the working copy.
    """
    if len(nuclei.areas) < LEAST_OBJECTS:
        return False
    own = math.sqrt(4 / math.pi * median(nuclei.areas))
    peak = median(nuclei.peaks) / (TYPICAL * KERNEL_SUM)
    return not (
        1 / FACTOR_DIAMETER <= own / diameter <= FACTOR_DIAMETER and 1 / FACTOR_CONTRAST <= peak <= FACTOR_CONTRAST
    )


def is_constant(values: np.ndarray) -> bool:
    """Return True if all pixels of an image are equal: not even noise, so no camera saw anything."""
    return bool((values[:1] == values[0, 0]).all() and (values == values[0, 0]).all())


def is_background_unlike(background: float, usual: float | None, contrast: float) -> bool:
    """Return True if a field's background is far from its plate's, as nuclei are high."""
    if usual is None:
        return False
    return abs(background - usual) > BACKGROUND_CONTRASTS * contrast + BACKGROUND_SHARE * abs(usual)


def saturated_share(image: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of the pixels of nuclei at the highest value that the camera gives; 1 if half of the image is.

    Parameters
    ----------
    image : (rows, columns) array
    labels : (rows, columns) int array
    """
    every = 1 + len(image) // ROWS
    top, image, labels = image.max(), image[::every], labels[::every]
    limit = image == top
    number = np.count_nonzero(limit)
    if 2 * number >= image.size:
        return float(image.dtype.kind in "iu" and int(top) >= 255 and int(top) & (int(top) + 1) == 0)
    if number < LEAST_SATURATED_PX or not _is_limit(image, limit, number):
        return 0.0
    clipped = np.count_nonzero(labels[limit])
    return float(clipped / np.count_nonzero(labels)) if clipped >= LEAST_SATURATED_PX else 0.0


def limit_of(image: np.ndarray) -> float | None:
    """Return the highest value of an image where many pixels have it: the camera gives no higher one; else None."""
    every = 1 + len(image) // ROWS
    top, image = image.max(), image[::every]
    limit = image == top
    number = np.count_nonzero(limit)
    return float(top) if LEAST_SATURATED_PX <= number < image.size and _is_limit(image, limit, number) else None


def _is_limit(image, limit, number):
    """Return True if many more pixels have the highest value than the one below."""
    below = image[~limit].max()
    return bool(number >= PILE * np.count_nonzero(image == below))


def median(values: np.ndarray) -> float:
    """Return the upper median of an array, which is one of its values."""
    return float(np.partition(values, len(values) // 2)[len(values) // 2])
