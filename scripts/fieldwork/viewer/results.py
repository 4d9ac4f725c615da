"""The folder of results: names from the browser become paths in it, and tables are cached until their file changes.

Only `inside` turns names into paths.
"""

import csv
import os
import re
import stat
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple


class NotFound(LookupError):
    """The requested content does not exist; the message is for the page."""


class Results(NamedTuple):
    """A folder of results and the run's working directory."""

    folder: Path
    directory: Path  # the relative paths in the tables start here


def inside(results: Results, *names: str) -> Path:
    """Return the path of a file or folder in the folder of results.

    Parameters
    ----------
    results : Results
    names : str
        Of the folders, from the outermost, and last of the file or folder, as the browser sent them.

    Returns
    -------
    pathlib.Path
        Without links in it.

    Raises
    ------
    NotFound
        The file or folder does not exist or is hidden, or a name or a link leads out of the folder.
    """
    missing = NotFound(f"{'/'.join(names)} is not among the results, or not yet")
    if not all(names) or any(name.startswith(".") or set("/\\\0") & set(name) for name in names):
        raise missing
    try:
        root = results.folder.resolve()
        path = root.joinpath(*names).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # absent; a circle of links; characters that no path has
        raise missing from None
    if not path.is_relative_to(root):
        raise missing
    return path


def inside_or_none(results: Results, *names: str) -> Path | None:
    """Return what `inside` returns, or None where it raises NotFound."""
    try:
        return inside(results, *names)
    except NotFound:
        return None


def file(results: Results, *names: str) -> BinaryIO:
    """Open a file of the results to read bytes; raise NotFound as `inside` does, and if it is no regular file."""
    path = inside(results, *names)
    if not stat.S_ISREG(path.stat().st_mode):
        raise NotFound(f"{'/'.join(names)} is no file")
    return path.open("rb")


def tables_and_pictures(folder: Path, tables: Iterable[str]) -> dict[str, list[str]]:
    """Return which of a page's 'tables' a folder has, and the names of its 'pictures', sorted."""
    return {
        "tables": [table for table in tables if (folder / table).is_file()],
        "pictures": sorted(path.name for path in folder.glob("*.png")),
    }


def version_of(path: Path) -> tuple[int, int, int]:
    """Return what changes with a file: time of modification, size, inode."""
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size, status.st_ino


def cached_while_unchanged(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """Cache a reader's results until its file changes."""
    cached = lru_cache(16)(lambda path, version: read(path))
    return lambda path: cached(path, version_of(path))


@cached_while_unchanged
def read_rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV file, column -> text."""
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def number_of(text: str) -> int:
    """Read a number from 0 that the browser sent; raise NotFound if it is none."""
    if not re.fullmatch("[0-9]{1,9}", text):
        raise NotFound(f"found {text!r}; expected a number")
    return int(text)
