"""Controls are the wells that a platemap or the configuration names, and other wells are compared with them."""

import statistics

import numpy as np
import pandas as pd
import pytest

from fieldwork import InputError
from fieldwork.inputs import platemaps
from fieldwork.inputs.config import check_config
from fieldwork.screen import controls

DEFAULTS = check_config({}, source="defaults")["screen"]["readouts"]


def wells_of(plate, wells, roles, **values):
    """Return wells of a plate with a column control, and the values of features."""
    columns = {"Metadata_Plate": plate, "Metadata_Well": wells, "Metadata_control": roles, "Excluded": False}
    return pd.DataFrame(columns | values)


def column_of(column, rows=8):
    return [f"{row}{column:02d}" for row in "ABCDEFGHIJKLMNOP"[:rows]]


def rows_of(**columns):
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize(
    "named, cells, treatments, expected",
    [
        ({}, ["neg", "POSCON", "", None], ["a", "b", "c", "d"], "negative positive sample sample"),
        ({"negative": ["dmso"]}, ["DMSO ", "", "x", ""], ["a", "dmso", "c", "d"], "negative sample sample sample"),
        (
            {"negative": ["DMSO"]},
            ["", "poscon", "", ""],
            ["dmso", "taxol", "c", "d"],
            "negative positive sample sample",
        ),
        (
            {"negative": ["DMSO"], "positive": ["Taxol", "x y"]},
            [None] * 4,
            ["DMSO", "taxol", "X  Y", ""],
            "negative positive positive sample",
        ),
        ({"positive": ["neg"]}, ["neg", "", "", ""], ["a", "b", "c", "d"], "positive sample sample sample"),
        ({"negative": [0]}, ["0", "1", "2", "3"], ["a", "b", "c", "d"], "negative sample sample sample"),
    ],
)
def test_a_well_is_what_its_cell_says_or_else_its_treatment(named, cells, treatments, expected):
    rows = rows_of(Metadata_control=cells, Metadata_compound=treatments)
    assert platemaps.roles_of(rows, named, where="P1") == expected.split()


def test_a_plate_without_text_in_a_column_has_none_although_its_table_does():
    # Of two plates of a run, one has no column control: there, names are those of treatments.
    with_control = wells_of("P1", ["B02", "B03"], ["vehicle", ""]).assign(Metadata_compound=["dmso", "dmso"])
    without = wells_of("P2", ["B02", "B03"], [None, None]).assign(Metadata_compound=["dmso", "drug"])
    both = pd.concat([with_control, without])
    assert controls.roles_of(both, {"negative": ["DMSO"]}) == ["negative", "negative", "negative", "sample"]
    assert controls.roles_of(both, {"negative": ["vehicle"]}) == ["negative", "sample", "sample", "sample"]
    assert controls.names_of_no_well(both, {"negative": ["DMSO", "DSMO"], "positive": ["vehicle"]}) == ["DSMO"]


def test_a_control_that_contradicts_its_treatment_is_refused():
    rows = rows_of(Metadata_control=["negative", ""], Metadata_drug=["taxol", "DMSO"])
    with pytest.raises(InputError, match="P1: the column 'control' has 'negative' in a well of 'taxol'"):
        platemaps.roles_of(rows, {"positive": ["taxol"]}, where="P1")
    with pytest.raises(InputError, match="controls has 'taxol' as negative and as positive"):
        check_config({"controls": {"negative": ["taxol"], "positive": ["Taxol"]}}, source="c.yaml")


@pytest.mark.parametrize(
    "value", [{"neutral": ["DMSO"]}, {"negative": "DMSO"}, {"negative": [""]}, {"negative": [1.5]}, ["DMSO"]]
)
def test_other_controls_in_the_configuration_are_refused(value):
    with pytest.raises(InputError, match="controls"):
        check_config({"controls": value}, source="c.yaml")


def test_readouts_are_columns_by_name_or_pattern_in_the_order_of_the_configuration():
    columns = ["Metadata_x", "Excluded", "Count_Nuclei", "Share_Positive_w2", "Nuclei_AreaShape_Area"]
    columns += [
        f"Nuclei_Intensity_{kind}Intensity_{name}" for name in ("Actin", "DNA") for kind in ("Mean", "Integrated")
    ]
    columns += [f"RobustZ_{name}" for name in columns[2:]]
    assert controls.readouts_of(columns, DEFAULTS, ["DNA"]) == [
        *("Count_Nuclei", "Nuclei_AreaShape_Area", "Nuclei_Intensity_IntegratedIntensity_DNA"),
        *("Nuclei_Intensity_MeanIntensity_Actin", "Nuclei_Intensity_MeanIntensity_DNA", "Share_Positive_w2"),
    ]
    assert controls.readouts_of(columns[:3], DEFAULTS, []) == ["Count_Nuclei"]  # what a default lacks is left out
    assert len(controls.readouts_of(columns, ["*Intensity*", "Nuclei_*"], ["DNA"])) == 5
    with pytest.raises(InputError, match=r"is 'Nuclei_AreaShape_Areas'; the nearest name is 'Nuclei_AreaShape_Area'"):
        controls.readouts_of(columns, ["Count_Nuclei", "Nuclei_AreaShape_Areas"], ["DNA"])
    with pytest.raises(InputError, match="no column of profiles.parquet is 'RobustZ_"):
        controls.readouts_of(columns, ["RobustZ_*"], ["DNA"])


