"""Wrong configurations and sheets are refused with a message that says where, what was found and what is expected."""

import copy
import re
import shutil
import subprocess

import pytest
import yaml

from fieldwork import InputError
from fieldwork.inputs import config, platemaps, schemas, sheets
from fieldwork.inputs.paths import check_exists
from workspace import REPOSITORY as ROOT

DEFAULTS = {
    "plates": "config/plates.tsv",
    "slides": "config/slides.tsv",
    "stacks": "config/stacks.tsv",
    "results": "results",
    "fan_out": "plate",
    "layouts": {},
    "nuclei": {"channel": "auto", "sigma": 4, "min_distance": 6, "threshold": 1000},
    "pool": {"engine": "pool", "mode": "paths", "dask": "processes"},
    "device": "auto",
    "ome_zarr_plate": False,
    "quality": True,
    "on_bad_image": "record",
    "max_failed_fields": 0.05,
    "stack": {"function": "nuclei", "arguments": {}, "channel": 0, "z": 0, "images": "zarr"},
    "filters": {"chain": [], "metrics": ["var", "mean"], "save": "tiff"},
    "slide": {
        "reader": "auto",
        "ome_zarr": "0.5",
        "chunk": 512,
        "shard": 2048,
        "codec": "zstd",
        "level": 1,
        "tile": 1024,
        "nuclei": {
            "sigma_um": 1.5,
            "min_distance_um": 2.5,
            "sigma": 3,
            "min_distance": 5,
            "haematoxylin": 0.05,
            "fluorescence": 30,
        },
    },
}  # DESIGN.md, section 4


def nested(key, value):
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


def test_an_empty_configuration_gets_the_defaults_of_the_contract():
    assert config.check_config({}, source="c.yaml") == DEFAULTS


def test_the_repositorys_configuration_is_the_defaults_written_out():
    # As committed: users edit the file itself.
    if shutil.which("git") is None:
        pytest.skip("no git")
    shown = subprocess.run(["git", "show", "HEAD:./config/config.yaml"], cwd=ROOT, capture_output=True)
    if shown.returncode:
        pytest.skip(f"no checkout: {shown.stderr.decode().strip()}")
    assert yaml.safe_load(shown.stdout) == DEFAULTS


def test_what_is_set_stays_beside_defaults_and_the_argument_is_not_changed():
    given = {"nuclei": {"sigma": 2.5, "threshold": -10}, "layouts": {"mine": "(?P<well>.)"}, "fan_out": "well"}
    before = copy.deepcopy(given)
    filled = config.check_config(given, source="c.yaml")
    assert given == before
    assert filled == DEFAULTS | {**before, "nuclei": DEFAULTS["nuclei"] | before["nuclei"]}
    filled["nuclei"]["sigma"] = filled["layouts"]["other"] = "changed"
    assert given == before and config.check_config({}, source="c.yaml") == DEFAULTS


def test_numbers_and_booleans_that_snakemakes_command_line_left_as_text_are_taken():
    given = {"quality": "false", "max_failed_fields": "0.5", "nuclei": {"sigma": "2.5", "min_distance": "3"}}
    filled = config.check_config(given, source="--config")
    assert filled["quality"] is False and filled["max_failed_fields"] == 0.5
    assert filled["nuclei"] == DEFAULTS["nuclei"] | {"sigma": 2.5, "min_distance": 3}
    assert config.check_config({"nuclei": {"channel": "1"}}, source="c.yaml")["nuclei"]["channel"] == "1"


@pytest.mark.parametrize("value", [4, 4.0, "4", "4.0"])
def test_a_number_is_the_same_parameter_however_it_is_written(value):
    nuclei = config.check_config({"nuclei": {"sigma": value, "threshold": value}}, source="c.yaml")["nuclei"]
    assert repr(nuclei["sigma"]) == repr(nuclei["threshold"]) == "4.0"
    assert repr(nuclei["min_distance"]) == "6"  # a whole number stays one
    assert repr(config.check_config({}, source="c.yaml")["nuclei"]["threshold"]) == "1000.0"  # a default, too


