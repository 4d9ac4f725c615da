"""Functions are checked in another process before any job, and their files are listed."""

import os
import subprocess
import sys
from importlib.metadata import version

import pytest

from fieldwork.planning import function_checks


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    """Work in a folder of the test's own, where answers are kept."""
    monkeypatch.chdir(tmp_path)


def test_calls_are_checked_in_another_process_and_named_by_their_key(refused, write_modules, capfd):
    noisy = """
    import os, threading, time
    print("hello")
    os.system("echo shell")
    threading.Thread(target=time.sleep, args=[100]).start()  # longer than the check may take
    def f(image): pass
    """
    folders = write_modules(noisy=noisy)
    function_checks.check_calls([("a", "noisy.f", {}), ("b", "median", {})], metrics=[("c", "var")], folders=folders)
    assert "noisy" not in sys.modules and capfd.readouterr() == ("", "")
    calls = [("first", "noisy.f", {}), ("second", "median", {"footprnt": 1}), ("third", "no.such", {})]
    message = refused(function_checks.check_calls, calls, metrics=[("fourth", "nothing")], folders=folders)
    assert message == "second: median takes no argument 'footprnt'; did you mean 'footprint'?"
    message = refused(function_checks.check_calls, [], metrics=[("fourth", "men")])
    assert message.startswith("fourth: numpy.men: ") and "did you mean" in message


@pytest.mark.parametrize(
    ("text", "end", "said"),
    [
        ("import os\nprint('bye', flush=True)\nos._exit(3)", "ended (exit status 3)", "; it printed last: bye"),
        ("import os\nos._exit(0)", "ended (exit status 0)", ""),
        ("import os\nos.abort()", "was ended by SIGABRT", ""),
        ("import time\ntime.sleep(50)", "was not done after 3 s", ""),
    ],
)
def test_a_module_that_ends_or_blocks_the_process_is_named(refused, write_modules, monkeypatch, text, end, said):
    monkeypatch.setattr(function_checks, "IMPORTS_TIMEOUT_S", 3 if "sleep" in text else 60)
    folders = write_modules(good="def f(image): pass", ending=text)
    calls = [("good", "good.f", {}), ("bad", "ending.f", {}), ("good", "good.f", {})]
    message = refused(function_checks.check_calls, calls, folders=folders)
    assert message == f"bad: Python {end} while it imported ending.f{said}"


def test_segmenters_are_named_with_what_they_declare(refused, write_modules):
    folders = write_modules(own="def f(image, well, *, calibration, least=3): pass\ndef g(image): pass")
    segmenters = [("a", "own.f", {"least": 4}), ("b", "own.g", {})]
    declared = function_checks.check_calls([], segmenters=segmenters, folders=folders)
    assert declared == {"own.f": ["well", "calibration"], "own.g": []}
    message = refused(function_checks.check_calls, [("a", "own.f", {})], folders=folders)
    assert "missing a required argument" in message  # of a function that is no segmenter
    message = refused(function_checks.check_calls, [], segmenters=[("c", "own.g", {"x": 1})], folders=folders)
    assert message == "c: own.g takes no argument 'x'; it takes the image alone"


def test_functions_are_checked_once_per_change(refused, write_modules, tmp_path, monkeypatch):
    started = tmp_path / "started"
    text = f"open({str(started)!r}, 'a').write('x')\nimport other\ndef f(image, calibration, least=3): pass\n"
    folders = write_modules(own=text, other="")

    def check(arguments=None, **options):
        calls = [("a", "own.f", arguments or {"least": 4})]
        return function_checks.check_calls([], segmenters=calls, folders=folders, **options)

    def starts():
        return len(started.read_text())

    assert check() == check() == {"own.f": ["calibration"]} and starts() == 1
    check({"least": 5})
    assert starts() == 2
    write_modules(own=text + "# changed\n")
    check()
    assert starts() == 3
    write_modules(other="# changed, and imported by the first\n")
    check()
    check()
    assert starts() == 4
    check(metrics=[("b", "var")])
    assert starts() == 5
    monkeypatch.setattr(sys, "version", "4.0")
    check()
    assert starts() == 6
    for _ in range(2):  # what is wrong is asked for again
        assert refused(check, {"leest": 4}).endswith("did you mean 'least'?")
    assert starts() == 8


