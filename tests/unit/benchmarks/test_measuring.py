"""Ways are measured as often as there is time, in turns, and the terminal shows how far that is."""

import time

import pytest

from fieldwork.benchmarks import measuring


def short(case):
    time.sleep(0.01)
    return 0.5, case


@pytest.mark.parametrize(("limit", "rounds"), [(0, 1), (1000, 3)])
def test_a_second_and_third_time_are_left_out_where_they_would_take_too_long(monkeypatch, capsys, limit, rounds):
    monkeypatch.setattr(measuring, "FURTHER_ROUNDS_S", limit)
    measured = measuring.measure([("a",), ("b",)], short, repeats=3, progress="ways")
    assert {case: runs.seconds for case, runs in measured.items()} == {("a",): [0.5] * rounds, ("b",): [0.5] * rounds}
    assert all(runs.answers == [case] * (rounds + 1) for case, runs in measured.items())
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("ways: 100%") and f" {2 * rounds + 2}/{2 * rounds + 2} " in last


def test_without_repeats_the_run_whose_memory_is_measured_is_the_only_one():
    measured = measuring.measure([("a",)], short, repeats=0)
    assert measured[("a",)].seconds == [0.5] and measured[("a",)].answers == [("a",)]
    assert measured[("a",)].peak_memory > 10e6


def test_a_way_that_fails_is_left_out_and_counts_as_done(capsys):
    def run(case):
        if case == ("bad",):
            raise ValueError("no")
        return short(case)

    failures = {}
    measured = measuring.measure([("bad",), ("good",)], run, repeats=2, failures=failures, progress="ways")
    assert list(measured) == [("good",)] and "ValueError: no" in failures[("bad",)]
    assert capsys.readouterr().err.splitlines()[-1].startswith("ways: 100%")
