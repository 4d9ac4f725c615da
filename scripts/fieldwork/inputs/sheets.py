"""Read the sheets of plates, slides and stacks, and check their rows."""

import os

from fieldwork import InputError
from fieldwork.inputs.delimited import read_table
from fieldwork.inputs.paths import check_path, existing, is_url, normal_path, refuse_results
from fieldwork.inputs.schemas import checker, complaint, read_schema

SEVERAL_FILES = (".mrxs", ".vms", ".vmu")  # slides whose pixels are in files beside the one that is opened


def read_sheet(kind, path):
    """Read a sheet: tab-separated, ids as text, one row for each `kind`.

    Parameters
    ----------
    kind : {'plates', 'slides', 'stacks'}
    path : path-like

    Returns
    -------
    list of dict
        Column -> text, without the empty cells; and under ``None`` where the row stands, for messages.

    Raises
    ------
    InputError
        Names the file, the line and the column.
    """
    schema = read_schema(kind)
    known, required = list(schema["properties"]), schema["required"]
    header, lines = read_table(path, delimiter="\t")
    if header and not set(required) <= set(header) <= set(known):
        optional = [name for name in known if name not in required]
        raise InputError(
            f"{path}, line 1: found the column(s) {', '.join(map(repr, header))}; expected {', '.join(required)} "
            + f"and, optional, {', '.join(optional)}, " * bool(optional)
            + "separated by tabs"
        )
    rows, seen, errors_of = [], {}, checker(schema)
    for line, cells in lines:
        place, row = f"{path}, line {line}", {name: cell for name, cell in cells.items() if cell}
        for error in errors_of(row):
            raise InputError(f"{place}: {complaint(error)}")
        name = row[known[0]]
        # Names become folders, and some file systems don't tell upper from lower case.
        if name.casefold() in seen:
            raise InputError(f"{place}: {kind[:-1]} '{name}' stands in line {seen[name.casefold()]} already")
        seen[name.casefold()] = line
        rows.append({None: place, **row})
    return rows


def read_sheet_if_any(kind, config):
    """Read a sheet; no rows where its default path does not exist, but a sheet of another kind does."""
    path = config[kind]
    others = [other for other in ("plates", "slides", "stacks") if other != kind and os.path.exists(config[other])]
    is_absent = path == f"config/{kind}.tsv" and others and not os.path.exists(path)
    return [] if is_absent else read_sheet(kind, path)


def check_slide(row, *, made=frozenset()):
    """Check a row of the sheet of slides and fill it in.

    Parameters
    ----------
    row : dict
        From `read_sheet`.
    made : set of str
        Slides that a rule makes, so that they need not be there yet.

    Returns
    -------
    dict
        With a normal `path` and a `plate`. Whether there is something at a URL is not looked at.

    Raises
    ------
    InputError
        Names the sheet's line and what is wrong.
    """
    place, path = row[None], normal_path(row["path"])
    check_path(path, f"{place}: slide '{row['slide']}'")
    if is_url(path):
        if path.lower().endswith(("/", ".zarr", *SEVERAL_FILES)):
            raise InputError(
                f"{place}: slide '{row['slide']}' has the path '{path}', which is more than one file; download it, and "
                "name its file on disk"
            )
        return {"plate": "slides", **row, "path": path}
    if os.path.isdir(path):
        raise InputError(f"{place}: slide '{row['slide']}' has the path '{path}', a folder; expected the slide's file")
    if path not in made:
        existing(path, place=place, what=f"slide '{row['slide']}' has the path")
    return {"plate": "slides", **row, "path": path}


def check_stack(row, *, results, made=frozenset()):
    """Check a row of the sheet of stacks and fill it in.

    Parameters
    ----------
    row : dict
        From `read_sheet`.
    results : path-like
        The folder of the results, where no stack may lie.
    made : set of str
        Stacks that a rule makes, so that they need not be there yet.

    Returns
    -------
    dict
        With a normal `path`. Whether there is something at a URL is not looked at.

    Raises
    ------
    InputError
        Names the sheet's line and what is wrong.
    """
    place, path = row[None], normal_path(row["path"])
    check_path(path, f"{place}: stack '{row['stack']}'")
    if is_url(path):
        if path.lower().endswith(("/", ".zarr")):
            raise InputError(
                f"{place}: stack '{row['stack']}' has the path '{path}', a folder or a Zarr store; expected a single "
                "file: download it, and name its folder on disk"
            )
        return {**row, "path": path}
    if path not in made:
        existing(path, place=place, what=f"stack '{row['stack']}' has the path")
    refuse_results(path, results, place=f"{place}: stack '{row['stack']}'")
    return {**row, "path": path}
