"""Read platemaps, and find the columns of controls, treatments and doses by their names."""

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress

from fieldwork import InputError
from fieldwork.inputs.delimited import read_rows, read_table
from fieldwork.wells import normal_well

WELL_COLUMNS = ("well", "well_position", "well_id", "well_name")
DELIMITERS = (",", "\t", ";")
CONTROLS = ("positive", "negative")
# Cells of the column ``control`` that mean these, too: the short forms of CellProfiler, pycytominer and JUMP-CP.
_CONTROL_NAMES = {
    **dict.fromkeys(("negcon", "neg", "negative control", "negative_control"), "negative"),
    **dict.fromkeys(("poscon", "pos", "positive control", "positive_control"), "positive"),
    **dict.fromkeys(("poscon_cp", "poscon_diverse", "poscon_orf"), "positive"),
}
TREATMENT_COLUMNS = ("treatment", "compound", "perturbation", "drug", "condition", "gene", "sirna", "sgrna")
_DOSE_UNITS = {
    **{"pm": "pM", "nm": "nM", "um": "µM", "µm": "µM", "μm": "µM", "mm": "mM", "m": "M"},
    **{"ng_ml": "ng/mL", "ug_ml": "µg/mL", "mg_ml": "mg/mL", "percent": "%", "pct": "%"},
}


def read_platemap(path: str | os.PathLike, *, plate: str | None = None) -> dict[str, dict[str, str]]:
    """Read what the wells of a plate contain: a column of wells and any others.

    Parameters
    ----------
    path : path-like
        Between cells stand commas, tabs or semicolons: those under which the first line has a column of wells, which is
        the first of `WELL_COLUMNS` that is there.
    plate : str, optional
        The plate's name: of a column ``plate``, in any case, its lines alone count.

    Returns
    -------
    dict
        Well (`B02`) -> {``Metadata_<column>``: text}.

    Raises
    ------
    InputError
        Names the file and the line.
    """
    header, lines = _read_delimited(path)
    well_column, plate_column = _column(WELL_COLUMNS, header), _column(["plate"], header)
    if well_column is None:
        raise InputError(
            f"{path}, line 1: no column 'well'; found {', '.join(map(repr, header)) or 'nothing'}. Expected one, and "
            "commas, tabs or semicolons between the cells"
        )
    columns = {name: f"Metadata_{_bare(name)}" for name in header if name not in (well_column, plate_column)}
    table = ["Metadata_Plate", "Metadata_Well", *columns.values()]
    if twice := {name for name in table if table.count(name) > 1}:
        raise InputError(f"{path}, line 1: wells.csv would have two columns {min(twice)}; rename that of the platemap")
    wells = {}
    for line, cells in _lines_of(plate, lines, plate_column, path):
        try:
            well = normal_well(cells[well_column])
        except ValueError as error:
            raise InputError(f"{path}, line {line}: {error}") from None
        if well in wells:
            raise InputError(f"{path}, line {line}: well {well} stands there twice")
        wells[well] = {column: cells[name] for name, column in columns.items()}
    return wells


def _read_delimited(path):
    """Read a file by the delimiter under which its header has a column of wells; else by commas."""
    for delimiter in DELIMITERS:
        with suppress(InputError):  # a fault is told of the delimiter that fits
            _, header = next(read_rows(path, delimiter=delimiter), (1, []))
            if _column(WELL_COLUMNS, header):
                break
    else:
        delimiter = DELIMITERS[0]
    return read_table(path, delimiter=delimiter)


def _column(names, header):
    """Return the column that has the first of these names, in any case and with anything between its words."""
    plain = {re.sub("[^a-z0-9]+", "_", _bare(column).lower()): column for column in reversed(header)}
    return next((plain[name] for name in names if name in plain), None)


def _lines_of(plate, lines, column, path):
    """Return the lines of a plate where a column says which they are."""
    if column is None or plate is None:
        return lines
    plates = list(dict.fromkeys(cells[column] for _, cells in lines))
    if lines and plate not in plates:
        raise InputError(
            f"{path}: its column {column!r} has {', '.join(map(repr, plates[:3]))}{' ...' if plates[3:] else ''}, and "
            f"not the plate {plate!r}; write its name there, or delete the column if all lines are of this plate, too"
        )
    return [(line, cells) for line, cells in lines if cells[column] == plate]


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
    kind = (text or "").strip().lower()
    return kind if kind in CONTROLS else _CONTROL_NAMES.get(kind, "sample")


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
