"""Sheets are read as text; wrong ones are refused in a line: where, what was found, what is expected."""

import os
import re
from functools import partial

import pytest

from fieldwork import InputError
from fieldwork.inputs import schemas, sheets
from workspace import REPOSITORY as ROOT

HEAD = "plate\timages\tlayout\tplatemap\tnuclei_channel\n"


def write(folder, text, name="sheet.tsv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


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


@pytest.mark.parametrize(
    "header",
    ["Plate\tImages\tNuclei Channel", "PLATE\timages\tnuclei-channel", "Metadata_Plate\tIMAGES\tNucleiChannel"],
)
def test_columns_are_known_in_every_spelling(tmp_path, header):
    (row,) = sheets.read_sheet("plates", write(tmp_path, f"{header}\nP1\ta\tw2\n"))
    assert row == {None: f"{tmp_path / 'sheet.tsv'}, line 2", "plate": "P1", "images": "a", "nuclei_channel": "w2"}


def test_paths_below_the_home_folder_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (row,) = sheets.read_sheet("plates", write(tmp_path, "plate\timages\tplatemap\tlayout\nP1\t~/a\t~/b.csv\t~/c\n"))
    assert (row["images"], row["platemap"], row["layout"]) == (f"{tmp_path}/a", f"{tmp_path}/b.csv", "~/c")
    (row,) = sheets.read_sheet("slides", write(tmp_path, "slide,path,regions\nS,~/s.svs,~/r.geojson\n"))
    assert (row["path"], row["regions"]) == (f"{tmp_path}/s.svs", f"{tmp_path}/r.geojson")
    (row,) = sheets.read_sheet("stacks", write(tmp_path, "stack;path\nS;~/s.tif\n"))
    assert row["path"] == f"{tmp_path}/s.tif"


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
    assert "that begins with a letter or digit; at most 100 characters" in str(caught.value)


@pytest.mark.parametrize("name", ["Week1_22123", "24277", "P 1 (b) #2", "Plätte-3.1", "ß", "0123456789" * 10, "x" * 19])
def test_ordinary_plate_names_are_taken(tmp_path, name):
    assert sheets.read_sheet("plates", write(tmp_path, f"plate\timages\n{name}\ta\n"))[0]["plate"] == name


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["ab" + "x" * 20], "line 2: 'plate' is .*, which ends in 'x' 20 times or more; expected less, as Snakemake"),
        (["a" + "0ab" * 21], "line 2: 'plate' is .*, which ends in '0ab' 20 times or more"),
        (["\u6f22" * 67], "line 2: 'plate' is .*, 201 bytes in UTF-8; expected at most 190"),
        (["\uac01", "\u1100\u1161\u11a8"], "line 3: plate '.*' stands in line 2 already as '.*'; expected names that"),
    ],
)
def test_names_that_would_be_one_folder_or_too_long_for_files_are_refused(tmp_path, rows, said):
    path = write(tmp_path, "plate\timages\n" + "".join(f"{name}\ta\n" for name in rows))
    with pytest.raises(InputError, match=said):
        sheets.read_sheet("plates", path)


def test_batches_of_slides_differ_by_more_than_case(tmp_path):
    path = write(tmp_path, "slide\tpath\tplate\na\tx\tB1\nb\ty\tB1\nc\tz\tb1\n")
    with pytest.raises(InputError, match="line 4: plate 'b1' stands in line 2 already as 'B1'; expected names that"):
        sheets.read_sheet("slides", path)


def test_a_pipe_in_place_of_a_sheet_is_no_wait(tmp_path):
    os.mkfifo(tmp_path / "plates.tsv")
    with pytest.raises(InputError, match="cannot be read: a pipe, socket or device; expected a file"):
        sheets.read_sheet("plates", tmp_path / "plates.tsv")


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("plate\nA\n", 1, ["column 'images' is missing", "Known columns: plate, images"]),
        ("plate\timages\nA\t\n", 2, ["'images'", "a folder"]),
        ("images\na\n", 1, ["column 'plate' is missing", "Known columns: plate, images"]),
        ("plate\timages\tplatmap\nA\ta\tm.csv\n", 1, ["column 'platmap' is unknown (is it 'platemap'?)"]),
        ("plate\timages\tcomment\nA\ta\tm\n", 1, ["column 'comment' is unknown: rename it or delete it. Known"]),
        ("plates\timage\nA\ta\n", 1, ["column 'plates' is unknown (is it 'plate'?); column 'image' is unknown (is it"]),
        ("plate\timages\nA\ta\nB\tb\nA\tc\n", 4, ["'A'", "line 2"]),
        ("plate\timages\nPlate\ta\nplATE\tb\n", 3, ["'plATE'", "line 2"]),
        ("plate\timages\nA\ta\nB\tb\tc\n", 3, ["3 cells", "2 columns"]),
        ("plate\timages\timages\nA\ta\tb\n", 1, ["'images'", "twice"]),
        ("plate\timages\t\nA\ta\tb\n", 1, ["no name"]),
        ("plate|images\nA|a\n", 1, ["plate|images"]),
        ("plate\tPlate\timages\nA\tA\ta\n", 1, ["'plate' and 'Plate' are both 'plate'"]),
        ('plate\timages\nA\t"a" b\n', 2, ['"']),
        ('plate\timages\nA\t"a\nB\tb\n', None, ["end of data"]),
        (b"plate\timages\nA\ta\nPl\xe4tte\tb\n", None, ["utf-8", "0xe4"]),
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


