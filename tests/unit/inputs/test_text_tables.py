"""Text with any delimiter and in any form of Unicode is read; what is no table is refused by what it is."""

import bz2
import csv
import gzip
import io
import lzma
import re
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fieldwork import InputError
from fieldwork.inputs import image_lists, platemaps, sheets

TEXT = "well\tcompound\nA01\tDMSO 5 µM\n"


def zipped(**files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), text)
    return stream.getvalue()


def parquet():
    stream = io.BytesIO()
    pq.write_table(pa.table({"well": ["A01"]}), stream)
    return stream.getvalue()


KINDS = {
    "map.csv.gz": (gzip.compress(TEXT.encode()), "compressed by gzip; unpack it"),
    "map.csv.bz2": (bz2.compress(TEXT.encode()), "compressed by bzip2; unpack it"),
    "map.csv.xz": (lzma.compress(TEXT.encode()), "compressed by xz; unpack it"),
    "map.parquet": (parquet(), "a Parquet table; save it as"),
    "map.zip": (zipped(map_csv=TEXT), "a ZIP archive; unpack it"),
    "map.docx": (zipped(word__document_xml="<document/>"), "a Word document; save"),
    "map.xlsb": (zipped(xl__workbook_bin="x"), "a binary Excel workbook .*save it as .xlsx"),
    "map.numbers": (zipped(Index__Document_iwa="x"), "an Apple Numbers document; export it"),
    "image.tif": (b"II*\0" + bytes(range(256)) * 4, "a binary file, no text; save it as"),
    "map.pdf": (b"%PDF-1.7\n%\xb5\xb5", "a PDF document; save it as"),
    "map.xls": (b"<html><table><tr><td>well</td></tr></table></html>", "a page of HTML or XML, whatever its name says"),
    "map.rtf": (b"{\\rtf1 well}", "a text document; save it as"),
}
READERS = {
    "platemap": platemaps.read_platemap,
    "image list": lambda path: image_lists.read_image_list(path, plate="P"),
    "sheet": lambda path: sheets.read_sheet("plates", path),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("kind", READERS)
def test_what_is_no_table_is_refused_by_what_it_is(tmp_path, name, kind):
    content, message = KINDS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: is {message}") as caught:
        READERS[kind](tmp_path / name)
    assert "codec" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "encoded",
    [
        *(TEXT.encode(encoding) for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")),
        "\ufeff".encode("utf-16-be") + TEXT.encode("utf-16-be"),
    ],
    ids=["UTF-8 with mark", "UTF-16", "UTF-16 LE without mark", "UTF-16 BE without mark", "UTF-32", "UTF-16 BE"],
)
def test_unicode_is_read_in_every_encoding_that_says_which_it_is(tmp_path, encoded):
    (tmp_path / "map.txt").write_bytes(encoded)
    assert platemaps.read_platemap(tmp_path / "map.txt") == {"A01": {"Metadata_compound": "DMSO 5 µM"}}


def test_damaged_utf_16_is_refused(tmp_path):
    (tmp_path / "map.csv").write_bytes(TEXT.encode("utf-16")[:-1])
    with pytest.raises(InputError, match="map.csv: is damaged text in UTF-16 .*; save it as CSV in UTF-8"):
        platemaps.read_platemap(tmp_path / "map.csv")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("suffix", ["tsv", "csv", "txt"])
def test_sheets_platemaps_and_lists_have_commas_semicolons_or_tabs_whatever_the_files_name(tmp_path, delimiter, suffix):
    def write(*lines):
        path = tmp_path / f"table.{suffix}"
        path.write_text("".join(delimiter.join(cells) + "\r\n" for cells in lines), newline="")
        return path

    rows = sheets.read_sheet("plates", write(("plate", "images"), ("007", "folder a")))
    assert [(row["plate"], row["images"]) for row in rows] == [("007", "folder a")]
    wells = platemaps.read_platemap(write(("well", "compound"), ("B2", "DMSO")))
    assert wells == {"B02": {"Metadata_compound": "DMSO"}}
    scan = image_lists.read_image_list(write(("FileName_DNA", "Metadata_Well"), ("a.tif", "B02")), plate="P")
    assert [(image.path, image.well) for image in scan.images] == [(str(tmp_path / "a.tif"), "B02")]


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;"])
def test_a_first_line_that_names_the_delimiter_is_no_header(tmp_path, line):
    (tmp_path / "map.csv").write_text(f"{line}\nwell;compound\nA01;DMSO\nA02\n")
    assert list(platemaps.read_platemap(tmp_path / "map.csv")) == ["A01", "A02"]


def test_a_line_break_within_quotes_stays_but_in_a_columns_name_and_lines_keep_their_numbers(tmp_path):
    text = 'well,"dose\n(uM)",compound\nA01,1,"a\r\nb"\n\nA02,x1;2,c\nA02,1,d\n'
    (tmp_path / "map.csv").write_text(text, newline="")
    with pytest.raises(InputError, match="line 7: well A02 stands there twice"):
        platemaps.read_platemap(tmp_path / "map.csv")
    (tmp_path / "map.csv").write_text(text.rpartition("A02")[0], newline="")
    assert platemaps.read_platemap(tmp_path / "map.csv")["A01"] == {
        "Metadata_dose (uM)": "1",
        "Metadata_compound": "a\r\nb",
    }


@pytest.mark.parametrize("text", ["a\rb", "a\nb", 'q"q', "a,b", "=1+1", "a\u2028b", "a\x85b", "{x}"])
def test_every_value_of_a_platemap_and_every_name_in_an_image_list_is_as_it_was_written(tmp_path, text):
    def write(*rows):
        with open(tmp_path / "table.csv", "w", encoding="utf-8", newline="") as stream:
            csv.writer(stream, quoting=csv.QUOTE_ALL).writerows(rows)
        return tmp_path / "table.csv"

    wells = platemaps.read_platemap(write(("well", "drug"), ("B02", text)))
    assert wells == {"B02": {"Metadata_drug": text}}
    path = write(("FileName_DNA", "Metadata_Well"), (f"{text}.tif", "B02"))
    assert image_lists.read_image_list(path, plate="P").images[0].path == str(tmp_path / f"{text}.tif")


def test_signs_that_are_no_text_are_refused_at_their_line(tmp_path):
    (tmp_path / "map.csv").write_text("well,drug\n" + f"A01,{'x' * 5000}\nA02,a\0b\n")
    with pytest.raises(InputError, match=r"map.csv, line 3, column drug: found '.x00', which is no text"):
        platemaps.read_platemap(tmp_path / "map.csv")


@pytest.mark.parametrize("dose", ["9" * 400, "9" * 5000, "1e5000", f"1e{'9' * 30}", "1e-999", f"0e{'9' * 30}"])
def test_a_dose_that_is_no_number_to_compute_with_is_refused(tmp_path, dose):
    (tmp_path / "map.csv").write_text(f"well,dose_uM\nA01,{dose}\n")
    with pytest.raises(InputError, match="map.csv, line 2, column dose_uM: found '.*; expected a dose below 1e.100"):
        platemaps.read_platemap(tmp_path / "map.csv")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("well,compound\nA01,DMSO\nA02;taxol\n", "line 3: found 1 cells under 2 columns, and ';' in one; expected ','"),
        ("well,compound,dose\nA01,DMSO,1\nA02,taxol;5\n", "line 3: found 2 cells under 3 columns, and ';' in one"),
        (
            "well;compound\nA01;DMSO\nA02\ttaxol\n",
            "line 3: found 1 cells under 2 columns, and a tab in one; expected ';'",
        ),
        ("well,dose_um\nA01,0,5\n", "line 2: found 3 cells under 2 columns"),
    ],
)
def test_a_line_with_other_signs_between_its_cells_is_refused(tmp_path, text, said):
    (tmp_path / "map.csv").write_text(text)
    with pytest.raises(InputError, match=f"map.csv, {said}"):
        platemaps.read_platemap(tmp_path / "map.csv")


