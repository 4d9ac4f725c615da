"""Ways to load a slide, for measuring: whole levels, strips in threads or processes, into one array, into Zarr."""

import functools
import hashlib
import importlib
import itertools
import logging
import math
import mmap
import os
import tempfile
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import zarr

from fieldwork import parallel
from fieldwork.benchmarks import measuring
from fieldwork.omezarr import slides
from fieldwork.slides import SlideError, choice
from fieldwork.slides import readers as slide_readers

MOST = 4096  # px, side of what is loaded of each level: on 2 cores the benchmark takes 2 to 3 minutes
STRIP = 512  # px, Fieldwork's chunk and a multiple of the usual tiles: no tile is decoded for two strips
BLOCK = 2048  # px, Fieldwork's shard
SAMPLE = 16  # px: in timed runs every 16th pixel of every 16th row is compared: 1 ms, the fastest way takes 65
GPU = "cucim, GPU"  # the reader that only some machines have
BATCH = 16  # squares of `STRIP` px that it decodes at once
PACKAGES = {  # what decodes
    "cucim": "cucim-cu12",
    GPU: "cucim-cu12",
    "tifffile": "imagecodecs",
    "openslide": "openslide-bin",
}
FIGURES = ("Seconds", "Seconds_Min", "Seconds_Max", "Megapixels_Per_Second", "Peak_Memory_MB")

log = logging.getLogger(__name__)
_own = threading.local()  # each worker's own handles, be it a thread or a process
_opening = threading.Lock()  # cuCIM 26.10 crashed in 4 of 110 runs in which two threads opened a slide at once


class Case(NamedTuple):
    """One way of loading; `run` describes them."""

    task: str  # one of `TASKS`
    reader: str
    level: int
    kind: str  # thread | process | process_shared | num_workers
    workers: int
    shape: str  # whole | rows | columns | blocks


class Region(NamedTuple):
    """A part of a level, in its pixels."""

    y: int
    x: int
    height: int
    width: int


class Source(NamedTuple):
    """What is loaded, and how it is cut up."""

    path: str
    regions: tuple  # of Region, by level
    strip: int  # px, breadth of strips; chunks of Zarr are as long and as wide
    block: int  # px, side of blocks, a power of two times the strip: shards of Zarr
    folder: str  # where Zarr arrays may be written


