"""Write docs/configuration.md, every key of the configuration, from config/schemas/config.schema.yaml."""

import math
import textwrap
from collections.abc import Iterator
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[1]
LINE_LENGTH = 120
TYPES = {
    "array": "list",
    "boolean": "true or false",
    "integer": "whole number",
    "number": "number",
    "object": "keys and values",
    "string": "text",
}
HEAD = """# Configuration

`make docs` writes this page from [config.schema.yaml](../config/schemas/config.schema.yaml). Edit that file, not this
one.

The configuration is `config/config.yaml` in the working directory. `--configfile FILE` overrides single keys of it, and
`--config fan_out=well 'nuclei={diameter: 24}'` overrides both. The clone's [config/config.yaml](../config/config.yaml)
has every key with its default. Every key can be left out. An unknown key is an error. Units stand in brackets behind
the legal values.
"""


def page() -> str:
    """Return the text of docs/configuration.md."""
    schema = yaml.safe_load((REPOSITORY / "config/schemas/config.schema.yaml").read_text(encoding="utf-8"))
    return "\n".join([HEAD, *_table("", schema), *_sections("", schema)])


def _sections(name: str, schema: dict) -> Iterator[str]:
    """Yield the lines of a section for each key of `schema` that has keys of its own."""
    for key, part in schema["properties"].items():
        if "properties" in part:
            title = textwrap.fill(f"{part['title']}.", LINE_LENGTH, break_on_hyphens=False)
            yield from ("", f"## {name}{key}", "", title, "", *_table(f"{name}{key}.", part))
            yield from _sections(f"{name}{key}.", part)


def _table(name: str, schema: dict) -> Iterator[str]:
    """Yield the lines of a table with the keys of `schema` that have no keys of their own."""
    yield "| key | type | default | legal values | meaning |"
    yield "|---|---|---|---|---|"
    yield from _rows(name, schema)


def _rows(name: str, schema: dict) -> Iterator[str]:
    for key, part in schema["properties"].items():
        if "properties" not in part:
            default = f"`{_flow_style(part['default'])}`" if "default" in part else ""
            types = part.get("type", "string")
            kinds = " or ".join(TYPES[kind] for kind in ([types] if isinstance(types, str) else types))
            cells = f"`{name}{key}`", kinds, default, part["description"], part["title"]
            yield "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
        if "properties" in part.get("items", {}):
            yield from _rows(f"{name}{key}[].", part["items"])


def _flow_style(value: object) -> str:
    """Return a value as it stands in a line of YAML."""
    return yaml.safe_dump([value], default_flow_style=True, width=math.inf).strip()[1:-1]


if __name__ == "__main__":
    (REPOSITORY / "docs/configuration.md").write_text(page(), encoding="utf-8")
