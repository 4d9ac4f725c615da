"""map_frames in Dask: what the pool gives, on clusters of its own and on one that runs already; and no hang."""

import faulthandler
import functools
import http.server
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import pytest

from fieldwork import InputError, WorkerDied, parallel
from fieldwork.inputs import functions
from fieldwork.inputs.functions import find
from fieldwork.parallel import dask_engine
from workspace import REPOSITORY, SCRIPTS

PATH = [SCRIPTS, Path(__file__).parent, REPOSITORY / "tests"]  # of workers: the library, and the functions below


class Cluster(NamedTuple):
    """A scheduler and its workers, started as a user would, in a folder of their own."""

    address: str
    scheduler: subprocess.Popen
    workers: list[subprocess.Popen]


def with_path(folders):
    """Return this process's environment with a PYTHONPATH of these folders alone."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}


def start(name, *arguments, folder, path=()):
    command = [sys.executable, "-m", f"distributed.cli.dask_{name}", "--no-dashboard", *arguments]
    return subprocess.Popen(command, cwd=folder, env=with_path(path), stderr=subprocess.PIPE, text=True)


def start_scheduler(folder):
    """Start a scheduler that has no Fieldwork; return its process and its address."""
    scheduler = start("scheduler", "--host", "127.0.0.1", "--port", "0", folder=folder)
    for line in scheduler.stderr:
        if found := re.search(r"Scheduler at: +(tcp://\S+)", line):
            return scheduler, found[1]
    raise AssertionError(f"no scheduler: {scheduler.wait()}")


def stop(processes):
    tree = [child for process in processes for child in psutil.Process(process.pid).children(recursive=True)]
    for process in [*processes, *tree]:
        process.kill()
    psutil.wait_procs(tree, timeout=10)
    for process in processes:
        process.communicate()


@contextmanager
def running_cluster(folder, *options, workers=2, path=PATH):
    """Run workers, of one thread each where the options say nothing else."""
    scheduler, address = start_scheduler(folder)
    options = *(options or ("--nthreads", "1")), "--host", "127.0.0.1", "--local-directory", str(folder)
    workers = [start("worker", address, *options, folder=folder, path=path) for _ in range(workers)]
    for worker in workers:
        assert any("Registered to" in line for line in worker.stderr)
    try:
        yield Cluster(address, scheduler, workers)
    finally:
        stop([process for process in (*workers, scheduler) if process.poll() is None])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster that outlives its jobs."""
    with running_cluster(tmp_path_factory.mktemp("elsewhere")) as running:
        yield running


@pytest.fixture
def doomed_cluster(tmp_path):
    """A cluster to be broken."""
    with running_cluster(tmp_path) as running:
        yield running


def slow_square(number):
    time.sleep(0.03 if number % 7 == 0 else 0)  # later frames overtake earlier ones
    return number**2


def whole_array(image):
    return image * 2


def divide(number):
    return 10 // (number - 30)


def local_result(number):
    return lambda: number


def crashed_at(number, *, victim):
    if number == victim:
        faulthandler.disable()  # pytest's: it would print a stack
        os.kill(os.getpid(), signal.SIGSEGV)
    return number


def killed_once_at(number, *, victim, mark):
    if number == victim and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.01)
    return number**2


def size_and_process(path):
    time.sleep(0.02)
    return Path(path).stat().st_size, os.getpid()


def rest(_):
    time.sleep(0.1)
    return os.getpid()


def dask_frames(function, frames, dask, **options):
    return parallel.map_frames(function, frames, engine="dask", dask=dask, workers=2, **options)


@pytest.mark.parametrize("dask", ["threads", "processes"])
def test_results_come_in_the_order_of_the_frames(dask):
    assert list(dask_frames(slow_square, range(300), dask)) == [number**2 for number in range(300)]


def test_large_arrays_pass_both_ways():
    images = [np.full((700, 700), number, np.uint16) for number in range(8)]
    np.testing.assert_array_equal(list(dask_frames(whole_array, images, "processes")), np.array(images) * 2)


