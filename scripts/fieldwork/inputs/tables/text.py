"""Read delimited text, and find out what stands between its cells and how it is encoded."""

import codecs
import csv
import os
import re
from collections.abc import Callable

from fieldwork import InputError
from fieldwork.inputs.paths import open_file

HEAD_BYTES = 4096  # of a file, by which it is told what it is
DELIMITERS = {"\t": "a tab", ";": "';'", ",": "','"}
_SAVE_AS = 'save it as CSV in UTF-8 ("CSV UTF-8" in Excel) or as .xlsx'
# What is taken for text by mistake: first bytes, what the file is, what to do.
_NO_TEXT = (
    (b"\x1f\x8b", "compressed by gzip", "unpack it"),
    (b"BZh", "compressed by bzip2", "unpack it"),
    (b"\xfd7zXZ\0", "compressed by xz", "unpack it"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it, and name what is in it"),
    (b"PK\3\4", "a ZIP archive", "unpack it, and name what is in it"),
    (b"PK\5\6", "a ZIP archive", "unpack it, and name what is in it"),
    (b"PAR1", "a Parquet table", _SAVE_AS),
    (b"%PDF", "a PDF document", _SAVE_AS),
    (b"{\\rtf", "a text document", _SAVE_AS),
)
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"))
_MARKS += ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)  # a first line by which Excel tells what stands between


def read_lines(path: str | os.PathLike, is_known: Callable[[str], bool], *, name: str) -> list[tuple[int, list[str]]]:
    """Read the lines of delimited text.

    Parameters
    ----------
    path : path-like
        UTF-8, UTF-16 or UTF-32, with quotes as in CSV. Commas, semicolons or tabs stand between cells: those that make
        most known columns of the first line, or that this line names (``sep=;``).
    is_known : callable
        Returns True for the name of a column that the table may have.
    name : str
        The file's name in messages.

    Returns
    -------
    list of (int, list of str)
        Number of the first line, and cells, of each row that is not empty. Blanks around cells are stripped.

    Raises
    ------
    InputError
        Names the file, and what it is where it is no text; or the line that breaks CSV's rules, or in which other signs
        stand between cells than in the first one.
    """
    try:
        encoding = _encoding_of(path, name)
        delimiter, skipped = _delimiter_of(path, encoding, is_known, name)
        lines = _lines(path, encoding, delimiter, name, skipped=skipped)
        lines = [(number, cells) for number, cells in lines if any(cells)]
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror} (in {os.getcwd()})") from None
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise InputError(f"{name}: is damaged text in {encoding.upper()} ({error.reason}); {_SAVE_AS}") from None
        byte = error.object[error.start]
        raise InputError(
            f"{name}, line {_first_wrong_line(path)}: found a byte 0x{byte:02x} that is no UTF-8, as in text of an "
            f"older encoding such as Latin-1; {_SAVE_AS}"
        ) from None
    _refuse_mixed(lines, delimiter, name)
    return lines


def _encoding_of(path, name):
    """Return the encoding of a text; raise InputError for a file that is none, and say what it is."""
    with open_file(path) as stream:
        head = stream.read(HEAD_BYTES)
    for start, kind, advice in _NO_TEXT:
        if head.startswith(start):
            raise InputError(f"{name}: is {kind}; {advice}")
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if head.lstrip()[:9].lower().startswith((b"<html", b"<!doctype", b"<table", b"<?xml")):
        raise InputError(f"{name}: is a page of HTML or XML, whatever its name says; open it in Excel, and {_SAVE_AS}")
    if b"\0" not in head:
        return "utf-8-sig"
    # Of UTF-16 without a mark, nearly every second byte is 0, and none of the others.
    pairs = len(head) // 2
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if head[first::2].count(0) > 0.8 * pairs and not head[1 - first :: 2].count(0):
            return encoding
    raise InputError(f"{name}: is a binary file, no text; {_SAVE_AS}")


def _lines(path, encoding, delimiter, name, *, skipped=0):
    """Yield the number of the first line, and the stripped cells, of each row; the first `skipped` are left out."""
    with open(path, encoding=encoding, newline="") as stream:
        reader = csv.reader(stream, delimiter=delimiter, strict=True)
        number = 1
        try:
            for count, row in enumerate(reader):
                if count >= skipped:
                    yield number, [cell.strip() for cell in row]
                number = reader.line_num + 1
        except csv.Error as error:
            raise InputError(f"{name}, line {reader.line_num}: cannot be read: {error}") from None


def _delimiter_of(path, encoding, is_known, name):
    """Return what stands between cells, and how many rows come before the header."""
    with open(path, encoding=encoding) as stream:
        if (match := _SEPARATOR_LINE.fullmatch(stream.readline())) and match[1] in DELIMITERS:
            return match[1], 1
    scores, error = {}, None
    for delimiter in DELIMITERS:
        try:
            header = next((cells for _, cells in _lines(path, encoding, delimiter, name) if any(cells)), [])
        except InputError as reason:
            error = error or reason
            continue
        scores[delimiter] = (sum(map(is_known, header)), len(header))
    if not scores:
        raise error
    return max(scores, key=scores.get), 0


def _refuse_mixed(lines, delimiter, name):
    """Refuse a line in which other signs stand between cells than in the header."""
    (_, header), *body = lines or [(1, [])]
    for number, cells in body:
        if len(cells) >= len(header) or len(header) < 2:
            continue
        # Between tabs, a comma may be part of a cell; between semicolons, a decimal sign.
        signs = DELIMITERS if len(cells) == 1 or delimiter == "," else ["\t"]
        others = [sign for sign in signs if sign != delimiter]
        if sign := next((sign for sign in others if any(sign in cell for cell in cells)), None):
            raise InputError(
                f"{name}, line {number}: found {len(cells)} cells under {len(header)} columns, and {DELIMITERS[sign]} "
                f"in one; expected {DELIMITERS[delimiter]} between cells, as in the first line"
            )


def _first_wrong_line(path):
    """Return the number of the first line of a file that is no UTF-8: the reader decodes many lines at once."""
    with open_file(path) as stream:
        return next(number for number, line in enumerate(stream, 1) if not _is_utf_8(line))


def _is_utf_8(line):
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
