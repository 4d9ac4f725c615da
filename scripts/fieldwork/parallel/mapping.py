"""One function over a list of frames, with a pool of workers: the only place that knows about processes."""

import heapq
import logging
import multiprocessing
import multiprocessing.connection
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from typing import NamedTuple

from tqdm import tqdm

from fieldwork import InputError, WorkerDied, processes

ENGINES = ("auto", "serial", "pool", "dask")
MODES = ("paths", "fork")

BATCH = 0.02  # s of work that a worker of the pool is handed at once; a message there and back costs it 0.2 ms
MANY = 4  # frames that are worth two workers whatever they take: a start costs no more than some small frames
PATIENCE = 0.03  # s after which `auto` looks whether the frame in hand is worth more workers
LOOKING = 2  # s after which `auto` looks whether a cluster would be faster
JOINING = 5  # s until a cluster's workers have imported everything
SPAWNING = 1  # s until a worker that is not forked has imported everything (docs/performance.md)

# What a process is killed by when its own code (a decoder, say) went wrong, as opposed to SIGKILL and SIGTERM,
# which come from outside: the kernel short of memory, a scheduler, a person.
CRASHES = frozenset(
    getattr(signal, name) for name in ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT") if hasattr(signal, name)
)

log = logging.getLogger(__name__)


def map_frames(
    function, frames, *, engine="pool", mode="paths", workers=1, progress=False, on_crash=None, dask="processes"
):
    """Apply a function to every frame and give the results in the order of the frames.

    Parameters
    ----------
    function : callable
        Takes one frame, returns a picklable result. An exception that it raises is raised here, in place of the
        frame's result.
    frames : sequence
        What the function takes, one item a frame: paths, records, or arrays.
    engine : {'auto', 'serial', 'pool', 'dask'}
        ``serial`` works in this process; ``pool`` in worker processes; ``dask`` in Dask workers. ``auto`` begins as
        a pool of one worker and takes more on (or Dask, at a scheduler's address) as soon as the frames so far say
        that it pays; the log says why.
    mode : {'paths', 'fork'}
        ``paths``: a worker is sent its frames, so they should be small (a path that the function reads). ``fork``:
        workers are forked and find `frames` in the memory that they share with this process by copy-on-write; only
        indices are sent. Ignored by ``serial`` and ``dask``.
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
        as ``tcp://node1:8786``. They must see the same files under the same paths. A crash in ``threads`` is the
        job's own end.

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
    elif engine == "pool":
        context = multiprocessing.get_context(_start_method(mode))
        results = _pool(function, frames, context, mode, workers, on_crash)
    else:
        results = _auto(function, frames, mode, workers, on_crash)
        if "://" in dask:
            results = _or_dask(results, function, frames, dask, workers, on_crash)
    return iter(progress_bar(results, total=len(frames), progress=progress)) if progress else iter(results)


def _dask(function, frames, where, workers, on_crash):
    from fieldwork.parallel import dask_engine  # here: nobody else pays 0.5 s for Dask

    def in_the_pool(function, frames):
        return map_frames(function, frames, on_crash=on_crash)

    return dask_engine.map_frames(
        function, frames, where=where, workers=min(workers, len(frames)), in_the_pool=in_the_pool
    )


def _auto(function, frames, mode, workers, on_crash):
    """Choose between this process and a pool that grows as it pays."""
    start_method = _start_method(mode)
    workers = min(workers, len(frames))
    if on_crash is None and (workers == 1 or start_method == "spawn"):
        return _serial_first(function, frames, workers)
    return _pool(function, frames, multiprocessing.get_context(start_method), mode, workers, on_crash, grows=True)


def _serial_first(function, frames, workers):
    """Work in this process, until the frames so far say that workers pay, slow as they start."""
    seconds = 0
    for index, frame in enumerate(frames):
        begun = time.perf_counter()
        result = function(frame)
        seconds += time.perf_counter() - begun
        yield result
        each, left = seconds / (index + 1), len(frames) - index - 1
        if each * left * (1 - 1 / workers) > 2 * SPAWNING:
            _say_choice(each, left, SPAWNING, f"{workers} workers")
            context = multiprocessing.get_context("spawn")
            yield from _pool(function, frames[index + 1 :], context, "paths", workers, None)
            return
    _say_choice(seconds / len(frames), 0, SPAWNING, "serial")


def _or_dask(results, function, frames, address, workers, on_crash):
    """Pass results of the pool on; once it is seen to take long, leave the rest to Dask if that is faster."""
    begun = time.perf_counter()
    asked = False
    for done, result in enumerate(results, start=1):
        yield result
        elapsed = time.perf_counter() - begun
        left = len(frames) - done
        here = elapsed / done * left
        if asked or elapsed < LOOKING or here < 2 * JOINING:
            continue
        asked = True
        if threads := _threads_at(address):
            there = here * workers / threads + JOINING
            choice = f"Dask, with {threads} threads" if there < here else f"the pool, with {workers} workers"
            log.info("auto: %d frames left, %.0f s here, %.0f s at %s: %s", left, here, there, address, choice)
            if there < here:
                results.close()
                yield from _dask(function, frames[done:], address, workers, on_crash)
                return


def _threads_at(address):
    """Count a cluster's threads, in a process of its own, as Dask starts threads that no fork may follow."""
    try:
        return apart(address, _ask, address)
    except InputError as error:
        log.warning("auto: without Dask, as %s", error)
        return 0