def open_source(path, *, workers, folder, with_gpu=False):
    """Find who can read a slide, and choose what to load of it: all of a level, or `MOST` pixels square amid it.

    Parameters
    ----------
    path : path-like
    workers : int
        The most there will be: there are at least as many strips, and twice as many blocks, where that is possible.
    folder : path-like
    with_gpu : bool
        There is one.

    Returns
    -------
    source : Source
    readers : list of str
        Of `slides.READERS` those that `slides.choose_reader` trusts with the file, and `GPU` where it trusts cuCIM;
        if they can read all of it without an error or a crash, which also fetches the file from the disk. Why others
        cannot is logged.
    """
    readers, shapes = [], ()
    for reader in slide_readers.READERS:
        try:
            choice.choose_reader(path, reader)
            shapes = measuring.run_apart(_shapes, (path, reader))
            readers.append(reader)
        except (SlideError, RuntimeError) as error:
            log.warning("left out: %s: %s", path, error)
    regions = tuple(_amid(shape) for shape in shapes)
    strip, block = STRIP, BLOCK
    if regions:
        _, _, height, width = regions[0]
        while strip > 64 and min(height, width) <= strip * (workers - 1):
            strip //= 2
        while block > strip and -(-height // block) * -(-width // block) < 2 * workers:
            block //= 2
    source = Source(os.fspath(path), regions, strip, block, os.fspath(folder))
    if with_gpu and "cucim" in readers:
        readers.append(GPU)
    for reader in list(readers):
        try:
            for level in range(len(regions)):
                case = Case("load level", reader, level, "thread", 1, "whole")
                measuring.run_apart(functools.partial(run, source=source), case)
        except RuntimeError as error:
            log.warning("left out: %s: %s", path, error)
            readers.remove(reader)
    return source, readers


def _shapes(case):
    return slide_readers.open_slide(*case).shapes


def _amid(shape):
    """Give the middle of a level, beginning where strips of whole tiles can."""
    sizes = [min(side, MOST) for side in shape]
    return Region(*((side - size) // 2 // STRIP * STRIP for side, size in zip(shape, sizes, strict=True)), *sizes)


def list_cases(readers, *, levels, workers):
    """List what is to be measured.

    Parameters
    ----------
    readers : list of str
    levels : int
    workers : int
        The most; also measured are 1 and all powers of two below.

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
        if (kind == "num_workers" or reader != GPU)  # CUDA must not be forked
        and (kind != "num_workers" or reader != "openslide")  # it has no threads of its own
    ]
    return cases


def measure(cases, source, *, repeats):
    """Measure ways of loading.

    Parameters
    ----------
    cases : list of Case
    source : Source
    repeats : int

    Returns
    -------
    list of dict
        One row a case: median, least and most seconds of what `run` times; peak memory of the case's process and its
        workers, interpreters included, shared pages once, but those that only workers have seen not at all (some of
        ``process_shared`` with columns). Where it failed, or did not give the pixels that its reader gives of the
        whole level, there are no figures, and ``Error`` says why.
    """
    exact, sampled = (functools.partial(run, source=source, step=step) for step in (1, SAMPLE))
    failures = {}
    measured = measuring.measure(cases, sampled, repeats=repeats, untimed=exact, failures=failures)
    right = {}
    for case, each in measured.items():  # whole levels come first
        for step, answer in each.answers:
            if right.setdefault((case.reader, case.level, step), answer) != answer:
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
        **dict.fromkeys(FIGURES),
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


def run(case, *, source, step=1):
    """Load a slide, or a region of it, in one way.

    ``load level`` reads it whole and ``num_workers`` so with the reader's own threads. The others cut it into pieces,
    of which every thread or process takes the next when it is done with one. ``strips`` drops the pixels.
    ``assemble`` copies them into one array: threads into their common memory, a ``process`` sends them back through a
    pipe, and ``process_shared`` writes to an array in shared memory. ``zarr`` writes strips to a plain array (y, x, 3)
    of Zarr 3, as zarr does it, with threads of its own; blocks are written as Fieldwork's conversion does, as whole
    shards of planes, in one thread each, without the levels that follow. Both have chunks of the same side, zstd 1.

    Parameters
    ----------
    case : Case
    source : Source
    step : int
        Of the pixels that are compared.

    Returns
    -------
    seconds : float
        Includes starting (forking) the workers, opening a handle on the slide in each, decoding, and `slides`' own
        checks and turning into RGB; for a GPU, the start of its decoder; not that of CUDA or the interpreter, imports
        and laying out an empty Zarr store. The file is in the memory of the system, where there is enough; what is
        written may still be there when time ends.
    (step, digest) : (int, str)
        Of the pixels, for the same pixels the same in all ways.
    """
    if case.reader == GPU:
        import cupy

        cupy.zeros(1)  # starts CUDA
    importlib.import_module("cucim" if case.reader == GPU else case.reader)
    region = source.regions[case.level]
    with tempfile.TemporaryDirectory(dir=source.folder) as folder:
        seconds, checks = TASKS[case.task](case, source, region, step, os.path.join(folder, "a.zarr"))
    return seconds, (step, digest(checks))


def cut(region, shape, *, strip, block):
    """Cut a region into pieces.

    Parameters
    ----------
    region : Region
    shape : {'rows', 'columns', 'blocks'}
    strip, block : int
        Breadth of strips and side of blocks, in pixels; the last ones may have less.

    Returns
    -------
    list of Region
        In the region's coordinates: its corner is (0, 0).
    """
    high = {"rows": strip, "columns": region.height, "blocks": block}[shape]
    wide = {"rows": region.width, "columns": strip, "blocks": block}[shape]
    return [
        Region(y, x, min(high, region.height - y), min(wide, region.width - x))
        for y in range(0, region.height, high)
        for x in range(0, region.width, wide)
    ]


def check(pixels, y, x, *, side, step):
    """Give a checksum of every square of pixels, so that pieces of any shape can be compared.

    Parameters
    ----------
    pixels : (height, width, 3) uint8 array
    y, x : int
        Its place; multiples of `side`.
    side, step : int
        Of squares; of the pixels in them that count. In pixels.

    Returns
    -------
    dict of (int, int) to int
        Place of the square: checksum.
    """
    height, width = pixels.shape[:2]
    return {
        (y + top, x + left): zlib.crc32(
            np.ascontiguousarray(pixels[top : top + side : step, left : left + side : step])
        )
        for top in range(0, height, side)
        for left in range(0, width, side)
    }


def digest(checks):
    """Give one text for the checksums of all squares."""
    lines = "".join(f"{y} {x} {checksum}\n" for (y, x), checksum in sorted(checks.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


class OnGpu:
    """A slide that cuCIM decodes on the GPU.

    For measuring only: its JPEG decoder (nvJPEG, in cuCIM itself) need not round as the processor's does, and a store
    must not depend on the machine that it was made on. Nor are its pixels compared with those of other readers.
    """

    device = "cuda"

    def __init__(self, path):
        from cucim import CuImage

        self._slide = CuImage(path)

    def read(self, level, y, x, height, width, workers):
        """Do as `slides.Slide.read`, inside the slide, in batches of squares; copies to the host included."""
        downsample = self._slide.resolutions["level_downsamples"][level]
        squares = cut(Region(y, x, height, width), "blocks", strip=STRIP, block=STRIP)
        size = [min(STRIP, side) for side in self._slide.size("XY")]  # cuCIM refuses more than level 0 has
        # It takes pixels of level 0; the last squares, which have less, go on over the border.
        places = [[math.ceil((at + first) * downsample) for at, first in ((s.x, x), (s.y, y))] for s in squares]
        options = {"num_workers": workers, "batch_size": BATCH, "device": self.device}
        batches = self._slide.read_region(places, size, level, **options)
        pixels = np.empty((height, width, 3), np.uint8)
        decoded = itertools.chain.from_iterable(map(self._to_host, batches))
        for square, image in zip(squares, decoded, strict=True):
            _copy(pixels, image[: square.height, : square.width, :3], square.y, square.x)
        return pixels

    def _to_host(self, batch):
        import cupy

        return cupy.asnumpy(cupy.asarray(batch))


class Load:
    """Read a piece in a worker, with a handle of its own, and do something with it there."""

    def __init__(self, case, source, region, then):
        self.case, self.path, self.region, self.then = case, source.path, region, then

    def __call__(self, piece):
        if not hasattr(_own, "slide"):
            with _opening:
                _own.slide = slide_readers.open_slide(self.path, self.case.reader)
        y, x, height, width = piece
        pixels = _own.slide.read(self.case.level, self.region.y + y, self.region.x + x, height, width)
        return self.then(pixels, y, x)


def _each(load, pieces, *, kind, workers):
    """Yield what workers give for pieces, in their order."""
    if kind == "thread":
        with ThreadPoolExecutor(workers) as threads:
            yield from threads.map(load, pieces)
    else:  # forked with what they share
        yield from parallel.map_frames(load, pieces, mode="fork", workers=workers)


def _load_whole(case, source, region, step, store):
    start = time.perf_counter()
    open_slide = OnGpu if case.reader == GPU else functools.partial(slide_readers.open_slide, reader=case.reader)
    pixels = open_slide(source.path).read(case.level, *region, workers=case.workers)
    return time.perf_counter() - start, check(pixels, 0, 0, side=source.strip, step=step)


def _load_strips(case, source, region, step, store):
    load = Load(case, source, region, functools.partial(check, side=source.strip, step=step))
    start = time.perf_counter()
    pieces = cut(region, case.shape, strip=source.strip, block=source.block)
    checks = list(_each(load, pieces, kind=case.kind, workers=case.workers))
    return time.perf_counter() - start, functools.reduce(dict.__or__, checks)


def _assemble(case, source, region, step, store):
    shape = region.height, region.width, 3
    start = time.perf_counter()
    pieces = cut(region, case.shape, strip=source.strip, block=source.block)
    if case.kind == "process_shared":
        image = np.frombuffer(mmap.mmap(-1, int(np.prod(shape))), np.uint8).reshape(shape)
    else:
        image = np.empty(shape, np.uint8)
    then = _give if case.kind == "process" else functools.partial(_copy, image)
    results = _each(Load(case, source, region, then), pieces, kind=case.kind, workers=case.workers)
    for piece, pixels in zip(pieces, results, strict=True):
        if pixels is not None:
            _copy(image, pixels, piece.y, piece.x)
    return time.perf_counter() - start, check(image, 0, 0, side=source.strip, step=step)


def _give(pixels, y, x):
    return pixels


def _copy(image, pixels, y, x):
    image[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels


def _into_zarr(case, source, region, step, store):
    lay_out, open_array, write, read = (
        (_lay_out_blocks, _open_blocks, slides.write_block, slides.read_block)
        if case.shape == "blocks"
        else (_lay_out_strips, _open_strips, _write_strip, _read_strip)
    )
    # In a process of its own: zarr starts a thread, and a fork is to follow.
    list(parallel.map_frames(functools.partial(lay_out, region=region, source=source), [store]))
    start = time.perf_counter()
    pieces = cut(region, case.shape, strip=source.strip, block=source.block)
    load = Load(case, source, region, functools.partial(_write, open_array, write, store))
    list(_each(load, pieces, kind=case.kind, workers=case.workers))
    seconds = time.perf_counter() - start
    array, checks, side = open_array(store), {}, source.strip
    for y, x, height, width in cut(region, "blocks", strip=side, block=side):
        checks |= check(read(array, y, x, height, width), y, x, side=side, step=step)
    return seconds, checks


def _write(open_array, write, store, pixels, y, x):
    if not hasattr(_own, "array"):
        _own.array = open_array(store)
    write(_own.array, pixels, y, x)


def _lay_out_strips(store, *, region, source):
    shape, chunks = (region.height, region.width, 3), (source.strip, source.strip, 3)
    zarr.create_array(store, shape=shape, chunks=chunks, dtype="uint8", compressors=zarr.codecs.ZstdCodec(level=1))


def _open_strips(store):
    return zarr.open_array(store, mode="r+")


def _write_strip(array, pixels, y, x):
    array[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels


def _read_strip(array, y, x, height, width):
    return array[y : y + height, x : x + width]


def _lay_out_blocks(store, *, region, source):
    slides.create_slide(
        store,
        shape=(region.height, region.width),
        version="0.5",
        chunk=source.strip,
        shard=source.block,
        codec="zstd",
        level=1,
        mpp=None,
        name="benchmark",
    )


def _open_blocks(store):
    return slides.open_levels(store)[0]


TASKS = {
    "load level": _load_whole,
    "strips": _load_strips,
    "num_workers": _load_whole,
    "assemble": _assemble,
    "zarr": _into_zarr,
}
