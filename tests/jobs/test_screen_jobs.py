"""The job that compares the wells of all plates, without Snakemake: whatever the profiles, tables and reasons."""

import logging
import re
import warnings as python_warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import screen_plates
from fieldwork import InputError
from fieldwork.inputs.schemas import read_schema
from planted_profiles import AREA, COUNT, INTENSITY, READOUTS, planted_profiles, profiles_of_wells

FILES = {"parquet": "wells.parquet", "csv": "wells.csv"}
FILES |= {name: f"{name}.csv" for name in ("plates", "hits", "replicates", "doses")}
DEFAULTS = read_schema("config")["properties"]["screen"]["properties"]["readouts"]["default"]
HIT = {"q": 0.05, "z": 3, "change": 0.2}


def compare(folder, profiles, *, readouts=DEFAULTS, controls=None, batches=None, normalize="negative controls"):
    """Do the job for the plates of some profiles; return its tables, hits and curves without an empty batch."""
    folder.mkdir(exist_ok=True)
    paths = []
    for name, plate in profiles.groupby("Metadata_Plate", sort=False):
        paths.append(folder / f"{name}.parquet")
        plate.to_parquet(paths[-1])
    results = {name: folder / file for name, file in FILES.items()}
    screen_plates.main(
        profiles=paths,
        results=SimpleNamespace(**results),
        settings={"readouts": readouts, "min_nuclei": 20, "hit": HIT},
        normalize=normalize,
        control_names=controls or {},
        batches=batches or {},
        nuclei_channels=["w1"],
        doubted={},
    )
    tables = {
        name: pd.read_csv(path, keep_default_na=False, na_values=[""])
        for name, path in results.items()
        if "parquet" not in name
    }
    return SimpleNamespace(**tables, parquet=pd.read_parquet(results["parquet"]))


@pytest.fixture(scope="module")
def planted():
    profiles, _ = planted_profiles(1)
    return profiles


