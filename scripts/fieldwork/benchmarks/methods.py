"""Ways to find the nuclei in many images, measured side by side on the machine at hand."""

import functools
import hashlib
import multiprocessing
import os
import platform
import resource
import signal
import sys
import time
from contextlib import contextmanager, suppress
from importlib.metadata import version
from statistics import median
from typing import NamedTuple

import numpy as np
import psutil
from skimage.feature import peak_local_max
from skimage.filters import gaussian

from fieldwork import frames, nuclei
from fieldwork import parallel
from fieldwork.gpu import server

DEADLINE = 900  # s for one run: a Pool waits for ever where a worker is killed (python/cpython#96062)
_images = []  # what the forked workers of `pool_sharing_memory` find in their memory


def by_scikit_image(image, *, sigma, min_distance, threshold_abs):
    """Find nuclei as the tutorial does."""
    smoothed = gaussian(image, sigma, preserve_range=True)
    return peak_local_max(smoothed, min_distance=min_distance, threshold_abs=threshold_abs)


DETECTORS = {"scikit-image": by_scikit_image, "Fieldwork": nuclei.detect_nuclei}
GPU = "Fieldwork, GPU"  # the detector that only some machines have


def read(source):
    """Read the first plane of one channel of an image file; `source`: (path, channel)."""
    path, channel = source
    return frames.read(path, channel=channel)[0].image


class ReadAndDetect:
    """One detector on the image in a file, as a function that can be sent to workers."""

    def __init__(self, detect):
        self.detect = detect

    def __call__(self, source):
        return self.detect(read(source))


def comprehension_reading(detect, sources, workers):
    """List comprehension over files."""
    return [detect(read(source)) for source in sources]


def pool_reading(detect, sources, workers):
    """Pool over files: workers read."""
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return pool.map(ReadAndDetect(detect), sources)


def comprehension_in_memory(detect, sources, workers):
    """Read all images, then a list comprehension over them."""
    images = [read(source) for source in sources]
    return [detect(image) for image in images]


def pool_pickling(detect, sources, workers):
    """Read all images, then a Pool to which each is sent."""
    images = [read(source) for source in sources]
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return pool.map(detect, images)


class DetectShared:
    """One detector on an image that forked workers find in their memory."""

    def __init__(self, detect):
        self.detect = detect

    def __call__(self, index):
        return self.detect(_images[index])


def pool_sharing_memory(detect, sources, workers):
    """Read all images, then fork a Pool that shares them by copy-on-write."""
    _images.extend(read(source) for source in sources)
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return pool.map(DetectShared(detect), range(len(sources)))


def map_frames_serial(detect, sources, workers):
    """Fieldwork's map_frames, engine serial."""
    return list(parallel.map_frames(ReadAndDetect(detect), sources, engine="serial"))


def map_frames_paths(detect, sources, workers):
    """Fieldwork's map_frames, engine pool, mode paths."""
    return list(parallel.map_frames(ReadAndDetect(detect), sources, mode="paths", workers=workers))


def map_frames_fork(detect, sources, workers):
    """Fieldwork's map_frames, engine pool, mode fork."""
    _images.extend(parallel.map_frames(read, sources, mode="paths", workers=workers))
    return list(parallel.map_frames(DetectShared(detect), range(len(sources)), mode="fork", workers=workers))


METHODS = {  # name -> function, whether it uses workers
    "list comprehension, reading": (comprehension_reading, False),
    "Pool, reading": (pool_reading, True),
    "list comprehension, from memory": (comprehension_in_memory, False),
    "Pool, from memory, pickling": (pool_pickling, True),
    "Pool, from memory, copy-on-write": (pool_sharing_memory, True),
    "map_frames, serial": (map_frames_serial, False),
    "map_frames, paths": (map_frames_paths, True),
    "map_frames, fork": (map_frames_fork, True),
}


def compare(cases, sources, *, detection, repeats):
    """Measure ways of finding nuclei, interleaved, so that what disturbs the machine disturbs all of them.

    Parameters
    ----------
    cases : list of (str, str, int)
        Method (of `METHODS`), detector (of `DETECTORS`, or `GPU`), workers.
    sources : list of (str, str)
        Image files, and the channel to read of each.
    detection : dict
        Keyword arguments of the detectors.
    repeats : int

    Returns
    -------
    list of dict
        One row a case: median, least and most seconds, reading included, the start of a GPU not; images per second;
        peak memory in MB.

    Raises
    ------
    RuntimeError
        Not every run found the same nuclei in the same order, or one failed or took too long.
    """
    run = functools.partial(_find, sources=sources, detection=detection)
    measured = measure(cases, run, repeats=repeats)
    found = {case: each.answers for case, each in measured.items()}
    if len({answer for answers in found.values() for answer in answers}) > 1:
        raise RuntimeError(f"these did not find the same nuclei (number, digest) in every run: {found}")
    return [
        {
            "Method": method,
            "Detector": detector,
            "Workers": workers,
            "Images": len(sources),
            **each.spread(),
            "Images_per_Second": round(len(sources) / median(each.seconds), 2),
            "Peak_Memory_MB": round(each.peak_memory / 1e6),
            "Nuclei": each.answers[0][0],
        }
        for (method, detector, workers), each in measured.items()
    ]


