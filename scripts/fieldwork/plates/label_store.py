"""The label images of a plate in one Zarr 3 array, joined from the files of its units."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numcodecs
import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from fieldwork import InputError, label_images, outputs
from fieldwork.omezarr.metadata import ONE_THREAD, by_zarrs
from fieldwork.plates import stale

LARGEST_SHARD_BYTES = 2**28  # uncompressed; more where one field is larger
ABSENT_CHUNK = 2**64 - 1  # offset and length of a chunk that is not there: all 0
AXES = ("field", "row", "column")


class StoredLabels(NamedTuple):
    """A row of the store: where its field was taken, and where its labels are."""

    well: str
    site: int
    timepoint: int | None
    z: int | None
    shape: tuple[int, int] | None  # None: the field failed, and the row stays 0
    field: int  # row of all units' tables


def write(
    store: str | os.PathLike,
    *,
    plate: str,
    labels: Sequence[str | os.PathLike],
    fields: Sequence[str | os.PathLike],
) -> tuple[int, int, int]:
    """Join the label images of a plate's units into one array.

    The array is uint32 (field, row, column); `field` is the row of fields.csv, from 0. A chunk is a field, a shard many
    of them. Values are ObjectNumbers. Failed fields are 0; all others have one size, as `tables.fail_odd_forms` fails
    those of another. Attributes: `plate`, and the lists `well`, `site`, `timepoint` and `z` (null: none).

    Parameters
    ----------
    store : path-like
        It appears when it is complete, in place of an older one.
    plate : str
    labels, fields : list of path-like
        The units' label images (`label_images.write_unit`) and tables of fields, in the order of the units.

    Returns
    -------
    (int, int, int)
        The array's shape.

    Raises
    ------
    InputError
        The files of a unit are not of one run: they differ in their fields.
    """
    rows = _rows_of(labels, fields)
    height, width = next((row.shape for row in rows if row.shape), (1, 1))
    in_shard = max(1, min(len(rows), LARGEST_SHARD_BYTES // (4 * height * width)))
    attributes = {"plate": plate}
    attributes |= {name: [getattr(row, name) for row in rows] for name in stale.COLUMNS}
    chunks = _chunks_of(rows, labels)
    with outputs.atomic_folder(store) as part:
        array = zarr.create_array(
            part,
            shape=(len(rows), height, width),
            dtype="uint32",
            chunks=(1, height, width),
            shards=(in_shard, height, width),
            compressors=ZstdCodec(level=label_images.QUICK_LEVEL),
            fill_value=0,
            dimension_names=AXES,
            attributes=attributes,
        )
        for start in range(0, len(rows), in_shard):
            shard = [next(chunks) for _ in rows[start : start + in_shard]]
            key = array.metadata.encode_chunk_key((start // in_shard, 0, 0))
            _write_shard(part / key, shard + [None] * (in_shard - len(shard)))
    return array.shape


def open_labels(store: str | os.PathLike) -> zarr.Array:
    """Open a store that `write` wrote, and set zarr to one thread in this process.

    Parameters
    ----------
    store : path-like

    Returns
    -------
    zarr.Array
        uint32 (field, row, column).
    """
    zarr.config.set(ONE_THREAD)
    with by_zarrs():
        return zarr.open_array(store, mode="r")


def _rows_of(labels, fields):
    """List the rows of the store: those of fields.csv."""
    import pyarrow.parquet as pq  # here: it starts a thread, and other functions of this module are for jobs that fork

    from fieldwork.plates import tables

    measured = []
    for labels_path, fields_path in zip(labels, fields, strict=True):
        of_unit = pq.read_table(fields_path).to_pylist()
        if pq.read_metadata(labels_path).num_rows != len(of_unit):
            raise _other_run(labels_path)
        measured += of_unit
    kept = tables.fail_odd_forms([{**row, "Field": number} for number, row in enumerate(measured)])
    return [
        StoredLabels(
            *(row[column] for column in stale.COLUMNS.values()),
            (row["Image_Height"], row["Image_Width"]) if row["Image_Status"] == "ok" else None,
            row["Field"],
        )
        for row in kept
    ]


def _other_run(path):
    return InputError(
        f"{path}: is not of the run that wrote the tables beside it; expected the same fields. Delete it and start the "
        "run again."
    )


def _chunks_of(rows, labels):
    """Yield the chunk of each row, or None for a row of 0: the bytes that units wrote."""
    encoded = ((path, *entry) for path in labels for entry in label_images.read_unit(path))
    number = -1  # of the last field that was read
    for row in rows:
        while number < row.field:
            path, content, read_shape = next(encoded)
            number += 1
        if row.shape is None:
            yield None
        elif content is None or read_shape != row.shape:
            raise _other_run(path)
        else:
            yield content


def _write_shard(path, chunks):
    """Write chunks as a shard (Zarr's codec sharding_indexed), unless all are 0.

    zarr would decode and compress them again, which takes ten times as long for a plate as all else here.
    """
    if not any(chunks):
        return
    path.parent.mkdir(parents=True)
    index, end = [], 0
    with open(path, "wb") as file:
        for chunk in chunks:
            index.append((end, len(chunk)) if chunk else (ABSENT_CHUNK, ABSENT_CHUNK))
            end += file.write(chunk or b"")
        file.write(numcodecs.CRC32C(location="end").encode(np.array(index, "<u8")))
