"""Profiles of wells are what pycytominer makes of the same rows, and empty where nothing is known."""

import csv
import json
import logging
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pycytominer import aggregate, normalize

import profile_wells
from fieldwork.detection.plate_flags import JUDGED
from fieldwork.inputs import platemaps
from fieldwork.plates import tables
from fieldwork.screen import profiles

SHAPE = ["Nuclei_AreaShape_Area", "Nuclei_AreaShape_Solidity"]
FEATURES = [*SHAPE, "Nuclei_Intensity_MeanIntensity_DNA", "Nuclei_Texture_Constant"]
WELLS = [f"{row}{column:02d}" for row in "BC" for column in range(2, 8)]
MIN_NUCLEI = 20
MEDIANS = {"aggregate": "median", "normalize": "negative controls"}
PLATEMAP = "well,compound,control\n" + "".join(
    f"{well},{'DMSO' if number < 5 else 'drug'},{'NegCon' if number < 5 else ''}\n" for number, well in enumerate(WELLS)
)


def planted_nuclei(counts, *, seed=0):
    """Return the nuclei of wells: half of those in Tubulin are positive, some lie at borders, where all is 1000."""
    random = np.random.default_rng(seed)
    wells = np.repeat(list(counts), list(counts.values()))
    nuclei = pd.DataFrame({"Metadata_Plate": "P1", "Metadata_Well": wells, "Metadata_ObjectNumber": 1})
    for feature in FEATURES:
        nuclei[feature] = random.lognormal(3, 0.3, len(wells))
    nuclei["Nuclei_AreaShape_Area"] = (10 * nuclei["Nuclei_AreaShape_Area"]).round().astype("int64")
    nuclei["Nuclei_Texture_Constant"] = 0.1
    nuclei["Nuclei_TouchesBorder"] = random.random(len(wells)) < 0.2
    nuclei["Nuclei_Positive_Tubulin"] = random.random(len(wells)) < 0.5
    nuclei.loc[nuclei.Nuclei_TouchesBorder, [*FEATURES, "Nuclei_Positive_Tubulin"]] = 1000, 1000.0, 1000.0, 1000.0, True
    return nuclei


def write_plate(folder, nuclei, *, wells=None, fields=2, failed=(), excluded=(), platemap=PLATEMAP):
    """Write the tables of a plate as merge_units does, and its platemap."""
    folder.mkdir(exist_ok=True)
    columns = list(map(str, tables.wells_schema([], positive=[], with_scores=False).names))
    described = {}
    if platemap:
        (folder / "map.csv").write_text(platemap)
        described = platemaps.read_platemap(folder / "map.csv", "P1")
    rows = []
    for well in wells or list(dict.fromkeys(nuclei.Metadata_Well)):
        count = int((nuclei.Metadata_Well == well).sum())
        row = dict.fromkeys(columns) | dict.fromkeys(JUDGED, False) | described.get(well, {})
        row |= {"Metadata_Plate": "P1", "Metadata_Well": well, "Fields_Total": fields, "Fields_Failed": 0}
        row |= {"Count_Nuclei": count, "Mean_Count_Nuclei": count / fields, "Excluded": well in excluded}
        if well in failed:
            row |= {"Fields_Failed": fields, "Count_Nuclei": None, "Mean_Count_Nuclei": None}
        rows.append(row)
    described_by = list(next(iter(described.values()), {}))
    schema = tables.wells_schema(described_by, positive=["Tubulin"], with_scores=False)
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "wells.parquet")
    table = pa.Table.from_pandas(nuclei, preserve_index=False)
    features = [name for name in FEATURES if name in nuclei]
    pq.write_table(
        table.replace_schema_metadata({"features": json.dumps(features)}), folder / "nuclei.parquet", row_group_size=100
    )
    sites = [{"Metadata_Well": row["Metadata_Well"], "Metadata_Site": site} for row in rows for site in range(fields)]
    pd.DataFrame(sites).assign(Image_Status="ok").to_parquet(folder / "fields.parquet")
    return described_by


