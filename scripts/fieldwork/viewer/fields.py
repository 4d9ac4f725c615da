"""Fields of plates for the page: their pixels in every channel, thumbnails, contrast, nuclei.

A field is named by its row in fields.csv, from 0: images may lie anywhere, and only those of the table are shown.
"""

import functools
import io
import json
import math
import threading

import cv2
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fieldwork import frames, label_images, outputs
from fieldwork.inputs.paths import is_url
from fieldwork.plates import images as plate_images
from fieldwork.plates import label_store, stale
from fieldwork.plates.rows import without_channel
from fieldwork.plates.tables import SOURCES
from fieldwork.stains import colours_of
from fieldwork.viewer.results import (
    NotFound,
    Results,
    cached_while_unchanged,
    inside,
    inside_or_none,
    number_of,
    read_rows,
    version_of,
)

MOST_PIXELS = 24_000_000  # that the page gets of an image; a larger one is reduced by a whole factor
CONTRAST_PERCENTILES = (1, 99.8)  # of a sample of the plate; they become black and white
CONTRAST_FIELDS = 8  # in that sample
THUMBNAIL_PX = 96  # the longer side
POSITION_COLUMNS = tuple(stale.COLUMNS.values())
OUTLINES = {"outlines": "labels.zarr", "cells": "cells.zarr"}  # kind in answers -> store of a plate
X, Y = "Nuclei_Location_Center_X", "Nuclei_Location_Center_Y"
PIXEL_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8")  # that a browser has arrays of


class UnreadableError(NotFound):
    """The image of a field cannot be read, perhaps for a moment; the message is for the page."""


class _IncompleteError(Exception):
    """The contrast without images that cannot be read: an exception, which no cache keeps."""

    def __init__(self, ranges: dict):
        super().__init__()
        self.ranges = ranges


@cached_while_unchanged
def _field_rows(path):
    """Read the rows of a plate's fields.csv; columns about the nuclei channel are those of DNA, whatever its name."""
    return [{without_channel(column): text for column, text in row.items()} for row in read_rows(path)]


def rows(results: Results, plate: str) -> list[dict[str, str]]:
    """Return the rows of a plate's fields.csv, column -> text; columns about the nuclei channel are those of DNA."""
    return _field_rows(inside(results, "plates", plate, "fields.csv"))


def row_of(results: Results, plate: str, number: str) -> dict[str, str]:
    """Return a row of a plate's fields.csv; raise NotFound if there is none of this number."""
    fields = rows(results, plate)
    if number_of(number) >= len(fields):
        raise NotFound(f"plate {plate} has no field {number}")
    return fields[number_of(number)]


def settings(results: Results, plate: str) -> dict:
    """Return the settings with which a plate's tables were made; nothing of tables of an older version."""
    path = inside_or_none(results, "plates", plate, "settings.json")
    return outputs.read_json(path).get("settings", {}) if path else {}


def nuclei_channel(results: Results, plate: str) -> str:
    """Return the name that a plate's nuclei channel has in the columns of fields.csv."""
    columns = next(iter(read_rows(inside(results, "plates", plate, "fields.csv"))), {})
    return next((name.partition("_")[2] for name in columns if name.startswith("FileName_")), "DNA")


def tokens(results: Results, plate: str) -> dict[str, str]:
    """Return name -> token, in its files, of each measured channel of a plate, in the order of the run."""
    return settings(results, plate).get("measure", {}).get("channels", {})


def channels(results: Results, plate: str) -> list[dict[str, str]]:
    """Return 'name' and 'colour' (RRGGBB) of each channel of a plate that can be shown, the nuclei channel first."""
    nuclei = nuclei_channel(results, plate)
    others = [name for name in tokens(results, plate) if name != nuclei] if _sources(results, plate) else []
    colours = colours_of([nuclei, *others], nuclei)
    return [{"name": name, "colour": colour} for name, colour in colours.items()]


def _sources(results, plate):
    """Return the files of the measured channels of each field: path and position of the field -> list."""
    folder = inside_or_none(results, "plates", plate, "units")
    return _sources_in(folder) if folder else {}


@cached_while_unchanged  # a folder changes with its files, which appear by a rename
def _sources_in(folder):
    files = sorted(folder.glob("*.fields.parquet"), key=lambda path: path.stat().st_mtime_ns)
    columns = ["PathName_DNA", "FileName_DNA", *POSITION_COLUMNS, SOURCES]
    sources = {}
    for path in files:  # the newest last: another fan_out leaves older ones
        if SOURCES in pq.read_schema(path).names:
            for *key, text in zip(*pq.read_table(path, columns=columns).to_pydict().values(), strict=True):
                if text:
                    sources[tuple("" if value is None else str(value) for value in key)] = json.loads(text)
    return sources


