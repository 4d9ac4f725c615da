"""Nuclei with a GPU: one process of the job holds it, and the job's workers ask that process for what it does faster.

That is a slide's haematoxylin, and the candidates among its pixels or a field's. Workers read the images, settle what
float32 leaves open and measure the rest, as they do without a GPU. One process holds the GPU for all of them: a process
that has used CUDA must not fork, and each that uses it takes some hundred MB of the GPU's memory. Images go there in
memory that is shared and page-locked, so that no byte is copied twice, and in batches of all that wait. Two threads
with a stream of CUDA each take turns: one copies while the other computes. The Snakefile imports this module, so it
imports nothing large.
"""

import importlib.util
import logging
import math
import mmap
import os
import queue
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from multiprocessing import AuthenticationError, reduction
from multiprocessing.connection import Client, Connection, Listener, answer_challenge, deliver_challenge
from typing import NamedTuple

from fieldwork import DeviceFailed, InputError

# Estimated, as no GPU has been measured yet (docs/performance.md): what `auto` goes by.
START = 3.0  # s until CuPy is imported, CUDA initialised and its kernels are compiled
SAVED = 0.01  # s of a core that a frame of 1.3 megapixels takes less
PATIENCE = 120  # s that the GPU's process may take to start, or to answer

MOST = 32  # images in a batch
INSTALL = "install the packages of envs/gpu.lock (docs/dependencies.md), or set device: auto, which does without"

log = logging.getLogger(__name__)


def missing():
    """Say why there is no GPU to be used; an empty text where there is one.

    Returns
    -------
    str
        In a line. Where CuPy is installed, it is asked in a process of its own, as one that used CUDA must not fork.
    """
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed"
    code = "import cupy; print(cupy.cuda.runtime.getDeviceCount())"
    try:
        asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return f"CuPy did not answer within {PATIENCE} s"
    if asked.returncode:
        return f"CuPy sees no GPU: {(asked.stderr.strip() or 'it crashed').splitlines()[-1]}"
    return "CuPy sees no GPU" if asked.stdout.split()[-1:] == ["0"] else ""


def check(device, *, pool, source):
    """Tell whether there is a GPU to be used, for the whole run.

    Parameters
    ----------
    device : {'auto', 'cpu', 'gpu'}
    pool : dict
        The configuration's, with ``engine`` and ``dask``.
    source : str
        Where the configuration is from, for the message.

    Returns
    -------
    bool
        False where it is not wanted.

    Raises
    ------
    InputError
        It is to be a GPU, and there is none, or workers are on other machines.
    """
    if device == "cpu":
        return False
    if device == "gpu" and pool["engine"] in ("auto", "dask") and "://" in pool["dask"]:
        raise InputError(
            f"{source}: device: gpu is one of this machine, but the workers are those of {pool['dask']}; "
            "set pool.engine: pool, or device: cpu"
        )
    found = missing()
    if device == "gpu" and found:
        raise InputError(f"{source}: device: gpu, but {found}; {INSTALL}")
    return not found


def wanted(device, *, frames, workers, megapixels=1.3):
    """Tell whether a job should take a GPU: if it must, or it saves twice the time that its start takes.

    Parameters
    ----------
    device : {'auto', 'cpu', 'gpu'}
    frames, workers : int
    megapixels : float
        Of one frame.
    """
    saved = frames * SAVED * megapixels / 1.3 / workers
    return device == "gpu" or device == "auto" and saved > 2 * START


class Cuda:
    """The GPU, as far as `serve` needs to know it: CuPy's arrays, and where streams, copies and memory differ."""

    def __init__(self):
        import cupy
        import cupyx.scipy.ndimage

        self.xp, self.ndimage, self.to_host = cupy, cupyx.scipy.ndimage, cupy.asnumpy
        properties = cupy.cuda.runtime.getDeviceProperties(0)  # raises where there is no GPU
        self.name = properties["name"].decode()

    def stream(self):
        """Give a stream, to be used in a `with` statement by one thread."""
        return self.xp.cuda.Stream(non_blocking=True)

    def pin(self, memory):
        """Page-lock shared memory, from which the GPU then copies by itself; where that is refused, it is slower."""
        with suppress(self.xp.cuda.runtime.CUDARuntimeError):
            self.xp.cuda.runtime.hostRegister(_address(memory), len(memory), 0)

    def unpin(self, memory):
        """Undo `pin`."""
        with suppress(self.xp.cuda.runtime.CUDARuntimeError):
            self.xp.cuda.runtime.hostUnregister(_address(memory))

    def upload(self, images):
        """Copy images of one size and dtype, in this thread's stream, to an array (n, rows, columns)."""
        batch = self.xp.empty((len(images), *images[0].shape), images[0].dtype)
        for place, image in zip(batch, images, strict=True):
            place.set(image, stream=self.xp.cuda.get_current_stream())
        return batch

    def download(self, array, out):
        """Copy an array of the GPU's to one of NumPy's, in this thread's stream."""
        array.get(stream=self.xp.cuda.get_current_stream(), out=out)

    def free(self):
        """Give memory that is kept for later back to the GPU."""
        self.xp.get_default_memory_pool().free_all_blocks()


