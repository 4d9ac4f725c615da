"""Find the nuclei in a working copy of an image: which pixels belong to which."""

import functools
import math
from typing import NamedTuple

import cv2
import numpy as np

from fieldwork.segmentation import basins, pixels, thresholds
from fieldwork.segmentation.pixels import KERNEL_SUM, OCTAVE

# Tuned on tests/accuracy's development set alone.
SHAPE_CAP_RADII = 2.0  # from the edge; deeper inside, only intensity tells nuclei apart
LOG_RADII = 0.3  # per octave of intensity: what it counts beside the distance to the edge
SPLIT_RADII = 0.06  # depth of a saddle from which two parts of a typical nucleus's area are two nuclei
LEAST_FACTOR, MOST_FACTOR = 0.2, 5.0  # of that depth, for larger and smaller parts
FIBRE_SPLIT_RADII = 0.12  # shallower saddles lie within a fibre
FIBRE_DIAMETERS = 0.75  # largest radius; thicker things are no fibres
FIBRE_DISKS = 6  # area of a fibre, of the largest disk that fits into it
LEAST_AREA, LEAST_AREA_PX = 0.1, 12  # of a nucleus: of a typical one's; px of the image
BRIGHT_SHARE = 0.5  # of the intensity above the darkest: a nucleus that makes up more of it stands out of its ground
LEAST_DIM_PEAK = 2.0  # thresholds: height of a nucleus that does not stand out


class Contours(NamedTuple):
    """Where the outline of a nucleus runs, and which ones are none."""

    own_share: float  # of a nucleus's peak, where its outline runs
    shrunk_share: float  # likewise in a copy that was shrunk, and blurred by that
    least_peak: float  # thresholds: height of a nucleus that stands out


FLUORESCENT = Contours(0.27, 0.35, 1.2)
# Tuned on what readers counted on a slide (tests/accuracy/cmu_1_points.csv) and on annotated colour fields.
STAINED = Contours(0.35, 0.45, 1.5)
SMOOTHING = pixels.WIDE, pixels.MEDIUM  # of stained tissue: sigma is sqrt(3) px, an eighth of a nucleus


class Scale(NamedTuple):
    """The size of a working copy's pixels."""

    diameter: float  # of a typical nucleus, in pixels of the copy
    shrunk: int  # pixels of the image per pixel of the copy, in each direction
    enlarged: int  # pixels of the copy per pixel of the image; this or `shrunk` is 1


class Objects(NamedTuple):
    """The nuclei of a working copy."""

    labels: np.ndarray  # (rows, columns) int32: 1..n, in any order
    brightest: np.ndarray  # (n + 1,) int64: index in the flat copy of a pixel of each label; of 0 any
    margin: np.ndarray  # (rows, columns) float32: above the threshold of a pixel's nucleus, in 1 / KERNEL_SUM steps


def objects_of(
    smooth: np.ndarray, ground: np.ndarray, threshold: int, scale: Scale, contours: Contours = FLUORESCENT
) -> Objects:
    """Find the nuclei of a working copy.

    Pixels above the field's threshold are divided into the basins of their peaks. What lies lower than a share of its
    own peak is ground: the halo of a bright nucleus. The rest is divided once more, by shape and intensity together.

    Parameters
    ----------
    smooth : (rows, columns) float32 array
        The copy without its ground, lightly blurred: whole numbers, `KERNEL_SUM` times steps.
    ground : (rows, columns) uint16 array
        In steps.
    threshold : int
        Of the field, in steps above the ground: at least 1.
    scale : Scale
    contours : Contours

    Returns
    -------
    Objects
    """
    surface, least = pixels.framed(smooth), np.float32(threshold * KERNEL_SUM)
    bright = np.flatnonzero(surface.ravel() > least)
    basin, peaks = basins.basins(surface, bright)
    share = np.float32(contours.own_share if scale.shrunk == 1 else contours.shrunk_share)
    own = np.maximum(np.floor(surface.ravel()[peaks] * share), least)
    above = surface.ravel().take(bright) - own.take(basin - 1)
    margin = surface - least
    margin.ravel()[bright] = above
    labels, inside = np.zeros(surface.shape, np.int32), bright[above > 0]
    brightest = np.zeros(1, np.int64)
    if len(inside):
        parts, summits = _divided(surface, inside, scale.diameter)
        candidates = np.searchsorted(inside, np.concatenate([peaks, summits]))
        brightest = inside[highest(parts, surface.ravel().take(inside), candidates)]
        heights, grounds = surface.ravel()[brightest], pixels.framed(ground).ravel()[brightest]
        kept = _are_nuclei(np.bincount(parts), heights, grounds, threshold, scale, contours.least_peak)
        labels.ravel()[inside] = (np.cumsum(kept, dtype=np.int32) * kept).take(parts)
        kept[0] = True
        brightest = pixels.unframed_indices(brightest[kept], smooth.shape[1])
    return Objects(np.ascontiguousarray(pixels.unframed(labels)), brightest, pixels.unframed(margin))


