"""Read platemaps, and find the columns of controls, treatments and doses by their names."""

import functools
import os
import re
from collections.abc import Iterable, Mapping, Set

from fieldwork import InputError
from fieldwork.doses import check_doses, unit_of_column
from fieldwork.inputs.tables.reading import column_named, plain_name, read_table
from fieldwork.wells import normal_well

WELL_COLUMNS = ("well", "wellposition", "wellname", "wellid")  # as `plain_name` returns them
# Of other plates' lines, where one of them is the plate's; else these columns may be about something else.
_PLATE_COLUMNS = ("plateid", "platename", "platenumber", "platelabel", "platebarcode", "barcode")
_PLATE_COLUMNS += ("assayplate", "assayplateid", "assayplatebarcode")
CONTROLS = ("positive", "negative")
EXCLUDED, NOT_EXCLUDED = ("1", "true", "yes", "x"), ("", "0", "false", "no")  # cells of the column exclude, in any case
_CONTROL = re.compile(r"(?:(pos)|neg)(?:itive|ative)?(?: ?con(?:trol)?| ?ctrl)?")
TREATMENT_COLUMNS = ("treatment", "compound", "cmpd", "perturbation", "drug", "condition", "gene", "sirna", "sgrna")

_DAY, _MONTH = r"\d{1,2}\.?", "(?:jan|feb|mar|mär|mrz|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)[a-zé]*\\.?"
_DATE = re.compile(
    rf"\d{{4}}-\d\d-\d\d.*|\d{{1,2}}([./-])\d{{1,2}}\1(\d\d)?\d\d|{_DAY}[ -]{_MONTH}([ -]\d+)?|{_MONTH}[ -]\d+",
    re.IGNORECASE,
)

_DOSE_COLUMN = r"(concentration|conc|dose)s?([_ (\[](?!units?$).*)?"


def read_platemap(path: str | os.PathLike, plate: str | None = None) -> dict[str, dict[str, str]]:
    """Read what the wells of a plate contain: a table with a column of wells and any others.

    Parameters
    ----------
    path : path-like
        Of any form that `read_table` takes. The wells' column is ``well`` or another of `WELL_COLUMNS`, in
        any spelling. A column ``plate`` says of which plate a line is, and so does another one of `_PLATE_COLUMNS` that
        names this plate. Doses may have decimal commas and units, as `doses.check_doses` reads them.
    plate : str, optional
        The plate's name in the sheet; lines of other plates are left out.

    Returns
    -------
    dict
        Well (`B02`) -> {``Metadata_<column>``: text}, without the columns of wells and plates.

    Raises
    ------
    InputError
        Names the file and the line; or there is no line of the plate.
    """
    try:
        status = os.stat(path)
        stamp = status.st_mtime_ns, status.st_size
    except OSError:
        stamp = None  # reading it says why
    well, of_plate, columns, by_plate, by_others = _read_lines(os.fspath(path), stamp)
    if not of_plate:
        by_plate = next(({None: lines[plate]} for lines in by_others.values() if plate in lines), by_plate)
        _check_other_columns(by_others, plate, path)
    return _wells_of(well, of_plate, columns, by_plate, path=path, plate=plate)


@functools.lru_cache(maxsize=4)  # one file may have the lines of thousands of plates
def _read_lines(path, stamp):
    """Return the columns of wells and of plates (or None), the other columns, and plate -> its lines.

    And the last for each column that may be of plates.
    """
    table = read_table(path, is_known=lambda name: plain_name(name) in WELL_COLUMNS)
    header, lines = table.header, table.rows()
    well = _well_column(header, lines, path)
    of_plate = column_named(("plate",), header)
    own = [name for name in header if plain_name(name) == "well" != plain_name(well)]  # counts wells, as from 1 to 96
    columns = {name: f"Metadata_{_bare(name)}" for name in header if name not in (well, of_plate, *own)}
    if of_plate and not any(cells[of_plate] for _, cells in lines):
        of_plate = None
    table = ["Metadata_Plate", "Metadata_Well", *columns.values()]
    in_lower_case = [name.lower() for name in table]
    if twice := {name for name in table if in_lower_case.count(name.lower()) > 1}:
        raise InputError(f"{path}, line 1: wells.csv would have two columns {max(twice)}; rename that of the platemap")
    by_plate = {}
    with_text = [name for name in columns if any(cells[name] for _, cells in lines)]  # as tables choose the column
    if dose := dose_column(with_text):
        _refuse_dates(path, dose, lines)
        check_doses(path, dose, lines, unit_column=unit_column(columns))
    for line, cells in lines:
        name = cells[of_plate] if of_plate else None
        if name == "":
            raise InputError(f"{path}, line {line}: column {of_plate!r} is empty; expected the name of a plate")
        by_plate.setdefault(name, []).append((line, cells))
    by_others = {}
    for name in columns:
        if plain_name(name) in _PLATE_COLUMNS:
            by_others[name] = {}
            for line, cells in lines:
                by_others[name].setdefault(cells[name], []).append((line, cells))
    return well, of_plate, columns, by_plate, by_others


