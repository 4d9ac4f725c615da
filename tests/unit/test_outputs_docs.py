"""docs/outputs.md has a row for every column that is written, and for no other."""

import re

import pandas as pd
import pyarrow as pa

from fieldwork.objects import groups as object_groups
from fieldwork.plates import nuclei_table, tables
from fieldwork.screen import controls, doses, hits, profiles, replicates
from fieldwork.screen.wells import table_of, wells_of_screen
from fieldwork.slides import regions
from fieldwork.slides import tables as slides
from planted_profiles import READOUTS, planted_profiles
from workspace import REPOSITORY

PAGE = (REPOSITORY / "docs/outputs.md").read_text(encoding="utf-8")
PLACEHOLDERS = {"Metadata_{name}": r"Metadata_(?!Plate$|Well$|Site$)\w+"}
OBJECTS = "(?:Nuclei|Cells|Cytoplasm)"
NUMBERS = {"double", "int64"}
TYPES = {"text": {"string", "large_string"}, "number": NUMBERS, "whole number": {"int64"}, "true or false": {"bool"}}


def documented(file):
    """Return column -> type of the table of a file, as regular expressions."""
    section = PAGE.split(f"\n## {file}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", section, re.MULTILINE)
    patterns = {}
    for name, kind in rows:
        pattern = re.escape(name).replace(re.escape("{Objects}"), OBJECTS)
        patterns[PLACEHOLDERS.get(name) or re.sub(r"\\{\w+\\}", r"\\w+", pattern)] = kind
    assert len(patterns) == len(rows) > 3
    return patterns


def check(file, written):
    """Check that written columns, name -> Arrow's type if it is known, are the documented ones."""
    patterns = documented(file)
    used = {name: [pattern for pattern in patterns if re.fullmatch(pattern, name)] for name in written}
    assert {name: len(matches) for name, matches in used.items()} == dict.fromkeys(written, 1)
    assert {pattern for matches in used.values() for pattern in matches} == patterns.keys()
    for name, (pattern,) in used.items():
        assert written[name] is None or str(written[name]) in TYPES[patterns[pattern]], name


def check_schema(file, schema):
    check(file, dict(zip(schema.names, schema.types, strict=True)))


def test_the_columns_of_nuclei_are_the_documented_ones():
    schema = nuclei_table.nuclei_schema(
        outlined=True, peaks=True, channels=["A", "B"], positive=["B"], cells=True, groups=object_groups.NAMES
    )
    check_schema("results/plates/{plate}/nuclei.parquet", schema)


def test_the_columns_of_fields_wells_and_time_points_are_the_documented_ones():
    check_schema("results/plates/{plate}/fields.csv", tables.FIELDS)
    wells = tables.wells_schema(["Metadata_compound"], positive=["w2"], with_scores=True)
    check_schema("results/plates/{plate}/wells.csv", wells)
    _, columns = tables.timepoints_of([])
    check("results/plates/{plate}/timepoints.csv", dict.fromkeys(columns))


def test_the_columns_of_slides_tiles_and_regions_are_the_documented_ones():
    check("results/plates/{plate}/slides.csv", dict.fromkeys(slides.SLIDE_COLUMNS))
    check("results/slides/{slide}/regions.csv", dict.fromkeys(regions.COLUMNS))
    check_schema("results/slides/{slide}/tiles.parquet", slides.TILES)


def test_the_columns_of_fields_and_wells_are_the_documented_ones():
    fields = tables.fields_schema(["w1"], left_out=[])
    check("results/plates/{plate}/fields.parquet", dict(zip(fields.names, fields.types, strict=True)))
    wells = tables.wells_schema(["Metadata_compound"], positive=["w2"], with_scores=True)
    check("results/plates/{plate}/wells.parquet", dict(zip(wells.names, wells.types, strict=True)))


def test_the_columns_of_profiles_are_the_documented_ones():
    features = [f"{kind}_AreaShape_Area" for kind in ("Nuclei", "Cells", "Cytoplasm")]
    values = [*profiles.COUNTS, "Share_Positive_w2", *features]
    schema = profiles.schema_of([*values, *map(profiles.ROBUST_Z.format, values)], ["Metadata_compound"])
    check_schema("results/plates/{plate}/profiles.parquet", schema)


def test_the_columns_of_the_controls_of_plates_are_the_documented_ones():
    wells = pd.DataFrame({"Metadata_Plate": ["P1"], "Excluded": [False], "Nuclei_AreaShape_Area": [1.0]})
    schema = pa.Table.from_pandas(controls.compare_controls(wells, ["sample"], ["Nuclei_AreaShape_Area"])).schema
    check_schema("results/screen/plates.csv", schema)


def test_the_columns_of_the_screen_are_the_documented_ones():
    profiles_of_all, _ = planted_profiles(1)
    profiles_of_all["Cells_AreaShape_Area"] = profiles_of_all["Cytoplasm_AreaShape_Area"] = 1.0
    readouts = [*READOUTS, "Cells_AreaShape_Area", "Cytoplasm_AreaShape_Area"]
    compared = wells_of_screen(profiles_of_all, readouts, controls={}, batches={})
    check_schema("results/screen/wells.parquet", table_of(compared).schema)
    check("results/screen/hits.csv", dict.fromkeys(hits.COLUMNS))
    check("results/screen/replicates.csv", dict.fromkeys(replicates.COLUMNS))
    check("results/screen/doses.csv", dict.fromkeys(doses.COLUMNS))
