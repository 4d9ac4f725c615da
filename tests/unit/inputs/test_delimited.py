"""Files that are given as sheet, image list or platemap and are no UTF-8 text: refused by what they are."""

import bz2
import gzip
import io
import lzma
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fieldwork import InputError
from fieldwork.inputs import image_lists, platemaps, sheets

TEXT = "well\tcompound\nA01\tDMSO\n" * 20


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
    "map.xlsx": (zipped(xl__workbook_xml="<workbook/>"), "an Excel workbook; save it as"),
    "map.ods": (zipped(content_xml="<office/>"), "an OpenDocument spreadsheet; save it as"),
    "map.xls": (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), "an old Excel workbook; save it as"),
    "utf-16.csv": (TEXT.encode("utf-16"), "text in UTF-16, the .Unicode text. of spreadsheets; save it as"),
    "utf-16-be.csv": ("\ufeff".encode("utf-16-be") + TEXT.encode("utf-16-be"), "text in UTF-16; save it as"),
    "utf-16-without-mark.csv": (TEXT.encode("utf-16-le"), "text in UTF-16; save it as"),
    "utf-32.csv": (TEXT.encode("utf-32"), "text in UTF-32; save it as"),
    "image.tif": (b"II*\0" + bytes(range(256)) * 4, "a binary file, no text; save it as"),
    "map.pdf": (b"%PDF-1.7\n%\xb5\xb5", "a PDF document; save it as"),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("read", "form"),
    [
        (platemaps.read_platemap, "CSV"),
        (lambda path: image_lists.read_image_list(path, plate="P"), "CSV"),
        (lambda path: sheets.read_sheet("plates", path), "tab-separated text"),
    ],
)
def test_what_is_no_text_is_refused_by_what_it_is(tmp_path, name, read, form):
    content, message = KINDS[name]
    (tmp_path / name).write_bytes(content)
    message += f" {form} in UTF-8" * message.endswith("save it as")
    with pytest.raises(InputError, match=f"{name}: is {message}") as caught:
        read(tmp_path / name)
    assert "codec" not in str(caught.value) and "\n" not in str(caught.value)


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
