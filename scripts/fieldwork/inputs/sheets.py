"""What the user writes: the configuration, the sheets and the platemaps, checked before any job starts."""

import copy
import csv
import difflib
import json
import math
import os
import re
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path

import yaml

from fieldwork import InputError
from fieldwork.wells import is_url, normal_well

SEVERAL_FILES = (".mrxs", ".vms", ".vmu")  # slides whose pixels are in files beside the one that is opened
SCHEMAS = Path(__file__).parents[3] / "config" / "schemas"


def read_config(path):
    """Read a configuration file.

    Parameters
    ----------
    path : path-like
        YAML.

    Returns
    -------
    dict
        What it says, unchecked; empty for an empty file.

    Raises
    ------
    InputError
        Names the file and the line.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InputError(f"{path}, line {mark.line + 1}: not valid YAML: {error.problem}") from None
    except (OSError, ValueError, KeyError, yaml.YAMLError) as error:  # YAML's dates and booleans raise what they like
        raise InputError(f"{path}: cannot be read: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"{path}: found {values!r}; expected lines of the form 'key: value'")
    return values


def check_config(config, *, source):
    """Check the configuration against its schema and fill in the defaults.

    Parameters
    ----------
    config : dict
        What Snakemake merged from its files and `--config`.
    source : str
        Where that came from, for messages.

    Returns
    -------
    dict
        A copy in which every key has a value.

    Raises
    ------
    InputError
        Names the key, what was found and what is expected.
    """
    schema = _schema("config")
    filled = _with_defaults(copy.deepcopy(config), schema)
    for error in _checker(schema)(filled):
        raise InputError(f"{source}: {_complaint(error)}")
    chunk, shard = filled["slide"]["chunk"], filled["slide"]["shard"]
    if shard not in {chunk * 2**power for power in range(16)}:
        raise InputError(f"{source}: 'slide.shard' is {shard}; expected 1, 2, 4, 8 ... times slide.chunk ({chunk})")
    for each in (filled["stack"], *filled["filters"]["chain"]):
        each["arguments"] = _typed(each.get("arguments", {}))
    if filled["stack"]["function"] == "nuclei":
        nuclei = schema["properties"]["nuclei"]
        detection = {key: part for key, part in nuclei["properties"].items() if key != "channel"}
        for error in _checker(nuclei | {"properties": detection})(filled["stack"]["arguments"]):
            raise InputError(f"{source}: stack.arguments: {_complaint(error)}")
    return filled


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
    schema = _schema(kind)
    known, required = list(schema["properties"]), schema["required"]
    header, lines = _read_table(path, delimiter="\t")
    if header and not set(required) <= set(header) <= set(known):
        optional = [name for name in known if name not in required]
        raise InputError(
            f"{path}, line 1: found the column(s) {', '.join(map(repr, header))}; expected {', '.join(required)} "
            + f"and, optional, {', '.join(optional)}, " * bool(optional)
            + "separated by tabs"
        )
    rows, seen, errors_of = [], {}, _checker(schema)
    for line, cells in lines:
        place, row = f"{path}, line {line}", {name: cell for name, cell in cells.items() if cell}
        for error in errors_of(row):
            raise InputError(f"{place}: {_complaint(error)}")
        name = row[known[0]]
        # Names become folders, and some file systems don't tell upper from lower case.
        if name.casefold() in seen:
            raise InputError(f"{place}: {kind[:-1]} '{name}' stands in line {seen[name.casefold()]} already")
        seen[name.casefold()] = line
        rows.append({None: place, **row})
    return rows


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
    header, lines = _read_table(path, delimiter=",")
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


def check_path(path, place):
    """Refuse a path or URL that Snakemake cannot take as an input; `place` says where it is named, for the message."""
    if re.search("[{}<>\udc80-\udcff]", path):  # the last are how Python writes bytes that are no UTF-8
        raise InputError(
            f"{place}: {path!r} has one of {{ }} < > or bytes that are no UTF-8 text in it, which Snakemake cannot "
            "read; rename it"
        )
    scheme, separator, rest = path.partition("://")
    if separator and re.fullmatch("[A-Za-z][A-Za-z0-9+.-]*", scheme) and not is_url(path):
        raise InputError(f"{place}: '{path}' begins with {scheme}://; expected s3://, http://, https:// or a path")
    odd = r"^/|[?#\\\x00-\x1f]|^[^/]*@|//|(^|/)\.{1,2}(/|$)" + ("" if scheme.lower() == "s3" else "|;")
    if is_url(path) and re.search(odd, rest):
        shown = re.sub("^[^/]*@", "...@", rest).partition("?")[0]  # there may be secrets in the rest
        raise InputError(
            f"{place}: '{scheme}://{shown}' has one of ? # \\ // /../ or a user's name or password in it, or, on a web "
            "server, a ; and Snakemake's storage plugins would take another object for it"
        )


def normal_path(path):
    """Normalize a path of a sheet; a URL stays as it is."""
    return path if "://" in path else os.path.normpath(path)


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


def refuse_results(path, results, *, place):
    """Refuse a path in the folder of the results: a job would delete what it is to read; `place` is for the message."""
    path, results = os.path.realpath(path), os.path.realpath(results)
    if os.path.commonpath([path, results]) == results:
        raise InputError(
            f"{place} has the path '{path}', in the folder of the results ({results}), which jobs delete and write; "
            "copy it elsewhere"
        )


def existing(path, *, place, what):
    """Check that a file or folder is there.

    Parameters
    ----------
    path : str
        Relative to the working directory, or absolute.
    place, what : str
        Where it is named and as what, for the message.

    Raises
    ------
    InputError
        Names the nearest existing name.
    """
    if os.path.exists(path):
        return
    folder = Path(path).parent
    names = []
    with suppress(OSError):
        names = os.listdir(folder)
    broken = f" (a link to '{os.readlink(path)}')" if os.path.islink(path) else ""
    near = difflib.get_close_matches(Path(path).name, names, n=1) if not broken else []
    nearest = f" Nearest name there: '{folder / near[0]}'." if near else ""
    raise InputError(
        f"{place}: {what} '{path}'{broken}, which does not exist.\n"
        f"  Relative paths are taken from the working directory ({os.getcwd()}).{nearest}"
    )


def read_rows(path, *, delimiter, name=None):
    """Read a delimited text file line by line.

    Parameters
    ----------
    path : path-like
        UTF-8, with quotes as in CSV.
    delimiter : str
    name : str, optional
        What messages call it, if it is a copy.

    Yields
    ------
    (int, list of str)
        Number and cells, without blanks around them, of each line that is not empty; the header is the first.

    Raises
    ------
    InputError
        Names the file, and the line if the text breaks CSV's rules.
    """
    name = name or path
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            for row in reader:
                cells = [cell.strip() for cell in row]
                if any(cells):
                    yield reader.line_num, cells
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror} (in {os.getcwd()})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: cannot be read: {error}; save it as UTF-8 text") from None
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num}: cannot be read: {error}") from None


def _read_table(path, *, delimiter):
    """Give the header, and line number and {column: cell} of each filled line, of a delimited text file."""
    (_, header), *body = list(read_rows(path, delimiter=delimiter)) or [(1, [])]
    if twice := {name for name in header if header.count(name) > 1 or not name}:
        raise InputError(f"{path}, line 1: column {min(twice)!r} stands there twice, or has no name")
    for number, row in body:
        if len(row) > len(header):
            raise InputError(f"{path}, line {number}: found {len(row)} cells under {len(header)} columns")
    return header, [(number, dict(zip_longest(header, row, fillvalue=""))) for number, row in body]


def _schema(name):
    return yaml.safe_load((SCHEMAS / f"{name}.schema.yaml").read_text(encoding="utf-8"))


def _with_defaults(values, schema):
    """Fill in what the schema has a default for, in nested objects too."""
    for key, part in schema.get("properties", {}).items():
        if "default" in part:
            values.setdefault(key, part["default"])
        if isinstance(values.get(key), dict):
            _with_defaults(values[key], part)
        if part.get("type") in ("boolean", "integer", "number") and isinstance(values[key], str):
            with suppress(json.JSONDecodeError):  # Snakemake's --config leaves true, false and nested numbers as text
                values[key] = json.loads(values[key])
        if part.get("type") == "number" and _is_number(None, values[key]):
            values[key] = float(values[key])  # 4 and 4.0 are the same parameter of a rule
    return values


def _typed(value):
    """Make numbers and truth values of text: Snakemake's --config leaves nested ones as text."""
    if isinstance(value, dict):
        return {key: _typed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_typed(each) for each in value]
    with suppress(TypeError, json.JSONDecodeError):
        typed = json.loads(value)
        return typed if isinstance(typed, int | float) else value
    return value


