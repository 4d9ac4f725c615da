"""The process that holds a job's GPU and does what the job's workers request."""

import logging
import mmap
import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from multiprocessing import AuthenticationError, reduction
from multiprocessing.connection import Connection, Listener, answer_challenge, deliver_challenge
from typing import Any, NamedTuple

import numpy as np

from fieldwork import nuclei, optical_densities, reason_of

LARGEST_BATCH = 32  # images

log = logging.getLogger(__name__)


class Cuda:
    """The GPU, as far as `serve` needs to know it: CuPy's arrays, and where streams, copies and memory differ."""

    def __init__(self):
        import cupy
        import cupyx.scipy.ndimage

        self.xp, self.ndimage, self.to_host = cupy, cupyx.scipy.ndimage, cupy.asnumpy
        properties = cupy.cuda.runtime.getDeviceProperties(0)  # raises where there is no GPU
        self.name = properties["name"].decode()

    def stream(self) -> AbstractContextManager:
        """Return a stream, to be used in a `with` statement by one thread."""
        return self.xp.cuda.Stream(non_blocking=True)

    def pin(self, memory: mmap.mmap) -> None:
        """Page-lock shared memory, so that the GPU copies from it by itself; if that is refused, copies are slower."""
        with suppress(self.xp.cuda.runtime.CUDARuntimeError):
            self.xp.cuda.runtime.hostRegister(_address(memory), len(memory), 0)

    def unpin(self, memory: mmap.mmap) -> None:
        """Undo `pin`."""
        with suppress(self.xp.cuda.runtime.CUDARuntimeError):
            self.xp.cuda.runtime.hostUnregister(_address(memory))

    def upload(self, images: list[np.ndarray]) -> Any:
        """Copy images of one size and dtype to an array (n, rows, columns), in this thread's stream."""
        batch = self.xp.empty((len(images), *images[0].shape), images[0].dtype)
        for target, image in zip(batch, images, strict=True):
            target.set(image, stream=self.xp.cuda.get_current_stream())
        return batch

    def download(self, array: Any, out: np.ndarray) -> None:
        """Copy an array of the GPU to one of NumPy, in this thread's stream."""
        array.get(stream=self.xp.cuda.get_current_stream(), out=out)

    def free(self) -> None:
        """Return memory that is kept for later to the GPU."""
        self.xp.get_default_memory_pool().free_all_blocks()


def _address(memory):
    return np.frombuffer(memory, np.uint8).ctypes.data


class _Request(NamedTuple):
    """A step on one image, requested by a worker, which waits."""

    connection: Connection
    step: str
    memory: mmap.mmap  # the worker's
    image: np.ndarray  # in that memory
    options: dict

    def kind(self):
        """Return what must be the same within a batch."""
        magnitude = self.options.get("magnitude")
        others = {name: value for name, value in self.options.items() if name != "magnitude"}
        return self.step, self.image.shape, self.image.dtype, magnitude is None, others


def serve(pipe: Connection, make_device: Callable, address: str, key: bytes) -> None:
    """Hold a GPU and do what workers request, until this process is ended or the GPU fails.

    Parameters
    ----------
    pipe : Connection
        Gets (True, the GPU's name) when workers may connect; (False, the reason) at a failure.
    make_device : callable
        Returns the device: `Cuda`, but in tests.
    address : str
        Where to listen: an abstract socket of Linux, which leaves no file behind.
    key : bytes
        Workers must know it.
    """
    try:
        device = make_device()
        listener = Listener(address, "AF_UNIX", backlog=128)
    except Exception as error:  # whatever CUDA's libraries raise
        pipe.send((False, reason_of(error)))
        return
    requests = queue.SimpleQueue()
    for _ in range(2):
        threading.Thread(target=_work, args=(device, requests, pipe), daemon=True).start()
    pipe.send((True, device.name))
    while True:
        threading.Thread(target=_attend, args=(listener.accept(), key, device, requests), daemon=True).start()


def _attend(connection, key, device, requests):
    """Take one worker's requests, once it has shown that it knows the key."""
    memory = None
    with connection, suppress(AuthenticationError, EOFError, OSError):  # another process; the worker has ended
        deliver_challenge(connection, key)  # here, and not by the listener: a caller may say nothing for ever
        answer_challenge(connection, key)
        while True:
            message = connection.recv()
            if isinstance(message, int):
                file = reduction.recv_handle(connection)
                if memory is not None:
                    device.unpin(memory)  # the worker has had its last answer, so nothing is copied from there
                memory = mmap.mmap(file, message)
                os.close(file)
                device.pin(memory)
            else:
                step, shape, dtype, options = message
                requests.put(_Request(connection, step, memory, np.ndarray(shape, dtype, memory), options))
    _left.append(memory)


_left = []  # by workers that have ended: the GPU may be copying from it


def _work(device, requests, pipe):
    """Take all requests that wait, and answer them; at a failure, report it and end the process."""
    try:
        with device.stream():
            while True:
                batch = [requests.get()]
                with suppress(queue.Empty):
                    while len(batch) < LARGEST_BATCH:
                        batch.append(requests.get_nowait())
                while batch:
                    alike = [request for request in batch if request.kind() == batch[0].kind()]
                    batch = [request for request in batch if request.kind() != alike[0].kind()]
                    for request, answer in zip(alike, _do(device, alike), strict=True):
                        with suppress(OSError, TypeError):  # the worker was killed; `_attend` closes the line now
                            request.connection.send(answer)
    except Exception as error:  # whatever CUDA raises: after most of its errors a process cannot go on with it
        pipe.send((False, reason_of(error)))
        os._exit(1)


def _do(device, requests, retries=100):
    """Do the step of requests of one kind, by halves where they need more memory than there is."""
    try:
        return _STEPS[requests[0].step](device, requests)
    except MemoryError:  # CuPy's OutOfMemoryError is one
        if len(requests) == 1 and not retries:
            raise
    device.free()  # here: the arrays that the error holds are gone
    if len(requests) == 1:  # the other thread, or another job, has the memory now
        time.sleep(0.1)
        return _do(device, requests, retries=retries - 1)
    half = len(requests) // 2
    return _do(device, requests[:half]) + _do(device, requests[half:])


def _candidates(device, requests):
    return nuclei._candidates_on(
        device,
        device.upload([request.image for request in requests]),
        **{name: value for name, value in requests[0].options.items() if name != "magnitude"},
        magnitudes=[request.options["magnitude"] for request in requests],
    )


def _haematoxylin(device, requests):
    """Write the haematoxylin over the colours, which are on the GPU by then."""
    images = device.upload([request.image for request in requests])
    for request, density in zip(requests, optical_densities.haematoxylin_on(device, images), strict=True):
        device.download(density, np.ndarray(density.shape, density.dtype, request.memory))
    return [None] * len(requests)


_STEPS = {"candidates": _candidates, "haematoxylin": _haematoxylin}
