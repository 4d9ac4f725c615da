"""Runs that are disturbed, compared with one that is not."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from faults.catalogue import Refused, RunCase, Verdict
from faults.snakemake_runs import run, wrong_end
from workspace import Workspace


def run_disturbed(folder: Path, cases: Sequence[RunCase]) -> Iterator[Verdict]:
    """Run cases, and yield a verdict on each."""
    undisturbed = _planted(folder / "undisturbed")
    yield Verdict("Runs", "undisturbed", run(undisturbed.path, "tables").wrong)
    tables = undisturbed.tables()
    for number, case in enumerate(cases):
        yield Verdict(case.category, case.name, _wrong(_planted(folder / str(number)), case, tables))


def _planted(folder):
    """Return a workspace with a small plate."""
    folder.mkdir(parents=True)
    workspace = Workspace(folder)
    workspace.plant(wells=("B02", "B03"), sites=2)
    (folder / "config/config.yaml").write_text("nuclei: {method: peaks}\n")
    return workspace


def _wrong(workspace, case, tables):
    """Return what is wrong with a run that is disturbed."""
    ended = case.disturb(workspace)
    message = case.must.message if isinstance(case.must, Refused) else case.must.first
    if message:
        if wrong := wrong_end(ended, status=1):
            return wrong
        if not re.search(message, ended.printed):
            return f"printed: {ended.printed[-300:]}"
        if isinstance(case.must, Refused):
            return ""
        ended = run(workspace.path, "tables")
    if ended.wrong:
        return ended.wrong
    made = workspace.tables()
    differing = [name for name in tables if made.get(name) != tables[name]]
    return f"other bytes of {', '.join(differing)}" if differing or not tables else ""
