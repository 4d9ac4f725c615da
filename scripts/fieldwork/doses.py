"""Read doses and their units, in cells of platemaps and in the names of their columns."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from fieldwork import InputError

# How units are written, in lower case and with u for both signs of micro, as shown in tables: those are plain ASCII,
# as spreadsheets open CSV in an older encoding.
_UNITS = {
    **{"fm": "fM", "pm": "pM", "nm": "nM", "um": "uM", "mm": "mM", "m": "M"},
    **{"pg/ml": "pg/mL", "ng/ml": "ng/mL", "ug/ml": "ug/mL", "mg/ml": "mg/mL", "g/l": "mg/mL", "mg/l": "ug/mL"},
    **{"ug/l": "ng/mL", "ng/l": "pg/mL", "%": "%", "percent": "%", "pct": "%"},
    **{"nanomolar": "nM", "micromolar": "uM", "millimolar": "mM", "molar": "M", "mol/l": "M", "mmol/l": "mM"},
    **{"umol/l": "uM", "nmol/l": "nM"},
}
# Units that can be converted, by what they have in common: how many of the smallest one they are.
_MOLAR = {"fM": 1, "pM": 10**3, "nM": 10**6, "uM": 10**9, "mM": 10**12, "M": 10**15}
_MASS = {"pg/mL": 1, "ng/mL": 10**3, "ug/mL": 10**6, "mg/mL": 10**9}
LARGEST_DOSE = 1e100
NO_DOSE = ("", "-", "na", "n/a", "nan", "none", "null")  # cells that say that there is none, in lower case
_NUMBER = r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?"
_CELL = re.compile(rf"({_NUMBER})\s*(%|[^\W\d_]*(?:/[^\W\d_]+)?)")
_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
_LOGARITHMS = re.compile(r"(?<![^\W_])(log|log10|ln)(?![^\W_])", re.IGNORECASE)  # words of a column's name
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_POINT_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}[.]\d{3}")
# 1.000,5 and 1 000: no single number can be meant by these, or no other one.
_SEPARATED = re.compile(
    r"[+-]?\d{1,3}(?:(?:,\d{3})+[.]\d+|(?:[.]\d{3})+,\d+|(?:[\s'’]\d{3})+(?:[.,]\d+)?|(?:,\d{3}){2,}|(?:[.]\d{3}){2,})"
    r"(?:\s*[^\W\d_%].*|\s*%)?"
)


class Dose(NamedTuple):
    """A dose: its number, exactly as written, and its unit, empty where the cell has none."""

    number: Decimal
    unit: str


def read_dose(text: str | None) -> Dose | None:
    """Read the dose in a cell.

    Parameters
    ----------
    text : str or None
        ``10``, ``0.5``, ``0,5``, ``1e-3``, ``10 uM``, ``10µM``, ``5 ng/ml``; a comma is a decimal sign.

    Returns
    -------
    Dose or None
        None of an empty cell, and of text that is no dose. A unit that is not known is kept as it is written.
    """
    match = _CELL.fullmatch((text or "").strip())
    return Dose(Decimal(match[1].replace(",", ".")), unit_named(match[2])) if match else None


def unit_named(text: str) -> str:
    """Return how tables write a unit: ``uM`` for ``µM`` or ``um``; one that is not known as it is written."""
    text = text.strip()
    return _UNITS.get(re.sub("[µμ]", "u", text).lower(), text)


def unit_of_column(column: str) -> str:
    """Return the unit that ends a dose column's name: ``uM`` for ``concentration_um``; empty where it names none.

    Parameters
    ----------
    column : str
        From `platemaps.dose_column`. The end of the name counts only if it is a known unit: ``dose_mg_ml`` is in
        ``mg/mL``, ``dose_level`` has none.
    """
    ending = re.sub("^(metadata_)?(concentration|conc|dose)s?", "", column.lower())
    plain = re.sub("[µμ]", "u", re.sub(r"[\s_()\[\]]+", " ", ending).strip())
    return _UNITS.get(plain) or _UNITS.get(plain.replace(" ", "/"), "")


def converted(dose: Dose, unit: str) -> float | None:
    """Return the number of a dose in another unit; None where they measure different things.

    The product is exact before it is rounded, so that 700 nM and 0.7 uM are one dose. No dose, 0, is so in any unit.
    """
    if dose.unit == unit or not dose.number:
        return float(dose.number)
    sizes = next((sizes for sizes in (_MOLAR, _MASS) if {dose.unit, unit} <= sizes.keys()), None)
    return float(dose.number * sizes[dose.unit] / sizes[unit]) if sizes else None


def check_doses(
    path: str, column: str, lines: Sequence[tuple[int, dict[str, str]]], *, unit_column: str | None = None
) -> None:
    """Check the doses of a platemap; write those with a decimal comma with a point.

    Parameters
    ----------
    path : str
        The platemap's, for messages.
    column : str
        Of the doses.
    lines : list of (int, dict)
        Number of each line, and its cells, which are changed.
    unit_column : str, optional
        The column of units, if there is one: its cells say the unit of doses without one.

    Raises
    ------
    InputError
        Names the line: all commas may part thousands; a cell's unit contradicts the column's; or some cells have a
        unit, and others none. Or the column's name says that its numbers are logarithms.
    """
    for line, cells in lines:
        if (match := _CELL.fullmatch(cells[column])) and _is_beyond_numbers(match[1]):
            raise InputError(
                f"{path}, line {line}, column {column}: found {cells[column]!r}; expected a dose below "
                f"{LARGEST_DOSE:g}, and not so small that it is taken for none"
            )
    rows = [(line, cells, dose) for line, cells in lines if (dose := read_dose(cells[column]))]
    doses = [(line, cells[column], dose) for line, cells, dose in rows]
    if doses and _LOGARITHMS.search(column):
        raise InputError(
            f"{path}, line {doses[0][0]}, column {column}: found {doses[0][1]!r}, a logarithm by the column's name; "
            "expected doses: convert them, and rename the column"
        )
    for line, cells in lines:
        if _SEPARATED.fullmatch(cells[column]):
            raise InputError(
                f"{path}, line {line}, column {column}: found {cells[column]!r}, with signs between thousands; "
                "expected none, and a point or a comma as decimal sign"
            )
    _refuse_thousands(path, column, [(line, text) for line, text, _ in doses])
    units = [unit_named(cells[unit_column]) if unit_column else "" for _, cells, _ in rows]
    _check_units(path, column, doses, units, unit_column)
    for _, cells in lines:
        if match := _CELL.fullmatch(cells[column]):
            cells[column] = match[1].replace(",", ".") + cells[column][match.end(1) :]


def _is_beyond_numbers(text):
    """Return True for a number that floating-point numbers cannot hold, or take for 0."""
    number, mantissa = abs(float(text.replace(",", "."))), re.split("[eE]", text)[0]
    return not number < LARGEST_DOSE or (not number and re.search("[1-9]", mantissa)) or re.search(r"[eE].*\d{4}", text)


def _refuse_thousands(path, column, cells):
    """Refuse signs that may part thousands: commas if no other is a decimal one, and points if a comma is that."""
    numbers = [(line, text, _CELL.fullmatch(text)[1]) for line, text in cells]
    with_comma = [(line, text, number) for line, text, number in numbers if _COMMA.fullmatch(number)]
    if with_comma and all(_THOUSANDS.fullmatch(number) for _, _, number in with_comma):
        line, text, number = with_comma[0]
        raise InputError(
            f"{path}, line {line}, column {column}: found {text!r}, which may be {number.replace(',', '.')} or "
            f"{number.replace(',', '')}; expected a decimal point, and no sign between thousands"
        )
    with_point = [(line, text, number) for line, text, number in numbers if _POINT_THOUSANDS.fullmatch(number)]
    if with_comma and with_point:
        line, text, number = with_point[0]
        raise InputError(
            f"{path}, line {line}, column {column}: found {text!r}, which may be {number} or "
            f"{number.replace('.', '')}, as {with_comma[0][1]!r} in line {with_comma[0][0]} has a decimal comma; "
            "expected one decimal sign in all cells"
        )


def _check_units(path, column, doses, units, unit_column):
    """Refuse a unit that another one of its line contradicts, and doses without one where others have one.

    `doses` are lines with their text and dose, and `units` what the column of units has there.
    """
    of_column, with_unit, without = unit_of_column(column), [], []
    for (line, text, dose), beside in zip(doses, units, strict=True):
        where = f"{path}, line {line}, column {column}: found {text!r}"
        named = {f"the name of column {column}": of_column, f"column {unit_column}": beside}
        for other, unit in named.items():
            if dose.unit and unit and unit != dose.unit:
                raise InputError(f"{where}, but {other} says {unit}; expected one unit: change one of them")
        if of_column and beside and of_column != beside:
            raise InputError(f"{where}: column {unit_column} says {beside}; expected {of_column}, as {column} says")
        if dose.unit or of_column or beside:
            with_unit.append((line, text))
        elif dose.number:
            without.append((where, text))
    if with_unit and without:
        line, text = with_unit[0]
        raise InputError(
            f"{without[0][0]}, a dose without a unit, and {text!r} with one in line {line}; expected a unit in every "
            f"cell, or in the column's name alone, such as {column}_uM"
        )
