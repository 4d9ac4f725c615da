"""docs/outputs.md has a row for every column that is written, and for no other."""

import re

import pandas as pd
import pyarrow as pa

from fieldwork.plates import tables
from fieldwork.screen import controls, profiles
from workspace import REPOSITORY

PAGE = (REPOSITORY / "docs/outputs.md").read_text(encoding="utf-8")
PLACEHOLDERS = {"Metadata_{name}": r"Metadata_(?!Plate$|Well$|Site$)\w+"}
TYPES = {"text": {"string", "large_string"}, "number": {"double"}, "whole number": {"int64"}, "true or false": {"bool"}}


def documented(file):
    """Return column -> type of the table of a file, as regular expressions."""
    section = PAGE.split(f"\n## {file}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", section, re.MULTILINE)
    patterns = {PLACEHOLDERS.get(name) or re.sub(r"\\{\w+\\}", r"\\w+", re.escape(name)): kind for name, kind in rows}
    assert len(patterns) == len(rows) > 3
    return patterns


def check(file, written):
    """Check that written columns, name -> Arrow's type, are the documented ones."""
    patterns = documented(file)
    used = {name: [pattern for pattern in patterns if re.fullmatch(pattern, name)] for name in written}
    assert {name: len(matches) for name, matches in used.items()} == dict.fromkeys(written, 1)
    assert {pattern for matches in used.values() for pattern in matches} == patterns.keys()
    for name, (pattern,) in used.items():
        assert str(written[name]) in TYPES[patterns[pattern]], name


def test_the_columns_of_profiles_are_the_documented_ones():
    features = [f"{kind}_AreaShape_Area" for kind in ("Nuclei", "Cells", "Cytoplasm")]
    values = [*profiles.COUNTS, "Share_Positive_w2", *features]
    schema = profiles.schema_of([*values, *map(profiles.ROBUST_Z.format, values)], ["Metadata_compound"])
    check("results/plates/{plate}/profiles.parquet", dict(zip(schema.names, schema.types, strict=True)))


def test_the_columns_of_the_controls_of_plates_are_the_documented_ones():
    wells = pd.DataFrame({"Metadata_Plate": ["P1"], "Excluded": [False], "Nuclei_AreaShape_Area": [1.0]})
    schema = pa.Table.from_pandas(controls.compare_controls(wells, ["sample"], ["Nuclei_AreaShape_Area"])).schema
    check("results/screen/plates.csv", dict(zip(schema.names, schema.types, strict=True)))


def test_flags_of_wells_are_documented_by_their_name():
    flags = [name for name in tables.wells_schema([], positive=[], with_scores=False).names if profiles.is_flag(name)]
    assert len(flags) > 3 and all(name.startswith("Flag_") or name == "Excluded" for name in flags)
