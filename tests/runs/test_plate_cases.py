"""Plates with known answers of ../shared/cases: each ends as its README says."""

import itertools
import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow.parquet as pq
import pytest

import cases
from workspace import REPOSITORY

MAKERS = cases.makers("plates")
pytestmark = pytest.mark.skipif(not MAKERS, reason=f"there are no cases in {cases.CASES}")


class Case(NamedTuple):
    """What must happen: these tables, and what is said beside them; or refused in these words, where that is right."""

    counts: dict | None = None  # [plate/]well -> nuclei by site, time and plane, None for a failed row; None: no tables
    said: str = ""  # beside the tables, in the log or on the terminal
    refused: str | None = None  # None: it is not refused
    errors: str = ""  # of failed rows
    may_fail: bool = False  # failed rows alone, with these errors, are right too
    total: int | None = None  # the well's count; another one is right with a WARNING that planes are added up


def of_wells(wells, counts):
    return dict.fromkeys(wells.split(), counts)


TWO_AND_THREE = {"A01": [2], "A02": [3]}
IN_FOUR_WELLS = of_wells("A01 A02 B01 B02", [2])
DNA = of_wells("B02 B03", [2])
COLOURS = Case(DNA, refused="colour|channel|sample|RGB")
PAGES = Case(DNA, said="WARNING.*page", refused="page")
ABOVE = "background|above the threshold"
TYPES = "uint8.*uint16|uint16.*uint8|8 bit.*16 bit|16 bit.*8 bit"
EVEN = {"B02": [3, 4], "B03": [5, 6], "C02": [3, 4], "C03": [5, 6]}
PLATES = {
    "frame-columns": Case(of_wells("A01 B01", [5])),
    "frame-columns-actin": Case(of_wells("A01 B01", [7])),
    "frame-columns-z": Case({"A01": [2, 5, 7]}),
    "series-column": Case({"A01": [5]}),
    **dict.fromkeys(("pages-2", "pages-3", "pages-5"), PAGES),
    **dict.fromkeys(("planar-rgb", "samples-2", "samples-5"), COLOURS),
    **dict.fromkeys(("merged-rgb-tiff", "merged-rgb-png", "merged-rgb-jpeg"), COLOURS),
    "ome-3-of-9": Case(of_wells("B02 B03", [None]), errors="3 of .*9", refused="3 of .*9"),
    "ome-4-of-9": Case(
        of_wells("B02 B03", [3, None, None]), errors="4 of .*9|missing", refused="4 of .*9", may_fail=True
    ),
    "offset": Case({"B02": [4], "B03": [5]}, refused=ABOVE),
    "offset-no-dna": Case({"A01": [20]}, said="WARNING.*(DNA|stain)|no channel .*DNA|none .*DNA", refused=ABOVE),
    "background-1500": Case({"B02": [4], "B03": [5]}, refused=ABOVE),
    "half-8-bit": Case({"B02": [None], "B03": [None]}, errors=TYPES, refused=TYPES),
    "three-forms": Case({f"B{column:02}": [None] for column in range(2, 7)}, errors="px", refused="px|size|type"),
    "well-field-channel": Case(of_wells("A01 B02 C03", [1, 3]), refused="well"),
    **dict.fromkeys(
        ("well-field", "well-time", "well-z", "well-scene"), Case({"B02": [3, 5], "B03": [4, 6]}, refused="well")
    ),
    **dict.fromkeys(("well-channel", "well-plate", "well-run"), Case({"B02": [3], "B03": [4]}, refused="well")),
    "well-folder": Case(of_wells("A01 B02", [1, 2]), refused="well"),
    "plates-in-one-folder": Case(
        {"PlateA/B02": [2], "PlateA/B03": [3], "PlateB/B02": [5], "PlateB/B03": [7]}, refused="Plate[AB]"
    ),
    "plates-in-folders": Case(refused="P[12]"),
    "measurements": Case({"B02": [2, 5], "B03": [3, 7]}, refused="Measurement"),
    "timelines": Case({"B02": [2, 5], "B03": [3, 7]}, refused="L0[12]|twice"),
    "list-time-column": Case({"A01": [2, 5]}, refused="Metadata_T"),
    "previews": Case({"B02": [2], "B03": [3], "B04": [4]}, said=r"jpg/Plate_B04_s1_w1\.jpg"),
    "copy-of": Case({"B02": [2], "B03": [4]}, said="Copy of x_B02", refused="Copy of"),
    "one-digit-wells": Case(
        {f"{row}{column:02}": [1 + column % 3] for row, column in itertools.product("AB", range(1, 13))},
        refused="18 of",
    ),
    "minority": Case(refused="of 21 image files"),
    "minority-two-layouts": Case(refused="of 26 image files"),
    "c01-flex": Case(refused=r"(?i)\.?(c01|flex)"),
    "zarr-plate": Case({"A01": [5]}, refused="Zarr"),
    "only-thumbnails": Case(refused="thumbnail"),
    "empty-folder": Case(refused="no image"),
    "ids": Case(
        {f"{plate}/{well}": counts for plate in ("007", "1e5") for well, counts in EVEN.items()}
        | {f"NA/{well}": [0, 0] for well in EVEN}
    ),
    "ids-more": Case(
        {f"{plate}/{well}": counts for plate in ("20585", "nan", "2024-01-01") for well, counts in EVEN.items()}
    ),
    "columns-z": Case(
        {f"flat/{well}": counts for well, counts in EVEN.items()} | {f"deep/{well}": [3, 4, 5, 6] for well in EVEN}
    ),
    "columns-projection": Case({f"mixed/{well}": [3, 4, 5, 6] for well in EVEN}),
    "dna-missing": Case(
        {"B02": [2]} | of_wells("B03 B04 B05", [None]), said="WARNING.*B03", errors="w1", refused="B03.*B05"
    ),
    "dna-missing-sites": Case(
        {"B02": [2, None, None, None], "B03": [4, None, None, None]}, said="WARNING.*B0[23]", errors="w1", refused="B02"
    ),
    "dna-missing-list": Case(
        {"A01": [2]} | of_wells("A02 A03 A04", [None]), said="WARNING.*A02", errors="DNA", refused="A02.*A04"
    ),
    "z-planes": Case({"A01": [20, 20, 20]}, total=20),
    "z-projection": Case({"B02": [5, 2, 5]}, total=5),
    "min-is-white": Case({"B02": [5]}, refused="(?i)white"),
    "palette-tiff": Case({"B02": [2]}, refused="palette"),
    "palette-png": Case({"B02": [2]}, refused="palette"),
    "lower-case-wells": Case(of_wells("A01 B02", [2, 3]), refused="z_0[01]"),
    "lower-case-wells-plain": Case({"A01": [2], "B02": [3]}),
    "channel-then-guid": Case(of_wells("A01 B02", [2])),
    "channel-then-guid-in-brackets": Case(of_wells("A01 B02", [2])),
    "harmony-ch01t01": Case(IN_FOUR_WELLS),
    "regex-row-column": Case(IN_FOUR_WELLS),
    "regex-row-column-digits": Case(of_wells("A01 A02 B01 B02", [2, 3])),
    **dict.fromkeys(
        ("map-capital-well", "map-well-position", "map-metadata-well", "map-tabs", "map-semicolons"),
        Case(TWO_AND_THREE),
    ),
    **dict.fromkeys(("map-plate-column", "map-several-plates", "map-negcon"), Case(TWO_AND_THREE)),
    "map-other-plate": Case(TWO_AND_THREE, refused="A02"),
    "map-utf-16": Case(TWO_AND_THREE, refused="UTF-16"),
    "map-xlsx": Case(TWO_AND_THREE, refused="workbook.*CSV"),
    "dim": Case(of_wells("A01 A02", [pytest.approx(30, rel=0.1)])),
    "half-exposure": Case(
        {f"{plate}/{well}": [pytest.approx(30, rel=0.05)] for plate in ("rep1", "rep2") for well in ("A01", "A02")}
    ),
    "offset by peaks": Case({"B02": [4], "B03": [5]}, refused=ABOVE),
    "offset-no-dna by peaks": Case({"A01": [20]}, refused=ABOVE),
    "background-1500 by peaks": Case({"B02": [4], "B03": [5]}, refused=ABOVE),
}
COMPOUNDS = {"map-other-plate": ["DMSO", ""]}  # of A01 and A02; DMSO and taxol in the other cases
LEAN = {"nuclei": {"keep_labels": False}, "quality": False}  # a job less for every plate
RUNS = {"": {}, "all may fail": {"max_failed_fields": 1.0}}  # what the configuration has beside columns of the sheet