def _is_number(_, value):
    """JSON Schema's number, without the NaN and infinity that YAML can say and no range refuses."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_integer(_, value):
    """JSON Schema's integer, without 6.0."""
    return isinstance(value, int) and not isinstance(value, bool)


def _checker(schema):
    """Give a function that lists the errors of values; it takes longer to make than to call."""
    from jsonschema import Draft202012Validator, validators  # 0.1 s, and jobs that read platemaps don't need it

    strict = Draft202012Validator.TYPE_CHECKER.redefine_many({"number": _is_number, "integer": _is_integer})
    validator = validators.extend(Draft202012Validator, type_checker=strict)(schema)
    return lambda values: sorted(validator.iter_errors(values), key=lambda error: list(map(str, error.path)))


def _complaint(error):
    """Say in a line what a schema error found, where, and what is expected."""
    key = ".".join(map(str, error.absolute_path))
    known = error.schema.get("properties", {})
    if error.validator == "additionalProperties":
        unknown = next(name for name in error.instance if name not in known)
        near = difflib.get_close_matches(str(unknown), known, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        return f"unknown key '{'.'.join(filter(None, (key, str(unknown))))}'.{hint} Known: {', '.join(known)}."
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        return f"'{missing}' is missing; expected {known[missing]['description']}"
    expected = error.schema.get("description", error.message)
    return f"'{key}' is {error.instance!r}; expected {expected}"