WRONG = [
    ("plates", 7, "path"),
    ("results", "", "path"),
    ("results", "out/{plate}", "without any of"),
    ("fan_out", "wel", "plate, well or field"),
    ("fan_out", None, "plate, well or field"),
    ("layouts", ["a"], "regular expression"),
    ("layouts.mine", 7, "regular expression"),
    ("nuclei", None, "sigma"),
    ("nuclei", 4, "sigma"),
    ("nuclei.channel", 1, "name in quotes"),
    ("nuclei.sigma", "4 px", "a number above 0"),
    ("nuclei.sigma", True, "a number above 0"),
    ("nuclei.sigma", 0.0, "a number above 0"),
    ("nuclei.sigma", 1001.0, "up to 1000"),
    ("nuclei.sigma", float("nan"), "a number above 0"),
    ("nuclei.min_distance", 2.5, "whole number from 1"),
    ("nuclei.min_distance", 0, "whole number from 1"),
    ("nuclei.min_distance", False, "whole number from 1"),
    ("nuclei.min_distance", 6.0, "whole number from 1"),  # range(6.0) fails in every job
    ("nuclei.threshold", "otsu", "a number"),
    ("nuclei.threshold", float("nan"), "a number"),  # which no pixel is above
    ("pool.engine", "threads", "auto, serial, pool or dask"),
    ("pool.dask", "node1:8786", "a scheduler's address such as tcp://node1:8786"),
    ("pool.mode", "spawn", "paths or fork"),
    ("quality", "yes", "true or false"),
    ("quality", 1, "true or false"),
    ("on_bad_image", "skip", "record or stop"),
    ("max_failed_fields", 5.0, "0 to 1"),
    ("max_failed_fields", -0.1, "0 to 1"),
    ("max_failed_fields", True, "0 to 1"),
    ("max_failed_fields", float("nan"), "0 to 1"),  # which no share of failed fields is above
    ("slide.ome_zarr", 0.5, "in quotes"),
]


@pytest.mark.parametrize(("key", "value", "expected"), WRONG)
def test_a_wrong_value_is_named_with_its_key_and_what_is_expected(key, value, expected):
    with pytest.raises(InputError) as caught:
        config.check_config(nested(key, value), source="c.yaml")
    message = str(caught.value)
    assert message.startswith(f"c.yaml: '{key}' is {value!r}; expected ") and expected in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("key", "hint"),
    [("fanout", "'fan_out'"), ("nuclei.sigm", "'sigma'"), ("pool.workers", "engine, mode"), ("qwxz", "plates, slides")],
)
def test_an_unknown_key_is_named_with_its_path_and_the_known_ones(key, hint):
    with pytest.raises(InputError, match=f"^c.yaml: unknown key '{re.escape(key)}'") as caught:
        config.check_config(nested(key, 1), source="c.yaml")
    assert hint in str(caught.value)


