"""The recipes of docs/recipes.md, as they stand there, on the tables of a run of four plates of different kinds."""

import re
import sqlite3
from importlib.util import find_spec

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from workspace import GUID, REPOSITORY, Workspace

RECIPES = (REPOSITORY / "docs/recipes.md").read_text()
BACKGROUND, TUBULIN = 900, {False: 500, True: 3000}  # of 65535
G1_RADIUS_PX, G1_HEIGHT = 9, 4000
MARKED_OF_8 = {"B02": 1, "B03": 1, "C02": 6, "C03": 6}  # of the nuclei of a field, in Tubulin
COMPOUNDS = {"B02": "DMSO", "B03": "DMSO", "C02": "taxol", "C03": "taxol"}
CONFIG = """
channels: {w1: DNA, w2: Tubulin, w3: Actin}
background: 1
positive: {Tubulin: 0.02}
"""


def plant(folder, wells, *, channels=("w1", "w2"), sites=2, count=16):
    """Write fields of 16 discs, of which every third one has twice the DNA: it is 1.2 times as wide, and brighter."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:256, :256]
    for well in wells:
        for site in range(1, sites + 1):
            pictures = {channel: rng.normal(BACKGROUND, 10, (256, 256)) for channel in channels}
            for number in range(count):
                row, column = 32 + 64 * (number // 4) + rng.uniform(-6, 6), 32 + 64 * (number % 4) + rng.uniform(-6, 6)
                radius = G1_RADIUS_PX * (1.2 if number % 3 == 0 else 1)
                height = G1_HEIGHT * (2 / 1.2**2 if number % 3 == 0 else 1)
                disc = gaussian_filter((np.hypot(y - row, x - column) < radius).astype(float), 0.7)
                pictures["w1"] += height * disc
                is_marked = number % 8 < MARKED_OF_8.get(well, 0)
                wide = np.hypot(y - row, x - column) < radius + 4
                for channel in set(channels) - {"w1"}:
                    pictures[channel] += TUBULIN[is_marked] * wide
            for channel, picture in pictures.items():
                path = folder / f"Week1_150607_{well}_s{site}_{channel}{GUID}.tif"
                tifffile.imwrite(path, picture.clip(0, 65535).astype(np.uint16))


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A working directory after a run of four plates: two and three channels, peaks, and no nucleus at all."""
    workspace = Workspace(tmp_path_factory.mktemp("recipes"))
    plant(workspace.path / "images/demo", COMPOUNDS)
    plant(workspace.path / "images/007", ["B02", "D04"], channels=("w1", "w2", "w3"), sites=1)
    plant(workspace.path / "images/peaks", ["B02"], channels=("w1",), sites=1)
    plant(workspace.path / "images/empty", ["B02"], sites=1, count=0)
    config = workspace.path / "config"
    config.mkdir()
    sheet = ["plate\timages\tplatemap\tmethod", "demo\timages/demo\tmap.csv\t", "007\timages/007\t\t"]
    sheet += ["peaks\timages/peaks\t\tpeaks", "empty\timages/empty\t\t", ""]
    (config / "plates.tsv").write_text("\n".join(sheet))
    (config / "config.yaml").write_text(CONFIG)
    controls = {"DMSO": "negative", "taxol": "sample"}
    lines = [f"{well},{compound},{controls[compound]}" for well, compound in COMPOUNDS.items()]
    (workspace.path / "map.csv").write_text("\n".join(["well,compound,control", *lines, ""]))
    workspace.run("tables")
    return workspace


# Well, time point, mean count; the last one is of a file that could not be read.
TIMES = [("B02", 2, 6), ("B02", 0, 4), ("B03", 0, 8), ("B03", 2, 2), ("B03", "", "")]


@pytest.fixture
def cook(tables, monkeypatch):
    """Yield a function that runs a block of a recipe in the working directory, and returns the names in it."""
    monkeypatch.chdir(tables.path)
    monkeypatch.setitem(matplotlib.rcParams, "backend", "agg")

    def cook(title, number=0):
        names = {}
        for block in (blocks()[0], blocks(title)[number]):  # the first one of the page reads `features`
            exec(compile(block, "docs/recipes.md", "exec"), names)
        return names

    yield cook
    plt.close("all")


def blocks(title=None, language="python"):
    """Return the code of a recipe; without a title, of the text before the first one."""
    sections = re.split(r"^## ", RECIPES, flags=re.MULTILINE)
    (section,) = sections[:1] if title is None else [text for text in sections[1:] if text.startswith(f"{title}\n")]
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def test_the_page_has_the_recipes_that_are_run_here():
    sections = re.findall(r"^## (.*)", RECIPES, re.MULTILINE)
    counts = {title: len(blocks(title)) for title in sections}
    assert counts == {
        "CSV without surprises": 1,
        "Time points": 1,
        "Share of positive cells": 3,
        "Hits of a screen": 1,
        "DNA content: G1 and G2": 1,
        "Medians of wells": 2,
        "Many plates: DuckDB, polars, pyarrow": 3,
        "CellProfiler Analyst": 1,
        "napari": 2,
        "AnnData": 1,
        "R": 0,
    }
    assert len(blocks()) == len(blocks("R", "r")) == 1


