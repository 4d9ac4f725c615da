"""Tables and JSON files read back as they were written, with every reader."""

import csv

import pandas as pd
import pytest

from fieldwork import outputs

TEXTS = ["a\rb", "\r", "a\nb", "a\r\nb", 'q"q', '"', "a,b", " lead", "=1+1", "'", "a\\b", "a\tb", "a\x00b", "\x1cb"]
TEXTS += ["a\u2028b", "a\x85b", "\ufeffb", "ä 😀", "NA", "", "01", "{x}"]


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_every_text_reads_back_from_csv_with_every_reader(tmp_path, text):
    columns = [f"name {text}", "other"]
    rows = [{columns[0]: text, "other": "x"}, {columns[0]: "y", "other": text}]
    outputs.write_csv(rows, columns, tmp_path / "table.csv")
    with open(tmp_path / "table.csv", encoding="utf-8", newline="") as stream:
        assert list(csv.DictReader(stream)) == rows
    for engine in ("c", "python"):
        table = pd.read_csv(tmp_path / "table.csv", dtype=str, keep_default_na=False, engine=engine)
        assert table.to_dict("records") == rows and list(table.columns) == columns


def test_rows_end_in_a_newline_alone_and_only_what_needs_it_has_quotes(tmp_path):
    outputs.write_csv([{"a": 1.5, "b": "x\ry"}, {"a": None, "b": "z"}], ["a", "b"], tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_bytes() == b'a,b\n1.5,"x\ry"\n,z\n'


def test_what_utf_8_cannot_hold_is_shown_in_csv_and_reads_back_from_json(tmp_path):
    outputs.write_csv([{"a": "x\udcffy"}], ["a"], tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == "a\nx\\udcffy\n"
    outputs.write_json({"a": "x\udcffy"}, tmp_path / "values.json")
    assert outputs.read_json(tmp_path / "values.json") == {"a": "x\udcffy"}
