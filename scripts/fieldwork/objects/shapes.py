"""Size and shape of objects: CellProfiler's MeasureObjectSizeShape, without its advanced and Zernike columns."""

import math

import numpy as np

from fieldwork.objects import atlas, hulls
from fieldwork.objects.regions import Pixels, Regions, reduced, sort_groups

NAMES = (
    *("Area", "BoundingBoxArea", "ConvexArea", "EquivalentDiameter", "Perimeter", "MajorAxisLength", "MinorAxisLength"),
    *("Eccentricity", "Orientation", "Center_X", "Center_Y", "BoundingBoxMinimum_X", "BoundingBoxMaximum_X"),
    *("BoundingBoxMinimum_Y", "BoundingBoxMaximum_Y", "FormFactor", "Extent", "Solidity", "Compactness", "EulerNumber"),
    *("MaximumRadius", "MeanRadius", "MedianRadius", "MinFeretDiameter", "MaxFeretDiameter"),
)


def measure_runs(regions: Regions) -> dict[str, np.ndarray]:
    """Measure what the runs of pixels say: areas, boxes, ellipses and convex hulls.

    Returns
    -------
    dict of str to (n,) array
        By names of `NAMES`.
    """
    areas, boxes, chains = regions.areas, regions.heights * regions.widths, hulls.chains_of(regions)
    convex = hulls.convex_areas(chains, regions.heights)
    smallest, largest = hulls.feret_diameters(chains)
    return _ellipses(regions) | {
        "Area": areas,
        "BoundingBoxArea": boxes,
        "BoundingBoxMinimum_X": regions.lefts,
        "BoundingBoxMaximum_X": regions.lefts + regions.widths,
        "BoundingBoxMinimum_Y": regions.tops,
        "BoundingBoxMaximum_Y": regions.tops + regions.heights,
        "ConvexArea": convex,
        "EquivalentDiameter": np.sqrt(4 * areas / np.pi),
        "Extent": areas / boxes,
        "Solidity": areas / convex,
        "MinFeretDiameter": smallest,
        "MaxFeretDiameter": largest,
    }


def measure_pixels(regions: Regions, pixels: Pixels) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Measure what only pixels say: perimeters, radii and holes; and find the pixels at the objects' borders.

    Returns
    -------
    dict of str to (n,) array
        By names of `NAMES`.
    (b,) int64 array
        Which of the pixels have a neighbour, of four, that is not of their object or lies outside the image.
    """
    laid_out = atlas.atlas_of(regions, pixels)
    distances = atlas.squared_distances(laid_out, int(regions.heights.max(initial=0)))
    borders = np.flatnonzero(distances == 1)
    firsts = np.searchsorted(borders, pixels.firsts)
    perimeters = atlas.perimeters(laid_out, borders, firsts)
    squares, circles = perimeters * perimeters, 4 * np.pi * regions.areas
    return {
        "Perimeter": perimeters,
        "FormFactor": circles / np.where(squares == 0, np.nan, squares),
        "Compactness": squares / circles,
        "EulerNumber": atlas.euler_numbers(laid_out, borders, firsts),
        **_radii(regions, pixels, distances),
    }, borders


def _ellipses(regions):
    """Measure the ellipses with the objects' second moments, and their centres.

    Moments are sums of whole numbers around the middle of the bounding box: exact in float64 up to 600 x 600 px.
    """
    areas, lengths = regions.areas, regions.lengths
    rows = 2 * regions.rows - (regions.heights - 1)[regions.owners]  # twice the distance from the box's middle
    firsts = 2 * regions.columns - (regions.widths - 1)[regions.owners]
    columns = (firsts + lengths - 1) * lengths  # sums over a run, whose columns lie 2 apart
    squares = (
        lengths * (firsts * firsts + 2 * firsts * (lengths - 1)) + 2 * (lengths - 1) * lengths * (2 * lengths - 1) // 3
    )
    row, column, row_row, column_column, row_column = (
        reduced(np.add, values, regions.first_runs).astype(np.float64)
        for values in (rows * lengths, columns, rows * rows * lengths, squares, rows * columns)
    )
    # Four times the area's square times the variances.
    vertical = areas * row_row - row * row
    horizontal = areas * column_column - column * column
    common = areas * row_column - row * column
    spread = np.sqrt((vertical - horizontal) ** 2 + 4 * common**2)
    major = vertical + horizontal + spread
    minor = np.maximum(vertical + horizontal - spread, 0)
    flattening = np.where(major == 0, 0, 2 * spread / np.where(major == 0, 1, major))
    return {
        "MajorAxisLength": np.sqrt(2 * major) / areas,
        "MinorAxisLength": np.sqrt(2 * minor) / areas,
        "Eccentricity": np.sqrt(np.minimum(flattening, 1)),
        "Orientation": _orientations(vertical - horizontal, common),
        # Divisions of whole numbers, as in `label_images.properties`.
        "Center_X": (regions.lefts * areas + regions.column_sums) / areas,
        "Center_Y": (regions.tops * areas + regions.row_sums) / areas,
    }


def _orientations(difference, common):
    """Return the angle of the major axis in degrees. Not by NumPy: its arctan2 has other last digits with AVX512."""
    angles = [
        math.atan2(2 * mixed, longer) if longer else math.copysign(math.pi / 2, mixed or -1)
        for longer, mixed in zip(difference.tolist(), common.tolist(), strict=True)
    ]
    return np.array(angles) * (90 / np.pi)


def _radii(regions, pixels, squared):
    """Measure the distances of pixels to their object's outside."""
    firsts, areas = pixels.firsts, regions.areas
    ordered = sort_groups(squared, firsts, areas)
    new = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    new[firsts] = True
    steps = np.flatnonzero(new)  # where a distance is the first of its size in its object
    distances, counts = np.sqrt(ordered[steps].astype(np.float64)), np.diff(steps, append=len(ordered))
    middle = [ordered[firsts + rank].astype(np.float64) for rank in ((areas - 1) // 2, areas // 2)]
    first_steps = np.searchsorted(steps, firsts)
    owners = np.repeat(np.arange(len(areas)), np.diff(first_steps, append=len(steps)))
    return {
        "MaximumRadius": np.sqrt(ordered[firsts + areas - 1].astype(np.float64)),
        "MeanRadius": np.bincount(owners, counts * distances, len(areas)) / areas,
        "MedianRadius": (np.sqrt(middle[0]) + np.sqrt(middle[1])) / 2,
    }
