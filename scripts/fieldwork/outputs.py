"""Writing what others read: all of a file or nothing."""

import csv
import os
from contextlib import contextmanager
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
    sibling = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield sibling
        os.replace(sibling, path)
    finally:
        sibling.unlink(missing_ok=True)


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
