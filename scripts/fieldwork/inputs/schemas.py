"""Check values against the JSON schemas in config/schemas, with messages for people."""

import difflib
import math
from collections.abc import Callable
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator, ValidationError, validators

SCHEMA_FOLDER = Path(__file__).parents[3] / "config" / "schemas"


def read_schema(name: str) -> dict:
    """Read the schema ``config``, ``plates``, ``slides`` or ``stacks``."""
    text = (SCHEMA_FOLDER / f"{name}.schema.yaml").read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # in C: a tenth of the time


def is_number(_: object, value: object) -> bool:
    """Return True for JSON Schema's numbers, without NaN and infinity, which YAML can write and no range refuses."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


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
        unknown = next(name for name in error.instance if name not in known)
        near = difflib.get_close_matches(str(unknown), known, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        return f"unknown key '{'.'.join(filter(None, (key, str(unknown))))}'.{hint} Known: {', '.join(known)}."
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        return f"'{missing}' is missing; expected {known[missing]['description']}"
    if error.validator == "enum" and "description" not in error.schema:
        return f"'{key}' is {error.instance!r}; expected one of {', '.join(map(str, error.validator_value))}"
    expected = error.schema.get("description", error.message)
    return f"'{key}' is {error.instance!r}; expected {expected}"
