"""Treatments and doses of wells: which columns say them, and in which unit."""

import math

import pandas as pd

from fieldwork.screen.treatments import mixed_units, treatments_of


def wells(*rows):
    return pd.DataFrame(rows).rename(columns="Metadata_{}".format)


def well(plate, **columns):
    return {"Plate": plate, "Well": "A01", **columns}


def test_doses_of_one_treatment_get_the_unit_of_most_of_its_wells():
    table = wells(
        *(well("p", drug="x", dose=text) for text in ("100 nM", "1 uM", "3 uM", "0", "")),
        *(well("p", drug="y", dose=text) for text in ("5 ng/ml", "1 ug/ml", "7 ng/ml")),
    )
    treatments = treatments_of(table)
    assert treatments["Treatment"].tolist() == ["x"] * 5 + ["y"] * 3
    assert treatments["Dose"].tolist()[:4] == [0.1, 1, 3, 0] and math.isnan(treatments["Dose"][4])
    assert treatments["Unit"].tolist() == ["uM"] * 4 + [""] + ["ng/mL"] * 3
    assert treatments["Dose"].tolist()[5:] == [5, 1000, 7]


def test_plates_may_call_their_columns_differently():
    table = wells(
        well("p", compound="x", concentration_um="0,5", drug=None, dose=None, dose_unit=None),
        well("q", compound=None, concentration_um=None, drug="x", dose="500", dose_unit="nM"),
        well("r", compound=None, concentration_um=None, drug=None, dose=None, dose_unit=None),
    )
    treatments = treatments_of(table)
    assert treatments[:2].to_dict("list") == {"Treatment": ["x"] * 2, "Dose": [0.5] * 2, "Unit": ["uM"] * 2}
    assert treatments["Treatment"][2] == treatments["Unit"][2] == "" and math.isnan(treatments["Dose"][2])


def test_text_stays_and_units_that_measure_different_things_stay_apart():
    table = wells(*(well("p", drug="x", dose=text) for text in ("high", "3 uM", "1 uM", "5 ng/mL", "n/a")))
    treatments = treatments_of(table)
    assert treatments["Dose"].tolist()[:4] == ["high", 3, 1, 5] and math.isnan(treatments["Dose"][4])
    assert treatments["Unit"].tolist() == ["", "uM", "uM", "ng/mL", ""]
    assert mixed_units(treatments) == {"x": ["ng/mL", "uM"]}


def test_wells_keep_their_index():
    table = wells(*(well(plate, drug=plate, dose="1") for plate in "pqpq"))
    table.index = [7, 3, 5, 1]
    treatments = treatments_of(table)
    assert list(treatments.index) == [7, 3, 5, 1] and treatments["Treatment"].tolist() == list("pqpq")