def profile(folder, *, settings=MEDIANS, controls=None, shares=("Tubulin",), columns=None, platemap=True):
    """Run the job; return the table as pandas reads it."""
    paths = {name: folder / f"{name}.parquet" for name in ("nuclei", "fields", "wells")}
    path = folder / "map.csv" if platemap else None
    described = list(next(iter(platemaps.read_platemap(path, "P1").values()))) if platemap else []
    profile_wells.main(
        plate="P1",
        tables=SimpleNamespace(**paths),
        results=SimpleNamespace(parquet=folder / "profiles.parquet", csv=folder / "profiles.csv"),
        platemap=path,
        columns={"positive": list(shares), "platemap": columns or described},
        settings=settings,
        controls=controls or {},
        min_nuclei=MIN_NUCLEI,
    )
    return pd.read_parquet(folder / "profiles.parquet")


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize("rows, values", [(1, 1), (130, 10**9), (10**9, 1500), (10**9, 10**9)])
@pytest.mark.parametrize("operation", ["median", "mean"])
def test_features_are_to_the_bit_those_of_pycytominer_by_hand(tmp_path, monkeypatch, operation, rows, values):
    monkeypatch.setattr(profiles, "ROWS_AT_ONCE", rows)
    monkeypatch.setattr(profiles, "VALUES_AT_ONCE", values)
    nuclei = planted_nuclei(dict.fromkeys(WELLS, 60))
    write_plate(tmp_path, nuclei)
    found = profile(tmp_path, settings={**MEDIANS, "aggregate": operation}).set_index("Metadata_Well")
    inside = nuclei[~nuclei.Nuclei_TouchesBorder]
    expected = aggregate(inside, features=FEATURES, operation=operation).set_index("Metadata_Well")
    assert len(found) == len(expected) == 12 and (found.Count_Nuclei == 60).all()
    pd.testing.assert_frame_equal(found[FEATURES], expected.loc[found.index, FEATURES], check_exact=True)
    shares = inside.groupby("Metadata_Well").Nuclei_Positive_Tubulin.mean()
    pd.testing.assert_series_equal(
        found.Share_Positive_Tubulin, shares[found.index], check_exact=True, check_names=False
    )


@pytest.mark.parametrize("normalize_by", ["negative controls", "all wells"])
def test_robust_z_is_to_the_bit_that_of_pycytominer_by_hand(tmp_path, warnings, normalize_by):
    write_plate(tmp_path, planted_nuclei(dict(zip(WELLS, range(50, 74, 2), strict=True))), excluded=["B02"])
    found = profile(tmp_path, settings={**MEDIANS, "normalize": normalize_by})
    features = ["Count_Nuclei", "Mean_Count_Nuclei", "Share_Positive_Tubulin", *FEATURES[:-1]]
    samples = "not Excluded" + " and Metadata_control == 'NegCon'" * (normalize_by == "negative controls")
    expected = normalize(
        found,
        features=features,
        meta_features=["Metadata_Well", "Metadata_control", "Excluded"],
        samples=samples,
        method="mad_robustize",
    )
    named = found[[f"RobustZ_{name}" for name in features]].rename(columns=lambda name: name.removeprefix("RobustZ_"))
    assert len(named) == 12 and named.notna().all(axis=None) and not warnings()
    pd.testing.assert_frame_equal(named, expected[features], check_exact=True)


@pytest.mark.parametrize("operation", ["median", "mean"])
def test_a_feature_that_does_not_vary_has_no_robust_z_and_is_counted_in_the_log(tmp_path, caplog, operation):
    # The mean of so many times 0.1 differs in the last digit between wells: no spread either.
    caplog.set_level(logging.INFO)
    nuclei = planted_nuclei(dict(zip(WELLS, range(50, 74, 2), strict=True)))
    write_plate(tmp_path, nuclei)
    found = profile(tmp_path, settings={**MEDIANS, "aggregate": operation})
    assert found.RobustZ_Nuclei_Texture_Constant.isna().all() and found.RobustZ_Nuclei_AreaShape_Area.notna().all()
    (line,) = [record.getMessage() for record in caplog.records if "alike" in record.getMessage()]
    assert "1 of 7 features are alike" in line and "Nuclei_Texture_Constant" in line
    np.testing.assert_allclose(found.Nuclei_Texture_Constant, 0.1, rtol=1e-12)


