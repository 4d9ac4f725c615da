"""map_frames in Dask: what the pool gives, on clusters of its own and on one that runs already; and no hang."""

import faulthandler
import functools
import http.server
import logging
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import psutil
import pytest

from fieldwork import InputError, WorkerDied, parallel
from fieldwork.inputs import functions
from fieldwork.inputs.functions import find
from fieldwork.parallel import dask_engine, dask_worker
from workspace import REPOSITORY, SCRIPTS

PATH = [SCRIPTS, Path(__file__).parent, REPOSITORY / "tests"]  # of workers: the library, and the functions below


class Cluster(NamedTuple):
    """A scheduler and its workers, started as a user would, in a folder of their own."""

    address: str
    scheduler: subprocess.Popen
    workers: list[subprocess.Popen]


def start(name, *arguments, folder, path=()):
    """Start a scheduler or a worker with a PYTHONPATH of these folders alone."""
    command = [sys.executable, "-m", f"distributed.cli.dask_{name}", "--no-dashboard", *arguments]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",  # of 3, to give a batch up after fewer dead workers
    }
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def start_scheduler(folder):
    """Start a scheduler that has no Fieldwork; return its process and its address."""
    scheduler = start("scheduler", "--host", "127.0.0.1", "--port", "0", folder=folder)
    for line in scheduler.stderr:
        if match := re.search(r"Scheduler at: +(tcp://\S+)", line):
            return scheduler, match[1]
    raise AssertionError(f"no scheduler: {scheduler.wait()}")


def start_workers(count, address, *, folder, path=PATH, nanny=False):
    """Start workers of one thread each, and wait for them; a nanny starts a new worker for one that died."""
    options = "--nthreads", "1", "--host", "127.0.0.1", "--local-directory", str(folder)
    options += ("--nanny" if nanny else "--no-nanny",)
    workers = [start("worker", address, *options, folder=folder, path=path) for _ in range(count)]
    for worker in workers:
        assert any("Registered to" in line for line in worker.stderr)
    return workers


def stop(processes):
    tree = [child for process in processes for child in psutil.Process(process.pid).children(recursive=True)]
    for process in [*processes, *tree]:
        with suppress(psutil.NoSuchProcess):  # a nanny's worker ends with it
            process.kill()
    psutil.wait_procs(tree, timeout=10)
    for process in processes:
        process.communicate()


@contextmanager
def running_cluster(folder, *, workers, nanny=False):
    scheduler, address = start_scheduler(folder)
    workers = start_workers(workers, address, folder=folder, nanny=nanny)
    try:
        yield Cluster(address, scheduler, workers)
    finally:
        stop([process for process in (*workers, scheduler) if process.poll() is None])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster of two workers that outlives its jobs."""
    with running_cluster(tmp_path_factory.mktemp("elsewhere"), workers=2, nanny=True) as running:
        yield running


@pytest.fixture
def doomed_cluster(tmp_path):
    """A cluster of one worker, to be broken."""
    with running_cluster(tmp_path, workers=1) as running:
        yield running


def slow_square(number):
    time.sleep(0.03 if number % 7 == 0 else 0)  # later frames overtake earlier ones
    return number**2


def doubled(image):
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


def test_results_come_in_the_order_of_the_frames(cluster):
    for dask in ("threads", cluster.address):
        assert list(dask_frames(slow_square, range(300), dask)) == [number**2 for number in range(300)]


def test_large_arrays_pass_both_ways(cluster):
    images = [np.full((700, 700), number, np.uint16) for number in range(8)]
    np.testing.assert_array_equal(list(dask_frames(doubled, images, cluster.address)), np.array(images) * 2)


def test_an_exception_comes_in_its_frames_place_with_the_workers_traceback(cluster):
    for dask in ("threads", cluster.address):
        results = dask_frames(divide, range(100), dask)
        assert [next(results) for _ in range(30)] == [10 // (number - 30) for number in range(30)]
        with pytest.raises(ZeroDivisionError) as caught:
            next(results)
        assert "in divide" in caught.value.__notes__[0]


def test_a_result_that_cannot_be_sent_is_an_error_that_says_so():
    with pytest.raises(TypeError, match="cannot be sent"):
        list(dask_frames(local_result, range(3), "threads"))


def test_a_crash_costs_its_own_frame_only(cluster):
    function = functools.partial(crashed_at, victim=13)
    results = dask_frames(function, range(40), cluster.address, on_crash=lambda number, reason: f"{number} {reason}")
    assert list(results) == [*range(13), "13 SIGSEGV", *range(14, 40)]


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
    others = psutil.Process().children(recursive=True)  # of the tests before
    results = dask_frames(rest, range(1000), "processes")
    worker = psutil.Process(next(results))
    for process in [psutil.Process(), worker]:
        listening = [link.laddr.ip for link in process.net_connections() if link.status == psutil.CONN_LISTEN]
        assert set(listening) == {"127.0.0.1"}
    children = set(psutil.Process().children(recursive=True)).difference(others)
    workers = [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]  # Python's own
    assert worker in workers and len(workers) == 2
    results.close()
    assert not any(worker.is_running() for worker in workers)


PROGRAM = """
import os, sys, time
sys.path.insert(0, {scripts!r})
from fieldwork import parallel
def work(number):
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep({pause})
    return number**2
