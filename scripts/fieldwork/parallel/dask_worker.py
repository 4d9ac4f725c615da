"""What runs in a Dask worker: a batch of frames, with this copy of the library, in the job's folder."""

import hashlib
import os
import pickle
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

from distributed import get_worker

from fieldwork import InputError, processes
from fieldwork.inputs import functions
from fieldwork.parallel.batches import unsendable, work_through

LIBRARY = Path(__file__).parents[1]
DASK_BATCH_S = 0.2  # s of work in a task: a task costs the scheduler and the network some 5 ms

_folder_is_free = threading.Condition()
_threads_at_work = 0  # in the working directory that this process has now
_own_files = {}  # file of a user's module that this process has imported -> its state then


class Job(NamedTuple):
    """What the tasks of a job have in common."""

    library: str  # `digest_of_library` where the job runs
    folder: str  # the job's working directory
    own_folders: tuple[str, ...]  # where the user's own modules are
    function: bytes  # pickled


class Task:
    """A batch of frames, pickled: unpickling it does the work, and gives the answer.

    So a task is `pickle.loads` and bytes. A scheduler, which unpickles tasks too, needs no library for them.
    """

    def __init__(self, job: Job, frames: list):
        self.arguments = job, pickle.dumps(frames)

    def __reduce__(self):
        return work_on, self.arguments


@cache
def digest_of_library() -> str:
    """Return the SHA-256 of the names and bytes of the library's files, as they are when this is first called."""
    digest = hashlib.sha256()
    for path in sorted(LIBRARY.rglob("*.py")):
        name, content = path.relative_to(LIBRARY).as_posix().encode(), path.read_bytes()
        digest.update(b"%d %s %d %s" % (len(name), name, len(content), content))
    return digest.hexdigest()


def work_on(job: Job, frames: bytes) -> bytes:
    """Apply a job's function to a batch of frames.

    Parameters
    ----------
    job : Job
    frames : bytes
        A pickled list.

    Returns
    -------
    bytes
        Pickled: the seconds of work, and the list that `work_through` returned.

    Raises
    ------
    RuntimeError
        This worker has another copy of the library, or something called `sys.exit`.
    InputError
        This worker has other modules of a user's in its memory than the job.
    """
    try:
        processes.prepare()
        if digest_of_library() != job.library:
            raise RuntimeError(f"the library in {LIBRARY} is not the job's")
        with _in_folder(job.folder), _with_own_modules(job.own_folders):
            function, batch = pickle.loads(job.function), pickle.loads(frames)
            begun = time.perf_counter()
            results = work_through(function, batch, SimpleNamespace(), seconds=2 * DASK_BATCH_S)
            seconds = time.perf_counter() - begun
    except SystemExit as error:  # Dask would never answer
        raise RuntimeError(f"it was ended by SystemExit: {error}") from error
    try:
        return pickle.dumps((seconds, results))
    except Exception as error:  # whatever pickle raises for a result that cannot be sent
        return pickle.dumps((seconds, unsendable(error)))


@contextmanager
def _in_folder(folder) -> Iterator[None]:
    """Work in a folder, to which a job's relative paths belong; threads in another one end their batches first."""
    global _threads_at_work
    with _folder_is_free:
        _folder_is_free.wait_for(lambda: not _threads_at_work or os.getcwd() == folder)
        os.chdir(folder)
        _threads_at_work += 1
    try:
        yield
    finally:
        with _folder_is_free:
            _threads_at_work -= 1
            _folder_is_free.notify_all()


@contextmanager
def _with_own_modules(folders) -> Iterator[None]:
    """Refuse to work with modules of a user's that this process imported before they changed, or for another project.

    A worker outlives jobs, but Python imports a module once.
    """
    if not folders:
        yield
        return
    others = [folder for folder in functions.own_folders if folder not in folders]
    sys.path[:] = [folder for folder in sys.path if folder not in others]
    worker = f"the Dask worker at {get_worker().address}"
    for file, state in list(_own_files.items()):
        if _is_below(file, others):
            raise InputError(f"{worker} has imported {file}, of another project; stop it and start it again")
        if _state_of(file) != state:
            raise InputError(f"{file} has changed since {worker} imported it; stop the worker and start it again")
    yield
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and _is_below(file, folders):
            _own_files.setdefault(file, _state_of(file))


def _is_below(file, folders):
    return file.startswith(tuple(os.path.join(folder, "") for folder in folders))


def _state_of(file):
    try:
        status = os.stat(file)
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size