def test_every_well_with_a_field_or_a_line_in_the_platemap_has_a_row(tmp_path):
    counts = {**dict.fromkeys(WELLS[:8], 60), "C04": 19, "C05": 20}
    write_plate(tmp_path, planted_nuclei(counts), wells=[*counts, "C06", "H12"], failed=["H12"])
    found = profile(tmp_path).set_index("Metadata_Well")
    assert found.index.tolist() == [*WELLS, "H12"]  # C07 has a line alone, H12 a field alone
    assert found.loc["C06", "Count_Nuclei"] == 0 and found.loc["C06", "Fields_Total"] == 2
    assert found.loc["C07", "Fields_Total"] == found.loc["C07", "Fields_Failed"] == 0
    assert found.loc["C07", "Metadata_compound"] == "drug" and pd.isna(found.loc["H12", "Metadata_compound"])
    unknown = found.loc[["C07", "H12"]]
    assert unknown.Count_Nuclei.isna().all() and unknown.RobustZ_Count_Nuclei.isna().all()
    measured = [*FEATURES, "Share_Positive_Tubulin", "RobustZ_Nuclei_AreaShape_Area"]
    empty = found[measured].isna().all(axis=1)
    assert empty[empty].index.tolist() == ["C04", "C06", "C07", "H12"]  # 19 nuclei are too few, 20 enough
    assert found[measured].notna().all(axis=1).sum() == 9


def test_nuclei_at_borders_count_and_are_left_out_of_all_else(tmp_path):
    nuclei = planted_nuclei(dict.fromkeys(WELLS, 60))
    nuclei.loc[nuclei.Metadata_Well == "B02", "Nuclei_TouchesBorder"] = True
    nuclei["Nuclei_TouchesBorder"] = nuclei["Nuclei_TouchesBorder"].astype(object)
    nuclei.loc[nuclei.Metadata_Well == "B03", "Nuclei_TouchesBorder"] = None  # of peaks: it is not known
    write_plate(tmp_path, nuclei)
    found = profile(tmp_path).set_index("Metadata_Well")
    assert (
        found.loc["B02", "Count_Nuclei"] == 60 and found.loc["B02", [*FEATURES, "Share_Positive_Tubulin"]].isna().all()
    )
    assert found.Nuclei_AreaShape_Area.drop("B02").notna().all()
    areas = nuclei.loc[nuclei.Metadata_Well == "B03", "Nuclei_AreaShape_Area"]
    assert found.loc["B03", "Nuclei_AreaShape_Area"] == areas.median()


def test_excluded_controls_are_no_reference_and_stay_in_the_table(tmp_path):
    nuclei = planted_nuclei(dict.fromkeys(WELLS, 60))
    nuclei.loc[nuclei.Metadata_Well == "B02", "Nuclei_AreaShape_Area"] = 10**6
    write_plate(tmp_path, nuclei, excluded=["B02"])
    found = profile(tmp_path).set_index("Metadata_Well")
    without = found.loc[["B03", "B04", "B05", "B06"], "Nuclei_AreaShape_Area"]
    spread = 1.4826 * (without - without.median()).abs().median()
    assert found.Excluded.sum() == 1 and found.loc["B02", "RobustZ_Nuclei_AreaShape_Area"] > 1000
    expected = (found.Nuclei_AreaShape_Area - without.median()) / spread
    np.testing.assert_allclose(found.RobustZ_Nuclei_AreaShape_Area, expected, rtol=1e-12)


