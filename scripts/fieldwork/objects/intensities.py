"""Intensities of objects in one channel: CellProfiler's MeasureObjectIntensity."""

from typing import NamedTuple

import numpy as np

from fieldwork.objects.regions import Pixels, Regions, reduced, sort_groups

NAMES = (
    *(f"Intensity_{name}Intensity" for name in ("Integrated", "Mean", "Std", "Min", "Max")),
    *(f"Intensity_{name}IntensityEdge" for name in ("Integrated", "Mean", "Std", "Min", "Max")),
    "Intensity_MassDisplacement",
    *(f"Intensity_{name}Intensity" for name in ("LowerQuartile", "Median", "MAD", "UpperQuartile")),
    *(f"Location_{name}Intensity_{axis}" for name in ("CenterMass", "Max") for axis in "XY"),
)
QUARTILES = (0.25, 0.5, 0.75)


class Light(NamedTuple):
    """What the pixels of some objects say of one channel: sums are whole numbers for images of 8 and 16 bits."""

    totals: np.ndarray  # (n,): sums of values
    deviations: np.ndarray  # (n,) float64: sums of the squares of deviations from the mean
    rows: np.ndarray  # (n,): sums of value times row in the bounding box
    columns: np.ndarray  # (n,): sums of value times column there
    brightest: np.ndarray  # (n,) int64: index of the brightest pixel in the flat image
    ordered: np.ndarray  # (p,): values of every object's pixels, ascending
    edges: np.ndarray  # (e,): values of the pixels at edges


def edges_of(
    regions: Regions, pixels: Pixels, borders: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find the edges of objects: their borders, without the pixels that only the image's rim cuts.

    Parameters
    ----------
    regions : Regions
    pixels : Pixels
    borders : (b,) int64 array
        From `shapes.measure_pixels`.
    labels : (rows, columns) array of integers

    Returns
    -------
    (e,) int64 array
        Which of the pixels are at an edge.
    (n,) int64 array
        How many an object has.
    """
    height, width = regions.size
    firsts = np.searchsorted(borders, pixels.firsts)
    owners = np.repeat(np.arange(len(firsts)), np.diff(firsts, append=len(borders)))
    at_rim = (regions.tops == 0) | (regions.lefts == 0)
    at_rim |= (regions.tops + regions.heights == height) | (regions.lefts + regions.widths == width)
    doubtful = np.flatnonzero(at_rim[owners])
    flat, indices = labels.ravel(), pixels.indices[borders[doubtful]]
    rows, columns = np.divmod(indices, width)
    edge = np.zeros(len(indices), bool)
    for inside, step in ((rows > 0, -width), (rows < height - 1, width), (columns > 0, -1), (columns < width - 1, 1)):
        edge[inside] |= flat[indices[inside] + step] != flat[indices[inside]]
    kept = np.ones(len(borders), bool)
    kept[doubtful] = edge
    return borders[kept], np.bincount(owners[kept], minlength=len(firsts))


def light_of(regions: Regions, pixels: Pixels, edges: np.ndarray, image: np.ndarray) -> Light:
    """Collect the light of objects from an image.

    Parameters
    ----------
    regions : Regions
    pixels : Pixels
    edges : (e,) int64 array
        From `edges_of`.
    image : (rows, columns) array of bool, integers or floats
        Contiguous, in the machine's byte order.
    """
    values = image.ravel().take(pixels.indices)
    ordered = sort_groups(values, pixels.firsts, regions.areas)
    largest = ordered[pixels.firsts + regions.areas - 1]
    hits = np.flatnonzero(values == np.repeat(largest, regions.areas))
    summable = _summable(values)
    totals = _totals(summable, pixels.firsts, regions.areas)
    runs = _totals(summable, pixels.starts, regions.lengths)
    return Light(
        totals=totals,
        deviations=_deviations(summable, totals, pixels.firsts, regions.areas),
        rows=_totals(runs * regions.rows, regions.first_runs, np.diff(regions.first_runs, append=len(runs))),
        columns=_totals(summable * pixels.columns, pixels.firsts, regions.areas),
        brightest=pixels.indices[hits[np.searchsorted(hits, pixels.firsts)]],
        ordered=ordered,
        edges=values[edges],
    )


def measure(regions: Regions, edge_counts: np.ndarray, light: Light, scale: float) -> dict[str, np.ndarray]:
    """Measure all columns of one channel.

    Parameters
    ----------
    regions : Regions
        All objects.
    edge_counts : (n,) int64 array
        How many pixels at edges an object has.
    light : Light
        Of all objects.
    scale : float
        What values are divided by.

    Returns
    -------
    dict of str to (n,) float64 array
        By names of `NAMES`.
    """
    measured = _spread(light.totals, light.deviations, regions.areas) | _percentiles(regions, light.ordered)
    columns = {f"Intensity_{name}Intensity": numbers / scale for name, numbers in measured.items()}
    owners = np.flatnonzero(edge_counts)
    for name, numbers in _at_edges(_summable(light.edges), edge_counts[owners]).items():
        columns[f"Intensity_{name}IntensityEdge"] = np.zeros(len(regions.areas))
        columns[f"Intensity_{name}IntensityEdge"][owners] = numbers / scale
    rows, across = np.divmod(light.brightest, regions.size[1])
    columns |= {
        "Location_MaxIntensity_X": across.astype(np.float64),
        "Location_MaxIntensity_Y": rows.astype(np.float64),
    }
    return columns | _mass_positions(regions, light)


def _at_edges(values, counts):
    """Measure objects at their edges: those that have any."""
    firsts = np.cumsum(counts) - counts
    totals = _totals(values, firsts, counts)
    return _spread(totals, _deviations(values, totals, firsts, counts), counts) | {
        "Min": reduced(np.minimum, values, firsts),
        "Max": reduced(np.maximum, values, firsts),
    }


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


def _percentiles(regions, ordered):
    """Return minimum, maximum, quartiles and MAD of every object, from its values in their order."""
    counts = regions.areas
    firsts = np.cumsum(counts) - counts
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
    smallest, next_smallest = np.minimum(*candidates).reshape(2, -1)
    return smallest * (1 - part) + next_smallest * part


def _mass_positions(regions, light):
    """Return the centre of the light, and its distance from the object's centre; NaN without light."""
    totals, rows, columns = (values.astype(np.float64) for values in (light.totals, light.rows, light.columns))
    totals[totals == 0] = np.nan
    areas = regions.areas
    across, down = (
        (areas * weighted - totals * plain) / (areas * totals)
        for weighted, plain in ((columns, regions.column_sums), (rows, regions.row_sums))
    )
    return {
        "Location_CenterMassIntensity_X": regions.lefts + columns / totals,
        "Location_CenterMassIntensity_Y": regions.tops + rows / totals,
        "Intensity_MassDisplacement": np.sqrt(across * across + down * down),
    }