def _divided(surface, inside, diameter):
    """Divide pixels into nuclei: basins of the distance to the edge and of intensity together.

    A basin is a nucleus of its own if the saddles to its neighbours are deep, the deeper the smaller it is. Returns the
    nucleus of each pixel, from 1, which is 0 in fibres, and the index in the flat framed image of each basin's summit.
    """
    mask = np.zeros(surface.shape, np.uint8)
    mask.ravel()[inside] = 1
    distances = _distances(mask, inside)
    shape = np.minimum(distances * np.float32(2 * OCTAVE / diameter), np.float32(SHAPE_CAP_RADII * OCTAVE))
    shape += thresholds.logs_of(surface.ravel().take(inside)) * np.float32(LOG_RADII)
    heights = _blurred_inside(np.rint(shape), inside, mask)
    basin, summits = basins.basins(heights, inside)
    saddles = basins.saddles(basin, heights, inside)
    areas = np.bincount(basin)
    merge = functools.partial(basins.merged, saddles, heights.ravel()[summits].tolist(), areas[1:].tolist())
    typical, radius = math.pi / 4 * diameter**2, OCTAVE * KERNEL_SUM  # in which heights are measured

    def depth_of(area):
        return SPLIT_RADII * radius * min(max(typical / area, LEAST_FACTOR), MOST_FACTOR)

    parts, strands = merge(depth_of).take(basin), merge(lambda _: FIBRE_SPLIT_RADII * radius)
    widths = np.zeros(len(areas), np.float32)
    np.maximum.at(widths, basin, distances)
    fibres = _are_fibres(strands, areas, widths, diameter)
    if fibres.any():
        component = cv2.connectedComponents(mask, connectivity=8)[1].ravel()[inside]
        parts[_are_mostly(fibres[strands[basin]], component)] = 0
    return parts, summits


def _distances(mask, inside):
    """Return the distance to the edge of each pixel inside; the image's border is no edge.

    OpenCV's distances are sums of 1, 1.4 and 2.1969 px, with another last digit in each of its ways to compute them.
    """
    mask = mask.copy()
    mask[[0, -1]] = mask[:, [0, -1]] = 1
    distances = cv2.distanceTransform(mask, cv2.DIST_L2, 5).ravel().take(inside)
    return np.rint(2000 * distances) * np.float32(1 / 2000)


def _blurred_inside(values, inside, mask):
    """Return a framed image of pixels inside, blurred; the others are 0."""
    image = np.zeros(mask.shape, np.float32)
    image.ravel()[inside] = np.minimum(values, pixels.BRIGHTEST)
    return cv2.copyTo(pixels.framed(pixels.blurred(pixels.unframed(image), pixels.NARROW)), mask)


def _are_fibres(strands, areas, widths, diameter):
    """Return True for the strands that are fibres: long, and nowhere as wide as a nucleus.

    Of each basin: its strand, its area and its largest distance to the edge. A row of nuclei is many strands: between
    nuclei it is narrow.
    """
    radius = np.zeros(strands.max() + 1, np.float32)
    np.maximum.at(radius, strands, widths)
    area = np.bincount(strands, areas)
    return (radius < FIBRE_DIAMETERS * diameter) & (area > FIBRE_DISKS * math.pi * radius**2)


def _are_mostly(marked, component):
    """Return True for the pixels that are marked, and for all pixels of a component most of whose pixels are."""
    return marked | (np.bincount(component, marked) * 2 > np.bincount(component))[component]


def highest(labels: np.ndarray, values: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Return the candidate with the highest value of each label, of 0 any; the last one of equal values.

    Parameters
    ----------
    labels : (n,) int32 array
        Of pixels; each from 1 on has a candidate.
    values : (n,) float32 array
    candidates : (m,) int64 array
        Indices of pixels.

    Returns
    -------
    (labels.max() + 1,) int64 array
    """
    label = labels[candidates]
    order = np.lexsort((candidates, values[candidates], label))
    ends = np.searchsorted(label[order], np.arange(label.max() + 1), side="right")
    return candidates[order][ends - 1]


def _are_nuclei(areas, heights, grounds, threshold, scale, least_peak):
    """Return True for the labels that are neither too small nor hardly stand out of their surroundings."""
    stands_out = heights >= BRIGHT_SHARE * (heights + grounds * np.float32(KERNEL_SUM))
    least_height = np.where(stands_out, least_peak, LEAST_DIM_PEAK) * threshold * KERNEL_SUM
    kept = (areas >= least_area(scale)) & (heights >= least_height)
    kept[0] = False  # the ground
    return kept


def least_area(scale: Scale) -> float:
    """Return the pixels of the smallest nucleus in a working copy."""
    least_px = LEAST_AREA_PX * (scale.enlarged / scale.shrunk) ** 2
    return max(LEAST_AREA * math.pi / 4 * scale.diameter**2, least_px)