def _ask(address):
    from fieldwork.parallel import dask_engine

    return dask_engine.threads_at(address)


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


def shares(*, engine, mode, dask="processes"):
    """Tell whether workers find `frames` in memory that they share: worth reading them ahead."""
    return mode == "fork" and (engine == "pool" or engine == "auto" and "://" not in dask)


def read_ahead(load, frames, *, workers, on_crash, **pool):
    """Have frames read by workers where those of `map_frames` will share them; else leave them as they are.

    Read by workers too: what crashes a reader must not take the job along.

    Parameters
    ----------
    load : callable
        Gives a frame with what was read of it.
    frames : list
    workers, on_crash
        As for `map_frames`.
    **pool
        Of `shares`.

    Returns
    -------
    list
    """
    return list(map_frames(load, frames, workers=workers, on_crash=on_crash)) if shares(**pool) else frames


class _Call(NamedTuple):
    """A call that is made in a process of its own."""

    path: str
    function: Callable
    arguments: tuple

    def __str__(self):
        return self.path


def apart(path, function, *arguments, on_crash=None):
    """Call a function in a process of its own: decoders crash, they and zarr start threads, and a fork is to follow.

    Parameters
    ----------
    path : str
        What messages name, should the process die.
    function : callable
        Takes `arguments`, returns a picklable result.
    on_crash : callable, optional
        As for `map_frames`.
    """
    [result] = map_frames(_call, [_Call(path, function, arguments)], on_crash=on_crash)
    return result


def _call(call):
    return call.function(*call.arguments)


class _Beside(NamedTuple):
    """A process that works beside the pool, and this process's end of its pipe."""

    process: multiprocessing.Process
    pipe: multiprocessing.connection.Connection

    def end(self):
        """Wait for its end, and say how it ended."""
        self.process.join()
        return _ended_by(self.process)


@contextmanager
def beside(function, *arguments):
    """Run a function in a process of its own until the block ends.

    Parameters
    ----------
    function : callable
        Takes its end of a pipe, and `arguments`.

    Yields
    ------
    object
        Its attribute `pipe` is this process's end of the pipe; its method `end` waits, and says how the process ended.
    """
    context = multiprocessing.get_context(_start_method("paths"))
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(function, theirs, *arguments), daemon=True, name="fieldwork-beside")
    process.start()
    theirs.close()
    try:
        yield _Beside(process, ours)
    finally:
        process.kill()
        process.join()
        ours.close()


def _serve(function, pipe, *arguments):
    processes.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    function(pipe, *arguments)


class Raised(NamedTuple):
    """The exception that stands in the place of a frame's result."""

    error: Exception


class Batches:
    """The frames of a job by their index: those that nobody has in hand, and results that wait for their turn."""

    def __init__(self, count):
        self.count = count
        self.ahead = list(range(count))  # a heap: what comes back undone goes first
        self.finished = {}
        self.following = 0  # the frame whose result is due

    def take(self, size, reach):
        """Take up to `size` frames, none of them `reach` or more beyond the one that is due.

        A slow frame must not let the others run ahead without bound: their results wait in memory.
        """
        batch = []
        while self.ahead and len(batch) < size and self.ahead[0] < self.following + reach:
            batch.append(heapq.heappop(self.ahead))
        return batch

    def put(self, batch, results):
        """Keep the results of a batch's first frames, and put the others back."""
        self.finished.update(zip(batch, results, strict=False))
        for index in batch[len(results) :]:
            heapq.heappush(self.ahead, index)

    def due(self):
        """Yield the results whose turn it is."""
        while self.following in self.finished:
            result = self.finished.pop(self.following)
            if isinstance(result, Raised):
                raise result.error
            yield result
            self.following += 1