def rows_of(folder, name):
    """Return the rows of a case's sheet, with absolute paths; a plate `p` has the case's name."""
    case = folder / name.removesuffix(" by peaks")
    config = cases.config_of(case)
    rows = cases.read_sheet(case, "plates")
    for row in rows:
        if row["plate"] == "p":
            row["plate"] = name.replace(" ", "-")
        row["images"] = str(case / row["images"])
        if row.get("platemap"):
            row["platemap"] = str(case / row["platemap"])
        if "threshold" in config.get("nuclei", {}):
            row["threshold"] = str(config["nuclei"]["threshold"])
        if name.endswith(" by peaks"):
            row["method"] = "peaks"
        if "layouts" in config:
            row["layout"] = name
    return rows


def make(folder):
    """Write all cases, run those that are not refused before any job, and keep why the others are."""
    layouts, together = {}, {run: [] for run in RUNS}
    for name in PLATES:
        case = folder / name.removesuffix(" by peaks")
        if not case.exists():
            MAKERS[case.name](case)
        config, rows = cases.config_of(case), rows_of(folder, name)
        for row in rows:  # lists and platemaps may name the plate
            for file in (row["images"], row.get("platemap") or "."):
                if Path(file).is_file() and Path(file).suffix in (".csv", ".tsv", ".txt"):
                    absolute_list(Path(file), case, row["plate"])
        alone = folder / "alone" / name
        settings = {key: value for key, value in config.items() if key == "max_failed_fields"}
        own = {name: config["layouts"]["mine"]} if "layouts" in config else {}
        cases.write_together(alone, rows, settings | {"layouts": own}, "plates")
        reason = cases.plan_refuses(alone)
        (folder / f"{name}.refusal").write_text(reason)
        if not reason:
            layouts |= own
            together["all may fail" if settings else ""] += rows
    for run, rows in together.items():
        work = folder / f"run {run}"
        cases.write_together(work, rows, LEAN | RUNS[run] | {"layouts": layouts}, "plates")
        cases.run_together(work)