def write(folder, text, name="sheet.tsv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("# nothing but a comment\n", {}),
        ("nuclei:\n  sigma: 2\nresults: ä b\n", {"nuclei": {"sigma": 2}, "results": "ä b"}),
        ("\ufeffresults: out\r\n", {"results": "out"}),
    ],
)
def test_a_configuration_file_is_read_as_it_is(tmp_path, text, values):
    assert config.read_config(write(tmp_path, text, "c.yaml")) == values


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("results: out\nnuclei: {sigma: 4\nquality: true\n", 3, "not valid YAML"),
        ("results: out\nplates: a: b\n", 2, "not valid YAML"),
        ("results: out\nnuclei:\n\tsigma: 4\n", 3, "not valid YAML"),
        ('layouts:\n  mine: "(?P<well>\\d)"\n', 2, "not valid YAML"),
        ("results: {x}: y\n", 1, "not valid YAML"),
        ("results: !!python/name:os.system\n", 1, "not valid YAML"),
        ("results: out\n---\nresults: b\n", 2, "not valid YAML"),
        (b"results: out\nplates: Pl\xe4tte.tsv\n", None, "cannot be read: 'utf-8' codec can't decode byte 0xe4"),
        ("results: a\0b\n", None, "cannot be read"),
        ("- results\n", None, "found ['results']; expected lines of the form 'key: value'"),
        ("results\n", None, "found 'results'; expected"),
        ("7\n", None, "found 7; expected"),
    ],
)
def test_a_configuration_file_that_cannot_be_read_is_named_with_its_line(tmp_path, text, line, said):
    path = write(tmp_path, text, "c.yaml")
    with pytest.raises(InputError) as caught:
        config.read_config(path)
    assert str(caught.value).startswith(f"{path}, line {line}: {said}" if line else f"{path}: {said}")


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_a_configuration_file_that_cannot_be_opened_is_named(tmp_path, name):
    with pytest.raises(InputError, match=f"^{re.escape(str(tmp_path / name))}: cannot be read"):
        config.read_config(tmp_path / name)


HEAD = "plate\timages\tlayout\tplatemap\tnuclei_channel\n"


@pytest.mark.parametrize(
    "text",
    [
        "plate\timages\n007\tfolder a\n1e5\tb\n",
        "\ufeffplate\timages\n007\tfolder a\n1e5\tb\n",
        "plate\timages\r\n007\tfolder a\r\n1e5\tb",
        '"plate"\t"images"\n"007"\t"folder a"\n1e5\t"b"\n',
        "\n\nplate\timages\n\n007\t folder a \n\t\n1e5\tb\n\n",
        "images\tplate\nfolder a\t007\nb\t1e5\n",
        HEAD + "007\tfolder a\t\t\t\n1e5\tb\n",
    ],
    ids=["plain", "BOM", "CRLF", "quoted", "blank lines", "other order", "empty cells"],
)
def test_rows_are_text_however_the_sheet_was_saved(tmp_path, text):
    rows = sheets.read_sheet("plates", write(tmp_path, text))
    places = [row.pop(None) for row in rows]
    assert rows == [{"plate": "007", "images": "folder a"}, {"plate": "1e5", "images": "b"}]
    lines = re.split("\r?\n", text)
    for place, name in zip(places, ("007", "1e5"), strict=True):
        number = next(number for number, line in enumerate(lines, 1) if name in line)
        assert place == f"{tmp_path / 'sheet.tsv'}, line {number}"


@pytest.mark.parametrize("text", ["", "\n", HEAD])
def test_an_empty_sheet_means_nothing_of_that_kind(tmp_path, text):
    assert sheets.read_sheet("plates", write(tmp_path, text)) == []


@pytest.mark.parametrize(("kind", "column"), [("plates", "images"), ("slides", "path"), ("stacks", "path")])
def test_every_sheet_of_the_repository_has_the_columns_of_its_schema(tmp_path, kind, column):
    header = (ROOT / f"config/{kind}.tsv").read_text().splitlines()[0].split("\t")
    assert header == list(schemas.read_schema(kind)["properties"]) and header[:2] == [kind[:-1], column]
    assert sheets.read_sheet(kind, ROOT / f"config/{kind}.tsv") is not None


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "..", ".", ".hidden", "_x", "a\\b", "a*", "{plate}", "a=b", "/abs", "x" * 101]
)
def test_a_plate_name_that_is_no_plain_folder_name_is_refused(tmp_path, name):
    path = write(tmp_path, f"plate\timages\nok\ta\n{name}\tb\n")
    with pytest.raises(InputError) as caught:
        sheets.read_sheet("plates", path)
    assert str(caught.value).startswith(f"{path}, line 3: 'plate' is {name!r}; expected ")
    assert "that begins with a letter or digit; up to 100" in str(caught.value)


