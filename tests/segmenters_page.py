"""Read the modules that docs/segmenters.md shows."""

import re

from workspace import REPOSITORY

PAGE = REPOSITORY / "docs/segmenters.md"


def module_of(name):
    """Return the text of the code block that begins with a comment that names this file."""
    (text,) = re.findall(rf"```python\n(# config/{name}\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return text
