"""Ways to work through many frames, measured side by side: a loop, a pool and Dask."""

import functools
import hashlib
import itertools
import multiprocessing
import tempfile
import time
from os import PathLike
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import tifffile
from skimage.filters import gaussian

from fieldwork import job, synthetic
from fieldwork.benchmarks import measuring
from fieldwork.plates import filters, images
from fieldwork.stacks import frames as stack_frames
from fieldwork.stacks import sources

METRICS = ("var", "mean")
SIGMA = 10  # px: the tutorial's
DETECTION = {"method": "peaks", "sigma": 4, "min_distance": 6, "threshold_abs": 1000}
FULL_BATCH_CORES = 8  # with fewer, some batches are measured, and scaled down: on 2 cores, all take some 9 minutes
TINY_PX = 100  # smaller images are so many that naive Dask runs only once

SERIAL, NAIVE = "serial", "naive dask.delayed"
ENGINES = {  # of `parallel.map_frames`
    SERIAL: {"engine": "serial"},
    "pool": {"engine": "pool"},
    "Dask, processes": {"engine": "dask", "dask": "processes"},
    "Dask, threads": {"engine": "dask", "dask": "threads"},
}


class Batch(NamedTuple):
    """A number of images or frames of one size."""

    count: int
    height: int
    width: int
    scaled_by: float = 1  # how many times larger the full batch is


class Case(NamedTuple):
    """One way to work through a batch."""

    engine: str
    batch: Batch


def choose_batches(cores: int) -> tuple[list[Batch], Batch]:
    """Choose how many images to filter, and how long the stack is, so that a run takes minutes.

    The start of workers, Dask's above all, is a smaller part of full batches. Naive Dask takes longer for each image
    the more there are (6 ms of 2,000, 13 ms of 5,000, 29 ms of 10,000), so scaled down it looks better than it is.

    Parameters
    ----------
    cores : int
        Of this machine.

    Returns
    -------
    filtered : list of Batch
    stack : Batch
    """
    if cores < FULL_BATCH_CORES:
        chosen = [(10, 2048, 1), (50, 512, 1), (5000, 32, 2.5)]
        stack = Batch(50, 1024, 1024, 2)
    else:
        chosen = [(10, 2048, 1), (50, 2048, 1), (50, 512, 1), (500, 512, 1), (5000, 32, 1), (50000, 32, 5)]
        stack = Batch(100, 1024, 1024)
    return [Batch(round(count / factor), side, side, factor) for count, side, factor in chosen], stack


def measure_filters(batch: Batch, *, workers: int, folder: str | PathLike, repeats: int) -> list[dict]:
    """Measure ways to load, filter, measure and save a batch of images.

    Parameters
    ----------
    batch : Batch
    workers : int
    folder : path-like
        Where images are generated and filtered ones saved.
    repeats : int
        Timed runs of each engine, as for `measuring.measure`.

    Returns
    -------
    list of dict
        One row an engine, `SERIAL` first: median, least and most seconds, as `filter_images` times them; speed-up
        against `SERIAL`; peak memory of all processes in MB.

    Raises
    ------
    RuntimeError
        The runs gave different numbers or (but for naive Dask) files, or one failed or took too long.
    """
    # In a process of its own, whose memory the cases don't inherit.
    paths = measuring.run_in_process(functools.partial(_plant_images, folder=folder), (batch,))
    run = functools.partial(filter_images, paths=paths, workers=workers, folder=folder)
    cases = [Case(engine, batch) for engine in (*ENGINES, NAIVE)]
    once = cases[-1:] if batch.height < TINY_PX else []
    label = f"{batch.count:,} images of {batch.height} x {batch.width}"
    measured = measuring.measure([case for case in cases if case not in once], run, repeats=repeats, progress=label)
    if once:
        measured |= measuring.measure(once, run, repeats=0, progress=f"{label}, {NAIVE}")
    return _rows("Images", measured, workers)