def _well_column(header, lines, path):
    """Return the column of wells: of several, the first with wells in it; they must not contradict each other."""
    columns = [name for wanted in WELL_COLUMNS if (name := column_named([wanted], header))]
    if not columns:
        raise InputError(f"{path}, line 1: no column 'well'; found {', '.join(map(repr, header))}")
    # With a single well in it, a column is one of wells; what else stands there may be a slip, which is refused.
    columns = [name for name in columns if any(_well_or_text(cells[name])[0] for _, cells in lines)] or columns[:1]
    for line, cells in lines if len(columns) > 1 else ():
        if len({_well_or_text(cells[name]) for name in columns}) > 1:
            named = " and ".join(f"{name!r} {cells[name]!r}" for name in columns)
            raise InputError(
                f"{path}, line {line}: the columns of wells contradict each other ({named}); rename or delete the one "
                "that does not say where the well is on the plate"
            )
    return columns[0]


def _well_or_text(text):
    """Return the well that a cell names, or None, and else its text."""
    try:
        return normal_well(text), ""
    except ValueError:
        return None, text


def _check_other_columns(by_others, plate, path):
    """Refuse a column that has the lines of several plates by its name and its cells, none of them of this plate.

    A column with another text in each line is about the wells, and one with a single text about this plate.
    """
    if plate is None or any(plate in lines for lines in by_others.values()):
        return
    for column, lines in by_others.items():
        if len(lines) > 1 and any(len(of_one) > 1 for of_one in lines.values()):
            raise _no_line_of(plate, column, list(lines), path)


def _no_line_of(plate, column, names, path):
    """Return the error of a platemap without a line of a plate."""
    listed = ", ".join(map(repr, names[:5])) + " ..." * (len(names) > 5)
    return InputError(
        f"{path}: column {column!r} has no line of plate {plate!r}; found {listed}. Expected the plate's "
        "name in the sheet; rename the column if it is about something else"
    )


def _refuse_dates(path, column, lines):
    """Refuse dates among doses: spreadsheets make them of 1.5 or 1-5, and no dose would be left."""
    for line, cells in lines:
        if _DATE.fullmatch(cells[column]):
            raise InputError(
                f"{path}, line {line}, column {column}: found {cells[column]!r}, a date, as spreadsheets make of 1.5 "
                "or 1-5; expected a dose: format the column as text or number, and write it again"
            )


def _wells_of(well_column, plate_column, columns, by_plate, *, path, plate):
    """Return what `read_platemap` does, of what `_read_lines` returned."""
    names = list(by_plate)
    if plate_column and (len(names) > 1 if plate is None else plate not in names):
        raise _no_line_of(plate, plate_column, names, path)
    wells, excluding = {}, exclude_column(columns)
    for line, cells in by_plate.get(plate if plate_column and plate is not None else next(iter(names), None), []):
        try:
            well = normal_well(cells[well_column])
        except ValueError as error:
            raise InputError(f"{path}, line {line}: {error}") from None
        if well in wells:
            raise InputError(f"{path}, line {line}: well {well} stands there twice")
        wells[well] = {column: cells[name] for name, column in columns.items()}
        if excluding:
            _check_exclusion(cells[excluding], f"{path}, line {line}, column {excluding}")
    return wells


