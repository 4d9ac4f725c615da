"""docs/configuration.md is what docs/write_configuration.py writes from the schema now."""

import re
import runpy

import yaml

from fieldwork.inputs import schemas
from workspace import REPOSITORY

PAGE = REPOSITORY / "docs/configuration.md"


def keys_of(values, name=""):
    """Yield the dotted name of every key that has no keys of its own."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from keys_of(value, f"{name}{key}.")
        else:
            yield f"{name}{key}"


def test_the_page_is_what_the_script_writes_now():
    script = runpy.run_path(str(REPOSITORY / "docs/write_configuration.py"))
    assert PAGE.read_text(encoding="utf-8") == script["page"](), "run `make docs`"


def test_the_page_has_every_key_of_the_commented_configuration_and_its_default():
    config = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text(encoding="utf-8"))
    rows = [re.split(r" \| ", line.strip("| ")) for line in PAGE.read_text(encoding="utf-8").splitlines()]
    defaults = {row[0].strip("`"): row[2].strip("`") for row in rows if len(row) == 5}
    keys = list(keys_of(config))
    assert len(keys) > 35 and set(keys) <= defaults.keys()
    for key in keys:
        value = config
        for part in key.split("."):
            value = value[part]
        assert yaml.safe_load(defaults[key]) == value, key


def test_every_bound_and_choice_of_the_schema_is_among_the_legal_values():
    def parts(schema):
        for part in schema.get("properties", {}).values():
            yield part
            yield from parts(part)

    limits = [
        (str(limit), part["description"])
        for part in parts(schemas.read_schema("config"))
        for limit in [*part.get("enum", []), *(part[key] for key in ("maximum", "exclusiveMinimum") if key in part)]
        if limit != ""
    ]
    assert len(limits) > 30
    for limit, legal in limits:
        assert re.search(rf"(?<![\w.]){re.escape(limit)}(?![\w.])", legal), legal
