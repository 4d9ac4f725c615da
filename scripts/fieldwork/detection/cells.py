"""Cells around nuclei, one for each nucleus and with its number, and their cytoplasm: the cell without its nucleus."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from fieldwork import label_images, objects, user_functions
from fieldwork.inputs.functions import contained, find_once
from fieldwork.objects.groups import measure_groups
from fieldwork.segmentation import pixels

SMOOTHING_PX = 3  # side of the square whose mean is compared with the threshold
LEAST_CONTRAST = 4  # between cells and ground, in standard deviations of the smoothed noise; halves of noise have 1.6
DIFFERENCE_DEVIATIONS = 0.954  # median of the absolute difference of two pixels of normal noise
STRIP_PX = 2**15  # of a label image that is compared at once: it stays in the processor's cache


def cells_of(
    nuclei: np.ndarray,
    settings: Mapping[str, float | str],
    channels: Mapping[str, np.ndarray],
    *,
    folders: Sequence[str | os.PathLike] = (),
    frame: Sequence[object] = (),
) -> np.ndarray | None:
    """Find the cells around nuclei.

    Parameters
    ----------
    nuclei : (rows, columns) int32 array
        Label image.
    settings : mapping
        ``expand``: a distance in px, for `expand_nuclei`. Or ``watershed``: the name of a channel, for `flood_cells`.
        Or ``function``: the import path of one of the user's.
    channels : mapping of str to (rows, columns) array
        Name -> image.
    folders : list of path-like
        Of the user's own modules.
    frame : sequence
        What identifies the image, for `user_functions.seed_random`.

    Returns
    -------
    (rows, columns) int32 array or None
        None where the channel is missing.

    Raises
    ------
    ValueError
        The user's function failed, or did not return cells of these nuclei; or the channel is no image for a watershed.
    """
    if "function" in settings:
        return _cells_by_own_function(nuclei, settings["function"], channels, folders, frame)
    if "expand" in settings:
        return expand_nuclei(nuclei, settings["expand"])
    image = channels.get(settings["watershed"])
    return None if image is None else flood_cells(nuclei, image)


def _cells_by_own_function(nuclei, name, channels, folders, frame):
    try:
        function = find_once(name, folders=tuple(folders))
        user_functions.seed_random(*frame, "cells")
        with contained():
            # Copies: it may work in place, and all is measured afterwards.
            cells = function(nuclei.copy(), channels={channel: image.copy() for channel, image in channels.items()})
            return _checked(label_images.check_labels(cells, nuclei.shape), nuclei)
    except Exception as error:  # it may raise anything
        raise ValueError(user_functions.reason(name, error)) from None


def _checked(cells, nuclei):
    """Return cells as int32, each with its nucleus, if they have the nuclei's numbers."""
    unknown = np.setdiff1d(cells, np.append(nuclei, 0))
    if len(unknown):
        raise ValueError(
            f"gave a cell {unknown[0]}, but there is no such nucleus; expected cells with nuclei's numbers"
        )
    wrong = np.flatnonzero((nuclei > 0) & (cells > 0) & (cells != nuclei))
    if len(wrong):
        cell, nucleus = cells.flat[wrong[0]], nuclei.flat[wrong[0]]
        raise ValueError(f"gave cell {cell} where nucleus {nucleus} is; expected that a cell has its nucleus's number")
    return np.where(nuclei > 0, nuclei, cells.astype(np.int32))