if __name__ == "__main__":
    results = list(parallel.map_frames(work, range({count}), engine="dask", dask="processes", workers={workers}))
    assert results == [number**2 for number in range({count})]
"""


def start_program(folder, **values):
    program = folder / "program.py"
    program.write_text(PROGRAM.format(scripts=str(SCRIPTS), **values))
    work = folder / "work"
    work.mkdir()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, program], cwd=work, text=True, **pipes), work


def test_nothing_is_printed_and_no_file_is_left(tmp_path):
    process, work = start_program(tmp_path, pause=0.01, count=20, workers=1)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors, len(output.split()), list(work.iterdir())) == (0, "", 20, [])


def test_workers_die_with_their_parent(tmp_path):
    process, _ = start_program(tmp_path, pause=0.2, count=1000, workers=2)
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
        results = list(dask_frames(size_and_process, [f"{number}.raw" for number in range(40)], cluster.address))
        assert [size for size, _ in results] == [number + len(folder) for number in range(40)]
        assert len({pid for _, pid in results}) == 2


def job_of(function=abs, *, folder=".", own_folders=()):
    library, folder = dask_worker.digest_of_library(), os.path.abspath(folder)
    return dask_worker.Job(uuid.uuid4().hex, library, folder, own_folders, pickle.dumps(function))


def folder_before_and_after(_):
    folder = os.getcwd()
    time.sleep(0.02)
    return folder, os.getcwd()


def test_threads_of_a_worker_keep_to_the_folders_of_two_jobs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # and back afterwards
    jobs, frames = {}, pickle.dumps([0])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        jobs[name] = job_of(folder_before_and_after, folder=tmp_path / name)
    with ThreadPoolExecutor(4) as threads:
        answers = [(name, threads.submit(dask_worker.work_on, jobs[name], frames)) for name in "abba" * 5]
    for name, answer in answers:
        _, [folders] = pickle.loads(answer.result())
        assert folders == (jobs[name].folder,) * 2


def folder_of_all_but_the_first(number):
    if number == 0:
        os.chdir("/")
    left.wait(30)
    folder = os.getcwd()
    read.wait(30)
    return folder


left, read = threading.Barrier(4), threading.Barrier(4)


def test_a_function_that_leaves_the_folder_moves_no_other_thread(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # and back afterwards
    job = job_of(folder_of_all_but_the_first)
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(dask_worker.work_on, job, pickle.dumps([number])) for number in range(4)]
    assert [pickle.loads(answer.result())[1] for answer in answers] == [["/"], *[[str(tmp_path)]] * 3]


def test_a_function_that_exits_is_an_error_and_no_endless_wait():
    with pytest.raises(RuntimeError, match="ended by SystemExit: 3"):
        dask_worker.work_on(job_of(sys.exit), pickle.dumps([3]))


def test_the_digest_of_the_library_is_of_names_and_bytes_wherever_it_lies(tmp_path, monkeypatch):
    library = tmp_path / "elsewhere"
    shutil.copytree(dask_worker.LIBRARY, library, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(dask_worker, "LIBRARY", library)
    digest = dask_worker.digest_of_library.__wrapped__  # not the one that this process keeps
    digests = [digest()]
    (library / "nuclei.py").rename(library / "nuclei2.py")
    digests.append(digest())
    (library / "nuclei2.py").open("a").write("#")
    digests.append(digest())
    (library / "plates" / "new.py").touch()
    digests.append(digest())
    assert len(set(digests)) == 4 and digests[0] == dask_worker.digest_of_library()
    (library / ".#nuclei.py").symlink_to("me@node1.4321:1700000000")  # Emacs' lock of a file that is being edited
    (library / "plates" / ".ipynb_checkpoints").mkdir()
    (library / "plates" / ".ipynb_checkpoints" / "fields-checkpoint.py").touch()
    assert digest() == digests[-1]


def test_a_worker_with_another_library_is_refused_in_one_line_that_names_it(tmp_path):
    shutil.copytree(SCRIPTS / "fieldwork", tmp_path / "copy" / "fieldwork")
    (tmp_path / "copy" / "fieldwork" / "nuclei.py").open("a").write("#")
    scheduler, address = start_scheduler(tmp_path)
    processes = [scheduler]
    try:
        for path, problem in [("copy", "another copy of Fieldwork"), ("nothing", "no copy of Fieldwork")]:
            processes += start_workers(1, address, folder=tmp_path, path=[tmp_path / path])
            with pytest.raises(InputError) as caught:
                list(dask_frames(abs, range(100), address))
            stop([processes.pop()])
            message = str(caught.value)
            begin = rf"the Dask worker at tcp://127.0.0.1:\d+ has {problem}; it must have that of {SCRIPTS}"
            assert re.match(begin, message)
            assert message.endswith(f"start it again with `PYTHONPATH={SCRIPTS} dask worker {address}`")
            assert len(message.splitlines()) == 1
    finally:
        stop(processes)


def own_function(number, *, folders):
    return find("planted_module.times", folders=folders)(number)


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """Write a user's module, as one that this process has imported; its folder is forgotten afterwards."""
    path = list(sys.path)

    def write(folder, factor):
        folder.mkdir(exist_ok=True)
        (folder / "planted_module.py").write_text(f"def times(number):\n    return {factor} * number\n")
        monkeypatch.setattr(functions, "own_folders", [str(folder)])
        return functools.partial(own_function, folders=[folder])

    yield write
    sys.path[:] = path


