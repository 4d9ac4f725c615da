"""Small plates and stacks with known answers, as ../shared/cases makes them: made, run together, and read."""

import csv
import fcntl
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import yaml

from fieldwork import InputError
from plans import plan_in
from workspace import DATA, Workspace

CASES = DATA.parent / "cases"


class Outcome(NamedTuple):
    """What became of a plate or a stack: its folder of results, or why it was refused; and all that was said of it."""

    folder: Path | None
    said: str

    def rows(self, table):
        """Read the rows of a table: column -> text."""
        with open(self.folder / table, encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))

    def counts(self):
        """Return well -> nuclei of its fields by site, time and plane; None for a failed one."""
        wells = {}
        position = ("Metadata_Site", "Metadata_Timepoint", "Metadata_ZPlane")
        for row in sorted(self.rows("fields.csv"), key=lambda row: [float(row.get(name) or -1) for name in position]):
            count = int(row["Image_Count_Nuclei"]) if row["Image_Status"] == "ok" else None
            wells.setdefault(row["Metadata_Well"], []).append(count)
        return wells

    def errors(self, table="fields.csv"):
        """Return the reasons of failed rows, a line each."""
        return "\n".join(row["Image_Error"] for row in self.rows(table) if row["Image_Status"] == "failed")


def makers(kind: str) -> dict[str, Callable[[Path], None]]:
    """Return case -> function that makes it in a folder; none where there are no such cases."""
    path = CASES / kind / "make.py"
    if not path.is_file():
        return {}
    sys.path.insert(0, str(path.parent))  # for what it imports from beside it
    try:
        spec = importlib.util.spec_from_file_location(f"make_{kind}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module.CASES


def once(tmp_path_factory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that one of the test processes has filled; the others wait for it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with open(folder.with_suffix(".lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / "done").touch()
    return folder


def plan_refuses(folder: Path) -> str:
    """Return why a folder is refused before any job; nothing where it is not."""
    try:
        plan_in(folder)
    except InputError as error:
        return str(error)
    return ""


def read_sheet(folder: Path, kind: str) -> list[dict]:
    """Read a case's sheet: column -> text."""
    with open(folder / "config" / f"{kind}.tsv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def config_of(folder: Path) -> dict:
    """Return a case's configuration."""
    path = folder / "config/config.yaml"
    return (yaml.safe_load(path.read_text()) if path.exists() else None) or {}


def write_together(
    folder: Path, rows: Iterable[dict], config: dict, kind: str, *, modules: Iterable[Path] = ()
) -> None:
    """Write rows of several cases as one sheet.

    Parameters
    ----------
    folder : pathlib.Path
        In which the run works.
    rows : iterable of dict
        Of the sheet; paths are relative to the folder, or absolute.
    config : dict
    kind : {'plates', 'stacks'}
    modules : iterable of pathlib.Path
        Functions of the cases' own.
    """
    (folder / "config").mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with open(folder / "config" / f"{kind}.tsv", "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config))
    for module in modules:
        shutil.copy(module, folder / "config")


def run_together(folder: Path, *arguments: str) -> None:
    """Run what `write_together` wrote; what was printed is kept in the folder's ``printed.txt``."""
    process = Workspace(folder).start("--keep-going", *arguments, "--", "tables")
    printed, _ = process.communicate(timeout=900)
    assert "Traceback" not in printed, printed
    assert "Job stats" in printed, printed  # it was not refused as a whole
    (folder / "printed.txt").write_text(f"{printed}\nexit status {process.returncode}\n")


def outcome(folder: Path, kind: str, name: str, *, table: str) -> Outcome:
    """Return what became of a plate or a stack of a run, by a table that exists where it was not refused."""
    printed = (folder / "printed.txt").read_text()
    word = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
    said = [line for line in printed.splitlines() if word.search(line)]
    said += [path.read_text(errors="replace") for path in sorted((folder / "logs" / kind / name).rglob("*.log"))]
    results = folder / "results" / kind / name
    made = (results / table).exists()
    if not made:
        assert not printed.rstrip().endswith("exit status 0"), f"{name} has no tables, and the run says it is done"
    return Outcome(results if made else None, "\n".join(said))
