"""Outline the nuclei of one image, given what a typical nucleus of its plate is like."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from fieldwork.segmentation import blocks, figures, flags, outlines, pixels, thresholds
from fieldwork.segmentation.calibration import Calibration, calibrate
from fieldwork.segmentation.figures import Figures
from fieldwork.segmentation.objects import FLUORESCENT, STAINED, Scale, objects_of
from fieldwork.segmentation.pixels import TYPICAL

# Tuned on tests/accuracy's development set alone.
WORKING_DIAMETER_PX = 14  # of a typical nucleus in the working copy
SMALLEST_DIAMETER_PX = 12  # below, images are enlarged by two
LARGEST_DIAMETER_PX = 10_000  # above, sums of pixels would have no room
GROUND_DIAMETERS = 1.7  # width of the opening that takes nuclei away
LEAST_RISE = TYPICAL // 10  # of the ground over its margin, in steps; below, it is uneven light and goes on level
GROUND_DIAMETER_PX = 4  # of a typical nucleus in the coarse copy that shows the ground
HALO_DIAMETERS = 8  # of blocks; a fibre is longer than it is wide also where it reaches as far
ODD_SHARE = 0.002  # of pixels far from their neighbours' median, from which the median takes their place
ODD_CONTRASTS = 0.5  # how far that is
ODD_ROWS, ODD_BANDS = 16, 64  # of so many rows, one is looked at; of fewer, where that were fewer bands of three rows
SAMPLE_SIDE_PX = 512  # rows and columns that tell the floor
FLOOR_SHARE = 50  # of so many pixels, one is darker than the floor
HISTOGRAM_ROWS = 512  # that tell the threshold
GROUND_ROWS = 32  # that tell the median ground
SMOOTHING = pixels.WIDE, pixels.MEDIUM  # of stained tissue: sigma is sqrt(3) px, an eighth of a nucleus
MOST_FIELD_PX, MOST_WINDOW_PX = 2**23, 2**22  # of a block with its halo; each takes about 60 bytes
LEAST_UNIT = 2.0**-15  # of a sum of pixels, per step; below, all that is above the floor is brightest anyway


class Segmentation(NamedTuple):
    """The outlines of one image's nuclei, and what is odd about the image."""

    labels: np.ndarray  # (rows, columns) int32: nuclei 1..n in reading order; 0 is ground
    threshold: float | None  # in the image's unit, at the median ground; None: nothing was looked for
    out_of_focus: bool
    saturated: bool
    unlike_plate: bool
    figures: Figures = Figures()


class Levels(NamedTuple):
    """What is decided once for all windows of a slide, so that two of them see a nucleus in the same way."""

    floor: int  # sum of a square of pixels where working copies are 0
    with_median: bool  # many pixels are hot or dead: the median takes their place
    is_stained: bool  # tissue: copies are blurred by `SMOOTHING`, so that texture makes no nuclei
    threshold: int = 1  # in steps of working copies, above the ground
    share_near: float = 0.0  # of the sample's pixels: `thresholds.share_near`


class Extent(NamedTuple):
    """Where a window lies in its slide, in px."""

    origin: tuple[int, int]  # row and column of its first pixel
    shape: tuple[int, int]  # rows and columns of the slide


class Darkness(NamedTuple):
    """What one image of a sample says of the floor."""

    sums: np.ndarray  # (n,) int32: of squares of pixels, from all over the image
    odd: int  # pixels far from their neighbours' median ...
    looked_at: int  # ... of so many


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


