"""Ways to find the nuclei in many images, measured side by side on this machine."""

import functools
import hashlib
import multiprocessing
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from statistics import median

import numpy as np
from skimage.feature import peak_local_max
from skimage.filters import gaussian

from fieldwork import frames, label_images, nuclei, parallel, segmentation
from fieldwork.benchmarks.measuring import measure
from fieldwork.gpu import client
from fieldwork.segmentation.sampling import ENOUGH_WITH_NUCLEI

Detect = Callable[[np.ndarray], np.ndarray]  # (rows, columns) image -> (n, 2) rows and columns of nuclei
Source = tuple[str, str]  # image file, channel

_images = []  # the forked workers of `pool_sharing_memory` find them in their memory


def by_scikit_image(image: np.ndarray, *, sigma: float, min_distance: int, threshold_abs: float) -> np.ndarray:
    """Find nuclei in a (rows, columns) image as the tutorial does; return their rows and columns, (n, 2)."""
    smoothed = gaussian(image, sigma, preserve_range=True)
    return peak_local_max(smoothed, min_distance=min_distance, threshold_abs=threshold_abs)


DETECTORS = {"scikit-image": by_scikit_image, "Fieldwork": nuclei.detect_nuclei}
GPU_DETECTOR = "Fieldwork, GPU"  # only some machines have it
# Name -> method. They find other nuclei, by their outlines.
OUTLINE_DETECTORS = {"Fieldwork, classical": "classical", "Fieldwork, network": "network"}


def by_outlines(image: np.ndarray, *, calibration: segmentation.Calibration, method: str) -> np.ndarray:
    """Find nuclei in a (rows, columns) image by their outlines; return the rows and columns of centroids, (n, 2)."""
    objects = label_images.properties(segmentation.segment_nuclei(image, calibration, method=method))
    return np.stack([objects.rows, objects.columns], axis=1)


def read(source: Source) -> np.ndarray:
    """Read the first plane, (rows, columns), of one channel of an image file; `source`: (path, channel)."""
    path, channel = source
    return frames.read(path, channel=channel, pages_are="c" if channel.isdecimal() else "z")[0].image


class ReadAndDetect:
    """A detector applied to the image in a file, as a function that can be sent to workers."""

    def __init__(self, detect):
        self.detect = detect

    def __call__(self, source):
        return self.detect(read(source))


def comprehension_reading(detect: Detect, sources: Sequence[Source], workers: int) -> list[np.ndarray]:
    """Find nuclei in files by a list comprehension."""
    return [detect(read(source)) for source in sources]


def pool_reading(detect: Detect, sources: Sequence[Source], workers: int) -> list[np.ndarray]:
    """Find nuclei in files by a Pool whose workers read."""
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return pool.map(ReadAndDetect(detect), sources)


def comprehension_in_memory(detect: Detect, sources: Sequence[Source], workers: int) -> list[np.ndarray]:
    """Read all images, then find nuclei by a list comprehension."""
    images = [read(source) for source in sources]
    return [detect(image) for image in images]


def pool_pickling(detect: Detect, sources: Sequence[Source], workers: int) -> list[np.ndarray]:
    """Read all images, then find nuclei by a Pool to which the images are sent."""
    images = [read(source) for source in sources]
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return pool.map(detect, images)


class DetectShared:
    """A detector applied to an image that forked workers find in their memory."""

    def __init__(self, detect):
        self.detect = detect

    def __call__(self, index):
        return self.detect(_images[index])


def pool_sharing_memory(detect: Detect, sources: Sequence[Source], workers: int) -> list[np.ndarray]:
    """Read all images, then find nuclei by a forked Pool that shares them by copy-on-write."""
    _images.extend(read(source) for source in sources)
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return pool.map(DetectShared(detect), range(len(sources)))


