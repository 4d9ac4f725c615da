"""A platemap is text by well; a wrong one is refused at its line."""

import re

import pytest

from fieldwork import InputError
from fieldwork.inputs import platemaps


def write(folder, text, name="map.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_platemap_gives_every_well_its_columns_as_text(tmp_path):
    text = '\ufeffwell,dose,Metadata_batch,note\r\nb2,1e5,007,"a, b"\r\nC11,,x\r\n'
    assert platemaps.read_platemap(write(tmp_path, text)) == {
        "B02": {"Metadata_dose": "1e5", "Metadata_batch": "007", "Metadata_note": "a, b"},
        "C11": {"Metadata_dose": "", "Metadata_batch": "x", "Metadata_note": ""},
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Wells,dose\nB02,1\n", "no column 'well'; found 'Wells', 'dose'"),
        ("well|dose\nB02|1\n", "no column 'well'"),
        ('"well"|dose\nB02|1\n', "line 1: cannot be read"),
        ("well,plate,Plate\nB02,a,b\n", "Metadata_Plate"),
        ("plate,well\na,B02\nb,B03\n", "no line of plate 'p'; found 'a', 'b'"),
        ("plate,well\nP,B02\n", "no line of plate 'p'; found 'P'"),
        ("plate,well\np,B02\n,B03\n", "line 3: column 'plate' is empty"),
        ("plate,well\np,B02\np,B2\n", "line 3: well B02 stands there twice"),
        ("well,dose\nB02,1\nB2,2\n", "line 3: well B02 stands there twice"),
        ("well,dose\nB02,1\nB2x,2\n", "line 3: 'B2x' is no well"),
        ("well,dose\n,1\n", "line 2: '' is no well"),
        ("well,dose\nB02,1,2\n", "line 2: found 3 cells under 2 columns"),
        ("well,Metadata_Well\nB02,1\n", "Metadata_Well"),
        ("well,dose,Metadata_dose\nB02,1,2\n", "Metadata_dose"),
        ("well,Exclude\nB02,1\nB03,maybe\n", "line 3, column Exclude: found 'maybe'; expected 1, true, yes or x"),
    ],
)
def test_a_wrong_platemap_is_refused(tmp_path, text, said):
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}(?s:.*){re.escape(said)}"):
        platemaps.read_platemap(path, "p")


def test_a_column_exclude_names_the_wells_that_are_left_out(tmp_path):
    cells = ["1", "TRUE", "yes", " X", "", "0", "False", "no"]
    text = "well,Exclude\n" + "".join(f"A{number},{cell}\n" for number, cell in enumerate(cells, 1))
    platemap = platemaps.read_platemap(write(tmp_path, text))
    assert platemaps.excluded_wells(platemap) == ["A01", "A02", "A03", "A04"]
    assert platemaps.excluded_wells({"A01": {"Metadata_excluded_by": "me"}}) == platemaps.excluded_wells({}) == []


@pytest.mark.parametrize(("wells", "is_doubtful"), [({"C03", "D06"}, True), ({"A02", "C03"}, False), (set(), False)])
def test_a_platemap_without_any_well_of_the_images_is_doubted(wells, is_doubtful):
    doubts = platemaps.doubts_about_wells({"A01", "A02"}, wells, "map.csv")
    assert len(doubts) == is_doubtful and platemaps.doubts_about_wells(set(), wells, None) == []
    said = "".join(doubts)
    assert ("map.csv, so that" in said and "A01 to A02 there, and images of C03 to D06" in said) == is_doubtful


@pytest.mark.parametrize("name", ["Excluded", "excluded?", "EXCLUDE"])
def test_a_column_excluded_leaves_wells_out_too(tmp_path, name):
    platemap = platemaps.read_platemap(write(tmp_path, f"well,{name}\nA01,1\nA02,0\n"))
    assert platemaps.excluded_wells(platemap) == ["A01"]


