"""Batches of a job's frames, and how a worker goes through one: the same in the pool and in Dask."""

import heapq
import pickle
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from fieldwork import reason_of


class Raised(NamedTuple):
    """An exception in the place of a frame's result."""

    error: Exception


class Batches:
    """The frames of a job by their index: those that no worker has in hand, and results that wait for their turn."""

    def __init__(self, count: int):
        self.ahead = list(range(count))  # a heap: frames that come back undone go first
        self.finished = {}
        self.following = 0  # the frame whose result is due

    def take(self, size: int, reach: int) -> list[int]:
        """Take up to `size` frames, none of them `reach` or more beyond the one that is due.

        A slow frame must not let the others run ahead without bound: their results wait in memory.
        """
        batch = []
        while self.ahead and len(batch) < size and self.ahead[0] < self.following + reach:
            batch.append(heapq.heappop(self.ahead))
        return batch

    def put(self, batch: list[int], results: list) -> None:
        """Keep the results of a batch's first frames, and put the other frames back."""
        self.finished.update(zip(batch, results, strict=False))
        for index in batch[len(results) :]:
            heapq.heappush(self.ahead, index)

    def due(self) -> Iterator:
        """Yield the results whose turn it is; raise the exception of a frame that has one."""
        while self.following in self.finished:
            result = self.finished.pop(self.following)
            if isinstance(result, Raised):
                raise result.error
            yield result
            self.following += 1


def work_through(function: Callable[[Any], Any], frames: Iterable, in_hand: Any, *, seconds: float) -> list:
    """Apply a function to frames until the time is up or it raises.

    Parameters
    ----------
    function : callable
        Takes one frame, returns its result.
    frames : iterable
        A batch.
    in_hand : object
        Its attribute `value` is set to the number of the frame in work.
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
    """Return the exception, or a RuntimeError with its text where pickle cannot rebuild it from its arguments."""
    with suppress(Exception):  # whatever its class raises when it is built
        if str(pickle.loads(pickle.dumps(error))) == str(error):
            return error
    substitute = RuntimeError(reason_of(error))
    substitute.__notes__ = error.__notes__
    return substitute


def unsendable(error: Exception) -> list[Raised]:
    """Return what a worker sends in place of results that pickle refuses with `error`."""
    return [Raised(TypeError(f"a result or an error cannot be sent to the parent process: {reason_of(error)}"))]
