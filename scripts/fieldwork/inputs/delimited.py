"""Read delimited text: sheets, platemaps and image lists."""

import codecs
import csv
import os
import zipfile
from collections.abc import Iterator
from itertools import zip_longest

from fieldwork import InputError

HEAD_BYTES = 4096  # of a file, by which it is told what it is
# What is taken for text by mistake: first bytes, what the file is, what to do.
_NO_TEXT = (
    (b"\x1f\x8b", "compressed by gzip", "unpack it"),
    (b"BZh", "compressed by bzip2", "unpack it"),
    (b"\xfd7zXZ\0", "compressed by xz", "unpack it"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it, and name what is in it"),
    (b"PAR1", "a Parquet table", "{save}"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook", "{save}"),
    (b"%PDF", "a PDF document", "{save}"),
    (codecs.BOM_UTF32_LE, "text in UTF-32", "{save}"),
    (codecs.BOM_UTF16_LE, 'text in UTF-16, the "Unicode text" of spreadsheets', "{save}"),
    (codecs.BOM_UTF16_BE, "text in UTF-16", "{save}"),
)


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
        Names the file, and what it is where it is no UTF-8 text; or the line that breaks CSV's rules.
    """
    name = name or path
    _refuse_what_is_no_text(path, name, delimiter)
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            for row in reader:
                cells = [cell.strip() for cell in row]
                if any(cells):
                    yield reader.line_num, cells
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror} (in {os.getcwd()})") from None
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise InputError(
            f"{name}, line {_first_wrong_line(path)}: found a byte 0x{byte:02x} that is no UTF-8, as in text of an "
            f"older encoding such as Latin-1; {_save_as(delimiter)}"
        ) from None
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num}: cannot be read: {error}") from None


def _refuse_what_is_no_text(path, name, delimiter):
    """Raise InputError for a file that is no text, or text in another encoding, and say what it is."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError:
        return  # the caller says why
    kinds = [(kind, advice) for start, kind, advice in _NO_TEXT if head.startswith(start)]
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        kinds = [_kind_of_zip(path)]
    elif not kinds and b"\0" in head:
        halves = (head[0::2].count(0), head[1::2].count(0))
        is_wide = max(halves) > 0.4 * len(head) / 2 and min(halves) < 0.1 * len(head) / 2
        kinds = [("text in UTF-16" if is_wide else "a binary file, no text", "{save}")]
    if kinds:
        kind, advice = kinds[0]
        raise InputError(f"{name}: is {kind}; {advice.format(save=_save_as(delimiter))}")


def _kind_of_zip(path):
    """Return what a ZIP file is, and what to do with it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return "a workbook or a ZIP archive, and damaged", "{save}"
    if any(name.startswith("xl/") for name in names):
        return "an Excel workbook", "{save}"
    if "content.xml" in names:
        return "an OpenDocument spreadsheet", "{save}"
    return "a ZIP archive", "unpack it, and name what is in it"


def _first_wrong_line(path):
    """Return the number of the first line of a file that is no UTF-8: the reader decodes many lines at once."""
    with open(path, "rb") as stream:
        return next(number for number, line in enumerate(stream, 1) if not _is_utf_8(line))


def _is_utf_8(line):
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _save_as(delimiter):
    return f"save it as {'tab-separated text' if delimiter == chr(9) else 'CSV'} in UTF-8"


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
