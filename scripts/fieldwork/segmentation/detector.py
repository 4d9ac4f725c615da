"""Outline the nuclei of one image, given what a typical nucleus of its plate is like."""

import functools
import math
from typing import NamedTuple

import cv2
import numpy as np

from fieldwork import label_images
from fieldwork.segmentation import basins, flags, pixels
from fieldwork.segmentation.calibration import Calibration, calibrate
from fieldwork.segmentation.pixels import KERNEL_SUM, OCTAVE, TYPICAL

# Tuned on tests/accuracy's development set alone.
WORKING_DIAMETER_PX = 14  # of a typical nucleus in the working copy
SMALLEST_DIAMETER_PX = 12  # below, images are enlarged by two
GROUND_DIAMETERS = 1.7  # width of the opening that takes nuclei away
ODD_PIXELS = 0.002  # share of pixels far from their neighbours' median from which the median takes their place
LOG_CONSTANT = 0.4  # of a typical nucleus's intensity; where the log turns from linear to logarithmic
OTSU_SHARE = 1.0
LEAST_THRESHOLD, MOST_THRESHOLD = 0.15, 0.5  # shares of a typical nucleus's intensity
NOISE_FACTOR = 8  # threshold in standard deviations of the blurred noise
OWN_SHARE = 0.27  # of a nucleus's peak, where its outline runs
SHRUNK_SHARE = 0.35  # likewise in a copy that was shrunk, and blurred by that
STANDS_OUT = 0.5
STANDS_LEAST = 0.0
DIM_PEAK = 1.2
LEAST_PEAK = 2.0  # thresholds

SHAPE_CAP = 2.0  # radii: deeper inside, only intensity tells nuclei apart


AREA_LOW = 0.2
AREA_HIGH = 5.0
LOG_WEIGHT = 0.3  # radii per octave
SHAPE_DEPTH = 0.06  # radii
FIBRE_DEPTH = 0.12  # radii: shallower saddles lie within a fibre
FIBRE_RADIUS = 0.75  # diameters; thicker things are no fibres
FIBRE_DISKS = 6  # of the largest disk that fits into it
LEAST_AREA, LEAST_AREA_PX = 0.1, 12  # of a typical nucleus; px


class Segmentation(NamedTuple):
    """The outlines of one image's nuclei, and what is odd about the image."""

    labels: np.ndarray  # (rows, columns) int32: nuclei 1..n in reading order; 0 is ground
    threshold: float | None  # in the image's unit, at the median ground; None: nothing was looked for
    out_of_focus: bool
    saturated: bool
    unlike_plate: bool


def segment_nuclei(image: np.ndarray, calibration: Calibration | None = None) -> np.ndarray:
    """Outline the nuclei of an image.

    Parameters
    ----------
    image : (rows, columns) array of any real type
        Bright nuclei on a dark ground.
    calibration : Calibration, optional
        From `calibrate`, of images of the same plate. Without it the image calibrates itself.

    Returns
    -------
    (rows, columns) int32 array
        Nuclei are 1..n, in reading order of their first pixels; 0 is ground.

    Raises
    ------
    ValueError
        It is not a 2-D image of finite numbers.
    """
    return segment_field(image, calibrate([image]) if calibration is None else calibration).labels


def segment_field(image: np.ndarray, calibration: Calibration) -> Segmentation:
    """Outline the nuclei of an image, and check whether it is like the images of its plate.

    Parameters
    ----------
    image, calibration
        As for `segment_nuclei`.

    Returns
    -------
    Segmentation
    """
    source = pixels.whole_numbers(image)
    if calibration.diameter is None or calibration.contrast is None:
        labels = np.zeros(image.shape, np.int32)
        return Segmentation(labels, None, False, flags.is_saturated(image, labels), False)
    copy = _working_copy(source, calibration)
    objects = _objects_of(copy)
    labels = label_images.renumber(_full_resolution(objects, copy, image.shape))
    threshold = source.offset + source.unit * (copy.floor + copy.unit * objects.threshold)
    background = source.offset + source.unit * copy.floor
    return Segmentation(
        labels,
        threshold,
        flags.is_out_of_focus(objects.nuclei, copy.diameter, calibration.softness),
        flags.is_saturated(image, labels),
        flags.is_unlike_plate(objects.nuclei, copy.diameter)
        or flags.is_background_unlike(background, calibration.background, calibration.contrast),
    )


class _Copy(NamedTuple):
    """A working copy: shrunk or enlarged until nuclei have the size that the detector is made for."""

    values: np.ndarray  # (rows, columns) uint16: above the floor; a typical nucleus has `TYPICAL`
    shrunk: int  # pixels of the image per pixel, in each direction
    enlarged: int  # pixels per pixel of the image
    diameter: float  # of a typical nucleus, in pixels of the copy
    floor: float  # the image's value (of `Pixels`) where the copy is 0
    unit: float  # and its step


