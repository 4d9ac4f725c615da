"""Read the configuration, check it against its schema, and fill in the defaults."""

import copy
import json
import os
from contextlib import suppress
from pathlib import Path

import yaml

from fieldwork import InputError
from fieldwork.inputs.schemas import checker, complaint, is_number, read_schema


def read_config(path: str | os.PathLike) -> dict:
    """Read a configuration file.

    Parameters
    ----------
    path : path-like
        YAML.

    Returns
    -------
    dict
        Its keys and values, unchecked; empty for an empty file.

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
    except (
        OSError,
        ValueError,
        KeyError,
        yaml.YAMLError,
    ) as error:  # PyYAML raises any, for bad dates and booleans
        raise InputError(f"{path}: cannot be read: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"{path}: found {values!r}; expected lines of the form 'key: value'")
    return values


def check_config(config: dict, *, source: str) -> dict:
    """Check the configuration against its schema and fill in the defaults.

    Parameters
    ----------
    config : dict
        The configuration that Snakemake merged from its files and `--config`.
    source : str
        Where it came from, for messages.

    Returns
    -------
    dict
        A copy in which every key has a value.

    Raises
    ------
    InputError
        Names the key, the value found and the values expected.
    """
    schema = read_schema("config")
    filled = _with_defaults(copy.deepcopy(config), schema)
    for error in checker(schema)(filled):
        gone = " (auto is gone: pool is as fast)" if (*error.path, error.instance) == ("pool", "engine", "auto") else ""
        raise InputError(f"{source}: {complaint(error)}{gone}")
    chunk, shard = filled["slide"]["chunk"], filled["slide"]["shard"]
    if shard not in {chunk * 2**power for power in range(16)}:
        raise InputError(f"{source}: 'slide.shard' is {shard}; expected 1, 2, 4, 8 ... times slide.chunk ({chunk})")
    for step in (filled["stack"], *filled["filters"]["chain"]):
        step["arguments"] = _typed(step.get("arguments", {}))
    if filled["stack"]["function"] == "nuclei":
        nuclei = schema["properties"]["nuclei"]
        detection = {key: part for key, part in nuclei["properties"].items() if key != "channel"}
        for error in checker(nuclei | {"properties": detection})(filled["stack"]["arguments"]):
            raise InputError(f"{source}: stack.arguments: {complaint(error)}")
    return filled


def detection_arguments(settings: dict) -> dict:
    """Return the keyword arguments of `detect_nuclei` that the configuration's ``nuclei`` stands for."""
    return {
        "sigma": settings["sigma"],
        "min_distance": settings["min_distance"],
        "threshold_abs": settings["threshold"],
    }


def _with_defaults(values, schema):
    """Fill in the schema's defaults, in nested objects too; convert numbers to the type that the schema asks for."""
    for key, part in schema.get("properties", {}).items():
        if "default" in part:
            values.setdefault(key, part["default"])
        if isinstance(values.get(key), dict):
            _with_defaults(values[key], part)
        if part.get("type") in ("boolean", "integer", "number") and isinstance(values[key], str):
            with suppress(json.JSONDecodeError):  # Snakemake's --config leaves true, false and nested numbers as text
                values[key] = json.loads(values[key])
        if part.get("type") == "number" and is_number(None, values[key]):
            values[key] = float(values[key])  # 4 and 4.0 are the same parameter of a rule
    return values


def _typed(value):
    """Convert text to numbers and truth values: Snakemake's --config leaves nested ones as text."""
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    with suppress(TypeError, json.JSONDecodeError):
        typed = json.loads(value)
        return typed if isinstance(typed, int | float) else value
    return value
