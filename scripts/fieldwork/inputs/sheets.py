"""Read the sheets of plates, slides and stacks, and check their rows."""

import difflib
import glob
import os
import re
import unicodedata
from collections.abc import Collection
from pathlib import Path

from fieldwork import InputError
from fieldwork.inputs.paths import check_exists, check_path, exists, is_url, normal_path, refuse_results, with_home
from fieldwork.inputs.schemas import checker, complaint, read_schema
from fieldwork.inputs.tables.reading import TABLE_SUFFIXES, Table, plain_name, read_table

SHEETS = ("plates", "slides", "stacks")
PATH_COLUMNS = ("images", "platemap", "path", "regions")
FOLDER_SUFFIXES = ("/", ".zarr")
SEVERAL_FILES_SUFFIXES = (".mrxs", ".vms", ".vmu")  # slides whose pixels are in other files than the one that is opened

MOST_NAME_BYTES = (
    190  # of a plate, slide or stack: of 255 for a file, ".NAME.ome.zarr.blocks" and parts of it are the longest
)

_REPEATED = re.compile(r"(.{1,5}?)\1{19,}$")  # of names, which are wildcards: `snakemake.io.PeriodicityDetector`

# Of columns of slides.tsv: their schema's description says it in words. `pixel_sizes` believes files in the same range.
RANGES = {"mpp": (0.02, 20), "magnification": (0.1, 200)}


def read_sheet(kind: str, path: str | os.PathLike) -> list[dict]:
    """Read a sheet: ids as text, one row for each `kind`.

    Parameters
    ----------
    kind : {'plates', 'slides', 'stacks'}
    path : path-like
        Of any form that `read_table` takes. Columns may be spelled as `plain_name` understands them.

    Returns
    -------
    list of dict
        Column -> text, without the empty cells; and ``None`` -> the row's file and line, for messages. Paths below
        ``~`` are those below the user's home.

    Raises
    ------
    InputError
        Names the file, the line and the column.
    """
    schema = read_schema(kind)
    known, required = list(schema["properties"]), schema["required"]
    if not os.path.exists(path):
        raise InputError(
            f"{path}: does not exist (in {os.getcwd()}); write it (columns {', '.join(required)}: config/README.md), "
            "or is --directory mistyped?"
        )
    spelled = {plain_name(name): name for name in known}
    table = read_table(path, is_known=lambda name: plain_name(name) in spelled)
    header = [spelled.get(plain_name(name), name) for name in table.header]
    if header and not set(required) <= set(header) <= set(known):
        raise _wrong_columns(path, header, known, required)
    if twice := [name for name in known if header.count(name) > 1]:
        names = [name for name in table.header if spelled.get(plain_name(name)) == twice[0]]
        raise InputError(f"{path}, line 1: columns {' and '.join(map(repr, names))} are both {twice[0]!r}; delete one")
    rows, first_of, errors_of = [], {}, checker(schema)
    for line, cells in Table(header, table.lines).rows():
        where, row = f"{path}, line {line}", {name: cell for name, cell in cells.items() if cell}
        for error in errors_of(row):
            raise InputError(f"{where}: {complaint(error)}")
        _check_name(row, kind, where, line, first_of)
        row |= {name: with_home(row[name]) for name in PATH_COLUMNS if name in row}
        rows.append({None: where, **row})
    return rows


def _check_name(row, kind, where, line, first_of):
    """Refuse a row whose names cannot be those of folders of its own; `first_of` has the names before it."""
    for column in [name for name in (kind[:-1], "plate") if name in row]:
        if (size := len(row[column].encode())) > MOST_NAME_BYTES:
            raise InputError(
                f"{where}: '{column}' is {row[column]!r}, {size} bytes in UTF-8; expected at most {MOST_NAME_BYTES}, "
                "as files are named after it"
            )
        if repeated := _REPEATED.search(row[column]):
            raise InputError(
                f"{where}: '{column}' is {row[column]!r}, which ends in {repeated[1]!r} 20 times or more; "
                "expected less, as Snakemake takes such a name for a loop without end"
            )
        # Some file systems don't tell upper from lower case, nor letters with accents from letters and accents.
        key = column, unicodedata.normalize("NFC", row[column]).casefold()
        first, same = first_of.setdefault(key, (line, row[column]))
        spelled = "" if same == row[column] else f" as '{same}'; expected names that differ by more than case"
        if first != line and (spelled or column == kind[:-1]):
            raise InputError(f"{where}: {column} '{row[column]}' stands in line {first} already{spelled}")


def _wrong_columns(path, header, known, required):
    """Return the error of a sheet that lacks a column, or has one that is not known."""
    unknown = [name for name in header if name not in known]
    near = {name: difflib.get_close_matches(name.lower().strip(), known, n=1) for name in unknown}
    missing = [
        name for name in required if name not in [*header, *(match for names in near.values() for match in names)]
    ]
    faults = [f"column {name!r} is missing" for name in missing]
    faults += [
        f"column {name!r} is unknown" + "".join(f" (is it {match!r}?)" for match in near[name]) for name in unknown
    ]
    listed = f" Known columns: {', '.join(known)}." if missing or not all(near.values()) else ""
    remedy = ": rename it or delete it." if unknown else "."
    return InputError(f"{path}, line 1: {'; '.join(faults)}{remedy}{listed}")


