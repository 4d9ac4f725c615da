"""Read delimited text: sheets, platemaps and image lists."""

import csv
import os
from collections.abc import Iterator
from itertools import zip_longest

from fieldwork import InputError

_OTHER_KINDS = {  # the first bytes -> what the file is, and what to do
    **dict.fromkeys((b"\xff\xfe", b"\xfe\xff"), ("text in UTF-16", "save it as UTF-8 (in Excel: CSV UTF-8)")),
    b"PK\x03\x04": ("a workbook (.xlsx, .ods) or a .zip archive", "save its sheet as CSV, or unpack it"),
    b"\xd0\xcf\x11\xe0": ("an old workbook (.xls)", "save its sheet as CSV"),
    b"\x1f\x8b": ("compressed (.gz)", "unpack it"),
    b"PAR1": ("a Parquet table", "write it as CSV"),
}


def read_rows(path: str | os.PathLike, *, delimiter: str, name: str | None = None) -> Iterator[tuple[int, list[str]]]:
    """Read a delimited text file line by line.

    Parameters
    ----------
    path : path-like
        UTF-8, with quotes as in CSV.
    delimiter : str
    name : str, optional
        The file's name in messages, if `path` is a copy.

    Yields
    ------
    (int, list of str)
        Number and cells of each line that is not empty, the header first. Blanks around cells are stripped.

    Raises
    ------
    InputError
        Names the file, and the line if the text breaks CSV's rules.
    """
    name = name or path
    try:
        _check_text(path, name)
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            for row in reader:
                cells = [cell.strip() for cell in row]
                if any(cells):
                    yield reader.line_num, cells
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror} (in {os.getcwd()})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: cannot be read: {error}; save it as UTF-8 text") from None
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num}: cannot be read: {error}") from None


def _check_text(path, name):
    """Raise InputError, with what to do, for a file that begins as one of another kind than UTF-8 text does."""
    with open(path, "rb") as file:
        head = file.read(8)
    if b"\0" in head[:4] and not head.startswith(tuple(_OTHER_KINDS)):
        raise InputError(f"{name}: is text in UTF-16, or no text; expected UTF-8 text")
    for start, (kind, remedy) in _OTHER_KINDS.items():
        if head.startswith(start):
            raise InputError(f"{name}: is {kind}, expected UTF-8 text: {remedy}")


def read_table(path: str | os.PathLike, *, delimiter: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read a delimited text file with a header.

    Parameters
    ----------
    path, delimiter
        As for `read_rows`.

    Returns
    -------
    header : list of str
        Empty for an empty file.
    lines : list of (int, dict of str to str)
        Number of each line that is not empty, and its cells by column; missing cells are empty text.

    Raises
    ------
    InputError
        As `read_rows`; or a column has no name or another one's, or a line has more cells than the header.
    """
    (_, header), *body = list(read_rows(path, delimiter=delimiter)) or [(1, [])]
    if wrong := {name for name in header if header.count(name) > 1 or not name}:
        raise InputError(f"{path}, line 1: column {min(wrong)!r} stands there twice, or has no name")
    for number, row in body:
        if len(row) > len(header):
            raise InputError(f"{path}, line {number}: found {len(row)} cells under {len(header)} columns")
    return header, [(number, dict(zip_longest(header, row, fillvalue=""))) for number, row in body]
