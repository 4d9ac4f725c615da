"""What the page shows of a folder of results: tables as JSON, fields as PNG, slides as tiles.

Everything is read when it is asked for; tables and stores are kept until their file changes, as a run replaces them.
Names come from the browser: `inside` alone turns them into paths.
"""

import csv
import logging
import os
import re
import stat
import threading
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fieldwork import frames, outputs
from fieldwork.inputs.paths import is_url
from fieldwork.omezarr import slides
from fieldwork.wells import plate_format

log = logging.getLogger(__name__)

TILE = 512  # px, a slide's usual chunk: 2 ms to read and 10 ms to pack
MOST_NUCLEI = 4000  # drawn at once; a browser still moves them smoothly
CONTRAST = (1, 99.8)  # percentiles of a field that become black and white
PLACE = ("Metadata_Well", "Metadata_Site", "Metadata_Timepoint", "Metadata_ZPlane")
X, Y = "Nuclei_Location_Center_X", "Nuclei_Location_Center_Y"


class NotFound(LookupError):
    """What was asked for is not there; the message is for the page."""


class Results(NamedTuple):
    """A folder of results, and the run's working directory, to which its tables' relative paths are relative."""

    folder: Path
    directory: Path


def inside(results, *names):
    """Give the path of something in the folder of results.

    Parameters
    ----------
    results : Results
    names : str
        Of folders and at last a file or folder, one by one, as the browser sent them.

    Returns
    -------
    pathlib.Path
        Without links in it.

    Raises
    ------
    NotFound
        Nothing is there, or it is hidden, or a name or a link leads out of the folder.
    """
    missing = NotFound(f"{'/'.join(names)} is not among the results, or not yet")
    if not all(names) or any(name.startswith(".") or set("/\\\0") & set(name) for name in names):
        raise missing
    try:
        root = results.folder.resolve()
        path = root.joinpath(*names).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # absent; a circle of links; bytes that no path has
        raise missing from None
    if not path.is_relative_to(root):
        raise missing
    return path


def file(results, *names):
    """Open a file of the results to read bytes; NotFound as `inside`, and where it is no regular file."""
    path = inside(results, *names)
    if not stat.S_ISREG(path.stat().st_mode):
        raise NotFound(f"{'/'.join(names)} is no file")
    return path.open("rb")


def _kept(read):
    """Make a function of a file's path keep its last few results for as long as the file is the same."""
    kept = lru_cache(16)(lambda path, changed: read(path))

    def of(path):
        status = os.stat(path)
        return kept(path, (status.st_mtime_ns, status.st_size, status.st_ino))

    return of