def work_through(function, frames, in_hand, *, seconds):
    """Apply a function to frames until the time is up or it raises.

    Parameters
    ----------
    function : callable
    frames : iterable
    in_hand : object
        Its attribute `value` is set to the number of the frame that is being worked on.
    seconds : float
        No frame is begun after this time.

    Returns
    -------
    list
        The results of the first frames; an exception is a `Raised`, with its traceback as a note.
    """
    results = []
    end = time.perf_counter() + seconds
    for in_hand.value, frame in enumerate(frames):
        try:
            results.append(function(frame))
        except Exception as error:
            error.add_note("".join(traceback.format_exception(error)).rstrip())  # the worker's own traceback
            results.append(Raised(_sendable(error)))
            break
        if time.perf_counter() > end:
            break
    return results


def _sendable(error):
    """Give an exception, or one that says the same where pickle cannot make it again from its arguments."""
    with suppress(Exception):  # whatever its class does when it is made
        if str(pickle.loads(pickle.dumps(error))) == str(error):
            return error
    said = RuntimeError(f"{type(error).__name__}: {error}")
    said.__notes__ = error.__notes__
    return said


def unsendable(error):
    """Stand in for results of which pickle says `error`."""
    return [Raised(TypeError(f"a result or an error cannot be sent to the parent process: {error}"))]


