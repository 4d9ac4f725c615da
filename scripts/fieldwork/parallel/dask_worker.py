"""What runs in a Dask worker: a batch of frames, with this copy of the library, in the job's folder."""

import hashlib
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from distributed import get_worker

from fieldwork import InputError, processes
from fieldwork.inputs import functions
from fieldwork.parallel.batches import unsendable, work_through

LIBRARY = Path(__file__).parents[1]
DASK_BATCH_S = 0.2  # s of work in a task: a task costs the scheduler and the network some 5 ms

_at_work = SimpleNamespace(change=threading.Condition(), folder=None, threads=0)  # in the folder of one job at a time
_own_files = {}  # file of a user's module that this process has imported -> its state then


class Job(NamedTuple):
    """What the tasks of a job have in common."""

    library: str  # `digest_of_library` where the job runs
    folder: str  # the job's working directory
    own_folders: tuple[str, ...]  # where the user's own modules are
    function: bytes  # pickled


class Call:
    """A call in a Dask worker: unpickling it makes the call, and returns the result.

    So what Dask is sent is `pickle.loads` and bytes: a scheduler, which unpickles tasks too, needs no library for
    them, and a worker without one answers with an ordinary ImportError.
    """

    def __init__(self, function: Callable, *arguments: Any):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


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
    """Work in a job's folder, where its relative paths begin; wait until no thread of this worker is in another one."""
    with _at_work.change:
        _at_work.change.wait_for(lambda: not _at_work.threads or _at_work.folder == folder)
        os.chdir(folder)
        _at_work.folder = folder
        _at_work.threads += 1
    try:
        yield
    finally:
        with _at_work.change:
            _at_work.threads -= 1
            _at_work.change.notify_all()


@contextmanager
def _with_own_modules(folders) -> Iterator[None]:
    """Raise InputError where this process has imported modules of another project, or modules that changed since.

    A worker outlives jobs, but Python imports a module once.
    """
    if not folders:
        yield
        return
    others = [folder for folder in functions.own_folders if folder not in folders]
    worker = f"the Dask worker at {get_worker().address}"
    for file, state in list(_own_files.items()):
        if _is_below(file, others):
            raise InputError(f"{worker} has imported {file}, of another project; stop it and start it again")
        if _state_of(file) != state:
            raise InputError(f"{file} has changed since {worker} imported it; stop the worker and start it again")
    # Nothing of theirs was imported, and nothing is to be: a job's modules may have the same names.
    sys.path[:] = [folder for folder in sys.path if folder not in others]
    try:
        yield
    finally:
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
