"""Outline the nuclei of one image, given what a typical nucleus of its plate is like."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from fieldwork.segmentation import basins, blocks, flags, pixels
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
HALO_DIAMETERS = 8  # of blocks; a fibre is longer than it is wide also where it reaches as far
STRIP_PX = 2**24  # of the image, at which outlines are drawn at once
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
    labels, threshold, nuclei = _found_in(copy, image.shape)
    threshold = source.offset + source.unit * (copy.floor + copy.unit * threshold)
    background = source.offset + source.unit * copy.floor
    return Segmentation(
        labels,
        threshold,
        flags.is_out_of_focus(nuclei, copy.diameter, calibration.softness),
        flags.is_saturated(image, labels),
        flags.is_unlike_plate(nuclei, copy.diameter)
        or flags.is_background_unlike(background, calibration.background, calibration.contrast),
    )


class _Copy(NamedTuple):
    """A working copy: shrunk or enlarged until nuclei have the size that the detector is made for."""

    shape: tuple[int, int]
    blocks: list[blocks.Block]
    values: Callable  # takes a block, returns (rows, columns) uint16: above the floor; a typical nucleus has `TYPICAL`
    shrunk: int  # pixels of the image per pixel, in each direction
    enlarged: int  # pixels per pixel of the image
    diameter: float  # of a typical nucleus, in pixels of the copy
    coarse: int  # pixels per pixel of the coarse copy that shows the ground
    floor: float  # the image's value (of `Pixels`) where the copy is 0
    unit: float  # and its step


def _working_copy(source, calibration):
    diameter = calibration.diameter
    enlarged = 2 if diameter < SMALLEST_DIAMETER_PX else 1
    shrunk = min(max(1, round(diameter / WORKING_DIAMETER_PX)), pixels.LARGEST_FACTOR) if enlarged == 1 else 1
    diameter *= enlarged / shrunk
    coarse = max(1, int(diameter // 4))
    image = _without_odd_pixels(source.values, calibration.contrast / source.unit)
    shape = tuple(-(-side // shrunk) * enlarged for side in image.shape)
    parts = blocks.blocks_of(shape, halo=math.ceil(HALO_DIAMETERS * diameter), multiple=coarse * enlarged)
    sums = blocks.once(functools.partial(_sums, image, shrunk, enlarged))
    every = [1 + side // 512 for side in shape]
    sample = np.concatenate([sums(block)[block.every(*every)].ravel() for block in parts])
    floor = int(np.partition(sample, len(sample) // 50)[len(sample) // 50])
    unit = calibration.contrast / source.unit * shrunk**2 / TYPICAL  # of a sum

    def values_of(block):
        values = (sums(block) - floor) * np.float32(1 / unit) + np.float32(0.5)
        return np.clip(values, 0, pixels.BRIGHTEST, out=values).astype(np.uint16)

    return _Copy(
        shape, parts, blocks.once(values_of), shrunk, enlarged, diameter, coarse, floor / shrunk**2, unit / shrunk**2
    )


def _sums(image, shrunk, enlarged, block):
    """Return the (rows, columns) int32 pixels of a block: sums of the image's pixels."""
    if enlarged == 1:
        rows, columns = (slice(span.first * shrunk, span.end * shrunk) for span in block.outer)
        return pixels.box_sums(image[rows, columns], shrunk)
    window = image[block.window(enlarged, 1)].astype(np.uint16)
    return pixels.enlarged(window, enlarged)[block.within(enlarged, 1)].astype(np.int32)


def _without_odd_pixels(values, contrast):
    """Return an image, or its median of 3 x 3 px where many pixels are hot or dead."""
    median = cv2.medianBlur(values, 3)
    odd = cv2.absdiff(median[::4], values[::4]) > contrast / 2
    return median if np.count_nonzero(odd) > ODD_PIXELS * odd.size else values


