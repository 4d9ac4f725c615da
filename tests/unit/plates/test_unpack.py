"""What an unpacked archive is like; test_downloads.py holds what is refused."""

import os
import tarfile
import zipfile

import pytest

from fieldwork.plates import unpack


@pytest.fixture
def umask():
    """Set a umask under which folders get another mode than tarfile's 0700."""
    before = os.umask(0o027)
    yield
    os.umask(before)


def folder_member(name):
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, 0o500
    return member


@pytest.mark.parametrize("kind", ["tar", "tar without a data filter", "zip"])
def test_folders_get_the_mode_of_the_umask(tmp_path, monkeypatch, umask, kind):
    packed, image = tmp_path / "packed", tmp_path / "a.tif"
    image.write_bytes(b"pixels")
    if kind == "zip":
        with zipfile.ZipFile(packed, "w") as archive:
            archive.mkdir("plate", mode=0o500)
            archive.write(image, "plate/deep/a.tif")
    else:
        with tarfile.open(packed, "w") as archive:
            archive.addfile(folder_member("plate"))
            archive.addfile(folder_member("plate/"))  # twice, as some programs write it
            archive.add(image, "plate/deep/a.tif")
    if kind == "tar without a data filter":  # as Python 3.11.3
        monkeypatch.setattr(tarfile, "data_filter", lambda member, path: member, raising=False)
    (tmp_path / "out").mkdir()
    unpack.unpack(packed, tmp_path / "out", is_zip=kind == "zip", progress="P1")
    modes = [(tmp_path / "out" / name).stat().st_mode & 0o777 for name in ("plate", "plate/deep")]
    assert modes == [0o750] * 2 and (tmp_path / "out/plate/deep/a.tif").read_bytes() == b"pixels"
