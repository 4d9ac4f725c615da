"""Outline the nuclei of one image, given what a typical nucleus of its plate is like."""

import os
from collections.abc import Sequence
from os import PathLike
from typing import NamedTuple

import numpy as np

from fieldwork.inputs import outlining
from fieldwork.segmentation import blocks, figures, flags, network, outlines, pixels, thresholds, working_copies
from fieldwork.segmentation.calibration import Calibration, calibrate
from fieldwork.segmentation.figures import Figures
from fieldwork.segmentation.objects import FLUORESCENT, STAINED, objects_of
from fieldwork.segmentation.working_copies import Extent, Form, Levels

HISTOGRAM_ROWS = 512  # that tell the threshold
GROUND_ROWS = 32  # that tell the median ground
MOST_FIELD_PX, MOST_WINDOW_PX = 2**23, 2**22  # of a block with its halo; each takes about 60 bytes
MOST_NETWORK_PX = 2**22  # likewise, of the network, which takes twice as many


class Segmentation(NamedTuple):
    """The outlines of one image's nuclei, and what is odd about the image."""

    labels: np.ndarray  # (rows, columns) int32: nuclei 1..n in reading order; 0 is ground
    threshold: float | None  # in the image's unit, at the median ground; None where nothing was looked for
    out_of_focus: bool
    saturated: bool
    unlike_plate: bool
    figures: Figures = Figures()


class Darkness(NamedTuple):
    """What one image of a sample says of the floor."""

    sums: np.ndarray  # (n,) int32: of squares of pixels, from all over the image
    odd: int  # pixels far from their neighbours' median ...
    looked_at: int  # ... of so many


def segment_nuclei(
    image: np.ndarray,
    calibration: Calibration | None = None,
    *,
    method: str = "auto",
    model: str | PathLike | None = None,
) -> np.ndarray:
    """Outline the nuclei of an image.

    Parameters
    ----------
    image : (rows, columns) array of any real type
        Bright nuclei on a dark ground.
    calibration : Calibration, optional
        From `calibrate`, of images of the same plate. Without it the image calibrates itself.
    method : {'auto', 'classical', 'network'}
        How nuclei are found; ``auto`` is one of the others.
    model : path-like, optional
        Of the network, in place of the one that Fieldwork comes with.

    Returns
    -------
    (rows, columns) int32 array
        Nuclei are 1..n, in reading order of their first pixels; 0 is ground.

    Raises
    ------
    ValueError
        It is not a 2-D image of finite numbers, there is no such method, or it does not use a model.
    """
    calibration = calibrate([image]) if calibration is None else calibration
    detector, source = _detector_of(method, model), pixels.whole_numbers(image)
    if calibration.diameter is None or calibration.contrast is None:
        return np.zeros(image.shape, np.int32)
    copy = working_copies.copy_of(source, calibration, _form_of(detector, MOST_FIELD_PX))
    surface = working_copies.surface_of(copy)
    threshold = None if detector == "network" else _thresholds_of(copy, surface)[0]
    return _labels_in(copy, image.shape, _finder(copy, surface, detector, model, threshold))


def segment_field(
    image: np.ndarray,
    calibration: Calibration,
    *,
    camera: np.ndarray | None = None,
    method: str = "auto",
    model: str | PathLike | None = None,
) -> Segmentation:
    """Outline the nuclei of an image, and check whether it is like the images of its plate.

    Parameters
    ----------
    image, calibration
        As for `segment_nuclei`.
    camera : (rows, columns) array, optional
        What the camera gave, where `image` is a corrected one: it tells whether pixels are saturated, or all equal.
    method, model
        As for `segment_nuclei`.

    Returns
    -------
    Segmentation
    """
    detector = _detector_of(method, model)
    source = pixels.whole_numbers(image)
    values = source.values if camera is None else camera
    taken = image if camera is None else camera
    if calibration.diameter is None or calibration.contrast is None:
        labels = np.zeros(image.shape, np.int32)
        saturated = flags.saturated_share(taken, labels)
        of_field = Figures(saturated=saturated)
        is_saturated = saturated >= flags.LEAST_SATURATED
        return Segmentation(labels, None, False, is_saturated, flags.is_constant(values), of_field)
    copy = working_copies.copy_of(source, calibration, _form_of(detector, MOST_FIELD_PX))
    coarse = working_copies.coarse_copy(copy)
    ground = working_copies.coarse_ground(copy, coarse)
    surface = working_copies.surface_of(copy, ground)
    above_ground, threshold = _thresholds_of(copy, surface)
    find = _finder(copy, surface, detector, model, above_ground)
    seen: list[flags.Nuclei] = []
    labels = _labels_in(copy, image.shape, find, lambda *found: seen.append(_nuclei_of(surface, *found)))
    nuclei, others = _joined(seen), 0
    if detector == "network" and len(nuclei.areas) < flags.LEAST_OBJECTS:
        # What is far out of focus is no nucleus to the network: flags are about what the classical detector sees there.
        find = _finder(copy, surface, "classical", None, above_ground)
        found, nuclei = nuclei, _joined([_nuclei_of(surface, block, find(block)) for block in copy.blocks])
        others = len(nuclei.areas) - len(found.areas)
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
        or others >= flags.LEAST_OBJECTS
        or flags.is_constant(values)
        or flags.is_background_unlike(background, calibration.background, calibration.contrast),
        of_field,
    )


