"""Ways to find the nuclei in many images, measured side by side on the machine at hand."""

import multiprocessing
import os
import platform
import time
from importlib.metadata import version
from statistics import median

import psutil
from skimage.feature import peak_local_max
from skimage.filters import gaussian

from fieldwork import frames, nuclei, parallel

SIGMA, MIN_DISTANCE, THRESHOLD = 4, 6, 1000
_images = []  # what the forked workers of `pool_sharing_memory` find in their memory


def by_scikit_image(image):
    """Find nuclei as the tutorial does."""
    smoothed = gaussian(image, SIGMA, preserve_range=True)
    return peak_local_max(smoothed, min_distance=MIN_DISTANCE, threshold_abs=THRESHOLD)


def by_fieldwork(image):
    """Find nuclei as Fieldwork does."""
    return nuclei.detect_nuclei(image, sigma=SIGMA, min_distance=MIN_DISTANCE, threshold_abs=THRESHOLD)


DETECTORS = {"scikit-image": by_scikit_image, "Fieldwork": by_fieldwork}


def read(path):
    """Read the first plane of an image file."""
    return frames.read(path)[0].image


class ReadAndDetect:
    """One detector on the image in a file, as a function that can be sent to workers."""

    def __init__(self, detect):
        self.detect = detect

    def __call__(self, path):
        return self.detect(read(path))


def comprehension_reading(detect, paths, workers):
    """List comprehension over files."""
    return [detect(read(path)) for path in paths]


def pool_reading(detect, paths, workers):
    """Pool over files: workers read."""
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return pool.map(ReadAndDetect(detect), paths)


def comprehension_in_memory(detect, paths, workers):
    """Read all images, then a list comprehension over them."""
    images = [read(path) for path in paths]
    return [detect(image) for image in images]


def pool_pickling(detect, paths, workers):
    """Read all images, then a Pool to which each is sent."""
    images = [read(path) for path in paths]
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return pool.map(detect, images)


class DetectShared:
    """One detector on an image that forked workers find in their memory."""

    def __init__(self, detect):
        self.detect = detect

    def __call__(self, index):
        return self.detect(_images[index])


def pool_sharing_memory(detect, paths, workers):
    """Read all images, then fork a Pool that shares them by copy-on-write."""
    _images.extend(read(path) for path in paths)
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return pool.map(DetectShared(detect), range(len(paths)))


def map_frames_serial(detect, paths, workers):
    """Fieldwork's map_frames, engine serial."""
    return list(parallel.map_frames(ReadAndDetect(detect), paths, engine="serial"))


def map_frames_paths(detect, paths, workers):
    """Fieldwork's map_frames, engine pool, mode paths."""
    return list(parallel.map_frames(ReadAndDetect(detect), paths, mode="paths", workers=workers))


def map_frames_fork(detect, paths, workers):
    """Fieldwork's map_frames, engine pool, mode fork."""
    images = list(parallel.map_frames(read, paths, mode="paths", workers=workers))
    return list(parallel.map_frames(detect, images, mode="fork", workers=workers))


METHODS = {
    "list comprehension, reading": comprehension_reading,
    "Pool, reading": pool_reading,
    "list comprehension, from memory": comprehension_in_memory,
    "Pool, from memory, pickling": pool_pickling,
    "Pool, from memory, copy-on-write": pool_sharing_memory,
    "map_frames, serial": map_frames_serial,
    "map_frames, paths": map_frames_paths,
    "map_frames, fork": map_frames_fork,
}


def compare(cases, paths, *, repeats):
    """Measure ways of finding nuclei, interleaved, so that what disturbs the machine disturbs all of them.

    Parameters
    ----------
    cases : list of (str, str, int)
        Method (of `METHODS`), detector (of `DETECTORS`), workers.
    paths : list of str
        Image files.
    repeats : int

    Returns
    -------
    list of dict
        One row a case: median, least and most seconds, reading included; images per second; peak memory in MB
        (of all its processes, shared pages counted once).

    Raises
    ------
    RuntimeError
        Two cases did not find the same nuclei.
    """
    measured = {case: [] for case in cases}
    for _ in range(repeats):
        for case in cases:
            measured[case].append(_measure(case, paths))
    if len({count for runs in measured.values() for _, count, _ in runs}) > 1:
        raise RuntimeError(f"the methods found different numbers of nuclei: {measured}")
    rows = []
    for (method, detector, workers), runs in measured.items():
        seconds = [run[0] for run in runs]
        rows.append(
            {
                "Method": method,
                "Detector": detector,
                "Workers": workers,
                "Images": len(paths),
                "Seconds": round(median(seconds), 3),
                "Seconds_Min": round(min(seconds), 3),
                "Seconds_Max": round(max(seconds), 3),
                "Images_per_Second": round(len(paths) / median(seconds), 2),
                "Peak_Memory_MB": round(max(run[2] for run in runs)),
                "Nuclei": runs[0][1],
            }
        )
    return rows


def _measure(case, paths):
    """Run one case in a process of its own; give its seconds, its number of nuclei and its peak memory in MB."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, case, paths))
    process.start()
    theirs.close()
    peak = 0
    while not ours.poll(0.2):
        peak = max(peak, _memory(process.pid))
    seconds, count, memory = ours.recv()
    process.join()
    return seconds, count, max(peak, memory) / 1e6


def _run(pipe, case, paths):
    method, detector, workers = case
    start = time.perf_counter()
    found = METHODS[method](DETECTORS[detector], paths, workers)
    seconds = time.perf_counter() - start
    pipe.send((seconds, sum(map(len, found)), _memory(os.getpid())))


def _memory(pid):
    """Memory of a process and its children in bytes; pages that several share count once."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            memory = process.memory_full_info()
            total += getattr(memory, "pss", memory.uss)
    except psutil.Error:
        pass  # one ended while it was looked at: the next look counts
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
