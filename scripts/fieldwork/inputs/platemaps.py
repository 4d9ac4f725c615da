"""Read platemaps, and find the columns of controls, treatments and doses by their names."""

import os
import re
from collections.abc import Iterable, Mapping

from fieldwork import InputError
from fieldwork.inputs.delimited import read_table
from fieldwork.wells import normal_well

CONTROLS = ("positive", "negative")
TREATMENT_COLUMNS = ("treatment", "compound", "perturbation", "drug", "condition", "gene", "sirna", "sgrna")
_DOSE_UNITS = {
    **{"pm": "pM", "nm": "nM", "um": "µM", "µm": "µM", "μm": "µM", "mm": "mM", "m": "M"},
    **{"ng_ml": "ng/mL", "ug_ml": "µg/mL", "mg_ml": "mg/mL", "percent": "%", "pct": "%"},
}


def read_platemap(path: str | os.PathLike) -> dict[str, dict[str, str]]:
    """Read what the wells of a plate contain: CSV with a column `well` and any others.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict
        Well (`B02`) -> {``Metadata_<column>``: text}.

    Raises
    ------
    InputError
        Names the file and the line.
    """
    header, lines = read_table(path, delimiter=",")
    columns = {name: f"Metadata_{name.removeprefix('Metadata_')}" for name in header if name != "well"}
    if "well" not in header:
        raise InputError(f"{path}, line 1: no column 'well'; found {', '.join(map(repr, header))}")
    table = ["Metadata_Plate", "Metadata_Well", *columns.values()]
    if twice := {name for name in table if table.count(name) > 1}:
        raise InputError(f"{path}, line 1: wells.csv would have two columns {min(twice)}; rename that of the platemap")
    wells = {}
    for line, cells in lines:
        try:
            well = normal_well(cells["well"])
        except ValueError as error:
            raise InputError(f"{path}, line {line}: {error}") from None
        if well in wells:
            raise InputError(f"{path}, line {line}: well {well} stands there twice")
        wells[well] = {column: cells[name] for name, column in columns.items()}
    return wells


def pictures(columns: Iterable[str], *, with_quality: bool) -> list[str]:
    """List the pictures of a plate, which depend on its platemap and the configuration.

    Parameters
    ----------
    columns : iterable of str
        Of the platemap, with or without ``Metadata_``; none without a platemap.
    with_quality : bool
        The configuration's ``quality``.

    Returns
    -------
    list of str
        Names, each for a picture ``<results>/plates/{plate}/plots/<name>.png``.
    """
    columns = list(columns)
    return [
        *("nuclei", "fields", "edge"),
        *["quality", "focus"] * with_quality,
        *["doses"] * (dose_column(columns) is not None),
        *["controls"] * (control_column(columns) is not None),
    ]


def control_column(columns: Iterable[str]) -> str | None:
    """Find the column ``control``, in any case."""
    return _first("control", columns)


def control_of(text: str | None) -> str:
    """Return the kind of a well by its cell of the column ``control``: positive, negative, or else sample."""
    return kind if (kind := (text or "").strip().lower()) in CONTROLS else "sample"


def negative_wells(platemap: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the wells of negative controls.

    Parameters
    ----------
    platemap : mapping
        From `read_platemap`; empty without a platemap.
    """
    column = control_column(next(iter(platemap.values()), {}))
    return [well for well, cells in platemap.items() if control_of(cells.get(column)) == "negative"]


def treatment_column(columns: Iterable[str]) -> str | None:
    """Find the column of the wells' treatments: the first of `TREATMENT_COLUMNS` that exists, also as name or id."""
    columns = list(columns)
    matches = (_first(f"{name}(_?(name|id))?", columns) for name in TREATMENT_COLUMNS)
    return next((column for column in matches if column), None)


def dose_column(columns: Iterable[str]) -> str | None:
    """Find the first column ``concentration`` or ``dose``, with or without a unit (``dose_um``)."""
    return _first("(concentration|dose)s?([_ ](?!units?$).*)?", columns)


def unit_of(column: str) -> str:
    """Return the unit that ends a dose column's name: µM for ``concentration_um``; empty where it names none."""
    ending = re.sub("^(concentration|dose)s?[_ ]?", "", _bare(column).lower())
    return _DOSE_UNITS.get(re.sub("[^a-zµμ]+", "_", ending).strip("_"), "")


def _first(pattern, columns):
    return next((column for column in columns if re.fullmatch(pattern, _bare(column), re.IGNORECASE)), None)


def _bare(column):
    return column.removeprefix("Metadata_")
