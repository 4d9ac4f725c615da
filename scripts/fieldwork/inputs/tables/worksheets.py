"""What a worksheet holds beside its values: errors, formats of numbers, hidden rows, merged cells."""

import functools
import re
from typing import NamedTuple

MOST_CELLS = 10_000_000  # of the rectangle around a worksheet's content: readers keep all of it in memory


class Facts(NamedTuple):
    """Facts of one worksheet. Rows and columns count from 0.

    `without_value` has, of cells that hold something but no value, what that is. `formats` has, of cells with a number,
    the format as Excel writes it, where it is not the general one. `merged` has first row, first column, last row and
    last column, both included.
    """

    content: set[tuple[int, int]]
    without_value: dict[tuple[int, int], str]
    formats: dict[tuple[int, int], str]
    hidden_rows: set[int]
    hidden_columns: set[int]
    merged: list[tuple[int, int, int, int]]


def no_facts() -> Facts:
    """Return the facts of an empty worksheet, to be filled in."""
    return Facts(set(), {}, {}, set(), set(), [])


def cell_name(row: int, column: int) -> str:
    """Return how a spreadsheet calls a cell: B3 for row 2, column 1."""
    return f"{column_letters(column)}{row + 1}"


def column_letters(column: int) -> str:
    """Return how a spreadsheet calls a column: A for 0, AA for 26."""
    letters = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def cell_position(name: str) -> tuple[int, int]:
    """Return row and column of a cell by its name in a spreadsheet.

    Raises ValueError for text that is no such name.
    """
    if not (match := re.fullmatch(r"\$?([A-Z]{1,3})\$?([1-9]\d{0,6})", name)):
        raise ValueError(f"{name!r} is no cell")
    return int(match[2]) - 1, column_number(match[1])


@functools.cache
def column_number(letters: str) -> int:
    """Return a column by what a spreadsheet calls it: 0 for A, 26 for AA.

    Raises ValueError for text that is no such name.
    """
    if not re.fullmatch("[A-Z]{1,3}", letters):
        raise ValueError(f"{letters!r} is no column")
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def check_size(rows: int, columns: int) -> None:
    """Raise ValueError for a worksheet whose content reaches too far."""
    if rows * columns > MOST_CELLS:
        raise ValueError(f"its cells reach as far as {cell_name(rows - 1, columns - 1)}: delete those far away")
