"""The content of the page for a folder of results: tables as JSON, fields as PNG, slides as tiles.

Files are read on request. Tables and stores are cached until their file changes, since a run may replace them.
Names come from the browser: only `inside` turns them into paths.
"""

import csv
import logging
import os
import re
import stat
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import cv2
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fieldwork import frames, label_images, outputs
from fieldwork.inputs.paths import is_url
from fieldwork.omezarr import slides
from fieldwork.plates import label_store, stale
from fieldwork.plates.rows import without_channel
from fieldwork.wells import plate_format

log = logging.getLogger(__name__)

TILE_PX = 512  # a slide's usual chunk: 2 ms to read and 10 ms to encode
MAX_NUCLEI = 4000  # drawn at once; a browser still moves them smoothly
CONTRAST_PERCENTILES = (1, 99.8)  # of a field; they become black and white
POSITION_COLUMNS = tuple(stale.COLUMNS.values())
OUTLINES = {"outlines": "labels.zarr", "cells": "cells.zarr"}  # kind in answers -> store of a plate
SUMMARY = "summary.html"
X, Y = "Nuclei_Location_Center_X", "Nuclei_Location_Center_Y"


class NotFound(LookupError):
    """The requested content does not exist; the message is for the page."""


class Results(NamedTuple):
    """A folder of results and the run's working directory."""

    folder: Path
    directory: Path  # the relative paths in the tables start here


def inside(results: Results, *names: str) -> Path:
    """Return the path of a file or folder in the folder of results.

    Parameters
    ----------
    results : Results
    names : str
        Of the folders, from the outermost, and last of the file or folder, as the browser sent them.

    Returns
    -------
    pathlib.Path
        Without links in it.

    Raises
    ------
    NotFound
        The file or folder does not exist or is hidden, or a name or a link leads out of the folder.
    """
    missing = NotFound(f"{'/'.join(names)} is not among the results, or not yet")
    if not all(names) or any(name.startswith(".") or set("/\\\0") & set(name) for name in names):
        raise missing
    try:
        root = results.folder.resolve()
        path = root.joinpath(*names).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # absent; a circle of links; characters that no path has
        raise missing from None
    if not path.is_relative_to(root):
        raise missing
    return path


def file(results: Results, *names: str) -> BinaryIO:
    """Open a file of the results to read bytes; raise NotFound as `inside` does, and if it is no regular file."""
    path = inside(results, *names)
    if not stat.S_ISREG(path.stat().st_mode):
        raise NotFound(f"{'/'.join(names)} is no file")
    return path.open("rb")


