"""Native libraries are checked each in a process of its own: broken ones are named, whatever they do."""

import importlib.metadata
import re

import pytest

from fieldwork.doctor import libraries
from workspace import REPOSITORY

# The first two read no images and tables, and every run begins with them; openslide-python loads openslide-bin.
NOT_CHECKED = {"psutil", "pyyaml", "openslide-bin"}


def came_of(name):
    (library,) = libraries.examine([name], processes=1)
    return library


def test_every_native_library_that_fieldwork_names_is_checked():
    wanted = (REPOSITORY / "envs/requirements.in").read_text().split("# tests\n")[0]
    native = set()
    for name in re.findall(r"^([a-z0-9-]+)", wanted, re.MULTILINE):
        try:
            files = importlib.metadata.files(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        native |= {name for file in files if file.suffix in (".so", ".dylib")}
    assert len(native) > 10 and native - NOT_CHECKED <= libraries.CHECKS.keys()


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("raise ImportError('libGL.so.1: cannot open')", "ImportError: libGL.so.1: cannot open"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "crashed: Illegal instruction"),
        ("import os; os._exit(3)", "ended with 3"),
        (
            "encode_jpeg = lambda *_, **__: b''; decode_jpeg = lambda *_, **__: 0",
            "read something else than was written",
        ),
    ],
)
def test_a_library_that_fails_crashes_or_reads_wrongly_is_named(tmp_path, monkeypatch, code, fault):
    (tmp_path / "simplejpeg.py").write_text(f"{code}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    broken = came_of("simplejpeg")
    assert fault in broken.fault and "\n" not in broken.fault and not broken.is_absent
    assert re.fullmatch(r"simplejpeg [\d.]+", broken.name)


def test_a_library_that_is_not_installed_is_absent():
    assert came_of("no-such-library") == ("no-such-library", "is not installed", True)


def test_the_libraries_of_this_machine_read_what_they_write(tmp_path):
    for number, name in enumerate(("numpy", "pyarrow", "shapely", "opencv-python-headless")):
        folder = tmp_path / str(number)
        folder.mkdir()
        libraries.check(name, folder)