def _working_copy(source, calibration):
    diameter = calibration.diameter
    enlarged = 2 if diameter < SMALLEST_DIAMETER_PX else 1
    shrunk = min(max(1, round(diameter / WORKING_DIAMETER_PX)), pixels.LARGEST_FACTOR) if enlarged == 1 else 1
    values = _without_odd_pixels(source.values, calibration.contrast / source.unit)
    if enlarged == 2:
        sums = pixels.enlarged(values.astype(np.uint16), 2).astype(np.int32)
    else:
        sums = pixels.box_sums(values, shrunk)
    sample = sums[:: 1 + sums.shape[0] // 512, :: 1 + sums.shape[1] // 512].ravel()
    floor = int(np.partition(sample, len(sample) // 50)[len(sample) // 50])
    unit = calibration.contrast / source.unit * shrunk**2 / TYPICAL  # of a sum
    values = (sums - floor) * np.float32(1 / unit) + np.float32(0.5)
    return _Copy(
        np.clip(values, 0, pixels.BRIGHTEST, out=values).astype(np.uint16),
        shrunk,
        enlarged,
        diameter * enlarged / shrunk,
        floor / shrunk**2,
        unit / shrunk**2,
    )


def _without_odd_pixels(values, contrast):
    """Return an image, or its median of 3 x 3 px where many pixels are hot or dead."""
    median = cv2.medianBlur(values, 3)
    odd = cv2.absdiff(median[::4], values[::4]) > contrast / 2
    return median if np.count_nonzero(odd) > ODD_PIXELS * odd.size else values


class _Objects(NamedTuple):
    """What was found in a working copy."""

    labels: np.ndarray  # (rows, columns) int32
    margin: np.ndarray  # (rows, columns) float32: above the threshold of the pixel's nucleus, in 1 / KERNEL_SUM steps
    threshold: float  # of the field, ground included, in steps
    nuclei: flags.Nuclei


def _objects_of(copy):
    ground = _ground(copy)
    smooth = pixels.blurred(cv2.subtract(copy.values, ground), pixels.SLIGHT)  # in 1 / KERNEL_SUM of a step
    cut = _threshold(np.bincount((smooth.ravel() * np.float32(1 / 256)).astype(np.uint16)))
    threshold = cut + float(np.median(ground[:: 1 + len(ground) // 64]))
    margin = smooth - np.float32(cut * KERNEL_SUM)
    labels = np.zeros(smooth.shape, np.int32)
    inside = np.flatnonzero(margin.ravel() > 0)
    basin, peaks = basins.basins(smooth, inside)
    heights = smooth.ravel()[peaks]
    share = np.float32(OWN_SHARE if copy.shrunk == 1 else SHRUNK_SHARE)
    own = np.maximum(np.floor(heights * share), np.float32(cut * KERNEL_SUM))
    above = smooth.ravel()[inside] - own[basin - 1]
    margin.ravel()[inside] = above
    inside = inside[above > 0]
    if len(inside):
        mask = margin > 0
        distances = _distances(mask, inside)
        shape = np.minimum(distances * np.float32(2 * OCTAVE / copy.diameter), np.float32(SHAPE_CAP * OCTAVE))
        shape += _logs(smooth, inside) * np.float32(LOG_WEIGHT)
        parts, summits = _split_by_shape(shape, distances, mask, inside, copy.diameter)
        labels.ravel()[inside] = parts
        brightest = _brightest(labels, smooth, np.concatenate([peaks, summits]))
        labels.ravel()[inside] = _kept(parts, brightest, ground, smooth, copy, cut)[parts]
    return _Objects(labels, margin, threshold, flags.nuclei_of(labels, smooth))


def _ground(copy):
    """Return the (rows, columns) uint16 ground: what stays where everything narrower than two nuclei is taken away."""
    factor = max(1, int(copy.diameter // 4))
    coarse = (pixels.box_sums(copy.values, factor) // factor**2).astype(np.uint16)
    radius = max(1, round(GROUND_DIAMETERS * copy.diameter / factor / 2))
    coarse = pixels.averaged(pixels.opened(coarse, radius), 2 * radius + 1)
    rows, columns = copy.values.shape
    return pixels.enlarged(coarse, factor)[:rows, :columns]


@functools.cache
def _table():
    return pixels.log_table(2**16, round(LOG_CONSTANT * TYPICAL * 4))


def _logs(smooth, inside):
    """Return the log2 of pixels of a blurred image, as whole numbers."""
    return _table()[(smooth.ravel()[inside] * np.float32(1 / 256)).astype(np.uint16)]  # quarters of a step


def _threshold(counts):
    """Return the threshold of the field in steps, a whole number; `counts`: of quarters of a step.

    What is left of the ground varies as its lower quarter does, which hardly a field covers with nuclei.
    """
    low, quarter = (pixels.quantile_of(counts, share) / 4 for share in (0.05, 0.25))
    noise = (quarter - low) / 0.97  # of normal noise, from its 5th to its 25th percentile
    otsu = _otsu(np.bincount(_table()[: len(counts)] >> 6, counts).astype(np.int64)) * 2**6 / OCTAVE
    value = OTSU_SHARE * (2.0**otsu - 1) * LOG_CONSTANT * TYPICAL
    value = max(value, LEAST_THRESHOLD * TYPICAL, quarter + NOISE_FACTOR * noise)
    return math.ceil(min(value, MOST_THRESHOLD * TYPICAL))


def _otsu(counts):
    """Return Otsu's threshold of the values 0 to n - 1, in whole numbers."""
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


def _enlarged_mask(margin, factor):
    """Return where the interpolated margin is above 0, at the image's resolution."""
    levels = 128 + np.clip(np.rint(margin * np.float32(1 / 2**12)), -127, 127)  # of 4 steps
    levels[(margin > 0) & (levels <= 128)] = 129
    return pixels.enlarged(levels.astype(np.uint8), factor) > 128


def _distances(mask, inside):
    """Return the distance to the edge of each pixel inside.

    OpenCV's distances are sums of 1, 1.4 and 2.1969 px, with another last digit in each of its ways to compute them.
    """
    distances = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 5).ravel()[inside]
    return np.rint(2000 * distances) * np.float32(1 / 2000)


def _split_by_shape(shape, distances, mask, inside, diameter):
    """Return the part of each pixel inside, 0 in fibres, and the highest pixel of each basin.

    Parts are basins of the distance to the edge and of intensity together, merged where they are shallow. Merged
    whatever their size, a fibre is one part, long and nowhere as wide as a nucleus; a row of nuclei is many.
    """
    values = np.zeros(mask.shape, np.uint16)
    values.ravel()[inside] = np.minimum(np.rint(shape), pixels.BRIGHTEST)
    heights = pixels.blurred(values, pixels.NARROW) * mask
    basin, summits = basins.basins(heights, inside)
    saddles = basins.saddles(basin, heights, inside)
    peaks, areas = heights.ravel()[summits].tolist(), np.bincount(basin)[1:].tolist()
    typical, depth = math.pi / 4 * diameter**2, SHAPE_DEPTH * OCTAVE * KERNEL_SUM

    def depth_of(area):
        return depth * min(max(typical / area, AREA_LOW), AREA_HIGH)

    parts = basins.merged(saddles, peaks, areas, depth_of)
    pieces = basins.merged(saddles, peaks, areas, lambda _: FIBRE_DEPTH * OCTAVE * KERNEL_SUM)
    radius = np.zeros(pieces.max() + 1, np.float32)
    np.maximum.at(radius, pieces[basin], distances)
    area = np.bincount(pieces[1:], areas, minlength=len(radius))
    fibre = ((radius < FIBRE_RADIUS * diameter) & (area > FIBRE_DISKS * math.pi * radius**2))[pieces[basin]]
    parts = parts[basin]
    if fibre.any():
        component = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)[1].ravel()[inside]
        parts[(np.bincount(component, fibre) * 2 > np.bincount(component))[component] | fibre] = 0
    return parts, summits


def _brightest(labels, smooth, candidates):
    """Return the index in the flat image of the brightest pixel of each label, of 0 any; one of them is a candidate."""
    label = labels.ravel()[candidates]
    order = np.lexsort((candidates, smooth.ravel()[candidates], label))
    ends = np.searchsorted(label[order], np.arange(label.max() + 1), side="right")
    return candidates[order][ends - 1]


def _kept(parts, brightest, ground, smooth, copy, cut):
    """Return the new label of each label: 0 for what is too small or hardly stands out of its surroundings."""
    area = np.bincount(parts)
    height = smooth.ravel()[brightest]
    total = height + ground.ravel()[brightest] * np.float32(KERNEL_SUM)
    least = max(LEAST_AREA * math.pi / 4 * copy.diameter**2, LEAST_AREA_PX * (copy.enlarged / copy.shrunk) ** 2)
    peak = np.where(height >= STANDS_OUT * total, DIM_PEAK, LEAST_PEAK)
    kept = (area >= least) & (height >= peak * cut * KERNEL_SUM)
    kept[0] = False
    return np.cumsum(kept, dtype=np.int32) * kept


def _full_resolution(objects, copy, shape):
    """Return labels at the image's resolution: the outline runs where the interpolated margin is 0."""
    labels, factor = objects.labels, copy.shrunk
    if factor == copy.enlarged == 1:
        return labels
    if copy.enlarged == 2:
        return _halved(labels, objects.margin)[: shape[0], : shape[1]]
    rows, columns = shape
    large = _enlarged_mask(objects.margin, factor)
    near = cv2.dilate(labels.astype(np.float32), np.ones((3, 3), np.uint8)).astype(np.int32)
    near = np.where(labels > 0, labels, near)
    near = cv2.resize(near, large.shape[::-1], interpolation=cv2.INTER_NEAREST)
    near *= large
    return near[:rows, :columns]


def _halved(labels, margin):
    rows, columns = labels.shape
    margin = np.where(labels > 0, np.maximum(margin, 1), np.minimum(margin, -1)).astype(np.int64)
    total = margin.reshape(rows // 2, 2, columns // 2, 2).sum(axis=(1, 3))
    largest = labels.reshape(rows // 2, 2, columns // 2, 2).max(axis=(1, 3))
    return np.where(total > 0, largest, 0)
