"""Read the modules and configurations that docs/segmenters.md shows."""

import re

import yaml

from workspace import REPOSITORY

PAGE = REPOSITORY / "docs/segmenters.md"


def module_of(name):
    """Return the text of the code block that begins with a comment that names this file."""
    (text,) = re.findall(rf"```python\n(# config/{name}\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return text


def yaml_blocks():
    """Return the configurations that the page shows."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return list(map(yaml.safe_load, blocks))
