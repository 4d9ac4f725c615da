"""The table of a stack's nuclei."""

import json
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from fieldwork import objects
from fieldwork.detection.measured_tables import (
    BORDER,
    CENTER,
    PEAK,
    arrays_of,
    finite,
    measured_columns,
    row_groups_of,
)
from fieldwork.stacks.frames import MeasuredFrame

FRAMES_AT_ONCE = 64  # of which a table is made: their numbers are in memory twice


def nuclei_schema(channels: Sequence[str] | None, decided: Sequence[str] = ()) -> pa.Schema:
    """Return the columns of a stack's nuclei.parquet; its metadata list the true features.

    Parameters
    ----------
    channels : list of str or None
        Names of the channels in which nuclei with outlines are measured. None: nuclei are peaks.
    decided : list of str
        What the stack leaves open, and how it was decided: in the metadata where there is such a thing, as of plates.
    """
    columns = [
        ("Metadata_Stack", pa.string()),
        ("Metadata_Frame", pa.int64()),
        ("ObjectNumber", pa.int64()),
        *CENTER,
        *([PEAK] if channels is None else [*measured_columns(tuple(channels), "Nuclei").items(), BORDER]),
    ]
    facts = {"features": objects.features_of(name for name, _ in columns)}
    facts |= {"decided": list(decided)} if decided else {}
    return pa.schema(columns, {name: json.dumps(fact, ensure_ascii=False) for name, fact in facts.items()})


def nuclei_of(
    stack: str, measured: Sequence[MeasuredFrame], channels: Sequence[str] | None, schema: pa.Schema
) -> Iterator[pa.Table]:
    """Return the nuclei of measured frames, in tables of as many rows as row groups have.

    Parameters
    ----------
    stack : str
    measured : list of MeasuredFrame
    channels : list of str or None
        As for `nuclei_schema`.
    schema : pyarrow.Schema
        From `nuclei_schema`.

    Returns
    -------
    iterator of pyarrow.Table
        Of this schema: a row for each nucleus, numbered from 1 in each frame: peaks brightest first, outlines by
        their labels.
    """
    starts = range(0, len(measured), FRAMES_AT_ONCE)
    parts = (_part_of(stack, measured[start : start + FRAMES_AT_ONCE], channels, schema) for start in starts)
    return row_groups_of(parts, schema)


def _part_of(stack, measured, channels, schema):
    counts = [len(frame.coordinates) for frame in measured]
    coordinates = np.concatenate([frame.coordinates.astype(float) for frame in measured])
    columns = [
        pa.repeat(pa.scalar(stack, pa.string()), sum(counts)),
        np.repeat([frame.index for frame in measured], counts),
        np.concatenate([np.arange(1, count + 1) for count in counts]),
        coordinates[:, 1],
        coordinates[:, 0],
    ]
    if channels is None:
        columns.append(np.concatenate([frame.intensities for frame in measured]))
    else:
        columns += arrays_of(measured, measured_columns(tuple(channels), "Nuclei"))
        columns.append(np.concatenate([frame.touches_border for frame in measured]))
    return pa.table(list(map(finite, columns)), schema=schema)