@pytest.mark.parametrize("dask", ["threads", "processes"])
def test_an_exception_comes_in_its_frames_place_with_the_workers_traceback(dask):
    found = []
    with pytest.raises(ZeroDivisionError) as caught:
        found.extend(iter(dask_frames(divide, range(100), dask)))
    assert "in divide" in caught.value.__notes__[0]
    found = dask_frames(divide, range(100), dask)
    assert [next(found) for _ in range(30)] == [10 // (number - 30) for number in range(30)]
    found.close()


def test_a_result_that_cannot_be_sent_is_an_error_that_says_so():
    with pytest.raises(TypeError, match="cannot be sent"):
        list(dask_frames(local_result, range(3), "threads"))


def test_a_crash_costs_its_own_frame_only():
    function = functools.partial(crashed_at, victim=13)
    found = dask_frames(function, range(40), "processes", on_crash=lambda number, reason: f"{number} {reason}")
    assert list(found) == [*range(13), "13 SIGSEGV", *range(14, 40)]


def test_a_crash_without_a_handler_ends_the_work_and_names_the_frame():
    with pytest.raises(WorkerDied, match="SIGSEGV while it worked on 13"):
        list(dask_frames(functools.partial(crashed_at, victim=13), range(40), "processes"))


class Unreadable:
    """A frame that cannot be unpickled, as where a worker lacks a file or a package."""

    def __reduce__(self):
        return open, ("no/such/file",)


def test_a_worker_that_cannot_begin_is_an_input_error_that_says_why():
    with pytest.raises(InputError, match="cannot begin: FileNotFoundError: .*no/such/file.*the same files"):
        list(dask_frames(str, [Unreadable()], "threads"))


def test_leaving_early_leaves_no_worker_behind():
    found = dask_frames(rest, range(1000), "processes")
    worker = psutil.Process(next(found))
    for process in [psutil.Process(), worker]:
        listening = [each.laddr.ip for each in process.net_connections() if each.status == psutil.CONN_LISTEN]
        assert set(listening) == {"127.0.0.1"}
    children = psutil.Process().children(recursive=True)
    workers = [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]  # Python's own
    assert worker in workers and len(workers) == 2
    found.close()
    assert not any(worker.is_running() for worker in workers)


PROGRAM = """
import os, sys, time
sys.path.insert(0, {scripts!r})
from fieldwork import parallel
def work(number):
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep({pause})
if __name__ == "__main__":
    list(parallel.map_frames(work, range({count}), engine="dask", dask="processes", workers=2))
"""


def start_program(folder, **values):
    program = folder / "program.py"
    program.write_text(PROGRAM.format(scripts=str(SCRIPTS), **values))
    work = folder / "work"
    work.mkdir()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, program], cwd=work, text=True, **pipes), work


def test_nothing_is_printed_and_no_file_is_left(tmp_path):
    process, work = start_program(tmp_path, pause=0.01, count=20)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors, len(output.split()), list(work.iterdir())) == (0, "", 20, [])


def test_workers_die_with_their_parent(tmp_path):
    process, _ = start_program(tmp_path, pause=0.2, count=1000)
    workers = set()
    while len(workers) < 2:
        workers.add(psutil.Process(int(process.stdout.readline())))
    process.kill()
    _, alive = psutil.wait_procs(workers, timeout=10)
    process.communicate()
    assert not alive


def test_workers_elsewhere_find_the_files_by_their_relative_paths(cluster, tmp_path, monkeypatch):
    for folder in ("first", "second"):  # as of two jobs, one after the other
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        for number in range(40):
            Path(f"{number}.raw").write_bytes(bytes(number + len(folder)))
        found = list(dask_frames(size_and_process, [f"{number}.raw" for number in range(40)], cluster.address))
        assert [size for size, _ in found] == [number + len(folder) for number in range(40)]
        assert len({pid for _, pid in found}) == 2


def folder_before_and_after(number):
    folder = os.getcwd()
    time.sleep(0.05)
    return folder, os.getcwd()


def test_two_jobs_at_a_time_keep_their_folders(tmp_path):
    """Two programs share a worker of four threads."""
    with running_cluster(tmp_path, "--nthreads", "4", workers=1) as running:
        programs = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            code = (
                f"from fieldwork import parallel, processes\nfrom test_dask_engine import folder_before_and_after\n"
                f"found = list(parallel.map_frames(folder_before_and_after, range(60), engine='dask', "
                f"dask={running.address!r}))\nassert set(sum(found, ())) == {{{str(tmp_path / name)!r}}}\n"
            )
            programs.append(subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path / name, env=with_path(PATH)))
        assert [program.wait(timeout=60) for program in programs] == [0, 0]


def copy_of_the_library(folder):
    shutil.copytree(SCRIPTS / "fieldwork", folder / "fieldwork", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda library: (library / "nuclei.py").open("a").write("#"), "has another copy of Fieldwork"),
        (lambda library: (library / "nuclei.py").rename(library / "nuclei2.py"), "has another copy of Fieldwork"),
        (lambda library: (library / "parallel" / "dask_worker.py").unlink(), "has no copy of Fieldwork"),
        (shutil.rmtree, "has no copy of Fieldwork"),
    ],
)
def test_a_worker_with_another_library_is_refused_in_one_line_that_names_it(tmp_path, change, problem):
    library = copy_of_the_library(tmp_path) / "fieldwork"
    change(library)
    with running_cluster(tmp_path, path=[tmp_path]) as running, pytest.raises(InputError) as caught:
        list(dask_frames(abs, range(100), running.address))
    message = str(caught.value)
    assert re.match(rf"the Dask worker at tcp://127.0.0.1:\d+ {problem}; it must have that of {SCRIPTS}", message)
    assert message.endswith(f"start it again with `PYTHONPATH={SCRIPTS} dask worker {running.address}`")
    assert len(message.splitlines()) == 1


def test_a_copy_of_the_library_elsewhere_is_as_good(tmp_path):
    with running_cluster(tmp_path, path=[copy_of_the_library(tmp_path)]) as running:
        assert list(dask_frames(abs, range(-9, 0), running.address)) == list(range(9, 0, -1))


