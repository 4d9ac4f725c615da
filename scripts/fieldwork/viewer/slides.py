"""Slides for the page: tiles, nuclei with outlines in a part of them, and where they are dense."""

import cv2
import numpy as np
import pyarrow.parquet as pq
import zarr

from fieldwork import outputs
from fieldwork.omezarr import slides
from fieldwork.viewer.fields import X, Y, as_png, opening, polygons
from fieldwork.viewer.results import (
    NotFound,
    Results,
    cached_while_unchanged,
    inside,
    inside_or_none,
    number_of,
    tables_and_pictures,
)

TILE_PX = 512  # a slide's usual chunk: 2 ms to read and 10 ms to encode
MOST_NUCLEI = 4000  # drawn at once; a browser still moves them smoothly
MOST_LABEL_PX = 6_000_000  # of a label image, in which nuclei are outlined at once: 0.2 s
DENSITY_SQUARES = 192  # along the longer side
LEAST_SQUARE_PX = 64
USUAL_DIAMETER_UM, USUAL_DIAMETER_PX = 8, 16  # of a nucleus, where nothing else is known


@cached_while_unchanged
def _centres(path):
    """Read the columns and the rows of a slide's nuclei as two arrays, sorted by row as in the table."""
    table = pq.read_table(path, columns=[X, Y])
    return table[X].to_numpy(), table[Y].to_numpy()


@cached_while_unchanged
def _levels_of(metadata):
    """Open the levels of the store with this metadata file."""
    with opening:
        return slides.open_levels(metadata.parent)


@cached_while_unchanged
def _label_levels(metadata):
    """Open the levels of a label image, the finest first."""
    with opening:
        group = zarr.open_group(metadata.parent, mode="r")
        return [group[name] for name in sorted(group.array_keys(), key=int)]


def _metadata_of(folder):
    return next((path for name in ("zarr.json", ".zattrs") if (path := folder / name).exists()), None)


def facts_of(results: Results, slide: str) -> dict:
    """Read a slide's slide.json."""
    return outputs.read_json(inside(results, "slides", slide, "slide.json"))


def _levels(results, slide):
    """Return the arrays of a slide's levels."""
    return _levels_of(_metadata_of(inside(results, "slides", slide, f"{slide}.ome.zarr")))


def slide(results: Results, name: str) -> dict:
    """Return what the page of a slide shows.

    Parameters
    ----------
    results : Results
    name : str

    Returns
    -------
    dict
        The values of slide.json; of a good slide also 'tile' (px), 'levels', a (width, height) for each, 'diameter', of
        a typical nucleus in px of level 0, 'outlined', true if nuclei have outlines, and the names of 'tables' and
        'pictures'.
    """
    facts = facts_of(results, name)
    if facts["status"] != "ok":
        return facts
    folder = inside(results, "slides", name)
    names = ("nuclei.parquet", "tiles.parquet", "regions.csv", "slide.json", "calibration.json")
    return {
        **facts,
        "tile": TILE_PX,
        "levels": [array.shape[:0:-1] for array in _levels(results, name)],
        "diameter": _diameter(results, name, facts),
        "outlined": _labels(results, name) is not None,
        **tables_and_pictures(folder, names),
    }


def _diameter(results, name, facts):
    path = inside_or_none(results, "slides", name, "calibration.json")
    known = outputs.read_json(path).get("diameter") if path else None
    return known or (USUAL_DIAMETER_UM / facts["mpp"][1] if facts.get("mpp") else USUAL_DIAMETER_PX)


def tile(results: Results, name: str, level: str, column: str, row: str) -> bytes:
    """Draw a tile of a slide's level.

    Parameters
    ----------
    results : Results
    name : str
    level, column, row : str
        Numbers from 0; level 0 is the finest.

    Returns
    -------
    bytes
        An RGB PNG with the pixels of the store, `TILE_PX` wide and high, or less at the right and the bottom.
    """
    array = dict(enumerate(_levels(results, name))).get(number_of(level))
    y, x = number_of(row) * TILE_PX, number_of(column) * TILE_PX
    if array is None or y >= array.shape[1] or x >= array.shape[2]:
        raise NotFound(f"slide {name} has no tile {column}, {row} on level {level}")
    height, width = min(TILE_PX, array.shape[1] - y), min(TILE_PX, array.shape[2] - x)
    store = array.store.root
    return as_png(cv2.cvtColor(slides.read_rgb(store, array, y, x, height, width), cv2.COLOR_RGB2BGR))


