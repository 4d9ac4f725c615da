"""The table of nuclei: its columns, the part that a unit writes, and how parts become the plate's."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fieldwork import objects
from fieldwork.detection import measured_tables
from fieldwork.detection.measured_tables import BORDER, CENTER, PEAK, arrays_of, finite, measured_columns
from fieldwork.objects import groups as object_groups
from fieldwork.plates.tables import METADATA, MISSING_CHANNELS

LOCATED = [
    ("ObjectNumber", pa.int64()),
    ("Metadata_ImageNumber", pa.int64()),
    ("Metadata_ObjectNumber", pa.int64()),
    *CENTER,
]
PREFIXES = ("Nuclei", "Cells", "Cytoplasm")  # of columns that are measured
OF_CELLS = ("Cells_", "Cytoplasm_")  # begin columns that there are of cells alone
MEAN_INTENSITY, POSITIVE = "Nuclei_Intensity_MeanIntensity_{}", "Nuclei_Positive_{}"  # of a channel
_MEANS = MEAN_INTENSITY.format("")
UNIT_FIELDS_AT_ONCE = 64  # of which a detection job makes a table: their numbers are in its memory twice


def _columns_of_nuclei(channels, groups):
    return measured_columns(tuple(channels), "Nuclei", tuple(groups))


def _columns_of_cells(channels, groups):
    of_cells, of_cytoplasm = (measured_columns(tuple(channels), name, tuple(groups)) for name in PREFIXES[1:])
    return of_cells | of_cytoplasm


def nuclei_schema(
    *,
    outlined: bool,
    peaks: bool,
    channels: Sequence[str] = (),
    positive: Sequence[str] = (),
    cells: bool = False,
    groups: Sequence[str] = (),
    absent: Sequence[str] = (),
) -> pa.Schema:
    """Return the columns of nuclei.parquet.

    Parameters
    ----------
    outlined, peaks : bool
        There are nuclei with outlines, peaks, or both: all plates of a run have the same columns.
    channels : list of str
        Names of the measured channels.
    positive : list of str
        Names of those in which nuclei may be positive.
    cells : bool
        There are cells around nuclei.
    groups : list of str
        Further groups of measurements, as for `objects.groups.measure_groups`.
    absent : list of str
        Columns of `METADATA` to leave out.
    """
    columns = [column for column in [*METADATA, *LOCATED] if column[0] not in absent]
    if outlined:
        columns += [*_columns_of_nuclei(channels, groups).items(), BORDER]
    columns += [(POSITIVE.format(channel), pa.bool_()) for channel in positive]
    columns += _columns_of_cells(channels, groups).items() if cells else []
    return pa.schema([*columns, PEAK] if peaks else columns)


def nuclei_of(
    plate: str,
    fields: Sequence,
    *,
    outlined: bool = False,
    channels: Sequence[str] = (),
    cells: bool = False,
    groups: Sequence[str] = (),
    first: int = 0,
) -> pa.Table:
    """Return the nuclei of measured fields as a table.

    Parameters
    ----------
    plate : str
    fields : list of fields.Field
    outlined : bool
        Nuclei have outlines; else they are peaks.
    channels : list of str
        Names of the plate's measured channels.
    cells : bool
        There are cells around nuclei.
    groups : list of str
        As for `nuclei_schema`.
    first : int
        Row of the first of these fields in the table of the unit's fields.

    Returns
    -------
    pyarrow.Table
        Of `unit_nuclei_schema`: a row for each nucleus, numbered from 1 in each field.
    """
    counts = [len(field.coordinates) for field in fields]
    total = sum(counts)

    def repeated(values, kind):  # in Python: Arrow's own way costs 0.2 s to import
        return pa.array([value for value, count in zip(values, counts, strict=True) for _ in range(count)], kind)

    def joined(parts, kind):
        return np.concatenate([np.empty(0, kind), *parts])

    coordinates = np.concatenate([np.empty((0, 2)), *(field.coordinates for field in fields)])
    columns = [
        pa.repeat(pa.scalar(plate, pa.string()), total),
        repeated([field.well for field in fields], pa.string()),
        repeated([field.site for field in fields], pa.int64()),
        repeated([field.timepoint for field in fields], pa.int64()),
        repeated([field.z for field in fields], pa.int64()),
        joined((np.arange(1, count + 1) for count in counts), np.int64),
        coordinates[:, 1],
        coordinates[:, 0],
    ]
    if outlined:
        columns += arrays_of(fields, _columns_of_nuclei(channels, groups))
        columns.append(joined((field.touches_border for field in fields), bool))
        columns += arrays_of(fields, _columns_of_cells(channels, groups)) if cells else []
    else:
        columns.append(joined((field.intensities for field in fields), float))
    columns.append(np.repeat(np.arange(first, first + len(fields)), counts))
    schema = unit_nuclei_schema(outlined=outlined, channels=channels, cells=cells, groups=groups)
    return pa.table(list(map(finite, columns)), schema=schema)


def parts_of(plate: str, fields: Sequence, **form: Any) -> Iterator[pa.Table]:
    """Yield the nuclei of measured fields, those of `UNIT_FIELDS_AT_ONCE` at a time; arguments as for `nuclei_of`."""
    count = measured_tables.at_once(UNIT_FIELDS_AT_ONCE, unit_nuclei_schema(**form))
    for first in range(0, len(fields), count):
        yield nuclei_of(plate, fields[first : first + count], first=first, **form)


def facts_of(
    schema: pa.Schema, *, channel: str, thresholds: Mapping[str, float | None], made_of: Mapping[str, Any]
) -> dict[str, str]:
    """Return the metadata of nuclei.parquet.

    Parameters
    ----------
    schema : pyarrow.Schema
    channel : str
        Token of the nuclei channel.
    thresholds : mapping of str to float or None
        From `positive.thresholds_of`.
    made_of : mapping
        What decides the table: its settings, the versions of libraries, a digest of the code; in ``images`` what
        `tables.notes_of` returns.

    Returns
    -------
    dict of str to str
        ``channel``; ``features``: the true features, as JSON, as all that is no text; where nuclei may be positive
        ``positive``: channel -> mean intensity above which they are; and everything in `made_of`.
    """
    facts = {"features": objects.features_of(schema.names), **made_of} | (
        {"positive": thresholds} if thresholds else {}
    )
    as_text = {key: value if isinstance(value, str) else _json(value) for key, value in facts.items()}
    return {"channel": channel, **as_text}


def _json(value):
    return json.dumps(value, sort_keys=True)


def unit_nuclei_schema(*, outlined: bool = False, **measured: Any) -> pa.Schema:
    """Return the columns of a unit's nuclei: numbers of images and their nuclei are still missing.

    Parameters
    ----------
    outlined : bool
        Nuclei have outlines; else they are peaks.
    **measured
        ``channels``, ``cells`` and ``groups``, as for `nuclei_schema`.
    """
    schema = nuclei_schema(outlined=outlined, peaks=not outlined, **measured)
    late = ("Metadata_ImageNumber", "Metadata_ObjectNumber")
    return pa.schema([*(field for field in schema if field.name not in late), ("Field", pa.int64())])


def merge_nuclei(
    paths: Sequence[str | os.PathLike],
    starts: Sequence[int],
    fields: Sequence[dict],
    *,
    schema: pa.Schema,
    thresholds: Mapping[str, float | None] | None = None,
    cells_channel: str | None = None,
) -> Iterator[pa.Table]:
    """Join the tables of nuclei that the detection jobs of one plate wrote, a part at a time.

    Parameters
    ----------
    paths : list of path-like
        The units' tables of nuclei, in the order of the units.
    starts, fields
        From `tables.merge_fields`.
    schema : pyarrow.Schema
        From `nuclei_schema`. Columns that the plate does not have are null.
    thresholds : mapping of str to float or None, optional
        From `positive.thresholds_of`.
    cells_channel : str, optional
        The channel in which cells were found: where it is missing, there are none.

    Returns
    -------
    iterator of pyarrow.Table
        Nuclei of the good fields, from `measured_tables.row_groups_of`.
    """
    numbers = np.zeros(starts[-1], np.int64)  # of images; 0: failed
    for row in fields:
        if row["Image_Status"] == "ok":
            numbers[row["Field"]] = row["Metadata_ImageNumber"]
    channels = [name.removeprefix(_MEANS) for name in schema.names if name.startswith(_MEANS)]
    rows = measured_tables.at_once(measured_tables.ROW_GROUP_ROWS, schema)
    without = {}  # channel -> fields in which it is missing
    for row in fields:
        for channel in filter(None, (row[MISSING_CHANNELS] or "").split(";")):
            without.setdefault(channel, []).append(row["Field"])
    of_cells = [name for name in schema.names if name.startswith(OF_CELLS)]
    missing = [
        (of_channel, _columns_of_channel(channel, channels).union(of_cells if channel == cells_channel else ()))
        for channel, of_channel in without.items()
    ]

    def parts():
        for path, start in zip(paths, starts[:-1], strict=True):
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(rows):
                    part = _with_final_columns(pa.Table.from_batches([batch]), start, numbers, missing)
                    part |= _positive(part, thresholds or {})
                    columns = [part.get(field.name, pa.nulls(len(batch), field.type)) for field in schema]
                    is_good = pa.array(numbers[batch["Field"].to_numpy() + start] > 0)
                    yield pa.table(columns, schema=schema).filter(is_good)

    return measured_tables.row_groups_of(parts(), schema)


def _with_final_columns(table, start, numbers, missing):
    """Return the columns of a unit's nuclei with those that only the plate knows."""
    fields = table["Field"].to_numpy() + start
    known = {name: table[name] for name in table.column_names}
    known |= {"Metadata_ImageNumber": pa.array(numbers[fields]), "Metadata_ObjectNumber": table["ObjectNumber"]}
    for of_channel, columns in missing:
        is_missing = np.isin(fields, of_channel)
        for name in columns if is_missing.any() else ():
            if name in known:
                known[name] = _with_nulls(known[name], is_missing)
    return known


def _positive(columns, thresholds):
    """Return the columns that mark nuclei above a threshold; null where their intensity is, or the threshold."""
    marks = {}
    for channel, threshold in thresholds.items():
        if threshold is not None:
            means = np.asarray(columns[MEAN_INTENSITY.format(channel)])
            marks[POSITIVE.format(channel)] = pa.array(means > threshold, mask=np.isnan(means))
    return marks


def _columns_of_channel(channel, channels):
    """Return the columns that need a channel, of nuclei and cells; also those of groups that are not measured."""

    def columns_of(names):
        return {column for prefix in PREFIXES for column in measured_columns(names, prefix, tuple(object_groups.NAMES))}

    return columns_of(tuple(channels)) - columns_of(tuple(name for name in channels if name != channel))


def _with_nulls(column, missing):
    values = column.to_numpy()
    is_null = missing | np.isnan(values)
    return pa.array(np.where(is_null, 0, values).astype(column.type.to_pandas_dtype()), mask=is_null)
