"""Stacks for the page: their table, and their frames with the nuclei in them."""

import functools
import os

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tifffile
import zarr

from fieldwork import FrameError, outputs
from fieldwork.stacks import sources
from fieldwork.viewer.fields import X, Y, as_npy, opening, polygons, range_of
from fieldwork.viewer.results import (
    NotFound,
    Results,
    cached_while_unchanged,
    inside,
    inside_or_none,
    number_of,
    read_rows,
    tables_and_pictures,
    version_of,
)

CONTRAST_FRAMES = 8  # whose values say what becomes black and white


def stack(results: Results, name: str) -> dict:
    """Return what the page of a stack shows.

    Parameters
    ----------
    results : Results
    name : str

    Returns
    -------
    dict
        The 'columns' of frames.csv and its 'rows' as lists of texts; 'frames', true if frames can be shown; the names
        of 'tables' and 'pictures'.
    """
    rows = read_rows(inside(results, "stacks", name, "frames.csv"))
    folder = inside(results, "stacks", name)
    tables = ("frames.csv", "nuclei.parquet", "calibration.json")
    return {
        "columns": list(rows[0]) if rows else [],
        "rows": [list(row.values()) for row in rows],
        "frames": inside_or_none(results, "stacks", name, "stack.json") is not None,
        **tables_and_pictures(folder, tables),
    }


def _row_of(results, name, number):
    """Return the row of a frame, which did not fail; its image may crash the reader otherwise."""
    rows = {row["Metadata_Frame"]: row for row in read_rows(inside(results, "stacks", name, "frames.csv"))}
    row = rows.get(str(number_of(number)))
    if row is None:
        raise NotFound(f"stack {name} has no frame {number}")
    if row["Image_Status"] != "ok":
        raise NotFound(f"this frame failed: {row['Image_Error']}")
    return row


def _opened(results, name):
    """List the frames of a stack, by number, where the run read them."""
    source = outputs.read_json(inside(results, "stacks", name, "stack.json"))
    path = results.directory / source["path"]
    return _frames_of(str(path), tuple(sorted(source["selection"].items())), os.stat(path).st_mtime_ns)


@functools.lru_cache(8)
def _frames_of(path, selection, changed):
    with opening:
        return {frame.index: frame for frame in sources.open_stack(path, **dict(selection)).frames}


def _image_of(results, name, number):
    """Read a frame as the run read it."""
    try:
        return sources.read(_opened(results, name)[number_of(number)])
    except (FrameError, OSError, KeyError) as error:
        raise NotFound(f"frame {number} of stack {name} cannot be read any more: {error}") from None


def pixels(results: Results, name: str, number: str) -> bytes:
    """Return a frame as a file of NumPy; `number` is its ``Metadata_Frame``."""
    _row_of(results, name, number)
    return as_npy(_image_of(results, name, number))


def contrast(results: Results, name: str) -> dict[str, float]:
    """Return the contrast in which all frames of a stack can be compared, as `fields.contrast` does of a channel."""
    path = inside(results, "stacks", name, "frames.csv")
    return _contrast(results, name, version_of(path))


@functools.lru_cache(16)
def _contrast(results, name, version):
    rows = read_rows(inside(results, "stacks", name, "frames.csv"))
    good = [row["Metadata_Frame"] for row in rows if row["Image_Status"] == "ok"]
    chosen = [good[place] for place in np.linspace(0, len(good) - 1, min(len(good), CONTRAST_FRAMES)).astype(int)]
    if not chosen:
        raise NotFound(f"stack {name} has no good frame")
    return range_of([_image_of(results, name, number) for number in chosen])


@cached_while_unchanged
def _nuclei(path):
    return pq.read_table(path, columns=["Metadata_Frame", "ObjectNumber", X, Y])


@cached_while_unchanged
def _zarr_labels(metadata):
    with opening:
        return zarr.open_array(metadata.parent, mode="r")


@cached_while_unchanged
def _tiff_labels(path):
    return tifffile.memmap(path, mode="r")


def nuclei(results: Results, name: str, number: str) -> dict[str, list]:
    """Return the nuclei of a frame, as `fields.nuclei` does of a field; without any where the stack has no table."""
    row = _row_of(results, name, number)
    path = inside_or_none(results, "stacks", name, "nuclei.parquet")
    if path is None:
        return {"ObjectNumber": [], X: [], Y: []}
    table = _nuclei(path)
    table = table.filter(pc.equal(table["Metadata_Frame"], number_of(number)))
    found = table.select(["ObjectNumber", X, Y]).to_pydict()
    labels = _labels(results, name, number_of(number))
    if labels is not None and labels.max(initial=0) == int(row["Image_Count_Nuclei"]):
        found["outlines"] = polygons(labels)
    return found


def _labels(results, name, number):
    """Return the label image of a frame, (rows, columns); None where outlines are not kept."""
    if metadata := inside_or_none(results, "stacks", name, "labels.zarr", "zarr.json"):
        return _zarr_labels(metadata)[number]
    if path := inside_or_none(results, "stacks", name, "labels.tif"):
        return np.atleast_3d(_tiff_labels(path))[number]
    return None