def installed(number, *, folders):
    find("skimage.filters.sobel", folders=folders)
    return number


def test_workers_elsewhere_find_a_users_modules_and_refuse_old_ones_and_those_of_others(
    doomed_cluster, own_module, tmp_path, monkeypatch
):
    numbers, address = list(range(10)), doomed_cluster.address
    own_module(tmp_path / "a", 2)
    # Imports none of the folders' modules, though the library and Python's packages are below two of them.
    folders = [str(tmp_path / "a"), sys.prefix, str(SCRIPTS)]
    monkeypatch.setattr(functions, "own_folders", folders)
    assert list(dask_frames(functools.partial(installed, folders=folders), numbers, address)) == numbers
    function = own_module(tmp_path / "b", 3)  # a module of the same name
    for _ in range(2):
        assert list(dask_frames(function, numbers, address)) == [3 * number for number in numbers]
    own_module(tmp_path / "b", 30)
    with pytest.raises(InputError, match="planted_module.py has changed since the Dask worker at tcp.* start it again"):
        list(dask_frames(function, numbers, address))
    function = own_module(tmp_path / "a", 2)
    with pytest.raises(InputError, match=rf"has imported {tmp_path}/b/planted_module.py, of another project"):
        list(dask_frames(function, numbers, address))


@pytest.mark.parametrize(
    ("file", "own"),
    [
        ("/home/me/project/own.py", True),
        ("/home/me/project/config/own.py", True),
        ("/usr/src/project/own.py", True),
        ("/home/me/project2/own.py", False),
        ("/home/me/project/.venv/bin/dask", False),
        ("/home/me/project/env/lib/python3.12/site-packages/zarr/core.py", False),
        ("/home/me/project/scripts/fieldwork/nuclei.py", False),
        ("/usr/src/project/dist-packages/numpy/__init__.py", False),
        ("/usr/lib/python3.12/json/__init__.py", False),
    ],
)
def test_modules_of_python_its_packages_and_the_library_are_not_a_users(monkeypatch, file, own):
    installed = ("/home/me/project/.venv", "/usr", "/home/me/project/scripts/fieldwork")
    monkeypatch.setattr(dask_worker, "INSTALLED", installed)
    assert dask_worker._is_own(file, ("/home/me/project/config", "/home/me/project", "/usr/src/project")) == own