def segment_field(image: np.ndarray, calibration: Calibration, *, camera: np.ndarray | None = None) -> Segmentation:
    """Outline the nuclei of an image, and check whether it is like the images of its plate.

    Parameters
    ----------
    image, calibration
        As for `segment_nuclei`.
    camera : (rows, columns) array, optional
        What the camera gave, where `image` is a corrected one: it tells whether pixels are saturated, or all equal.

    Returns
    -------
    Segmentation
    """
    source = pixels.whole_numbers(image)
    values = source.values if camera is None else camera
    taken = image if camera is None else camera
    if calibration.diameter is None or calibration.contrast is None:
        labels = np.zeros(image.shape, np.int32)
        saturated = flags.saturated_share(taken, labels)
        of_field = Figures(saturated=saturated)
        is_saturated = saturated >= flags.LEAST_SATURATED
        return Segmentation(labels, None, False, is_saturated, flags.is_constant(values), of_field)
    copy = _working_copy(source, calibration)
    coarse = _coarse_copy(copy)
    ground = _coarse_ground(copy, coarse)
    labels, threshold, nuclei = _nuclei_in(copy, image.shape, ground)
    background = source.offset + source.unit * copy.floor
    limit = flags.limit_of(source.values) if camera is None else None
    of_nuclei = figures.of_nuclei(nuclei, copy.scale.diameter)
    steps = None if limit is None else (limit - copy.floor) / copy.unit
    coarse_diameter = copy.scale.diameter / copy.coarse
    of_field = of_nuclei._replace(
        saturated=flags.saturated_share(taken, labels),
        background=figures.background_of(taken, calibration.contrast),
        debris=figures.debris_of(coarse, coarse_diameter, of_nuclei.height, steps),
        relief=figures.relief_of(ground, coarse_diameter),
    )
    return Segmentation(
        labels,
        source.offset + source.unit * (copy.floor + copy.unit * threshold),
        flags.is_out_of_focus(nuclei, copy.scale.diameter, calibration.softness),
        of_field.saturated >= flags.LEAST_SATURATED,
        flags.is_unlike_plate(nuclei, copy.scale.diameter)
        or flags.is_constant(values)
        or flags.is_background_unlike(background, calibration.background, calibration.contrast),
        of_field,
    )


def segment_window(image: np.ndarray, calibration: Calibration, levels: Levels, extent: Extent) -> np.ndarray:
    """Outline the nuclei in a window of a slide: as in the whole slide at once, but for those near the window's rim.

    Parameters
    ----------
    image : (rows, columns) array of uint8 or uint16
        The window. Its first row and column in the slide are multiples of `grid_of`'s.
    calibration : Calibration
        With a diameter and a contrast.
    levels : Levels
    extent : Extent

    Returns
    -------
    (rows, columns) int32 array
        As from `segment_nuclei`.
    """
    copy = _working_copy(pixels.whole_numbers(image), calibration, levels)
    return _nuclei_in(copy, image.shape, _coarse_ground(copy, _coarse_copy(copy), extent), levels)[0]


def grid_of(calibration: Calibration) -> tuple[int, int]:
    """Return what the first rows and columns of a slide's windows are multiples of, and the width of a halo, in px."""
    scale = _scale_of(calibration.diameter)
    halo = math.ceil(HALO_DIAMETERS * scale.diameter * scale.shrunk / scale.enlarged)
    return _coarse_of(scale) * scale.shrunk, halo


def darkness_of(image: np.ndarray, calibration: Calibration) -> Darkness:
    """Measure what one image of a slide's sample, (rows, columns) of uint8 or uint16, says of the floor."""
    scale, values = _scale_of(calibration.diameter), pixels.whole_numbers(image).values
    parts, sums = _blocks_and_sums(values, scale, MOST_WINDOW_PX)
    return Darkness(_sums_all_over(parts, sums), *_odd_pixels(values, calibration.contrast))


def levels_of(sample: Sequence[Darkness], *, is_stained: bool) -> Levels:
    """Decide on the floor of a slide by the images of its sample; the threshold follows by `threshold_of`."""
    odd, looked_at = (sum(getattr(darkness, name) for darkness in sample) for name in ("odd", "looked_at"))
    floor = _floor_of(np.concatenate([darkness.sums for darkness in sample]))
    return Levels(floor, bool(odd > ODD_SHARE * looked_at), is_stained)


def histogram_of(image: np.ndarray, calibration: Calibration, levels: Levels) -> np.ndarray:
    """Count the pixels of one image of a slide's sample above its ground, by quarters of steps, for `threshold_of`.

    Parameters
    ----------
    image : (rows, columns) array of uint8 or uint16
    calibration : Calibration
    levels : Levels
        From `levels_of`.

    Returns
    -------
    (2**16,) int64 array
    """
    copy = _working_copy(pixels.whole_numbers(image), calibration, levels)
    return _histogram_and_grounds(
        copy, blocks.once(functools.partial(_surface, copy, _coarse_ground(copy, _coarse_copy(copy))))
    )[0]


class _Copy(NamedTuple):
    """A working copy: shrunk or enlarged until nuclei have the size that the detector is made for."""

    shape: tuple[int, int]
    blocks: list[blocks.Block]
    values: Callable  # takes a block, returns (rows, columns) uint16: steps above the floor; a nucleus has `TYPICAL`
    scale: Scale
    coarse: int  # pixels per pixel of the coarse copy that shows the ground
    floor: float  # the image's value (of `Pixels`) where the copy is 0
    unit: float  # and its step


