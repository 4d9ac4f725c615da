"""Tasks of loading a slide: read a level, read pieces in workers, assemble them, write them as Zarr."""

from __future__ import annotations

import functools
import hashlib
import importlib
import itertools
import math
import mmap
import os
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import zarr

from fieldwork import parallel
from fieldwork.omezarr import slides
from fieldwork.slides import readers as slide_readers

GPU_READER = "cucim, GPU"  # only some machines have it
GPU_SQUARE_PX = 512  # side of the squares that it decodes
GPU_BATCH_SQUARES = 16  # that it decodes at once

_own = threading.local()  # a worker's own handles, whether it is a thread or a process
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
    """The regions of a slide to load, and the sizes of their pieces."""

    path: str
    regions: tuple[Region, ...]  # by level
    strip: int  # px, breadth of strips and side of Zarr's chunks
    block: int  # px, side of blocks and of Zarr's shards: a power of two times the strip
    folder: str  # for Zarr arrays


def run(case: Case, *, source: Source, step: int = 1) -> tuple[float, tuple[int, str]]:
    """Load the region of a level in one way.

    ``load level`` reads it in one call; ``num_workers`` does too, with the reader's own threads. The other tasks cut
    it into pieces, of which a thread or process takes the next as soon as it is done with one. ``strips`` drops the
    pixels. ``assemble`` copies them into one array: threads into their common memory, a ``process`` sends them back
    through a pipe, and ``process_shared`` writes to an array in shared memory. ``zarr`` writes strips to a plain array
    (y, x, 3) of Zarr 3, which zarr does in threads of its own; it writes blocks as Fieldwork's conversion does: as
    complete shards of planes, each in one thread, without the levels that follow. Both have chunks of the same side
    and zstd 1.

    Parameters
    ----------
    case : Case
    source : Source
    step : int
        Every `step`-th pixel of every `step`-th row is compared.

    Returns
    -------
    seconds : float
        These include the start (fork) of the workers, a handle on the slide in every worker, decoding, the checks of
        `readers` and the conversion to RGB; for a GPU, the start of its decoder. They exclude the start of CUDA and of
        the interpreter, imports, and the creation of an empty Zarr store. The system has the file in memory if it has
        enough, and what was written may not be on the disk yet.
    (step, digest) : (int, str)
        Of the pixels; equal for equal pixels in all ways.
    """
    if case.reader == GPU_READER:
        import cupy

        cupy.zeros(1)  # starts CUDA
    importlib.import_module("cucim" if case.reader == GPU_READER else case.reader)
    region = source.regions[case.level]
    with tempfile.TemporaryDirectory(dir=source.folder) as folder:
        seconds, checks = TASKS[case.task](case, source, region, step, os.path.join(folder, "a.zarr"))
    return seconds, (step, digest(checks))


def cut(region: Region, shape: str, *, strip: int, block: int) -> list[Region]:
    """Cut a region into pieces.

    Parameters
    ----------
    region : Region
    shape : {'rows', 'columns', 'blocks'}
    strip, block : int
        Breadth of strips and side of blocks, in pixels; the last pieces may have less.

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


def check(pixels: np.ndarray, y: int, x: int, *, side: int, step: int) -> dict[tuple[int, int], int]:
    """Return a checksum of every square of pixels, so that pieces of any shape can be compared.

    Parameters
    ----------
    pixels : (height, width, 3) uint8 array
    y, x : int
        Corner of the pixels in the region; multiples of `side`.
    side : int
        Of the squares, in pixels.
    step : int
        Every `step`-th pixel of every `step`-th row of a square counts.

    Returns
    -------
    dict of (int, int) to int
        Corner of the square (y, x) -> checksum.
    """
    height, width = pixels.shape[:2]
    return {
        (y + top, x + left): zlib.crc32(
            np.ascontiguousarray(pixels[top : top + side : step, left : left + side : step])
        )
        for top in range(0, height, side)
        for left in range(0, width, side)
    }


def digest(checks: dict[tuple[int, int], int]) -> str:
    """Return one digest of the checksums of all squares."""
    lines = "".join(f"{y} {x} {checksum}\n" for (y, x), checksum in sorted(checks.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


class OnGpu:
    """A slide that cuCIM decodes on the GPU.

    Only for measuring: its JPEG decoder (nvJPEG, in cuCIM itself) may round differently, and a store must
    not depend on the machine that made it. Nor are its pixels compared with those of other readers.
    """

    device = "cuda"

    def __init__(self, path: str | os.PathLike):
        from cucim import CuImage

        self._slide = CuImage(path)

    def read(self, level: int, y: int, x: int, height: int, width: int, workers: int) -> np.ndarray:
        """Read a region inside the slide as `readers.Slide.read` does, in batches of squares, to host memory."""
        downsample = self._slide.resolutions["level_downsamples"][level]
        squares = cut(Region(y, x, height, width), "blocks", strip=GPU_SQUARE_PX, block=GPU_SQUARE_PX)
        size = [min(GPU_SQUARE_PX, side) for side in self._slide.size("XY")]  # cuCIM refuses more than level 0 has
        # cuCIM counts in pixels of level 0; the last squares, which are smaller, reach over the border.
        corners = [
            [math.ceil((at + first) * downsample) for at, first in ((square.x, x), (square.y, y))] for square in squares
        ]
        options = {"num_workers": workers, "batch_size": GPU_BATCH_SQUARES, "device": self.device}
        batches = self._slide.read_region(corners, size, level, **options)
        pixels = np.empty((height, width, 3), np.uint8)
        decoded = itertools.chain.from_iterable(map(self._to_host, batches))
        for square, image in zip(squares, decoded, strict=True):
            _copy(pixels, image[: square.height, : square.width, :3], square.y, square.x)
        return pixels

    def _to_host(self, batch):
        import cupy

        return cupy.asnumpy(cupy.asarray(batch))


class Load:
    """Reads a piece in a worker, with the worker's own handle, and passes the pixels to a function there."""

    def __init__(self, case: Case, source: Source, region: Region, then: Callable):
        self.case, self.path, self.region, self.then = case, source.path, region, then

    def __call__(self, piece):
        if not hasattr(_own, "slide"):
            with _opening:
                _own.slide = slide_readers.open_slide(self.path, self.case.reader)
        y, x, height, width = piece
        pixels = _own.slide.read(self.case.level, self.region.y + y, self.region.x + x, height, width)
        return self.then(pixels, y, x)