def absolute_list(path, case, plate):
    """Write the plate's new name where a list or a platemap names it, and the folder of a list's images."""
    text = path.read_bytes()
    text = re.sub(rb"(?m)^p,", plate.encode() + b",", text)
    text = text.replace(b",img,", f",{case}/img,".encode())
    path.write_bytes(text)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Return a function that returns the outcomes of a case: plate -> outcome."""
    root = cases.once(tmp_path_factory, "plate-cases", make)

    def of_case(name):
        plates = [row["plate"] for row in rows_of(root, name)]
        if reason := (root / f"{name}.refusal").read_text():
            return {plate: cases.Outcome(None, reason) for plate in plates}
        sheets = {run: (root / f"run {run}/config/plates.tsv").read_text() for run in RUNS}
        [run] = [run for run, sheet in sheets.items() if f"\n{plates[0]}\t" in sheet]
        return {plate: cases.outcome(root / f"run {run}", "plates", plate, table="wells.csv") for plate in plates}

    return of_case


def check(case, plate, outcome):
    """Check what became of a plate."""
    counts = {
        well.rpartition("/")[2]: of_well
        for well, of_well in case.counts.items()
        if well.startswith(f"{plate}/") or "/" not in well
    }
    failed = case.may_fail and not any(any(of_well) for of_well in outcome.counts().values())
    assert failed or outcome.counts() == counts, outcome.errors()
    assert re.search(case.said, outcome.said), outcome.said
    if case.errors:
        assert all(re.search(case.errors, error) for error in outcome.errors().splitlines()), outcome.errors()
    if case.total is not None:
        [well] = outcome.rows("wells.csv")
        summed = re.search("WARNING.*(plane|z)", outcome.said)
        assert int(well["Count_Nuclei"]) == case.total or summed, (well, outcome.said)


@pytest.mark.parametrize("name", PLATES)
def test_a_plate_ends_as_it_must(outcomes, name):
    case, by_plate = PLATES[name], outcomes(name)
    refused = {plate: outcome for plate, outcome in by_plate.items() if outcome.folder is None}
    for outcome in refused.values():
        assert case.refused is not None, outcome.said
        assert re.search(case.refused, outcome.said, re.DOTALL), outcome.said
        assert "codec" not in outcome.said
    for plate, outcome in by_plate.items():
        if plate not in refused:
            assert case.counts is not None, outcome.counts()
            check(case, plate, outcome)
            if name.startswith("map-"):
                rows = outcome.rows("wells.csv")
                assert [row["Metadata_compound"] for row in rows] == COMPOUNDS.get(name, ["DMSO", "taxol"])


def tables_of(outcome):
    """Read the tables of a plate: the CSVs as docs/recipes.md reads them."""
    section = (REPOSITORY / "docs/recipes.md").read_text().partition("## CSV without surprises")[2]
    recipe = section.partition("```python\n")[2].partition("\nwells = ")[0]
    exec(recipe, names := {})
    tables = {
        name: pd.read_parquet(outcome.folder / name) for name in ("nuclei.parquet", "fields.parquet", "wells.parquet")
    }
    return tables | {name: names["read_csv"](outcome.folder / name) for name in ("fields.csv", "wells.csv")}


def test_a_plate_with_time_points_has_a_table_of_them(outcomes):
    [outcome] = outcomes("well-time").values()
    counts = {(row["Metadata_Well"], row["Metadata_Timepoint"]): row for row in outcome.rows("timepoints.csv")}
    expected = {("B02", "1"): 3, ("B02", "2"): 5, ("B03", "1"): 4, ("B03", "2"): 6}
    assert {key: int(row["Count_Nuclei"]) for key, row in counts.items()} == expected


@pytest.mark.parametrize("name", ["ids", "ids-more"])
def test_every_pair_of_tables_joins_whatever_the_plates_are_called(outcomes, name):
    for plate, outcome in outcomes(name).items():
        tables = tables_of(outcome)
        assert {value for table in tables.values() for value in table.Metadata_Plate} == {plate}
        keys = {kind: ["Metadata_Plate", "Metadata_Well"] for kind in ("wells", "fields", "nuclei")}
        sizes = {kind: len(table) for kind, table in tables.items()}
        assert (
            sizes["nuclei.parquet"] == (0 if plate == "NA" else 36)
            and sizes["fields.csv"] == 8 == 2 * sizes["wells.csv"]
        )
        for (first, one), (second, other) in itertools.permutations(tables.items(), 2):
            kinds = {first.partition(".")[0], second.partition(".")[0]}
            by = keys["wells"] if "wells" in kinds else [*keys["fields"], "Metadata_Site"]
            joined = one.merge(other[by].drop_duplicates(), on=by)
            assert len(joined) == (len(one) if plate != "NA" or "nuclei" not in second else 0), (first, second)
        for csv, parquet in (("fields.csv", "fields.parquet"), ("wells.csv", "wells.parquet")):
            typed = tables[parquet][tables[csv].columns]
            pd.testing.assert_frame_equal(tables[csv], typed.where(typed.notna()), check_dtype=False)


def test_texts_that_look_like_numbers_or_gaps_stay_as_the_platemap_has_them(outcomes):
    by_plate = outcomes("ids")
    assert list(tables_of(by_plate["007"])["wells.csv"].Metadata_compound) == ["DMSO", "NA", "None", "taxol"]
    assert list(tables_of(by_plate["NA"])["wells.csv"].Metadata_gene) == ["MARCH1", "SEPT2", "TRUE", "1e3"]


def test_tables_of_plates_with_and_without_planes_are_read_as_one_by_every_reader(outcomes):
    import duckdb
    import polars
    import pyarrow.dataset as ds

    paths = [str(outcome.folder / "nuclei.parquet") for outcome in outcomes("columns-z").values()]
    columns = set(pq.read_schema(paths[0]).names)
    assert "Metadata_ZPlane" in columns and all(pq.read_schema(paths[0]).equals(pq.read_schema(path)) for path in paths)
    for order in (paths, paths[::-1]):
        read = {
            "polars.concat": polars.concat([polars.read_parquet(path) for path in order]),
            "polars": polars.scan_parquet(order).collect(),
            "pyarrow": ds.dataset(order).to_table(),
            "duckdb": duckdb.sql(f"SELECT * FROM read_parquet({order})").to_arrow_table(),
            "pandas": pd.concat([pd.read_parquet(path) for path in order]),
        }
        for reader, table in read.items():
            names = getattr(table, "column_names", None) or list(table.columns)
            assert len(table) == 108 and set(names) == columns, reader
            planes = table["Metadata_ZPlane"]
            planes = planes.to_pandas() if hasattr(planes, "to_pandas") else planes
            assert planes.notna().sum() == 72, reader


def test_grouping_by_plane_keeps_the_nuclei_of_projections(outcomes):
    [outcome] = outcomes("columns-projection").values()
    nuclei = pd.read_parquet(outcome.folder / "nuclei.parquet")
    by = ["Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_ZPlane"]
    assert nuclei.groupby(by).size().sum() == 72 and set(nuclei.Metadata_ZPlane) == {0, 1}
