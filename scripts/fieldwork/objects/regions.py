"""The pixels of all objects of a label image, in the order of the objects: what all columns are measured on."""

from typing import NamedTuple

import numpy as np

from fieldwork import label_images

PART_PX = 2**15  # of whose pixels a processor's cache holds several arrays
PART_PX = 2**15
RADIX_LIMIT = 2**16  # NumPy sorts 16 bits by radix, in a tenth of the time of 32


class Regions(NamedTuple):
    """The n objects of a label image, the m runs of pixels that they consist of, and their p pixels.

    Runs and pixels are ordered by object, and within an object from the image's first pixel to its last.
    """

    labels: np.ndarray  # (n,) int64, ascending
    areas: np.ndarray  # (n,) int64, px
    firsts: np.ndarray  # (n,) int64: the object's first pixel among the p
    tops: np.ndarray  # (n,) int64: first row of the bounding box
    lefts: np.ndarray  # (n,) int64: its first column
    heights: np.ndarray  # (n,) int64, px
    widths: np.ndarray  # (n,) int64, px
    row_sums: np.ndarray  # (n,) int64: sum of the rows of pixels in the bounding box
    column_sums: np.ndarray  # (n,) int64
    first_runs: np.ndarray  # (n,) int64: the object's first run among the m
    owners: np.ndarray  # (m,) int64: number of the run's object, from 0
    rows: np.ndarray  # (m,) int64: of the run in the bounding box
    columns: np.ndarray  # (m,) int64: of its first pixel in the bounding box
    lengths: np.ndarray  # (m,) int64, px
    starts: np.ndarray  # (m,) int64: the run's first pixel among the p
    pixel_columns: np.ndarray  # (p,) int64: of the pixel in the bounding box
    pixels: np.ndarray  # (p,) int64: index in the flat image
    size: tuple[int, int]  # rows and columns of the image


def regions_of(labels: np.ndarray) -> Regions:
    """Find the objects of a (rows, columns) label image: of any values from 0, with gaps."""
    runs = label_images.runs_of(labels)
    order = _order_of(runs.labels)
    values, flat, lengths = runs.labels[order], runs.starts[order], runs.lengths[order]
    first_runs = np.flatnonzero(np.diff(values, prepend=0)) if len(values) else np.zeros(0, np.int64)
    counts = np.diff(first_runs, append=len(values))
    owners = np.repeat(np.arange(len(first_runs)), counts)
    rows, columns = np.divmod(flat, labels.shape[1])
    starts = np.cumsum(lengths) - lengths
    tops = rows[first_runs]
    heights = rows[first_runs + counts - 1] + 1 - tops
    lefts = reduced(np.minimum, columns, first_runs)
    widths = reduced(np.maximum, columns + lengths, first_runs) - lefts
    corners = lefts[owners]
    rows_inside, columns_inside = rows - tops[owners], columns - corners
    pixel_columns = np.repeat(columns - corners - starts, lengths)
    pixel_columns += np.arange(len(pixel_columns))
    return Regions(
        labels=values[first_runs].astype(np.int64),
        areas=reduced(np.add, lengths, first_runs),
        firsts=starts[first_runs],
        tops=tops,
        lefts=lefts,
        heights=heights,
        widths=widths,
        row_sums=reduced(np.add, rows_inside * lengths, first_runs),
        column_sums=reduced(np.add, lengths * columns_inside + (lengths - 1) * lengths // 2, first_runs),
        first_runs=first_runs,
        owners=owners,
        rows=rows_inside,
        columns=columns_inside,
        lengths=lengths,
        starts=starts,
        pixel_columns=pixel_columns,
        pixels=np.repeat(rows * labels.shape[1] + corners, lengths) + pixel_columns,
        size=labels.shape,
    )


class Part(NamedTuple):
    """Some objects that follow each other, with few pixels: the processor's cache holds several arrays of them."""

    objects: slice  # of the n
    runs: slice  # of the m
    pixels: slice  # of the p
    firsts: np.ndarray  # (objects,) int64: the object's first pixel among the part's
    starts: np.ndarray  # (runs,) int64: the run's first pixel among the part's


def parts_of(regions: Regions) -> list[Part]:
    """Divide the objects into parts of about `PART_PX` pixels; a larger object is a part of its own."""
    bounds = np.flatnonzero(np.diff(regions.firsts // PART_PX, prepend=-1))
    bounds = np.append(bounds, len(regions.areas))
    runs = np.append(regions.first_runs, len(regions.rows))[bounds]
    pixels = np.append(regions.firsts, len(regions.pixels))[bounds]
    objects, runs, pixels = (map(slice, ends.tolist(), ends[1:].tolist()) for ends in (bounds, runs, pixels))
    return [
        Part(*slices, regions.firsts[slices[0]] - slices[2].start, regions.starts[slices[1]] - slices[2].start)
        for slices in zip(objects, runs, pixels, strict=True)
    ]


def _order_of(values):
    """Return the stable order of labels."""
    if values.max(initial=0) < RADIX_LIMIT:
        values = values.astype(np.uint16)
    return np.argsort(values, kind="stable")


def reduced(operation: np.ufunc, values: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    """Reduce the values of every group to one, e.g. to their sum; groups follow each other, and none is empty.

    Parameters
    ----------
    operation : numpy.ufunc
    values : (m,) array
    firsts : (n,) int array
        The first value of each group.
    """
    return operation.reduceat(values, firsts) if len(firsts) else values[:0]


def sort_groups(values: np.ndarray, firsts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sort the values of every group; groups follow each other.

    Parameters
    ----------
    values : (p,) array
    firsts, counts : (n,) int array
        The first value of each group, and how many it has.

    Returns
    -------
    (p,) array of the same type
    """
    values = values.copy()
    # One group after the other: NumPy sorts 8 and 16 bits by radix, as fast on every machine.
    kind = "stable" if values.dtype.itemsize <= 2 and values.dtype.kind in "iu" else "quicksort"
    for first, end in zip(firsts.tolist(), (firsts + counts).tolist(), strict=True):
        values[first:end].sort(kind=kind)
    return values
