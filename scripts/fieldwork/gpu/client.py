"""A worker's connection to the process that holds the GPU, and the start of that process."""

import math
import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import reduction
from multiprocessing.connection import Client, answer_challenge, deliver_challenge
from typing import NamedTuple

import numpy as np

from fieldwork import DeviceFailed, nuclei, optical_densities, parallel
from fieldwork.gpu import choice
from fieldwork.gpu.server import Cuda, log, serve


class Cpu:
    """The steps of detection that a GPU can take over, on the processor."""

    def detect_nuclei(self, image: np.ndarray, **options: float) -> np.ndarray:
        """Find nuclei as `nuclei.detect_nuclei` does."""
        return nuclei.detect_nuclei(image, **options)

    def haematoxylin(self, image: np.ndarray) -> np.ndarray:
        """Unmix the haematoxylin as `optical_densities.haematoxylin` does."""
        return optical_densities.haematoxylin(image)


CPU = Cpu()


class Gpu(NamedTuple):
    """The same steps on a GPU, for workers: the address of the process that holds it."""

    address: str
    key: bytes
    strict: bool  # no GPU, no result; else the CPU takes over
    name: str  # of the GPU

    def __repr__(self):
        return f"Gpu({self.name})"  # and not the key

    def detect_nuclei(self, image: np.ndarray, **options: float) -> np.ndarray:
        """Find nuclei as `nuclei.detect_nuclei` does.

        Raises
        ------
        DeviceFailed
            The process that holds the GPU is gone or hangs, and the CPU must not take over.
        """
        return nuclei._detect_among(self._candidates, image, **options)

    def haematoxylin(self, image: np.ndarray) -> np.ndarray:
        """Unmix the haematoxylin as `optical_densities.haematoxylin` does.

        The array lasts until this worker's next request with another image.

        Raises
        ------
        ValueError
            As from `optical_densities.haematoxylin`.
        DeviceFailed
            As from `detect_nuclei`.
        """
        optical_densities.check_rgb(image)
        return self._request("haematoxylin", image)

    def _candidates(self, image, **options):
        return self._request("candidates", image, **options)

    def _request(self, step, image, **options):
        """Send a request over the connection of this process (a fork has its parent's) or thread (of Dask's)."""
        owner = os.getpid(), self.address
        try:
            if getattr(_own, "owner", None) != owner:
                _own.line, _own.owner = None, owner
                _own.line = _Line(self.address, self.key)
            if _own.line:
                return getattr(_own.line, step)(image, **options)
        except (OSError, EOFError) as error:
            _own.line = None  # for good: an answer that comes later would be taken for that to another image
            if self.strict:
                _own.owner = None
                raise DeviceFailed(str(error) or "its process has ended") from None
            if not isinstance(error, (ConnectionError, EOFError)):  # it has ended, of which `open_device` warns
                log.warning("%s: the CPU takes over in one worker", error)
        return _ON_CPU[step](image, **options)


_ON_CPU = {"candidates": nuclei.candidates_by_opencv, "haematoxylin": optical_densities.haematoxylin}
_own = threading.local()


class _Line:
    """A worker's connection to the process that holds the GPU, and the memory in which it leaves images for it."""

    def __init__(self, address, key):
        self.memory = b""
        self.connection = Client(address, "AF_UNIX")
        self._wait()  # Client itself would wait for ever; what follows comes at once
        answer_challenge(self.connection, key)
        deliver_challenge(self.connection, key)

    def candidates(self, image, **options):
        return self._ask("candidates", image, options, size=image.nbytes)

    def haematoxylin(self, image):
        shape = image.shape[:2]
        self._ask("haematoxylin", image, {}, size=4 * math.prod(shape))  # more than the colours take
        return np.ndarray(shape, np.float32, self.memory)

    def _ask(self, step, image, options, size):
        if len(self.memory) < size:
            self._share(size)
        # The very same dtype where possible: haematoxylin, already in this memory, is then not copied onto itself.
        dtype = image.dtype if image.dtype.isnative else image.dtype.newbyteorder("=")
        np.copyto(np.ndarray(image.shape, dtype, self.memory), image)
        self.connection.send((step, image.shape, dtype, options))
        self._wait()
        return self.connection.recv()

    def _wait(self):
        if not self.connection.poll(choice.GPU_ANSWER_S):  # the GPU's driver may hang
            raise TimeoutError(f"the GPU's process has not answered within {choice.GPU_ANSWER_S} s")

    def _share(self, size):
        file = os.memfd_create("fieldwork-image")  # has no name, so nothing is left of it when processes are killed
        try:
            os.ftruncate(file, size)
            self.memory = mmap.mmap(file, size)
            self.connection.send(size)
            reduction.send_handle(self.connection, file, None)
        finally:
            os.close(file)


@contextmanager
def open_device(device: str, *, frames: int, workers: int, megapixels: float = 1.3) -> Iterator[Cpu | Gpu]:
    """Yield the device of a job, for the steps that a GPU can do; its process runs until the block ends.

    Parameters
    ----------
    device : {'auto', 'cpu', 'gpu'}
        ``auto``: a GPU if there is one and it pays off; should it fail, the CPU takes over, with a warning.
    frames, workers, megapixels
        As for `choice.pays_off`.

    Raises
    ------
    DeviceFailed
        The device is 'gpu', and there is none, or it failed.
    """
    strict = device == "gpu"
    pays_off = choice.pays_off(device, frames=frames, workers=workers, megapixels=megapixels)
    if not pays_off or not strict and choice.missing():
        yield CPU
        return
    address, key = f"\0fieldwork-{os.getpid()}-{os.urandom(8).hex()}", os.urandom(32)
    with parallel.background_process(serve, Cuda, address, key) as process:
        works, status = _status_of(process, choice.GPU_ANSWER_S)
        if works:
            log.info("device %s: %s", device, status)
        elif strict:
            raise DeviceFailed(f"device: gpu: {status}; {choice.INSTALL}")
        else:
            log.warning("device auto: the CPU takes the place of a GPU: %s", status)
            yield CPU
            return
        try:
            yield Gpu(address, key, strict, status)
        except DeviceFailed as failure:
            status = _status_of(process, 0)[1] if process.pipe.poll(1) else failure
            raise DeviceFailed(f"device: gpu: {status}; set device: auto to have the CPU take over") from None
        if process.pipe.poll():
            log.warning("The GPU failed, and the CPU took over: %s", _status_of(process, 0)[1])


def _status_of(process, seconds):
    """Return the status of the process that holds the GPU: whether it works, and a name or a reason."""
    try:
        return process.pipe.recv() if process.pipe.poll(seconds) else (False, f"no answer within {seconds} s")
    except (EOFError, OSError):
        return False, f"its process was ended ({process.end()})"