def _find(case, sources, detection):
    """Run one case of `compare`; give its seconds, and the number and digest of its nuclei."""
    method, detector, workers = case
    with _detection(detector, sources, workers) as detect:
        start = time.perf_counter()
        found = METHODS[method][0](functools.partial(detect, **detection), sources, workers)
        seconds = time.perf_counter() - start
    digest = hashlib.sha256()
    for each in found:
        digest.update(len(each).to_bytes(8) + np.ascontiguousarray(each, np.int64).tobytes())
    return seconds, (sum(map(len, found)), digest.hexdigest()[:8])


@contextmanager
def _detection(detector, sources, workers):
    """Give a detector; a GPU runs until the block ends."""
    if detector != GPU:
        yield DETECTORS[detector]
        return
    with server.processor("gpu", frames=len(sources), workers=workers) as processor:
        yield functools.partial(nuclei.detect_nuclei, find=processor.candidates)


class Measured(NamedTuple):
    """What was measured of one case."""

    seconds: list  # of each timed run
    peak_memory: int  # bytes
    answers: list  # of each timed run, and of the one whose memory was looked at

    def spread(self):
        """Give the columns of median, least and most seconds."""
        columns = {"Seconds": median, "Seconds_Min": min, "Seconds_Max": max}
        return {column: round(of(self.seconds), 6) for column, of in columns.items()}


def measure(cases, run, *, repeats, untimed=None, failures=None):
    """Run cases in processes of their own, interleaved, so that what disturbs the machine disturbs all of them.

    Parameters
    ----------
    cases : list of tuple
    run : callable
        Takes a case; gives the seconds that its work took, and an answer that can be compared.
    repeats : int
    untimed : callable, optional
        What to call instead of `run` in the last run, that in which the memory is looked at.
    failures : dict, optional
        Gets the cases that fail, and why; the others are measured.

    Returns
    -------
    dict of tuple to Measured

    Raises
    ------
    RuntimeError
        A run failed or took too long, and there is no `failures`.
    """
    seconds, memory, answers = ({case: [] for case in cases} for _ in range(3))
    failed = {} if failures is None else failures
    for number in range(repeats + 1):
        for case in cases:
            if case in failed:
                continue
            try:
                if number < repeats:
                    taken, answer = run_apart(run, case)
                    seconds[case].append(taken)
                else:  # not timed: looking takes time
                    look = functools.partial(_look, memory[case])
                    (_, answer), peak = run_apart(functools.partial(_with_peak, untimed or run), case, look)
                    memory[case].append(peak)  # a run may end before it is looked at
                answers[case].append(answer)
            except RuntimeError as error:
                if failures is None:
                    raise
                failures[case] = str(error)
    return {case: Measured(seconds[case], max(memory[case]), answers[case]) for case in cases if case not in failed}


def _look(seen, pid):
    seen.append(_memory(pid))


def _with_peak(run, case):
    """Give what a run gives, and the most memory that this process has had, without its workers, in bytes."""
    result = run(case)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2)
    return result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def run_apart(run, case, look=None):
    """Give what a function gives for a case, called in a process of its own.

    Parameters
    ----------
    run : callable
        Takes the case; may start processes, which end with it.
    case : tuple
    look : callable, optional
        Takes the process's id; called every 20 ms while it runs.

    Raises
    ------
    RuntimeError
        It raised, was killed or took longer than `DEADLINE`; names the case.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, run, case))
    process.start()
    theirs.close()
    start = time.monotonic()
    try:
        while True:
            if look:
                look(process.pid)
            if ours.poll(0.02 if look else 0.2):
                break
            # Its workers inherit its end of the pipe, and of its sentinel: neither closes while one of them lives.
            if not process.is_alive() and not ours.poll():
                raise EOFError
            if time.monotonic() - start > DEADLINE:
                raise RuntimeError(f"{case}: not done after {DEADLINE} s")
        good, answer = ours.recv()
        process.join(timeout=5)  # it has nothing left to do
    except EOFError:
        process.join()
        raise RuntimeError(f"{case}: its process ended with status {process.exitcode}") from None
    finally:
        _end(process)
    if not good:
        raise RuntimeError(f"{case}: {answer}")
    return answer


def _run(pipe, run, case):
    os.setpgid(0, 0)  # with its workers, for `_end`
    try:
        pipe.send((True, run(case)))
    except Exception as error:
        pipe.send((False, f"{type(error).__name__}: {error}"))
    pipe.close()


def _end(process):
    """End a process and its workers, if they are still there; they outlive it where it was killed."""
    with suppress(OSError):  # no such group: all have ended, or it was not there yet
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _memory(pid):
    """Memory of a process, and what its children have for themselves, in bytes: shared pages count once."""
    total = 0
    with suppress(psutil.Error):  # one may end while it is looked at: the next look counts
        root = psutil.Process(pid)
        total += root.memory_info().rss
        for child in root.children(recursive=True):
            total += child.memory_full_info().uss
    return total


def machine():
    """Describe the machine and the software that figures were measured with.

    Returns
    -------
    dict
    """
    packages = ("snakemake", "numpy", "scipy", "scikit-image", "opencv-python-headless", "tifffile")
    return {
        "CPU": _cpu(),
        "Cores": os.cpu_count(),
        "Memory_GB": round(psutil.virtual_memory().total / 2**30, 1),
        "System": platform.platform(),
        "Python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def _cpu():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            return next(line.split(":")[1].strip() for line in stream if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
