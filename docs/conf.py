"""Settings of Sphinx for `make docs`: the pages of this folder as a site that loads nothing from elsewhere."""

import os
import re
import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).parent
REPOSITORY = DOCS.parent
sys.path.insert(0, str(REPOSITORY / "scripts"))  # autodoc imports the library

project = "Fieldwork"
copyright = author = "The Fieldwork developers"
release = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4  # as GitHub's, for links such as outputs.md#settingsjson
autosummary_generate = False
numpydoc_show_class_members = False
autodoc_typehints = "none"  # numpydoc's sections have them
autodoc_preserve_defaults = True

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"Fieldwork {release}"
html_copy_source = False
html_show_sphinx = False

# Pages that lie outside of this folder, where GitHub and the workflow catalog show them.
ELSEWHERE = {
    "config/README.md": "sheets.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")


def settle_page(app, docname, source):
    """Take the text of a page from where it lies, and lead its links to pages of the site where there are such."""
    path = {page: REPOSITORY / name for name, page in ELSEWHERE.items()}.get(f"{docname}.md", DOCS / f"{docname}.md")
    if path.parent != DOCS:
        source[0] = path.read_text(encoding="utf-8")
        app.env.note_dependency(str(path))

    def link(match):
        target = Path(os.path.normpath(path.parent / match[1]))
        pages = {REPOSITORY / name: page for name, page in [*ELSEWHERE.items(), ("README.md", "index.md")]}
        return pages.get(target, Path(os.path.relpath(target, DOCS)).as_posix())

    source[0] = LINK.sub(link, source[0])


def setup(app):
    """Register what this file adds to Sphinx."""
    app.connect("source-read", settle_page)
