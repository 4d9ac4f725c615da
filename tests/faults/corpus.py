"""All cases, in batches that run at the same time."""

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from faults import archives, functions, names, plates, refusals, slides, stacks, surroundings
from faults.cases import archives as cases_of_archives
from faults.cases import configuration, fields, sheets, specials, tags
from faults.cases import functions as cases_of_functions
from faults.cases import names as cases_of_names
from faults.cases import slides as cases_of_slides
from faults.cases import stacks as cases_of_stacks
from faults.cases import surroundings as cases_of_surroundings
from faults.catalogue import Verdict, random_numbers

FIELDS = (fields, tags, specials)
REFUSALS = (configuration, sheets)
SAMPLED_IMAGES, SAMPLED_REFUSALS = 100, 50


class Batch(NamedTuple):
    """Cases that one run, or one planning process, works through."""

    name: str
    cases: Sequence
    work: Callable[[Path, Sequence], Iterable[Verdict]]


@functools.cache
def batches() -> list[Batch]:
    """Return all batches, the longest first."""
    return [
        Batch("stacks", list(cases_of_stacks.cases()), stacks.run_stacks),
        Batch("slides", list(cases_of_slides.cases()), slides.run_slides),
        Batch("refusals", [case for module in REFUSALS for case in module.cases()], refusals.run_refusals),
        Batch("surroundings", list(cases_of_surroundings.cases()), surroundings.run_disturbed),
        Batch("fields", [case for module in FIELDS for case in module.cases()], plates.run_fields),
        Batch("names", list(cases_of_names.cases()), names.run_names),
        Batch("archives", list(cases_of_archives.cases()), archives.run_archives),
        Batch("functions", list(cases_of_functions.cases()), functions.run_functions),
    ]


def sampled(cases: Sequence, count: int) -> list:
    """Return a seeded sample of cases, in their order."""
    chosen = random_numbers("sample", len(cases)).choice(len(cases), size=count, replace=False)
    return [cases[number] for number in sorted(chosen)]


def sample() -> list[Batch]:
    """Return the batches of a sample that takes half a minute: images, refusals that are planned, and functions."""
    by_name = {batch.name: batch for batch in batches()}
    images, refused, own = (by_name[name] for name in ("fields", "refusals", "functions"))
    # Every plate needs good fields: what most of its images are decides what the others should be.
    good = [case for case in images.cases if case.name.endswith("nothing 1")]
    others = [case for case in images.cases if case not in good]
    planned = functools.partial(refusals.run_refusals, started=0)
    return [
        images._replace(cases=[*good, *sampled(others, SAMPLED_IMAGES)]),
        refused._replace(cases=sampled(refused.cases, SAMPLED_REFUSALS), work=planned),
        own,
    ]


def run_all(folder: Path, chosen: Sequence[Batch], *, at_once: int = 2) -> list[Verdict]:
    """Run batches, some at the same time, and return a verdict on every case."""

    def work(batch: Batch) -> list[Verdict]:
        return list(batch.work(folder / batch.name, batch.cases))

    with ThreadPoolExecutor(at_once) as pool:
        return list(itertools.chain.from_iterable(pool.map(work, chosen)))
