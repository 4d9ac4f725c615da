"""map_frames: the same results in the same order from every engine and mode, and no hang when a worker dies."""

import faulthandler
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest

from fieldwork import WorkerDied, parallel
from fieldwork.parallel import batches, mapping, pool
from fieldwork.parallel.batches import Batches
from workspace import REPOSITORY

WAYS = [("serial", "paths"), ("pool", "paths"), ("pool", "fork")]


def slow_square(number):
    time.sleep(0.02 if number % 7 == 0 else 0)  # later frames overtake earlier ones
    return number**2


def doubled(image):
    return image * 2


def divide(number):
    return 10 // number


def killed_at(number, *, victim, by):
    if number == victim:
        faulthandler.disable()  # pytest's, inherited: it would print a stack
        os.kill(os.getpid(), by)
    return number


def local_result(number):
    return lambda: number


@pytest.mark.parametrize(("engine", "mode"), WAYS)
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_frames(engine, mode, workers):
    numbers = list(range(100))
    results = parallel.map_frames(slow_square, numbers, engine=engine, mode=mode, workers=workers, progress=False)
    assert list(results) == [number**2 for number in numbers]


@pytest.mark.parametrize(("engine", "mode"), WAYS)
def test_large_arrays_pass_both_ways(engine, mode):
    images = [np.full((700, 700), number, np.uint16) for number in range(8)]
    results = list(parallel.map_frames(doubled, images, engine=engine, mode=mode, workers=2))
    np.testing.assert_array_equal(results, np.array(images) * 2)


def test_workers_work_at_the_same_time_and_in_processes_of_their_own():
    results = set(
        parallel.map_frames(lambda number: (time.sleep(0.05), os.getpid())[1], range(20), mode="fork", workers=3)
    )
    assert len(results) == 3 and os.getpid() not in results


@pytest.mark.parametrize(("engine", "mode"), WAYS)
def test_no_frames_give_no_results(engine, mode):
    assert list(parallel.map_frames(slow_square, [], engine=engine, mode=mode, workers=2)) == []


@pytest.mark.parametrize(("engine", "mode"), WAYS)
def test_an_exception_of_the_function_arrives_with_the_workers_traceback(engine, mode):
    with pytest.raises(ZeroDivisionError) as caught:
        list(parallel.map_frames(divide, [1, 2, 0, 3], engine=engine, mode=mode, workers=2))
    assert engine == "serial" or "in divide" in caught.value.__notes__[0]


@pytest.mark.parametrize(("engine", "mode"), WAYS)
def test_an_exception_comes_in_its_frames_place(engine, mode):
    results = parallel.map_frames(divide, [5, 2, 10, 1, 0, 3, 0], engine=engine, mode=mode, workers=2)
    assert [next(results) for _ in range(4)] == [2, 5, 1, 10]
    with pytest.raises(ZeroDivisionError):
        next(results)


class Peculiar(Exception):
    def __init__(self, reason, number):
        super().__init__(reason)


def peculiar(number):
    raise Peculiar("the lamp is off", number)


def exhausted(number):
    return next(iter(()))


class Coded(Exception):
    def __init__(self, code):
        super().__init__(f"code {code}")


def coded(number):
    raise Coded(number)


@pytest.mark.parametrize(("engine", "mode"), WAYS)
@pytest.mark.parametrize(("function", "reason"), [(peculiar, "the lamp is off"), (coded, "(^|: )code 1$")])
def test_an_exception_that_cannot_be_made_again_keeps_its_reason(engine, mode, function, reason):
    with pytest.raises((Peculiar, Coded, RuntimeError), match=reason) as caught:
        list(parallel.map_frames(function, [1, 2], engine=engine, mode=mode, workers=2))
    assert engine != "pool" or f"in {function.__name__}" in caught.value.__notes__[0]


@pytest.mark.parametrize(("engine", "mode"), WAYS)
def test_a_function_that_raises_stop_iteration_does_not_end_the_frames_in_silence(engine, mode):
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(parallel.map_frames(exhausted, [1, 2], engine=engine, mode=mode, workers=2))