@_kept
def _csv(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@_kept
def _nuclei(path):
    """Read the columns of a table of nuclei that are shown."""
    names = pq.read_schema(path).names
    return pq.read_table(path, columns=[name for name in names if name in (*PLACE, "ObjectNumber", X, Y)])


@_kept
def _slide_places(path):
    """Read the columns and rows of a slide's nuclei, two arrays, sorted by row as the table is."""
    table = pq.read_table(path, columns=[X, Y])
    return table[X].to_numpy(), table[Y].to_numpy()


_opening = threading.Lock()  # zarr's configuration is one for all threads


@_kept
def _levels_of(metadata):
    with _opening:
        return slides.open_levels(metadata.parent)


def contents(results):
    """List what there is to look at.

    Parameters
    ----------
    results : Results

    Returns
    -------
    dict
        Of 'folder', and of the lists 'plates' (name, wells, nuclei, fields, failed), 'slides' (name, status) and
        'stacks' (name), each sorted by name.
    """
    of = partial(_names, results)
    return {
        "folder": str(results.folder.resolve()),
        "plates": [_plate_in_short(results, name) for name in of("plates", "wells.csv")],
        "slides": [
            {"name": name, "status": _slide_facts(results, name)["status"]} for name in of("slides", "slide.json")
        ],
        "stacks": [{"name": name} for name in of("stacks", "frames.csv")],
    }


def _names(results, kind, table):
    """Name the plates, slides or stacks whose table is there, in the order of the alphabet."""
    folder = results.folder / kind
    names = os.listdir(folder) if folder.is_dir() else []
    found = []
    for name in sorted(names, key=lambda name: (name.casefold(), name)):
        try:
            inside(results, kind, name, table)
        except NotFound:
            continue
        found.append(name)
    return found


def _plate_in_short(results, plate):
    try:
        return _counts_of(results, plate)
    except Exception:  # one table that cannot be read must not take the whole list away
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


def plate(results, name):
    """Give the rows of a plate's wells.csv, {column: text} as in the file, under 'wells', and its 'format'."""
    wells = _csv(inside(results, "plates", name, "wells.csv"))
    return {"wells": wells, "format": plate_format(row["Metadata_Well"] for row in wells)}


def _fields(results, plate):
    return _csv(inside(results, "plates", plate, "fields.csv"))


def well(results, plate, name):
    """List the fields of a well.

    Parameters
    ----------
    results : Results
    plate, name : str

    Returns
    -------
    dict
        Under 'fields' the well's rows of fields.csv, {column: text} as in the file, and the number of the row, from
        0, under 'field'.
    """
    rows = [
        {"field": number, **row} for number, row in enumerate(_fields(results, plate)) if row["Metadata_Well"] == name
    ]
    if not rows:
        raise NotFound(f"plate {plate} has no field in well {name}")
    return {"fields": rows}


def _field(results, plate, number):
    rows = _fields(results, plate)
    if _index(number) >= len(rows):
        raise NotFound(f"plate {plate} has no field {number}")
    return rows[_index(number)]


def _index(text):
    """Read a number from 0 that the browser sent."""
    if not re.fullmatch("[0-9]{1,9}", text):
        raise NotFound(f"found {text!r}; expected a number")
    return int(text)


def field_image(results, plate, number):
    """Draw a field.

    Parameters
    ----------
    results : Results
    plate, number : str
        The number is that of the field's row in fields.csv, from 0: image files lie anywhere, and no other is shown.

    Returns
    -------
    bytes
        A grey PNG of 8 bits, of the field's size, with the percentiles `CONTRAST` as black and white.
    """
    row = _field(results, plate, number)
    if row["Image_Status"] != "ok":  # it may be one that crashes its reader
        raise NotFound(f"this field failed: {row['Image_Error']}")
    if is_url(row["PathName_DNA"]):
        raise NotFound(f"{row['PathName_DNA']}/{row['FileName_DNA']}: only images on disk can be shown")
    path = results.directory / row["PathName_DNA"] / row["FileName_DNA"]
    timepoint, z = (int(row[name]) if row.get(name) else None for name in PLACE[2:])
    try:
        image = frames.read_plane(path, channel=_channel(results, plate), timepoint=timepoint, z=z)
    except frames.FrameError as error:
        raise NotFound(f"{path}: {error}") from None
    return _png(in_8_bits(image))


def _channel(results, plate):
    """Name the channel in which the nuclei of a plate were looked for; a file may have several."""
    facts = pq.read_schema(inside(results, "plates", plate, "nuclei.parquet")).metadata or {}
    return facts.get(b"channel", b"auto").decode()


def in_8_bits(image):
    """Stretch a (rows, columns) image of any type from its percentiles `CONTRAST` to 0 and 255, as uint8."""
    low, high = np.percentile(image[::4, ::4], CONTRAST)  # every 16th pixel is enough
    if low == high:  # little but ground
        low, high = float(image.min()), float(image.max())
    scale = 255 / (high - low) if high > low else 0
    return np.clip((image.astype(np.float32) - np.float32(low)) * np.float32(scale) + 0.5, 0, 255).astype(np.uint8)


def _png(image):
    return cv2.imencode(".png", image)[1].tobytes()  # its defaults: half the time of libpng's fastest level


def field_nuclei(results, plate, number):
    """Give the nuclei of a field: columns of nuclei.parquet, under their names, in the table's order."""
    row = _field(results, plate, number)
    table = _nuclei(inside(results, "plates", plate, "nuclei.parquet"))
    for name in PLACE:
        if name in table.column_names:
            column = table[name]
            if row[name] == "":
                table = table.filter(pc.is_null(column))
            else:
                table = table.filter(pc.equal(column, row[name] if name == PLACE[0] else int(row[name])))
    return table.select(["ObjectNumber", X, Y]).to_pydict()


def _slide_facts(results, slide):
    return outputs.read_json(inside(results, "slides", slide, "slide.json"))


def _levels(results, slide):
    store = inside(results, "slides", slide, f"{slide}.ome.zarr")
    return _levels_of(next(path for name in ("zarr.json", ".zattrs") if (path := store / name).exists()))


def slide(results, name):
    """Give what slide.json says, and of a slide with a store the 'tile' size and the 'levels', [width, height] each."""
    facts = _slide_facts(results, name)
    if facts["status"] != "ok":
        return facts
    levels = [array.shape[:0:-1] for array in _levels(results, name)]
    return {**facts, "tile": TILE, "levels": levels}


def slide_tile(results, name, level, column, row):
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
        An RGB PNG with the store's very pixels, of `TILE` px or what is left at the right and bottom.
    """
    array = dict(enumerate(_levels(results, name))).get(_index(level))
    y, x = _index(row) * TILE, _index(column) * TILE
    if array is None or y >= array.shape[1] or x >= array.shape[2]:
        raise NotFound(f"slide {name} has no tile {column}, {row} on level {level}")
    height, width = min(TILE, array.shape[1] - y), min(TILE, array.shape[2] - x)
    return _png(cv2.cvtColor(slides.read_block(array, y, x, height, width), cv2.COLOR_RGB2BGR))


def slide_nuclei(results, name, left, top, right, bottom):
    """Give the nuclei in a part of a slide.

    Parameters
    ----------
    results : Results
    name : str
    left, top, right, bottom : float
        In px of level 0.

    Returns
    -------
    dict
        Their 'count', and the columns of their places under the table's names; empty where there are more than
        `MOST_NUCLEI`.
    """
    x, y = _slide_places(inside(results, "slides", name, "nuclei.parquet"))
    rows = slice(*np.searchsorted(y, (top, bottom)))
    here = (x[rows] >= left) & (x[rows] < right)
    count = int(here.sum())
    here = here if count <= MOST_NUCLEI else np.zeros_like(here)
    return {"count": count, X: x[rows][here].tolist(), Y: y[rows][here].tolist()}


def stack(results, name):
    """Give a stack's frames.csv: its 'columns', and its 'rows' as lists of texts as in the file."""
    rows = _csv(inside(results, "stacks", name, "frames.csv"))
    return {"columns": list(rows[0]) if rows else [], "rows": [list(row.values()) for row in rows]}