class _Worker:
    """One worker process, its end of the pipe, and the batch of frames that it has in hand (None: it is idle)."""

    def __init__(self, context, function, frames, others):
        self.pipe, child_end = context.Pipe()
        # A forked child holds copies of the other workers' pipes; it closes them, so that each worker sees the end
        # of file when this process dies.
        inherited = [self.pipe, *(other.pipe for other in others)] if context.get_start_method() == "fork" else []
        self.in_hand = context.RawValue("l", 0)  # in shared memory: it outlives the worker
        self.process = context.Process(
            target=_work,
            args=(child_end, function, frames, inherited, self.in_hand),
            daemon=True,
            name="fieldwork-worker",
        )
        self.since = time.perf_counter()  # when it was started, or began with its batch
        self.process.start()
        child_end.close()  # the worker's own copy is now the only one: its death is this pipe's end of file
        self.started = False  # its first message says so
        self.batch = None
        self.size = 1  # of its next batch

    def give(self, batch, frames):
        self.batch = batch
        self.in_hand.value = 0
        if self.started:
            self.since = time.perf_counter()
        with suppress(BrokenPipeError, ConnectionResetError):  # it died while idle; the next look finds out
            self.pipe.send(frames)

    def answered(self, results):
        """Note that it has started, or that it is done with its batch; after a short one the next is twice as long."""
        if not self.started:
            self.started = True
            self.since = time.perf_counter()
            return
        if len(results) < len(self.batch):
            self.size = len(results)
        elif time.perf_counter() - self.since < BATCH / 2:
            self.size = min(2 * self.size, 256)
        self.batch = None

    def stop(self):
        """Wait for its end, which the end of its pipe tells it to come to."""
        self.process.join(timeout=1 if self.batch is None else 0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _work(pipe, function, frames, inherited, in_hand):
    """Serve one pipe until its other end closes: take frames (or their indices in `frames`), send results back."""
    processes.die_with_parent()  # at once, and not when the frame in hand is done: it may be writing
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business; it stops the workers
    for other in inherited:
        other.close()
    results = []  # of no frames: it has started
    while True:
        try:
            pipe.send(results)
        except OSError:
            return
        except Exception as error:  # whatever pickle says of a result that cannot be sent
            pipe.send(unsendable(error))
        try:
            batch = pipe.recv()
        except (EOFError, OSError):
            return
        results = work_through(
            function, batch if frames is None else (frames[index] for index in batch), in_hand, seconds=BATCH
        )


class _Evidence:
    """What a growing pool has seen so far: how long a worker takes to start, and how long a frame takes."""

    def __init__(self, hired):
        self.start = None
        self.seconds = 0
        self.frames = 0
        self.hired = hired
        self.said = False

    def add(self, worker, results):
        """Take a worker's answer into account."""
        elapsed = time.perf_counter() - worker.since
        if worker.started:
            self.seconds += elapsed
            self.frames += len(results)
        elif self.start is None:
            self.start = elapsed

    def workers_that_pay(self, crew, left, most):
        """Count the workers that are worth their start for the frames that are left; log it if they are more now."""
        if self.start is None:
            return self.hired
        in_hand = [time.perf_counter() - worker.since for worker in crew if worker.started and worker.batch]
        slow = [elapsed for elapsed in in_hand if elapsed > PATIENCE]
        each = (self.seconds + sum(slow)) / max(1, self.frames + len(slow))
        wanted = max(1, len(crew))
        while wanted < most and each * left * (1 / wanted - 1 / (wanted + 1)) > 2 * self.start:
            wanted += 1
        if wanted > self.hired:
            self.hired = wanted
            self.said = True
            _say_choice(each, left, self.start, f"{wanted} workers")
        return wanted

    def say_if_enough(self):
        """Log that the first ones did it all."""
        if not self.said:
            choice = "1 worker" if self.hired == 1 else f"{self.hired} workers"
            _say_choice(self.seconds / max(1, self.frames), 0, self.start, choice)


def _say_choice(each, left, start, choice):
    log.info("auto: %.2g s a frame or more, %d left, a worker takes %.2g s to start: %s", each, left, start, choice)


def _pool(function, frames, context, mode, workers, on_crash, grows=False):
    """Keep every worker busy with a batch of frames; hold results back until their turn."""
    shared = frames if mode == "fork" else None
    batches = Batches(len(frames))
    evidence = _Evidence(min(workers, 2 if len(frames) > MANY else 1))
    crew = []
    try:
        while batches.following < len(frames):
            most = min(workers, len(crew) + len(batches.ahead))
            wanted = evidence.workers_that_pay(crew, len(batches.ahead), most) if grows else most
            while len(crew) < wanted:
                crew.append(_Worker(context, function, shared, crew))
            for worker in crew:
                if worker.batch is None and (batch := batches.take(worker.size, max(16, 4 * worker.size) * workers)):
                    worker.give(batch, batch if mode == "fork" else [frames[index] for index in batch])
            pipes = {worker.pipe: worker for worker in crew if worker.batch is not None}
            for pipe in wait(pipes, timeout=PATIENCE if grows and wanted < most else None):
                worker = pipes[pipe]
                batch = worker.batch
                try:
                    results = pipe.recv()
                except (EOFError, OSError):  # at a frame's start, or in the middle of its result
                    guilty = batch.pop(worker.in_hand.value)
                    batches.put([guilty], [_after_death(worker, frames[guilty], on_crash)])
                    batches.put(batch, [])  # those before it are done again: their results died too
                    crew.remove(worker)
                    continue
                evidence.add(worker, results)
                if worker.started:
                    batches.put(batch, results)
                worker.answered(results)
            yield from batches.due()
        if grows:
            evidence.say_if_enough()
    finally:
        for worker in crew:
            worker.pipe.close()  # all at once: the end of a process takes some milliseconds
        for worker in crew:
            worker.stop()


def _after_death(worker, frame, on_crash):
    """Tell a crash, which is the frame's result, from a worker killed from outside, which ends the job."""
    worker.process.join()
    code = worker.process.exitcode
    reason = _ended_by(worker.process)
    if on_crash is not None and -code in CRASHES:
        log.warning("A worker crashed (%s) on %s; another takes its place.", reason, frame)
        return on_crash(frame, reason)
    hint = "; the machine may be short of memory: use fewer cores" if reason == "SIGKILL" else ""
    raise WorkerDied(f"a worker process was ended by {reason} while it worked on {frame}{hint}")


def _ended_by(process):
    """Name the signal that ended a process, or its exit status."""
    code = process.exitcode
    names = {number.value: number.name for number in signal.Signals}
    return names.get(-code, f"signal {-code}") if code < 0 else f"exit status {code}"


class _Lines:
    """A stream that ends every state of a progress bar with a newline: readable in files, and with several jobs."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        if text := text.strip("\r\n "):
            self.stream.write(text + "\n")

    def flush(self):
        self.stream.flush()


def progress_bar(results=None, *, total, progress, unit="frame", **shown):
    """Pass results on, and say every few seconds on stderr how many there were.

    Parameters
    ----------
    results : iterable, optional
        None for a bar that is moved on by its `update`.
    total : int or None
        How many there will be.
    progress : str or True
        What it is the progress of.
    unit : str
        What is counted.
    **shown
        Others of tqdm's arguments.

    Returns
    -------
    tqdm.tqdm
    """
    tqdm.monitor_interval = 0  # its monitor is a thread, and no fork may follow a thread
    return tqdm(
        results,
        total=total,
        desc=progress if isinstance(progress, str) else None,
        unit=unit,
        file=_Lines(sys.stderr),
        mininterval=5,
        maxinterval=5,
        miniters=1,
        ncols=100,
        ascii=" #",
        **shown,
    )
