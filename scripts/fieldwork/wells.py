"""Names of wells, and the plates that they are on."""

import functools
import re
import string
from collections.abc import Iterable

# Names of a plate's rows, up to 3456 wells.
ROWS = (*string.ascii_uppercase, *(f"A{letter}" for letter in string.ascii_uppercase))
# Rows and columns of plates of 96 to 3456 wells (ANSI/SLAS 4-2004, and as makers sell the others).
PLATE_FORMATS = ((8, 12), (16, 24), (32, 48), (48, 72))


@functools.lru_cache(maxsize=4096)  # all plates have the same wells, and thousands of plates are planned
def normal_well(text: str) -> str:
    """Return a well's name in the form ``B02``: upper case, two digits.

    Parameters
    ----------
    text : str
        ``b2``, ``B02``, ``B002``, ``B 2``, ``B - 02``, ``AA1``; up to ``AV72``, the last of 3456 wells.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        The text is no well.
    """
    match = re.fullmatch(r"([A-Z]|A[A-V])[\s_-]*0*([1-9][0-9]?)", text.strip().upper())
    if match is None or int(match[2]) > 72:
        raise ValueError(f"{text!r} is no well such as B02")
    return f"{match[1]}{int(match[2]):02d}"


def row_and_column(well: str) -> tuple[int, int]:
    """Return row and column of a normal well, from 0: ``B02`` is (1, 1), ``AA01`` is (26, 0)."""
    letters = well.rstrip(string.digits)
    return ROWS.index(letters), int(well[len(letters) :]) - 1


def plate_format(wells: Iterable[str]) -> tuple[int, int]:
    """Return rows and columns of the smallest plate of 96 wells or more that has all of these normal wells.

    Wells cannot tell a 6- from a 96-well plate, so 96 is the least: better to draw unused wells than to hide missing
    ones.
    """
    positions = [row_and_column(well) for well in wells]
    return next(
        (rows, columns)
        for rows, columns in PLATE_FORMATS
        if all(row < rows and column < columns for row, column in positions)
    )


def row_letters(text: str) -> str:
    """Return a plate's row as letters: 2 -> B, 27 -> AA, B -> B."""
    if not text.isdecimal():
        return text
    row = int(text) - 1
    if not 0 <= row < 48:
        raise ValueError(f"no plate has a row {text}")
    return "A" * (row // 26) + chr(ord("A") + row % 26)
