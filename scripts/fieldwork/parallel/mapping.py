"""One function over many frames, in this process, in worker processes or in Dask; and calls in other processes."""

import functools
import multiprocessing
import multiprocessing.connection
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from fieldwork import processes
from fieldwork.parallel import pool
from fieldwork.parallel.progress import progress_bar

ENGINES = ("serial", "pool", "dask")
MODES = ("paths", "fork")


def map_frames(
    function: Callable[[Any], Any],
    frames: Sequence,
    *,
    engine: str = "pool",
    mode: str = "paths",
    workers: int = 1,
    progress: bool | str = False,
    on_crash: Callable[[Any, str], Any] | None = None,
    dask: str = "processes",
) -> Iterator:
    """Apply a function to every frame and yield the results in the order of the frames.

    Parameters
    ----------
    function : callable
        Takes one frame, returns a picklable result. An exception that it raises is raised here, in place of the
        frame's result.
    frames : sequence
        What the function takes, one item a frame: paths, records, or arrays.
    engine : {'serial', 'pool', 'dask'}
        ``serial`` works in this process; ``pool`` in worker processes; ``dask`` in Dask workers.
    mode : {'paths', 'fork'}
        ``paths``: a worker is sent its frames, so they should be small (a path that the function reads). ``fork``:
        workers are forked and share the memory of `frames` with this process by copy-on-write; only indices are
        sent. Ignored by ``serial`` and ``dask``.
    workers : int
        Number of workers; never more than frames. Ignored at a scheduler's address, where all are used.
    progress : bool or str
        Show a progress bar on stderr, with this label.
    on_crash : callable, optional
        Takes a frame and a reason, returns the result for a frame on which a worker crashed (killed by SIGSEGV and
        the like: a decoder fell over hostile bytes); another worker takes its place. Without it a crash is a
        `WorkerDied`, as a worker killed from outside always is (but in Dask, where another one takes over).
    dask : str
        Where Dask's workers are: ``processes`` or ``threads`` of this job, or a running scheduler's address, such
        as ``tcp://node1:8786``. They must have this copy of the library, and see the same files under the same
        paths. A crash in ``threads`` is the job's own end.

    Yields
    ------
    object
        The result of each frame, in the order of `frames`.

    Raises
    ------
    ValueError
        The engine or mode is unknown, or there is less than one worker.
    RuntimeError
        ``fork`` is asked for where it does not exist or is not safe.
    WorkerDied
        A worker was killed, and the message names the frame that it was working on; or Dask's are all gone.
    InputError
        There is no scheduler at the address, or it has no workers that can do the work.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}; expected one of {', '.join(ENGINES)}")
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; expected one of {', '.join(MODES)}")
    if workers < 1:
        raise ValueError(f"workers is {workers}; expected at least 1")
    if engine == "serial" or not len(frames):
        results = (function(frame) for frame in frames)  # not map: a function's StopIteration would end it silently
    elif engine == "dask":
        results = _dask(function, frames, dask, workers, on_crash)
    else:
        first = _start_method(mode)
        # Of mode fork all workers are alike: they share the frames.
        start_method = functools.partial(_start_method, mode) if mode == "paths" else lambda: first
        options = {"start_method": start_method, "mode": mode, "workers": workers, "on_crash": on_crash}
        results = pool.map_frames(function, frames, **options)
    return iter(progress_bar(results, total=len(frames), progress=progress)) if progress else iter(results)


def _dask(function, frames, where, workers, on_crash):
    from fieldwork.parallel import dask_engine  # here: nobody else pays 0.5 s for Dask

    def in_the_pool(function, frames):
        return map_frames(function, frames, on_crash=on_crash)

    return dask_engine.map_frames(
        function, frames, where=where, workers=min(workers, len(frames)), in_the_pool=in_the_pool
    )


def _start_method(mode):
    """Choose how workers start: fork only where it was asked for or is certainly safe."""
    single_threaded = threading.active_count() == 1
    if mode == "paths":
        # A fork costs 10 ms where a spawned worker imports everything again, about 1 s (docs/performance.md).
        # macOS has fork, but its system libraries do not survive one.
        return "fork" if sys.platform == "linux" and single_threaded else "spawn"
    if "fork" not in multiprocessing.get_all_start_methods():
        raise RuntimeError(f"mode 'fork' needs fork, which {sys.platform} does not have; use mode 'paths'")
    if not single_threaded:
        names = ", ".join(thread.name for thread in threading.enumerate())
        raise RuntimeError(f"mode 'fork' after threads have started ({names}) can deadlock; use mode 'paths'")
    return "fork"


def frames_are_forked(*, engine: str, mode: str, **_: str) -> bool:
    """Return True if workers inherit `frames` by fork. Takes the configuration's `pool`, other keys too."""
    return engine == "pool" and mode == "fork"


class _Call(NamedTuple):
    """A call that is made in a process of its own."""

    path: str
    function: Callable
    arguments: tuple

    def __str__(self):
        return self.path


def call_in_process(
    path: str, function: Callable, *arguments: Any, on_crash: Callable[[Any, str], Any] | None = None
) -> Any:
    """Call a function in a process of its own: decoders crash, they and zarr start threads, and a fork is to follow.

    Parameters
    ----------
    path : str
        What messages name, should the process die.
    function : callable
        Takes `arguments`, returns a picklable result.
    *arguments
        Picklable ones.
    on_crash : callable, optional
        As for `map_frames`; its frame prints as `path`.

    Returns
    -------
    object
        The function's result.

    Raises
    ------
    WorkerDied
        The process was killed, or crashed where there is no `on_crash`.
    """
    [result] = map_frames(_call, [_Call(path, function, arguments)], on_crash=on_crash)
    return result


def _call(call):
    return call.function(*call.arguments)


class BackgroundProcess(NamedTuple):
    """A process that works in the background, and this process's end of its pipe."""

    process: multiprocessing.process.BaseProcess
    pipe: multiprocessing.connection.Connection

    def end(self) -> str:
        """Wait for its end, and return how it ended."""
        self.process.join()
        return pool.how_ended(self.process)


@contextmanager
def background_process(function: Callable, *arguments: Any) -> Iterator[BackgroundProcess]:
    """Run a function in a process of its own until the block ends.

    Parameters
    ----------
    function : callable
        Takes its end of a pipe, and `arguments`.
    *arguments
        Picklable ones.

    Yields
    ------
    BackgroundProcess
    """
    context = multiprocessing.get_context(_start_method("paths"))
    pipe, child_end = context.Pipe()
    process = context.Process(
        target=_run_in_background, args=(function, child_end, *arguments), daemon=True, name="fieldwork-background"
    )
    process.start()
    child_end.close()
    try:
        yield BackgroundProcess(process, pipe)
    finally:
        process.kill()
        process.join()
        pipe.close()


def _run_in_background(function, pipe, *arguments):
    processes.prepare()
    processes.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    function(pipe, *arguments)