def pictures(columns: Iterable[str], *, with_quality: bool, timed: bool = False) -> list[str]:
    """List the pictures of a plate, which depend on its platemap, the configuration and its images.

    Parameters
    ----------
    columns : iterable of str
        Of the platemap, with or without ``Metadata_``; none without a platemap.
    with_quality : bool
        The configuration's ``quality``.
    timed : bool
        The plate has several time points.

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
        *["timepoints"] * timed,
    ]


def control_column(columns: Iterable[str]) -> str | None:
    """Find the column ``control``, or else ``control type``, in any case."""
    columns = list(columns)
    return _first("control", columns) or _first("control[ _]?type", columns)


def exclude_column(columns: Iterable[str]) -> str | None:
    """Find the column ``exclude``, or else ``excluded``, in any case."""
    columns = list(columns)
    return _first("exclude", columns) or _first("excluded?[?]?", columns)


def excluded_wells(platemap: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the wells that the column ``exclude`` of a platemap leaves out of every comparison.

    Parameters
    ----------
    platemap : mapping
        From `read_platemap`; empty without a platemap.
    """
    column = exclude_column(next(iter(platemap.values()), {}))
    return [well for well, cells in platemap.items() if column and cells[column].strip().lower() in EXCLUDED]


def _check_exclusion(text, where):
    """Refuse a cell of the column ``exclude`` that says neither yes nor no."""
    if text.strip().lower() not in {*EXCLUDED, *NOT_EXCLUDED}:
        raise InputError(
            f"{where}: found {text!r}; expected {', '.join(EXCLUDED[:-1])} or {EXCLUDED[-1]} for a well that is left "
            f"out, and {', '.join(NOT_EXCLUDED[1:])} or nothing for others. Put reasons into another column"
        )


def control_of(text: str | None) -> str:
    """Return the kind of a well by its cell of the column ``control``: positive, negative, or else sample.

    ``negcon``, ``neg``, ``Negative control`` and the like are negative, and likewise for positive.
    """
    match = _CONTROL.fullmatch(re.sub("[ _-]+", " ", (text or "").strip().lower()))
    return CONTROLS[match[1] is None] if match else "sample"


def roles_of(
    rows: Iterable[Mapping[str, str | None]], controls: Mapping[str, Iterable[str]], *, where: str
) -> list[str]:
    """Return the kind of each well of a plate: positive, negative, or else sample.

    The cell of the column ``control`` decides, if it is a name of `controls` or what `control_of` understands. Names
    that no cell of that column has are looked for in the treatment column. Case and blanks make no difference.

    Parameters
    ----------
    rows : iterable of mapping
        Columns of the plate's platemap -> text, a row for each well. Other columns are passed over.
    controls : mapping of str to list of str
        The configuration's ``controls``: names of the ``positive`` and of the ``negative`` ones.
    where : str
        The plate, for messages.

    Raises
    ------
    InputError
        Control and treatment of a well contradict each other.
    """
    rows = list(rows)
    control, treatment = role_columns(rows)
    named = {plain(name): role for role in CONTROLS for name in controls.get(role, ())}
    elsewhere = named.keys() - {plain(row.get(control)) for row in rows}
    roles = []
    for row in rows:
        cell, name = plain(row.get(control)), plain(row.get(treatment))
        role, other = named.get(cell) or control_of(cell), named[name] if name in elsewhere else "sample"
        if {role, other} == {*CONTROLS}:
            raise InputError(
                f"{where}: the column {_bare(control)!r} has {row[control]!r} in a well of {row[treatment]!r}, which "
                f"controls.{other} of the configuration names; expected one kind of control: change one of them"
            )
        roles.append(other if role == "sample" else role)
    return roles


def role_columns(rows: Iterable[Mapping[str, str | None]]) -> tuple[str | None, str | None]:
    """Return the columns of controls and of treatments among those that hold text in a row.

    Parameters
    ----------
    rows : iterable of mapping
        As for `roles_of`. A plate's table may have the columns of all plates of a run.
    """
    columns = _with_text(rows)
    return control_column(columns), treatment_column(columns)


def _with_text(rows):
    """List the columns that hold text in a row."""
    return list(dict.fromkeys(name for row in rows for name, text in row.items() if isinstance(text, str) and text))


def plain(name: str | int | None) -> str:
    """Return a name in lower case, with single blanks; an empty text without one."""
    return "" if name is None else " ".join(str(name).split()).casefold()


def negative_wells(
    platemap: Mapping[str, Mapping[str, str]], controls: Mapping[str, Iterable[str]], *, where: str
) -> list[str]:
    """Return the wells of negative controls.

    Parameters
    ----------
    platemap : mapping
        From `read_platemap`; empty without a platemap.
    controls, where
        As for `roles_of`.
    """
    roles = roles_of(platemap.values(), controls, where=where)
    return [well for well, role in zip(platemap, roles, strict=True) if role == "negative"]