def plane(results: Results, plate: str, number: str, channel: str | None = None) -> np.ndarray:
    """Read a field in one channel.

    Parameters
    ----------
    results : Results
    plate, number : str
        `number` is the row of the field in fields.csv, from 0.
    channel : str, optional
        One of `channels`; without it, that of the nuclei.

    Returns
    -------
    (rows, columns) array
        As the run read it.

    Raises
    ------
    NotFound
        The field failed, its image cannot be read, or there is none of this channel.
    """
    row = row_of(results, plate, number)
    if row["Image_Status"] != "ok":  # its image may crash the reader
        raise NotFound(f"this field failed: {row['Image_Error']}")
    if is_url(row["PathName_DNA"]):
        raise NotFound(f"{row['PathName_DNA']}/{row['FileName_DNA']}: only images on disk can be shown")
    timepoint, z = (int(row[name]) if row.get(name) else None for name in POSITION_COLUMNS[2:])
    if channel not in (None, nuclei_channel(results, plate)):
        return _other_channel(results, plate, row, channel, timepoint, z)
    path = results.directory / row["PathName_DNA"] / row["FileName_DNA"]
    inside_file = {
        name: int(row[f"{name.title()}_DNA"]) for name in ("series", "frame") if row.get(f"{name.title()}_DNA")
    }
    try:
        return frames.read_plane(path, channel=token_of(results, plate), timepoint=timepoint, z=z, **inside_file)
    except frames.FrameError as error:
        raise UnreadableError(f"{path}: {error}") from None


def token_of(results: Results, plate: str) -> str:
    """Return what a plate's nuclei channel is called in its files, of which one may have several."""
    facts = pq.read_schema(inside(results, "plates", plate, "nuclei.parquet")).metadata or {}
    return facts.get(b"channel", b"auto").decode()


def _other_channel(results, plate, row, channel, timepoint, z):
    """Read a field in a channel other than that of the nuclei, from the file in which the run measured it."""
    measured = tokens(results, plate)
    key = tuple(row.get(name) or "" for name in ("PathName_DNA", "FileName_DNA", *POSITION_COLUMNS))
    sources = _sources(results, plate).get(key, [])
    if channel not in measured or len(sources) != len(measured):
        raise NotFound(f"where the images of channel {channel} are is not known")
    source = sources[list(measured).index(channel)]
    if source is None or channel in (row.get("Image_Channels_Missing") or "").split(";"):
        raise NotFound(f"this field has no image of channel {channel}")
    path, *inside_file = [source] if isinstance(source, str) else source
    if is_url(path):
        raise NotFound(f"{path}: only images on disk can be shown")
    path = results.directory / path
    try:
        planes = plate_images.read_file((path, *inside_file), channel=measured[channel], exact=True)
    except frames.FrameError as error:
        raise UnreadableError(f"{path}: {error}") from None
    for candidate in planes:
        if candidate.timepoint in (None, timepoint) and candidate.z in (None, z):
            return candidate.image
    raise NotFound(f"{path} has no plane of this time point and z plane")


def pixels(results: Results, plate: str, number: str, channel: str) -> bytes:
    """Return a field in one channel as a file of NumPy; arguments as for `plane`."""
    return as_npy(plane(results, plate, number, channel))