def _address(memory):
    import numpy as np

    return np.frombuffer(memory, np.uint8).ctypes.data


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
        if not self.connection.poll(PATIENCE):
            raise TimeoutError(f"the GPU's process has not answered within {PATIENCE} s")  # its driver may hang

    def _share(self, size):
        file = os.memfd_create("fieldwork-image")  # has no name, so nothing is left of it when processes are killed
        try:
            os.ftruncate(file, size)
            self.memory = mmap.mmap(file, size)
            self.connection.send(size)
            reduction.send_handle(self.connection, file, None)
        finally:
            os.close(file)


class _Request(NamedTuple):
    """A step on an image that a worker waits for."""

    connection: Connection
    step: str
    memory: mmap.mmap  # the worker's
    image: object  # array in it
    options: dict

    def kind(self):
        """What must be the same within a batch."""
        magnitude = self.options.get("magnitude")
        others = {name: value for name, value in self.options.items() if name != "magnitude"}
        return self.step, self.image.shape, self.image.dtype, magnitude is None, others


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
    with parallel.beside(serve, hold, address, key) as process:
        there, said = _heard(process, PATIENCE)
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


def serve(pipe, hold, address, key):
    """Hold a GPU and do what workers ask for, until this process is ended or the GPU fails.

    Parameters
    ----------
    pipe : Connection
        Gets (True, the GPU's name) when workers may connect; (False, the reason) at a failure.
    hold : callable
        Gives the device.
    address : str
        Where to listen: an abstract socket of Linux, which leaves no file behind.
    key : bytes
        What workers must know.
    """
    try:
        device = hold()
        listener = Listener(address, "AF_UNIX", backlog=128)
    except Exception as error:  # whatever CUDA's libraries say
        pipe.send((False, _reason(error)))
        return
    requests = queue.SimpleQueue()
    for _ in range(2):
        threading.Thread(target=_work, args=(device, requests, pipe), daemon=True).start()
    pipe.send((True, device.name))
    while True:
        threading.Thread(target=_attend, args=(listener.accept(), key, device, requests), daemon=True).start()


def _attend(connection, key, device, requests):
    """Take one worker's requests, once it has shown that it knows the key."""
    import numpy as np

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
    """Take all requests that wait, and answer them; at a failure, say so and end the process."""
    try:
        with device.stream():
            while True:
                batch = [requests.get()]
                with suppress(queue.Empty):
                    while len(batch) < MOST:
                        batch.append(requests.get_nowait())
                while batch:
                    alike = [request for request in batch if request.kind() == batch[0].kind()]
                    batch = [request for request in batch if request.kind() != alike[0].kind()]
                    for request, answer in zip(alike, _do(device, alike), strict=True):
                        with suppress(OSError, TypeError):  # the worker was killed; `_attend` closes the line now
                            request.connection.send(answer)
    except Exception as error:  # whatever CUDA says: after most of its errors a process can not go on with it
        pipe.send((False, _reason(error)))
        os._exit(1)


def _do(device, requests, patience=100):
    """Do the step of requests of one kind, by halves where they need more memory than there is."""
    try:
        return _STEPS[requests[0].step](device, requests)
    except MemoryError:  # CuPy's OutOfMemoryError is one
        if len(requests) == 1 and not patience:
            raise
    device.free()  # here: what the error holds of the arrays is gone
    if len(requests) == 1:  # the other thread, or another job, has the memory now
        time.sleep(0.1)
        return _do(device, requests, patience=patience - 1)
    half = len(requests) // 2
    return _do(device, requests[:half]) + _do(device, requests[half:])


def _candidates(device, requests):
    from fieldwork import nuclei

    return nuclei.candidates_in(
        device.upload([request.image for request in requests]),
        **{name: value for name, value in requests[0].options.items() if name != "magnitude"},
        magnitudes=[request.options["magnitude"] for request in requests],
        xp=device.xp,
        ndimage=device.ndimage,
        to_host=device.to_host,
    )


def _haematoxylin(device, requests):
    """Leave it where the colours were, which are on the GPU by then."""
    import numpy as np

    from fieldwork import tissue

    images = device.upload([request.image for request in requests])
    for request, density in zip(requests, tissue.haematoxylin_in(images, xp=device.xp), strict=True):
        device.download(density, np.ndarray(density.shape, density.dtype, request.memory))
    return [None] * len(requests)


_STEPS = {"candidates": _candidates, "haematoxylin": _haematoxylin}


def _reason(error):
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
