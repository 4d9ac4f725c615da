"""Working directories that must be refused: written, planned, and a sample of them started as users do."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from faults.catalogue import RefusalCase, Verdict, random_numbers
from faults.planner import Planned, plan_all
from faults.snakemake_runs import run, wrong_end

STARTED_SHARE = 0.06  # of the cases: a start takes seconds, a plan a tenth of one
REMEDY = "  Relative paths are taken from "  # a second line that a message may have


def run_refusals(folder: Path, cases: Sequence[RefusalCase], *, started: float = STARTED_SHARE) -> Iterator[Verdict]:
    """Plan cases, start a sample of them, and yield a verdict on each."""
    folders = []
    for number, case in enumerate(cases):
        folders.append(folder / str(number))
        (folders[-1] / "config").mkdir(parents=True)
        case.write(folders[-1])
    chosen = random_numbers("started").random(len(cases)) < started
    for case, place, planned, is_started in zip(cases, folders, plan_all(folders), chosen, strict=True):
        wrong = wrong_of(planned, case)
        if not wrong and is_started:
            wrong = wrong_start(place, case)
        yield Verdict(case.category, case.name, wrong)


def wrong_of(planned: Planned, case: RefusalCase) -> str:
    """Return what is wrong with a plan that must be refused; nothing where it is refused as it must be."""
    if planned.raised:
        return f"raised: {planned.raised}"
    if not planned.refusal:
        return f"not refused; must be: {case.must.message}"
    first, *others = planned.refusal.splitlines()
    if [line for line in others if not line.startswith(REMEDY)]:
        return f"several lines: {planned.refusal!r}"
    return "" if re.search(case.must.message, first) else f"refused with: {planned.refusal}"


def wrong_start(folder: Path, case: RefusalCase) -> str:
    """Start a run that must be refused, and return what is wrong with it."""
    ended = run(folder, "--dry-run", "tables")
    if wrong := wrong_end(ended, status=1):
        return wrong
    errors = [line for line in ended.printed.splitlines() if line.startswith("Error")]
    return "" if len(errors) == 1 and re.search(case.must.message, errors[0]) else f"printed: {ended.printed[-300:]}"
