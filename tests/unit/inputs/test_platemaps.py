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
    "column", ["well", "Well", "WELL", "Metadata_Well", "well_position", "Well Position", "Well ID"]
)
@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_the_column_of_wells_has_many_spellings_and_cells_three_delimiters(tmp_path, column, delimiter):
    lines = [[column, "compound", "dose"], ["b2", "DMSO", "0"], ["C11", "a, b" if delimiter != "," else "a", "0.5"]]
    path = write(tmp_path, "\n".join(map(delimiter.join, lines)), name="map.txt")
    assert platemaps.read_platemap(path) == {
        "B02": {"Metadata_compound": "DMSO", "Metadata_dose": "0"},
        "C11": {"Metadata_compound": lines[2][1], "Metadata_dose": "0.5"},
    }


def test_of_a_map_of_several_plates_the_lines_of_one_count(tmp_path):
    path = write(tmp_path, "Plate,well,compound\n007,B02,DMSO\n7,B02,taxol\n007,B03,taxol\n7,B04,poison\n")
    of_plate = {"Metadata_compound": "DMSO"}, {"Metadata_compound": "taxol"}
    assert platemaps.read_platemap(path, plate="007") == dict(zip(("B02", "B03"), of_plate, strict=True))
    assert platemaps.read_platemap(path, plate="7")["B04"] == {"Metadata_compound": "poison"}


def test_a_column_of_wells_beside_a_second_spelling_is_the_plainest(tmp_path):
    path = write(tmp_path, "well_id,well\n17,B02\n")
    assert platemaps.read_platemap(path) == {"B02": {"Metadata_well_id": "17"}}


@pytest.mark.parametrize(
    ("text", "kind"),
    [("negcon", "negative"), ("Negative", "negative"), (" poscon ", "positive"), ("DMSO", "sample"), (None, "sample")],
)
def test_controls_are_called_as_they_are_elsewhere(text, kind):
    assert platemaps.control_of(text) == kind


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("position,dose\nB02,1\n", "no column 'well'; found 'position', 'dose'"),
        ("", "no column 'well'; found nothing"),
        ("well;dose\nB2x;2\n", "line 2: 'B2x' is no well"),
        ("well,dose\nB02,1\nB2,2\n", "line 3: well B02 stands there twice"),
        ("well,dose\nB02,1\nB2x,2\n", "line 3: 'B2x' is no well"),
        ("well,dose\n,1\n", "line 2: '' is no well"),
        ("well,dose\nB02,1,2\n", "line 2: found 3 cells under 2 columns"),
        ("well,Plate\nB02,1\nB03,2\n", "its column 'Plate' has '1', '2', and not the plate 'P1'"),
        ("well,plate\nB02,P1\nb2,P1\n", "line 3: well B02 stands there twice"),
        ("well,Metadata_Well\nB02,1\n", "Metadata_Well"),
        ("well,dose,Metadata_dose\nB02,1,2\n", "Metadata_dose"),
    ],
)
def test_a_wrong_platemap_is_refused(tmp_path, text, said):
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}(?s:.*){re.escape(said)}"):
        platemaps.read_platemap(path, plate="P1")
