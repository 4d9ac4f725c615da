"""docs/outputs.md has a row for every column that is written, and for no other; jobs' tests check the benchmarks'."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import shapely

from fieldwork.detection.flags import Flags
from fieldwork.frames import Plane
from fieldwork.objects import groups as object_groups
from fieldwork.plates import filters, nuclei_table, tables
from fieldwork.plates.images import FieldImage
from fieldwork.screen import controls, doses, hits, profiles, replicates
from fieldwork.screen.wells import table_of, wells_of_screen
from fieldwork.slides import blocks, regions
from fieldwork.slides import tables as slides
from fieldwork.slides.channels import Channels, positive_threshold
from fieldwork.stacks import frames, sources
from fieldwork.stacks import nuclei_table as stack_nuclei
from fieldwork.stacks.positions import StackFrame
from output_columns import PAGE, SECTIONS, check, check_schema, files_of
from planted_profiles import READOUTS, planted_profiles
from workspace import REPOSITORY


def table(rows, columns):
    """Return the schema of rows by their values: of a column without any, text, as that of errors is."""
    schema = pa.Table.from_pylist(rows).select(columns).schema
    return pa.schema(
        [(name, pa.string() if kind == pa.null() else kind) for name, kind in zip(columns, schema.types, strict=True)]
    )


def test_every_table_that_rules_write_has_a_section():
    rules = "".join(path.read_text(encoding="utf-8") for path in REPOSITORY.glob("rules/*.smk"))
    written = set(re.findall(r"<(results/[^\"]+[.](?:csv|parquet))\"", rules.replace("<results>", "<results")))
    left_out = {name for name in written if re.search("/units/|/demo/|/bbbc038/|/tissue/", name)}
    assert written - left_out == {name for heading in SECTIONS for name in files_of(heading)}


def test_the_page_begins_with_links_to_all_its_tables():
    anchors = {heading: re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in SECTIONS}
    listed = re.findall(r"^\| \[([^\]]+)\]\(#([^)]+)\) \|", PAGE.partition("\n## ")[0], re.MULTILINE)
    assert listed == list(anchors.items())
    assert set(re.findall(r"\(#([^)]+)\)", PAGE)) == set(anchors.values())


def test_the_columns_of_nuclei_are_the_documented_ones():
    schema = nuclei_table.nuclei_schema(
        outlined=True, peaks=True, channels=["A", "B"], positive=["B"], cells=True, groups=object_groups.NAMES
    )
    check_schema("results/plates/{plate}/nuclei.parquet", schema)


def test_the_columns_of_fields_wells_and_time_points_are_the_documented_ones():
    check_schema("results/plates/{plate}/fields.csv", tables.FIELDS)
    check_schema("results/plates/{plate}/fields.parquet", tables.fields_schema(["w1", "w2"], left_out=[]))
    wells = tables.wells_schema(["Metadata_compound"], positive=["w2"], with_scores=True)
    check_schema("results/plates/{plate}/wells.parquet", wells)
    shares = {"A01": {"Share_Positive_w2": 0.5}}
    field = dict.fromkeys(tables.FIELDS.names) | {"Metadata_Plate": "P1", "Metadata_Well": "A01", "Image_Status": "ok"}
    field["Image_Count_Nuclei"] = 3
    _, columns = tables.wells_of([field], {"A01": {"Metadata_control": "negative"}}, shares)
    check("results/plates/{plate}/wells.csv", columns)
    check("results/plates/{plate}/timepoints.csv", tables.timepoints_of([field])[1])


def test_the_columns_of_filtered_images_are_the_documented_ones(tmp_path):
    original = filters.Original(FieldImage("A01", 1, 2, 3, "images/a.tif"), "a")
    planes = [Plane(2, 3, np.arange(12, dtype=np.uint16).reshape(3, 4))]
    options = {"metrics": ["var", "mean"], "save": "png"}
    chain = [{"function": "skimage.filters.gaussian"}]
    filtered = filters.filter_image(original, planes, chain=chain, folder=tmp_path, folders=(), **options)
    schema = table(*filters.rows_of("P1", filtered, **options))
    check_schema("results/plates/{plate}/filtered/filtered.csv", schema)


def test_the_columns_of_the_tables_of_slides_are_the_documented_ones():
    check("results/plates/{plate}/slides.csv", slides.SLIDE_COLUMNS)
    check("results/slides/{slide}/regions.csv", regions.COLUMNS)
    check_schema("results/slides/{slide}/tiles.parquet", slides.TILES)


def test_the_columns_of_the_nuclei_of_slides_are_the_documented_ones():
    schemas = []
    for channels in (Channels("he"), Channels("hdab"), Channels("brightfield"), Channels("fluorescence", ("A", "B"))):
        positive = positive_threshold(channels, 0.15)
        detection = blocks.Detection((64, 64), channels, None, None, 8, positive, 16)
        options = {"mpp": (0.5, 0.5), "made_of": {}, "has_regions": True}
        schemas.append(slides.nuclei_schema(detection, channels=channels, **options))
    drawn = regions.Regions(["all"], [shapely.box(0, 0, 64, 64)], [])
    peaks = slides.nuclei_table("S", [], mpp=(0.5, 0.5), drawn=drawn).schema
    check_schema("results/slides/{slide}/nuclei.parquet", *schemas, peaks)


def test_the_columns_of_the_tables_of_stacks_are_the_documented_ones():
    schemas = [stack_nuclei.nuclei_schema(channels) for channels in (["DNA"], None)]
    check_schema("results/stacks/{stack}/nuclei.parquet", *schemas)
    image = np.random.default_rng(0).integers(0, 255, (40, 50), np.uint8)
    frame = StackFrame("images/a.png", 0)
    peaks = {"method": "peaks", "sigma": 2, "min_distance": 3, "threshold_abs": 100}
    nuclei = frames.measure_frame(frame, image, function="nuclei", folders=(), detection=peaks, with_quality=True)
    nuclei = nuclei._replace(threshold=100.0, flags=Flags(False, False, False))
    own = frames.measure_frame(frame, image, function="numpy.mean", folders=(), arguments={})
    rows, columns = frames.rows_of("S", [nuclei], count_nuclei=True, outlined=True)
    of_nuclei = table(*sources.with_file_names(rows, columns, [frame]))
    of_function = table(*frames.rows_of("S", [own], count_nuclei=False))
    assert "Image_Count_Nuclei" not in of_function.names and of_function.names[-1] == "mean"
    check_schema("results/stacks/{stack}/frames.csv", of_nuclei, of_function)


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
    check("results/screen/hits.csv", hits.COLUMNS)
    check("results/screen/replicates.csv", replicates.COLUMNS)
    check("results/screen/doses.csv", doses.COLUMNS)
