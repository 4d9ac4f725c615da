"""Workers of a job: as many as its threads, or fewer, with one line that says why."""

import logging

import pytest

from fieldwork.planning import resources
from fieldwork.surroundings import memory, processors, workers


@pytest.fixture
def machine(monkeypatch):
    """Return a function that sets what the machine has."""

    def has(*, cpus=64, left_mb=64_000):
        monkeypatch.setattr(processors, "usable", lambda: processors.Usable(cpus, f"processors of the machine: {cpus}"))
        monkeypatch.setattr(memory, "left", lambda: memory.Left(left_mb * 10**6, "of the machine"))

    return has


@pytest.mark.parametrize("threads", [1, 8, 16, 64])
def test_a_job_that_has_what_it_asked_for_has_a_worker_for_every_thread(machine, caplog, threads):
    asked = resources.memory_mb(threads)
    machine(left_mb=asked - 460)  # two Snakemakes and its own process have taken theirs
    assert workers.within_bounds(threads, memory_mb=asked) == threads
    assert workers.within_bounds(threads) == threads
    assert not caplog.messages


@pytest.mark.parametrize(
    ("limits", "memory_mb", "count", "why"),
    [
        ({"cpus": 2}, None, 2, "processors of the machine: 2"),
        ({"left_mb": 3000}, None, 8, "3,000 MB of memory are left of the machine"),
        ({}, 3000, 6, "the job was given 3,000 MB of memory"),
        ({"cpus": 4, "left_mb": 100}, 3000, 1, "100 MB of memory are left of the machine"),
    ],
)
def test_the_tightest_bound_counts_and_one_line_says_why(machine, caplog, limits, memory_mb, count, why):
    machine(**limits)
    with caplog.at_level(logging.WARNING):
        assert workers.within_bounds(64, memory_mb=memory_mb) == count
    assert caplog.messages == [f"there is room for {count} of 64 workers: {why}"]


def test_a_job_of_one_worker_has_it_without_a_word_in_however_little_memory(machine, caplog):
    machine(left_mb=0)
    assert workers.within_bounds(1, memory_mb=600) == 1 and not caplog.messages
