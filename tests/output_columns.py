"""The columns that docs/outputs.md documents, held against those that are written."""

import re

from workspace import REPOSITORY

PAGE = (REPOSITORY / "docs/outputs.md").read_text(encoding="utf-8")
SECTIONS = dict(section.split("\n", 1) for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:])
PLACEHOLDERS = {
    "Metadata_{name}": r"Metadata_(?!Plate$|Well$|Site$)\w+",
    "{name}": r"[a-z]\w*",  # of a number that a function of the user's returned
    "{package}": r"[a-z][\w-]*",
}
OBJECTS = "(?:Nuclei|Cells|Cytoplasm)"
NUMBERS = {"double", "int64"}
TYPES = {"text": {"string", "large_string"}, "number": NUMBERS, "whole number": {"int64"}, "true or false": {"bool"}}


def files_of(heading):
    """Return the files that a section is about."""
    first, *others = heading.split(", ")
    return [first, *(f"{first.rpartition('/')[0]}/{name}" for name in others)]


def documented(file):
    """Return column -> type of the table of a file, as regular expressions."""
    (section,) = (text for heading, text in SECTIONS.items() if file in files_of(heading))
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", section, re.MULTILINE)
    patterns = {}
    for name, kind in rows:
        pattern = re.escape(name).replace(re.escape("{Objects}"), OBJECTS)
        patterns[PLACEHOLDERS.get(name) or re.sub(r"\\{\w+\\}", r"\\w+", pattern)] = kind
    assert len(patterns) == len(rows) > 3
    return patterns


def check(file, written):
    """Check that written columns, names or name -> Arrow's type, are the documented ones."""
    written = written if isinstance(written, dict) else dict.fromkeys(written)
    patterns = documented(file)
    used = {name: [pattern for pattern in patterns if re.fullmatch(pattern, name)] for name in written}
    assert {name: len(matches) for name, matches in used.items()} == dict.fromkeys(written, 1)
    assert {pattern for matches in used.values() for pattern in matches} == patterns.keys()
    for name, (pattern,) in used.items():
        assert written[name] is None or str(written[name]) in TYPES[patterns[pattern]], name


def check_schema(file, *schemas):
    """Check that the columns of schemas are together the documented ones, with their types."""
    check(file, {field.name: field.type for schema in schemas for field in schema})