def test_a_csv_is_read_as_its_parquet_twin(cook, tables):
    names = cook("CSV without surprises")
    wells = pd.read_parquet(tables.path / "results/plates/demo/wells.parquet")
    pd.testing.assert_frame_equal(names["wells"], wells[names["wells"].columns], check_dtype=False)
    assert len(names["of_wells"]) == len(names["nuclei"]) > 0


def test_counts_by_time_point_grow_as_they_are_written(cook, tables):
    lines = ["Metadata_Plate,Metadata_Well,Metadata_Timepoint,Mean_Count_Nuclei"]
    lines += [f"demo,{well},{timepoint},{count}" for well, timepoint, count in TIMES]
    (tables.path / "results/plates/demo/timepoints.csv").write_text("\n".join([*lines, ""]))
    growth = cook("Time points")["growth"]
    assert growth.to_dict() == {"B02": {0: 1, 2: 1.5}, "B03": {0: 1, 2: 0.25}}


def test_the_share_of_positive_cells_is_the_planted_one(cook):
    shares = cook("Share of positive cells")["shares"]
    assert shares["mean"].to_dict() == {"DMSO": 1 / 8, "taxol": 6 / 8} and set(shares["count"]) == {2}
    pooled = cook("Share of positive cells", 1)["pooled"]
    assert pooled["mean"].to_dict() == {"DMSO": 1 / 8, "taxol": 6 / 8} and set(pooled["size"]) == {64}


def test_the_number_between_two_groups_of_nuclei_parts_the_planted_ones(cook, tables):
    names = cook("Share of positive cells", 2)
    assert (names["intensities"] > names["threshold"]).mean() == 14 / 32
    assert (tables.path / "tubulin.png").stat().st_size > 1000


def test_hits_are_listed_although_some_are_not_known(cook, tables):
    path = tables.path / "results/screen/hits.csv"
    written = path.read_bytes()
    header = written.decode().splitlines()[0].split(",")
    rows = [("x", 0.04, "True"), ("y", 0.9, "False"), ("z", "", ""), ("NA", 0.01, "True")]
    planted = pd.DataFrame(rows, columns=["Treatment", "Q", "Hit"]).reindex(columns=header)
    try:
        planted.to_csv(path, index=False)
        assert cook("Hits of a screen")["hits"]["Treatment"].tolist() == ["NA", "x"]
    finally:
        path.write_bytes(written)


def test_dna_content_has_its_two_planted_peaks(cook, tables):
    dna = cook("DNA content: G1 and G2")
    assert dna["g2"] - dna["g1"] == pytest.approx(1, abs=0.05)
    in_g1 = 65535 * 2 ** dna["g1"] / (np.pi * G1_RADIUS_PX**2 * G1_HEIGHT)
    assert in_g1 == pytest.approx(1, abs=0.1)
    assert dna["share_g1"] == pytest.approx(10 / 16, abs=0.02) and dna["share_g2"] == pytest.approx(6 / 16, abs=0.02)
    assert (tables.path / "dna_content.png").stat().st_size > 1000


def test_medians_of_wells_are_those_of_every_tool_and_the_planted_ones(cook):
    medians = cook("Medians of wells")["medians"].droplevel("Metadata_Plate")
    features = [name for name in medians if medians[name].notna().all()]
    assert len(features) > 40 and not any(
        word in name for name in features for word in ("Location", "Center", "Positive")
    )
    profiled = cook("Medians of wells", 1)
    wells = profiled["wells"].set_index("Metadata_Well")
    pd.testing.assert_frame_equal(wells[features].astype(float), medians[features].astype(float), check_names=False)
    tubulin = medians.Nuclei_Intensity_MeanIntensity_Tubulin * 65535
    for well, expected in {"B02": 500, "B03": 500, "C02": 3000, "C03": 3000}.items():
        assert tubulin[well] == pytest.approx(expected, rel=0.1)
    normalized = profiled["normalized"].set_index("Metadata_Well")
    name = "Nuclei_Intensity_MeanIntensity_Tubulin"
    assert normalized[name][["B02", "B03"]].median() == pytest.approx(0, abs=1e-6) and normalized[name]["C02"] > 10
    assert name in profiled["selected"] and "Nuclei_Intensity_MeanIntensity_Actin" not in profiled["selected"]


