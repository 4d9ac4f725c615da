"""Check values against the JSON schemas in config/schemas, with messages for people."""

import difflib
import math
import re
from collections.abc import Callable
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator, ValidationError, validators

MOST_QUOTED = 200  # characters of a value in a message
SCHEMA_FOLDER = Path(__file__).parents[3] / "config" / "schemas"


def read_schema(name: str) -> dict:
    """Read the schema ``config``, ``plates``, ``slides`` or ``stacks``."""
    text = (SCHEMA_FOLDER / f"{name}.schema.yaml").read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # in C: a tenth of the time


def is_number(_: object, value: object) -> bool:
    """Return True for JSON Schema's numbers, without NaN and infinity, which YAML can write and no range refuses."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return is_integer or (isinstance(value, float) and math.isfinite(value))


def _is_integer(_, value):
    """Return True for JSON Schema's integers, without 6.0."""
    return isinstance(value, int) and not isinstance(value, bool)


_TYPES = Draft202012Validator.TYPE_CHECKER.redefine_many({"number": is_number, "integer": _is_integer})
_Validator = validators.extend(Draft202012Validator, type_checker=_TYPES)


def checker(schema: dict) -> Callable[[object], list[ValidationError]]:
    """Return a function that lists the errors of values; it takes longer to build than to call."""
    validator = _Validator(schema)
    return lambda values: sorted(validator.iter_errors(values), key=lambda error: list(map(str, error.path)))


def complaint(error: ValidationError) -> str:
    """Describe a schema error in one line: the key, the value found, the values expected."""
    key = ".".join(map(str, error.absolute_path))
    known = error.schema.get("properties", {})
    if error.validator == "additionalProperties":
        return _unknown_key(error)
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        return f"'{missing}' is missing; expected {known[missing]['description']}"
    if error.validator == "enum" and "description" not in error.schema:
        return f"'{key}' is {quoted(error.instance)}; expected one of {', '.join(map(str, error.validator_value))}"
    found = "empty" if error.instance is None else quoted(error.instance)
    expected = error.schema.get("description", error.message)
    if known and not isinstance(error.instance, dict):
        expected += f": {_written([*map(str, error.absolute_path), 'KEY'], 'VALUE')}"
    return f"'{key}' is {found}; expected {expected}"


def quoted(value: object) -> str:
    """Return a value as a message quotes it: a long one without its middle."""
    text = repr(value)
    return text if len(text) <= MOST_QUOTED else f"{text[: MOST_QUOTED // 2]} ... {text[-MOST_QUOTED // 2 :]}"


def _unknown_key(error):
    """Describe a key that is not known: which one may be meant, and how it is written."""
    path, known = [str(part) for part in error.absolute_path], error.schema.get("properties", {})
    name = next(name for name in error.instance if name not in known)
    value, shown = error.instance[name], ".".join([*path, str(name)])
    # `{threshold:300}` is YAML for a key of that name without a value, which --config makes an empty text.
    if value in (None, "") and (match := re.fullmatch(r"(\w+) ?[:=] ?(\S+)", str(name))) and match[1] in known:
        form = _written([*path, match[1]], yaml.safe_load(match[2]))
        return f"unknown key '{shown}'; expected a blank behind a colon: {form}"
    # In `{diameter: 24,5}` the comma ends the value.
    if value in (None, "") and re.fullmatch(r"\d+\w*%?", str(name)):
        return f"unknown key '{shown}'; expected a dot in a number within {{ }}, such as 0.5: a comma ends it there"
    below = [[*path, *keys] for keys in _keys_below(error.schema) if keys[-1] == str(name).rpartition(".")[2]]
    if forms := [_written(keys, value) for keys in below]:
        sections = " and ".join(".".join(keys[:-1]) for keys in below)
        return f"unknown key '{shown}'. It is a key of {sections}: {', or '.join(forms)}."
    names = {".".join(keys): keys[-1] for keys in [*([key] for key in known), *_keys_below(error.schema)]}
    near = difflib.get_close_matches(str(name), names.values(), n=1, cutoff=0.7)
    meant = " or ".join(f"'{dotted}'" for dotted, last in names.items() if last in near)
    hint = f" Did you mean {meant}?" if meant else ""
    return f"unknown key '{shown}'.{hint} Known: {', '.join(known)}."


def _keys_below(schema):
    """Yield the keys of the sections of a schema, each as the list of names that lead to it."""
    for name, part in schema.get("properties", {}).items():
        for inner in part.get("properties", {}):
            yield [name, inner]
        yield from ([name, *keys] for keys in _keys_below(part))


def _written(keys, value):
    """Return how a key is written: in config.yaml, and in a command."""
    first, *others = keys
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf).removesuffix("...\n").strip()
    for key in reversed(others):
        text = f"{{{key}: {text}}}"
    quote = '"' if "'" in text else "'"
    return f"{first}: {text} in config.yaml, or --config {quote}{first}={text}{quote} in a command"
