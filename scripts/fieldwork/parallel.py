"""One function over a list of frames, with a pool of workers: the only place that knows about processes."""

import logging
import multiprocessing
import signal
import sys
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import wait

from tqdm import tqdm

from fieldwork import WorkerDied, die_with_parent

ENGINES = ("serial", "pool")
MODES = ("paths", "fork")

# What a process is killed by when its own code (a decoder, say) went wrong, as opposed to SIGKILL and SIGTERM,
# which come from outside: the kernel short of memory, a scheduler, a person.
CRASHES = frozenset(
    getattr(signal, name) for name in ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT") if hasattr(signal, name)
)

log = logging.getLogger(__name__)


def map_frames(function, frames, *, engine="pool", mode="paths", workers=1, progress=False, on_crash=None):
    """Apply a function to every frame and give the results in the order of the frames.

    Parameters
    ----------
    function : callable
        Takes one frame, returns a picklable result. An exception that it raises is raised here.
    frames : sequence
        What the function takes, one item a frame: paths, records, or arrays.
    engine : {'serial', 'pool'}
        ``serial`` works in this process; ``pool`` in worker processes.
    mode : {'paths', 'fork'}
        ``paths``: a worker is sent its frames one by one, so they should be small (a path that the function
        reads). ``fork``: workers are forked and find `frames` in the memory that they share with this process
        by copy-on-write; only indices are sent. Ignored by ``serial``.
    workers : int
        Number of worker processes; never more than frames.
    progress : bool or str
        Show a progress bar on stderr, with this label.
    on_crash : callable, optional
        Takes a frame and a reason, returns the result for a frame on which a worker crashed (killed by SIGSEGV and
        the like: a decoder fell over hostile bytes); another worker takes its place. Without it a crash is a
        `WorkerDied`, as a worker killed from outside always is.

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
        A worker was killed; the message names the frame that it was working on.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}; expected one of {', '.join(ENGINES)}")
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; expected one of {', '.join(MODES)}")
    if workers < 1:
        raise ValueError(f"workers is {workers}; expected at least 1")
    if engine == "serial" or not len(frames):
        results = map(function, frames)
    else:
        context = multiprocessing.get_context(_start_method(mode))
        results = _pool(function, frames, context, mode, min(workers, len(frames)), on_crash)
    return _shown(results, len(frames), progress) if progress else iter(results)


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


class _Worker:
    """One worker process, its end of the pipe, and the index of the frame that it has in hand."""

    def __init__(self, context, function, frames, others):
        self.pipe, child_end = context.Pipe()
        # A forked child holds copies of the other workers' pipes; it closes them, so that each worker sees the end
        # of file when this process dies.
        inherited = [self.pipe, *(other.pipe for other in others)] if context.get_start_method() == "fork" else []
        self.process = context.Process(
            target=_work, args=(child_end, function, frames, inherited), daemon=True, name="fieldwork-worker"
        )
        self.process.start()
        child_end.close()  # the worker's own copy is now the only one: its death is this pipe's end of file
        self.index = None

    def give(self, index, task):
        self.index = index
        with suppress(BrokenPipeError, ConnectionResetError):  # it died while idle; the next look finds out
            self.pipe.send(task)

    def stop(self):
        self.pipe.close()
        self.process.join(timeout=0 if self.index is not None else 1)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _work(pipe, function, frames, inherited):
    """Serve one pipe until its other end closes: take a frame (or its index in `frames`), send its result back."""
    die_with_parent()  # at once, and not when the frame in hand is done: it may be writing
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business; it stops the workers
    for other in inherited:
        other.close()
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = True, function(task if frames is None else frames[task])
        except Exception as error:
            error.add_note("".join(traceback.format_exception(error)).rstrip())  # the worker's own traceback
            answer = False, error
        try:
            pipe.send(answer)
        except OSError:
            return
        except Exception as error:  # whatever pickle says of a result that cannot be sent
            pipe.send((False, TypeError(f"a result or an error cannot be sent to the parent process: {error}")))


def _pool(function, frames, context, mode, workers, on_crash):
    """Keep every worker busy with one frame at a time; hold results back until their turn."""
    shared = frames if mode == "fork" else None
    finished = {}
    following = 0  # the frame whose result is due
    upcoming = 0  # the frame that the next idle worker gets
    crew = []
    try:
        for _ in range(workers):
            crew.append(_Worker(context, function, shared, crew))
        while following < len(frames):
            for worker in crew:
                # A slow frame must not let the others run ahead without bound: their results wait in memory.
                if worker.index is None and upcoming < min(len(frames), following + 16 * workers):
                    worker.give(upcoming, upcoming if mode == "fork" else frames[upcoming])
                    upcoming += 1
            pipes = {worker.pipe: worker for worker in crew if worker.index is not None}
            for pipe in wait(pipes):
                worker = pipes[pipe]
                try:
                    good, result = pipe.recv()
                except (EOFError, OSError):  # at a frame's start, or in the middle of its result
                    result = _after_death(worker, frames[worker.index], on_crash)
                    good = True
                    crew.remove(worker)
                    crew.append(_Worker(context, function, shared, crew))
                if not good:
                    raise result
                finished[worker.index] = result
                worker.index = None
            while following in finished:
                yield finished.pop(following)
                following += 1
    finally:
        for worker in crew:
            worker.stop()


def _after_death(worker, frame, on_crash):
    """Tell a crash, which is the frame's result, from a worker killed from outside, which ends the job."""
    worker.process.join()
    code = worker.process.exitcode
    names = {number.value: number.name for number in signal.Signals}
    reason = names.get(-code, f"signal {-code}") if code < 0 else f"exit status {code}"
    if on_crash is not None and -code in CRASHES:
        log.warning("A worker crashed (%s) on %s; another takes its place.", reason, frame)
        return on_crash(frame, reason)
    hint = "; the machine may be short of memory: use fewer cores" if reason == "SIGKILL" else ""
    raise WorkerDied(f"a worker process was ended by {reason} while it worked on {frame}{hint}")


class _Lines:
    """A stream that ends every state of a progress bar with a newline: readable in files, and with several jobs."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        if text := text.strip("\r\n "):
            self.stream.write(text + "\n")

    def flush(self):
        self.stream.flush()


def _shown(results, total, progress):
    """Pass results on, and say every few seconds how many there were."""
    tqdm.monitor_interval = 0  # its monitor is a thread, and no fork may follow a thread
    yield from tqdm(
        results,
        total=total,
        desc=progress if isinstance(progress, str) else None,
        unit="frame",
        file=_Lines(sys.stderr),
        mininterval=5,
        maxinterval=5,
        miniters=1,
        ncols=100,
        ascii=" #",
    )