def treatment_column(columns: Iterable[str]) -> str | None:
    """Find the column of the wells' treatments: the first of `TREATMENT_COLUMNS`, or of its name or id."""
    return next(iter(_treatment_columns(columns)), None)


def _treatment_columns(columns):
    """List the columns that name treatments, that which counts first."""
    columns = list(columns)
    patterns = (f"{name}s?{ending}" for name in TREATMENT_COLUMNS for ending in ("", "[ _]?name", "[ _]?id"))
    return list(filter(None, (_first(pattern, columns) for pattern in patterns)))


def dose_column(columns: Iterable[str]) -> str | None:
    """Find the column ``concentration``, ``conc`` or ``dose``, with or without a unit (``dose_um``).

    Of several, the first by name of those whose name has a unit counts, or else of all: a run's tables have the columns
    of all its plates, in another order than a platemap.
    """
    matches = [column for column in columns if re.fullmatch(_DOSE_COLUMN, _bare(column), re.IGNORECASE)]
    return min(matches, key=lambda column: (not unit_of_column(column), _bare(column).lower()), default=None)


def unit_column(columns: Iterable[str]) -> str | None:
    """Find the column of the doses' units: ``dose_unit``, ``concentration units`` and the like, or else ``unit``."""
    columns = list(columns)
    return _first("(concentration|conc|dose)s?[_ ]?units?", columns) or _first("units?", columns)


def doubts_of(rows: Iterable[Mapping[str, str | None]]) -> list[str]:
    """Return which columns of a platemap do not count, although their names or cells suggest it.

    Parameters
    ----------
    rows : iterable of mapping
        As for `roles_of`.

    Returns
    -------
    list of str
        Sentences, for a warning.
    """
    rows = list(rows)
    columns = _with_text(rows)
    names = [name for name in columns if name not in ("Metadata_Plate", "Metadata_Well")]
    dose, treatments = dose_column(names), _treatment_columns(names)
    used = {dose, unit_column(names), exclude_column(names), control_column(names), *treatments[:1]}
    others = [name for name in names if name not in used]
    kinds = {name: {control_of(row.get(name)) for row in rows} - {"sample"} for name in others}
    doubts = []
    if not exclude_column(names):
        alike = [name for name in others if re.search("exclu|omit|discard|reject", _bare(name).lower())]
        doubts += [f"column {_bare(name)!r} leaves out no well: only a column exclude does" for name in alike]
    if not control_column(names):
        alike = [name for name in others if kinds[name]]
        doubts += [
            f"column {_bare(name)!r} has names of controls: only a column control makes them so" for name in alike
        ]
    if not dose:
        alike = [name for name in others if re.search(r"dose|(?<![^\W_])conc", _bare(name).lower())]
        doubts += [f"column {_bare(name)!r} is not read as doses: its name has to begin with dose" for name in alike]
    if dose and not treatments:
        doubts.append(f"doses ({_bare(dose)!r}) without a column treatment, compound, drug ...: nothing is compared")
    numbers = {name: len({plain(row.get(name)) for row in rows}) for name in treatments}
    finer = [name for name in treatments[1:] if numbers[name] > numbers[treatments[0]]]
    doubts += [
        f"wells alike in {_bare(treatments[0])!r} are replicates, although {_bare(name)!r} differs" for name in finer
    ]
    return doubts


def doubts_about_wells(described: Set[str], wells: Set[str], path: str | None) -> list[str]:
    """Return why a platemap may be another plate's: no well with images is in it.

    Parameters
    ----------
    described : set of str
        The wells in the platemap; none without one.
    wells : set of str
        Those with images.
    path : str or None
        The platemap.

    Returns
    -------
    list of str
        A sentence, for a warning; none if a well with images is described.
    """
    if not described or not wells or described & wells:
        return []
    return [
        f"no well with images is in its platemap {path}, so that no treatment is known: found {min(described)} to "
        f"{max(described)} there, and images of {min(wells)} to {max(wells)}; is it another plate's?"
    ]


def unit_of(column: str) -> str:
    """Return the unit that ends a dose column's name, for pictures: µM for ``concentration_um``; empty without one."""
    return re.sub("^u", "µ", unit_of_column(column))


def _first(pattern, columns):
    return next((column for column in columns if re.fullmatch(pattern, _bare(column), re.IGNORECASE)), None)


def _bare(column):
    return column.removeprefix("Metadata_")
