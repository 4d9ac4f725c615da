"""Files that cannot be read for reasons outside them, with real causes: limits, rights, files that are away."""

import errno
import json
import multiprocessing
import os
import resource
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tifffile

from fieldwork import DeviceFailed, FrameError, InputError, NotReadError, frames, job
from fieldwork.frames import decoding
from fieldwork.surroundings import memory, tries, unread
from plans import Wildcards

NOBODY = 65534


@pytest.fixture
def image(tmp_path):
    """Return the path of a good image."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.arange(600, dtype=np.uint16).reshape(20, 30))
    return path


def outcome_in_a_process(prepare, path):
    """Return what reading a file gives in a process of its own that is prepared: the mean, or the reason."""

    def answer(pipe):
        prepare()
        try:
            pipe.send(float(frames.read(path)[0].image.mean()))
        except FrameError as error:
            pipe.send(f"{type(error).__name__}: {error}")

    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=answer, args=(sender,))
    process.start()
    process.join()
    assert receiver.poll(), process.exitcode
    return receiver.recv()


def without_rights():
    if os.geteuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def test_rights_that_are_missing_say_nothing_about_the_file(image):
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are open to their owner alone
        os.chmod(folder, 0o755)
        copy = shutil.copy(image, folder)
        os.chmod(copy, 0)
        assert outcome_in_a_process(without_rights, copy) == "NotReadError: not read: Permission denied"
        os.chmod(copy, 0o644)
        assert outcome_in_a_process(without_rights, copy) == 299.5


def test_open_files_that_are_at_their_limit_say_nothing_about_the_file(image):
    def use_up_files():
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                os.dup(0)

    assert outcome_in_a_process(use_up_files, image) == "NotReadError: not read: Too many open files"


def test_an_image_beyond_the_memory_of_its_process_is_refused_by_its_header(tmp_path):
    path = tmp_path / "large.tif"
    tifffile.imwrite(path, np.zeros((16000, 16000), np.uint8), compression="zlib")
    assert path.stat().st_size < 10**6

    def limit_memory():
        used = memory.psutil.Process().memory_info().vms
        resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20,) * 2)

    reason = outcome_in_a_process(limit_memory, path)
    assert reason.startswith("NotReadError: not read: it needs 768 MB of memory, and ")
    assert reason.endswith(" MB are there for it")


def test_a_file_that_is_back_in_time_is_read(image, monkeypatch):
    away = image.with_name("away")
    image.rename(away)
    waits = []

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            away.rename(image)

    monkeypatch.undo()  # with its waits, but for the waiting
    monkeypatch.setattr(unread.time, "sleep", wait)
    assert frames.read(image)[0].image.mean() == 299.5
    assert waits == list(unread.WAITS_S)
    assert sum(waits) < 10


def test_of_many_files_that_are_away_not_each_is_waited_for(tmp_path, image, monkeypatch):
    waits = []
    monkeypatch.undo()
    monkeypatch.setattr(unread.time, "sleep", waits.append)
    for number in range(100):
        with pytest.raises(NotReadError, match="^not read: No such file or directory$"):
            frames.read(tmp_path / f"{number}.tif")
    assert len(waits) == 300
    assert sum(waits) == pytest.approx(unread.MOST_WAITING_S)
    frames.read(image)
    with pytest.raises(NotReadError):
        frames.read(tmp_path / "0.tif")
    assert waits[300:] == list(unread.WAITS_S)


@pytest.mark.parametrize("name", ["EIO", "ESTALE", "ENFILE", "ENOMEM", "ENOSPC", "EFBIG", "EPERM"])
def test_what_the_system_says_while_a_file_is_decoded_is_not_the_files(name):
    number = getattr(errno, name)
    with pytest.raises(NotReadError, match=f"^not read: {os.strerror(number)}$"), decoding():
        try:
            raise OSError(number, os.strerror(number))
        except OSError as error:
            raise ValueError("a library's own words") from error


@pytest.mark.parametrize(
    "error", [OSError("image file is truncated"), OSError(errno.EINVAL, "Invalid argument"), ValueError("corrupt")]
)
def test_what_a_decoder_says_of_bytes_is_the_files(error):
    with pytest.raises(FrameError, match="^cannot be decoded: ") as caught, decoding():
        raise error
    assert not isinstance(caught.value, NotReadError)


class Result(NamedTuple):
    """What was measured of a number."""

    process: int | None = None
    error: str | None = None


def failed(number, reason):
    return Result(error=reason)


def pixels(megapixels):
    return np.broadcast_to(np.uint8(0), (megapixels, 10**6))


def measure(number, image):
    if number == 3:
        np.empty((2**24, 2**24))
    return Result(os.getpid())


def collect(numbers, **pool):
    return job.collect(measure, numbers, read=pixels, failed=failed, label="plate P1", noun="images", **pool)


@pytest.mark.parametrize("pool", [{"engine": "serial"}, {"workers": 2}])
def test_memory_that_runs_out_costs_one_row(pool):
    results = collect([1, 3, 2], **pool)
    assert [result.error for result in results] == [None, "not read: Cannot allocate memory", None]


@pytest.mark.parametrize("error", [DeviceFailed("device: gpu: out of memory"), InputError("not enough memory")])
def test_memory_of_a_gpu_that_fails_ends_the_job(error):
    def fail(number, image):
        raise error

    with pytest.raises(type(error), match="memory"):
        job.collect(fail, [1], read=pixels, failed=failed, label="plate P1", noun="images", engine="serial")


def test_an_image_beyond_a_workers_share_is_measured_alone_and_one_beyond_all_memory_fails(monkeypatch):
    monkeypatch.setattr(memory, "left", lambda: memory.Left(200 * 10**6, "of the test"))
    first, middle, large, last = collect([4, 8, 16, 4], workers=2)
    assert not first.error and not middle.error and not last.error
    assert middle.process not in (first.process, last.process)
    assert large.error == "not read: it needs 288 MB of memory, and 200 MB are there for it"


def next_try(results, output="plates/{plate}/units/{unit}", **options):
    """Return what the next run's plan hands to a job."""
    return tries.Tries(results, **options).of(output)(Wildcards(plate="P{1}", unit="all"))


