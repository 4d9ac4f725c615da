"""The road of a job, tried on frames that are numbers."""

import faulthandler
import logging
import os
import signal
from typing import NamedTuple

import numpy as np
import pytest

from fieldwork import InputError, job
from fieldwork.frames import FrameError
from fieldwork.surroundings import memory


class Result(NamedTuple):
    """The result of one number: its double, and the process that measured it."""

    value: int | None = None
    error: str | None = None
    process: int = 0


def read(number):
    """Read a frame of one pixel; 3 is a bad file, 7 crashes the reader."""
    if number == 3:
        raise FrameError("empty file")
    if number == 7:
        faulthandler.disable()  # pytest's
        os.kill(os.getpid(), signal.SIGSEGV)
    return np.array([number])


def double(number, pixels):
    return Result(2 * int(pixels[0]), "too large" if number > 20 else None, os.getpid())


def read_and_double(number):
    return double(number, read(number))


def failed(number, reason):
    return Result(None, reason)


def collect(numbers, **options):
    options = {"read": read, "failed": failed, "label": "plate P1", "noun": "numbers"} | options
    return job.collect(double, numbers, **options)


POOLS = {"serial": {"engine": "serial"}, "paths": {"workers": 2}, "fork": {"workers": 2, "mode": "fork"}}


@pytest.mark.parametrize("pool", [POOLS["paths"], POOLS["fork"]], ids=["paths", "fork"])
def test_a_bad_frame_and_one_that_crashes_are_failed_results_in_their_places(pool, caplog):
    with caplog.at_level(logging.INFO):
        results = collect([1, 3, 5, 7, 9, 21], **pool)
    assert [result.value for result in results] == [2, None, 10, None, 18, 42]
    errors = [None, "empty file", None, "crashed the reader (SIGSEGV)", None, "too large"]
    assert [result.error for result in results] == errors
    assert os.getpid() not in {result.process for result in results}
    lines = [record.getMessage() for record in caplog.records if record.name == "fieldwork.job"]
    assert [line for line in lines if not line.startswith("mode fork")] == [
        "failed: plate P1: 3: empty file",
        "failed: plate P1: 7: crashed the reader (SIGSEGV)",
        "failed: plate P1: 21: too large",
        "plate P1: 6 numbers, 3 failed",
        "plate P1: 3 of 6 numbers failed, first 3: empty file",
    ]
    assert [record.levelname for record in caplog.records if "of 6 numbers" in record.getMessage()] == ["WARNING"]


@pytest.mark.parametrize("pool", [POOLS["paths"], POOLS["fork"]], ids=["paths", "fork"])
def test_what_crashed_is_tried_again_without_what_the_job_can_do_without(pool):
    asked = []

    def again(number, reason):
        asked.append((number, reason))
        return 8

    results = collect([1, 7, 3, 5], again=again, **pool)
    assert [result.value for result in results] == [2, 16, None, 10]
    assert asked == [(7, "crashed the reader (SIGSEGV)")]
    for other in (None, 7):  # nothing to try, or what crashes again
        results = collect([1, 7], again=lambda number, reason, other=other: other, **pool)
        assert [result.error for result in results] == [None, "crashed the reader (SIGSEGV)"]


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_every_pool_gives_the_same_results(pool):
    results = collect([1, 3, 5, 21], **pool)
    assert [result[:2] for result in results] == [(2, None), (None, "empty file"), (10, None), (42, "too large")]


def test_frames_are_read_ahead_only_where_workers_are_forked_to_share_them(caplog):
    frames = []
    with caplog.at_level(logging.INFO):
        for engine, mode in [("serial", "fork"), ("dask", "fork"), ("pool", "paths"), ("pool", "fork")]:
            assert all(frame.pixels is None for frame in frames)
            frames = job.read_ahead([1, 3], read=read, engine=engine, mode=mode)
            assert [str(frame) for frame in frames] == ["1", "3"]
    assert caplog.messages == ["mode fork: 2 images hold 0 MB, shared by 1 workers"]
    assert frames[0].pixels == 1 and str(frames[1].pixels) == "empty file"


@pytest.mark.parametrize("pool", [POOLS["paths"], POOLS["fork"]], ids=["paths", "fork"])
def test_every_frame_is_read_once(pool, tmp_path):
    def read_and_note(number):
        with open(tmp_path / "read", "a") as file:
            file.write(f"{number}\n")
        return read(number)

    results = collect([1, 3, 5, 9], read=read_and_note, **pool)
    assert [result.error for result in results] == [None, "empty file", None, None]
    assert sorted((tmp_path / "read").read_text().split()) == ["1", "3", "5", "9"]


@pytest.mark.parametrize("suspects", ["the reader", "the reader or the function"])
def test_a_crash_in_the_reader_has_the_same_words_in_every_mode(suspects):
    for mode in ("paths", "fork"):
        (result,) = collect([7], suspects=suspects, all_may_fail=True, workers=2, mode=mode)
        assert result.error == f"crashed {suspects} (SIGSEGV)"


def test_a_job_that_stops_at_a_bad_frame_names_it():
    with pytest.raises(InputError, match="^plate P1: 3 failed: empty file. The run stops .* on_bad_image: stop.$"):
        collect([1, 3, 5], on_bad_image="stop", workers=1)
    assert len(collect([1, 5], on_bad_image="stop", workers=1)) == 2


def test_a_job_without_a_good_frame_is_refused_where_not_all_may_fail():
    with pytest.raises(InputError, match="^plate P1: not one good frame of 2; first 3: empty file$"):
        collect([3, 3])
    assert [result.error for result in collect([3, 3], all_may_fail=True)] == ["empty file"] * 2
    assert collect([]) == []


def test_a_frame_of_several_planes_gives_several_results():
    def twice(number, pixels):
        return [Result(number), Result(None, "blurred")] if number else [Result(number)]

    options = {"read": read, "failed": lambda *reason: [failed(*reason)], "label": "plate P1", "noun": "planes"}
    results = job.collect(twice, [1, 0, 3], engine="serial", **options)
    assert results == [Result(1), Result(None, "blurred"), Result(0), Result(None, "empty file")]


def test_frames_that_measure_reads_itself_are_passed_on_as_they_are():
    options = {"failed": failed, "suspects": "the reader or a filter", "label": "slide S", "noun": "tiles"}
    results = job.collect(read_and_double, [1, 7], mode="fork", **options)
    assert [result[:2] for result in results] == [(2, None), (None, "crashed the reader or a filter (SIGSEGV)")]


def test_frames_that_do_not_fit_into_memory_are_not_read_to_the_end(monkeypatch, tmp_path):
    def read_large(number):
        (tmp_path / str(number)).touch()
        return np.zeros(10**6, np.uint8)

    monkeypatch.setattr(memory, "left", lambda: memory.Left(50 * 10**6, "of a test"))
    options = {"read": read_large, "engine": "pool", "mode": "fork", "workers": 2}
    assert len(job.read_ahead(range(49), **options)) == 49
    with pytest.raises(InputError, match="fork: 1000 images take about 1,000 MB, and 50 MB of memory .*mode: paths"):
        job.read_ahead(range(1000), **options)
    assert len(list(tmp_path.iterdir())) < 500
