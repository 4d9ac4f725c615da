"""Working copies of images, in which nuclei have the size that detectors are made for, and their ground."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from fieldwork.segmentation import blocks, pixels
from fieldwork.segmentation.calibration import Calibration
from fieldwork.segmentation.objects import SMOOTHING, Scale
from fieldwork.segmentation.pixels import TYPICAL, Pixels

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
LEAST_UNIT = 2.0**-15  # of a sum of pixels, per step; below, all that is above the floor is brightest anyway


class Form(NamedTuple):
    """What a detector asks of the blocks of a working copy."""

    multiple_px: int  # of which their first rows and columns are multiples
    halo_px: int  # the least width of their halos
    most_px: int  # of a block with its halo
    smooths_shrunk: bool  # stained tissue also where it was shrunk, whose pixels are means already


class Levels(NamedTuple):
    """What is decided once for all windows of a slide, so that two of them see a nucleus in the same way."""

    floor: int  # sum of a square of pixels where working copies are 0
    with_median: bool  # many pixels are hot or dead: the median takes their place
    is_stained: bool  # tissue: its texture is blurred, lest it makes nuclei
    threshold: int = 1  # in steps of working copies, above the ground; the network does not need it
    share_near: float = 0.0  # of the sample's pixels: `thresholds.share_near`


class Extent(NamedTuple):
    """Where a window lies in its slide, in px."""

    origin: tuple[int, int]  # row and column of its first pixel
    shape: tuple[int, int]  # rows and columns of the slide


class WorkingCopy(NamedTuple):
    """An image, shrunk or enlarged until nuclei have the size that detectors are made for."""

    shape: tuple[int, int]
    blocks: list[blocks.Block]
    values: Callable  # takes a block, returns (rows, columns) uint16: steps above the floor; a nucleus has `TYPICAL`
    scale: Scale
    coarse: int  # pixels per pixel of the coarse copy that shows the ground
    floor: float  # the image's value (of `Pixels`) where the copy is 0
    unit: float  # and its step


class Surface(NamedTuple):
    """The ground of a working copy, and what lies above it."""

    ground: Callable[[blocks.Block], np.ndarray]  # (rows, columns) uint16 of a block, in steps
    smooth: Callable[[blocks.Block], np.ndarray]  # (rows, columns) float32: blurred pixels, in 1 / KERNEL_SUM of a step


def copy_of(source: Pixels, calibration: Calibration, form: Form, levels: Levels | None = None) -> WorkingCopy:
    """Return the working copy of an image.

    Parameters
    ----------
    source : Pixels
    calibration : Calibration
        With a diameter and a contrast.
    form : Form
    levels : Levels, optional
        Of the slide, where the image is a window of one; else they are decided here.
    """
    scale, contrast = scale_of(calibration.diameter), calibration.contrast / source.unit
    if levels is None:
        odd, looked_at = odd_pixels(source.values, contrast)
        with_median, is_smoothed = are_many_odd(odd, looked_at), False
    else:
        with_median = levels.with_median
        is_smoothed = levels.is_stained and (scale.shrunk == 1 or form.smooths_shrunk)
    image = cv2.medianBlur(source.values, 3) if with_median else source.values
    parts, sums = _blocks_and_sums(image, scale, form)
    floor = floor_of(_sums_all_over(parts, sums)) if levels is None else levels.floor
    unit = max(contrast * scale.shrunk**2 / TYPICAL, LEAST_UNIT)  # of a sum
    values = blocks.once(lambda block: _smoothed(_steps(sums(block), floor, unit), SMOOTHING if is_smoothed else ()))
    area = scale.shrunk**2
    return WorkingCopy(
        _shape_of(image.shape, scale), parts, values, scale, _coarse_of(scale), floor / area, unit / area
    )


def grid_of(diameter: float, form: Form) -> tuple[int, int]:
    """Return what the first rows and columns of windows are multiples of, and the width of a halo, in px of the image.

    Parameters
    ----------
    diameter : float
        Of a typical nucleus, in px.
    form : Form
    """
    scale = scale_of(diameter)
    multiple, halo = _grid_in_copy(scale, form)
    return multiple // scale.enlarged * scale.shrunk, math.ceil(halo * scale.shrunk / scale.enlarged)


def _grid_in_copy(scale, form):
    """Return the same in px of the working copy, as whole and as any number."""
    return math.lcm(_coarse_of(scale) * scale.enlarged, form.multiple_px), max(
        HALO_DIAMETERS * scale.diameter, form.halo_px
    )


def _blocks_and_sums(image, scale, form):
    """Return the blocks of an image's working copy, and the function that takes one and returns its sums of pixels."""
    multiple, halo = _grid_in_copy(scale, form)
    shape = _shape_of(image.shape, scale)
    parts = blocks.blocks_of(shape, halo=math.ceil(halo), multiple=multiple, most_px=form.most_px)
    return parts, blocks.once(functools.partial(_sums, image, scale))


