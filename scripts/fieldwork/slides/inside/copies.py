"""Decode the long tiles and strips of a TIFF slide once, into files from which parts are read."""

import contextlib
import functools
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fieldwork import outputs, parallel
from fieldwork.decoding import DecodeError
from fieldwork.inputs.inside import headers, slide_files
from fieldwork.slides.inside.slide import refuse_unread
from fieldwork.slides.inside.tiff_slide import TiffSlide

BATCH_BYTES = 2**24  # of decoded strips: as many as a worker decodes at a time. Larger ones are decoded one by one
CRASH_REASON = "its decoder crashed"
MOST_OF_DISK = 0.4  # of what is free: the store needs about as much

log = logging.getLogger(__name__)


class _Batch(NamedTuple):
    """Tiles or strips of a plane of a level, which go into one file."""

    copy: str  # path of the file
    level: int
    plane: int
    numbers: list[int]

    def __str__(self):
        return f"tiles or strips {self.numbers[0]} to {self.numbers[-1]} of level {self.level}"


@contextlib.contextmanager
def copied(
    path: str, picture: int | None, folder: str | os.PathLike, *, workers: int, progress: bool | str = False
) -> Iterator[str]:
    """Decode the long tiles and strips of a slide into a folder, which is deleted when the block ends.

    Parameters
    ----------
    path : str
        Any slide.
    picture : int or None
        As for `readers.open_slide`.
    folder : path-like
        It does not appear where no tile or strip is long, or where there is no room for their decoded pixels.
    workers : int
        Processes. Tiles and strips of more than `BATCH_BYTES` are decoded one by one, as memory allows.
    progress : bool or str
        As for `parallel.map_frames`.

    Yields
    ------
    str
        The folder, for `readers.open_slide`.
    """
    folder = os.fspath(folder)
    shutil.rmtree(folder, ignore_errors=True)  # of a killed conversion, perhaps of another file
    try:
        if any(map(headers.decoding_mb, slide_files.files_of(path))):
            _copy_all(path, picture, folder, workers, progress)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy_all(path, picture, folder, workers, progress):
    """Copy all long tiles and strips; readers do without copies where this fails."""
    slide = path, picture, folder
    [(batches, needed, largest)] = parallel.map_frames(_batches, [slide], on_crash=lambda *_: ([], 0, 0))
    faults = {batch.copy: {} for batch in batches}
    try:
        os.makedirs(folder)
        if needed > MOST_OF_DISK * (free := shutil.disk_usage(folder).free):
            raise OSError(f"{needed / 1e6:.0f} MB of the {free / 1e6:.0f} that are free beside the store")
        for copy in faults:
            Path(copy).touch()
        results = parallel.map_frames(
            functools.partial(_decode, slide=slide),
            batches,
            workers=1 if largest > BATCH_BYTES else workers,
            progress=progress and f"{progress} strips",
            on_crash=lambda batch, _: dict.fromkeys(batch.numbers, CRASH_REASON),
        )
        for batch, failed in zip(batches, results, strict=True):
            faults[batch.copy] |= failed
        for copy, failed in faults.items():
            outputs.write_json(failed, f"{copy}.json")
    except OSError as error:
        log.warning("%s: its long tiles or strips are decoded anew for every block: %s", path, error)
        shutil.rmtree(folder, ignore_errors=True)


@functools.cache  # in the worker
def _open(slide):
    path, picture, folder = slide
    return TiffSlide(path, picture, copies=folder, checks_alone=True)


def _batches(slide):
    """Return the batches of a slide, the size of their copies, and that of the largest tile or strip, in bytes."""
    try:
        planes = _open(slide).planes
    except Exception as error:  # damaged bytes make readers raise anything; the choice of a reader reports it
        refuse_unread(error)
        return [], 0, 0
    batches, needed, largest = [], 0, 0
    for level in sorted({0, len(planes) - 1}):  # others are not read
        for plane, parts in enumerate(planes[level]):
            if parts.copy is None:
                continue
            present, step = parts.segments.present(), max(1, BATCH_BYTES // parts.segment_bytes)
            groups = [present[first : first + step] for first in range(0, len(present), step)]
            batches += [_Batch(parts.copy, level, plane, group) for group in groups]
            needed += parts.segments.count * parts.segment_bytes
            largest = max(largest, parts.segment_bytes)
    return batches, needed, largest


def _decode(batch, *, slide):
    """Decode a batch into its file; return the tiles and strips that cannot be decoded, and why."""
    parts, faults = _open(slide).planes[batch.level][batch.plane], {}
    with open(batch.copy, "r+b") as file:
        for number in batch.numbers:
            try:
                parts.write_copy(number, file)
            except DecodeError as error:
                refuse_unread(error)
                faults[number] = str(error)
    return faults