def _found_in(copy, shape):
    """Return the labels of an image of this shape, the threshold in steps of the copy, and some pixels of nuclei.

    The ground and the threshold are decided from the whole field; then nuclei are looked for block by block.
    """
    surface = blocks.once(functools.partial(_surface, copy, _coarse_ground(copy)))
    cut, threshold = _field_threshold(copy, surface)
    canvas, nuclei = blocks.Canvas(shape), []
    for block in copy.blocks:
        ground, smooth = surface(block)
        objects = _objects_of(ground, smooth, copy, cut)
        if len(copy.blocks) > 1:
            canvas.begin(block, objects.brightest, copy.shrunk / copy.enlarged)
        nuclei.append(flags.nuclei_of(objects.labels, smooth))
        top, left = (span.first * copy.shrunk // copy.enlarged for span in block.outer)
        for row, labels in _full_resolution(objects, copy):
            canvas.paint(labels, top + row, left)
    return canvas.renumbered(), threshold, flags.Nuclei(*map(np.concatenate, zip(*nuclei, strict=True)))


class _Objects(NamedTuple):
    """What was found in a block of a working copy."""

    labels: np.ndarray  # (rows, columns) int32
    margin: np.ndarray  # (rows, columns) float32: above the threshold of the pixel's nucleus, in 1 / KERNEL_SUM steps
    brightest: np.ndarray  # (labels,) int: index in the flat block of each label's brightest pixel; of 0 any


def _coarse_ground(copy):
    """Return the (rows, columns) uint16 ground: what stays where everything narrower than two nuclei is taken away."""
    factor = copy.coarse
    coarse = np.empty([-(-side // factor) for side in copy.shape], np.uint16)
    for block in copy.blocks:
        rows, columns = (slice(span.first // factor, -(-span.end // factor)) for span in block.core)
        coarse[rows, columns] = pixels.box_sums(copy.values(block)[block.inner], factor) // factor**2
    radius = max(1, round(GROUND_DIAMETERS * copy.diameter / factor / 2))
    return pixels.averaged(pixels.opened(coarse, radius), 2 * radius + 1)


def _surface(copy, coarse, block):
    """Return the (rows, columns) uint16 ground of a block, and the float32 blurred pixels above it.

    These are in 1 / KERNEL_SUM of a step.
    """
    factor = copy.coarse
    ground = pixels.enlarged(coarse[block.window(factor, 1)], factor)[block.within(factor, 1)]
    return ground, pixels.blurred(cv2.subtract(copy.values(block), ground), pixels.SLIGHT)


def _field_threshold(copy, surface):
    """Return the threshold of the field above the ground, and that with the ground, both in steps of the copy."""
    counts, grounds = 0, []
    for block in copy.blocks:
        ground, smooth = surface(block)
        quarters = (smooth[block.inner].ravel() * np.float32(1 / 256)).astype(np.uint16)
        counts = counts + np.bincount(quarters, minlength=2**16)
        grounds.append(ground[block.every(1 + copy.shape[0] // 64, 1)].ravel())
    cut = _threshold(counts)
    return cut, cut + float(np.median(np.concatenate(grounds)))


def _objects_of(ground, smooth, copy, cut):
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
    brightest = np.zeros(1, np.int64)
    if len(inside):
        mask = margin > 0
        distances = _distances(mask, inside)
        shape = np.minimum(distances * np.float32(2 * OCTAVE / copy.diameter), np.float32(SHAPE_CAP * OCTAVE))
        shape += _logs(smooth, inside) * np.float32(LOG_WEIGHT)
        parts, summits = _split_by_shape(shape, distances, mask, inside, copy.diameter)
        labels.ravel()[inside] = parts
        brightest = _brightest(labels, smooth, np.concatenate([peaks, summits]))
        kept = _are_kept(parts, brightest, ground, smooth, copy, cut)
        labels.ravel()[inside] = (np.cumsum(kept, dtype=np.int32) * kept)[parts]
        brightest = np.concatenate([brightest[:1], brightest[kept]])
    return _Objects(labels, margin, brightest)


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


def _are_kept(parts, brightest, ground, smooth, copy, cut):
    """Return which labels are neither too small nor hardly stand out of their surroundings."""
    area = np.bincount(parts)
    height = smooth.ravel()[brightest]
    total = height + ground.ravel()[brightest] * np.float32(KERNEL_SUM)
    least = max(LEAST_AREA * math.pi / 4 * copy.diameter**2, LEAST_AREA_PX * (copy.enlarged / copy.shrunk) ** 2)
    peak = np.where(height >= STANDS_OUT * total, DIM_PEAK, LEAST_PEAK)
    kept = (area >= least) & (height >= peak * cut * KERNEL_SUM)
    kept[0] = False  # the ground
    return kept


def _full_resolution(objects, copy):
    """Yield labels at the image's resolution, strip by strip: the first row, and the (rows, columns) int32 labels.

    The outline runs where the interpolated margin is 0.
    """
    labels, factor = objects.labels, copy.shrunk
    if copy.enlarged == 2:
        yield 0, _halved(labels, objects.margin)
    elif factor == 1:
        yield 0, labels
    else:
        near = cv2.dilate(labels.astype(np.float32), np.ones((3, 3), np.uint8)).astype(np.int32)
        near = np.where(labels > 0, labels, near)
        rows, columns = labels.shape
        height = max(1, STRIP_PX // (columns * factor**2))
        for top in range(0, rows, height):
            strip = near[top : top + height]
            skipped = min(top, 1)  # the row above a strip and the one below count for its interpolation
            large = _enlarged_mask(objects.margin[top - skipped : top + height + 1], factor)[skipped * factor :]
            large = large[: len(strip) * factor]
            strip = cv2.resize(strip, large.shape[::-1], interpolation=cv2.INTER_NEAREST)
            strip *= large
            yield top * factor, strip


def _halved(labels, margin):
    rows, columns = labels.shape
    margin = np.where(labels > 0, np.maximum(margin, 1), np.minimum(margin, -1)).astype(np.int64)
    total = margin.reshape(rows // 2, 2, columns // 2, 2).sum(axis=(1, 3))
    largest = labels.reshape(rows // 2, 2, columns // 2, 2).max(axis=(1, 3))
    return np.where(total > 0, largest, 0)