def test_signs_that_belong_to_a_cell_are_kept(tmp_path):
    (tmp_path / "map.csv").write_text("well;compound;dose_um;note\nA01;a, b;0,5;\nA02;c;1,5\n")
    assert [tuple(cells.values()) for cells in platemaps.read_platemap(tmp_path / "map.csv").values()] == [
        ("a, b", "0.5", ""),
        ("c", "1.5", ""),
    ]
    (tmp_path / "plates.tsv").write_text("plate\timages\tlayout\nP1\ta;b, c\n")
    assert sheets.read_sheet("plates", tmp_path / "plates.tsv")[0]["images"] == "a;b, c"


def test_columns_without_a_name_and_without_content_are_left_out(tmp_path):
    (tmp_path / "map.csv").write_text(",well,compound,,\n,A01,DMSO,,\n,A02,taxol,,\n,,,,\n")
    assert platemaps.read_platemap(tmp_path / "map.csv") == {
        "A01": {"Metadata_compound": "DMSO"},
        "A02": {"Metadata_compound": "taxol"},
    }
    (tmp_path / "map.csv").write_text("well,compound,\nA01,DMSO,\nA02,taxol,5\n")
    with pytest.raises(InputError, match="line 1: column 3 has no name, and '5' in line 3; name or delete it"):
        platemaps.read_platemap(tmp_path / "map.csv")


@pytest.mark.parametrize("error", ["#N/A", "#DIV/0!", "#NAME?", "Err:502"])
def test_errors_of_formulas_are_no_values(tmp_path, error):
    (tmp_path / "map.csv").write_text(f"well,compound\nA01,DMSO\nA02,{error}\n")
    with pytest.raises(InputError, match=f"line 3, column compound: found {re.escape(error)}, the error of a formula"):
        platemaps.read_platemap(tmp_path / "map.csv")


def test_text_of_an_older_encoding_is_refused_with_the_byte_and_the_line(tmp_path):
    (tmp_path / "map.csv").write_bytes("well,compound\nA01,DMSO\nA02,5 µM\n".encode("latin-1"))
    with pytest.raises(InputError, match="map.csv, line 3: found a byte 0xb5 that is no UTF-8.*CSV in UTF-8"):
        platemaps.read_platemap(tmp_path / "map.csv")


def test_utf_8_with_its_mark_and_an_empty_file_are_read(tmp_path):
    (tmp_path / "map.csv").write_bytes(b"\xef\xbb\xbfwell,compound\nA01,5 \xc2\xb5M\n")
    assert platemaps.read_platemap(tmp_path / "map.csv") == {"A01": {"Metadata_compound": "5 µM"}}
    (tmp_path / "empty.csv").touch()
    with pytest.raises(InputError, match="no column 'well'"):
        platemaps.read_platemap(tmp_path / "empty.csv")