def as_npy(image: np.ndarray) -> bytes:
    """Return an image as a file of NumPy (.npy) of a type that a browser has; reduced above `MOST_PIXELS`."""
    factor = math.ceil(math.sqrt(max(1, image.size / MOST_PIXELS)))
    if image.dtype.kind == "b":
        image = image.view(np.uint8)
    if image.dtype.str[1:] not in PIXEL_TYPES:
        image = image.astype(np.float64)
    if factor > 1:
        size = [-(-side // factor) for side in image.shape[::-1]]
        image = cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(image, image.dtype.newbyteorder("<")))
    return file.getvalue()


def contrast(results: Results, plate: str) -> dict[str, dict[str, float]]:
    """Return the contrast of each channel of a plate, in which all its fields can be compared.

    Parameters
    ----------
    results : Results
    plate : str

    Returns
    -------
    dict of str to dict
        Channel -> 'low' and 'high', which become black and white: `CONTRAST_PERCENTILES` of a sample of fields; 'least'
        and 'most', the lowest and highest value in it. Channels without a readable image are absent.
    """
    version = version_of(inside(results, "plates", plate, "fields.csv"))
    try:
        return _contrast(results, plate, tuple(channel["name"] for channel in channels(results, plate)), version)
    except _IncompleteError as incomplete:
        return incomplete.ranges


@functools.lru_cache(64)
def _contrast(results, plate, names, version):
    token_of(results, plate)  # which all images need
    good = [number for number, row in enumerate(rows(results, plate)) if row["Image_Status"] == "ok"]
    chosen = [good[place] for place in np.linspace(0, len(good) - 1, min(len(good), CONTRAST_FIELDS)).astype(int)]
    ranges, unreadable = {}, False
    for name in names:
        images = []
        for number in chosen:
            try:
                images.append(plane(results, plate, str(number), name))
            except NotFound as error:
                unreadable |= isinstance(error, UnreadableError)
        if images:
            ranges[name] = range_of(images)
    if unreadable:
        raise _IncompleteError(ranges)
    return ranges


def range_of(images: list[np.ndarray]) -> dict[str, float]:
    """Return 'low', 'high', 'least' and 'most' of (rows, columns) images, as `contrast` does."""
    sample = np.concatenate([image[::4, ::4].ravel() for image in images])  # every 16th pixel is enough
    least, most = (float(bound([getattr(image, name)() for image in images])) for bound, name in _BOUNDS)
    low, high = map(float, np.percentile(sample, CONTRAST_PERCENTILES))
    if low == high:  # little but ground
        low, high = least, most
    return {"low": low, "high": high, "least": least, "most": most}


_BOUNDS = ((min, "min"), (max, "max"))


def thumbnail(results: Results, plate: str, number: str) -> bytes:
    """Draw a field in the nuclei channel as a small grey PNG, in the contrast of its plate."""
    row = row_of(results, plate, number)
    path = results.directory / row["PathName_DNA"] / row["FileName_DNA"]
    version = version_of(path) if row["Image_Status"] == "ok" and not is_url(row["PathName_DNA"]) else None
    bounds = contrast(results, plate).get(nuclei_channel(results, plate), {})
    return _thumbnail(results, plate, number, version, bounds.get("low", 0), bounds.get("high", 0))


@functools.lru_cache(4096)  # of some 5 KB
def _thumbnail(results, plate, number, version, low, high):
    image = plane(results, plate, number)
    factor = min(1, THUMBNAIL_PX / max(image.shape))
    size = [max(1, round(side * factor)) for side in image.shape[::-1]]
    small = cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return as_png(stretched(small, low, high))


def stretched(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Stretch a (rows, columns) image from `low` and `high` to 0 and 255, as uint8."""
    scale = 255 / (high - low) if high > low else 0
    return np.clip((image.astype(np.float32) - np.float32(low)) * np.float32(scale) + 0.5, 0, 255).astype(np.uint8)


def as_png(image: np.ndarray) -> bytes:
    """Encode an image as PNG."""
    return cv2.imencode(".png", image)[1].tobytes()  # its defaults: half the time of libpng's fastest level


@cached_while_unchanged
def _nuclei(path):
    """Read the columns of a table of nuclei that the page shows."""
    names = pq.read_schema(path).names
    return pq.read_table(path, columns=[name for name in names if name in (*POSITION_COLUMNS, "ObjectNumber", X, Y)])


opening = threading.Lock()  # zarr's configuration is one for all threads


@cached_while_unchanged
def _labels_of(metadata):
    """Open the label images with this metadata file."""
    with opening:
        return label_store.open_labels(metadata.parent)


def nuclei(results: Results, plate: str, number: str) -> dict[str, list]:
    """Return the nuclei of a field.

    Parameters
    ----------
    results : Results
    plate, number : str
        As for `plane`.

    Returns
    -------
    dict
        Columns of nuclei.parquet under their names, in the table's order; of a plate with label images also 'outlines',
        a list x, y, x, y, .. of whole px for each polygon, and where they are kept 'cells', those of cells.
    """
    row = row_of(results, plate, number)
    table = _nuclei(inside(results, "plates", plate, "nuclei.parquet"))
    for name in POSITION_COLUMNS:
        if name in table.column_names:
            column, text = table[name], row.get(name, "")  # fields.csv has no time point where only other plates do
            if text == "":
                table = table.filter(pc.is_null(column))
            else:
                table = table.filter(pc.equal(column, text if name == POSITION_COLUMNS[0] else int(text)))
    found = table.select(["ObjectNumber", X, Y]).to_pydict()
    for kind, store in OUTLINES.items():
        if (outlines := _outlines(results, plate, store, number_of(number), row)) is not None:
            found[kind] = outlines
    return found


def _outlines(results, plate, store, number, row):
    """Return the outlines of a field; None where the plate has no label images, or older ones than its tables."""
    metadata = inside_or_none(results, "plates", plate, store, "zarr.json")
    if metadata is None:
        return None
    labels = _labels_of(metadata)
    if row["Image_Status"] != "ok" or number >= labels.shape[0]:
        return None
    taken = {column: labels.attrs[name][number] for name, column in stale.COLUMNS.items()}
    if any(row.get(column, "") != ("" if value is None else str(value)) for column, value in taken.items()):
        return None  # a run is at work, or was stopped: they are of other fields
    of_field = labels[number, : int(row["Image_Height"]), : int(row["Image_Width"])]
    if of_field.max(initial=0) != int(row["Image_Count_Nuclei"]):
        return None  # likewise, of other nuclei
    return polygons(of_field)


def polygons(labels: np.ndarray) -> list[list[int]]:
    """Return the outlines of labels as lists x, y, x, y, .. of whole px."""
    return [polygon.ravel().tolist() for polygon in label_images.outlines(labels)]