def read_sheet_if_any(kind: str, config: dict) -> list[dict]:
    """Read the sheet that the configuration names; one at its default path may be absent.

    Parameters
    ----------
    kind : {'plates', 'slides', 'stacks'}
    config : dict
        From `config.check_config`.

    Returns
    -------
    list of dict
        As from `read_sheet`. Empty if there is no file at the default path ``config/{kind}.tsv``, but a sheet of
        another kind; a sheet with any other path must exist.

    Raises
    ------
    InputError
        As `read_sheet`; or the sheet names nothing, and a table of its name lies beside it, which nobody would read.
    """
    path = config[kind]
    there = [name for name in SHEETS if exists(config[name], where=f"the sheet of {name} is")]
    may_be_absent = path == f"config/{kind}.tsv" and any(name != kind for name in there)
    rows = [] if kind not in there and (may_be_absent or _others_of(path)) else read_sheet(kind, path)
    if not rows and (others := _others_of(path)):
        reason = f"names no {kind[:-1]}" if kind in there else "does not exist"
        raise InputError(
            f"{path}: {reason}, and '{others[0]}' lies beside it; name the sheet that counts in the configuration "
            f"({kind}: {others[0]}), or delete the other"
        )
    return rows


def _others_of(path):
    """List the tables beside a sheet that have its name and another ending."""
    beside = Path(path).parent.glob(f"{glob.escape(Path(path).stem)}.*")
    return sorted(str(other) for other in beside if other.suffix.lower() in TABLE_SUFFIXES and other != Path(path))


def check_slide(row: dict, *, generated: Collection[str] = frozenset()) -> dict:
    """Check a row of the sheet of slides and fill it in.

    Parameters
    ----------
    row : dict
        From `read_sheet`.
    generated : set of str
        Paths of slides that a rule makes, so that they need not exist yet.

    Returns
    -------
    dict
        With a normal `path` and a `plate`. It is not checked that a URL exists.

    Raises
    ------
    InputError
        Names the sheet's line and what is wrong.
    """
    row = _with_checked_path(
        row, "slide", several=(*FOLDER_SUFFIXES, *SEVERAL_FILES_SUFFIXES), on_disk="file", generated=generated
    )
    if not is_url(row["path"]) and os.path.isdir(row["path"]):
        raise InputError(
            f"{row[None]}: slide '{row['slide']}' has the path '{row['path']}', a folder; expected the slide's file"
        )
    for key, (low, high) in RANGES.items():
        if key in row and not low <= float(row[key]) <= high:
            expected = read_schema("slides")["properties"][key]["description"]
            raise InputError(f"{row[None]}: '{key}' is {row[key]!r}; expected {expected}")
    if "regions" in row:
        row["regions"] = _checked_regions(row)
    return {"plate": "slides", **row}


def _checked_regions(row):
    """Check the path of a slide's regions; return it in normal form."""
    path, named = normal_path(row["regions"]), f"slide '{row['slide']}' has the regions"
    check_path(path, f"{row[None]}: {named}")
    if is_url(path):
        raise InputError(f"{row[None]}: {named} '{path}', a URL; download the file, and name it on disk")
    check_exists(path, where=row[None], what=named)
    return path


def check_stack(row: dict, *, results: str | os.PathLike, generated: Collection[str] = frozenset()) -> dict:
    """Check a row of the sheet of stacks and fill it in.

    Parameters
    ----------
    row : dict
        From `read_sheet`.
    results : path-like
        The folder of the results, which may hold no stack.
    generated : set of str
        Paths of stacks that a rule makes, so that they need not exist yet.

    Returns
    -------
    dict
        With a normal `path`. It is not checked that a URL exists.

    Raises
    ------
    InputError
        Names the sheet's line and what is wrong.
    """
    row = _with_checked_path(row, "stack", several=FOLDER_SUFFIXES, on_disk="folder", generated=generated)
    if not is_url(row["path"]):
        refuse_results(row["path"], results, where=f"{row[None]}: stack '{row['stack']}'")
    return row


def _with_checked_path(row, kind, *, several, on_disk, generated):
    """Check the path of a row; return the row with a normal path.

    URLs that end in one of `several` are more than one file, of which `on_disk` says what to name: a file or a folder.
    """
    path, named = normal_path(row["path"]), f"{kind} '{row[kind]}'"
    check_path(path, f"{row[None]}: {named}")
    if not is_url(path):
        if path not in generated:
            check_exists(path, where=row[None], what=f"{named} has the path")
    elif path.lower().endswith(several):
        raise InputError(
            f"{row[None]}: {named} has the path '{path}', which is more than one file; download it, and name its "
            f"{on_disk} on disk"
        )
    return {**row, "path": path}
