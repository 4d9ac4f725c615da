"""Worker processes: they take batches of frames, and a worker that dies ends or fails the frame it worked on."""

import logging
import multiprocessing
import pickle
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any

from fieldwork import WorkerDied, processes
from fieldwork.parallel.batches import Batches, unsendable, work_through

POOL_BATCH_S = 0.02  # s of work that a worker is handed at once; a message there and back costs it 0.2 ms
LARGEST_BATCH_FRAMES = 256

# Signals that end a process whose own code (a decoder, say) went wrong, as opposed to SIGKILL and SIGTERM, which
# come from outside: the kernel short of memory, a scheduler, a person.
CRASH_SIGNALS = frozenset(
    getattr(signal, name) for name in ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT") if hasattr(signal, name)
)

log = logging.getLogger(__name__)


def map_frames(
    function: Callable[[Any], Any],
    frames: Sequence,
    *,
    start_method: Callable[[], str],
    mode: str,
    workers: int,
    on_crash: Callable[[Any, str], Any] | None,
) -> Iterator:
    """Keep every worker busy with a batch of frames; hold results back until their turn.

    Parameters
    ----------
    function, frames, mode, workers, on_crash
        As for `mapping.map_frames`.
    start_method : callable
        Returns how the next worker starts: a thread may have begun since the last one.

    Yields
    ------
    object
        The result of each frame, in the order of `frames`.

    Raises
    ------
    WorkerDied
        A worker was killed from outside, or crashed where there is no `on_crash`.
    """
    shared = frames if mode == "fork" else None
    batches = Batches(len(frames))
    crew = []
    try:
        while batches.following < len(frames):
            for _ in range(min(workers - len(crew), len(batches.ahead))):  # one worker where there is one frame
                crew.append(_Worker(multiprocessing.get_context(start_method()), function, shared, crew))
            for worker in crew:
                if worker.batch is None and (batch := batches.take(worker.size, max(16, 4 * worker.size) * workers)):
                    worker.give(batch, batch if mode == "fork" else [frames[index] for index in batch])
            pipes = {worker.pipe: worker for worker in crew if worker.batch is not None}
            for pipe in wait(pipes):
                worker = pipes[pipe]
                batch = worker.batch
                try:
                    results = pipe.recv()
                except (EOFError, OSError):  # at a frame's start, or in the middle of its result
                    guilty = batch.pop(worker.in_hand.value)
                    batches.put([guilty], [_result_after_death(worker, frames[guilty], on_crash)])
                    batches.put(batch, [])  # those before it are done again: their results died too
                    crew.remove(worker)
                    continue
                if worker.started:
                    batches.put(batch, results)
                worker.note_answer(results)
            yield from batches.due()
    finally:
        for worker in crew:
            worker.pipe.close()  # all at once: the end of a process takes some milliseconds
        for worker in crew:
            worker.stop()


class _Worker:
    """One worker process, its end of the pipe, and the batch of frames that it has in hand (None: it is idle)."""

    def __init__(self, context, function, frames, others):
        self.pipe, child_end = context.Pipe()
        is_forked = context.get_start_method() == "fork"
        # A forked child holds copies of the other workers' pipes; it closes them, so that each worker sees the end
        # of file when this process dies.
        inherited = [self.pipe, *(other.pipe for other in others)] if is_forked else []
        self.in_hand = context.RawValue("l", 0)  # in shared memory: it outlives the worker
        self.process = context.Process(
            target=_work,
            args=(child_end, function if is_forked else pickle.dumps(function), frames, inherited, self.in_hand),
            daemon=True,
            name="fieldwork-worker",
        )
        self.process.start()
        child_end.close()  # the worker's own copy is now the only one: its death is this pipe's end of file
        self.started = False  # until its first message
        self.begun = 0.0  # when it began with its batch, once it has started
        self.batch = None
        self.size = 1  # of its next batch

    def give(self, batch, frames):
        """Send a batch, as frames or as indices of shared frames."""
        self.batch = batch
        self.in_hand.value = 0
        self.begun = time.perf_counter()
        with suppress(BrokenPipeError, ConnectionResetError):  # it died while idle; the next look finds out
            self.pipe.send(frames)

    def note_answer(self, results):
        """Note that it has started, or that it is done with its batch; after a short one the next is twice as long."""
        if not self.started:
            self.started = True
            self.begun = time.perf_counter()
            return
        if len(results) < len(self.batch):
            self.size = len(results)
        elif time.perf_counter() - self.begun < POOL_BATCH_S / 2:
            self.size = min(2 * self.size, LARGEST_BATCH_FRAMES)
        self.batch = None

    def stop(self):
        """Wait until it ends, as it does when its pipe is closed; kill it where it is at work."""
        self.process.join(timeout=1 if self.batch is None else 0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _work(pipe, function, frames, inherited, in_hand):
    """Serve one pipe until its other end closes: take frames (or their indices in `frames`), send results back."""
    processes.prepare()
    processes.die_with_parent()  # at once, and not when the frame in hand is done: it may be writing
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business; it stops the workers
    for other in inherited:
        other.close()
    if isinstance(function, bytes):  # imports what it needs after `prepare`; a spawned script prepares itself, too
        function = pickle.loads(function)
    results = []  # of no frames: it has started
    while True:
        try:
            pipe.send(results)
        except OSError:
            return
        except Exception as error:  # whatever pickle raises for a result that cannot be sent
            pipe.send(unsendable(error))
        try:
            batch = pipe.recv()
        except (EOFError, OSError):
            return
        results = work_through(
            function, batch if frames is None else (frames[index] for index in batch), in_hand, seconds=POOL_BATCH_S
        )


def _result_after_death(worker, frame, on_crash):
    """Return `on_crash`'s result for a crash; raise WorkerDied for a worker that was killed from outside."""
    worker.process.join()
    code = worker.process.exitcode
    reason = how_ended(worker.process)
    if on_crash is not None and -code in CRASH_SIGNALS:
        log.warning("A worker crashed (%s) on %s; another takes its place.", reason, frame)
        return on_crash(frame, reason)
    hint = "; the machine may be short of memory: use fewer cores" if reason == "SIGKILL" else ""
    raise WorkerDied(f"a worker process was ended by {reason} while it worked on {frame}{hint}")


def how_ended(process: multiprocessing.process.BaseProcess) -> str:
    """Return the name of the signal that ended a process, or its exit status."""
    code = process.exitcode
    names = {number.value: number.name for number in signal.Signals}
    return names.get(-code, f"signal {-code}") if code < 0 else f"exit status {code}"
