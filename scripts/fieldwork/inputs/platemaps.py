"""Read platemaps, and tell by the names of their columns what stands in them: controls, treatments, doses."""

import re

from fieldwork import InputError
from fieldwork.inputs.delimited import read_table
from fieldwork.wells import normal_well

TREATMENTS = ("treatment", "compound", "perturbation", "drug", "condition", "gene", "sirna", "sgrna")
UNITS = {
    **{"pm": "pM", "nm": "nM", "um": "µM", "µm": "µM", "μm": "µM", "mm": "mM", "m": "M"},
    **{"ng_ml": "ng/mL", "ug_ml": "µg/mL", "mg_ml": "mg/mL", "percent": "%", "pct": "%"},
}
CONTROLS = ("positive", "negative")


def pictures(columns, *, with_quality):
    """Name the pictures of a plate that go by its platemap and the configuration.

    Parameters
    ----------
    columns : iterable of str
        Of the platemap, with or without ``Metadata_``; none without a platemap.
    with_quality : bool
        The configuration's ``quality``.

    Returns
    -------
    list of str
        Each is ``<results>/plates/{plate}/plots/<name>.png``.
    """
    columns = list(columns)
    return [
        *("nuclei", "fields", "edge"),
        *["quality", "focus"] * with_quality,
        *["doses"] * (dose_column(columns) is not None),
        *["controls"] * (control_column(columns) is not None),
    ]


def control_column(columns):
    """Find the column ``control``, in any case; None where there is none."""
    return _first("control", columns)


def control_of(text):
    """Say what a cell of the column ``control`` makes of its well: positive, negative, or else a sample."""
    return role if (role := (text or "").strip().lower()) in CONTROLS else "sample"


def treatment_column(columns):
    """Find the column that says what was done to a well: the first of `TREATMENTS` that there is, or None."""
    columns = list(columns)
    found = (_first(f"{name}(_?(name|id))?", columns) for name in TREATMENTS)
    return next((column for column in found if column), None)


def dose_column(columns):
    """Find the first column ``concentration`` or ``dose``, with or without a unit (``dose_um``); or None."""
    return _first("(concentration|dose)s?([_ ](?!units?$).*)?", columns)


def unit_of(column):
    """Give the unit that ends a dose column's name: ``concentration_um`` is in µM; empty where it names none."""
    ending = re.sub("^(concentration|dose)s?[_ ]?", "", _bare(column).lower())
    return UNITS.get(re.sub("[^a-zµμ]+", "_", ending).strip("_"), "")


def _first(pattern, columns):
    return next((column for column in columns if re.fullmatch(pattern, _bare(column), re.IGNORECASE)), None)


def _bare(column):
    return column.removeprefix("Metadata_")


def read_platemap(path):
    """Read what stands in the wells of a plate: CSV with a column `well` and any others.

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
    made = ["Metadata_Plate", "Metadata_Well", *columns.values()]
    if twice := {name for name in made if made.count(name) > 1}:
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
