"""Ways to find the nuclei in many images, measured side by side on the machine at hand."""

import functools
import hashlib
import multiprocessing
import os
import platform
import time
from contextlib import suppress
from importlib.metadata import version
from multiprocessing.connection import wait
from statistics import median

import numpy as np
import psutil
from skimage.feature import peak_local_max
from skimage.filters import gaussian

from fieldwork import frames, nuclei, parallel

DEADLINE = 900  # s for one run: a Pool waits for ever where a worker is killed (python/cpython#96062)
_images = []  # what the forked workers of `pool_sharing_memory` find in their memory


def by_scikit_image(image, *, sigma, min_distance, threshold_abs):
    """Find nuclei as the tutorial does."""
    smoothed = gaussian(image, sigma, preserve_range=True)
    return peak_local_max(smoothed, min_distance=min_distance, threshold_abs=threshold_abs)


DETECTORS = {"scikit-image": by_scikit_image, "Fieldwork": nuclei.detect_nuclei}


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
        Method (of `METHODS`), detector (of `DETECTORS`), workers.
    sources : list of (str, str)
        Image files, and the channel to read of each.
    detection : dict
        Keyword arguments of the detectors.
    repeats : int

    Returns
    -------
    list of dict
        One row a case: median, least and most seconds, reading included; images per second; peak memory in MB.

    Raises
    ------
    RuntimeError
        Two cases did not find the same nuclei in the same order, or one failed or took too long.
    """
    seconds = {case: [] for case in cases}
    rows, found = [], {}
    for _ in range(repeats):
        for case in cases:
            taken, found[case] = _run_apart(case, sources, detection)
            seconds[case].append(taken)
    if len(set(found.values())) > 1:
        raise RuntimeError(f"these did not find the same nuclei (number, digest): {found}")
    for case, runs in seconds.items():
        method, detector, workers = case
        peak = []  # of a run that is not timed: looking takes time
        _run_apart(case, sources, detection, look=lambda pid, peak=peak: peak.append(_memory(pid)))
        rows.append(
            {
                "Method": method,
                "Detector": detector,
                "Workers": workers,
                "Images": len(sources),
                "Seconds": round(median(runs), 3),
                "Seconds_Min": round(min(runs), 3),
                "Seconds_Max": round(max(runs), 3),
                "Images_per_Second": round(len(sources) / median(runs), 2),
                "Peak_Memory_MB": round(max(peak) / 1e6),
                "Nuclei": found[case][0],
            }
        )
    return rows


def _run_apart(case, sources, detection, look=None):
    """Run one case in a process of its own; give its seconds, and the number and digest of its nuclei."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, case, sources, detection))
    process.start()
    theirs.close()
    start = time.monotonic()
    try:
        while True:
            if look:
                look(process.pid)
            if wait([ours], timeout=0.02 if look else 1):
                break
            if time.monotonic() - start > DEADLINE:
                raise RuntimeError(f"{case}: not done after {DEADLINE} s")
        good, answer = ours.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"{case}: its process ended with status {process.exitcode}") from None
    finally:
        _end(process)
    if not good:
        raise RuntimeError(f"{case}: {answer}")
    return answer


def _run(pipe, case, sources, detection):
    method, detector, workers = case
    try:
        detect = functools.partial(DETECTORS[detector], **detection)
        start = time.perf_counter()
        found = METHODS[method][0](detect, sources, workers)
        seconds = time.perf_counter() - start
        digest = hashlib.sha256(b"".join(np.ascontiguousarray(each, np.int64).tobytes() for each in found))
        pipe.send((True, (seconds, (sum(map(len, found)), digest.hexdigest()[:8]))))
    except Exception as error:
        pipe.send((False, f"{type(error).__name__}: {error}"))
    pipe.close()


def _end(process):
    """End a process and its children, if they are still there."""
    if process.is_alive():
        process.join(timeout=5)
    with suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
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