@pytest.mark.parametrize(
    ("columns", "dose"),
    [
        (["dose_level", "concentration_uM"], "concentration_uM"),
        (["concentration_cells_per_ml", "dose_uM"], "dose_uM"),
        (["dose_date", "Conc (nM)"], "Conc (nM)"),
        (["Dose", "Concentration"], "Concentration"),
        (["log10 dose (M)", "Dose Unit", "unit"], None),
    ],
)
def test_the_dose_column_is_the_same_in_every_order_of_columns(columns, dose):
    assert platemaps.dose_column(columns) == platemaps.dose_column(columns[::-1]) == dose


def test_the_column_of_controls_may_be_called_control_type():
    assert platemaps.control_column(["Control_Type"]) == "Control_Type"
    assert platemaps.control_column(["control type", "control"]) == "control"


def test_the_column_of_units_may_be_called_unit():
    assert platemaps.unit_column(["Unit", "Dose"]) == "Unit"
    assert platemaps.unit_column(["unit", "dose unit"]) == "dose unit"


@pytest.mark.parametrize("name", ["Drug Name", "Cmpd ID", "Compounds", "compound_id"])
def test_treatments_have_names_and_ids(name):
    assert platemaps.treatment_column([f"Metadata_{name}"]) == f"Metadata_{name}"


def test_the_column_of_treatments_is_the_same_in_every_order_of_columns():
    columns = ["compound_id", "Compound Name", "gene"]
    for order in (columns, columns[::-1]):
        assert platemaps.treatment_column(order) == "Compound Name"
        assert platemaps.treatment_column([*order, "treatment"]) == "treatment"


@pytest.mark.parametrize(
    ("row", "doubt"),
    [
        ({"Omit": "yes"}, "column 'Omit' leaves out no well"),
        ({"compound": "a", "well type": "negcon"}, "column 'well type' has names of controls"),
        ({"compound": "a", "Controls": "negcon"}, "column 'Controls' has names of controls"),
        ({"compound": "a", "log10 dose (M)": "-6"}, "column 'log10 dose (M)' is not read as doses"),
        ({"compound": "a", "Conc.": "1"}, "column 'Conc.' is not read as doses"),
        ({"Agent": "a", "dose": "1"}, "doses ('dose') without a column treatment"),
    ],
)
def test_columns_that_seem_to_count_and_do_not_are_named(row, doubt):
    (sentence,) = platemaps.doubts_of([{f"Metadata_{name}": text for name, text in row.items()}])
    assert sentence.startswith(doubt)


def test_a_finer_column_of_treatments_is_named():
    rows = [{"Metadata_treatment": "24h", "Metadata_compound": name} for name in "ab"]
    assert platemaps.doubts_of(rows) == ["wells alike in 'treatment' are replicates, although 'compound' differs"]


def test_a_usual_platemap_leaves_no_doubt():
    rows = [
        {"Metadata_Plate": "p", "Metadata_compound": "a", "Metadata_dose_uM": "1", "Metadata_control": ""},
        {"Metadata_Plate": "p", "Metadata_compound": "DMSO", "Metadata_dose_uM": "", "Metadata_control": "negcon"},
    ]
    assert platemaps.doubts_of(rows) == platemaps.doubts_of([]) == []