def test_a_result_that_cannot_be_sent_is_an_error_that_says_so():
    with pytest.raises(TypeError, match="cannot be sent"):
        list(parallel.map_frames(local_result, [1, 2], workers=1))


@pytest.mark.parametrize("mode", ["paths", "fork"])
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_killed_from_outside_ends_the_work_and_names_its_frame(mode, by):
    function = functools.partial(killed_at, victim=13, by=by)
    with pytest.raises(WorkerDied, match=f"{by.name} while it worked on 13"):
        list(
            parallel.map_frames(function, range(40), mode=mode, workers=2, on_crash=lambda *_: pytest.fail("no crash"))
        )
    assert not multiprocessing.active_children()


def killed_while_it_sends(number, *, taken):
    if number == 0:
        return number
    while not taken.exists():
        time.sleep(0.01)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, 1)
    return np.zeros(40_000_000, np.uint8)  # more than a pipe holds, so that sending it waits for the parent


@pytest.mark.parametrize("mode", ["paths", "fork"])
def test_a_worker_killed_in_the_middle_of_a_result_ends_the_work_and_names_its_frame(tmp_path, mode):
    function = functools.partial(killed_while_it_sends, taken=tmp_path / "taken")
    results = parallel.map_frames(function, range(2), mode=mode, workers=2)
    assert next(results) == 0
    (tmp_path / "taken").touch()  # from here on this process reads nothing until the worker is dead
    deadline = time.monotonic() + 30
    while all(child.status() != psutil.STATUS_ZOMBIE for child in psutil.Process().children()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(WorkerDied, match="SIGKILL while it worked on 1"):
        next(results)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("engine", "mode"), WAYS[1:])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_crash_costs_its_own_frame_only(engine, mode, workers):
    function = functools.partial(killed_at, victim=613, by=signal.SIGSEGV)  # far enough on to be one of a batch
    results = parallel.map_frames(
        function,
        range(2000),
        engine=engine,
        mode=mode,
        workers=workers,
        on_crash=lambda number, reason: f"{number} {reason}",
    )
    assert list(results) == [*range(613), "613 SIGSEGV", *range(614, 2000)]


@pytest.mark.parametrize("mode", ["paths", "fork"])
def test_a_killed_worker_names_its_frame_out_of_a_batch(mode):
    function = functools.partial(killed_at, victim=613, by=signal.SIGKILL)
    with pytest.raises(WorkerDied, match="SIGKILL while it worked on 613;"):
        list(parallel.map_frames(function, range(2000), mode=mode, workers=2))


class Clock:
    """A clock, as of the module `time`, that stands still where nobody moves it on."""

    now = 0.0

    def perf_counter(self):
        return self.now


class NotedBatches(Batches):
    """Batches that note what was taken and what came back."""

    noted = []

    def put(self, batch, results):
        self.noted.append((batch[: len(results)], batch[len(results) :]))
        super().put(batch, results)


def test_a_batch_is_cut_short_at_a_slow_frame(monkeypatch):
    clock = Clock()  # each forked worker moves its own
    for module in (batches, pool):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(NotedBatches, "noted", [])
    monkeypatch.setattr(pool, "Batches", NotedBatches)

    def slow_and_quick(number):
        clock.now += 0.1 if number % 10 == 9 else 0
        return number

    assert list(parallel.map_frames(slow_and_quick, range(1000), mode="fork", workers=4)) == list(range(1000))
    assert sum(done[-1] % 10 == 9 for done, _ in NotedBatches.noted) == 100
    assert not any(number % 10 == 9 for done, _ in NotedBatches.noted for number in done[:-1])
    # What was at hand behind a slow frame comes back, for any worker to take; among it are other slow frames.
    assert any(number % 10 == 9 for _, undone in NotedBatches.noted for number in undone)


def process(_):
    return os.getpid()