def _cached_while_unchanged(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """Cache a reader's results until its file changes."""
    cached = lru_cache(16)(lambda path, version: read(path))

    def read_cached(path):
        status = os.stat(path)
        return cached(path, (status.st_mtime_ns, status.st_size, status.st_ino))

    return read_cached


@_cached_while_unchanged
def _csv(path):
    """Read the rows of a CSV file, column -> text."""
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@_cached_while_unchanged
def _field_rows(path):
    """Read the rows of a plate's fields.csv; columns about the nuclei channel are those of DNA, whatever its name."""
    return [{without_channel(column): text for column, text in row.items()} for row in _csv(path)]


@_cached_while_unchanged
def _nuclei(path):
    """Read the columns of a table of nuclei that the page shows."""
    names = pq.read_schema(path).names
    return pq.read_table(path, columns=[name for name in names if name in (*POSITION_COLUMNS, "ObjectNumber", X, Y)])


@_cached_while_unchanged
def _slide_centres(path):
    """Read the columns and the rows of a slide's nuclei as two arrays, sorted by row as in the table."""
    table = pq.read_table(path, columns=[X, Y])
    return table[X].to_numpy(), table[Y].to_numpy()


_opening = threading.Lock()  # zarr's configuration is one for all threads


@_cached_while_unchanged
def _labels_of(metadata):
    """Open the label images with this metadata file."""
    with _opening:
        return label_store.open_labels(metadata.parent)


@_cached_while_unchanged
def _levels_of(metadata):
    """Open the levels of the store with this metadata file."""
    with _opening:
        return slides.open_levels(metadata.parent)


def contents(results: Results) -> dict:
    """List the plates, slides and stacks of the results.

    Parameters
    ----------
    results : Results

    Returns
    -------
    dict
        'folder', and the lists 'plates' (name, wells, nuclei, fields, failed), 'slides' (name, status) and 'stacks'
        (name), sorted by name; 'screen' is `screen`.
    """
    return {
        "folder": str(results.folder.resolve()),
        "plates": [_plate_summary(results, name) for name in _names(results, "plates", "wells.csv")],
        "slides": [
            {"name": name, "status": _slide_facts(results, name)["status"]}
            for name in _names(results, "slides", "slide.json")
        ],
        "stacks": [{"name": name} for name in _names(results, "stacks", "frames.csv")],
        "screen": screen(results),
    }


def screen(results: Results) -> dict:
    """List what compares the plates: 'summary', the name of the page or None, and names of 'tables' and 'pictures'."""
    names = {kind: [] for kind in ("csv", "png")}
    for kind, *folder in (("csv", "screen"), ("png", "screen", "plots")):
        try:
            names[kind] = sorted(path.name for path in inside(results, *folder).glob(f"*.{kind}"))
        except NotFound:
            continue
    summary = SUMMARY if (results.folder / SUMMARY).is_file() else None
    return {"summary": summary, "tables": names["csv"], "pictures": names["png"]}


def _names(results, kind, table):
    """List the names of the plates, slides or stacks whose table exists, in alphabetical order."""
    folder = results.folder / kind
    entries = os.listdir(folder) if folder.is_dir() else []
    names = []
    for name in sorted(entries, key=lambda name: (name.casefold(), name)):
        try:
            inside(results, kind, name, table)
        except NotFound:
            continue
        names.append(name)
    return names


def _plate_summary(results, plate):
    """Return the name and the counts of a plate; counts of 0 if its table cannot be read."""
    try:
        return _counts_of(results, plate)
    except Exception:  # one unreadable table must not hide the rest of the list
        log.exception("plate %s", plate)
        return {"name": plate, "wells": 0, "nuclei": 0, "fields": 0, "failed": 0}


def _counts_of(results, plate):
    wells = _csv(inside(results, "plates", plate, "wells.csv"))
    total = {name: sum(int(row[name] or 0) for row in wells) for name in ("Count_Nuclei", "Fields_Total")}
    failed = sum(int(row["Fields_Failed"]) for row in wells)
    return {
        "name": plate,
        "wells": len(wells),
        "nuclei": total["Count_Nuclei"],
        "fields": total["Fields_Total"],
        "failed": failed,
    }


def plate(results: Results, name: str) -> dict:
    """Return the rows of a plate's wells.csv under 'wells', column -> text, and its 'format': rows and columns."""
    wells = _csv(inside(results, "plates", name, "wells.csv"))
    return {"wells": wells, "format": plate_format(row["Metadata_Well"] for row in wells)}


def _fields(results, plate):
    return _field_rows(inside(results, "plates", plate, "fields.csv"))


def well(results: Results, plate: str, name: str) -> dict:
    """List the fields of a well.

    Parameters
    ----------
    results : Results
    plate, name : str

    Returns
    -------
    dict
        Under 'fields', the well's rows of fields.csv, column -> text, with the number of the row, from 0, under
        'field'.
    """
    rows = [
        {"field": number, **row} for number, row in enumerate(_fields(results, plate)) if row["Metadata_Well"] == name
    ]
    if not rows:
        raise NotFound(f"plate {plate} has no field in well {name}")
    return {"fields": rows}


def _field(results, plate, number):
    """Return a row of a plate's fields.csv."""
    rows = _fields(results, plate)
    if _index(number) >= len(rows):
        raise NotFound(f"plate {plate} has no field {number}")
    return rows[_index(number)]


def _index(text):
    """Read a number from 0 that the browser sent."""
    if not re.fullmatch("[0-9]{1,9}", text):
        raise NotFound(f"found {text!r}; expected a number")
    return int(text)


def field_image(results: Results, plate: str, number: str) -> bytes:
    """Draw a field.

    Parameters
    ----------
    results : Results
    plate, number : str
        `number` is the row of the field in fields.csv, from 0: images may lie anywhere, and only those of the table
        are shown.

    Returns
    -------
    bytes
        An 8-bit grey PNG of the field's size, with `CONTRAST_PERCENTILES` as black and white.
    """
    row = _field(results, plate, number)
    if row["Image_Status"] != "ok":  # its image may crash the reader
        raise NotFound(f"this field failed: {row['Image_Error']}")
    if is_url(row["PathName_DNA"]):
        raise NotFound(f"{row['PathName_DNA']}/{row['FileName_DNA']}: only images on disk can be shown")
    path = results.directory / row["PathName_DNA"] / row["FileName_DNA"]
    timepoint, z = (int(row[name]) if row.get(name) else None for name in POSITION_COLUMNS[2:])
    try:
        inside = {
            name: int(row[f"{name.title()}_DNA"]) for name in ("series", "frame") if row.get(f"{name.title()}_DNA")
        }
        image = frames.read_plane(path, channel=_channel(results, plate), timepoint=timepoint, z=z, **inside)
    except frames.FrameError as error:
        raise NotFound(f"{path}: {error}") from None
    return _png(in_8_bits(image))


def _channel(results, plate):
    """Return the name of the channel in which a plate's nuclei were detected; a file may have several."""
    facts = pq.read_schema(inside(results, "plates", plate, "nuclei.parquet")).metadata or {}
    return facts.get(b"channel", b"auto").decode()


def in_8_bits(image: np.ndarray) -> np.ndarray:
    """Stretch a (rows, columns) image of any type from `CONTRAST_PERCENTILES` to 0 and 255, as uint8."""
    low, high = np.percentile(image[::4, ::4], CONTRAST_PERCENTILES)  # every 16th pixel is enough
    if low == high:  # little but ground
        low, high = float(image.min()), float(image.max())
    scale = 255 / (high - low) if high > low else 0
    return np.clip((image.astype(np.float32) - np.float32(low)) * np.float32(scale) + 0.5, 0, 255).astype(np.uint8)


def _png(image):
    """Encode an image as PNG."""
    return cv2.imencode(".png", image)[1].tobytes()  # its defaults: half the time of libpng's fastest level


def field_nuclei(results: Results, plate: str, number: str) -> dict[str, list]:
    """Return the nuclei of a field.

    Parameters
    ----------
    results : Results
    plate, number : str
        As for `field_image`.

    Returns
    -------
    dict
        Columns of nuclei.parquet under their names, in the table's order; of a plate with label images also 'outlines',
        a list x, y, x, y, .. of whole px for each polygon, and where they are kept 'cells', those of cells.
    """
    row = _field(results, plate, number)
    table = _nuclei(inside(results, "plates", plate, "nuclei.parquet"))
    for name in POSITION_COLUMNS:
        if name in table.column_names:
            column, text = table[name], row.get(name, "")  # fields.csv has no time point where only other plates do
            if text == "":
                table = table.filter(pc.is_null(column))
            else:
                table = table.filter(pc.equal(column, text if name == POSITION_COLUMNS[0] else int(text)))
    nuclei = table.select(["ObjectNumber", X, Y]).to_pydict()
    for kind, store in OUTLINES.items():
        if (outlines := _outlines(results, plate, store, _index(number), row)) is not None:
            nuclei[kind] = outlines
    return nuclei


def _outlines(results, plate, store, number, row):
    """Return the outlines of a field; None where the plate has no label images, or older ones than its tables."""
    try:
        labels = _labels_of(inside(results, "plates", plate, store, "zarr.json"))
    except NotFound:
        return None
    if row["Image_Status"] != "ok" or number >= labels.shape[0]:
        return None
    taken = {column: labels.attrs[name][number] for name, column in stale.COLUMNS.items()}
    if any(row.get(column, "") != ("" if value is None else str(value)) for column, value in taken.items()):
        return None  # a run is at work, or was stopped: they are of other fields
    of_field = labels[number, : int(row["Image_Height"]), : int(row["Image_Width"])]
    if of_field.max(initial=0) != int(row["Image_Count_Nuclei"]):
        return None  # likewise, of other nuclei
    return [polygon.ravel().tolist() for polygon in label_images.outlines(of_field)]


def _slide_facts(results, slide):
    """Read a slide's slide.json."""
    return outputs.read_json(inside(results, "slides", slide, "slide.json"))


def _levels(results, slide):
    """Return the arrays of a slide's levels."""
    store = inside(results, "slides", slide, f"{slide}.ome.zarr")
    return _levels_of(next(path for name in ("zarr.json", ".zattrs") if (path := store / name).exists()))


def slide(results: Results, name: str) -> dict:
    """Return the values of slide.json; of a good slide also 'tile' (px) and 'levels', a (width, height) for each."""
    facts = _slide_facts(results, name)
    if facts["status"] != "ok":
        return facts
    levels = [array.shape[:0:-1] for array in _levels(results, name)]
    return {**facts, "tile": TILE_PX, "levels": levels}


def slide_tile(results: Results, name: str, level: str, column: str, row: str) -> bytes:
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
    array = dict(enumerate(_levels(results, name))).get(_index(level))
    y, x = _index(row) * TILE_PX, _index(column) * TILE_PX
    if array is None or y >= array.shape[1] or x >= array.shape[2]:
        raise NotFound(f"slide {name} has no tile {column}, {row} on level {level}")
    height, width = min(TILE_PX, array.shape[1] - y), min(TILE_PX, array.shape[2] - x)
    store = array.store.root
    return _png(cv2.cvtColor(slides.read_rgb(store, array, y, x, height, width), cv2.COLOR_RGB2BGR))


def slide_nuclei(results: Results, name: str, left: float, top: float, right: float, bottom: float) -> dict:
    """Return the nuclei in a part of a slide.

    Parameters
    ----------
    results : Results
    name : str
    left, top, right, bottom : float
        In px of level 0.

    Returns
    -------
    dict
        Their 'count', and the columns of their centres under the table's names, which are empty if there are more than
        `MAX_NUCLEI`.
    """
    x, y = _slide_centres(inside(results, "slides", name, "nuclei.parquet"))
    rows = slice(*np.searchsorted(y, (top, bottom)))
    in_view = (x[rows] >= left) & (x[rows] < right)
    count = int(in_view.sum())
    drawn = in_view if count <= MAX_NUCLEI else np.zeros_like(in_view)
    return {"count": count, X: x[rows][drawn].tolist(), Y: y[rows][drawn].tolist()}


def stack(results: Results, name: str) -> dict:
    """Return a stack's frames.csv: its 'columns', and its 'rows' as lists of texts."""
    rows = _csv(inside(results, "stacks", name, "frames.csv"))
    return {"columns": list(rows[0]) if rows else [], "rows": [list(row.values()) for row in rows]}