def test_an_output_is_tried_again_until_all_its_files_were_read_and_then_no_more(tmp_path):
    first = next_try(tmp_path)
    assert first.count == 0
    tries.note(first, [None, "truncated"])
    assert next_try(tmp_path) == first and not (tmp_path / tries.FOLDER).exists()
    tries.note(first, [None, "truncated", "not read: Stale file handle"])
    second = next_try(tmp_path)
    assert second == (first.path, 1)
    tries.note(list(second), ["w2.tif: not read: Input/output error"])  # Snakemake hands over what pickle or JSON keeps
    third = next_try(tmp_path)
    assert third == (first.path, 2)
    tries.note(third, [None])
    assert next_try(tmp_path) == third
    assert next_try(tmp_path, output="stacks/{plate}/frames").count == 0


def test_an_output_that_lacks_memory_alone_waits_for_that(tmp_path, monkeypatch):
    left = {"megabytes": 1000}
    monkeypatch.setattr(memory, "left", lambda: memory.Left(left["megabytes"] * 10**6, "of the test"))
    first = next_try(tmp_path)
    reason = "not read: it needs 4,832 MB of memory, and 1,000 MB are there for it"
    tries.note(first, [reason])
    assert next_try(tmp_path) == first
    assert next_try(tmp_path, on_cluster=True).count == 1  # of whose nodes nothing is known
    left["megabytes"] = 5000
    second = next_try(tmp_path)
    assert second.count == 1
    tries.note(second, [])
    left["megabytes"] = 1000
    assert next_try(tmp_path) == second
    tries.note(second, [reason, "not read: Input/output error"])
    assert next_try(tmp_path).count == 2


def test_results_in_the_working_directory_itself_are_tried_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tries.note(next_try("."), ["not read: Input/output error"])
    assert next_try(".").count == 1


def test_a_damaged_note_is_a_reason_to_try_again(tmp_path):
    first = next_try(tmp_path)
    tries.note(first, ["not read: Input/output error"])
    Path(first.path).write_text("{")
    second = next_try(tmp_path)
    assert second.count not in (0, 1)
    tries.note(second, [])
    assert next_try(tmp_path) == second
    assert json.loads(Path(first.path).read_text()) == {"count": second.count, "needed_mb": None}