def own_function(number, *, folders):
    return find("planted_module.times", folders=folders)(number)


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """Write a user's module, as one that this process has found; it is forgotten afterwards."""
    path = list(sys.path)

    def write(folder, factor):
        folder.mkdir(exist_ok=True)
        (folder / "planted_module.py").write_text(f"def times(number):\n    return {factor} * number\n")
        monkeypatch.setattr(functions, "own_folders", [str(folder)])
        return functools.partial(own_function, folders=[folder])

    yield write
    sys.path[:] = path


def test_workers_elsewhere_find_a_users_modules_and_refuse_changed_ones(doomed_cluster, own_module, tmp_path):
    function = own_module(tmp_path / "config", 2)
    for _ in range(2):
        assert list(dask_frames(function, range(10), doomed_cluster.address)) == [2 * number for number in range(10)]
    own_module(tmp_path / "config", 30)
    with pytest.raises(InputError, match="planted_module.py has changed since the Dask worker at tcp.* start it again"):
        list(dask_frames(function, range(10), doomed_cluster.address))


def test_workers_elsewhere_refuse_a_users_modules_of_a_second_project(doomed_cluster, own_module, tmp_path):
    function = own_module(tmp_path / "a", 2)
    assert list(dask_frames(function, range(10), doomed_cluster.address)) == [2 * number for number in range(10)]
    function = own_module(tmp_path / "b", 3)
    with pytest.raises(InputError, match=rf"has imported {tmp_path}/a/planted_module.py, of another project"):
        list(dask_frames(function, range(10), doomed_cluster.address))


def installed(number, *, folders):
    find("skimage.filters.sobel", folders=folders)
    return number


def test_a_project_of_which_nothing_was_imported_is_in_no_ones_way(doomed_cluster, own_module, tmp_path):
    own_module(tmp_path / "a", 2)
    first = functools.partial(installed, folders=[tmp_path / "a"])
    assert list(dask_frames(first, range(10), doomed_cluster.address)) == list(range(10))
    second = own_module(tmp_path / "b", 3)  # a module of the same name
    assert list(dask_frames(second, range(10), doomed_cluster.address)) == [3 * number for number in range(10)]


def test_a_killed_worker_costs_no_row(cluster, tmp_path):
    function = functools.partial(killed_once_at, victim=60, mark=tmp_path / "mark")
    assert list(dask_frames(function, range(100), cluster.address)) == [number**2 for number in range(100)]
    assert (tmp_path / "mark").exists()


def test_a_crash_on_workers_elsewhere_costs_its_own_frame_only(cluster):
    function = functools.partial(crashed_at, victim=13)
    found = dask_frames(function, range(40), cluster.address, on_crash=lambda number, reason: f"{number} {reason}")
    assert list(found) == [*range(13), "13 SIGSEGV", *range(14, 40)]


def test_a_scheduler_that_is_lost_ends_the_work(doomed_cluster):
    found = dask_frames(rest, range(1000), doomed_cluster.address)
    next(found)
    doomed_cluster.scheduler.kill()
    with pytest.raises(WorkerDied, match=f"scheduler at {doomed_cluster.address} was lost"):
        list(found)


def test_losing_all_workers_for_good_ends_the_work(doomed_cluster, monkeypatch):
    monkeypatch.setattr(dask_engine, "WITHOUT_WORKERS_S", 2)
    found = dask_frames(rest, range(1000), doomed_cluster.address)
    next(found)
    stop(doomed_cluster.workers)
    with pytest.raises(
        WorkerDied, match="no workers for 2 s; start some with `PYTHONPATH=.*/scripts dask worker tcp://"
    ):
        list(found)


def test_a_scheduler_without_workers_is_waited_for_and_then_an_input_error(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(dask_engine, "WITHOUT_WORKERS_S", 1)
    scheduler, address = start_scheduler(tmp_path)
    try:
        with pytest.raises(InputError, match=f"{address} has had no workers for 1 s"):
            list(dask_frames(abs, [-1], address))
    finally:
        stop([scheduler])
    assert caplog.text.count(f"the Dask scheduler at {address} has no workers; waiting 1 s for some") == 1


def test_no_scheduler_at_the_address_is_an_input_error(monkeypatch):
    monkeypatch.setattr(dask_engine, "CONNECT_S", 1)
    with pytest.raises(InputError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9 \(.*start one with"):
        list(dask_frames(abs, [-1], "tcp://127.0.0.1:9"))
    with socket.create_server(("127.0.0.1", 0)) as other:  # accepts, and is no scheduler
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(InputError, match=rf"no Dask scheduler answers at {address} \(.*start one with"):
            list(dask_frames(abs, [-1], address))
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)  # as the dashboard is
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(InputError, match="no Dask scheduler answers"):
            list(dask_frames(abs, [-1], f"tcp://127.0.0.1:{server.server_port}"))
    finally:
        server.shutdown()
        server.server_close()
