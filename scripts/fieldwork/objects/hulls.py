"""Convex hulls of objects, all at once: how many pixels they cover, and how wide they are."""

from typing import NamedTuple

import numpy as np

from fieldwork.objects.regions import Regions, reduced


class Chains(NamedTuple):
    """Corners of 2n chains, from top to bottom: the left sides of n hulls, then their right sides, mirrored.

    A mirrored column is the negative one; so every chain bends the same way, and one rule serves both sides. Corners
    are centres of pixels.
    """

    count: int  # n
    owners: np.ndarray  # (c,) int64: number of the chain, from 0; k and n + k are the two sides of one object
    rows: np.ndarray  # (c,) int64, in the bounding box
    columns: np.ndarray  # (c,) int64
    firsts: np.ndarray  # (2n,) int64: the chain's first corner


def chains_of(regions: Regions) -> Chains:
    """Find the hulls of objects."""
    count = len(regions.labels)
    # Half the bits, where products of two lengths have room in them.
    kind = np.int32 if max(regions.size) < 2**15 else np.int64
    owners, rows, columns, lengths = (
        values.astype(kind) for values in (regions.owners, regions.rows, regions.columns, regions.lengths)
    )
    new = np.ones(len(rows), bool)  # a row of an object
    new[1:] = (owners[1:] != owners[:-1]) | (rows[1:] != rows[:-1])
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(new))[: len(first)] - 1
    owners, rows = np.concatenate([owners[first], owners[first] + count]), np.tile(rows[first], 2)
    columns = np.concatenate([columns[first], 1 - columns[last] - lengths[last]])
    # A corner of the hull is never removed: it lies outside the line between any two other points. So all points on or
    # within the line between their neighbours can go at once.
    while True:
        row, column = rows[1:] - rows[:-1], columns[1:] - columns[:-1]
        within = column[:-1] * row[1:] >= column[1:] * row[:-1]
        within &= owners[2:] == owners[:-2]
        if not within.any():
            firsts = np.searchsorted(owners, np.arange(2 * count, dtype=owners.dtype))
            return Chains(count, *(values.astype(np.int64) for values in (owners, rows, columns)), firsts)
        kept = np.ones(len(rows), bool)
        kept[1:-1] = ~within
        owners, rows, columns = owners[kept], rows[kept], columns[kept]


def convex_areas(chains: Chains, heights: np.ndarray) -> np.ndarray:
    """Count the pixels of hulls, as scikit-image's `area_convex`: of those around the middles of pixels' sides.

    This hull is the one of the centres, broadened by a diamond that reaches half a pixel to all four sides. A pixel is
    in it if its centre is, or lies on its outline. So in every row the outermost column follows from the hull of the
    centres there, and half a row above and below.

    Parameters
    ----------
    chains : Chains
    heights : (n,) int64 array

    Returns
    -------
    (n,) int64 array
    """
    last = np.diff(chains.owners, append=-1) != 0
    rise = np.where(last, 1, np.diff(chains.rows, append=0))
    run = np.where(last, 0, np.diff(chains.columns, append=0))
    corner = np.repeat(np.arange(len(rise)), rise)  # of every row: the one at it or above it
    step = np.arange(len(corner)) - (np.cumsum(rise) - rise)[corner]
    # Quotients of whole numbers: float64 rounds them to a whole number only where they are one.
    divisor, slope = 2.0 * rise[corner], run[corner]
    column = chains.columns[corner] * divisor + 2 * slope * step
    here = np.ceil((column - divisor / 2) / divisor)
    below = np.ceil((column + slope) / divisor)
    below[last[corner]] = np.inf
    outermost = np.minimum(here, below)
    np.minimum(outermost[1:], below[:-1], out=outermost[1:])
    sums = np.bincount(chains.owners[corner], outermost, 2 * chains.count).astype(np.int64)
    return heights - sums[: chains.count] - sums[chains.count :]


def feret_diameters(chains: Chains) -> tuple[np.ndarray, np.ndarray]:
    """Measure the smallest and the largest distance of two parallel lines that touch an object's centres of pixels.

    The smallest lies at a side of the hull and the corner opposite to it; the largest joins two opposite corners. The
    corner opposite to a side is where the other chain turns past the side's direction.

    Parameters
    ----------
    chains : Chains

    Returns
    -------
    (n,) float64 array
        Smallest diameters, in px.
    (n,) float64 array
        Largest diameters, in px.
    """
    count, owners, rows, columns = chains.count, chains.owners, chains.rows, chains.columns
    last = np.diff(owners, append=-1) != 0
    rise = np.where(last, 0, np.diff(rows, append=0))
    run = np.where(last, 0, np.diff(columns, append=0))
    end_rows, end_columns = rows + rise, columns + run
    run[last] = 1  # the lower end of the hull, a horizontal side
    # Directions rise along a chain. Two slopes of lattice points within 2**16 px differ by more than this key rounds.
    direction = run / (rise + np.abs(run))
    partners = (owners + count) % (2 * count)
    opposite = np.searchsorted(4.0 * owners + direction, 4.0 * partners - direction)
    far_rows, far_columns = rows[opposite], -columns[opposite]
    across = (far_columns - columns) * rise - (far_rows - rows) * run
    widths = (across * across) / (rise * rise + run * run)
    lengths = np.maximum(
        (far_rows - rows) ** 2 + (far_columns - columns) ** 2,
        (far_rows - end_rows) ** 2 + (far_columns - end_columns) ** 2,
    )
    smallest = reduced(np.minimum, widths, chains.firsts).reshape(2, count).min(axis=0)
    largest = reduced(np.maximum, lengths, chains.firsts).reshape(2, count).max(axis=0)
    return np.sqrt(smallest), np.sqrt(largest)