@pytest.mark.parametrize("excluded", [["B02", "B03"], WELLS])
def test_with_fewer_than_four_reference_wells_nothing_is_normalised_and_one_warning_says_so(
    tmp_path, warnings, excluded
):
    write_plate(tmp_path, planted_nuclei(dict.fromkeys(WELLS, 60)), excluded=excluded)
    found = profile(tmp_path)
    assert found.filter(like="RobustZ_").shape[1] == 7 and found.filter(like="RobustZ_").isna().all(axis=None)
    assert found[FEATURES].notna().all(axis=None)
    (line,) = warnings()
    assert "fewer than 4 wells to compare with: RobustZ_ is empty" in line


@pytest.mark.parametrize(
    "platemap, listed",
    [
        (
            "well,compound,control\nB02,DMSO,vehicle\nB03,drug,\n",
            "control: '' (11), 'vehicle' (1); compound: '' (10)",
        ),
        ("well,dose\nB02,1\n", "no column of controls; no column of treatments"),
    ],
)
def test_where_no_control_is_understood_one_warning_lists_what_was_found(tmp_path, warnings, platemap, listed):
    write_plate(tmp_path, planted_nuclei(dict.fromkeys(WELLS, 60)), platemap=platemap)
    found = profile(tmp_path)
    (line,) = warnings()
    assert line.startswith("plate P1: no well is a control; found") and "RobustZ_ is empty" in line
    assert all(part in line for part in listed.split("; ")) and found.RobustZ_Count_Nuclei.isna().all()


def test_names_of_the_configuration_are_controls(tmp_path, warnings):
    platemap = PLATEMAP.replace("NegCon", "")
    write_plate(tmp_path, planted_nuclei(dict(zip(WELLS, range(50, 74, 2), strict=True))), platemap=platemap)
    found = profile(tmp_path, controls={"negative": ["dmso"]})
    assert found.RobustZ_Count_Nuclei.notna().all() and not warnings()
    assert found.RobustZ_Count_Nuclei[2] == 0  # the median of five


def test_a_feature_that_few_reference_wells_have_is_named_in_one_warning(tmp_path, warnings):
    nuclei = planted_nuclei(dict(zip(WELLS, range(50, 74, 2), strict=True)))
    nuclei.loc[nuclei.Metadata_Well.isin(["B02", "B03"]), "Nuclei_Intensity_MeanIntensity_DNA"] = np.nan
    write_plate(tmp_path, nuclei)
    found = profile(tmp_path)
    (line,) = warnings()
    assert "1 of 7 features are not normalised" in line and "Nuclei_Intensity_MeanIntensity_DNA" in line
    assert found.RobustZ_Nuclei_Intensity_MeanIntensity_DNA.isna().all()
    assert found.RobustZ_Nuclei_AreaShape_Area.notna().all()


def test_controls_are_not_missed_without_a_platemap_unless_the_configuration_names_some(tmp_path, warnings):
    write_plate(tmp_path, planted_nuclei(dict.fromkeys(WELLS, 60)), platemap="")
    found = profile(tmp_path, platemap=False)
    assert not warnings() and found.RobustZ_Count_Nuclei.isna().all()
    profile(tmp_path, platemap=False, controls={"negative": ["DMSO"]})
    (line,) = warnings()
    assert "no well is a control; found no column of controls; no column of treatments" in line


def test_without_normalisation_there_are_no_columns_of_it(tmp_path, warnings):
    write_plate(tmp_path, planted_nuclei(dict.fromkeys(WELLS, 60)))
    assert not profile(tmp_path, settings={**MEDIANS, "normalize": "none"}).filter(like="RobustZ_").columns.size
    assert not warnings()


def test_a_plate_without_nuclei_has_rows_with_counts_of_zero(tmp_path):
    nuclei = planted_nuclei(dict.fromkeys(WELLS, 60))[:0]
    write_plate(tmp_path, nuclei, wells=WELLS)
    found = profile(tmp_path)
    assert len(found) == 12 and (found.Count_Nuclei == 0).all()
    assert found[FEATURES].isna().all(axis=None) and all(found[name].dtype == "float64" for name in FEATURES)


