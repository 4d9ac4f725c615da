"""Outline the nuclei of one image, given what a typical nucleus of its plate is like."""

import functools
import math
from typing import NamedTuple

import cv2
import numpy as np

from fieldwork import label_images
from fieldwork.segmentation import basins, pixels
from fieldwork.segmentation.calibration import Calibration, calibrate
from fieldwork.segmentation.pixels import KERNEL_SUM, OCTAVE, TYPICAL

# Tuned on tests/accuracy's development set alone.
WORKING_DIAMETER_PX = 18  # of a typical nucleus in the working copy
SMALLEST_DIAMETER_PX = 10  # below, images are enlarged by two
GROUND_DIAMETERS = 2  # width of the opening that takes nuclei away
LOG_CONSTANT = 0.2  # of a typical nucleus's intensity; where the log turns from linear to logarithmic
OTSU_SHARE = 1.0
LEAST_THRESHOLD, MOST_THRESHOLD = 0.03, 0.35  # shares of a typical nucleus's intensity
NOISE_FACTOR = 6  # threshold in standard deviations of the blurred noise
OWN_SHARE = 0.27  # of a nucleus's peak, where its outline runs
LEAST_PEAK = 2.0  # thresholds
LOG_DEPTH = 0.03  # octaves of intensity: shallower saddles lie within a nucleus
SHAPE_CAP = 1.6  # radii: deeper inside, only intensity tells nuclei apart
LOG_WEIGHT = 0.4  # radii per octave
SHAPE_DEPTH = 0.08  # radii
LEAST_AREA, LEAST_AREA_PX = 0.125, 12  # of a typical nucleus; px


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
        return Segmentation(np.zeros(image.shape, np.int32), None, False, _is_saturated(source.values, None), False)
    copy = _working_copy(source, calibration)
    objects, cut = _objects_of(copy)
    labels = label_images.renumber(_full_resolution(objects, copy, image.shape))
    threshold = source.offset + source.unit * (copy.floor + copy.unit * cut)
    return Segmentation(labels, threshold, False, _is_saturated(source.values, labels), False)


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
    if enlarged == 2:
        sums = pixels.enlarged(source.values.astype(np.uint16), 2).astype(np.int32)
    else:
        sums = pixels.box_sums(source.values, shrunk)
    sample = sums[:: 1 + sums.shape[0] // 512, :: 1 + sums.shape[1] // 512].ravel()
    floor = int(np.partition(sample, len(sample) // 50)[len(sample) // 50])
    unit = calibration.contrast / source.unit * shrunk**2 / TYPICAL  # of a sum
    values = np.rint((sums - floor) / unit)
    return _Copy(
        np.clip(values, 0, pixels.BRIGHTEST).astype(np.uint16),
        shrunk,
        enlarged,
        diameter * enlarged / shrunk,
        floor / shrunk**2,
        unit / shrunk**2,
    )


def _objects_of(copy):
    """Return the labels of the working copy, each pixel's margin above its nucleus's threshold, and the threshold."""
    ground = _ground(copy)
    above = np.maximum(copy.values.astype(np.int32) - ground, 0).astype(np.uint16)
    smooth = pixels.blurred(above, pixels.NARROW)  # in 1 / KERNEL_SUM of the copy's step
    logs = _logs(smooth)
    cut = _threshold(logs, _noise(copy.values))
    mask = smooth > cut * KERNEL_SUM
    if not mask.any():
        nothing = np.zeros(mask.shape, np.int32)
        return (nothing, nothing - 1), cut + float(np.median(ground))
    labels, peaks = basins.basins(smooth, mask)
    logs_flat, smooth_flat = logs.ravel(), smooth.ravel()
    _, into = merged = basins.merged(labels, logs_flat[peaks], logs, depth=round(LOG_DEPTH * OCTAVE))
    labels = merged[0]
    highest = np.zeros(labels.max() + 1, np.float32)
    np.maximum.at(highest, into[1:], smooth_flat[peaks])
    least = np.maximum(np.floor(highest * np.float32(OWN_SHARE)), np.float32(cut * KERNEL_SUM))
    margin = smooth - least[labels]
    mask = (margin > 0) & (labels > 0)
    labels = _split_by_shape(mask, logs, copy.diameter)
    labels = _large_and_bright(labels, smooth, copy, cut * KERNEL_SUM)
    return (labels, margin), cut + float(np.median(ground))


def _ground(copy):
    """Return the (rows, columns) int32 ground: what stays where everything narrower than two nuclei is taken away."""
    factor = max(1, int(copy.diameter // 4))
    coarse = (pixels.box_sums(copy.values, factor) // factor**2).astype(np.uint16)
    radius = max(1, round(GROUND_DIAMETERS * copy.diameter / factor / 2))
    coarse = pixels.averaged(pixels.opened(coarse, radius), 2 * radius + 1)
    rows, columns = copy.values.shape
    return pixels.enlarged(coarse, factor)[:rows, :columns].astype(np.int32)


@functools.cache
def _table():
    return pixels.log_table(2**16, round(LOG_CONSTANT * TYPICAL * 4))


def _logs(smooth):
    """Return the log2 of a blurred image, as whole numbers."""
    return _table()[smooth.astype(np.int32) >> 8]  # quarters of a step


def _noise(values):
    """Return the standard deviation of the noise, in steps, from what a blur takes away in the darker half."""
    detail = np.abs(values * np.float32(KERNEL_SUM) - pixels.blurred(values, pixels.MEDIUM))
    darker = values <= pixels.quantile_of(np.bincount(values.ravel()), 0.5)
    counts = np.bincount(detail[darker].astype(np.int32) >> 7)
    return 1.4826 / 0.8 * pixels.quantile_of(counts, 0.5) * 2**7 / KERNEL_SUM


def _threshold(logs, noise):
    """Return the threshold of the field in steps, a whole number."""
    counts = np.bincount(logs.ravel() >> 6)
    otsu = _otsu(counts) * 2**6 / OCTAVE
    value = OTSU_SHARE * (2.0**otsu - 1) * LOG_CONSTANT * TYPICAL
    value = max(value, LEAST_THRESHOLD * TYPICAL, NOISE_FACTOR * 0.35 * noise)
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


def _split_by_shape(mask, logs, diameter):
    """Return basins of the distance to the edge and of intensity together, merged where they are shallow."""
    distance = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    squared = np.rint(distance.astype(np.float64) ** 2)  # whole numbers again, whatever the roots' last digits
    shape = np.minimum(np.sqrt(squared) / (diameter / 2), SHAPE_CAP) * OCTAVE
    heights = pixels.blurred(np.rint(shape + LOG_WEIGHT * logs).astype(np.uint16), pixels.NARROW)
    labels, peaks = basins.basins(heights, mask)
    depth = round(SHAPE_DEPTH * OCTAVE * KERNEL_SUM)
    return basins.merged(labels, heights.ravel()[peaks], heights, depth=depth)[0]


def _large_and_bright(labels, smooth, copy, cut):
    """Drop what is too small or hardly above the threshold, and number the others."""
    inside = np.flatnonzero(labels)
    values = labels.ravel()[inside]
    area = np.bincount(values, minlength=labels.max() + 1)
    highest = np.zeros(len(area), np.float32)
    np.maximum.at(highest, values, smooth.ravel()[inside])
    least = max(LEAST_AREA * math.pi / 4 * copy.diameter**2, LEAST_AREA_PX * (copy.enlarged / copy.shrunk) ** 2)
    kept = (area >= least) & (highest >= LEAST_PEAK * cut)
    kept[0] = False
    return (np.cumsum(kept, dtype=np.int32) * kept)[labels]


def _full_resolution(objects, copy, shape):
    """Return labels at the image's resolution: the outline runs where the interpolated margin is 0."""
    labels, margin = objects
    if copy.shrunk == copy.enlarged == 1:
        return labels
    if copy.enlarged == 2:
        return _halved(labels, margin)
    limit = 2**14
    inner = np.clip(margin * (1 / 2**6), 1, limit)
    outer = np.clip(margin * (1 / 2**6), -limit, -1)
    margin = np.where(labels > 0, inner, outer).astype(np.int16)
    near = np.where(
        labels > 0, labels, cv2.dilate(labels.astype(np.float64), np.ones((3, 3), np.uint8)).astype(np.int32)
    )
    rows, columns = shape
    large = pixels.enlarged(margin, copy.shrunk)[:rows, :columns] > 0
    near = np.repeat(np.repeat(near, copy.shrunk, axis=0), copy.shrunk, axis=1)[:rows, :columns]
    return near * large


def _halved(labels, margin):
    rows, columns = labels.shape
    margin = np.where(labels > 0, np.maximum(margin, 1), np.minimum(margin, -1))
    total = margin.reshape(rows // 2, 2, columns // 2, 2).sum(axis=(1, 3))
    largest = labels.reshape(rows // 2, 2, columns // 2, 2).max(axis=(1, 3))
    return np.where(total > 0, largest, 0)


def _is_saturated(values, labels):
    return False