def map_frames_serial(detect: Detect, sources: Sequence[Source], workers: int) -> list[np.ndarray]:
    """Find nuclei by Fieldwork's map_frames, engine serial."""
    return list(parallel.map_frames(ReadAndDetect(detect), sources, engine="serial"))


def map_frames_paths(detect: Detect, sources: Sequence[Source], workers: int) -> list[np.ndarray]:
    """Find nuclei by Fieldwork's map_frames, engine pool, mode paths."""
    return list(parallel.map_frames(ReadAndDetect(detect), sources, mode="paths", workers=workers))


def map_frames_fork(detect: Detect, sources: Sequence[Source], workers: int) -> list[np.ndarray]:
    """Find nuclei by Fieldwork's map_frames, engine pool, mode fork."""
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


def compare(
    cases: Sequence[tuple[str, str, int]],
    sources: Sequence[Source],
    *,
    detection: dict,
    repeats: int,
    progress: str = "methods",
) -> list[dict]:
    """Measure ways to find nuclei, interleaved, so that a disturbance of the machine affects all of them.

    Parameters
    ----------
    cases : list of (str, str, int)
        Method (of `METHODS`), detector (of `DETECTORS`, `GPU_DETECTOR` or `OUTLINE_DETECTORS`), workers.
    sources : list of (str, str)
        Image files and the channel to read.
    detection : dict
        Keyword arguments of the detectors that find peaks.
    repeats, progress
        As for `measuring.measure`.

    Returns
    -------
    list of dict
        One row per case: median, least and most seconds, with reading, without the start of a GPU and without the
        calibration for outlines, which a plate needs once; images per second; peak memory in MB.

    Raises
    ------
    RuntimeError
        The runs did not all find the same peaks (or outlines of one method) in the same order, or a run failed or took
        too long.
    """
    run = functools.partial(_find, sources=sources, detection=detection)
    measured = measure(cases, run, repeats=repeats, progress=progress)
    for method in (None, *OUTLINE_DETECTORS.values()):
        answers = {case: runs.answers for case, runs in measured.items() if OUTLINE_DETECTORS.get(case[1]) == method}
        if len({answer for of_case in answers.values() for answer in of_case}) > 1:
            raise RuntimeError(f"these did not find the same nuclei (number, digest) in every run: {answers}")
    return [
        {
            "Method": method,
            "Detector": detector,
            "Workers": workers,
            "Images": len(sources),
            **runs.spread(),
            "Images_per_Second": round(len(sources) / median(runs.seconds), 2),
            "Peak_Memory_MB": round(runs.peak_memory / 1e6),
            "Nuclei": runs.answers[0][0],
        }
        for (method, detector, workers), runs in measured.items()
    ]


def _find(case, sources, detection):
    """Run one case of `compare`; return its seconds, and the number and digest of its nuclei."""
    method, detector, workers = case
    with _detection(detector, sources, workers, detection) as detect:
        start = time.perf_counter()
        nuclei_of_images = METHODS[method][0](detect, sources, workers)
        seconds = time.perf_counter() - start
    digest = hashlib.sha256()
    for centres in nuclei_of_images:
        digest.update(len(centres).to_bytes(8) + np.ascontiguousarray(centres, np.int64).tobytes())
    return seconds, (sum(map(len, nuclei_of_images)), digest.hexdigest()[:8])


@contextmanager
def _detection(detector, sources, workers, detection):
    """Yield a detector; its GPU runs until the block ends."""
    if detector in OUTLINE_DETECTORS:
        calibration = segmentation.calibrate(read(source) for source in sources[:ENOUGH_WITH_NUCLEI])
        yield functools.partial(by_outlines, calibration=calibration, method=OUTLINE_DETECTORS[detector])
    elif detector != GPU_DETECTOR:
        yield functools.partial(DETECTORS[detector], **detection)
    else:
        with client.open_device("gpu", frames=len(sources), workers=workers) as device:
            yield functools.partial(device.detect_nuclei, **detection)
