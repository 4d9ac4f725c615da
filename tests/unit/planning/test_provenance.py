"""The digest of what made a table: on copies of the library, one byte apart."""

import itertools
import os
import re
import shutil
from importlib.metadata import PackageNotFoundError, version
from modulefinder import ModuleFinder
from pathlib import Path

import pytest

from fieldwork.planning import provenance
from workspace import SCRIPTS

ROOT = {"__init__.py", "messages/__init__.py", "messages/secrets.py"}  # what every module of the library is beside


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """Copy scripts/ to a folder, in whose modules `provenance` looks, and return the folder."""

    def make(name="clone"):
        shutil.copytree(SCRIPTS, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.setattr(provenance, "LIBRARY", tmp_path / name / "fieldwork")
        return tmp_path / name

    provenance._imports.cache_clear()
    yield make
    provenance._imports.cache_clear()


def digest(scripts, script="detect_nuclei"):
    provenance._imports.cache_clear()  # every digest as a new run makes it
    return provenance.digest(scripts / f"{script}.py")


def imported_by(script):
    """Find the library modules that a script reaches, by the standard library's own search through byte code."""
    finder = ModuleFinder(path=[str(SCRIPTS)])
    finder.run_script(str(script))
    return {Path(module.__file__) for name, module in finder.modules.items() if name.split(".")[0] == "fieldwork"}


def test_a_byte_of_any_module_changes_the_digests_of_the_scripts_that_reach_it_and_of_no_others(copy):
    scripts = copy()
    names = [path.name for path in SCRIPTS.glob("*.py")]
    reached = {name: {path.relative_to(SCRIPTS) for path in imported_by(SCRIPTS / name)} for name in names}
    modules = [path.relative_to(SCRIPTS) for path in (SCRIPTS / "fieldwork").rglob("*.py")]
    assert len(names) > 20 and len(modules) > 60
    before = {name: provenance.digest(scripts / name) for name in names}
    for module in modules:
        content = (scripts / module).read_bytes()
        (scripts / module).write_bytes(content + b"#\n")
        changed = {name for name in names if provenance.digest(scripts / name) != before[name]}
        (scripts / module).write_bytes(content)
        counts = module.relative_to("fieldwork").as_posix() not in provenance.NOT_COUNTED
        assert changed == {name for name in names if counts and module in reached[name]}, module
    assert {name: provenance.digest(scripts / name) for name in names} == before


def test_a_script_changes_with_its_own_bytes(copy):
    scripts = copy()
    for path in sorted(scripts.glob("*.py")):
        before = digest(scripts, path.stem)
        assert len(before) >= 16 and int(before, 16)
        path.write_bytes(path.read_bytes() + b"\n")
        assert digest(scripts, path.stem) != before


def test_every_rule_goes_by_the_digest_of_its_own_script():
    rules = {}
    for path in (SCRIPTS.parent / "rules").glob("*.smk"):
        for rule in re.split(r"^rule ", path.read_text(), flags=re.MULTILINE)[1:]:
            scripts, digests = re.findall(r'"\.\./scripts/(\w+)\.py"', rule), re.findall(r'made_by\("(\w+)"\)', rule)
            if scripts:
                rules[rule.split(":")[0]] = scripts, digests
    assert len(rules) > 20
    assert rules.pop("download_plate")[1] == []  # no change of code downloads anything again
    assert all(scripts == digests for scripts, digests in rules.values()), rules


def test_modules_that_do_not_count_exist_and_have_a_reason():
    for module, reason in provenance.NOT_COUNTED.items():
        assert (SCRIPTS / "fieldwork" / module).is_file() and reason


def test_scripts_have_digests_of_their_own():
    digests = {path.name: provenance.digest(path) for path in SCRIPTS.glob("*.py")}
    assert len(digests) >= 4 and len(set(digests.values())) == len(digests)


def test_a_touch_an_unrelated_module_and_another_script_change_nothing(copy):
    scripts = copy()
    before = digest(scripts)
    for path in scripts.rglob("*.py"):
        os.utime(path, (1e9, 1e9))
    for name in (
        "fieldwork/inputs/layouts.py",
        "fieldwork/synthetic.py",
        "fieldwork/inputs/sheets.py",
        "fieldwork/inputs/plates.py",
        "fieldwork/planning/runs.py",
        "fieldwork/parallel/progress.py",
        "fieldwork/planning/provenance.py",
        "merge_units.py",
    ):
        (scripts / name).write_bytes((scripts / name).read_bytes() + b"# changed\n")
    (scripts / "fieldwork/new.py").write_text("from fieldwork import nuclei\n")
    assert digest(scripts) == before


def test_the_code_behind_a_table_is_known_by_its_scripts_their_modules_and_the_libraries(copy, monkeypatch):
    scripts, names = copy(), ["detect_nuclei", "merge_units"]
    before = provenance.code_behind(names)
    assert before["libraries"]["numpy"] == version("numpy") and None not in before["libraries"].values()
    assert {"opencv-python-headless", "scikit-image"} < set(before["libraries"]) < {*distributions()}
    assert provenance.code_behind(reversed(names)) == before
    digests = {before["digest"], provenance.code_behind(names[:1])["digest"]}
    for path in ("merge_units.py", "fieldwork/objects/shapes.py"):
        content = (scripts / path).read_bytes()
        (scripts / path).write_bytes(content + b"#")
        digests.add(provenance.code_behind(names)["digest"])
        (scripts / path).write_bytes(content)
    (scripts / "fieldwork/synthetic.py").write_text("")
    assert provenance.code_behind(names) == before and len(digests) == 4
    monkeypatch.setattr(provenance, "_version", {"numpy": "0"}.get)
    other = provenance.code_behind(names)
    assert other["libraries"] == {"numpy": "0"} and other["digest"] != before["digest"]


def distributions():
    return itertools.chain(*provenance.COMPUTING.values())


def test_a_clone_elsewhere_has_the_same_digests(copy):
    first = {path.name: provenance.digest(path) for path in copy("a").glob("*.py")}
    second = {path.name: provenance.digest(path) for path in copy("z").glob("*.py")}
    assert first == second and len(first) >= 4


@pytest.mark.parametrize(
    "statement",
    [
        "from fieldwork import late",
        "from fieldwork import InputError, late as other",
        "from fieldwork.late import something",
        "import fieldwork.late",
        "import os, fieldwork.late as other",
        "def later():\n    from fieldwork import late",
        "try:\n    from fieldwork.late import something\nexcept ImportError:\n    pass",
        "from fieldwork.package import late",
        "from fieldwork.package.late import something",
        "import fieldwork.package.late",
        "from fieldwork.package import something",
    ],
)
def test_every_way_to_import_a_module_counts(copy, statement):
    scripts = copy()
    (scripts / "fieldwork/package").mkdir()
    for module in ("late", "farther", "package/__init__", "package/late"):
        (scripts / f"fieldwork/{module}.py").write_text("")
    late = "package/__init__" if statement == "from fieldwork.package import something" else "package/late"
    for module in ("late", late):
        (scripts / f"fieldwork/{module}.py").write_text("from fieldwork import farther\n")
    (scripts / "new.py").write_text(statement)
    before = digest(scripts, "new")
    (scripts / "fieldwork/farther.py").write_text("#")
    assert digest(scripts, "new") != before


def test_modules_that_import_each_other_are_followed_once(copy):
    scripts = copy()
    (scripts / "fieldwork/left.py").write_text("from fieldwork import right\n")
    (scripts / "fieldwork/right.py").write_text("from fieldwork import left\n")
    (scripts / "new.py").write_text("from fieldwork import left\n")
    digest(scripts, "new")
    assert set(provenance.closure(scripts / "new.py")) == {"new.py", "left.py", "right.py", *ROOT}


def test_modules_of_one_name_in_two_packages_are_two(copy):
    scripts = copy()
    for package in ("left", "right"):
        (scripts / "fieldwork" / package).mkdir()
        for module in ("__init__", "same"):
            (scripts / f"fieldwork/{package}/{module}.py").write_text("")
    (scripts / "new.py").write_text("from fieldwork.left import same\nfrom fieldwork.right import same as other\n")
    inner = {f"{package}/{module}.py" for package in ("left", "right") for module in ("__init__", "same")}
    assert set(provenance.closure(scripts / "new.py")) == {"new.py", *ROOT} | inner
    before = digest(scripts, "new")
    for package in ("left", "right"):
        (scripts / f"fieldwork/{package}/same.py").write_text("#")
        assert digest(scripts, "new") != before
        (scripts / f"fieldwork/{package}/same.py").write_text("")
    # The same bytes under the other name.
    (scripts / "fieldwork/left/same.py").write_text("#")
    moved = digest(scripts, "new")
    (scripts / "fieldwork/left/same.py").write_text("")
    (scripts / "fieldwork/right/same.py").write_text("#")
    assert digest(scripts, "new") != moved


def test_versions_of_the_libraries_that_compute_count_where_they_are_imported(copy, monkeypatch):
    scripts = copy()
    (scripts / "fieldwork/computes.py").write_text("def later():\n    import numpy.linalg, cv2 as cv\n")
    (scripts / "new.py").write_text("from fieldwork import computes\n")
    known = provenance._version
    opencv = set(provenance.COMPUTING["cv2"])
    fields = {"numpy", "scipy", *opencv, "scikit-image", "tifffile", "imagecodecs", "pillow", "simplejpeg"}
    slides = {"zarr", "zarrs", "openslide-python", "openslide-bin", *provenance.COMPUTING["cucim"]}
    for script, expected in {
        "new": {"numpy", *opencv},
        "detect_nuclei": fields,
        "convert_slide": fields - {"scipy"} | slides,
    }.items():
        before = digest(scripts, script)
        changed = set()
        for distribution in set(distributions()):
            monkeypatch.setattr(provenance, "_version", lambda name, d=distribution: "0" if name == d else known(name))
            if digest(scripts, script) != before:
                changed.add(distribution)
        monkeypatch.setattr(provenance, "_version", known)
        assert changed == expected, script


def test_a_package_that_is_absent_here_has_the_version_of_the_conda_environment(monkeypatch):
    here = {name: provenance._version(name) for name in distributions()}

    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(provenance, "version", absent)
    provenance._version.cache_clear()
    assert {name: provenance._version(name) for name in distributions()} == here  # both are the lock's
    provenance._version.cache_clear()
