"""Intensities of objects in one channel: CellProfiler's MeasureObjectIntensity."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fieldwork.objects.regions import Part, Regions, reduced, sort_groups

NAMES = (
    *(f"Intensity_{name}Intensity" for name in ("Integrated", "Mean", "Std", "Min", "Max")),
    *(f"Intensity_{name}IntensityEdge" for name in ("Integrated", "Mean", "Std", "Min", "Max")),
    "Intensity_MassDisplacement",
    *(f"Intensity_{name}Intensity" for name in ("LowerQuartile", "Median", "MAD", "UpperQuartile")),
    *(f"Location_{name}Intensity_{axis}" for name in ("CenterMass", "Max") for axis in "XY"),
)
QUARTILES = (0.25, 0.5, 0.75)


class Edges(NamedTuple):
    """The pixels at which another label or ground begins."""

    pixels: np.ndarray  # (e,) int64: which of the regions' p pixels
    owners: np.ndarray  # (k,) int64: the objects that have any
    firsts: np.ndarray  # (k,) int64: their first ones among the e
    counts: np.ndarray  # (k,) int64


def edges_of(regions: Regions, borders: np.ndarray, labels: np.ndarray) -> Edges:
    """Find the edges of objects: their borders, without the pixels that only the image's rim cuts.

    Parameters
    ----------
    regions : Regions
    borders : (b,) int64 array
        From `shapes.measure`.
    labels : (rows, columns) array of integers
    """
    height, width = regions.size
    owners = np.repeat(
        np.arange(len(regions.areas)), np.diff(np.searchsorted(borders, regions.firsts), append=len(borders))
    )
    at_rim = (regions.tops == 0) | (regions.lefts == 0)
    at_rim |= (regions.tops + regions.heights == height) | (regions.lefts + regions.widths == width)
    doubtful = np.flatnonzero(at_rim[owners])
    flat, pixels = labels.ravel(), regions.pixels[borders[doubtful]]
    rows, columns = np.divmod(pixels, width)
    edge = np.zeros(len(pixels), bool)
    for inside, step in ((rows > 0, -width), (rows < height - 1, width), (columns > 0, -1), (columns < width - 1, 1)):
        edge[inside] |= flat[pixels[inside] + step] != flat[pixels[inside]]
    kept = np.ones(len(borders), bool)
    kept[doubtful] = edge
    counts = np.bincount(owners[kept], minlength=len(regions.areas))
    present = np.flatnonzero(counts)
    counts = counts[present]
    return Edges(borders[kept], present, np.cumsum(counts) - counts, counts)


def measure(regions: Regions, parts: Sequence[Part], edges: Edges, image: np.ndarray) -> dict[str, np.ndarray]:
    """Measure all columns of one channel.

    Parameters
    ----------
    regions : Regions
    parts : sequence of Part
        Of the regions.
    edges : Edges
    image : (rows, columns) array of bool, integers or floats
        Of the size of the label image.

    Returns
    -------
    dict of str to (n,) float64 array
        By names of `NAMES`.
    """
    scale = np.iinfo(image.dtype).max if image.dtype.kind in "iu" else 1
    image = image.view(np.uint8) if image.dtype.kind == "b" else image
    values = image.ravel().take(regions.pixels, mode="clip").astype(image.dtype.newbyteorder("="), copy=False)
    sums = _sums_of(regions, parts, values)
    measured = _spread(sums.totals, sums.deviations, regions.areas) | _percentiles(regions, values)
    edge = _summable(values[edges.pixels])
    totals = _totals(edge, edges.firsts, edges.counts)
    at_edges = _spread(totals, _deviations(edge, totals, edges.firsts, edges.counts), edges.counts)
    at_edges |= {"Min": reduced(np.minimum, edge, edges.firsts), "Max": reduced(np.maximum, edge, edges.firsts)}
    columns = {f"Intensity_{name}Intensity": numbers / scale for name, numbers in measured.items()}
    for name, numbers in at_edges.items():
        columns[f"Intensity_{name}IntensityEdge"] = np.zeros(len(regions.areas))
        columns[f"Intensity_{name}IntensityEdge"][edges.owners] = numbers / scale
    return columns | _mass_positions(regions, sums) | _brightest(regions, values, measured["Max"])


class Sums(NamedTuple):
    """Sums over the pixels of every object: whole numbers for images of 8 and 16 bits, else floats."""

    totals: np.ndarray  # (n,): of the values
    deviations: np.ndarray  # (n,) float64: of the squares of their deviations from the mean
    rows: np.ndarray  # (n,): of value times row in the bounding box
    columns: np.ndarray  # (n,): of value times column there


def _sums_of(regions, parts, values):
    """Sum part by part."""
    sums = []
    for part in parts:
        part_values, counts = _summable(values[part.pixels]), regions.areas[part.objects]
        totals = _totals(part_values, part.firsts, counts)
        runs = _totals(part_values, part.starts, regions.lengths[part.runs]) * regions.rows[part.runs]
        first_runs = regions.first_runs[part.objects] - part.runs.start
        sums.append(
            Sums(
                totals,
                _deviations(part_values, totals, part.firsts, counts),
                _totals(runs, first_runs, np.diff(first_runs, append=len(runs))),
                _totals(part_values * regions.pixel_columns[part.pixels], part.firsts, counts),
            )
        )
    return Sums(*map(np.concatenate, zip(*sums, strict=True))) if sums else Sums(*np.zeros((4, 0)))


def _summable(values):
    """Convert pixels to a type in which their sums, and those of their squares, are as exact as can be."""
    return values.astype(np.int64 if values.dtype.kind in "iu" and values.dtype.itemsize <= 2 else np.float64)


def _totals(values, firsts, counts):
    """Sum the values of groups that follow each other: whole numbers in any order, floats one after the other."""
    if values.dtype.kind == "i":
        return reduced(np.add, values, firsts)
    return np.bincount(np.repeat(np.arange(len(firsts)), counts), values, len(firsts))


def _deviations(values, totals, firsts, counts):
    """Sum the squared deviations of the values of groups from their means."""
    if values.dtype.kind == "i":
        # First around the whole number below the mean: these sums of squares are exact.
        base = totals // counts
        rest = totals - base * counts
        return (
            _totals(values * values, firsts, counts) - 2 * base * totals + base * base * counts - rest * rest / counts
        )
    away = values - np.repeat(totals / counts, counts)
    return _totals(away * away, firsts, counts)


def _spread(totals, deviations, counts):
    """Return sum, mean and standard deviation of groups of values."""
    return {"Integrated": totals, "Mean": totals / counts, "Std": np.sqrt(deviations / counts)}


def _percentiles(regions, values):
    """Return minimum, maximum, quartiles and MAD of every object."""
    firsts, counts = regions.firsts, regions.areas
    ordered = sort_groups(values, firsts, counts)
    lower, median, upper = (_at_share(ordered, firsts, counts, share) for share in QUARTILES)
    return {
        "Min": ordered[firsts].astype(np.float64),
        "Max": ordered[firsts + counts - 1].astype(np.float64),
        "LowerQuartile": lower,
        "Median": median,
        "UpperQuartile": upper,
        "MAD": _median_deviations(ordered, firsts, counts, median),
    }


def _at_share(ordered, firsts, counts, share):
    """Return the value at a share of the number of values, between two of them if need be."""
    below, above, part = _neighbours(counts, share)
    return ordered[firsts + below] * (1 - part) + ordered[firsts + above] * part


def _neighbours(counts, share):
    """Return the whole numbers around a share of a number of values, and where between them it lies."""
    position = counts * share
    below = position.astype(np.int64)
    return below, np.minimum(below + 1, counts - 1), position - below


def _median_deviations(ordered, firsts, counts, medians):
    """Return the median of the deviations from medians, at half of their number, without sorting them.

    The k smallest deviations are those of k neighbours in the order of the values. The largest of these is that of the
    first or of the last one: where the two change ranks, the largest is the smallest possible.
    """
    below, above, part = _neighbours(counts, 0.5)
    count = np.concatenate([below, above]) + 1  # k
    firsts, medians = np.tile(firsts, 2), np.tile(medians, 2)
    left, right = np.zeros(len(count), np.int64), np.tile(counts, 2) - count  # bounds of the first neighbour
    for _ in range(int(counts.max(initial=0)).bit_length()):
        middle = (left + right) // 2
        first = firsts + middle
        beyond = ordered[first + count - 1] - medians >= medians - ordered[first]
        right = np.where(beyond, middle, right)
        left = np.where(beyond, left, np.minimum(middle + 1, right))
    candidates = []
    for first in (firsts + left, firsts + np.maximum(left - 1, 0)):
        candidates.append(np.maximum(ordered[first + count - 1] - medians, medians - ordered[first]))
    smallest, next_one = np.minimum(*candidates).reshape(2, -1)
    return smallest * (1 - part) + next_one * part


def _mass_positions(regions, sums):
    """Return the centre of the light, and its distance from the object's centre; NaN without light."""
    light = np.where(sums.totals == 0, np.nan, sums.totals)
    away = [
        (regions.areas * weighted - sums.totals * plain) / (regions.areas * light)
        for weighted, plain in ((sums.rows, regions.row_sums), (sums.columns, regions.column_sums))
    ]
    return {
        "Location_CenterMassIntensity_X": regions.lefts + sums.columns / light,
        "Location_CenterMassIntensity_Y": regions.tops + sums.rows / light,
        "Intensity_MassDisplacement": np.sqrt(away[0] * away[0] + away[1] * away[1]),
    }


def _brightest(regions, values, maxima):
    """Return the position of the brightest pixel, the first of equal ones."""
    hits = np.flatnonzero(values == np.repeat(maxima.astype(values.dtype), regions.areas))
    rows, columns = np.divmod(regions.pixels[hits[np.searchsorted(hits, regions.firsts)]], regions.size[1])
    return {
        "Location_MaxIntensity_X": columns.astype(np.float64),
        "Location_MaxIntensity_Y": rows.astype(np.float64),
    }
