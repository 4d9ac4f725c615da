"""Paths of sheets that are URLs: which are taken, and how files below them are read."""

import re
from functools import partial

import pytest

from fieldwork import InputError
from fieldwork.inputs import layouts, sheets
from fieldwork.inputs.paths import check_path


@pytest.mark.parametrize(
    "url",
    [
        "s3://b/a?b.tif",
        "s3://b/a#b",
        "s3://b/../c",
        "s3://b//c",
        "https://u:p@h/c",
        "http://h/a/./b",
        "s3:///c",
        "gs://b/c",
    ],
)
def test_urls_that_the_plugins_do_not_tell_apart_are_refused(url):
    with pytest.raises(InputError, match=f"^sheet, line 2: '?{re.escape(url[:4])}"):
        check_path(url, "sheet, line 2")


@pytest.mark.parametrize(
    "url", ["s3://b/Zürich 7 (100%25)/a;b&c=d+e.tif", "http://h:80/a%20b.tif", "HTTPS://h/~u/c@d.tif", "s3://b"]
)
def test_other_urls_are_taken(url):
    check_path(url, "sheet, line 2")


@pytest.mark.parametrize(
    ("check", "path", "found"),
    [
        (sheets.check_slide, "s3://b/store.zarr", "more than one file"),
        (sheets.check_slide, "https://h/slide.mrxs", "more than one file"),
        (partial(sheets.check_stack, results="results"), "s3://b/frames/", "more than one file"),
        (partial(sheets.check_stack, results="results"), "http://h/film.ome.zarr", "more than one file"),
    ],
)
def test_folders_and_stores_at_urls_are_refused(check, path, found):
    row = {None: "sheet, line 2", "slide": "A", "stack": "A", "path": path}
    with pytest.raises(InputError, match=f"^sheet, line 2: s[a-z]+ 'A' has the path '{path}', .*{found}"):
        check(row)


def test_names_in_a_folder_at_a_url_are_read_as_those_on_disk(tmp_path):
    names = [
        "b/9_B02_s1_w1.TIF",
        "a/9_B02_s1_w2.tif",
        ".x/9_B03_s1_w1.tif",
        "a/._9_B02_s2_w1.tif",
        "x.db",
        "a/@eaDir/y.tif",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    on_disk = layouts.scan_folder(tmp_path, plate="P")
    remote = layouts.scan_folder("s3://bucket/P", plate="P", names=names)
    assert [image.path for image in remote.images] == [
        "s3://bucket/P/b/9_B02_s1_w1.TIF",
        "s3://bucket/P/a/9_B02_s1_w2.tif",
    ]
    assert [image[1:] for image in remote.images] == [image[1:] for image in on_disk.images]
    assert remote.layout == on_disk.layout and remote.notes[0] == on_disk.notes[0]