def measure_stack(stack: Batch, *, workers: int, folder: str | PathLike, repeats: int) -> list[dict]:
    """Measure ways to find the nuclei in every frame of a stack.

    Parameters
    ----------
    stack : Batch
    workers, folder, repeats
        As for `measure_filters`.

    Returns
    -------
    list of dict
        As of `measure_filters`.

    Raises
    ------
    RuntimeError
        As by `measure_filters`.
    """
    path = measuring.run_in_process(functools.partial(_plant_stack, folder=folder), (stack,))
    run = functools.partial(detect_in_stack, path=path, workers=workers)
    cases = [Case(engine, stack) for engine in STACK_ENGINES]
    measured = measuring.measure(cases, run, repeats=repeats, progress=f"stack of {stack.count:,} frames")
    return _rows("Frames", measured, workers)


def _plant_images(case, folder):
    """Write the images of a batch, noise from a fixed seed; return their paths."""
    (batch,) = case
    rng = np.random.default_rng(0)
    paths = []
    for number in range(batch.count):
        paths.append(str(Path(folder, f"{batch.height}x{batch.width}_{number:05}.tif")))
        tifffile.imwrite(paths[-1], rng.integers(0, 4096, (batch.height, batch.width), np.uint16))
    return paths


def _plant_stack(case, folder):
    """Write a stack of planted nuclei, from a fixed seed, as one TIFF; return its path."""
    (stack,) = case
    rng = np.random.default_rng(0)
    shape = stack.height, stack.width
    count = max(1, stack.height * stack.width // 10_000)
    planted = (synthetic.plant_field(rng, shape=shape, count=count)[0] for _ in range(stack.count))
    path = str(Path(folder, "stack.tif"))
    tifffile.imwrite(path, planted, shape=(stack.count, *shape), dtype=np.uint16, photometric="minisblack")
    return path


def filter_images(
    case: Case, *, paths: list[str], workers: int, folder: str | PathLike
) -> tuple[float, tuple[str, str | None]]:
    """Filter a batch in one way.

    Parameters
    ----------
    case : Case
    paths : list of str
        The images.
    workers : int
    folder : path-like
        Where filtered images are saved for the time of the run.

    Returns
    -------
    seconds : float
        Includes importing Dask and starting workers; not importing NumPy and scikit-image, which Fieldwork's forked
        workers and naive Dask's threads find in memory.
    digests : (str, str or None)
        Of the metrics, and of complete results and saved files (None: naive Dask's are not compared).
    """
    with tempfile.TemporaryDirectory(dir=folder) as saved:
        if case.engine == NAIVE:
            start = time.perf_counter()
            figures = naive_dask(paths, saved, workers)
            return time.perf_counter() - start, (_digest(figures), None)
        originals = [
            filters.Original(images.FieldImage("A01", site, None, None, path), f"{site:05}")
            for site, path in enumerate(paths, start=1)
        ]
        measure = functools.partial(
            filters.filter_image,
            chain=[{"function": "skimage.filters.gaussian", "arguments": {"sigma": SIGMA}}],
            metrics=METRICS,
            save="tiff",
            folder=saved,
            folders=(),
        )
        road = {
            "read": functools.partial(filters.read_planes, channel="auto"),
            "failed": filters.failed_image,
            "label": "batch",
            "noun": "images",
        }
        options = {"workers": workers, **road, **ENGINES[case.engine]}
        seconds, filtered = _timed(lambda: job.collect(measure, originals, **options))
        figures = [[values[name] for values in (image.before, image.after) for name in METRICS] for image in filtered]
        files = (Path(saved, image.saved).read_bytes() for image in filtered)
        return seconds, (_digest(figures), _digest(filtered, files))


def naive_dask(paths: list[str], saved: str | PathLike, workers: int) -> list[list[float]]:
    """Filter images as the tutorial does [1]_: every call delayed, those of all images computed at once, in threads.

    Parameters
    ----------
    paths : list of str
    saved : path-like
        Folder of the filtered images.
    workers : int

    Returns
    -------
    list of list of float
        The metrics of each image, first before filtering, then after it.

    References
    ----------
    .. [1] "Batch processing with Dask", https://github.com/scikit-image/scikit-image/pull/3386
    """
    import dask

    figures, files = [], []
    for number, path in enumerate(paths):
        image = dask.delayed(tifffile.imread)(path)
        filtered = dask.delayed(gaussian)(image, sigma=SIGMA)
        figures.append([dask.delayed(getattr(np, name))(pixels) for pixels in (image, filtered) for name in METRICS])
        files.append(dask.delayed(tifffile.imwrite)(Path(saved, f"{number:05}.tif"), filtered))
    figures, _ = dask.compute(figures, files, num_workers=workers)
    return [[float(figure) for figure in row] for row in figures]


def detect_in_stack(case: Case, *, path: str, workers: int) -> tuple[float, tuple[str]]:
    """Find the nuclei in every frame of a stack in one way, and measure the image quality.

    Parameters
    ----------
    case : Case
    path : str
    workers : int

    Returns
    -------
    seconds : float
        Includes reading.
    digests : (str,)
        Of the results.
    """
    measure = functools.partial(
        stack_frames.measure_frame, function=stack_frames.NUCLEI, detection=DETECTION, folders=(), with_quality=True
    )
    seconds, measured = _timed(lambda: STACK_ENGINES[case.engine](measure, path, workers))
    arrays = (array.tobytes() for frame in measured for array in (frame.coordinates, frame.intensities))
    rows, _ = stack_frames.rows_of("stack", measured, count_nuclei=True)
    return seconds, (_digest(rows, arrays),)


def _loop(measure, path, workers):
    return list(itertools.starmap(measure, _in_memory(path)))


def _pool_map(measure, path, workers):
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return pool.starmap(measure, _in_memory(path))


def _in_memory(path):
    stack = tifffile.imread(path)
    return [(sources.StackFrame(path, index), image) for index, image in enumerate(stack)]


def _collect(measure, path, workers, mode="paths"):
    road = {"read": stack_frames.read_image, "failed": stack_frames.failed_frame, "label": path, "noun": "frames"}
    return job.collect(measure, sources.open_stack(path).frames, mode=mode, workers=workers, **road)


STACK_ENGINES = {
    SERIAL: _loop,
    "Pool.map, pickling": _pool_map,
    "pool, paths": _collect,
    "pool, fork": functools.partial(_collect, mode="fork"),
}


def _timed(work):
    """Return the seconds that a call takes, and its result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def _digest(value, contents=()):
    digest = hashlib.sha256(repr(value).encode())
    for content in contents:
        digest.update(len(content).to_bytes(8) + content)
    return digest.hexdigest()[:8]


def _rows(unit, measured, workers):
    """Return the table's rows for one batch, counted in `unit`; raise an error if runs gave different results."""
    answers = [answer for runs in measured.values() for answer in runs.answers]
    if any(len(set(digests) - {None}) > 1 for digests in zip(*answers, strict=True)):
        by_engine = {case.engine: runs.answers for case, runs in measured.items()}
        raise RuntimeError(f"these did not give the same results in every run: {by_engine}")
    serial = next(median(runs.seconds) for case, runs in measured.items() if case.engine == SERIAL)
    return [
        {
            unit: case.batch.count,
            "Height": case.batch.height,
            "Width": case.batch.width,
            "Scaled_By": case.batch.scaled_by,
            "Engine": case.engine,
            "Workers": 1 if case.engine == SERIAL else workers,
            **runs.spread(),
            "Speedup": round(serial / median(runs.seconds), 3),
            "Peak_Memory_MB": round(runs.peak_memory / 1e6),
        }
        for case, runs in measured.items()
    ]