SPELLINGS = {
    "capital": "Well,compound\nA01,DMSO\nB2,taxol\n",
    "position": "well_position\tcompound\nA01\tDMSO\nB02\ttaxol\n",
    "metadata": "Metadata_Well,Metadata_compound\nA01,DMSO\nB02,taxol\n",
    "semicolons": "\ufeffwell;compound\r\nA01;DMSO\r\nB02;taxol\r\n",
    "quotes": '"Well Name";"compound"\n"A01";"DMSO"\n"B02";"taxol"\n',
    "the plate": "Plate,well,compound\np,A01,DMSO\np,B02,taxol\n",
    "an empty plate": "Plate,well,compound\n,A01,DMSO\n,B02,taxol\n",
    "two plates": "Metadata_Plate,well,compound\nother,A01,poison\np,A01,DMSO\np,B02,taxol\nother,B02,poison\n",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_usual_spellings_are_read(tmp_path, spelling):
    read = platemaps.read_platemap(write(tmp_path, SPELLINGS[spelling], "map.txt"), "p")
    assert read == {"A01": {"Metadata_compound": "DMSO"}, "B02": {"Metadata_compound": "taxol"}}


def test_a_changed_map_is_read_again_and_what_was_read_of_one_plate_is_not_another_ones(tmp_path):
    path = write(tmp_path, "plate,well,dose\np,A01,1\nq,A01,2\n")
    assert platemaps.read_platemap(path, "p") == {"A01": {"Metadata_dose": "1"}}
    assert platemaps.read_platemap(path, "q") == {"A01": {"Metadata_dose": "2"}}
    write(tmp_path, "plate,well,dose\np,A01,30\nq,A01,2\n")
    assert platemaps.read_platemap(path, "p") == {"A01": {"Metadata_dose": "30"}}
    path.unlink()
    with pytest.raises(InputError, match="cannot be read: No such file"):
        platemaps.read_platemap(path, "p")


def test_doses_between_semicolons_have_decimal_commas(tmp_path):
    read = platemaps.read_platemap(write(tmp_path, "well;dose_um;note\nA01;0,001;1,5\nA02;1.5;\nA03;high;\n"))
    assert [cells["Metadata_dose_um"] for cells in read.values()] == ["0.001", "1.5", "high"]
    assert read["A01"]["Metadata_note"] == "1,5"


@pytest.mark.parametrize(
    ("text", "role"),
    [
        *(
            (text, "negative")
            for text in ("negative", "NEG", " negcon ", "Negative control", "neg_ctrl", "negative-control")
        ),
        *((text, "positive") for text in ("Positive", "poscon", "pos", "pos control")),
        *((text, "sample") for text in ("", None, "control", "DMSO", "positively", "poscon_cp", "trt")),
    ],
)
def test_controls_have_usual_names(text, role):
    assert platemaps.control_of(text) == role


@pytest.mark.parametrize("name", ["plate_id", "Plate Name", "Metadata_Barcode", "Assay_Plate_Barcode"])
def test_other_names_of_the_plate_count_where_they_name_it(tmp_path, name):
    path = tmp_path / "map.csv"
    path.write_text(f"well,{name},compound\nA01,p,DMSO\nA02,q,poison\n")
    of_plates = {plate: platemaps.read_platemap(path, plate) for plate in "pqr"}
    assert {plate: list(wells) for plate, wells in of_plates.items()} == {
        "p": ["A01"],
        "q": ["A02"],
        "r": ["A01", "A02"],
    }
    assert of_plates["p"]["A01"]["Metadata_compound"] == "DMSO"


@pytest.mark.parametrize("name", ["plate_id", "PlateName", "Metadata_Barcode", "Assay Plate"])
def test_a_column_of_other_plates_is_refused_if_none_is_this_plate(tmp_path, name):
    path = tmp_path / "map.csv"
    path.write_text(f"well,{name},compound\nA01,x,DMSO\nA02,x,a\nA03,y,b\n")
    said = f"map.csv: column '{name}' has no line of plate 'p'; found 'x', 'y'. Expected the plate's name in the sheet"
    with pytest.raises(InputError, match=said):
        platemaps.read_platemap(path, "p")
    path.write_text(f"well,{name},compound\nA01,x,DMSO\nA02,x,a\n")  # what this plate is called elsewhere
    assert list(platemaps.read_platemap(path, "p")) == ["A01", "A02"]


@pytest.mark.parametrize("date", ["2026-05-01", "01.05.2026", "1/5/26", "05. Jan", "1-May", "Mai 05", "5-Jan-26"])
def test_dates_are_no_doses(tmp_path, date):
    with pytest.raises(InputError, match=f"line 3, column dose: found '{date}', a date, as spreadsheets make of 1.5"):
        platemaps.read_platemap(write(tmp_path, f"well,dose\nA01,1.5\nA02,{date}\n"))


@pytest.mark.parametrize("dose", ["5 nM", "1e-5", "10", "0.5", "5 Ma", "high", "1/2", "3 mar/l", "may"])
def test_what_only_resembles_a_date_is_kept(tmp_path, dose):
    wells = platemaps.read_platemap(write(tmp_path, f"well,dose\nA01,{dose}\n"))
    assert wells["A01"]["Metadata_dose"] == dose


def test_commas_that_may_part_thousands_are_refused_as_doses(tmp_path):
    path = tmp_path / "map.csv"
    path.write_text("well;dose_um\nA01;0,1\nA02;1,000\n")
    assert [cells["Metadata_dose_um"] for cells in platemaps.read_platemap(path).values()] == ["0.1", "1.000"]
    for first in ("0.1", "100"):
        path.write_text(f"well;dose_um\nA01;{first}\nA02;1,000\n")
        with pytest.raises(InputError, match="line 3, column dose_um: found '1,000', which may be 1.000 or 1000;"):
            platemaps.read_platemap(path)


def test_of_columns_of_wells_that_counts_which_has_wells(tmp_path):
    path = write(tmp_path, "Well,Well Position,compound\n1,A1,DMSO\n2,A2,a\n")
    assert list(platemaps.read_platemap(path)) == ["A01", "A02"]
    path = write(tmp_path, "Well,Well Position,compound\nA01,A1,DMSO\nA02,A2,a\n")
    assert list(platemaps.read_platemap(path)) == ["A01", "A02"]
    path = write(tmp_path, "Well,Well Position,compound\nA01,A1,DMSO\nA02,B2,a\n")
    with pytest.raises(
        InputError, match="line 3: the columns of wells contradict each other .'Well' 'A02' and 'Well Po"
    ):
        platemaps.read_platemap(path)


def test_a_slip_in_a_column_of_wells_does_not_make_another_one_count(tmp_path):
    path = write(tmp_path, "Well,Well Position,compound\nB02,C02,DMSO\nB0Z,C03,a\n")  # the wells of a library
    with pytest.raises(InputError, match="line 2: the columns of wells contradict each other"):
        platemaps.read_platemap(path)
    path = write(tmp_path, "Well,Well Position,compound\nB02,b2,DMSO\nB0Z,B03,a\n")
    with pytest.raises(InputError, match="line 3: the columns of wells contradict each other .'Well' 'B0Z' and"):
        platemaps.read_platemap(path)


def test_columns_that_differ_by_case_alone_are_refused(tmp_path):
    path = write(tmp_path, "well,Compound,compound\nB02,DMSO,a\n")
    with pytest.raises(InputError, match="line 1: wells.csv would have two columns Metadata_compound"):
        platemaps.read_platemap(path)


@pytest.mark.parametrize("dose", ["1.000,5", "1,000.5", "1 000", "1'000", "1.000.000", "1,000,000", "2\u202f500,5 nM"])
def test_doses_with_signs_between_thousands_are_refused(tmp_path, dose):
    with pytest.raises(InputError, match="line 3, column dose: found .*, with signs between thousands"):
        platemaps.read_platemap(write(tmp_path, f"well\tdose\nA01\t1\nA02\t{dose}\n"))


def test_a_point_that_may_part_thousands_is_refused_beside_decimal_commas(tmp_path):
    with pytest.raises(InputError, match="line 3, column dose: found '1.000', which may be 1.000 or 1000, as '0,5' in"):
        platemaps.read_platemap(write(tmp_path, "well;dose\nA01;0,5\nA02;1.000\n"))
    assert len(platemaps.read_platemap(write(tmp_path, "well;dose\nA01;0.5\nA02;1.000\n"))) == 2


def test_two_columns_of_wells_are_refused(tmp_path):
    path = tmp_path / "map.csv"
    path.write_text("Metadata_Well,well,compound\nA01,B02,x\n")
    with pytest.raises(InputError, match="line 1: wells.csv would have two columns Metadata_well"):
        platemaps.read_platemap(path)
