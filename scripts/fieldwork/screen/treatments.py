"""Treatments, doses and units of wells, by the columns of their plates' platemaps."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from fieldwork import doses
from fieldwork.inputs import platemaps

COLUMNS = ["Treatment", "Dose", "Unit"]


def treatments_of(wells: pd.DataFrame) -> pd.DataFrame:
    """Return the treatment, dose and unit of each well.

    Parameters
    ----------
    wells : pandas.DataFrame
        ``Metadata_Plate`` and the columns of platemaps, as text; a row for each well of any plates. Columns are found
        by `platemaps.treatment_column`, `dose_column` and `unit_column`, for each plate among those that have any text,
        as tables have the columns of all plates of a run.

    Returns
    -------
    pandas.DataFrame
        Of the same index. ``Treatment``: text, empty without one; of `spellings` of one name, the first. ``Dose``: a
        number, the text of a cell that is no number (``high``), or NaN of an empty one. ``Unit``: as `doses.unit_named`
        writes it, empty without one. The doses of a treatment are in one unit, the one that most of its wells have,
        unless they cannot be converted.
    """
    names = names_of(wells)
    usual = {other: first for first, *others in spellings(names) for other in others}
    parts = [_doses_of_plate(rows) for _, rows in wells.groupby("Metadata_Plate", sort=False)]
    cells = pd.concat(parts).reindex(wells.index) if parts else pd.Series(dtype=object)
    cells = pd.DataFrame({"Treatment": [usual.get(name, name) for name in names], "Cell": cells}, wells.index)
    units = _units_of_treatments(cells)
    rows = []
    for treatment, dose in zip(cells["Treatment"], cells["Cell"], strict=True):
        if isinstance(dose, doses.Dose):
            unit = units[treatment]
            number = doses.converted(dose, unit)
            rows.append((treatment, *((number, unit) if number is not None else (float(dose.number), dose.unit))))
        else:
            rows.append((treatment, dose, ""))
    return pd.DataFrame(rows, wells.index, COLUMNS).astype({"Dose": object})


def is_number(dose: pd.Series) -> np.ndarray:
    """Return True for each dose of `treatments_of` that is a number."""
    return np.array([isinstance(value, float) and value == value for value in dose], bool)


def names_of(wells: pd.DataFrame) -> pd.Series:
    """Return the treatment of each well as its platemap writes it; an empty text without one.

    Parameters
    ----------
    wells : pandas.DataFrame
        As for `treatments_of`.
    """
    names = pd.Series("", wells.index, object)
    for _, rows in wells.groupby("Metadata_Plate", sort=False):
        if column := platemaps.treatment_column(_columns_of(rows)):
            names[rows.index] = rows[column].fillna("").astype(object)
    return names


def spellings(names: Iterable[str]) -> list[list[str]]:
    """Return the names that differ in case and blanks alone: a list of each, that of most wells first.

    Parameters
    ----------
    names : iterable of str
        From `names_of`, of all wells.
    """
    alike = {}
    for name, _ in sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])):
        alike.setdefault(platemaps.plain(name), []).append(name)
    return [variants for variants in alike.values() if len(variants) > 1]


def _columns_of(wells):
    """Return the columns of a plate's platemap that have any text."""
    described = [name for name in wells.columns if name.startswith("Metadata_")]
    return [name for name in described if wells[name].fillna("").astype(bool).any()]


def _doses_of_plate(wells):
    """Return what the cell of each well's dose says: a `doses.Dose`, text, or NaN."""
    columns = _columns_of(wells)
    dose, beside = platemaps.dose_column(columns), platemaps.unit_column(columns)
    texts = wells[dose].fillna("") if dose else [""] * len(wells)
    units = wells[beside].fillna("") if beside else [""] * len(wells)
    of_column = doses.unit_of_column(dose) if dose else ""
    return pd.Series([_cell(*pair, of_column) for pair in zip(texts, units, strict=True)], wells.index, object)


def _cell(text, beside, of_column):
    """Return the dose of a cell, with its unit, which may stand elsewhere; or its text, or NaN if it is empty."""
    if text.lower() in doses.NO_DOSE:
        return np.nan
    dose = doses.read_dose(text)
    return dose._replace(unit=dose.unit or of_column or doses.unit_named(beside)) if dose else text


def _units_of_treatments(cells):
    """Return treatment -> the unit of most of its wells with a dose; of several, the one that comes first."""
    units = {}
    for treatment, dose in zip(cells["Treatment"], cells["Cell"], strict=True):
        if isinstance(dose, doses.Dose):
            units.setdefault(treatment, Counter())[dose.unit] += bool(dose.number and dose.unit)
    return {treatment: counts.most_common(1)[0][0] for treatment, counts in units.items()}


def mixed_units(wells: pd.DataFrame) -> dict[str, Sequence[str]]:
    """Return treatment -> its units, of those whose doses could not be converted to one."""
    numbers = wells[is_number(wells["Dose"])]
    numbers = numbers[numbers["Dose"].astype(float) != 0]
    units = numbers.groupby("Treatment")["Unit"].unique()
    return {treatment: sorted(names) for treatment, names in units.items() if len(names) > 1}