CONFIG = {kind: f"config/{kind}.tsv" for kind in ("plates", "slides", "stacks")}


@pytest.mark.parametrize(("kind", "other"), [("plates", "slides"), ("slides", "stacks"), ("stacks", "plates")])
def test_a_sheet_at_its_default_path_may_be_absent_if_another_kinds_exists(tmp_path, monkeypatch, kind, other):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    with pytest.raises(InputError, match=f"^config/{kind}.tsv: does not exist .in {tmp_path}.; write .* {kind[:-1]}, "):
        sheets.read_sheet_if_any(kind, CONFIG)
    write(tmp_path, "", f"config/{other}.tsv")
    assert sheets.read_sheet_if_any(kind, CONFIG) == []
    with pytest.raises(InputError, match="^my.tsv: does not exist .*config/README.md.*--directory mistyped"):
        sheets.read_sheet_if_any(kind, CONFIG | {kind: "my.tsv"})


@pytest.mark.parametrize("text", [None, "", "plate\timages\n"])
def test_a_workbook_beside_an_empty_sheet_is_not_passed_over(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    write(tmp_path, "stack\tpath\nfilm\tfilm.tif\n", "config/stacks.tsv")
    write(tmp_path, "", "config/plates.xlsx")
    write(tmp_path, "", "config/plates.tsv.bak")
    if text is not None:
        write(tmp_path, text, "config/plates.tsv")
    reason = "does not exist" if text is None else "names no plate"
    said = f"config/plates.tsv: {reason}, and 'config/plates.xlsx' lies beside it; .*plates: config/plates.xlsx"
    with pytest.raises(InputError, match=said):
        sheets.read_sheet_if_any("plates", CONFIG)
    assert len(sheets.read_sheet_if_any("stacks", CONFIG)) == 1
    write(tmp_path, "plate\timages\nA\ta\n", "config/plates.tsv")
    assert len(sheets.read_sheet_if_any("plates", CONFIG)) == 1


def test_a_sheet_that_exists_is_read_whatever_else_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    write(tmp_path, "stack\tpath\nfilm\tfilm.tif\n", "config/stacks.tsv")
    for others in ("config/plates.tsv", "config/slides.tsv"):
        row = {None: "config/stacks.tsv, line 2", "stack": "film", "path": "film.tif"}
        assert sheets.read_sheet_if_any("stacks", CONFIG) == [row]
        write(tmp_path, "", others)


CHECKS = {"slide": sheets.check_slide, "stack": partial(sheets.check_stack, results="results")}


def row_of(kind, path):
    return {None: "sheet, line 2", kind: "A", "path": path}


@pytest.mark.parametrize("kind", CHECKS)
def test_a_row_gets_a_normal_path_and_a_slide_its_plate(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.tif").touch()
    filled = {**row_of(kind, "a.tif"), **({"plate": "slides"} if kind == "slide" else {})}
    assert CHECKS[kind](row_of(kind, "./b/..//a.tif")) == filled
    assert CHECKS[kind](row_of(kind, "b.tif"), generated={"b.tif"}) == filled | {"path": "b.tif"}
    assert CHECKS[kind](row_of(kind, "s3://bucket/a.tif")) == filled | {"path": "s3://bucket/a.tif"}
    with pytest.raises(InputError, match=f"^sheet, line 2: {kind} 'A' has the path 'b.tif', which does not exist"):
        CHECKS[kind](row_of(kind, "b.tif"))


@pytest.mark.parametrize(
    ("kind", "path", "said"),
    [
        ("slide", "s3://b/store.zarr", "more than one file; download it, and name its file on disk"),
        ("slide", "https://h/slide.MRXS", "more than one file; download it, and name its file on disk"),
        ("stack", "s3://b/frames/", "more than one file; download it, and name its folder on disk"),
        ("slide", "folder", "a folder; expected the slide's file"),
        ("stack", "results/film", "in the folder of the results"),
    ],
)
def test_a_row_whose_path_cannot_be_read_is_refused_at_its_line(tmp_path, monkeypatch, kind, path, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "results" / "film").mkdir(parents=True)
    with pytest.raises(InputError, match=f"^sheet, line 2: {kind} 'A' has the path '.*{path}', .*{said}"):
        CHECKS[kind](row_of(kind, path))


@pytest.mark.parametrize(("kind", "column"), [("slide", "path"), ("stack", "path"), ("slide", "regions")])
def test_a_pipe_is_refused_before_anything_waits_for_its_writer(tmp_path, monkeypatch, kind, column):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.tif").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=f"^sheet, line 2: {kind} 'A' has the {column} 'pipe', a pipe, .*expected a f"):
        CHECKS[kind](row_of(kind, "a.tif") | {column: "pipe"})


def test_a_slide_keeps_its_own_plate_and_a_stack_may_be_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mrxs").touch()
    (tmp_path / "frames").mkdir()
    assert sheets.check_slide({**row_of("slide", "a.mrxs"), "plate": "P1"})["plate"] == "P1"
    assert CHECKS["stack"](row_of("stack", "frames/"))["path"] == "frames"