@pytest.fixture
def warnings_of(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_planted_screen_becomes_tables_with_equal_bytes_every_time(tmp_path, planted, warnings_of):
    tables = compare(tmp_path / "one", planted)
    assert len(tables.csv) == len(tables.parquet) == 896 and tables.csv["Excluded"].sum() == 5
    assert (tables.hits["Hit"] == True).sum() > 100  # noqa: E712
    assert tables.doses["EC50"].notna().sum() > 21 and set(tables.hits["Treatment"]) == set(tables.doses["Treatment"])
    assert len(tables.plates) == 4 * len(READOUTS) and len(tables.replicates) == 2 * (len(READOUTS) + 1)
    percent = tables.parquet[f"PercentOfControl_{COUNT}"][tables.parquet["Role"] == "negative"]
    assert percent.groupby(tables.parquet["Metadata_Plate"]).median().tolist() == [100] * 4
    compare(tmp_path / "two", planted)
    for file in FILES.values():
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert {re.sub(" .*", "", line) for line in warnings_of()} == {"all"}  # negative controls in outer columns


def test_a_single_plate_is_a_screen(tmp_path, planted):
    tables = compare(tmp_path, planted[planted["Metadata_Plate"] == "L1R1"])
    assert (tables.hits["Plates"] <= 1).all() and tables.replicates.empty and len(tables.doses) == 24 * len(READOUTS)


def test_plates_without_platemaps_have_wells_and_nothing_to_compare(tmp_path, planted, warnings_of, caplog):
    columns = [
        name for name in planted if name.startswith("Metadata_") and name not in ("Metadata_Plate", "Metadata_Well")
    ]
    tables = compare(tmp_path, planted.drop(columns=columns))
    assert len(tables.csv) == 896 and set(tables.parquet["Role"]) == {"sample"}
    assert tables.hits.empty and tables.doses.empty and tables.replicates.empty
    assert list(tables.hits.columns)[:3] == ["Batch", "Treatment", "Dose"]
    assert not warnings_of() and "no well has a treatment" in caplog.text


def test_without_controls_there_are_effects_and_curves_but_no_hits(tmp_path, planted, warnings_of):
    profiles = planted.assign(Metadata_control="")
    tables = compare(tmp_path, profiles)
    assert tables.hits[["Change", "P", "Q", "Hit"]].isna().all(axis=None) and len(tables.hits)
    curves = tables.doses[(tables.doses["Readout"] == COUNT)]
    assert curves["EC50"].notna().sum() == 21 and (curves["Top"].dropna() > 60).all()  # nuclei, not percents
    assert sum("no negative control" in line for line in warnings_of()) == 1


@pytest.mark.parametrize("fault", ["excluded", "without controls"])
def test_a_plate_without_controls_changes_no_other_plates_curves(tmp_path, planted, fault, warnings_of):
    other = planted["Metadata_Plate"].str.startswith("L2")
    if fault == "excluded":
        rows = planted.assign(Excluded=planted["Excluded"] | other)
    else:
        rows = planted.assign(Metadata_control=planted["Metadata_control"].where(~other, ""))
    batches = {name: name[:2] for name in planted["Metadata_Plate"]}
    curves = compare(tmp_path / "all", rows, readouts=[COUNT, INTENSITY], batches=batches).doses
    alone = compare(tmp_path / "alone", planted[~other], readouts=[COUNT, INTENSITY], batches=batches).doses
    assert (alone["EC50"].notna()).any()
    pd.testing.assert_frame_equal(curves[curves["Batch"] == "L1"].reset_index(drop=True), alone, check_dtype=False)
    reason = "all wells excluded" if fault == "excluded" else "no well has a percent of control and a dose"
    assert set(curves["Reason"][(curves["Batch"] == "L2") & (curves["Treatment"] != "DMSO")]) == {reason}
    assert any("curves leave them out, but those of shares" in line for line in warnings_of())


def test_names_of_controls_count_and_those_of_no_well_are_named(tmp_path, planted, warnings_of):
    tables = compare(tmp_path, planted.assign(Metadata_control=""), controls={"negative": ["dmso", "water"]})
    assert set(tables.parquet["Treatment"][tables.parquet["Role"] == "negative"]) == {"DMSO"}
    assert "kill" in set(tables.hits["Treatment"]) and "DMSO" not in set(tables.hits["Treatment"])
    assert any("no well has the names 'water'" in line for line in warnings_of())


def test_one_negative_control_makes_no_hit_and_the_log_says_why(tmp_path, planted, warnings_of):
    plate = planted[planted["Metadata_Plate"] == "L1R1"]
    negative = plate.index[plate["Metadata_control"] == "negative"]
    rows = plate.drop(negative[1:]).drop(columns=[name for name in plate if name.startswith("RobustZ_")])
    tables = compare(tmp_path, rows)
    assert tables.hits["Hit"].isna().all() and tables.hits["P"].notna().any()
    assert any("none can be clear enough (where values are equal, none" in line for line in warnings_of())
    assert any("no well has a robust z" in line for line in warnings_of())


def test_where_all_wells_are_excluded_nothing_is_compared(tmp_path, planted):
    tables = compare(tmp_path, planted.assign(Excluded=True))
    assert (tables.hits["Wells"] == 0).all() and tables.hits[["Effect", "P", "Q", "Hit"]].isna().all(axis=None)
    assert set(tables.doses["Reason"]) == {"all wells excluded"} and tables.replicates["Correlation"].isna().all()
    assert (tables.csv["Excluded"]).all() and tables.csv[COUNT].notna().all()


def test_wells_without_any_value_are_no_traceback(tmp_path, planted):
    values = [name for name in planted if name.startswith(("Count_", "Mean_", "RobustZ_", "Nuclei_", "Share_"))]
    tables = compare(tmp_path, planted.assign(**dict.fromkeys(values, np.nan), Fields_Failed=1))
    assert (tables.hits["Wells"] == 0).all() and set(tables.doses["Reason"]) == {"no well has a value and a dose"}


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["high", "low", "mid"], "doses are text ('high', 'low', 'mid')"),
        (["0"], "fewer than 4 doses"),
        (["5"], "fewer than 4 doses"),
        (["-3", "-2", "-1", "0", "1"], "doses below 0"),
    ],
)
def test_odd_doses_have_their_reason(tmp_path, planted, texts, reason):
    treated = np.flatnonzero(planted["Metadata_control"] == "")
    doses = planted["Metadata_concentration_um"].copy()
    doses.iloc[treated] = [texts[number % len(texts)] for number in range(len(treated))]
    tables = compare(tmp_path, planted.assign(Metadata_concentration_um=doses), readouts=[COUNT])
    assert set(tables.doses["Reason"]) == {reason} and len(tables.hits) == 24 * len(texts)
    assert set(tables.hits["Dose"].astype(str)) == (
        {f"{float(text)}" for text in texts} if reason[-1] != ")" else set(texts)
    )


def test_treatments_without_doses_are_compared_but_have_no_curve(tmp_path, planted):
    tables = compare(tmp_path, planted.drop(columns="Metadata_concentration_um"), readouts=[COUNT])
    assert len(tables.hits) == 24 and tables.hits["Dose"].isna().all() and tables.doses.empty
    assert (tables.hits["Hit"] == True).any()  # noqa: E712


def test_batches_are_screens_of_their_own(tmp_path, planted):
    batches = {"L1R1": "007", "L1R2": "007", "L2R1": "b", "L2R2": "b"}
    tables = compare(tmp_path, planted, readouts=[COUNT], batches=batches)
    assert (tables.hits["Batch"].value_counts() == 192).all() and len(tables.doses) == 48
    assert tables.hits["Plates"].max() == 2 and set(tables.parquet["Batch"]) == {"007", "b"}
    assert (tmp_path / "hits.csv").read_text().splitlines()[1].startswith("007,cpd01,0.03,uM,")


