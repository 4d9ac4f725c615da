"""The configuration of a run is read from its files and the command line, and its sheets in any form."""

import subprocess
import sys

import openpyxl
import pytest
from snakemake.utils import update_config

from fieldwork import InputError
from fieldwork.planning import configuration
from fieldwork.planning.roads import Caller
from plans import PlateFolder, plan_in, write_sheets
from workspace import SCRIPTS


def read(folder, given, monkeypatch):
    monkeypatch.chdir(folder)
    caller = Caller(main=True, namespace=None, cores=2, on_cluster=False)
    return configuration.read(given, caller=caller, named=["--config"], merge=update_config).values


def test_paths_of_the_configuration_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    values = read(tmp_path, {"plates": "~/plates.xlsx", "results": "~/out/"}, monkeypatch)
    assert (values["plates"], values["results"]) == (f"{tmp_path}/plates.xlsx", f"{tmp_path}/out")
    assert values["slides"] == "config/slides.tsv"


@pytest.mark.parametrize("key", ["plates", "results"])
def test_paths_of_windows_are_refused(tmp_path, monkeypatch, key):
    with pytest.raises(InputError, match=rf"^--config: '{key}' is 'C:\\data', a path as Windows writes it; .*/mnt/c/"):
        read(tmp_path, {key: "C:\\data"}, monkeypatch)


@pytest.mark.parametrize("url", ["https://me:S3CRET@h/w", "https://h/w?sig=T0KEN"])
def test_secrets_of_urls_are_refused_as_files_would_keep_them(tmp_path, monkeypatch, url):
    given = {"nuclei": {"method": "own.f", "arguments": {"weights": [url]}}}
    with pytest.raises(InputError, match=r"^--config: 'nuclei.arguments.weights.0' is 'https://[^\n]*\.\.\.") as caught:
        read(tmp_path, given, monkeypatch)
    assert not any(secret in str(caught.value) for secret in ("S3CRET", "T0KEN"))


def test_a_key_of_a_section_is_refused_in_one_line_that_shows_its_form(tmp_path, monkeypatch):
    said = "^--config: unknown key 'threshold'. It is a key of nuclei: .*, or --config 'nuclei={threshold: 300}' in .*$"
    with pytest.raises(InputError, match=said):
        read(tmp_path, {"threshold": 300}, monkeypatch)
    assert read(tmp_path, {"nuclei": {"threshold": 300}}, monkeypatch)["nuclei"]["threshold"] == 300


def save_workbook(path, rows):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)


def test_a_plan_by_workbooks_is_that_by_text(tmp_path):
    platemap = "plate;well;compound\nP1;B02;DMSO\nP2;B02;poison\n"
    write_sheets(tmp_path, plates=[PlateFolder("P1", platemap=platemap)], slides=[("s", "b")], stacks=["film"])
    expected = plan_in(tmp_path)
    for kind in ("plates", "slides", "stacks"):
        lines = (tmp_path / f"config/{kind}.tsv").read_text().replace("config/P1.csv", "config/P1.xlsx")
        save_workbook(tmp_path / f"config/my {kind}.xlsx", [line.split("\t") for line in lines.splitlines()])
    save_workbook(tmp_path / "config/P1.xlsx", [line.split(";") for line in platemap.splitlines()])
    plan = plan_in(tmp_path, **{kind: f"config/my {kind}.xlsx" for kind in ("plates", "slides", "stacks")})
    assert plan.plates.names == expected.plates.names == ["P1"]
    assert plan.plates.ready["P1"].units == expected.plates.ready["P1"].units
    assert [*plan.slides.rows, *plan.stacks.rows] == [*expected.slides.rows, *expected.stacks.rows] == ["s", "film"]


def test_reading_a_workbook_loads_nothing_that_computes(tmp_path):
    save_workbook(tmp_path / "map.xlsx", [["well", "compound"], ["A01", "DMSO"]])
    code = f"from fieldwork.inputs import platemaps; print(platemaps.read_platemap({str(tmp_path / 'map.xlsx')!r}))"
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    output = subprocess.check_output([sys.executable, "-c", code], env={"PYTHONPATH": str(SCRIPTS)}, text=True)
    wells, loaded = output.splitlines()
    assert wells == "{'A01': {'Metadata_compound': 'DMSO'}}" and "python_calamine" in loaded.split()
    assert not {"numpy", "pandas", "pyarrow", "openpyxl", "xlrd"} & set(loaded.split())
