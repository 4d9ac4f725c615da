"""Read the configuration, check it against its schema, and fill in the defaults."""

import copy
import json
import os
from contextlib import suppress
from pathlib import Path

import yaml

from fieldwork import InputError
from fieldwork.inputs import methods, platemaps
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
        Names the file and the line; or a key stands there twice, of which YAML would take the last.
    """
    try:
        loader = yaml.SafeLoader(Path(path).read_text(encoding="utf-8"))
        root = loader.get_single_node()
        values = loader.construct_document(root) if root else None
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
    _refuse_repeated_keys(root, path)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"{path}: found {values!r}; expected lines of the form 'key: value'")
    return values


def _refuse_repeated_keys(node, path):
    """Refuse a key that a section has twice: of the first one, with all below it, nothing would be left."""
    nodes, seen = [node], set()
    while nodes:
        node = nodes.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))
        is_section, lines = isinstance(node, yaml.MappingNode), {}
        keys = [key for key, _ in node.value] if is_section else []
        for key in filter(lambda key: isinstance(key, yaml.ScalarNode), keys):
            line = key.start_mark.line + 1
            if key.value in lines:
                raise InputError(
                    f"{path}, line {line}: the key '{key.value}' stands in line {lines[key.value]} already; expected "
                    "it once: write what belongs to it in one of them, and delete the other"
                )
            lines[key.value] = line
        nodes += [value for _, value in node.value] if is_section else node.value


def check_config(config: dict, *, source: str, first: dict | None = None) -> dict:
    """Check the configuration against its schema and fill in the defaults.

    Parameters
    ----------
    config : dict
        The configuration that Snakemake merged from its files and `--config`.
    source : str
        Where it came from, for messages.
    first : dict, optional
        The part of it that came over other parts, which chooses how nuclei are found, if it does: keys below it that
        its method does not use are no error.

    Returns
    -------
    dict
        A copy in which every key has a value. `nuclei.method` is the one that the keys as written choose, and
        `methods.OWN` where they are arguments without a function.

    Raises
    ------
    InputError
        Names the key, the value found and the values expected.
    """
    schema = read_schema("config")
    filled = _with_defaults(copy.deepcopy(config), schema)
    if isinstance(filled["nuclei"], dict) and type(number := filled["nuclei"]["channel"]) is int:
        filled["nuclei"]["channel"] = str(number)  # a channel without a name, or one such as 405
    for error in checker(schema)(filled):
        gone = " (auto is gone: pool is as fast)" if (*error.path, error.instance) == ("pool", "engine", "auto") else ""
        raise InputError(f"{source}: {complaint(error)}{gone}")
    chunk, shard = filled["slide"]["chunk"], filled["slide"]["shard"]
    if shard not in {chunk * 2**power for power in range(16)}:
        raise InputError(f"{source}: 'slide.shard' is {shard}; expected 1, 2, 4, 8 ... times slide.chunk ({chunk})")
    for key in ("channels", "positive"):
        filled[key] = _by_channel(filled[key], key, source)
    _check_controls(filled["controls"], source)
    for step in (filled["nuclei"], filled["stack"], *filled["filters"]["chain"]):
        step["arguments"] = _typed(step.get("arguments", {}))
    place = nuclei_place(config, source=source, first=first)
    chosen = methods.written_method(place, where=source, prefix="nuclei.")
    filled["nuclei"]["method"] = chosen or schema["properties"]["nuclei"]["properties"]["method"]["default"]
    if filled["stack"]["function"] == "nuclei":
        nuclei = schema["properties"]["nuclei"]
        known = {key: nuclei["properties"][key] for key in methods.NUMBERS}
        for error in checker(nuclei | {"properties": known})(filled["stack"]["arguments"]):
            raise InputError(f"{source}: stack.arguments: {complaint(error)}")
        methods.written_method(filled["stack"]["arguments"], where=source, prefix="stack.arguments.")
    return filled


def _check_controls(controls, source):
    """Refuse a name that is of both kinds of control."""
    positive = set(map(platemaps.plain, controls.get("positive", ())))
    for name in controls.get("negative", ()):
        if platemaps.plain(name) in positive:
            raise InputError(f"{source}: controls has {name!r} as negative and as positive; delete one of them")


def nuclei_place(config: dict, *, source: str, first: dict | None = None) -> dict:
    """Return the section ``nuclei`` of the part that chooses how nuclei are found: of `first`, or else of all.

    Parameters
    ----------
    config, source, first
        As for `check_config`.
    """
    section = (first or {}).get("nuclei") or {}
    chosen = methods.written_method(section, where=source, prefix="nuclei.")
    return config.get("nuclei", {}) if chosen in (None, methods.OWN) else section


def _by_channel(values, key, source):
    """Return token -> value, with text for tokens such as 1, which YAML reads as numbers."""
    tokens = {}
    for token in map(str, values):
        if (first := tokens.setdefault(token.lower(), token)) != token:
            raise InputError(f"{source}: '{key}' has {first} and {token}, which are one token; delete one of them")
    return {str(token): value for token, value in values.items()}


def _with_defaults(values, schema):
    """Fill in the schema's defaults, in nested objects too; convert numbers to the type that the schema asks for."""
    parts = {
        key: part
        for further in [schema, *schema.get("allOf", [])]
        for key, part in further.get("properties", {}).items()
    }
    if isinstance(further := schema.get("additionalProperties"), dict):
        parts = dict.fromkeys(values, further)
    for key, part in parts.items():
        if "default" in part:
            values.setdefault(key, part["default"])
        elif key not in values:
            continue
        if isinstance(values.get(key), dict):
            _with_defaults(values[key], part)
        types = part.get("type")
        types = {types} if isinstance(types, str) else set(types or ())
        if types & {"boolean", "integer", "number"} and isinstance(values[key], str):
            with suppress(json.JSONDecodeError):  # Snakemake's --config leaves true, false and nested numbers as text
                values[key] = json.loads(values[key])
        if "number" in types and is_number(None, values[key]):
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
