"""An absent file is refused with the nearest name; URLs of files become paths."""

import os

import pytest

from fieldwork import InputError
from fieldwork.inputs import paths
from fieldwork.inputs.paths import check_exists, path_of_url


def test_a_file_that_is_there_passes_and_an_absent_one_is_named_with_its_neighbour(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "platemap_1.csv").touch()
    check_exists("platemap_1.csv", where="p.tsv, line 2", what="plate 'A' has the platemap")
    with pytest.raises(InputError) as caught:
        check_exists("platemap_2.csv", where="p.tsv, line 2", what="plate 'A' has the platemap")
    message = str(caught.value)
    assert message.startswith("p.tsv, line 2: plate 'A' has the platemap 'platemap_2.csv', which does not exist.")
    assert "'platemap_1.csv'" in message and str(tmp_path) in message
    with pytest.raises(InputError, match="'~nobody-here/map.csv', which does not exist.*(?s:.)*No user has this name"):
        check_exists("~nobody-here/map.csv", where="p.tsv, line 2", what="plate 'A' has the platemap")
    (tmp_path / "platemap_3.csv").symlink_to("away/map.csv")
    with pytest.raises(InputError, match=r"'platemap_3.csv' \(a link to 'away/map.csv'\), which does not exist"):
        check_exists("platemap_3.csv", where="p.tsv, line 2", what="plate 'A' has the platemap")


@pytest.mark.parametrize("path", ["C:\\data\\x", "d:/data/x", "\\\\server\\share\\x", "/C:/data/x"])
def test_a_path_as_windows_writes_it_is_named_in_one_line(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        check_exists(path, where="p.tsv, line 2", what="plate 'A' takes its images from")
    message = str(caught.value)
    assert message.startswith(f"p.tsv, line 2: plate 'A' takes its images from '{path}', a path as Windows writes it; ")
    assert "expected the path by which this machine reaches" in message and "\n" not in message
    with pytest.raises(InputError, match=r"Write / between folders, not \\"):
        check_exists("data\\x", where="p.tsv, line 2", what="plate 'A' takes its images from")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///images/a%20b.tif", "/images/a b.tif"),
        ("FILE://localhost/a.tif", "/a.tif"),
        ("file:/a.tif", "/a.tif"),
        ("C:/a.tif", "C:/a.tif"),
        ("images/a%20b.tif", "images/a%20b.tif"),
        ("https://host/a%20b.tif", "https://host/a%20b.tif"),
    ],
)
def test_only_the_url_of_a_file_on_disk_becomes_a_path(url, path):
    assert path_of_url(url, "list.csv, line 2") == path


@pytest.mark.parametrize("url", ["s3://bucket", "https://host/", "ftp://host/a.tif"])
def test_a_url_of_no_file_is_refused(url):
    with pytest.raises(InputError, match=f"^list.csv, line 2: found '{url}', expected a path, or a file's URL"):
        path_of_url(url, "list.csv, line 2")


def test_a_folder_that_jobs_cannot_write_is_refused_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for folder, said in {
        "file": "'file', but '.*/file' is no folder",
        "file/x": "'file/x', but '.*/file' is no folder",
        "/dev/null/x": "'/dev/null/x', but '/dev/null' is no folder",
        "new/" + "x" * 256: "with a name of 256; expected at most 3,000, and 255 in a name",
        "x/" * 1600: "a path of 3,.* bytes",
    }.items():
        with pytest.raises(InputError, match=f"^'results' is .*{said}"):
            paths.check_writable(folder, where="'results' is")
    paths.check_writable("new/folder", where="'results' is")
    assert os.listdir() == ["file"]


def test_whether_a_name_that_is_too_long_exists_is_not_known(tmp_path):
    with pytest.raises(InputError, match="^'plates' is '.*', which cannot be looked up: File name too long$"):
        paths.exists(tmp_path / ("x" * 300), where="'plates' is")
    assert not paths.exists("/dev/null/x", where="") and paths.exists(tmp_path, where="")