def test_plates_may_have_other_columns_than_others(tmp_path, planted):
    """One plate has another name for its treatments, units in cells and no area."""
    other = planted["Metadata_Plate"] == "L2R2"
    profiles = planted.assign(
        Metadata_drug=planted["Metadata_compound"].where(other, None),
        Metadata_dose=(planted["Metadata_concentration_um"] + " uM").where(other, None),
        Metadata_compound=planted["Metadata_compound"].where(~other, None),
        Metadata_concentration_um=planted["Metadata_concentration_um"].where(~other, None),
    )
    tables, same = compare(tmp_path / "other", profiles), compare(tmp_path / "same", planted)
    assert (
        tables.hits.equals(same.hits) and tables.doses.equals(same.doses) and tables.replicates.equals(same.replicates)
    )


def test_treatments_whose_names_differ_in_case_or_blanks_alone_are_one(tmp_path, planted, warnings_of):
    other = planted["Metadata_Plate"] == "L1R2"
    written = planted["Metadata_compound"].where(~other, " " + planted["Metadata_compound"].str.upper())
    tables = compare(tmp_path / "other", planted.assign(Metadata_compound=written), readouts=[COUNT])
    same = compare(tmp_path / "same", planted, readouts=[COUNT])
    assert (
        tables.hits.equals(same.hits) and tables.doses.equals(same.doses) and tables.replicates.equals(same.replicates)
    )
    assert sum("26 treatments are written in several ways" in line for line in warnings_of()) == 1
    assert tables.csv["Metadata_compound"].str.startswith(" CPD").any()


def test_tables_are_the_same_in_any_order_of_plates(tmp_path, planted):
    plates = [planted[planted["Metadata_Plate"] == name] for name in planted["Metadata_Plate"].unique()]
    for folder, ordered in (("one", plates), ("two", plates[::-1])):
        compare(tmp_path / folder, pd.concat(ordered, ignore_index=True))
    for file in FILES.values():
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_positive_controls_of_several_doses_are_warned_of(tmp_path, planted, warnings_of):
    compare(tmp_path / "one", planted, readouts=[COUNT])
    assert not any("positive controls differ" in line for line in warnings_of())
    titrated = planted["Metadata_control"].where(planted["Metadata_compound"] != "cpd01", "positive")
    compare(tmp_path / "several", planted.assign(Metadata_control=titrated), readouts=[COUNT])
    assert any("positive controls differ in treatment or dose" in line for line in warnings_of())


def test_without_robust_z_replicates_have_no_profile_to_compare(tmp_path, planted):
    values = planted[[name for name in planted if not name.startswith("RobustZ_")]]
    with python_warnings.catch_warnings():
        python_warnings.simplefilter("error", RuntimeWarning)
        pairs = compare(tmp_path, values, readouts=[COUNT], normalize="none").replicates
    assert (pairs["Wells"] > 0).tolist() == [True, False] * 2 and pairs["Correlation"].notna().sum() == 2


def test_infinite_values_of_controls_are_no_values(tmp_path, planted):
    rows = planted.index[(planted["Metadata_control"] == "negative")][[0, 20, 40, 50]]
    values = {
        value: compare(
            tmp_path / f"{value}", planted.assign(**{AREA: planted[AREA].mask(planted.index.isin(rows), value)})
        )
        for value in (np.inf, np.nan)
    }
    for name in ("hits", "doses", "plates", "replicates"):
        pd.testing.assert_frame_equal(getattr(values[np.inf], name), getattr(values[np.nan], name))


def test_readouts_are_those_of_the_configuration(tmp_path, planted):
    assert set(compare(tmp_path, planted, readouts=[AREA]).hits["Readout"]) == {AREA}
    assert compare(tmp_path, planted.drop(columns=AREA), readouts=["Nuclei_AreaShape_Area"]).hits.empty
    with pytest.raises(InputError, match="screen.readouts: no column of profiles.parquet is 'Nuclei_AreaShape_Aera'"):
        compare(tmp_path, planted, readouts=["Nuclei_AreaShape_Aera"])


def test_few_wells_for_many_treatments_are_warned_of(tmp_path, warnings_of):
    random = np.random.default_rng(1)
    wells = [f"{row}{column:02d}" for row in "ABCDEFGHIJKLMNOP" for column in range(1, 25)]
    rows = [
        {"Metadata_Plate": "p", "Metadata_Well": well, "Metadata_gene": f"g{number // 2}", COUNT: random.poisson(100)}
        | {"Metadata_control": "negative" if number % 16 == 15 else ""}
        for number, well in enumerate(wells)
    ]
    tables = compare(tmp_path, profiles_of_wells(rows))
    assert not (tables.hits["Hit"] == True).any()  # noqa: E712
    assert any("with these numbers of replicates and negative controls" in line for line in warnings_of())
