"""Detection on the processor and on a GPU, measured on generated images that are in memory."""

import functools
import hashlib
import time
from statistics import median

import numpy as np

from fieldwork import parallel, synthetic
from fieldwork.benchmarks import measuring
from fieldwork.gpu import client, server

PX_PER_NUCLEUS = 3300  # of planted images: a field of BBBC021's size has 400

_images = []  # shared with the processes that are measured, by fork


def compare_devices(
    kind: str,
    *,
    count: int,
    shape: tuple[int, int],
    detection: dict,
    workers: int,
    repeats: int,
    with_cucim: bool = True,
) -> list[dict]:
    """Measure detection by one core, by the GPU with one and with all workers, and by cuCIM.

    Parameters
    ----------
    kind : {'fields', 'tiles'}
        Fields of a plate; or tiles of a slide, of which first the haematoxylin is unmixed.
    count : int
        Images to generate, each from its number as the seed.
    shape : (int, int)
        Rows and columns of an image.
    detection : dict
        ``sigma``, ``min_distance`` and ``threshold_abs``.
    workers, repeats : int
    with_cucim : bool
        Measure cuCIM's ``rgb2hed``, ``gaussian`` and ``peak_local_max``, image by image, too.

    Returns
    -------
    list of dict
        A row for each way: median, least and most seconds for all images, copies to and from the GPU included, its
        start (``Start_Seconds``) not; how many times as fast as one core; and in how many images the nuclei and their
        order are those that one core finds.
    """
    indices = range(count)
    _images[:] = parallel.map_frames(functools.partial(_plant, kind=kind, shape=shape), indices, workers=workers)
    cases = [("one core", 1), ("GPU", 1), ("GPU", workers)] + [("cuCIM", 1)] * with_cucim
    run = functools.partial(_find, detection=detection)
    measured = measuring.measure(list(dict.fromkeys(cases)), run, repeats=repeats, progress=f"{count:,} {kind}")
    first = measured["one core", 1]
    expected = first.answers[0][1]
    return [
        {
            "Way": way,
            "Workers": used,
            "Kind": kind,
            "Images": count,
            "Image_Width": shape[1],
            "Image_Height": shape[0],
            "Device": case.answers[0][2],
            **case.spread(),
            "Start_Seconds": round(median(answer[0] for answer in case.answers), 3),
            "Images_per_Second": round(count / median(case.seconds), 2),
            "Times_One_Core": round(median(first.seconds) / median(case.seconds), 2),
            "Images_Equal": min(
                sum(digest == other for digest, other in zip(answer[1], expected, strict=True))
                for answer in case.answers
            ),
        }
        for (way, used), case in measured.items()
    ]


def _plant(seed, kind, shape):
    rng, count = np.random.default_rng(seed), shape[0] * shape[1] // PX_PER_NUCLEUS
    if kind == "tiles":
        middle = np.full(np.array(shape) - 2 * synthetic.MARGIN_PX, synthetic.SPACING_PX)
        return synthetic.plant_tissue(rng, depth=np.pad(middle, synthetic.MARGIN_PX), count=count)[0]
    return synthetic.plant_field(rng, shape=shape, count=count)[0]


def _find(case, detection):
    """Run one case.

    Returns
    -------
    seconds : float
    (start, digests, name) : (float, list of str, str or None)
        Seconds of the start, a digest of the nuclei of every image, the device's name.
    """
    way, workers = case
    begun = time.perf_counter()
    if way == "one core":
        started = begun
        nuclei = [_detect(index, client.CPU, detection) for index in range(len(_images))]
        name = None
    elif way == "cuCIM":
        detect, name = _cucim()
        detect(_images[0], **detection)  # compiles its kernels
        started = time.perf_counter()
        nuclei = [detect(image, **detection) for image in _images]
    else:
        with client.open_device("gpu", frames=len(_images), workers=workers) as device:
            _detect(0, device, detection)  # likewise
            started = time.perf_counter()
            detect = functools.partial(_detect, device=device, detection=detection)
            nuclei = list(parallel.map_frames(detect, range(len(_images)), mode="fork", workers=workers))
            name = device.name
    seconds = time.perf_counter() - started
    digests = [hashlib.sha256(np.ascontiguousarray(image, np.int64).tobytes()).hexdigest()[:16] for image in nuclei]
    return seconds, (started - begun, digests, name)


def _detect(index, device, detection):
    image = _images[index]
    channel = device.haematoxylin(image) if image.ndim == 3 else image
    return device.detect_nuclei(channel, **detection)


def _cucim():
    """Return cuCIM's detection in one image, its copies included, and the GPU's name."""
    import cupy
    from cucim.skimage.color import rgb2hed
    from cucim.skimage.feature import peak_local_max
    from cucim.skimage.filters import gaussian

    def detect(image, *, sigma, min_distance, threshold_abs):
        image = cupy.asarray(image)
        smoothed = gaussian(rgb2hed(image)[..., 0] if image.ndim == 3 else image, sigma, preserve_range=True)
        return peak_local_max(smoothed, min_distance=min_distance, threshold_abs=threshold_abs).get()

    return detect, server.Cuda().name
