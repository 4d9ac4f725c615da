"""What is measured in nuclei, as columns of Parquet tables: of the fields of plates, and of the frames of stacks."""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from fieldwork import objects
from fieldwork.objects import groups as object_groups

CENTER = [("Nuclei_Location_Center_X", pa.float64()), ("Nuclei_Location_Center_Y", pa.float64())]
BORDER, PEAK = ("Nuclei_TouchesBorder", pa.bool_()), ("Nuclei_Intensity_Peak", pa.float64())
ROW_GROUP_ROWS = 2**16  # of nuclei.parquet: 40 MB of 80 columns, 120 MB with cells, which a job holds
WIDE_COLUMNS = 512  # a table with more has so many fewer rows in each


@functools.cache
def measured_columns(channels: tuple[str, ...], prefix: str, groups: tuple[str, ...] = ()) -> dict[str, pa.DataType]:
    """Return the columns that are measured in objects for these channels, and in groups, with their types."""
    pixel = np.zeros((1, 1), np.uint8)
    empty = objects.measure_arrays(pixel, dict.fromkeys(channels, pixel), prefix=prefix)
    columns = {name: pa.from_numpy_dtype(empty[name].dtype) for name in objects.columns_of(channels, prefix=prefix)}
    return columns | dict.fromkeys(object_groups.columns_of(groups, channels, prefix=prefix), pa.float64())


def arrays_of(images: Sequence, columns: Mapping[str, pa.DataType]) -> list[pa.Array]:
    """Return the measurements of the nuclei of images as Arrow's arrays.

    Parameters
    ----------
    images : list of plates.fields.Field or stacks.frames.MeasuredFrame
        Their ``measurements`` are from `outlines.outline_and_measure`.
    columns : dict of str to pyarrow.DataType
        From `measured_columns`.

    Returns
    -------
    list of pyarrow.Array
        One for each column, of the nuclei of all images. A value is null where it is not defined or infinite, or where
        a channel that it needs is missing.
    """
    with_nuclei = [image for image in images if len(image.coordinates)]
    of_shape = set(objects.columns_of([]))

    def values_of(image, name):
        is_known = name in of_shape or name in image.measurements
        return image.measurements[name] if is_known else np.full(len(image.coordinates), np.nan)

    arrays = []
    for name, kind in columns.items():
        values = np.concatenate(
            [np.empty(0, kind.to_pandas_dtype()), *(values_of(image, name) for image in with_nuclei)]
        )
        if values.dtype.kind == "f" and kind == pa.int64():  # there is no cell, or no cytoplasm
            is_null = np.isnan(values)
            arrays.append(pa.array(np.where(is_null, 0, values).astype(np.int64), mask=is_null))
        else:
            arrays.append(finite(values))
    return arrays


def finite(values: np.ndarray | pa.Array) -> pa.Array:
    """Return an array of numbers as one of Arrow in which values that are not defined (NaN) or infinite are null."""
    if not isinstance(values, np.ndarray):
        return values
    return pa.array(values, mask=~np.isfinite(values) if values.dtype.kind == "f" else None)


def at_once(usual: int, schema: pa.Schema) -> int:
    """Return how many rows, or images, of a table are in memory at once: the usual number, or fewer of a wide table."""
    return max(1, usual * WIDE_COLUMNS // max(WIDE_COLUMNS, len(schema)))


def row_groups_of(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows of tables in tables of `ROW_GROUP_ROWS` rows (`at_once`), or less in the last; none without rows.

    Parameters
    ----------
    tables : iterable of pyarrow.Table
    schema : pyarrow.Schema
        Of all of them.
    """
    rows = at_once(ROW_GROUP_ROWS, schema)
    waiting = [schema.empty_table()]  # joined only when there are enough: they may be small, and many
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= rows:
            joined = pa.concat_tables(waiting)
            while len(joined) >= rows:
                yield joined.slice(0, rows)
                joined = joined.slice(rows)
            waiting = [joined]
    if len(rest := pa.concat_tables(waiting)):
        yield rest
