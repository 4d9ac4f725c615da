"""The label images of a plate in one Zarr 3 array, joined from the files of its units."""

import csv
import functools
import itertools
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from fieldwork import InputError, label_images, outputs, parallel
from fieldwork.omezarr.metadata import ONE_THREAD, by_zarrs

# Of the official codecs, the smallest within 10 ms a megapixel: 2.0 % of 8-bit pixels over 271 annotated fields, where
# level 1 and Blosc with bits shuffled have 2.4 and 3.1 %. Level 22 has a seventh less, in 100 times the time.
ZSTD_LEVEL = 10
LARGEST_SHARD_BYTES = 2**28  # uncompressed: what a worker holds, unless one field is larger
AXES = ("field", "row", "column")
KEY_COLUMNS = ("Metadata_Well", "Metadata_Site", "Image_Status")  # they show whether tables are of one run


class StoredLabels(NamedTuple):
    """A row of the store: where its field was taken, and where its labels are."""

    well: str
    site: int
    timepoint: int | None
    z: int | None
    count: int | None  # objects; None: the field failed, and the row stays 0
    shape: tuple[int, int] | None
    path: str  # of a unit's file
    number: int  # row of that file


class Shard(NamedTuple):
    """The rows of the store that one file holds."""

    start: int
    rows: list[StoredLabels]

    def __str__(self):
        return f"the labels of well {self.rows[0].well}, site {self.rows[0].site} and after"


def write(
    store: str | os.PathLike,
    *,
    plate: str,
    labels: Sequence[str | os.PathLike],
    unit_fields: Sequence[str | os.PathLike],
    fields: str | os.PathLike,
    workers: int,
    progress: bool | str = False,
) -> tuple[int, int, int]:
    """Join the label images of a plate's units into one array.

    The array is uint32 (field, row, column); `field` is the row of fields.csv, from 0. A chunk is a field, a shard many
    of them. Values are ObjectNumbers. Failed fields are 0, and smaller fields are padded with 0 at the bottom and at
    the right. Attributes: `plate`, and the lists `well`, `site`, `timepoint` and `z` (null: none).

    Parameters
    ----------
    store : path-like
        It appears when it is complete, in place of an older one.
    plate : str
    labels, unit_fields : list of path-like
        The units' label images (`label_images.write_unit`) and tables of fields, in the order of the units.
    fields : path-like
        The plate's fields.csv: fields that failed there, in any step, are 0.
    workers : int
        Number of processes; each holds a shard.
    progress : bool or str
        As for `parallel.map_frames`.

    Returns
    -------
    (int, int, int)
        The array's shape.

    Raises
    ------
    InputError
        The files are not of one run: they differ in their fields, or in a field's number of nuclei.
    """
    rows = parallel.call_in_process(os.fspath(store), _rows_of, labels, unit_fields, fields)
    height, width = np.max([row.shape for row in rows if row.shape] or [(1, 1)], axis=0).tolist()
    shape = len(rows), height, width
    in_shard = max(1, min(len(rows), LARGEST_SHARD_BYTES // (4 * height * width)))
    shards = [Shard(start, rows[start : start + in_shard]) for start in range(0, len(rows), in_shard)]
    attributes = {"plate": plate}
    attributes |= {name: [getattr(row, name) for row in rows] for name in ("well", "site", "timepoint", "z")}
    with outputs.atomic_folder(store) as part:
        parallel.call_in_process(os.fspath(store), _lay_out, part, shape, in_shard, attributes)
        write_shard = functools.partial(_write_shard, store=os.fspath(part))
        for _ in parallel.map_frames(write_shard, shards, workers=workers, progress=progress):
            pass
    return shape


def open_labels(store: str | os.PathLike, *, mode: str = "r") -> zarr.Array:
    """Open a store that `write` wrote, and set zarr to one thread in this process.

    Parameters
    ----------
    store : path-like
    mode : {'r', 'r+'}

    Returns
    -------
    zarr.Array
        uint32 (field, row, column).
    """
    zarr.config.set(ONE_THREAD)
    with by_zarrs():
        return zarr.open_array(store, mode=mode)


def _rows_of(labels, unit_fields, fields):
    """List the rows of the store, and compare them with fields.csv."""
    import pyarrow.parquet as pq  # here and in other processes' functions: it starts a thread, and forks follow

    from fieldwork.plates import tables

    measured, sources = [], []
    for labels_path, fields_path in zip(labels, unit_fields, strict=True):
        of_unit = pq.read_table(fields_path).to_pylist()
        if pq.read_metadata(labels_path).num_rows != len(of_unit):
            raise _other_run(labels_path)
        sources += [(os.fspath(labels_path), number) for number in range(len(of_unit))]
        measured += of_unit
    rows, keys = [], []
    for row in tables.fail_odd_forms([{**row, "Field": number} for number, row in enumerate(measured)]):
        good = row["Image_Status"] == "ok"
        rows.append(
            StoredLabels(
                *(row[f"Metadata_{name}"] for name in ("Well", "Site", "Timepoint", "ZPlane")),
                row["Image_Count_Nuclei"] if good else None,
                (row["Image_Height"], row["Image_Width"]) if good else None,
                *sources[row["Field"]],
            )
        )
        keys.append(tuple(str(row[name]) for name in KEY_COLUMNS))
    with open(fields, encoding="utf-8", newline="") as stream:
        if keys != [
            (row["Metadata_Well"], row["Metadata_Site"], row["Image_Status"]) for row in csv.DictReader(stream)
        ]:
            raise _other_run(fields)
    return rows


def _other_run(path):
    return InputError(
        f"{path}: is not of the run that wrote the plate's other tables; expected the same fields with the same "
        "numbers of nuclei. Delete it and start the run again."
    )


def _lay_out(store, shape, in_shard, attributes):
    """Create the array, without pixels."""
    zarr.create_array(
        store,
        shape=shape,
        dtype="uint32",
        chunks=(1, *shape[1:]),
        shards=(in_shard, *shape[1:]),
        compressors=ZstdCodec(level=ZSTD_LEVEL),
        fill_value=0,
        dimension_names=AXES,
        attributes=attributes,
    )


def _write_shard(shard, *, store):
    """Write one shard: a whole file, so that no two workers write the same."""
    array = open_labels(store, mode="r+")
    block = np.zeros((len(shard.rows), *array.shape[1:]), np.uint32)
    of_file = itertools.groupby(enumerate(shard.rows), key=lambda item: item[1].path)
    for path, group in of_file:
        wanted = {row.number: (index, row) for index, row in group if row.count is not None}
        first, last = min(wanted, default=0), max(wanted, default=-1)
        for number, labels in enumerate(label_images.read_unit(path, start=first, stop=last + 1), first):
            if number in wanted:
                index, row = wanted[number]
                if labels is None or labels.shape != row.shape or labels.max(initial=0) != row.count:
                    raise _other_run(path)
                block[index, : row.shape[0], : row.shape[1]] = labels
    array[shard.start : shard.start + len(shard.rows)] = block
