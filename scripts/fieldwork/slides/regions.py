"""Regions of a slide: which nuclei lie in them, how large they are, their table."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
import shapely

from fieldwork.inputs.inside.regions import SEPARATOR, read_annotations

COLUMN = "Region"  # of the table of nuclei
COLUMNS = [
    "Metadata_Plate",
    "Metadata_Slide",
    "Region",
    "Region_Area_px",
    "Region_Area_mm2",
    "Region_FailedShare",
    "Count_Nuclei",
    "Nuclei_Per_mm2",
    "Share_Positive",
]
DENSITY_DIGITS = 4  # significant ones, as in slides.csv
LEAST_INSIDE_SHARE = 0.99  # of a region's area; a region more of which lies outside of the slide is warned of


class Regions(NamedTuple):
    """The regions of a slide, in their order."""

    names: list[str]
    shapes: list[shapely.Geometry]  # in level-0 pixels from the slide's left and upper edges on, cut at its edges
    warnings: list[str]

    @property
    def areas(self) -> list[float]:
        """Areas on the slide, in px."""
        return [shape.area for shape in self.shapes]

    def names_at(self, rows: np.ndarray, columns: np.ndarray) -> list[str | None]:
        """Return the names of the regions in which points lie, their edges included.

        Parameters
        ----------
        rows, columns : (n,) arrays
            Level-0 pixels; (0, 0) is the centre of the first one.

        Returns
        -------
        list of str or None
            Names of regions that overlap are joined by `SEPARATOR`, in the order of the regions; None outside of all.
        """
        names: list[str | None] = [None] * len(rows)
        for name, shape in zip(self.names, self.shapes, strict=True):
            for point in np.flatnonzero(shapely.intersects_xy(shape, columns + 0.5, rows + 0.5)):
                names[point] = name if names[point] is None else f"{names[point]}{SEPARATOR}{name}"
        return names


def read(path: str | PathLike, shape: tuple[int, int], bounds: Sequence[int] | None, *, where: str) -> Regions:
    """Read the regions of a slide.

    Parameters
    ----------
    path : path-like
        From QuPath; see `read_annotations`.
    shape : (int, int)
        Height and width of level 0.
    bounds : sequence of int, optional
        Column, row, width and height in level 0 of the part that QuPath shows, where the slide states it.
    where : str
        Which slide it is, for messages.

    Returns
    -------
    Regions

    Raises
    ------
    InputError
        As `read_annotations`.
    """
    annotations = read_annotations(path, where=where)
    slide = shapely.box(0, 0, shape[1], shape[0])
    names, shapes, warnings = [], [], []
    for region in annotations.regions:
        whole = shapely.union_all([_valid(polygon) for polygon in region.polygons])
        whole = shapely.transform(whole, lambda points: points + (bounds or (0, 0))[:2])
        inside = shapely.intersection(whole, slide)
        if inside.area < LEAST_INSIDE_SHARE * whole.area:
            share = 1 - inside.area / whole.area
            warnings.append(f"{share:.0%} of the region '{region.name}' lie outside of the slide, and do not count")
        shapely.prepare(inside)
        names.append(region.name)
        shapes.append(inside)
    if not any(inside.area for inside in shapes):
        warnings = [
            f"none of the regions in '{path}' lies on the slide ({shape[1]} x {shape[0]} px): no nuclei are counted in "
            "them. Are they those of another slide? The column regions of the sheet names the file"
        ]
    if annotations.left_out:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in annotations.left_out.items())
        warnings.append(f"what is no region in '{path}' is left out: {kinds}")
    return Regions(names, shapes, warnings)


def _valid(rings):
    """Return a polygon by its rings; one that crosses itself, as drawn by hand, covers what its outline encloses."""
    polygon = shapely.Polygon(rings[0], rings[1:])
    return polygon if polygon.is_valid else shapely.make_valid(polygon, method="structure", keep_collapsed=False)


class Lost(NamedTuple):
    """The part of a slide that could not be decoded, or in which nuclei could not be measured."""

    shape: shapely.Geometry  # in level-0 pixels from the slide's left and upper edges on

    def hold(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return True for points, (n,) level-0 rows and columns, that lie in it."""
        return shapely.intersects_xy(self.shape, columns + 0.5, rows + 0.5)


def lost_part(rectangles: Iterable[Sequence[int]]) -> Lost:
    """Return the part of a slide that rectangles (row, column, height, width) of level 0 make."""
    boxes = [shapely.box(x, y, x + width, y + height) for y, x, height, width in rectangles]
    part = shapely.union_all(boxes)
    shapely.prepare(part)
    return Lost(part)


class Nuclei(NamedTuple):
    """A kind of nuclei of a slide."""

    names: str | None  # the cell of `COLUMN`
    is_positive: bool | None
    is_lost: bool = False  # they lie in tiles that failed in part


def rows_of(
    plate: str,
    facts: Mapping[str, Any],
    regions: Regions,
    nuclei: Mapping[Nuclei, int],
    *,
    lost: Lost,
    max_failed: float,
) -> list[dict[str, Any]]:
    """Return the rows of a slide's regions.

    Parameters
    ----------
    plate : str
    facts : mapping
        The content of ``slide.json``.
    regions : Regions
    nuclei : mapping
        How many nuclei of each kind there are.
    lost : Lost
    max_failed : float
        Share of a region that may be lost; of more, no nuclei are counted.

    Returns
    -------
    list of dict
        Column of `COLUMNS` -> value; None where it is not known, as nuclei of a region that does not lie on the slide.
        A nucleus in several regions counts in each. Where a part of a region is lost, nuclei per mm2 are those of the
        rest.
    """
    rows = []
    for name, shape, area in zip(regions.names, regions.shapes, regions.areas, strict=True):
        inside, measured = Counter(), 0
        for kind, count in nuclei.items():
            if kind.names and name in kind.names.split(SEPARATOR):
                inside[kind.is_positive] += count
                measured += 0 if kind.is_lost else count
        lost_px = shapely.intersection(shape, lost.shape).area
        share = lost_px / area if area else None
        row = dict.fromkeys(COLUMNS) | {
            "Metadata_Plate": plate,
            "Metadata_Slide": facts["slide"],
            "Region": name,
            "Region_Area_px": area,
            "Region_Area_mm2": _mm2(area, facts["mpp"]),
            "Region_FailedShare": share,
        }
        if area and share <= max_failed and share < 1:
            known, mm2 = inside[True] + inside[False], _mm2(area - lost_px, facts["mpp"])
            row |= {
                "Count_Nuclei": inside.total(),
                "Nuclei_Per_mm2": float(f"{measured / mm2:.{DENSITY_DIGITS}g}") if mm2 else None,
                "Share_Positive": inside[True] / known if known else None,
            }
        rows.append(row)
    return rows


def _mm2(area, mpp):
    return area * mpp[0] * mpp[1] / 1e6 if mpp else None
