"""The pixels of all objects of a label image, in the order of the objects: what all columns are measured on."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from fieldwork import label_images

PART_PX = 2**17  # of objects that are measured at once
RADIX_LIMIT = 2**16  # NumPy sorts 16 bits by radix, in a tenth of the time of 32


class Regions(NamedTuple):
    """The n objects of a label image, and the m runs of pixels that they consist of.

    Runs are ordered by object, and within an object from the image's first pixel to its last.
    """

    labels: np.ndarray  # (n,) int64, ascending
    areas: np.ndarray  # (n,) int64, px
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
    size: tuple[int, int]  # rows and columns of the image


class Pixels(NamedTuple):
    """The p pixels of some objects, in the order of their runs."""

    firsts: np.ndarray  # (n,) int64: the object's first pixel among the p
    starts: np.ndarray  # (m,) int64: the run's first pixel
    columns: np.ndarray  # (p,) int64: of the pixel in the bounding box
    indices: np.ndarray  # (p,) int64: in the flat image


def regions_of(labels: np.ndarray) -> Regions:
    """Find the objects of a (rows, columns) label image: of any values from 0, with gaps."""
    runs = label_images.runs_of(labels)
    order = _order_of(runs.labels)
    values, flat, lengths = runs.labels[order], runs.starts[order], runs.lengths[order]
    first_runs = np.flatnonzero(np.diff(values, prepend=0)) if len(values) else np.zeros(0, np.int64)
    counts = np.diff(first_runs, append=len(values))
    owners = np.repeat(np.arange(len(first_runs)), counts)
    rows, columns = np.divmod(flat, labels.shape[1])
    tops, lefts = rows[first_runs], reduced(np.minimum, columns, first_runs)
    heights = rows[first_runs + counts - 1] + 1 - tops
    widths = reduced(np.maximum, columns + lengths, first_runs) - lefts
    rows -= tops[owners]
    columns -= lefts[owners]
    return Regions(
        labels=values[first_runs].astype(np.int64),
        areas=reduced(np.add, lengths, first_runs),
        tops=tops,
        lefts=lefts,
        heights=heights,
        widths=widths,
        row_sums=reduced(np.add, rows * lengths, first_runs),
        column_sums=reduced(np.add, lengths * columns + (lengths - 1) * lengths // 2, first_runs),
        first_runs=first_runs,
        owners=owners,
        rows=rows,
        columns=columns,
        lengths=lengths,
        size=labels.shape,
    )


def parts_of(regions: Regions) -> Iterator[Regions]:
    """Yield objects that follow each other, with about `PART_PX` pixels; a larger object is a part of its own.

    The processor's cache holds all arrays of so many pixels.
    """
    numbers = (np.cumsum(regions.areas) - regions.areas) // PART_PX
    bounds = [*np.flatnonzero(np.diff(numbers, prepend=-1)).tolist(), len(numbers)] if len(numbers) else [0, 0]
    run_bounds = np.append(regions.first_runs, len(regions.rows))[bounds].tolist()
    for objects, runs in zip(itertools.pairwise(bounds), itertools.pairwise(run_bounds), strict=True):
        part = Regions(
            *(values[slice(*objects)] for values in regions[:9]),
            *(values[slice(*runs)] for values in regions[9:13]),
            regions.size,
        )
        yield part._replace(first_runs=part.first_runs - runs[0], owners=part.owners - objects[0])


def pixels_of(regions: Regions) -> Pixels:
    """List the pixels of objects."""
    starts = np.cumsum(regions.lengths) - regions.lengths
    columns = np.repeat(regions.columns - starts, regions.lengths)
    columns += np.arange(len(columns))
    corners = (regions.tops[regions.owners] + regions.rows) * regions.size[1] + regions.lefts[regions.owners]
    return Pixels(starts[regions.first_runs], starts, columns, np.repeat(corners, regions.lengths) + columns)


def _order_of(values):
    """Return the stable order of labels."""
    if values.max(initial=0) < RADIX_LIMIT and values.min(initial=0) >= 0:
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
