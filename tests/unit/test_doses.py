"""Doses: numbers and units in cells, in the names of columns, and in a column of their own."""

from decimal import Decimal

import pytest

from fieldwork import InputError, doses
from fieldwork.inputs import platemaps


@pytest.mark.parametrize(
    ("text", "number", "unit"),
    [
        ("10", "10", ""),
        ("10 uM", "10", "uM"),
        ("10µM", "10", "uM"),
        ("10 μM", "10", "uM"),
        ("0,5 nM", "0.5", "nM"),
        (" 1e-3 mM ", "0.001", "mM"),
        ("5 ng/ml", "5", "ng/mL"),
        ("2.5 mg/L", "2.5", "ug/mL"),
        ("0.1%", "0.1", "%"),
        ("10 Gy", "10", "Gy"),
        (".5", "0.5", ""),
        ("3 micromolar", "3", "uM"),
    ],
)
def test_cells_have_a_number_and_a_unit(text, number, unit):
    assert doses.read_dose(text) == (Decimal(number), unit)


@pytest.mark.parametrize("text", ["", None, "high", "10 uM (2x)", "1 000", ">10", "10-20", "1.000,5", "x10", "10^-6 M"])
def test_other_cells_are_no_doses(text):
    assert doses.read_dose(text) is None


def test_units_of_one_kind_are_converted_exactly():
    assert doses.converted(doses.read_dose("700 nM"), "uM") == 0.7
    assert doses.converted(doses.read_dose("0.7 uM"), "nM") == 700
    assert doses.converted(doses.read_dose("3e-7 M"), "uM") == 0.3
    assert doses.converted(doses.read_dose("50 ng/mL"), "ug/mL") == 0.05
    assert doses.converted(doses.read_dose("50 ng/mL"), "uM") is None
    assert doses.converted(doses.read_dose("0"), "uM") == 0


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        ("concentration_um", "uM"),
        ("Metadata_dose_nM", "nM"),
        ("dose (µM)", "uM"),
        ("dose_μm", "uM"),
        ("Dose [ng/mL]", "ng/mL"),
        ("dose_ug_ml", "ug/mL"),
        ("conc_uM", "uM"),
        ("Conc(nM)", "nM"),
        ("dose_analog", ""),
        ("dose", ""),
        ("dose_level", ""),
    ],
)
def test_names_of_columns_end_in_a_unit(column, unit):
    assert platemaps.dose_column([column]) == column and doses.unit_of_column(column) == unit


def read(folder, text):
    path = folder / "map.csv"
    path.write_text(text, encoding="utf-8")
    return [cells for cells in platemaps.read_platemap(path).values()]


def test_doses_have_decimal_commas_whatever_stands_between_cells(tmp_path):
    wells = read(tmp_path, 'well,dose\nA01,"0,5 nM"\nA02,"1,000 nM"\nA03,high\n')
    assert [cells["Metadata_dose"] for cells in wells] == ["0.5 nM", "1.000 nM", "high"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "well,dose_um\nA01,1\nA02,10 nM\n",
            "line 3, column dose_um: found '10 nM', but the name of column dose_um says",
        ),
        ("well,dose,dose_unit\nA01,1 uM,uM\nA02,3 uM,nM\n", "line 3, column dose: found '3 uM', but column dose_unit"),
        (
            "well,dose_um,dose_unit\nA01,1,nM\n",
            "line 2, column dose_um: found '1': column dose_unit says nM; expected uM",
        ),
        ("well,dose\nA01,0\nA02,10 uM\nA03,3\n", "line 4, column dose: found '3', a dose without a unit, and '10 uM'"),
        ('well,dose,conc_uM\nA01,,"1,000"\n', "line 2, column conc_uM: found '1,000', which may be"),
        ("well,log_x,dose_log10_um\nA01,5,\nA02,5,1.5\n", "line 3, column dose_log10_um: found '1.5', a logarithm"),
        ('well,dose\nA01,"1,000 nM"\n', "line 2, column dose: found '1,000 nM', which may be 1.000 or 1000"),
    ],
)
def test_doses_that_contradict_each_other_are_refused_with_their_line(tmp_path, text, message):
    with pytest.raises(InputError) as error:
        read(tmp_path, text)
    assert message in str(error.value) and "map.csv" in str(error.value) and "\n" not in str(error.value)


def test_units_that_agree_are_accepted(tmp_path):
    read(tmp_path, "well,dose_um,dose_unit\nA01,1 µM,uM\nA02,3,\nA03,high,x\nA04,,\n")
    read(tmp_path, "well,dose\nA01,0\nA02,10 uM\nA03,DMSO\nA04,5 nM\n")
