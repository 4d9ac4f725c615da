"""Detection on the processor and on a GPU, measured on generated fields that are in memory."""

import functools
import hashlib
import time
from statistics import median

import numpy as np

from fieldwork import benchmarks, gpu, nuclei, parallel, synthetic

NUCLEI = 400  # in a field, before those are left out that do not fit

_fields = []  # what the processes that are measured find in their memory


def measure(*, count, shape, detection, workers, repeats, hold=gpu.Cuda, with_cucim=True):
    """Measure detection by one core, by the GPU with one and with all workers, and by cuCIM.

    Parameters
    ----------
    count : int
        Fields to generate, each from its number as the seed.
    shape : (int, int)
        Rows and columns of a field.
    detection : dict
        ``sigma``, ``min_distance`` and ``threshold_abs``.
    workers, repeats : int
    hold : callable
        As for `gpu.finder`.
    with_cucim : bool
        Measure cuCIM's ``gaussian`` and ``peak_local_max``, field by field, too.

    Returns
    -------
    list of dict
        A row for each way: median, least and most seconds for all fields, copies to and from the GPU included, its
        start (``Start_Seconds``) not; how many times as fast as one core; and in how many fields the nuclei and their
        order are those that one core finds.
    """
    indices = range(count)
    _fields[:] = parallel.map_frames(functools.partial(_plant, shape=shape), indices, workers=workers)
    cases = [("one core", 1), ("GPU", 1), ("GPU", workers)] + [("cuCIM", 1)] * with_cucim
    run = functools.partial(_find, detection=detection, hold=hold)
    measured = benchmarks.measure(list(dict.fromkeys(cases)), run, repeats=repeats)
    first = measured["one core", 1]
    expected = first.answers[0][1]
    return [
        {
            "Way": way,
            "Workers": used,
            "Fields": count,
            "Image_Width": shape[1],
            "Image_Height": shape[0],
            "Device": each.answers[0][2],
            **each.spread(),
            "Start_Seconds": round(median(answer[0] for answer in each.answers), 3),
            "Fields_per_Second": round(count / median(each.seconds), 2),
            "Times_One_Core": round(median(first.seconds) / median(each.seconds), 2),
            "Fields_Equal": min(
                sum(one == other for one, other in zip(answer[1], expected, strict=True)) for answer in each.answers
            ),
        }
        for (way, used), each in measured.items()
    ]


def _plant(seed, shape):
    return synthetic.plant_field(np.random.default_rng(seed), shape=shape, count=NUCLEI)[0]


def _find(case, detection, hold):
    """Run one case; give its seconds, and the seconds of the start, a digest for every field, and the device's name."""
    way, workers = case
    begun = time.perf_counter()
    if way == "one core":
        started = begun
        found = [nuclei.detect_nuclei(image, **detection) for image in _fields]
        name = None
    elif way == "cuCIM":
        detect, name = _cucim()
        detect(_fields[0], **detection)  # compiles its kernels
        started = time.perf_counter()
        found = [detect(image, **detection) for image in _fields]
    else:
        with gpu.finder("gpu", frames=len(_fields), workers=workers, hold=hold) as find:
            nuclei.detect_nuclei(_fields[0], find=find, **detection)  # likewise
            started = time.perf_counter()
            detect = functools.partial(_detect, find=find, detection=detection)
            found = list(parallel.map_frames(detect, range(len(_fields)), mode="fork", workers=workers))
            name = find.name
    seconds = time.perf_counter() - started
    digests = [hashlib.sha256(np.ascontiguousarray(each, np.int64).tobytes()).hexdigest()[:16] for each in found]
    return seconds, (started - begun, digests, name)


def _detect(index, find, detection):
    return nuclei.detect_nuclei(_fields[index], find=find, **detection)


def _cucim():
    """Give cuCIM's detection of one field, its copies included, and the GPU's name."""
    import cupy
    from cucim.skimage.feature import peak_local_max
    from cucim.skimage.filters import gaussian

    def detect(image, *, sigma, min_distance, threshold_abs):
        smoothed = gaussian(cupy.asarray(image), sigma, preserve_range=True)
        return peak_local_max(smoothed, min_distance=min_distance, threshold_abs=threshold_abs).get()

    return detect, gpu.Cuda().name