def _shape_of(shape, scale):
    """Return the rows and columns of the working copy of an image of this shape."""
    return tuple(-(-side // scale.shrunk) * scale.enlarged for side in shape)


def _coarse_of(scale):
    return max(1, int(scale.diameter // GROUND_DIAMETER_PX))


def sums_all_over(image: np.ndarray, diameter: float, form: Form) -> np.ndarray:
    """Return sums of pixels of an image, (n,) int, in rows and columns of its working copy from all over.

    Parameters
    ----------
    image : (rows, columns) array of uint8 or uint16
    diameter, form
        As for `grid_of`.
    """
    return _sums_all_over(*_blocks_and_sums(image, scale_of(diameter), form))


def _sums_all_over(parts, sums):
    """Return sums of pixels, (n,), in rows and columns from all over the field."""
    shape = parts[-1].core[0].end, parts[-1].core[1].end
    every = [1 + side // SAMPLE_SIDE_PX for side in shape]
    return np.concatenate([sums(block)[block.every(*every)].ravel() for block in parts])


def floor_of(sample: np.ndarray) -> int:
    """Return the sum of pixels where a working copy is 0, by the (n,) sums of a sample."""
    return pixels.dark_of(sample, FLOOR_SHARE)


def scale_of(diameter: float) -> Scale:
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


def odd_pixels(values: np.ndarray, contrast: float) -> tuple[int, int]:
    """Return how many pixels are hot or dead, of how many in some rows of an image.

    Parameters
    ----------
    values : (rows, columns) array of uint8 or uint16
    contrast : float
        Of a typical nucleus, in their unit.
    """
    every = min(ODD_ROWS, max(3, len(values) // ODD_BANDS))
    if len(values) < every:
        return 0, 0
    looked_at = values[: len(values) // every * every].reshape(-1, every, values.shape[1])[:, :3]
    middle = cv2.medianBlur(looked_at.reshape(-1, values.shape[1]), 3)[1::3]
    odd = cv2.absdiff(middle, looked_at[:, 1]) > ODD_CONTRASTS * contrast
    return np.count_nonzero(odd), odd.size


def are_many_odd(odd: int, looked_at: int) -> bool:
    """Return True for so many odd pixels that the median of their neighbours is to take their place."""
    return bool(odd > ODD_SHARE * looked_at)


def coarse_copy(copy: WorkingCopy) -> np.ndarray:
    """Return the working copy, shrunk: (rows, columns) uint16, in steps."""
    factor = copy.coarse
    coarse = np.empty([-(-side // factor) for side in copy.shape], np.uint16)
    for block in copy.blocks:
        rows, columns = (slice(span.first // factor, -(-span.end // factor)) for span in block.core)
        coarse[rows, columns] = pixels.box_sums(copy.values(block)[block.inner], factor) // factor**2
    return coarse


def coarse_ground(copy: WorkingCopy, coarse: np.ndarray, extent: Extent | None = None) -> np.ndarray:
    """Return the ground: what stays where everything narrower than two nuclei is taken away.

    Parameters
    ----------
    copy : WorkingCopy
    coarse : (rows, columns) uint16 array
        From `coarse_copy`.
    extent : Extent, optional
        Of a window.

    Returns
    -------
    (rows, columns) uint16 array
        In steps.
    """
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


def surface_of(copy: WorkingCopy, ground: np.ndarray | None = None) -> Surface:
    """Return the surface of a copy, of whose blocks each is computed when it is asked for.

    Parameters
    ----------
    copy : WorkingCopy
    ground : (rows, columns) uint16 array, optional
        From `coarse_ground`; else it is that of the whole image.
    """
    factor = copy.coarse
    ground = coarse_ground(copy, coarse_copy(copy)) if ground is None else ground
    ground_of = blocks.once(
        lambda block: pixels.enlarged(ground[block.window(factor, 1)], factor)[block.within(factor, 1)]
    )
    smooth_of = blocks.once(
        lambda block: pixels.blurred(cv2.subtract(copy.values(block), ground_of(block)), pixels.SLIGHT)
    )
    return Surface(ground_of, smooth_of)
