"""Stacks with known answers of ../shared/cases: each ends as its README says."""

import csv
import functools
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import cases
from workspace import wait_for

MAKERS = cases.makers("stacks")
pytestmark = pytest.mark.skipif(not MAKERS, reason=f"there are no cases in {cases.CASES}")


class Case(NamedTuple):
    """What must happen: frames as in truth.csv, with a warning where one is named; or refused in these words."""

    refused: str | None = None  # None: it is not refused
    warning: str = ""
    tables: bool = True  # False: it is refused
    left_out: bool = False  # the first frame, a bad one, may be left out with a warning


STACKS = {
    "folder-ome-named": Case(refused="channel"),
    "folder-imagej": Case(refused="channel"),
    "one-ome-file": Case(),
    "rgb-pages": Case(refused="colour|channel"),
    "rgb-folder": Case(refused="colour|channel"),
    "single-channel": Case(refused="channel", warning="channel"),
    "y-x-time": Case(refused="dimension|axes|axis"),
    "time-y-x": Case(),
    "rgb-flip": Case(refused="colour"),
    "planes-3": Case(refused="frames|planes"),
    "planes-4": Case(refused="frames|planes"),
    "preview-first": Case(refused="shape|size", left_out=True),
    "bit-mix": Case(refused="type", left_out=True),
    "imagej-extra-page": Case(refused="13", warning="13|page"),
}
WEB = ("head-429", "head-503", "get-503", "get-cut")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a function that returns the outcome of a stack's case, and its folder."""

    def make(folder):
        for name in STACKS:
            MAKERS[name](folder / name)
        by_config = {}
        for name in STACKS:
            by_config.setdefault(str(cases.config_of(folder / name)), []).append(name)
        for number, names in enumerate(by_config.values()):
            work, rows = folder / f"run {number}", {name: row_of(folder, name) for name in names}
            modules = list((folder / names[0] / "config").glob("*.py"))
            together = functools.partial(
                cases.write_together, work, config=cases.config_of(folder / names[0]), kind="stacks", modules=modules
            )
            together(rows.values())
            if cases.plan_refuses(work):  # one of them; to ask each takes seconds
                refusals = {name: cases.plan_refuses(folder / name) for name in names}
                for name, reason in refusals.items():
                    (folder / name / "refusal.txt").write_text(reason)
                together([row for name, row in rows.items() if not refusals[name]])
            cases.run_together(work)

    root = cases.once(tmp_path_factory, "stack-cases", make)

    def result(name):
        reason = root / name / "refusal.txt"
        if reason.exists() and reason.read_text():
            return cases.Outcome(None, reason.read_text()), root / name
        [work] = [path for path in root.glob("run *") if f"\n{name}\t" in (path / "config/stacks.tsv").read_text()]
        return cases.outcome(work, "stacks", name, table="frames.csv"), root / name

    return result


def row_of(folder, name):
    """Return the row of a case's sheet, with the case's name and an absolute path."""
    [row] = cases.read_sheet(folder / name, "stacks")
    return {"stack": name, "path": str(folder / name / row["path"])}


def values_of(rows):
    """Return what frames hold: their sum and second pixel, None for failed ones."""
    return [(float(row["total"]), float(row["second"])) if row["total"] else None for row in rows]


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_ends_as_it_must(run, name):
    case, (outcome, folder) = STACKS[name], run(name)
    if outcome.folder is None:
        assert case.refused and re.search(case.refused, outcome.said), outcome.said
        return
    with open(folder / "truth.csv", newline="") as stream:
        truth = values_of(csv.DictReader(stream))
    frames = values_of(outcome.rows("frames.csv"))
    if name == "single-channel":
        truth = frames  # measured, with a WARNING
    if case.left_out and len(frames) == len(truth) - 1:
        assert "WARNING" in outcome.said
        truth = truth[1:]
    assert frames == truth
    if case.warning:
        assert re.search(f"WARNING.*({case.warning})", outcome.said), outcome.said


def test_plates_on_servers_that_fail_for_a_moment_are_read_in_one_run(tmp_path):
    for name in WEB:
        MAKERS[name](tmp_path / name)
    with socket.socket() as free:  # another run on this machine may have the port that stall.py has by itself
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = f"import stall; stall.PORT = {port}; stall.main(stall.Handler)"
    command = [sys.executable, "-B", "-c", code, str(tmp_path)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, cwd=cases.CASES / "stacks")
    try:
        wait_for(lambda: _answers(port), server)
        rows = [{"plate": name, "images": f"http://127.0.0.1:{port}/{name}/list.csv"} for name in WEB]
        work = tmp_path / "work"
        fast = ("--storage-http-max-requests-per-second", "1000")
        cases.write_together(work, rows, {"nuclei": {"method": "peaks"}}, "plates")
        cases.run_together(work, *fast)
    finally:
        server.terminate()
        server.communicate()
    for name in WEB:
        counts = cases.outcome(work, "plates", name, table="fields.csv").counts()
        assert [count for well in sorted(counts) for count in counts[well]] == [
            number % 3 + 1 for number in range(96 if name == "head-429" else 4)
        ]


def _answers(port):
    """Return True once the server of stall.py answers."""
    import urllib.error
    import urllib.request

    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/x/y", timeout=5)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def test_values_that_are_too_large_to_draw_end_no_run(tmp_path):
    MAKERS["huge-values"](tmp_path / "s")
    workspace = cases.Workspace(tmp_path / "s")
    workspace.run()
    rows = cases.Outcome(tmp_path / "s/results/stacks/s", "").rows("frames.csv")
    assert {(float(row["high"]), float(row["low"])) for row in rows} == {(1e308, -1e308)}
    assert Path(tmp_path, "s/results/stacks/s/frames.png").stat().st_size > 1000
