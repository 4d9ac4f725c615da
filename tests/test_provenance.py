"""The digest of what made a table: on copies of the library, one byte apart."""

import os
import shutil
from pathlib import Path

import pytest

from fieldwork import provenance

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """Make a copy of scripts/ whose modules `provenance` looks at, and give its folder."""

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


@pytest.mark.parametrize(
    "script", sorted(path.stem for path in SCRIPTS.glob("*.py") if path.stem != "view")
)  # no rule's
def test_every_script_changes_with_its_own_bytes_and_with_a_module_that_it_imports(copy, script):
    scripts = copy()
    seen = [digest(scripts, script)]
    assert len(seen[0]) >= 16 and int(seen[0], 16)
    for path in (scripts / f"{script}.py", scripts / "fieldwork/journal.py", scripts / "fieldwork/__init__.py"):
        path.write_bytes(path.read_bytes() + b"\n")
        seen.append(digest(scripts, script))
    assert len(set(seen)) == 4


def test_scripts_have_digests_of_their_own():
    digests = {path.name: provenance.digest(path) for path in SCRIPTS.glob("*.py")}
    assert len(digests) >= 4 and len(set(digests.values())) == len(digests)


def test_detection_depends_on_what_measures_fields_and_not_on_file_names():
    closure = provenance._closure(SCRIPTS / "detect_nuclei.py")
    names = {path.stem for path in closure}
    assert names >= {"detect_nuclei", "nuclei", "frames", "quality", "fields", "tables", "parallel", "__init__"}
    assert not names & {"layouts", "plates", "sheets", "runs", "provenance", "synthetic", "merge_units"}
    assert all(path.exists() for path in closure)


@pytest.mark.parametrize("module", ["frames", "names", "nuclei", "quality"])  # which detect_nuclei.py does not name
def test_a_byte_in_an_indirectly_imported_module_changes_the_digest(copy, module):
    scripts = copy()
    before = digest(scripts)
    path = scripts / "fieldwork" / f"{module}.py"
    original = path.read_bytes()
    path.write_bytes(original + b"# one byte more than a comment\n")
    assert digest(scripts) != before
    path.write_bytes(original)
    assert digest(scripts) == before


def test_a_touch_an_unrelated_module_and_another_script_change_nothing(copy):
    scripts = copy()
    before = digest(scripts)
    for path in scripts.rglob("*.py"):
        os.utime(path, (1e9, 1e9))
    for name in ("fieldwork/layouts.py", "fieldwork/synthetic.py", "fieldwork/provenance.py", "merge_units.py"):
        (scripts / name).write_bytes((scripts / name).read_bytes() + b"# changed\n")
    (scripts / "fieldwork/new.py").write_text("from fieldwork import nuclei\n")
    assert digest(scripts) == before


def test_a_clone_elsewhere_has_the_same_digests(copy):
    first = {path.name: digest(path.parent, path.stem) for path in copy("a").glob("*.py")}
    second = {path.name: digest(path.parent, path.stem) for path in copy("z").glob("*.py")}
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
    ],
)
def test_every_way_to_import_a_module_counts(copy, statement):
    scripts = copy()
    for module in ("late", "farther"):
        (scripts / f"fieldwork/{module}.py").write_text("")
    (scripts / "fieldwork/late.py").write_text("from fieldwork import farther\n")
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
    names = {path.name for path in provenance._closure(scripts / "new.py")}
    assert names == {"new.py", "left.py", "right.py", "__init__.py"}
