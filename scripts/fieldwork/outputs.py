"""Writing of files that appear complete or not at all."""

from __future__ import annotations

import csv
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from fieldwork import InputError, reason_of

if TYPE_CHECKING:
    import pyarrow as pa


@contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary file beside `path`; rename it on success, delete it on error.

    Parameters
    ----------
    path : path-like
        Where the file is to appear.

    Yields
    ------
    pathlib.Path
        Where to write.
    """
    path = Path(path)
    part = path.with_name(part_name(path))
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; rename it on success, in place of an older one, delete it on error.

    Its name is new every time, so a worker of a killed job, perhaps on another machine, cannot write into it.

    Parameters
    ----------
    path : path-like
        Where the folder is to appear.

    Yields
    ------
    pathlib.Path
        An empty folder.
    """
    path = Path(path)
    clear_parts(path)
    part = path.with_name(part_name(path))
    part.mkdir(parents=True)
    try:
        yield part
        old = path.with_name(part_name(path))
        with suppress(FileNotFoundError):
            os.rename(path, old)
        os.rename(part, path)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def part_name(path: str | os.PathLike) -> str:
    """Return a temporary name beside `path` that no other job has."""
    return f".{Path(path).name}.{uuid.uuid4().hex}.part"


def clear_parts(path: str | os.PathLike) -> None:
    """Delete the temporary files and folders, named by `part_name`, that killed jobs left beside `path`."""
    for part in Path(path).parent.glob(f".{Path(path).name}.*.part"):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def write_parquet(table: pa.Table, path: str | os.PathLike) -> None:
    """Write an Arrow table as Parquet, complete or not at all."""
    import pyarrow.parquet as pq  # it starts a thread: only once no fork follows

    with atomic_file(path) as part:
        pq.write_table(table, part, compression="zstd")


def write_row_groups(tables: Iterable[pa.Table], path: str | os.PathLike, *, schema: pa.Schema) -> int:
    """Write Arrow tables as Parquet, a row group each, complete or not at all; return the number of rows.

    Parameters
    ----------
    tables : iterable of pyarrow.Table
        They are in memory one at a time.
    path : path-like
    schema : pyarrow.Schema
        Of all tables. Texts get dictionaries in the file, numbers none: hardly two measurements are equal.
    """
    import pyarrow as pa  # it starts a thread: only once no fork follows
    import pyarrow.parquet as pq

    texts = [field.name for field in schema if field.type == pa.string()]
    rows = 0
    with atomic_file(path) as part, pq.ParquetWriter(part, schema, compression="zstd", use_dictionary=texts) as writer:
        for table in tables:
            # One chunk, as chunks decide where pages end: the same bytes, however many units there were.
            writer.write_table(table.combine_chunks(), row_group_size=max(1, len(table)))
            rows += len(table)
    return rows


def write_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], path: str | os.PathLike) -> None:
    """Write rows (dicts; None is an empty cell) as CSV, complete or not at all.

    Every text reads back as it is, but for what UTF-8 cannot hold: half of a surrogate pair is written as ``\\udcff``.
    """
    with atomic_file(path) as part, open(part, "w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        writer = csv.DictWriter(_Lines(stream), columns, extrasaction="ignore", lineterminator=_Lines.QUOTED_END)
        writer.writeheader()
        writer.writerows(rows)


class _Lines:
    """What a CSV writer writes to: ends each row with a newline alone.

    Python before 3.13 puts quotes around a carriage return only where it is part of the line's end, and readers take
    one without quotes for the end of a row.
    """

    QUOTED_END = "\r\n"

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, row: str) -> int:
        """Write a row that ends in `QUOTED_END`."""
        return self._stream.write(row.removesuffix(self.QUOTED_END) + "\n")


def write_json(values: Any, path: str | os.PathLike) -> None:
    """Write values as JSON, complete or not at all; raise ValueError for NaN and infinity, which JSON does not have."""
    with atomic_file(path) as part:
        text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        # Half of a surrogate pair becomes \\udcff, which JSON reads as that again.
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """Return the values of a JSON file that `write_json` wrote; raise InputError where it was spoilt since."""
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        if not isinstance(values, dict):
            raise ValueError("expected names and values")
    except (ValueError, RecursionError) as error:
        reason = reason_of(error, own=ValueError)
        raise InputError(f"{path} is damaged ({reason}); delete it, and run the same command again") from None
    return values


def _refuse_constant(name):
    raise ValueError(f"found {name}")