def test_a_folder_that_cannot_be_written_keeps_no_answers(write_modules, tmp_path):
    (tmp_path / ".snakemake").write_text("a file in its place")
    folders = write_modules(own="def f(image): pass")
    for _ in range(2):
        assert function_checks.check_calls([], segmenters=[("a", "own.f", {})], folders=folders) == {"own.f": []}


def test_half_an_answer_is_asked_for_again(write_modules, tmp_path):
    folders = write_modules(own="def f(image, well): pass")
    for _ in range(2):
        assert function_checks.check_calls([], segmenters=[("a", "own.f", {})], folders=folders) == {"own.f": ["well"]}
        (answer,) = (tmp_path / ".snakemake/fieldwork").iterdir()
        answer.write_text('[["we')


def test_files_that_arguments_name_are_listed(tmp_path):
    for name in ("model.pt", "b.json"):
        (tmp_path / name).touch()
    arguments = {
        "a": "model.pt",
        "b": [str(tmp_path / "b.json"), 3, {"c": "model.pt", "d": "absent"}],
        "e": ".",
        "f": "",
    }
    assert function_checks.argument_files(arguments) == ["model.pt", str(tmp_path / "b.json")]
    assert function_checks.argument_files({"a": "x" * 5000, "b": "\0"}) == []


def test_the_digest_of_a_file_is_of_its_content(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"one")
    before = function_checks.file_digest(path)
    os.utime(path, (1, 1))
    assert function_checks.file_digest(path) == before
    path.write_bytes(b"two")
    assert function_checks.file_digest(path) != before


def test_nothing_to_check_starts_nothing(monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    function_checks.check_calls([])


def test_own_files_are_those_that_the_named_ones_import(write_modules):
    folders = write_modules(
        one="import numpy\nimport two as zwei\ndef f(image):\n    from package.sub import g",
        two="import three\nimport one",
        three="this is no Python",
        unused="",
        package__in____init__="",
        package__in__sub="from . import other\nfrom .deep.leaf import x",
        package__in__other="from package import last",
        package__in__last="",
        package__in__unused="",
        package__in__deep__in__leaf="from ..up import y",
        package__in__up="",
    )
    names = ["one.f", "skimage.filters.sobel", "gaussian", "absent.f"]
    loaded = set(sys.modules)
    found = function_checks.module_files(names, folders=folders)
    package = ["package/__init__", "package/deep/leaf", "package/last", "package/other", "package/sub", "package/up"]
    assert sorted(found) == [f"{name}.py" for name in ["one", *package, "three", "two"]]
    assert all(path == folders[0] / name for name, path in found.items())
    assert set(sys.modules) == loaded
    assert sorted(function_checks.module_files(["package.other.f"], folders=folders)) == [
        f"package/{name}.py" for name in ("__init__", "last", "other")
    ]


def test_packages_that_own_modules_import_count_with_their_versions(write_modules):
    folders = write_modules(
        one="import os, two\nfrom . import three\nimport not_installed",
        two="import numpy.linalg",
        three="def f():\n    from skimage.measure import label",
        unused="import scipy",
    )
    versions = [f"numpy {version('numpy')}", f"scikit-image {version('scikit-image')}"]
    for _ in range(2):
        assert function_checks.package_versions(["one.f"], folders=folders) == versions
    assert function_checks.package_versions(["skimage.filters.sobel"], folders=[]) == versions[1:]
    assert function_checks.package_versions(["own.f"], folders=[]) == []


def test_own_files_are_those_of_the_first_folder_that_has_them_wherever_it_stands(tmp_path):
    for folder, text in {"config": "import two", "other": "import three", "empty": ""}.items():
        (tmp_path / folder).mkdir()
        if text:
            (tmp_path / folder / "one.py").write_text(text)
            (tmp_path / folder / "two.py").write_text(folder)
    config, other, empty = (tmp_path / name for name in ("config", "other", "empty"))
    expected = {"one.py": config / "one.py", "two.py": config / "two.py"}
    for folders in ([config], [empty, config], [config, empty], [config, other]):
        assert function_checks.module_files(["one.f"], folders=folders) == expected
    assert function_checks.module_files(["one.f"], folders=[other, config])["one.py"] == other / "one.py"
