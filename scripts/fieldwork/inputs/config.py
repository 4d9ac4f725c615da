"""Read the configuration, check it against its schema, and fill in the defaults."""

import copy
import json
import os
import re
from contextlib import suppress
from typing import Any

import yaml

from fieldwork import InputError
from fieldwork.inputs import methods, outlining, platemaps
from fieldwork.inputs.paths import open_file
from fieldwork.inputs.schemas import checker, complaint, is_number, quoted, read_schema

MOST_FILE_BYTES = 1_000_000  # of a configuration; real ones have some kB
MOST_LEVELS = 50  # of sections and lists within each other
MOST_VALUES = 100_000  # as often as aliases repeat them
MOST_DIGITS = 300  # of a number, as floating-point numbers end below 309
_LONG_NUMBER = re.compile(rf"\s*[-+]?\d{{{MOST_DIGITS + 1},}}(\.\d*)?\s*")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # in C: a tenth of the time
    """Reads YAML; whatever a value of a wrong form raises is an error with a line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Convert a node to a Python object."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, OverflowError):  # of bad dates, truth values and numbers
            problem = f"found {node.value!r}, which is no value of the type {node.tag.rpartition(':')[2]}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None


def _integer_or_text(loader, node):
    """Return an integer; or its text where it has more digits than Python reads, which no key takes for a number."""
    return node.value if _LONG_NUMBER.fullmatch(node.value) else loader.construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _integer_or_text)


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
        Names the file and the line, or the key; or a key stands there twice, of which YAML would take the last, or
        values are too many or hold themselves.
    """
    try:
        with open_file(path) as stream:
            content = stream.read(MOST_FILE_BYTES + 1)
        if len(content) > MOST_FILE_BYTES:
            raise InputError(f"{path}: has more than {MOST_FILE_BYTES:,} bytes; expected a configuration of some lines")
        text = content.decode("utf-8-sig")
        _refuse_levels(text, path)
        loader = _Loader(text)
        root = loader.get_single_node()
        _refuse_repeated_keys(root, path)
        _extent_of(root, _parts_of_node, (), str(path), {})
        values = loader.construct_document(root) if root else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InputError(f"{path}, line {mark.line + 1}: not valid YAML: {error.problem}") from None
    except InputError:
        raise
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"{path}: found {quoted(values)}; expected lines of the form 'key: value'")
    return values


def _refuse_levels(text, path):
    """Refuse sections and lists within each other that the reader, which calls itself, cannot reach the end of."""
    level, key = 0, ""
    for event in yaml.parse(text, Loader=_Loader):
        level += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if level == 1 and isinstance(event, yaml.ScalarEvent):
            key = event.value
        if level > MOST_LEVELS:
            named = f"'{key}'" if key else "the configuration"
            raise InputError(
                f"{path}, line {event.start_mark.line + 1}: {named} has more than {MOST_LEVELS} brackets or sections "
                "within each other; expected a few"
            )


def _parts_of_node(node):
    """Return key and node of each part of a section or list of YAML; None of a single value."""
    if isinstance(node, yaml.MappingNode):
        return [(key.value if isinstance(key, yaml.ScalarNode) else "?", part) for key, part in node.value]
    return list(enumerate(node.value)) if isinstance(node, yaml.SequenceNode) else None


def _parts_of_value(value):
    """Return key and value of each part of a section or list; None of a single value."""
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list | tuple | set) else None


def _extent_of(value, parts_of, keys, where, known):
    """Return the number of values below one, with it, and of levels; raise InputError where either has no end.

    `known` has what was returned, and None for those that are being counted, by their identity.
    """
    parts = parts_of(value)
    if parts is None:
        return 1, 0
    named = f"'{'.'.join(map(str, keys))}'" if keys else "the configuration"
    if len(keys) > MOST_LEVELS:
        raise InputError(f"{where}: {named} is below {len(keys)} other keys; expected a few levels of sections")
    if id(value) not in known:
        known[id(value)] = None
        extents = [_extent_of(part, parts_of, (*keys, key), where, known) for key, part in parts]
        known[id(value)] = 1 + sum(count for count, _ in extents), 1 + max([0, *(levels for _, levels in extents)])
    if known[id(value)] is None:
        raise InputError(f"{where}: {named} holds itself, by an anchor (&) and an alias (*); write what it holds")
    count, levels = known[id(value)]
    if count > MOST_VALUES:
        raise InputError(
            f"{where}: {named} holds {count:.3g} values, with those that aliases (*) repeat; expected at most "
            f"{MOST_VALUES:,}"
        )
    if len(keys) + levels > MOST_LEVELS:
        raise InputError(f"{where}: {named} has {levels:,} levels of sections below it; expected a few")
    return count, levels


def check_values(values: dict, *, source: str) -> None:
    """Refuse values that no key takes and that would end their reader: without an end, or beyond numbers and text.

    Parameters
    ----------
    values : dict
        Of a configuration.
    source : str
        Where they came from, for messages.

    Raises
    ------
    InputError
        Names the key: what is below it holds itself, or has too many levels or values; a number has more digits than
        floating-point numbers, or a text has signs that are none.
    """
    _extent_of(values, _parts_of_value, (), source, {})
    _check_scalars(values, (), source)


def _check_scalars(value, keys, source):
    """Refuse a number or a text, below a value or a key of it, that is none that files and tables can hold."""
    named = f"{source}: '{'.'.join(keys)}'" if keys else f"{source}: a key"
    if isinstance(value, str):
        if _LONG_NUMBER.fullmatch(value):
            raise InputError(f"{named} is a number of {len(value.strip()):,} digits; expected at most {MOST_DIGITS}")
        if wrong := re.search("[\0\ud800-\udfff]", value):
            raise InputError(f"{named} has {ascii(wrong[0])} in it, which is no text; expected text in UTF-8")
    elif isinstance(value, int) and abs(value) >= 10**MOST_DIGITS:
        raise InputError(f"{named} is a number of more than {MOST_DIGITS} digits; expected at most as many")
    elif not isinstance(value, int | float | dict | list | tuple | None):  # settings.json could not hold it
        raise InputError(f"{named} is a {type(value).__name__}, {quoted(value)}; expected text (in quotes) or a number")
    for key, part in _parts_of_value(value) or ():
        _check_scalars(key, keys, source)
        _check_scalars(part, (*keys, str(key)), source)


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
    check_values(config, source=source)
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
    chosen, nuclei = methods.written_method(section, where=source, prefix="nuclei."), config.get("nuclei", {})
    if chosen == "auto" and "method" not in section and nuclei.get("method") in outlining.METHODS:
        return nuclei  # all of these use the section's keys
    return nuclei if chosen in (None, methods.OWN) else section


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
            # Snakemake's --config leaves true, false and nested numbers as text.
            with suppress(ValueError, RecursionError):
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
    with suppress(TypeError, ValueError, RecursionError):
        typed = json.loads(value)
        return typed if isinstance(typed, int | float) and is_number(None, float(typed)) else value
    return value
