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
        ("Well,dose\nB02,1\n", "no column 'well'; found 'Well', 'dose'"),
        ("well\tdose\nB02\t1\n", "no column 'well'"),
        ("well,dose\nB02,1\nB2,2\n", "line 3: well B02 stands there twice"),
        ("well,dose\nB02,1\nB2x,2\n", "line 3: 'B2x' is no well"),
        ("well,dose\n,1\n", "line 2: '' is no well"),
        ("well,dose\nB02,1,2\n", "line 2: found 3 cells under 2 columns"),
        ("well,Plate\nB02,1\n", "Metadata_Plate"),
        ("well,Metadata_Well\nB02,1\n", "Metadata_Well"),
        ("well,dose,Metadata_dose\nB02,1,2\n", "Metadata_dose"),
    ],
)
def test_a_wrong_platemap_is_refused(tmp_path, text, said):
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}(?s:.*){re.escape(said)}"):
        platemaps.read_platemap(path)
