"""Writing what others read: all of a file or nothing."""

import csv
import os
import shutil
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole(path):
    """Give a sibling of a path to write to, and move it there when the block ends well: all of it or nothing.

    Parameters
    ----------
    path : path-like
        Where the file is to appear.

    Yields
    ------
    pathlib.Path
        Where to write; gone when the block raises.
    """
    path = Path(path)
    sibling = path.with_name(part_name(path))
    try:
        yield sibling
        os.replace(sibling, path)
    finally:
        sibling.unlink(missing_ok=True)


@contextmanager
def whole_folder(path):
    """Give a sibling of a folder to fill, and move it there when the block ends well, in place of an older one.

    Its name is a new one every time: what a worker of a killed job still writes, on another machine perhaps, goes
    nowhere.

    Parameters
    ----------
    path : path-like
        Where the folder is to appear.

    Yields
    ------
    pathlib.Path
        An empty folder; gone when the block raises.
    """
    path = Path(path)
    clear_parts(path)
    sibling = path.with_name(part_name(path))
    sibling.mkdir(parents=True)
    try:
        yield sibling
        old = path.with_name(part_name(path))
        with suppress(FileNotFoundError):
            os.rename(path, old)
        os.rename(sibling, path)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(sibling, ignore_errors=True)


def part_name(path):
    """Name a sibling of a path for this job alone."""
    return f".{Path(path).name}.{uuid.uuid4().hex}.part"


def clear_parts(path):
    """Delete what killed jobs had in the siblings that `part_name` names."""
    for part in Path(path).parent.glob(f".{Path(path).name}.*.part"):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def write_parquet(table, path):
    """Write an Arrow table as Parquet, whole or not at all."""
    import pyarrow.parquet as pq  # here: few that write need it, and it starts a thread

    with whole(path) as part:
        pq.write_table(table, part, compression="zstd")


def write_csv(rows, columns, path):
    """Write rows (dicts; None is an empty cell) as CSV, whole or not at all."""
    with whole(path) as part, open(part, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