def test_ratios_are_those_to_the_median_of_the_plates_own_negative_controls():
    plates = [
        wells_of(plate, column_of(2, 4), ["neg", "neg", "neg", ""], Area=np.array([90.0, 100, 130, 50]) * gain)
        for plate, gain in (("P1", 1), ("P2", 0.5))
    ]
    wells = pd.concat(plates, ignore_index=True)
    roles = controls.roles_of(wells, {})
    ratios = controls.ratios_of(wells, roles, ["Area"])
    np.testing.assert_allclose(ratios.Area, [0.9, 1, 1.3, 0.5] * 2)
    percent = controls.percent_of_control(ratios)
    assert percent.columns.tolist() == ["PercentOfControl_Area"]
    np.testing.assert_allclose(percent.PercentOfControl_Area, [90, 100, 130, 50] * 2)
    wells.loc[2, "Excluded"] = True
    np.testing.assert_allclose(controls.ratios_of(wells, roles, ["Area"]).Area[:4], np.array([90, 100, 130, 50]) / 95)
    wells.loc[:3, "Excluded"] = True
    assert controls.ratios_of(wells, roles, ["Area"]).Area.isna().tolist() == [True] * 4 + [False] * 4
    wells["Area"] = -wells["Area"]  # of such a median, no ratio says more or less
    assert controls.ratios_of(wells, roles, ["Area"]).Area.isna().all()


def test_a_well_that_lost_a_field_has_the_ratio_of_the_fields_that_it_has():
    wells = wells_of("P1", column_of(2, 3), ["neg", "neg", ""], Count_Nuclei=[100, 100, 50], Mean_Count_Nuclei=50.0)
    assert controls.ratios_of(wells, controls.roles_of(wells, {}), ["Count_Nuclei"]).Count_Nuclei.tolist() == [1, 1, 1]


def test_separation_is_that_of_the_papers_formulas():
    positive, negative = [10.0, 12, 15, 11], [95.0, 102, 99, 107]
    wells = wells_of(
        "P1", [*column_of(2, 4), *column_of(3, 5)], ["pos"] * 4 + ["neg"] * 4 + [""], Area=[*positive, *negative, 55]
    )
    (row,) = controls.compare_controls(wells, controls.roles_of(wells, {}), ["Area"]).to_dict("records")
    difference = statistics.mean(positive) - statistics.mean(negative)
    deviations = statistics.stdev(positive), statistics.stdev(negative)
    assert row["ZPrime"] == pytest.approx(1 - 3 * sum(deviations) / abs(difference), rel=1e-12)
    assert row["SSMD"] == pytest.approx(difference / np.hypot(*deviations), rel=1e-12)
    assert row["SignalToBackground"] == pytest.approx(12 / 100.75, rel=1e-12)
    assert (row["Wells_Positive"], row["Wells_Negative"], row["Reason"]) == (4, 4, "")
    assert (row["Metadata_Plate"], row["Readout"]) == ("P1", "Area")


@pytest.mark.parametrize(
    "positive, negative, defined, reason",
    [
        ([], [5.0, 6.0], "", "fewer than 2 positive control wells have it"),
        ([5.0], [5.0, 6.0], "SignalToBackground", "fewer than 2 positive control wells have it"),
        ([], [], "", "fewer than 2 positive control wells have it; fewer than 2 negative control wells have it"),
        ([4.0, 6.0], [5.0, 5.0], "SSMD SignalToBackground", "the means are equal"),
        ([4.0, 4.0], [5.0, 5.0], "ZPrime SignalToBackground", "the controls do not vary"),
        ([4.0, 4.0], [4.0, 4.0], "SignalToBackground", "the means are equal; the controls do not vary"),
        ([4.0, 6.0], [0.0, 0.0], "ZPrime SSMD", "the mean of the negative controls is not above 0"),
        (
            [4.0, np.nan],
            [5.0, 6.0],
            "SignalToBackground",
            "fewer than 2 positive control wells have it (of 2 and 2; screen.min_nuclei)",
        ),
    ],
)
def test_what_is_not_defined_is_empty_with_its_reason(positive, negative, defined, reason):
    values = [*positive, *negative, 1.0]
    roles = ["pos"] * len(positive) + ["neg"] * len(negative) + [""]
    wells = wells_of("P1", column_of(2, len(values)), roles, Area=values)
    (row,) = controls.compare_controls(wells, controls.roles_of(wells, {}), ["Area"]).to_dict("records")
    assert [name for name in ("ZPrime", "SSMD", "SignalToBackground") if row[name] == row[name]] == defined.split()
    assert row["Reason"] == reason


@pytest.mark.parametrize(
    "negative, others, is_outer",
    [
        (column_of(1), column_of(12), True),
        (column_of(2), column_of(12), True),
        ([*column_of(2, 16), *column_of(23, 16)], column_of(24, 16), True),  # of 384 wells
        ([*column_of(2), "D06"], column_of(12), False),
        (["A06", "B06", "G07"], column_of(12), True),
        (column_of(3, 3)[2:], column_of(12), False),
        ([], column_of(12), False),
    ],
)
def test_plates_are_named_whose_negative_controls_are_all_near_its_sides(negative, others, is_outer):
    wells = wells_of("P1", [*negative, *others], ["neg"] * len(negative) + [""] * len(others))
    roles = controls.roles_of(wells, {})
    assert controls.plates_with_outer_controls(wells, roles) == ["P1"] * is_outer


def test_tables_of_no_well_are_empty():
    wells = wells_of("P1", [], [], Area=[]).astype({"Metadata_Plate": str})
    assert controls.roles_of(wells, {}) == [] and controls.ratios_of(wells, [], ["Area"]).empty
    assert controls.compare_controls(wells, [], ["Area"]).columns.tolist() == controls.SEPARATION