def segment_window(
    image: np.ndarray,
    calibration: Calibration,
    levels: Levels,
    extent: Extent,
    *,
    method: str,
    model: str | PathLike | None = None,
) -> np.ndarray:
    """Outline the nuclei in a window of a slide: as in the whole slide at once, but for those near the window's rim.

    Parameters
    ----------
    image : (rows, columns) array of uint8 or uint16
        The window. Its first row and column in the slide are multiples of `grid_of`'s.
    calibration : Calibration
        With a diameter and a contrast.
    levels : Levels
    extent : Extent
    method, model
        As for `segment_nuclei`.

    Returns
    -------
    (rows, columns) int32 array
        As from `segment_nuclei`.
    """
    detector = _detector_of(method, model)
    form = _form_of(detector, MOST_WINDOW_PX)
    copy = working_copies.copy_of(pixels.whole_numbers(image), calibration, form, levels)
    ground = working_copies.coarse_ground(copy, working_copies.coarse_copy(copy), extent)
    surface = working_copies.surface_of(copy, ground)
    contours = STAINED if levels.is_stained else FLUORESCENT
    return _labels_in(copy, image.shape, _finder(copy, surface, detector, model, levels.threshold, contours))


def grid_of(calibration: Calibration, *, method: str) -> tuple[int, int]:
    """Return what the first rows and columns of a slide's windows are multiples of, and the width of a halo, in px."""
    return working_copies.grid_of(calibration.diameter, _form_of(_detector_of(method), MOST_WINDOW_PX))


def darkness_of(image: np.ndarray, calibration: Calibration) -> Darkness:
    """Measure what one image of a slide's sample, (rows, columns) of uint8 or uint16, says of the floor."""
    values = pixels.whole_numbers(image).values
    sums = working_copies.sums_all_over(values, calibration.diameter, _form_of("classical", MOST_WINDOW_PX))
    return Darkness(sums, *working_copies.odd_pixels(values, calibration.contrast))


def levels_of(sample: Sequence[Darkness], *, is_stained: bool) -> Levels:
    """Decide on the floor of a slide by the images of its sample; the threshold follows by `histogram_of`."""
    odd, looked_at = (sum(getattr(darkness, name) for darkness in sample) for name in ("odd", "looked_at"))
    floor = working_copies.floor_of(np.concatenate([darkness.sums for darkness in sample]))
    return Levels(floor, working_copies.are_many_odd(odd, looked_at), is_stained)


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
    form = _form_of("classical", MOST_WINDOW_PX)
    copy = working_copies.copy_of(pixels.whole_numbers(image), calibration, form, levels)
    return _histogram_and_grounds(copy, working_copies.surface_of(copy))[0]


def _detector_of(method, model=None):
    if method not in outlining.METHODS:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(outlining.METHODS)}")
    detector = outlining.detector_of(method)
    if model is not None and detector != "network":
        raise ValueError(
            f"model is {os.fspath(model)!r}, which method {method!r} does not use; expected method 'network'"
        )
    return detector


def _form_of(detector, most_px):
    """Return what a detector asks of working copies, in blocks of at most so many pixels."""
    if detector == "network":
        return Form(network.MULTIPLE_PX, network.HALO_PX, min(most_px, MOST_NETWORK_PX), smooths_shrunk=False)
    return Form(1, 0, most_px, smooths_shrunk=True)


def _finder(copy, surface, detector, model, threshold, contours=FLUORESCENT):
    """Return the function of a block that finds its objects; the network does not use the threshold."""
    if detector == "network":
        taken = network.load(model)
        return lambda block: network.objects_of(copy.values(block), surface.ground(block), copy.scale, taken)
    return lambda block: objects_of(surface.smooth(block), surface.ground(block), threshold, copy.scale, contours)


def _labels_in(copy, shape, find, note=None):
    """Return the labels of an image of this shape; note what is found in each block."""
    canvas, scale = blocks.Canvas(shape), copy.scale
    for block in copy.blocks:
        objects = find(block)
        if len(copy.blocks) > 1:
            canvas.begin(block, objects.brightest, scale.shrunk / scale.enlarged)
        if note:
            note(block, objects)
        top, left = (span.first * scale.shrunk // scale.enlarged for span in block.outer)
        for row, labels in outlines.strips_of(objects, scale):
            canvas.paint(labels, top + row, left)
    return canvas.finished()


def _nuclei_of(surface, block, objects):
    return flags.nuclei_of(objects.labels, surface.smooth(block))


def _joined(parts):
    """Return the nuclei of all blocks."""
    return flags.Nuclei(*map(np.concatenate, zip(*parts, strict=True)))


def _thresholds_of(copy, surface):
    """Return the threshold of a field above its ground, and at its median ground, in steps."""
    counts, grounds = _histogram_and_grounds(copy, surface)
    above_ground = thresholds.threshold_of(counts)
    return above_ground, above_ground + float(np.median(grounds))


def _histogram_and_grounds(copy, surface):
    """Count the pixels above the ground in rows all over the field, and list grounds from there, in steps."""
    counts, grounds = 0, []
    for block in copy.blocks:
        rows = block.every(1 + copy.shape[0] // HISTOGRAM_ROWS, 1)
        counts = counts + thresholds.histogram_of(surface.smooth(block)[rows])
        grounds.append(surface.ground(block)[block.every(1 + copy.shape[0] // GROUND_ROWS, 1)].ravel())
    return counts, np.concatenate(grounds)
