"""The benchmark of loading a slide: which slide, which regions, which cases, and their figures."""

import functools
import logging
import os
from collections.abc import Sequence

from fieldwork.benchmarks import measuring
from fieldwork.benchmarks.slide_tasks import GPU_READER, Case, Region, Source, run
from fieldwork.slides import SlideError, choice
from fieldwork.slides import readers as slide_readers

REGION_PX = 4096  # side of the region of a level: on 2 cores the benchmark takes 2 to 3 minutes
STRIP_PX = 512  # Fieldwork's chunk and a multiple of the usual tiles: no tile is decoded for two strips
BLOCK_PX = 2048  # Fieldwork's shard
SAMPLING_PX = 16  # timed runs compare every 16th pixel of every 16th row: 1 ms, where the fastest way takes 65
READER_PACKAGES = {  # reader -> the package that decodes for it
    "cucim": "cucim-cu12",
    GPU_READER: "cucim-cu12",
    "tifffile": "imagecodecs",
    "openslide": "openslide-bin",
}
FIGURE_COLUMNS = ("Seconds", "Seconds_Min", "Seconds_Max", "Megapixels_Per_Second", "Peak_Memory_MB")

log = logging.getLogger(__name__)


def open_source(
    path: str | os.PathLike, *, workers: int, folder: str | os.PathLike, with_gpu: bool = False
) -> tuple[Source, list[str]]:
    """Find the readers of a slide, and choose a region of every level: `REGION_PX` square in its middle, or all.

    Parameters
    ----------
    path : path-like
    workers : int
        Largest number of workers. If possible, there are at least as many strips and twice as many blocks.
    folder : path-like
        For Zarr arrays.
    with_gpu : bool
        The machine has a GPU.

    Returns
    -------
    source : Source
    readers : list of str
        Those of `readers.READERS` that `choice.choose_reader` trusts with the file, and `GPU_READER` if it trusts
        cuCIM, as far as they read all regions without an error or a crash. Reading also brings the file into the
        system's memory. The log says why other readers are left out.
    """
    readers, shapes = [], ()
    for reader in slide_readers.READERS:
        try:
            choice.choose_reader(path, reader)
            shapes = measuring.run_in_process(_shapes, (path, reader))
            readers.append(reader)
        except (SlideError, RuntimeError) as error:
            log.warning("left out: %s: %s", path, error)
    regions = tuple(_middle_of(shape) for shape in shapes)
    strip, block = STRIP_PX, BLOCK_PX
    if regions:
        _, _, height, width = regions[0]
        while strip > 64 and min(height, width) <= strip * (workers - 1):
            strip //= 2
        while block > strip and -(-height // block) * -(-width // block) < 2 * workers:
            block //= 2
    source = Source(os.fspath(path), regions, strip, block, os.fspath(folder))
    if with_gpu and "cucim" in readers:
        readers.append(GPU_READER)
    for reader in list(readers):
        try:
            for level in range(len(regions)):
                case = Case("load level", reader, level, "thread", 1, "whole")
                measuring.run_in_process(functools.partial(run, source=source), case)
        except RuntimeError as error:
            log.warning("left out: %s: %s", path, error)
            readers.remove(reader)
    return source, readers


def _shapes(case):
    return slide_readers.open_slide(*case).shapes


def _middle_of(shape):
    """Return the middle of a level, which begins where a strip of complete tiles can begin."""
    sizes = [min(side, REGION_PX) for side in shape]
    return Region(*((side - size) // 2 // STRIP_PX * STRIP_PX for side, size in zip(shape, sizes, strict=True)), *sizes)


def list_cases(readers: Sequence[str], *, levels: int, workers: int) -> list[Case]:
    """List the cases to measure.

    Parameters
    ----------
    readers : list of str
    levels : int
    workers : int
        Largest number of workers; 1 and all powers of two below it are measured too.

    Returns
    -------
    list of Case
    """
    counts = sorted({2**power for power in range(workers.bit_length())} | {workers})
    strips = ("rows", "columns")
    ways = [("strips", kind, shape) for kind in ("thread", "process") for shape in strips]
    ways += [("num_workers", "num_workers", "whole")]
    ways += [("assemble", kind, shape) for kind in ("thread", "process", "process_shared") for shape in strips]
    ways += [("zarr", kind, shape) for kind in ("thread", "process") for shape in strips]
    ways += [("zarr", "process", "blocks")]
    cases = [Case("load level", reader, level, "thread", 1, "whole") for level in range(levels) for reader in readers]
    cases += [
        Case(task, reader, 0, kind, count, shape)
        for task, kind, shape in ways
        for reader in readers
        for count in counts
        if (kind == "num_workers" or reader != GPU_READER)  # CUDA must not be forked
        and (kind != "num_workers" or reader != "openslide")  # which has no threads of its own
    ]
    return cases


def measure(cases: Sequence[Case], source: Source, *, repeats: int) -> list[dict]:
    """Measure ways to load a slide.

    Parameters
    ----------
    cases : list of Case
    source : Source
    repeats : int

    Returns
    -------
    list of dict
        One row per case: median, least and most seconds of what `run` times; peak memory of the case's process and its
        workers, with their interpreters. Shared pages count once, or not at all if only workers have touched them
        (some of ``process_shared`` with columns). A case that failed, or returned other pixels than its reader does
        for the level in one call, has no figures; its ``Error`` says why.
    """
    exact, sampled = (functools.partial(run, source=source, step=step) for step in (1, SAMPLING_PX))
    failures = {}
    options = {"repeats": repeats, "progress": f"loading of {os.path.basename(source.path)}"}
    measured = measuring.measure(cases, sampled, untimed=exact, failures=failures, **options)
    expected = {}
    for case, runs in measured.items():  # the cases that read a level in one call come first
        for step, answer in runs.answers:
            if expected.setdefault((case.reader, case.level, step), answer) != answer:
                failures[case] = f"{case}: other pixels than {case.reader} gives of the level read in one call"
    for reason in failures.values():
        log.warning("not measured: %s", reason)
    return [_row(case, source, measured.get(case), failures.get(case)) for case in cases]


def _row(case, source, measured, failure):
    region = source.regions[case.level]
    megapixels = region.height * region.width / 1e6
    row = {
        "Task": case.task,
        "Reader": case.reader,
        "Level": case.level,
        "Workers_Kind": case.kind,
        "Workers": case.workers,
        "Shape": case.shape,
        "Megapixels": round(megapixels, 3),
        **dict.fromkeys(FIGURE_COLUMNS),
        "Slide": os.path.basename(source.path),
        "Width": region.width,
        "Height": region.height,
        "Piece_Size": {"whole": None, "blocks": source.block}.get(case.shape, source.strip),
        "Error": failure,
    }
    if not failure:
        row |= measured.spread()
        row["Megapixels_Per_Second"] = round(megapixels / row["Seconds"], 2)
        row["Peak_Memory_MB"] = round(measured.peak_memory / 1e6)
    return row