def test_the_parquet_table_has_the_columns_of_the_run_and_the_csv_those_of_the_plate(tmp_path):
    write_plate(tmp_path, planted_nuclei(dict.fromkeys(WELLS, 60)))
    of_run = ["Metadata_compound", "Metadata_batch", "Metadata_control"]
    profile(tmp_path, columns=of_run)
    table = pq.read_table(tmp_path / "profiles.parquet")
    counts = ["Count_Nuclei", "Mean_Count_Nuclei", "Share_Positive_Tubulin", *FEATURES]
    head = ["Metadata_Plate", "Metadata_Well", *of_run, "Fields_Total", "Fields_Failed", *JUDGED]
    assert table.column_names == [*head, *counts, *(f"RobustZ_{name}" for name in counts)]
    assert table["Metadata_batch"].null_count == 12 and table.schema.field("Metadata_batch").type == pa.string()
    assert json.loads(table.schema.metadata[b"features"]) == FEATURES and b"pandas" not in table.schema.metadata
    with open(tmp_path / "profiles.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == [name for name in table.column_names if name != "Metadata_batch"]
    area = table["Nuclei_AreaShape_Area"].to_pylist()
    assert [float(row["Nuclei_AreaShape_Area"]) for row in rows] == area and rows[0]["Count_Nuclei"] == "60"


def test_the_bytes_of_profiles_are_the_same_however_many_nuclei_are_in_memory(tmp_path, monkeypatch):
    nuclei = planted_nuclei(dict.fromkeys(WELLS, 60))
    tables_of = []
    for name, size in (("a", 1), ("b", 10**9)):
        monkeypatch.setattr(profiles, "VALUES_AT_ONCE", size)
        monkeypatch.setattr(profiles, "ROWS_AT_ONCE", size)
        write_plate(tmp_path / name, nuclei)
        profile(tmp_path / name)
        tables_of.append([(tmp_path / name / f"profiles.{kind}").read_bytes() for kind in ("parquet", "csv")])
    assert tables_of[0] == tables_of[1]


def test_wells_that_lost_fields_are_told_of_as_their_counts_are_sums(tmp_path, warnings):
    nuclei = planted_nuclei(dict.fromkeys(WELLS, 60))
    write_plate(tmp_path, nuclei)
    wells = pq.read_table(tmp_path / "wells.parquet").to_pylist()
    wells[3]["Fields_Failed"] = 1
    schema = pq.read_schema(tmp_path / "wells.parquet")
    pq.write_table(pa.Table.from_pylist(wells, schema), tmp_path / "wells.parquet")
    profile(tmp_path)
    (line,) = [line for line in warnings() if "good fields" in line]
    assert line.startswith("plate P1: another number of good fields than 2 in 1 well: ")


@pytest.mark.parametrize("column, noun", [("Metadata_Timepoint", "time points"), ("Metadata_ZPlane", "z planes")])
def test_profiles_over_several_planes_of_a_field_are_told_of(tmp_path, warnings, column, noun):
    write_plate(tmp_path, planted_nuclei(dict.fromkeys(WELLS, 60)))
    fields = pd.read_parquet(tmp_path / "fields.parquet")
    pd.concat([fields.assign(**{column: number}) for number in (1, 2, 3)]).to_parquet(tmp_path / "fields.parquet")
    profile(tmp_path)
    assert any(f"up to 3 {noun}" in line and "profiles" in line for line in warnings())


def test_other_planes_of_other_fields_are_not_told_of(tmp_path, warnings):
    write_plate(tmp_path, planted_nuclei(dict.fromkeys(WELLS, 60)))
    fields = pd.read_parquet(tmp_path / "fields.parquet")  # nuclei.z: best takes one of each field
    fields.assign(Metadata_ZPlane=np.arange(len(fields)) % 3).to_parquet(tmp_path / "fields.parquet")
    profile(tmp_path)
    assert not warnings()