def flood_cells(nuclei: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Find the cells around nuclei in an image of another stain: a watershed from the nuclei in what is bright.

    Pixels above the threshold are flooded from bright to dark, as by CellProfiler's IdentifySecondaryObjects with its
    method "Watershed - Image". The threshold is that of minimum cross-entropy (Li & Lee, Pattern Recognition 26:617,
    1993) of the smoothed image. Where what is above it hardly differs from what is below, as in an image of noise, a
    cell is its nucleus.

    Parameters
    ----------
    nuclei : (rows, columns) int32 array
        Label image.
    image : (rows, columns) array of numbers

    Returns
    -------
    (rows, columns) int32 array
        Every nucleus lies in the cell of its number.
    """
    from skimage import filters, segmentation  # 0.3 s to import, and most jobs have no need of it

    values = pixels.whole_numbers(image).values
    smooth = pixels.averaged(values.astype(np.uint16), SMOOTHING_PX)
    is_bright = smooth > filters.threshold_li(smooth) if smooth.min() < smooth.max() else np.zeros(nuclei.shape, bool)
    steps = np.abs(np.diff(values.astype(np.int32), axis=1))
    noise = np.median(steps) / DIFFERENCE_DEVIATIONS / SMOOTHING_PX if steps.size else 0
    if not is_bright.any() or smooth[is_bright].mean() - smooth[~is_bright].mean() < LEAST_CONTRAST * noise:
        return nuclei.copy()
    darkness = smooth.max() - smooth
    return segmentation.watershed(darkness, nuclei, mask=is_bright | (nuclei > 0)).astype(np.int32, copy=False)


def expand_nuclei(nuclei: np.ndarray, distance_px: float) -> np.ndarray:
    """Expand the objects of a label image, as `skimage.segmentation.expand_labels` does, in half of its time.

    Every pixel of the ground that is within a distance of objects gets the label of the nearest one. Of equally near
    pixels of objects, that of the lowest column counts, and in it that of the lowest row.

    Parameters
    ----------
    nuclei : (rows, columns) int32 array
    distance_px : float

    Returns
    -------
    (rows, columns) int32 array
    """
    # A key is a squared distance, and behind it the column it is measured to: the least key is the nearest pixel.
    reach, far = int(distance_px), int(distance_px**2) + 1
    bits = (2 * reach + 1).bit_length()
    if 2 * far << bits >= 2**16:
        from skimage import segmentation  # 0.3 s to import, and hardly a cell is that large

        return segmentation.expand_labels(nuclei, distance_px)
    above, below = _nearest_rows(nuclei > 0, reach)
    rows = np.arange(len(nuclei), dtype=np.int32)[:, None]
    gaps = np.minimum(np.minimum(rows - above, below - rows), reach + 1)
    keys = np.full((len(nuclei), nuclei.shape[1] + 2 * reach), far << bits, np.uint16)
    squares = np.append(np.arange(reach + 1) ** 2, far) << bits
    keys[:, reach : reach + nuclei.shape[1]] = squares.astype(np.uint16)[gaps]
    nearest = _least_keys(keys, reach, bits, limit=far << bits)
    flat = np.flatnonzero((nearest < far << bits) & (nuclei == 0))
    source = flat + (nearest.ravel()[flat] & np.uint16((1 << bits) - 1)) - reach  # in the same row
    row, column = np.divmod(source, nuclei.shape[1])
    row_above, row_below = above.ravel()[source], below.ravel()[source]
    expanded = nuclei.copy()
    expanded.ravel()[flat] = nuclei[np.where(row - row_above <= row_below - row, row_above, row_below), column]
    return expanded


def _nearest_rows(is_object, reach):
    """Return for each pixel the nearest rows of objects in its column, above and below; out of reach where none is."""
    rows = np.arange(len(is_object), dtype=np.int32)[:, None]
    above = np.where(is_object, rows, np.int32(-reach - 1))
    np.maximum.accumulate(above, axis=0, out=above)
    below = np.where(is_object, rows, np.int32(len(is_object) + reach))[::-1]
    np.minimum.accumulate(below, axis=0, out=below)
    return above, below[::-1]


def _least_keys(keys, reach, bits, *, limit):
    """Return for each pixel the least key of the pixels in its row, with the column that it belongs to."""
    width = keys.shape[1] - 2 * reach
    least = np.full((len(keys), width), limit, np.uint16)
    height = max(1, STRIP_PX // width)
    room = np.empty((height, width), np.uint16)
    for row in range(0, len(keys), height):
        strip = least[row : row + height]
        for column in range(2 * reach + 1):
            step = np.uint16((column - reach) ** 2 << bits | column)
            moved = np.add(keys[row : row + height, column : column + width], step, out=room[: len(strip)])
            np.minimum(strip, moved, out=strip)
    return least


def measure_cells(
    nuclei: np.ndarray, cells: np.ndarray, channels: Mapping[str, np.ndarray], *, groups: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Measure cells and their cytoplasm as nuclei are.

    Parameters
    ----------
    nuclei, cells : (rows, columns) array of integers from 0
        Label images of the same objects; a nucleus lies in its cell.
    channels : mapping of str to (rows, columns) array
        Name -> image.
    groups : sequence of str
        As for `objects.groups.measure_groups`.

    Returns
    -------
    dict of str to (n,) array
        Columns ``Cells_*`` and ``Cytoplasm_*`` of `objects.measure_arrays` and of groups, a row for each cell. Where a
        cell has no cytoplasm, whose columns are NaN.

    Raises
    ------
    ValueError
        As by `objects.measure_arrays`.
    """
    columns = objects.measure_arrays(cells, channels, prefix="Cells")
    columns |= measure_groups(cells, channels, groups, prefix="Cells")
    numbers = columns.pop("ObjectNumber")
    without_nuclei = np.where(nuclei > 0, 0, cells)
    cytoplasm = objects.measure_arrays(without_nuclei, channels, prefix="Cytoplasm")
    cytoplasm |= measure_groups(without_nuclei, channels, groups, prefix="Cytoplasm")
    rows = np.searchsorted(numbers, cytoplasm.pop("ObjectNumber"))
    for name, values in cytoplasm.items():
        if len(rows) == len(numbers):
            columns[name] = values
        else:
            columns[name] = np.full(len(numbers), np.nan)
            columns[name][rows] = values
    return columns