def test_a_project_that_is_refused_leaves_the_modules_of_the_other_one_in_the_path(monkeypatch):
    monkeypatch.setattr(dask_worker, "get_worker", lambda: SimpleNamespace(address="tcp://node1:1"))
    monkeypatch.setattr(dask_worker, "_own_files", {"/a/own.py": None})
    monkeypatch.setattr(functions, "own_folders", ["/a"])
    monkeypatch.setattr(sys, "path", [*sys.path, "/a"])
    message = "the Dask worker at tcp://node1:1 has imported /a/own.py, of another project"
    with pytest.raises(InputError, match=message), dask_worker._with_own_modules(job_of(own_folders=("/b",))):
        pytest.fail("it works")
    assert sys.path[-1] == "/a"
    monkeypatch.setattr(dask_worker, "_own_files", {})
    with dask_worker._with_own_modules(job_of(own_folders=("/b",))):
        assert "/a" not in sys.path


def test_a_project_with_fewer_folders_keeps_its_modules(monkeypatch):
    monkeypatch.setattr(dask_worker, "_own_files", {"/a/config/own.py": None})
    monkeypatch.setattr(functions, "own_folders", ["/a", "/a/config"])  # as with --config, and then without
    monkeypatch.setattr(sys, "path", list(sys.path))
    with dask_worker._with_own_modules(job_of(own_folders=("/a/config",))):
        pass


def test_whether_modules_changed_is_asked_once_a_job_and_not_for_each_batch(monkeypatch):
    files = []
    monkeypatch.setattr(dask_worker, "_state_of", files.append)
    monkeypatch.setattr(dask_worker, "_own_files", {"/a/own.py": None})
    monkeypatch.setattr(functions, "own_folders", ["/a"])
    first, second = job_of(own_folders=("/a",)), job_of(own_folders=("/a",))
    for job in (first, first, first, second):
        with dask_worker._with_own_modules(job):
            pass
    assert files == ["/a/own.py"] * 2


def test_a_killed_worker_costs_no_row(cluster, tmp_path):
    function = functools.partial(killed_once_at, victim=60, mark=tmp_path / "mark")
    assert list(dask_frames(function, range(100), cluster.address)) == [number**2 for number in range(100)]
    assert (tmp_path / "mark").exists()


def test_a_scheduler_that_is_lost_ends_the_work(doomed_cluster):
    results = dask_frames(rest, range(1000), doomed_cluster.address)
    next(results)
    doomed_cluster.scheduler.kill()
    with pytest.raises(WorkerDied, match=f"scheduler at {doomed_cluster.address} was lost"):
        list(results)


def test_a_scheduler_that_stops_answering_is_announced_and_given_up_unless_it_goes_on(
    doomed_cluster, monkeypatch, caplog
):
    class GoingOn(logging.Handler):
        def emit(self, record):
            if "does not answer" in record.getMessage():
                doomed_cluster.scheduler.send_signal(signal.SIGCONT)

    monkeypatch.setattr(dask_engine, "SILENT_S", 0.5)
    results = dask_frames(rest, range(60), doomed_cluster.address)
    next(results)
    dask_engine.log.addHandler(handler := GoingOn())
    doomed_cluster.scheduler.send_signal(signal.SIGSTOP)
    assert len(list(results)) == 59
    dask_engine.log.removeHandler(handler)

    results = dask_frames(rest, range(60), doomed_cluster.address)
    next(results)
    monkeypatch.setattr(dask_engine, "GIVEN_UP_S", 1)
    doomed_cluster.scheduler.send_signal(signal.SIGSTOP)
    with pytest.raises(WorkerDied, match=f"scheduler at {doomed_cluster.address} has not answered for 1 s; see that"):
        list(results)
    assert caplog.text.count(f"the Dask scheduler at {doomed_cluster.address} does not answer; waiting") >= 2


def test_workers_are_waited_for_before_the_work_ends_without_any(doomed_cluster, monkeypatch, caplog):
    address = doomed_cluster.address
    results = dask_frames(rest, range(1000), address)
    next(results)
    stop(doomed_cluster.workers)
    monkeypatch.setattr(dask_engine, "WITHOUT_WORKERS_S", 1)
    command = f"`PYTHONPATH=.*/scripts dask worker {address}`"
    with pytest.raises(WorkerDied, match=f"no workers for 1 s; start some with {command}"):
        list(results)
    caplog.clear()
    with pytest.raises(InputError, match=f"{address} has had no workers for 1 s; start some with {command}"):
        list(dask_frames(abs, [-1], address))
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
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        with pytest.raises(InputError, match="no Dask scheduler answers"):
            list(dask_frames(abs, [-1], f"tcp://127.0.0.1:{server.server_port}"))
    finally:
        server.shutdown()
        server.server_close()