def _working_copy(source, calibration, levels=None):
    """Return a working copy; `levels` of a window's slide, else they are decided here."""
    scale, contrast = _scale_of(calibration.diameter), calibration.contrast / source.unit
    if levels is None:
        odd, looked_at = _odd_pixels(source.values, contrast)
        with_median, is_stained, most_px = odd > ODD_SHARE * looked_at, False, MOST_FIELD_PX
    else:
        with_median, is_stained, most_px = levels.with_median, levels.is_stained, MOST_WINDOW_PX
    image = cv2.medianBlur(source.values, 3) if with_median else source.values
    parts, sums = _blocks_and_sums(image, scale, most_px)
    floor = _floor_of(_sums_all_over(parts, sums)) if levels is None else levels.floor
    unit = max(contrast * scale.shrunk**2 / TYPICAL, LEAST_UNIT)  # of a sum
    values = blocks.once(lambda block: _smoothed(_steps(sums(block), floor, unit), SMOOTHING if is_stained else ()))
    area = scale.shrunk**2
    return _Copy(_shape_of(image.shape, scale), parts, values, scale, _coarse_of(scale), floor / area, unit / area)


def _blocks_and_sums(image, scale, most_px):
    """Return the blocks of an image's working copy, and the function that takes one and returns its sums of pixels."""
    halo, multiple = math.ceil(HALO_DIAMETERS * scale.diameter), _coarse_of(scale) * scale.enlarged
    parts = blocks.blocks_of(_shape_of(image.shape, scale), halo=halo, multiple=multiple, most_px=most_px)
    return parts, blocks.once(functools.partial(_sums, image, scale))


