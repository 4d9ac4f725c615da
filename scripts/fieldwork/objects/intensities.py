"""Intensities of objects in one channel: CellProfiler's MeasureObjectIntensity."""

from typing import NamedTuple

import numpy as np

from fieldwork.objects.regions import Regions, reduced

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


def measure(regions: Regions, edges: Edges, image: np.ndarray) -> dict[str, np.ndarray]:
    """Measure all columns of one channel.

    Parameters
    ----------
    regions : Regions
    edges : Edges
    image : (rows, columns) array of bool, integers or floats
        Of the size of the label image.

    Returns
    -------
    dict of str to (n,) float64 array
        By names of `NAMES`.
    """
    scale = np.iinfo(image.dtype).max if image.dtype.kind in "iu" else 1
    values = image.ravel()[regions.pixels]
    if values.dtype.kind == "b":
        values = values.view(np.uint8)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    exact = values.astype(np.int64 if values.dtype.kind in "iu" and values.dtype.itemsize <= 2 else np.float64)
    total = _sums(exact, regions.firsts, regions.areas)
    measured = _spread(exact, total, regions.firsts, regions.areas) | _percentiles(values, regions)
    edge = exact[edges.pixels]
    edge_total = _sums(edge, edges.firsts, edges.counts)
    at_edges = _spread(edge, edge_total, edges.firsts, edges.counts)
    at_edges |= {"Min": reduced(np.minimum, edge, edges.firsts), "Max": reduced(np.maximum, edge, edges.firsts)}
    columns = {f"Intensity_{name}Intensity": numbers / scale for name, numbers in measured.items()}
    for name, numbers in at_edges.items():
        columns[f"Intensity_{name}IntensityEdge"] = np.zeros(len(regions.areas))
        columns[f"Intensity_{name}IntensityEdge"][edges.owners] = numbers / scale
    return columns | _mass_positions(regions, exact, total) | _brightest(regions, values, measured["Max"])


def _sums(values, firsts, counts):
    """Sum the values of groups that follow each other: whole numbers in any order, floats one after the other."""
    if values.dtype.kind == "i":
        return reduced(np.add, values, firsts)
    return np.bincount(np.repeat(np.arange(len(firsts)), counts), values, len(firsts))


def _spread(values, totals, firsts, counts):
    """Return sum, mean and standard deviation of groups of values."""
    means = totals / counts
    if values.dtype.kind == "i":
        # Around a whole number below the mean: with sums of squares that stay exact.
        base = totals // counts
        rest = totals - base * counts
        squares = _sums(values * values, firsts, counts) - 2 * base * totals + counts * base * base
        variances = (squares - rest * rest / counts) / counts
    else:
        away = values - np.repeat(means, counts)
        variances = _sums(away * away, firsts, counts) / counts
    return {"Integrated": totals, "Mean": means, "Std": np.sqrt(variances)}


def _percentiles(values, regions):
    """Return minimum, maximum, quartiles and MAD of every object."""
    firsts, counts = regions.firsts, regions.areas
    ordered = values.copy()
    # Pixels of 8 and 16 bits are sorted by radix: as fast on every machine.
    kind = "stable" if values.dtype.itemsize <= 2 and values.dtype.kind in "iu" else "quicksort"
    for first, end in zip(firsts.tolist(), (firsts + counts).tolist(), strict=True):
        ordered[first:end].sort(kind=kind)
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
    position = counts * share
    below = position.astype(np.int64)
    part = position - below
    above = np.minimum(below + 1, counts - 1)
    return ordered[firsts + below] * (1 - part) + ordered[firsts + above] * part


def _median_deviations(ordered, firsts, counts, medians):
    """Return the median of the deviations from medians, at half of their number, without sorting them.

    The k smallest deviations are those of k neighbours in the order of the values. The largest of these is that of the
    first or of the last one: where the two change ranks, the largest is the smallest possible.
    """
    position = counts * 0.5
    below = position.astype(np.int64)
    part = position - below

    def smallest(number):
        """Return the largest of the so many smallest deviations."""
        left, right = np.zeros(len(counts), np.int64), counts - number  # of the first neighbour
        while (left < right).any():
            middle = (left + right) // 2
            first, last = firsts + middle, firsts + middle + number - 1
            beyond = ordered[last] - medians >= medians - ordered[first]
            right = np.where(beyond, middle, right)
            left = np.where(beyond, left, np.minimum(middle + 1, right))
        first = firsts + left
        here = np.maximum(ordered[first + number - 1] - medians, medians - ordered[first])
        first -= left > 0
        before = np.maximum(ordered[first + number - 1] - medians, medians - ordered[first])
        return np.minimum(here, before)

    above = np.minimum(below + 1, counts - 1)
    return smallest(below + 1) * (1 - part) + smallest(above + 1) * part


def _mass_positions(regions, values, totals):
    """Return the centre of the light, and its distance from the object's centre; NaN without light."""
    run_totals = _sums(values, regions.starts, regions.lengths)
    run_counts = np.diff(regions.first_runs, append=len(regions.rows))
    light = np.where(totals == 0, np.nan, totals)
    areas = regions.areas
    rows = _sums(run_totals * regions.rows, regions.first_runs, run_counts)
    columns = _sums(values * regions.pixel_columns, regions.firsts, areas)
    away = [
        (areas * weighted - totals * plain) / (areas * light)
        for weighted, plain in ((rows, regions.row_sums), (columns, regions.column_sums))
    ]
    return {
        "Location_CenterMassIntensity_X": regions.lefts + columns / light,
        "Location_CenterMassIntensity_Y": regions.tops + rows / light,
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