def pixel(results: Results, name: str, x: str, y: str) -> dict:
    """Return the channels and the values of a slide's pixel of level 0, as the store holds them."""
    array = _levels(results, name)[0]
    row, column = number_of(y), number_of(x)
    if row >= array.shape[1] or column >= array.shape[2]:
        raise NotFound(f"slide {name} has no pixel {x}, {y}")
    names = facts_of(results, name).get("channels") or [str(number) for number in range(array.shape[0])]
    return dict(zip(names, array[:, row, column].tolist(), strict=False))


def _labels(results, name):
    """Return the levels of the label image of a slide's nuclei; None where it has none."""
    folder = inside_or_none(results, "slides", name, f"{name}.ome.zarr", "labels", "nuclei")
    metadata = _metadata_of(folder) if folder else None
    return _label_levels(metadata) if metadata else None


def nuclei(results: Results, name: str, left: float, top: float, right: float, bottom: float, scale: float) -> dict:
    """Return the nuclei in a part of a slide.

    Parameters
    ----------
    results : Results
    name : str
    left, top, right, bottom : float
        In px of level 0.
    scale : float
        Px of the screen per px of level 0, for which outlines are fine enough; 0: only the count is wanted.

    Returns
    -------
    dict
        Their 'count', and the columns of their centres under the table's names, which are empty if there are more than
        `MOST_NUCLEI`; where there are outlines, 'outlines' as of `fields.nuclei`, in px of level 0.
    """
    x, y = _centres(inside(results, "slides", name, "nuclei.parquet"))
    rows = slice(*np.searchsorted(y, (top, bottom)))
    in_view = (x[rows] >= left) & (x[rows] < right)
    count = int(in_view.sum())
    are_drawn = scale > 0 and count <= MOST_NUCLEI
    drawn = in_view if are_drawn else np.zeros_like(in_view)
    found = {"count": count, X: x[rows][drawn].tolist(), Y: y[rows][drawn].tolist()}
    levels = _labels(results, name) if count and are_drawn else None
    if levels and (outlines := _outlines(levels, left, top, right, bottom, scale)) is not None:
        found["outlines"] = outlines
    return found


def _outlines(levels, left, top, right, bottom, scale):
    """Return the outlines in a part, from the level just finer than the screen's pixels; None where it is too large."""
    level = min(len(levels) - 1, max(0, int(np.log2(1 / scale))))
    array, step = levels[level], 2**level
    rows = slice(max(0, int(top) // step), max(0, int(-(-bottom // step))))
    columns = slice(max(0, int(left) // step), max(0, int(-(-right // step))))
    height, width = (min(part.stop, side) - part.start for part, side in zip((rows, columns), array.shape, strict=True))
    if height <= 0 or width <= 0 or height * width > MOST_LABEL_PX:
        return None if height > 0 and width > 0 else []
    labels = array[rows, columns]
    numbers, compact = np.unique(labels, return_inverse=True)
    compact = compact.reshape(labels.shape) + (numbers[0] != 0)  # 1..n: numbers of a slide run into millions
    outlines = polygons(compact.astype(np.int32))
    origin = np.array([columns.start, rows.start])
    return [((np.reshape(corners, (-1, 2)) + origin) * step).ravel().tolist() for corners in outlines]


def density(results: Results, name: str) -> dict:
    """Return how many nuclei there are in each square of a slide.

    Parameters
    ----------
    results : Results
    name : str

    Returns
    -------
    dict
        'side' of a square in px of level 0, number of 'rows' and 'columns', and 'counts', row by row.
    """
    height, width = _levels(results, name)[0].shape[1:]
    side = max(LEAST_SQUARE_PX, -(-max(height, width) // DENSITY_SQUARES))
    rows, columns = -(-height // side), -(-width // side)
    x, y = _centres(inside(results, "slides", name, "nuclei.parquet"))
    squares = np.clip(y // side, 0, rows - 1).astype(int) * columns + np.clip(x // side, 0, columns - 1).astype(int)
    counts = np.bincount(squares, minlength=rows * columns)
    return {"side": side, "rows": rows, "columns": columns, "counts": counts.tolist()}
