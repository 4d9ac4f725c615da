"""Measure what may be wrong with a segmented field, in units of its plate's typical nucleus.

None of these figures depends on how many nuclei there are. Whether they are too high or too low is for the plate to say
(`fieldwork.detection.plate_flags`).
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from fieldwork.segmentation import pixels
from fieldwork.segmentation.flags import Nuclei, median
from fieldwork.segmentation.pixels import KERNEL_SUM, TYPICAL

LEAST_EDGE_PX = 24  # that tell how sharp a field is: a nucleus has 60
STEEP_PERCENT = 75  # of edges: the upper quarter are no seams between touching nuclei, which crowded fields have
BRIGHT_FACTOR = 2.5  # of debris: times as bright as nuclei
MOST_HEIGHT = 2.5  # contrasts of nuclei that this is measured by: what is higher may be debris itself
LIMIT_SHARE, LEAST_LIMIT_CONTRASTS = 0.9, 1.5  # of the camera's highest value, of debris that reaches it
RELIEF_DIAMETERS, RELIEF_SHARE = 2, 0.9
BACKGROUND_PX, BACKGROUND_SHARE = 256, 50  # rows and columns that tell it; of so many pixels, one is darker


class Figures(NamedTuple):
    """What a field says of its quality; None where it says nothing."""

    sharpness: float | None = None  # slope of the steeper edges of nuclei, in peaks per typical diameter
    width: float | None = None  # of nuclei, in typical diameters
    height: float | None = None  # likewise, in typical contrasts
    saturated: float | None = None  # share of the nuclei's pixels that are at the camera's limit
    background: float | None = None  # intensity of the ground, in contrasts
    debris: float | None = None  # area of the largest object that is far brighter than nuclei, in areas of these
    relief: float | None = None  # how uneven the ground is over two diameters, in contrasts


def of_nuclei(nuclei: Nuclei, diameter: float) -> Figures:
    """Measure the edges, widths and heights of nuclei: medians.

    Parameters
    ----------
    nuclei : Nuclei
    diameter : float
        Of the plate's typical nucleus, in pixels of the working copy.
    """
    if len(nuclei.slopes) < LEAST_EDGE_PX:
        return Figures()
    return Figures(
        sharpness=float(np.percentile(nuclei.slopes, STEEP_PERCENT, method="inverted_cdf")) * diameter,
        width=math.sqrt(4 / math.pi * median(nuclei.areas)) / diameter,
        height=median(nuclei.peaks) / (TYPICAL * KERNEL_SUM),
    )


def background_of(image: np.ndarray, contrast: float) -> float:
    """Measure the ground of an image in contrasts: all but the darkest fiftieth of its pixels are brighter.

    Parameters
    ----------
    image : (rows, columns) array of any real type
        As the camera gave it.
    contrast : float
        Of a typical nucleus.
    """
    sample = image[tuple(slice(None, None, 1 + side // BACKGROUND_PX) for side in image.shape)].ravel()
    return pixels.dark_of(sample, BACKGROUND_SHARE) / contrast


def debris_of(coarse: np.ndarray, diameter: float, height: float | None, limit: float | None) -> float:
    """Measure the area of the largest bright object of a field, in areas of a typical nucleus.

    Parameters
    ----------
    coarse : (rows, columns) uint16 array
        The working copy, shrunk: steps above its floor.
    diameter : float
        Of a typical nucleus, in its pixels.
    height : float or None
        Of the field's nuclei, in contrasts.
    limit : float or None
        Steps of the camera's highest value, where the field reaches it.
    """
    least = BRIGHT_FACTOR * min(max(1.0, height or 1.0), MOST_HEIGHT)
    if limit is not None:
        least = min(least, max(LEAST_LIMIT_CONTRASTS, LIMIT_SHARE * limit / TYPICAL))
    bright = (coarse > least * TYPICAL).view(np.uint8)
    if not bright.any():
        return 0.0
    areas = np.bincount(cv2.connectedComponents(bright, connectivity=4)[1].ravel())
    return float(areas[1:].max()) / (math.pi / 4 * diameter**2)


def relief_of(ground: np.ndarray, diameter: float) -> float:
    """Measure how uneven a ground is: nuclei too blurred to be found make hills, uneven light goes on as it begins.

    Parameters
    ----------
    ground : (rows, columns) uint16 array
        Of the coarse copy, in steps.
    diameter : float
        Of a typical nucleus, in its pixels.

    Returns
    -------
    float
        Second difference, which nine in ten pixels do not exceed, in contrasts.
    """
    step = max(1, round(RELIEF_DIAMETERS * diameter))
    bends = []
    for values in (ground.astype(np.int32), ground.T.astype(np.int32)):
        if len(values) > 2 * step:
            bends.append(np.abs(values[: -2 * step] - 2 * values[step:-step] + values[2 * step :]).ravel())
    if not bends:
        return 0.0
    return pixels.quantile_of(np.bincount(np.concatenate(bends)), RELIEF_SHARE) / TYPICAL
