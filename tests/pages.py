"""Blocks of commands and code in the pages of the site, and which of them tests run."""

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

from workspace import REPOSITORY

PAGES = sorted([*REPOSITORY.glob("docs/*.md"), REPOSITORY / "config/README.md", REPOSITORY / "CONTRIBUTING.md"])
COMMANDS = ("console", "bash", "sh")
RUN = (*COMMANDS, "python", "r")
# A paragraph before a block that no test runs begins so, and says why.
NOT_RUN = "*Not run by a test"
# Pages whose blocks have a test of their own; tests/runs/test_pages.py runs those of all others.
RUN_BY = {
    "cluster.md": "tests/slurm/test_slurm.py",
    "recipes.md": "tests/runs/test_recipes.py",
    "segmenters.md": "tests/unit/detection/test_segmenters_page.py",
}


class Block(NamedTuple):
    """A block of a page: its language, its text, and whether a test is to run it."""

    language: str
    text: str
    is_run: bool

    @property
    def file(self) -> str | None:
        """The file that the first line names, if it does; a platemap, which has no comments, has its own name."""
        if self.language == "text" and self.text.startswith("well,"):
            return "platemap.csv"
        named = self.language in ("yaml", "python") and re.match(r"# ((?:config/)?[\w.]+)\n", self.text)
        return named[1] if named else None


def blocks_of(text: str) -> list[Block]:
    """Return the blocks of a page, in their order."""
    blocks = []
    for fence in re.finditer(r"^( *)```(\w+)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
        before = text[: fence.start()].rstrip().rpartition("\n\n")[2].strip()
        blocks.append(Block(fence[2], textwrap.dedent(fence[3]), not before.startswith(NOT_RUN)))
    return blocks


def pages_to_run() -> list[Path]:
    """Return the pages with a block that is run as it stands."""
    return [page for page in PAGES if page.name not in RUN_BY and any(is_command(block) for block in of_page(page))]


def is_command(block: Block) -> bool:
    """Return True if a block is run by itself, and is no file for the others."""
    return block.is_run and block.language in RUN and not block.file


def of_page(page: Path) -> list[Block]:
    """Return the blocks of a page by its path."""
    return blocks_of(page.read_text(encoding="utf-8"))