def _shape_of(shape, scale):
    """Return the rows and columns of the working copy of an image of this shape."""
    return tuple(-(-side // scale.shrunk) * scale.enlarged for side in shape)


def _coarse_of(scale):
    return max(1, int(scale.diameter // GROUND_DIAMETER_PX))


def _sums_all_over(parts, sums):
    """Return sums of pixels, (n,), in rows and columns from all over the field."""
    shape = parts[-1].core[0].end, parts[-1].core[1].end
    every = [1 + side // SAMPLE_SIDE_PX for side in shape]
    return np.concatenate([sums(block)[block.every(*every)].ravel() for block in parts])


def _floor_of(sample):
    return int(np.partition(sample, len(sample) // FLOOR_SHARE)[len(sample) // FLOOR_SHARE])


def _scale_of(diameter):
    """Return the scale of the working copy of an image, in which a typical nucleus has a diameter in px."""
    diameter = min(diameter, LARGEST_DIAMETER_PX)
    if diameter < SMALLEST_DIAMETER_PX:
        return Scale(2 * diameter, shrunk=1, enlarged=2)
    shrunk = min(max(1, round(diameter / WORKING_DIAMETER_PX)), pixels.LARGEST_FACTOR)
    return Scale(diameter / shrunk, shrunk, enlarged=1)


def _sums(image, scale, block):
    """Return the (rows, columns) pixels of a block as whole numbers: sums of the image's pixels."""
    if scale.enlarged == 1:
        rows, columns = (slice(span.first * scale.shrunk, span.end * scale.shrunk) for span in block.outer)
        return pixels.box_sums(image[rows, columns], scale.shrunk)
    window = image[block.window(scale.enlarged, 1)].astype(np.uint16)
    return pixels.enlarged(window, scale.enlarged)[block.within(scale.enlarged, 1)]


def _steps(sums, floor, unit):
    """Return sums in steps above the floor, an array of uint16. The product of a sum and a float32 is exact."""
    largest = int(sums.max())
    values = np.arange(largest + 1) if 4 * largest < sums.size else sums  # a short table of all is faster
    steps = (values - floor) * np.float64(np.float32(1 / unit))
    steps += 0.5
    steps = np.clip(steps, 0, pixels.BRIGHTEST, out=steps).astype(np.uint16)
    return steps if values is sums else steps.take(sums)


def _smoothed(values, kernels):
    """Return steps, blurred by one kernel after the other."""
    for kernel in kernels:
        values = np.rint(pixels.blurred(values, kernel) * np.float32(1 / pixels.KERNEL_SUM)).astype(np.uint16)
    return values


def _odd_pixels(values, contrast):
    """Return how many pixels are hot or dead, of how many in some rows of an image."""
    every = min(ODD_ROWS, max(3, len(values) // ODD_BANDS))
    if len(values) < every:
        return 0, 0
    looked_at = values[: len(values) // every * every].reshape(-1, every, values.shape[1])[:, :3]
    middle = cv2.medianBlur(looked_at.reshape(-1, values.shape[1]), 3)[1::3]
    odd = cv2.absdiff(middle, looked_at[:, 1]) > ODD_CONTRASTS * contrast
    return np.count_nonzero(odd), odd.size


def _nuclei_in(copy, shape, coarse_ground, levels=None):
    """Return the labels of an image of this shape, the threshold in steps of the copy, and some pixels of nuclei.

    The ground and the threshold are decided from rows all over the field; then nuclei are looked for block by block.
    A window takes the threshold of its slide, and there is no other one to return.
    """
    surface = blocks.once(functools.partial(_surface, copy, coarse_ground))
    if levels is None:
        counts, grounds = _histogram_and_grounds(copy, surface)
        above_ground = thresholds.threshold_of(counts)
        threshold = above_ground + float(np.median(grounds))
    else:
        above_ground, threshold = levels.threshold, None
    contours = STAINED if levels is not None and levels.is_stained else FLUORESCENT
    canvas, nuclei, scale = blocks.Canvas(shape), [], copy.scale
    for block in copy.blocks:
        ground, smooth = surface(block)
        objects = objects_of(smooth, ground, above_ground, scale, contours)
        if len(copy.blocks) > 1:
            canvas.begin(block, objects.brightest, scale.shrunk / scale.enlarged)
        nuclei.append(flags.nuclei_of(objects.labels, smooth))
        top, left = (span.first * scale.shrunk // scale.enlarged for span in block.outer)
        for row, labels in outlines.strips_of(objects, scale):
            canvas.paint(labels, top + row, left)
    return canvas.finished(), threshold, flags.Nuclei(*map(np.concatenate, zip(*nuclei, strict=True)))


def _histogram_and_grounds(copy, surface):
    """Count the pixels above the ground in rows all over the field, and list grounds from there, in steps."""
    counts, grounds = 0, []
    for block in copy.blocks:
        ground, smooth = surface(block)
        counts = counts + thresholds.histogram_of(smooth[block.every(1 + copy.shape[0] // HISTOGRAM_ROWS, 1)])
        grounds.append(ground[block.every(1 + copy.shape[0] // GROUND_ROWS, 1)].ravel())
    return counts, np.concatenate(grounds)


def _coarse_copy(copy):
    """Return the working copy, shrunk: (rows, columns) uint16, in steps."""
    factor = copy.coarse
    coarse = np.empty([-(-side // factor) for side in copy.shape], np.uint16)
    for block in copy.blocks:
        rows, columns = (slice(span.first // factor, -(-span.end // factor)) for span in block.core)
        coarse[rows, columns] = pixels.box_sums(copy.values(block)[block.inner], factor) // factor**2
    return coarse


def _coarse_ground(copy, coarse, extent=None):
    """Return the (rows, columns) uint16 ground: what stays where everything narrower than two nuclei is taken away."""
    factor = copy.coarse
    radius = max(1, round(GROUND_DIAMETERS * copy.scale.diameter / factor / 2))
    ground = pixels.averaged(pixels.opened(coarse, radius), 2 * radius + 1)
    if extent is None:
        return _continued(ground, 2 * radius, (0, 0), ground.shape)
    origin = [side // factor for side in _shape_of(extent.origin, copy.scale)]
    shape = [-(-side // factor) for side in _shape_of(extent.shape, copy.scale)]
    return _continued(ground, 2 * radius, origin, shape)


def _continued(ground, margin, origin, shape):
    """Return the ground whose margin, where an opening takes away slopes, goes on rising as steeply as inside.

    The margin is that of a slide, of `shape`, in which the ground begins at an origin.
    """
    ground = ground.astype(np.int64)
    for first, length in zip(origin, shape, strict=True):
        at_border = first == 0, first + len(ground) == length
        steps = np.arange(margin, 0, -1)[:, None]
        for flipped, flag in zip((ground, ground[::-1]), at_border, strict=True):
            if flag and length > 4 * margin:
                slope = flipped[margin] - flipped[2 * margin]
                slope[slope < LEAST_RISE] = 0
                flipped[:margin] = np.maximum(flipped[:margin], flipped[margin] + steps * slope // margin)
        ground = ground.T
    return np.ascontiguousarray(np.clip(ground, 0, pixels.BRIGHTEST), np.uint16)


def _surface(copy, coarse, block):
    """Return the (rows, columns) uint16 ground of a block, and the float32 blurred pixels above it.

    These are in 1 / KERNEL_SUM of a step.
    """
    factor = copy.coarse
    ground = pixels.enlarged(coarse[block.window(factor, 1)], factor)[block.within(factor, 1)]
    return ground, pixels.blurred(cv2.subtract(copy.values(block), ground), pixels.SLIGHT)
