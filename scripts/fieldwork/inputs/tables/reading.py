"""Read a table with a header, whatever it was saved as."""

import os
import re
from collections.abc import Callable, Iterable
from itertools import zip_longest
from typing import NamedTuple

from fieldwork import InputError
from fieldwork.inputs.tables import text, workbooks

TABLE_SUFFIXES = (".tsv", ".csv", ".txt", ".xlsx", ".xlsm", ".xls", ".ods")  # names that tables usually end in
# What spreadsheets show where a formula has no value; a treatment of this name would be taken for one.
ERROR_CELL = re.compile(r"#(N/A|NAME\?|REF!|VALUE!|NUM!|DIV/0!|NULL!|SPILL!|CALC!|FIELD!|BLOCKED!|CONNECT!)|Err:\d{3}")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_LINE_BREAK = re.compile(r"\s*(?:[\r\n\v\f\x85\u2028\u2029]|_x000[Dd]_)+\s*")


class Table(NamedTuple):
    """A header, and the lines below it, each with its number and its cells, of which the last ones may be missing."""

    header: list[str]
    lines: list[tuple[int, list[str]]]

    def rows(self) -> list[tuple[int, dict[str, str]]]:
        """Return the number of each line, and its cells by column; missing cells are empty text."""
        return [(number, dict(zip_longest(self.header, cells, fillvalue=""))) for number, cells in self.lines]


def plain_name(name: str) -> str:
    """Return a column's name without its spelling: ``well`` for ``Well`` and ``Metadata_Well``.

    Case, blanks and the signs ``_ - .`` make no difference, and neither does ``Metadata_`` before it.
    """
    return re.sub(r"[\s_.-]+", "", re.sub("(?i)^(image_)?metadata_", "", name)).casefold()


def column_named(names: Iterable[str], header: Iterable[str]) -> str | None:
    """Return the column that has one of some names, in the order of the names; None where none has.

    Parameters
    ----------
    names : iterable of str
        As `plain_name` returns them.
    header : iterable of str
    """
    columns = {}
    for name in header:
        columns.setdefault(plain_name(name), name)
    return next((columns[name] for name in names if name in columns), None)


def read_table(
    path: str | os.PathLike, *, is_known: Callable[[str], bool], name: str | None = None, twice: bool = False
) -> Table:
    """Read a table: text with commas, semicolons or tabs, or a worksheet of Excel (.xlsx, .xls) or OpenDocument (.ods).

    The file's content says which, not its name.

    Parameters
    ----------
    path : path-like
    is_known : callable
        Returns True for the name of a column that the table may have; this decides what stands between cells of text.
    name : str, optional
        The file's name in messages, if `path` is a copy.
    twice : bool
        Several columns may have the same name.

    Returns
    -------
    Table
        Cells are text without blanks around them. A line break inside of a header's cell, or of a worksheet's, where it
        is layout, is a blank; inside of others, it stays. The header is empty for an
        empty file. Lines without content are left out, and so are columns without a name and without content. A line
        is a row of a worksheet.

    Raises
    ------
    InputError
        Names the file, and what it is where it is no table; or the line: a cell cannot be read, a column with content
        has no name, two have the same, a line has more cells than the header, a cell has signs that are no text.
    """
    name = os.fspath(name or path)
    kind = workbooks.kind_of(path, name=name)
    lines = workbooks.read_lines(path, kind, name=name) if kind else text.read_lines(path, is_known, name=name)
    plain = [(number, [_without_breaks(cell) if kind else cell.strip() for cell in cells]) for number, cells in lines]
    (first, header), *body = [(number, cells) for number, cells in plain if any(cells)] or [(1, [])]
    header = list(map(_without_breaks, header))
    header, body = _without_unnamed(header, body, f"{name}, line {first}")
    if not twice and (wrong := {column for column in header if header.count(column) > 1}):
        raise InputError(f"{name}, line {first}: column {min(wrong)!r} stands there twice")
    for number, cells in body:
        if len(cells) > len(header):
            raise InputError(f"{name}, line {number}: found {len(cells)} cells under {len(header)} columns")
        for column, cell in zip(header, cells, strict=False):
            if wrong := _NO_TEXT.search(cell):
                raise InputError(f"{name}, line {number}, column {column}: found {ascii(wrong[0])}, which is no text")
            if ERROR_CELL.fullmatch(cell):
                raise InputError(
                    f"{name}, line {number}, column {column}: found {cell}, the error of a formula; expected a value, "
                    "or an empty cell"
                )
    return Table(header, body)


def _without_breaks(cell):
    """Return a cell's text without blanks around it, and with a blank for a line break."""
    return _LINE_BREAK.sub(" ", cell.strip())


def _without_unnamed(header, body, where):
    """Return header and lines without the columns that have neither a name nor content."""
    unnamed = [index for index, column in enumerate(header) if not column]
    for index in unnamed:
        if filled := next(((number, cells[index]) for number, cells in body if cells[index : index + 1] > [""]), None):
            raise InputError(
                f"{where}: column {index + 1} has no name, and {filled[1]!r} in line {filled[0]}; name or delete it"
            )
    if unnamed:
        kept = [index for index, column in enumerate(header) if column]
        width = len(header)
        body = [(number, [cells[i] for i in kept if i < len(cells)] + cells[width:]) for number, cells in body]
        header = [header[index] for index in kept]
    return header, body
