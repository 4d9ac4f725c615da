"""Check values against the JSON schemas in config/schemas, with messages for people."""

import difflib
import math
from pathlib import Path

import yaml

SCHEMAS = Path(__file__).parents[3] / "config" / "schemas"


def read_schema(name):
    return yaml.safe_load((SCHEMAS / f"{name}.schema.yaml").read_text(encoding="utf-8"))


def is_number(_, value):
    """JSON Schema's number, without the NaN and infinity that YAML can say and no range refuses."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_integer(_, value):
    """JSON Schema's integer, without 6.0."""
    return isinstance(value, int) and not isinstance(value, bool)


def checker(schema):
    """Give a function that lists the errors of values; it takes longer to make than to call."""
    from jsonschema import Draft202012Validator, validators  # 0.1 s, and jobs that read platemaps don't need it

    strict = Draft202012Validator.TYPE_CHECKER.redefine_many({"number": is_number, "integer": _is_integer})
    validator = validators.extend(Draft202012Validator, type_checker=strict)(schema)
    return lambda values: sorted(validator.iter_errors(values), key=lambda error: list(map(str, error.path)))


def complaint(error):
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
