"""What runs in a Dask worker: a batch of frames, with this copy of the library, in the job's folder."""

import hashlib
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from distributed import get_worker

from fieldwork import InputError, processes
from fieldwork.inputs import functions
from fieldwork.parallel.batches import unsendable, work_through

LIBRARY = Path(__file__).parents[1]
DASK_BATCH_S = 0.2  # s of work in a task: a task costs the scheduler and the network some 5 ms

# No module below these folders is a user's, though they may lie in the working directory.
INSTALLED = (sys.prefix, sys.base_prefix, str(LIBRARY))
PACKAGES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")

_at_work = SimpleNamespace(change=threading.Condition(), folder=None, threads=0)  # in the folder of one job at a time
_own_files = {}  # file of a user's module that this process has imported -> its state then


class Job(NamedTuple):
    """What the tasks of a job have in common."""

    id: str  # unlike that of any other job
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
        name = path.relative_to(LIBRARY).as_posix()
        if "/." in f"/{name}" or not path.is_file():  # an editor's: Emacs locks a file by a link to nowhere
            continue
        name, content = name.encode(), path.read_bytes()
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
        with _in_folder(job.folder), _with_own_modules(job):
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
    """Work in a job's folder, where its relative paths begin; wait until no thread of this worker is in another one.

    A function of the user's may leave that folder: then its thread alone does, where the system allows it.
    """
    processes.own_working_folder()
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
def _with_own_modules(job) -> Iterator[None]:
    """Raise InputError where this process has imported modules of another project, or modules that changed since.

    A worker outlives jobs, but Python imports a module once.
    """
    if not job.own_folders:
        yield
        return
    others = tuple(folder for folder in functions.own_folders if folder not in job.own_folders)
    for file in list(_own_files):
        if _is_own(file, others) and not _is_own(file, job.own_folders):
            raise InputError(f"{_this_worker()} has imported {file}, of another project; stop it and start it again")
    _refuse_changed_modules(job.id)
    # Nothing of theirs was imported, and nothing is to be: a job's modules may have the same names.
    sys.path[:] = [folder for folder in sys.path if folder not in others]
    try:
        yield
    finally:
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if file and file not in _own_files and _is_own(file, job.own_folders):
                _own_files[file] = _state_of(file)


@lru_cache  # once a job, and not for each batch: the files may be far away
def _refuse_changed_modules(job_id):
    for file, state in list(_own_files.items()):
        if _state_of(file) != state:
            raise InputError(
                f"{file} has changed since {_this_worker()} imported it; stop the worker and start it again"
            )


def _this_worker():
    return f"the Dask worker at {get_worker().address}"


def _is_own(file, folders):
    """Return True for a file below a user's folders that is no part of Python, of its packages or of the library."""
    if not file.startswith(folders) or any(part in file for part in PACKAGES):
        return False
    # Python may lie in a user's folder, and a user's folder in Python's: /usr/src/project.
    return any(
        _is_below(file, folder)
        and not any(_is_below(file, prefix) and not _is_below(folder, prefix) for prefix in INSTALLED)
        for folder in folders
    )


def _is_below(file, folder):
    return file.startswith(os.path.join(folder, ""))


def _state_of(file):
    try:
        status = os.stat(file)
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size