@pytest.mark.parametrize("mode", ["paths", "fork"])
def test_no_more_workers_start_than_there_are_frames(mode):
    for count in (1, 2):
        results = parallel.map_frames(process, range(count), mode=mode, workers=5)
        assert os.getpid() != next(results)
        assert len(multiprocessing.active_children()) == count
        results.close()


def test_a_crash_without_a_handler_ends_the_work():
    with pytest.raises(WorkerDied, match="SIGSEGV"):
        list(parallel.map_frames(functools.partial(killed_at, victim=0, by=signal.SIGSEGV), range(4), workers=2))


def test_leaving_early_leaves_no_worker_behind():
    results = parallel.map_frames(slow_square, range(1000), workers=3)
    assert next(results) == 0
    assert len(multiprocessing.active_children()) == 3
    results.close()
    assert not multiprocessing.active_children()


def test_workers_die_with_their_parent():
    program = (
        "import os, time\nfrom fieldwork import parallel\n"
        "def work(number):\n    os.write(1, b'%d\\n' % os.getpid())\n    time.sleep(0.2)\n"
        "list(parallel.map_frames(work, range(1000), mode='fork', workers=3))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "scripts")}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        workers = set()
        while len(workers) < 3:
            workers.add(psutil.Process(int(parent.stdout.readline())))
        parent.kill()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive


def test_after_threads_fork_is_refused_and_paths_still_works():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="a-thread")
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="a-thread.*use mode 'paths'"):
            parallel.map_frames(abs, [1], mode="fork")
        assert list(parallel.map_frames(abs, [-1, -2, -3], mode="paths", workers=2)) == [1, 2, 3]
    finally:
        stop.set()
        thread.join()


def environment(name):
    return os.environ.get(name)


def test_workers_that_are_not_forked_are_prepared_before_they_import_what_the_function_needs(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)  # rules out a fork
    thread.start()
    try:
        assert list(parallel.map_frames(environment, ["OMP_NUM_THREADS"])) == ["1"]
    finally:
        stop.set()
        thread.join()


def test_where_fork_does_not_exist_it_is_refused(monkeypatch):
    monkeypatch.setattr(mapping.multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    with pytest.raises(RuntimeError, match="does not have; use mode 'paths'"):
        parallel.map_frames(abs, [1], mode="fork")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine": "dusk"}, "engine is 'dusk'; expected one of serial, pool, dask"),
        ({"mode": "spoon"}, "mode is 'spoon'; expected one of paths, fork"),
        ({"workers": 0}, "workers is 0; expected at least 1"),
    ],
)
def test_wrong_arguments_are_refused_at_the_call(arguments, message):
    with pytest.raises(ValueError, match=message):
        parallel.map_frames(abs, [1], **arguments)


def test_a_call_is_made_in_another_process_and_named_if_that_dies():
    assert parallel.call_in_process("a.tif", divmod, 7, 2) == (3, 1)
    assert parallel.call_in_process("a.tif", os.getpid) != os.getpid()
    function = functools.partial(killed_at, victim=1, by=signal.SIGSEGV)
    assert parallel.call_in_process("a.tif", function, 1, on_crash="{} {}".format) == "a.tif SIGSEGV"
    with pytest.raises(WorkerDied, match="SIGSEGV while it worked on a.tif"):
        parallel.call_in_process("a.tif", function, 1)


def test_only_forked_workers_inherit_frames():
    ways = [(engine, mode) for engine in parallel.ENGINES for mode in parallel.MODES]
    forked = [way for way in ways if parallel.frames_are_forked(engine=way[0], mode=way[1], dask="processes")]
    assert forked == [("pool", "fork")]


def test_progress_is_whole_lines_on_stderr(capfd):
    assert list(parallel.map_frames(abs, [-1, -2], engine="serial", progress="P1 all")) == [1, 2]
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith("P1 all:   0%") and lines[-1].startswith("P1 all: 100%") and "2/2" in lines[-1]
    assert not any("\r" in line for line in lines)


def test_workers_use_one_thread_each():
    variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    (results,) = parallel.map_frames(lambda _: [os.environ[name] for name in variables], [0], mode="fork")
    assert results == ["1", "1", "1"]
