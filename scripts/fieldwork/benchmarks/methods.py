"""Ways to find the nuclei in many images, measured side by side on the machine at hand."""

import functools
import hashlib
import multiprocessing
import time
from contextlib import contextmanager
from statistics import median

import numpy as np
from skimage.feature import peak_local_max
from skimage.filters import gaussian

from fieldwork import frames, nuclei, parallel
from fieldwork.benchmarks.measuring import measure
from fieldwork.gpu import client

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
    with client.processor("gpu", frames=len(sources), workers=workers) as processor:
        yield functools.partial(nuclei.detect_nuclei, find=processor.candidates)