def test_all_tools_read_a_glob_over_plates_of_different_kinds_alike(cook, tables):
    paths = sorted(tables.path.glob("results/plates/*/nuclei.parquet"))
    schemas = [pq.read_schema(path) for path in paths]
    assert [path.parent.name for path in paths] == ["007", "demo", "empty", "peaks"]
    assert all(schema.equals(schemas[0]) for schema in schemas)
    assert set(schemas[0].types) == {pa.string(), pa.int64(), pa.float64(), pa.bool_()}
    title = "Many plates: DuckDB, polars, pyarrow"
    nuclei = cook(title, 2)["nuclei"]
    counts = nuclei.groupby("Metadata_Plate").size().to_dict()
    assert counts == {"007": 32, "demo": 128, "peaks": 16}
    assert nuclei.groupby("Metadata_Plate").Nuclei_Intensity_MeanIntensity_Tubulin.count().to_dict() == counts | {
        "peaks": 0
    }
    by_pandas = nuclei.groupby(["Metadata_Plate", "Metadata_Well"])["Nuclei_Intensity_MeanIntensity_Tubulin"].agg(
        ["size", "median"]
    )
    expected = [(*well, *row) for well, row in zip(by_pandas.index, by_pandas.itertuples(index=False), strict=True)]
    assert len(expected) == 7
    by_duckdb = cook(title, 0)["by_well"]
    by_polars = cook(title, 1)["by_well"]
    for rows in (list(by_duckdb.itertuples(index=False, name=None)), by_polars.rows()):
        assert [row[:3] for row in rows] == [row[:3] for row in expected]
        medians = np.array([row[3] for row in rows], float)
        np.testing.assert_allclose(medians, [row[3] for row in expected], rtol=1e-12)


def test_cellprofiler_analyst_finds_what_its_properties_name(cook, tables):
    nuclei = cook("CellProfiler Analyst")["nuclei"]
    lines = [
        line.split(" = ", 1) for line in (tables.path / "demo.properties").read_text().splitlines() if line.strip()
    ]
    properties = {key.strip(): value for key, value in lines}
    database = sqlite3.connect(tables.path / properties["db_sqlite_file"])
    image_table, object_table = properties["image_table"], properties["object_table"]
    columns = {
        table: {row[1]: row[2] for row in database.execute(f"PRAGMA table_info({table})")}
        for table in (image_table, object_table)
    }
    of_images = [properties[key] for key in ("image_id", "plate_id", "well_id", "image_path_cols", "image_file_cols")]
    of_objects = [properties[key] for key in ("image_id", "object_id", "cell_x_loc", "cell_y_loc")]
    assert columns[image_table].keys() >= {*of_images} and columns[object_table].keys() >= {*of_objects}
    left_out = properties["classifier_ignore_columns"].split(", ")
    learned = columns[object_table].keys() - {*left_out}
    assert {"Nuclei_AreaShape_Area", "Nuclei_Intensity_MeanIntensity_Tubulin"} <= learned and len(left_out) > 10
    assert not [name for name in learned if re.search("Location|Center|Metadata|^ObjectNumber|Positive|_Actin", name)]
    assert {columns[object_table][name] for name in learned} == {"REAL", "INTEGER"} and len(nuclei) == 128
    joined = database.execute(
        "SELECT Image_Count_Nuclei, count(*), count(DISTINCT ObjectNumber), PathName_DNA, FileName_DNA "
        f"FROM {image_table} JOIN {object_table} USING (ImageNumber) GROUP BY ImageNumber ORDER BY ImageNumber"
    ).fetchall()
    database.close()
    fields = pd.read_csv(tables.path / "results/plates/demo/fields.csv")
    assert [row[:3] for row in joined] == [(count,) * 3 for count in fields.Image_Count_Nuclei] and len(joined) == 8
    for *_, folder, file in joined:
        assert folder.startswith("/") and tifffile.imread(f"{folder}/{file}").shape == (256, 256)


def test_a_field_for_napari_has_its_outlines_and_their_rows(cook):
    field = cook("napari")
    assert field["image"].shape == field["outlines"].shape == (256, 256)
    nuclei = field["nuclei"]
    assert nuclei["index"].tolist() == np.unique(field["outlines"])[1:].tolist() == list(range(1, 17))
    rows, columns = (nuclei[f"Nuclei_Location_Center_{axis}"].round().astype(int) for axis in "YX")
    assert field["outlines"][rows, columns].tolist() == nuclei["index"].tolist()
    assert (field["image"][rows, columns] > 4 * BACKGROUND).all()


@pytest.mark.skipif(
    not find_spec("anndata"), reason="anndata, which takes pandas 3 from Python 3.12 on, is not installed"
)
def test_anndata_has_the_features_of_wells(cook, tables):
    import anndata

    written = cook("AnnData")
    stored = anndata.read_h5ad(tables.path / "wells.h5ad")
    assert stored.obs.Metadata_Well.tolist() == list(COMPOUNDS) and stored.var_names.tolist() == written["features"]
    assert stored.to_df().Nuclei_Intensity_MeanIntensity_Tubulin.max() * 65535 == pytest.approx(3000, rel=0.1)


def test_a_plate_with_a_new_channel_merges_all_tables_again_and_measures_it_alone(tables):
    assert tables.planned("tables") == {}
    plant(tables.path / "images/new", ["B02"], channels=("w1", "w2", "w4"), sites=1)
    sheet = tables.path / "config/plates.tsv"
    before = sheet.read_text()
    sheet.write_text(f"{before}new\timages/new\t\t\n")
    planned = {"detect_nuclei": 1, "calibrate_plate": 1, "join_labels": 1, "merge_units": 5, "profile_wells": 5}
    planned |= {"screen_plates": 1, "tables": 1, "total": 15}
    assert tables.planned("tables") == planned
    sheet.write_text(before)
    assert tables.planned("tables") == {}