@pytest.mark.parametrize("name", ["Week1_22123", "24277", "P 1 (b) #2", "Plätte-3.1", "ß", "x" * 100])
def test_ordinary_plate_names_are_taken(tmp_path, name):
    assert sheets.read_sheet("plates", write(tmp_path, f"plate\timages\n{name}\ta\n"))[0]["plate"] == name


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("plate\nA\n", 1, ["found the column(s) 'plate'", "expected plate, images"]),
        ("plate\timages\nA\t\n", 2, ["'images'", "a folder"]),
        ("images\na\n", 1, ["found the column(s) 'images'", "expected plate, images"]),
        ("plate\timages\tplatmap\nA\ta\tm.csv\n", 1, ["'platmap'", "platemap"]),
        ("plate\timages\nA\ta\nB\tb\nA\tc\n", 4, ["'A'", "line 2"]),
        ("plate\timages\nPlate\ta\nplATE\tb\n", 3, ["'plATE'", "line 2"]),
        ("plate\timages\nA\ta\nB\tb\tc\n", 3, ["3 cells", "2 columns"]),
        ("plate\timages\timages\nA\ta\tb\n", 1, ["'images'", "twice"]),
        ("plate\timages\t\nA\ta\tb\n", 1, ["no name"]),
        ("plate,images\nA,a\n", None, ["plate,images", "tab"]),
        (HEAD.replace("\t", ";") + "A;a;;;\n", None, ["plate;images", "tab"]),
        ('plate\timages\nA\t"a" b\n', 2, ['"']),
        ('plate\timages\nA\t"a\nB\tb\n', None, ["end of data"]),
        (b"plate\timages\nA\ta\nPl\xe4tte\tb\n", None, ["utf-8", "0xe4"]),
        ("plate\timages\nA\ta\n".encode("utf-16"), None, ["utf-8"]),
    ],
    ids=lambda value: None if isinstance(value, list | int) else repr(value)[:30],
)
def test_a_wrong_sheet_is_refused_at_its_line(tmp_path, text, line, said):
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        sheets.read_sheet("plates", path)
    message = str(caught.value)
    assert message.startswith(f"{path}, line {line}: " if line else str(path))
    assert [part for part in said if part.lower() not in message.lower()] == []


@pytest.mark.parametrize("name", ["absent.tsv", "."])
def test_a_sheet_that_cannot_be_opened_is_named(tmp_path, name):
    with pytest.raises(InputError, match=re.escape(str(tmp_path / name))):
        sheets.read_sheet("plates", tmp_path / name)


def test_a_platemap_gives_every_well_its_columns_as_text(tmp_path):
    text = '\ufeffwell,dose,Metadata_batch,note\r\nb2,1e5,007,"a, b"\r\nC11,,x\r\n'
    assert platemaps.read_platemap(write(tmp_path, text, "map.csv")) == {
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
    path = write(tmp_path, text, "map.csv")
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}(?s:.*){re.escape(said)}"):
        platemaps.read_platemap(path)


def test_a_file_that_is_there_passes_and_an_absent_one_is_named_with_its_neighbour(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "", "platemap_1.csv")
    check_exists("platemap_1.csv", where="p.tsv, line 2", what="plate 'A' has the platemap")
    with pytest.raises(InputError) as caught:
        check_exists("platemap_2.csv", where="p.tsv, line 2", what="plate 'A' has the platemap")
    message = str(caught.value)
    assert message.startswith("p.tsv, line 2: plate 'A' has the platemap 'platemap_2.csv', which does not exist.")
    assert "'platemap_1.csv'" in message and str(tmp_path) in message
    (tmp_path / "platemap_3.csv").symlink_to("away/map.csv")
    with pytest.raises(InputError, match=r"'platemap_3.csv' \(a link to 'away/map.csv'\), which does not exist"):
        check_exists("platemap_3.csv", where="p.tsv, line 2", what="plate 'A' has the platemap")