def _map_pieces(load, pieces, *, kind, workers):
    """Yield the workers' results of pieces, in the order of the pieces."""
    if kind == "thread":
        with ThreadPoolExecutor(workers) as threads:
            yield from threads.map(load, pieces)
    else:  # forked workers inherit the memory that they share
        yield from parallel.map_frames(load, pieces, mode="fork", workers=workers)


def _load_in_one_call(case, source, region, step, store):
    start = time.perf_counter()
    open_slide = OnGpu if case.reader == GPU_READER else functools.partial(slide_readers.open_slide, reader=case.reader)
    pixels = open_slide(source.path).read(case.level, *region, workers=case.workers)
    return time.perf_counter() - start, check(pixels, 0, 0, side=source.strip, step=step)


def _load_strips(case, source, region, step, store):
    load = Load(case, source, region, functools.partial(check, side=source.strip, step=step))
    start = time.perf_counter()
    pieces = cut(region, case.shape, strip=source.strip, block=source.block)
    checks = list(_map_pieces(load, pieces, kind=case.kind, workers=case.workers))
    return time.perf_counter() - start, functools.reduce(dict.__or__, checks)


def _assemble(case, source, region, step, store):
    shape = region.height, region.width, 3
    start = time.perf_counter()
    pieces = cut(region, case.shape, strip=source.strip, block=source.block)
    if case.kind == "process_shared":
        image = np.frombuffer(mmap.mmap(-1, int(np.prod(shape))), np.uint8).reshape(shape)
    else:
        image = np.empty(shape, np.uint8)
    then = _pixels_of if case.kind == "process" else functools.partial(_copy, image)
    results = _map_pieces(Load(case, source, region, then), pieces, kind=case.kind, workers=case.workers)
    for piece, pixels in zip(pieces, results, strict=True):
        if pixels is not None:
            _copy(image, pixels, piece.y, piece.x)
    return time.perf_counter() - start, check(image, 0, 0, side=source.strip, step=step)


def _pixels_of(pixels, y, x):
    return pixels


def _copy(image, pixels, y, x):
    image[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels


def _into_zarr(case, source, region, step, store):
    lay_out, open_array, write, read = (
        (_lay_out_blocks, _open_blocks, slides.write_block, slides.read_block)
        if case.shape == "blocks"
        else (_lay_out_strips, _open_strips, _write_strip, _read_strip)
    )
    # In a process of its own: zarr starts a thread, and a fork follows.
    list(parallel.map_frames(functools.partial(lay_out, region=region, source=source), [store]))
    start = time.perf_counter()
    pieces = cut(region, case.shape, strip=source.strip, block=source.block)
    load = Load(case, source, region, functools.partial(_write, open_array, write, store))
    list(_map_pieces(load, pieces, kind=case.kind, workers=case.workers))
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
    "load level": _load_in_one_call,
    "strips": _load_strips,
    "num_workers": _load_in_one_call,
    "assemble": _assemble,
    "zarr": _into_zarr,
}
