"""A worker's line to the process that holds the GPU, and how that process is started."""

import math
import mmap
import os
import threading
from contextlib import contextmanager
from multiprocessing import reduction
from multiprocessing.connection import Client, answer_challenge, deliver_challenge
from typing import NamedTuple

from fieldwork import DeviceFailed
from fieldwork.gpu.choice import GPU_ANSWER_S, INSTALL, missing, wanted
from fieldwork.gpu.server import Cuda, log, serve


class Cpu:
    """The steps of detection that a GPU can take over, on the processor."""

    @staticmethod
    def candidates(image, **options):
        """Do as `nuclei.candidates_by_opencv`."""
        from fieldwork import nuclei

        return nuclei.candidates_by_opencv(image, **options)

    @staticmethod
    def haematoxylin(image):
        """Do as `tissue.haematoxylin`."""
        from fieldwork import tissue

        return tissue.haematoxylin(image)


class Gpu(NamedTuple):
    """The same steps on a GPU, for workers: the address of the process that holds it."""

    address: str
    key: bytes
    strict: bool  # no GPU, no result; else the CPU takes over
    name: str  # of the GPU

    def __repr__(self):
        return f"Gpu({self.name})"  # and not the key

    def candidates(self, image, **options):
        """Do as `nuclei.candidates_by_opencv`.

        Raises
        ------
        DeviceFailed
            The process that holds the GPU is gone or hangs, and the CPU must not take over.
        """
        return self._have_done("candidates", image, **options)

    def haematoxylin(self, image):
        """Do as `tissue.haematoxylin`; the array lasts until this worker's next request with another image.

        Raises
        ------
        DeviceFailed
            As for `candidates`.
        """
        return self._have_done("haematoxylin", image)

    def _have_done(self, step, image, **options):
        """Send a request over the line of this process (a fork has its parent's) or thread (of Dask's)."""
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
            if not isinstance(error, (ConnectionError, EOFError)):  # it has ended, of which `processor` warns
                log.warning("%s: the CPU takes over in one worker", error)
        return getattr(Cpu, step)(image, **options)


_own = threading.local()


class _Line:
    """A worker's connection to the process that holds the GPU, and the memory in which it leaves an image there."""

    def __init__(self, address, key):
        self.memory = b""
        self.connection = Client(address, "AF_UNIX")
        self._wait()  # Client itself would do so for ever; what follows comes at once
        answer_challenge(self.connection, key)
        deliver_challenge(self.connection, key)

    def candidates(self, image, **options):
        return self._ask("candidates", image, options, size=image.nbytes)

    def haematoxylin(self, image):
        import numpy as np

        shape = image.shape[:2]
        self._ask("haematoxylin", image, {}, size=4 * math.prod(shape))  # more than the colours take
        return np.ndarray(shape, np.float32, self.memory)

    def _ask(self, step, image, options, size):
        import numpy as np

        if len(self.memory) < size:
            self._share(size)
        # The very same dtype where it can be: haematoxylin, which is there already, is then not copied onto itself.
        dtype = image.dtype if image.dtype.isnative else image.dtype.newbyteorder("=")
        np.copyto(np.ndarray(image.shape, dtype, self.memory), image)
        self.connection.send((step, image.shape, dtype, options))
        self._wait()
        return self.connection.recv()

    def _wait(self):
        if not self.connection.poll(GPU_ANSWER_S):
            raise TimeoutError(f"the GPU's process has not answered within {GPU_ANSWER_S} s")  # its driver may hang

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
def processor(device, *, frames, workers, megapixels=1.3, hold=Cuda):
    """Give the device that was asked for, for the steps that a GPU can do; its process runs until the block ends.

    Parameters
    ----------
    device : {'auto', 'cpu', 'gpu'}
        ``auto``: a GPU if there is one, and it is `wanted`; should it fail, the CPU takes over, with a warning.
    frames, workers, megapixels
        As for `wanted`.
    hold : callable
        Gives the device in the process that is to hold it; `Cuda` but for tests.

    Yields
    ------
    processor : Gpu, or the class Cpu

    Raises
    ------
    DeviceFailed
        It is to be a GPU, and there is none, or it failed.
    """
    from fieldwork import parallel

    strict = device == "gpu"
    if not wanted(device, frames=frames, workers=workers, megapixels=megapixels) or not strict and missing():
        yield Cpu
        return
    address, key = f"\0fieldwork-{os.getpid()}-{os.urandom(8).hex()}", os.urandom(32)
    with parallel.background_process(serve, hold, address, key) as process:
        there, said = _heard(process, GPU_ANSWER_S)
        if there:
            log.info("device %s: %s", device, said)
        elif strict:
            raise DeviceFailed(f"device: gpu: {said}; {INSTALL}")
        else:
            log.warning("device auto: the CPU takes the place of a GPU: %s", said)
            yield Cpu
            return
        try:
            yield Gpu(address, key, strict, said)
        except DeviceFailed as failure:
            said = _heard(process, 0)[1] if process.pipe.poll(1) else failure
            raise DeviceFailed(f"device: gpu: {said}; set device: auto to have the CPU take over") from None
        if process.pipe.poll():
            log.warning("The GPU failed, and the CPU took over: %s", _heard(process, 0)[1])


def _heard(process, seconds):
    """What the process that holds the GPU says: whether it works, and a name or a reason."""
    try:
        return process.pipe.recv() if process.pipe.poll(seconds) else (False, f"no answer within {seconds} s")
    except (EOFError, OSError):
        return False, f"its process was ended ({process.end()})"
