"""Convert a slide to OME-Zarr block by block. A killed conversion resumes."""

import base64
import functools
import hashlib
import itertools
import json
import logging
import os
import shutil
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fieldwork import InputError, WorkerDied, outputs, parallel
from fieldwork.omezarr import metadata, slides
from fieldwork.slides import SlideError, SlideNotReadError, examination, ground, jpeg, overview, readers
from fieldwork.slides.inside.copies import copied
from fieldwork.slides.inside.slide import refuse_unread
from fieldwork.slides.metadata import Wanted
from fieldwork.surroundings.unread import patient

ICC_PROFILE = "profile.icc"  # in the store
LARGEST_BLOCK_BYTES = 2**25  # of many channels; a worker holds some copies of a block
CRASH_REASON = "its decoder crashed"

log = logging.getLogger(__name__)


class Block(NamedTuple):
    """A square of one level, which a worker reads once to write it and the levels that follow from it."""

    level: int
    y: int
    x: int

    def __str__(self):
        return f"the block at row {self.y}, column {self.x} of level {self.level}"


class Plan(NamedTuple):
    """Source, store and layout of a conversion, for every worker."""

    path: str
    reader: str
    store: str  # under its temporary name
    size: int  # px: the side of a block
    chunk: int  # px
    shard: int  # px
    keep: bool  # the slide's JPEG tiles as they are
    factor: int  # px: the side of the overview's squares
    picture: int | None = None  # of the file; None: the one that `series.choose` chooses
    copies: str | None = None  # folder with copies of its long tiles and strips
    channels: int = 3
    dtype: str = "uint8"
    ground: int = 255  # where the slide has no pixels, or none that can be decoded; 0: in fluorescence

    @property
    def depth(self) -> int:
        """Return the number of levels that follow from a block in whole chunks."""
        return (self.size // self.chunk).bit_length() - 1

    def blank(self, height: int, width: int) -> np.ndarray:
        """Return the pixels that stand for those that cannot be decoded."""
        return np.full((height, width, self.channels), self.ground, self.dtype)


class Ledger:
    """The finished blocks, in a file beside the store, from which a killed conversion resumes.

    Parameters
    ----------
    path : pathlib.Path
        One line for the identity, and one for every block.
    identity : list
        Source, settings and code: a conversion of another identity does not resume.

    Attributes
    ----------
    begun : bool
        The file exists and has this identity.
    done : dict of Block to list
        The tiles of each finished block that could not be decoded.
    sums : dict of Block to str
        The sums of each finished block of level 0 (`overview.packed_sums`), in base64.
    """

    def __init__(self, path: Path, identity: list) -> None:
        self.path = path
        self.identity = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        self.begun = lines[:1] == [f"{self.identity}\n"]
        complete = [line for line in lines[1:] if line.endswith("\n")]  # a killed writer may leave half a line
        entries = [json.loads(line) for line in complete] if self.begun else []
        self.done = {Block(*block): failed for block, failed, _ in entries}
        self.sums = {Block(*block): sums for block, _, sums in entries if sums}

    def start(self) -> None:
        """Write the identity and the blocks that are done, without half a line."""
        with outputs.atomic_file(self.path) as part:
            entries = [json.dumps([block, failed, self.sums.get(block, "")]) for block, failed in self.done.items()]
            part.write_text("\n".join([self.identity, *entries, ""]), encoding="utf-8")

    def enter(self, block: Block, failed: list, packed: bytes) -> None:
        """Add a finished block.

        Parameters
        ----------
        block : Block
        failed : list
            [y, x, height, width, reason] of each tile that could not be decoded.
        packed : bytes
            `overview.packed_sums` of a block of level 0, otherwise empty.
        """
        self.done[block] = failed
        sums = base64.b64encode(packed).decode()
        if sums:
            self.sums[block] = sums
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps([block, failed, sums]) + "\n")


def convert(
    path: str | PathLike,
    store: str | PathLike,
    *,
    reader: str,
    version: str,
    chunk: int,
    shard: int,
    codec: str,
    level: int,
    on_bad_image: str,
    workers: int,
    made_by: str,
    progress: bool | str = False,
    origin: str | None = None,
    modality: str | None = None,
    series: int | None = None,
    nuclei_channel: str | None = None,
    mpp: float | None = None,
    magnification: float | None = None,
    keep_associated: bool = True,
    keep_properties: bool = True,
) -> dict[str, Any]:
    """Convert a slide to OME-Zarr block by block. A killed conversion resumes.

    Parameters
    ----------
    path : path-like
        The slide's file.
    store : path-like
        It appears when it is complete. Until then it grows there under a hidden name. After a kill, a second call
        with the same arguments resumes there.
    reader : str
        One of `readers.READERS`, or ``auto``.
    version, chunk, shard, codec, level
        As for `omezarr.slides.create_slide`; ``keep`` becomes ``zstd`` where slide or version does not allow it.
    on_bad_image : {'record', 'stop'}
        A tile that cannot be decoded is left blank and listed, or ends the conversion.
    workers : int
        Processes, each with its own handle on the slide.
    made_by : str
        Digest of the code.
    progress : bool or str
        As for `parallel.map_frames`.
    origin : str, optional
        The slide's own path or URL, if `path` is a copy.
    modality : {'he', 'hdab', 'brightfield', 'fluorescence'}, optional
        What the slide is; by default its metadata and its overview decide.
    series : int, optional
        Number of the picture in the file, from 0; by default that which `series.choose` chooses.
    nuclei_channel : str, optional
        Name of the channel with the nuclei, of fluorescence; by default that of a DNA stain, in colour blue.
    mpp, magnification : float, optional
        What the sheet states of the slide: micrometres per pixel, nominal magnification.
    keep_associated, keep_properties : bool
        Keep label and macro pictures in the store; keep the vendor's properties there and in what is returned.

    Returns
    -------
    dict
        The slide's part of ``slide.json``: sizes, levels, mpp, reader, codec and modality with reasons, tissue, failed
        tiles and their share of the pixels, warnings.

    Raises
    ------
    SlideError
        The slide cannot be opened, or nothing says which of its channels or colours shows the nuclei.
    InputError
        ``stop``, and a tile cannot be decoded; the message names its position.
    """
    path, store = os.fspath(path), Path(store)
    examination.check_claims(path)
    wanted = Wanted(mpp, magnification, keep_associated, keep_properties)
    options = {"reader": reader, "codec": codec, "version": version, "nuclei_channel": nuclei_channel}
    with copied(path, series, store.with_name(f".{store.name}.copies"), workers=workers, progress=progress) as copies:
        examined = examination.examine(path, picture=series, wanted=wanted, copies=copies, modality=modality, **options)
        facts = examined.facts
        shape = facts["height"], facts["width"]
        facts["tissue_factor"] = overview.factor_of(facts["mpp"], shape)
        plan = _plan(path, store, examined, chunk=chunk, shard=shard, picture=series, copies=copies)
        identity = [plan, version, facts["codec"], level, made_by, shape, modality, examination.stamps_of(path)]
        identity += [facts["mpp"], keep_properties]  # both are in the store as soon as it is laid out
        ledger = Ledger(store.with_name(f".{store.name}.blocks"), identity)
        if ledger.begun and Path(plan.store).exists():
            log.info("%s: resumes after %d blocks that were done before", path, len(ledger.done))
        else:
            ledger.done.clear()
            ledger.sums.clear()
            # First: it may describe another store than the one that is laid out now.
            ledger.path.unlink(missing_ok=True)
            parallel.call_in_process(path, _lay_out, plan, examined, version, level, origin or path)
        ledger.start()
        facts["levels"] = metadata.level_shapes(*shape, chunk=plan.chunk)
        _fill(plan, ledger, facts["levels"], on_bad_image=on_bad_image, workers=workers, progress=progress)
    facts["failed_tiles"] = sorted(tile for failed in ledger.done.values() for tile in failed)
    facts["failed_share"] = sum(tile[2] * tile[3] for tile in facts["failed_tiles"]) / (shape[0] * shape[1])
    facts |= _finish(plan, facts, examined.associated, ledger, modality, nuclei_channel)
    del facts["fluorescence_stated"]
    for text in facts["warnings"]:
        log.warning("%s: %s", path, text)
    shutil.rmtree(store, ignore_errors=True)
    os.rename(plan.store, store)
    ledger.path.unlink()
    return facts


def discard(store: str | PathLike) -> None:
    """Delete a store, and the remains of a killed conversion to it."""
    store = Path(store)
    for folder in (store, *(store.with_name(f".{store.name}.{remains}") for remains in ("part", "copies"))):
        shutil.rmtree(folder, ignore_errors=True)
    store.with_name(f".{store.name}.blocks").unlink(missing_ok=True)


def _plan(path, store, examined, *, chunk, shard, picture, copies=None):
    """Plan a conversion; kept JPEG tiles are the chunks; many channels make smaller chunks and shards."""
    tile, count, dtype = examined.tile, len(examined.channels) or 3, examined.dtype
    chunk = tile or chunk
    while count * np.dtype(dtype).itemsize * (2 * chunk) ** 2 > LARGEST_BLOCK_BYTES and examined.channels:
        chunk //= 2
    ratio = 2 ** (max(shard // chunk, 1).bit_length() - 1)  # as configured, unless kept tiles are of another size
    while ratio > 1 and count * np.dtype(dtype).itemsize * (ratio * chunk) ** 2 > 3 * max(shard, 2 * chunk) ** 2:
        ratio //= 2
    chunks = max(ratio, 2)  # along a block's side: a single one would leave no complete chunk on the next level
    return Plan(
        path=path,
        reader=examined.facts["reader"],
        store=os.fspath(store.with_name(f".{store.name}.part")),
        size=chunks * chunk,
        chunk=chunk,
        shard=ratio * chunk,
        keep=bool(tile),
        factor=examined.facts["tissue_factor"],
        picture=picture,
        copies=copies,
        channels=count,
        dtype=dtype,
        ground=0 if examined.facts["fluorescence"] else 255,
    )


def _lay_out(plan, examined, version, level, origin):
    """Create an empty store, with the slide's colour profile as a file."""
    facts, profile = examined.facts, examined.icc_profile
    shutil.rmtree(plan.store, ignore_errors=True)
    kept = {"icc_profile": ICC_PROFILE} if profile else {}
    slides.create_slide(
        plan.store,
        shape=(facts["height"], facts["width"]),
        version=version,
        chunk=plan.chunk,
        shard=plan.shard,
        codec=facts["codec"],
        level=level,
        mpp=facts["mpp"],
        name=Path(plan.path).name,
        channels=examined.channels or slides.RGB_CHANNELS,
        dtype=plan.dtype,
        attributes={"path": origin, "properties": facts["properties"], **kept},
    )
    if profile:
        Path(plan.store, ICC_PROFILE).write_bytes(profile)


def _fill(plan, ledger, levels, *, on_bad_image, workers, progress):
    """Write all pixels of a store: level 0 and the levels that follow from its blocks, then the next such group."""
    for source in range(0, max(len(levels) - 1, 1), plan.depth):
        blocks = [
            Block(source, y, x)
            for y in range(0, levels[source][0], plan.size)
            for x in range(0, levels[source][1], plan.size)
        ]
        _convert_blocks(
            [block for block in blocks if block not in ledger.done],
            plan,
            ledger,
            on_bad_image=on_bad_image,
            workers=workers,
            progress=progress and f"{progress} level {source}",
        )


def _convert_blocks(blocks, plan, ledger, *, on_bad_image, workers, progress):
    """Convert blocks and enter them in the ledger; those that crash the reader stay blank."""
    function = functools.partial(_convert_block, plan=plan)
    results = parallel.map_frames(function, blocks, workers=workers, progress=progress, on_crash=lambda *_: None)
    crashed = []
    for block, result in zip(blocks, results, strict=True):
        if result is None:
            crashed.append(block)
            continue
        failed, packed = result
        if failed and on_bad_image == "stop":
            y, x, height, width, reason = failed[0]
            raise InputError(
                f"{plan.path}: {height} x {width} px at row {y}, column {x} of level 0 cannot be decoded: {reason}. "
                "The run stops at a bad image because of on_bad_image: stop."
            )
        ledger.enter(block, failed, packed)
    if crashed and (crashed[0].level or not plan.reader):
        raise WorkerDied(f"a worker crashed on {crashed[0]} while it wrote the store")
    if crashed:
        plan = plan._replace(reader="")  # again, without reading the slide: blank, and listed
        _convert_blocks(crashed, plan, ledger, on_bad_image=on_bad_image, workers=workers, progress=False)


@functools.cache
def _slide(path, reader, picture, copies, ground):
    slide = readers.open_slide(path, reader, picture, copies=copies)
    slide.fluorescence = ground == 0  # decided once, maybe by the user: gaps are filled in by it
    return slide


@functools.cache
def _tiles(path, picture):
    return jpeg.jpeg_tiles(path, picture)


def _convert_block(block, *, plan):
    """Write one block and what follows from it.

    Return [y, x, height, width, reason] of undecodable tiles, and the sums of a block of level 0.
    """
    levels = slides.cached_levels(plan.store)
    array, y, x = levels[block.level], block.y, block.x
    height, width = min(plan.size, array.shape[1] - y), min(plan.size, array.shape[2] - x)
    failed, packed = [], b""
    if block.level:
        pixels = slides.read_block(array, y, x, height, width)
    else:
        pixels, failed = _read(plan, y, x, height, width)
        if plan.keep:
            _keep(plan, pixels, y, x, failed)
        else:
            slides.write_block(array, pixels, y, x)
        packed = overview.packed_sums(_decoded(pixels, y, x, failed), y, x, factor=plan.factor)
    for level in range(block.level + 1, min(block.level + 1 + plan.depth, len(levels))):
        pixels, y, x = metadata.halved(pixels), y // 2, x // 2
        if plan.keep:
            slides.write_jpegs(plan.store, level, pixels, y, x, tile=plan.chunk)
        else:
            slides.write_block(levels[level], pixels, y, x)
    return failed, packed


def _decoded(pixels, y, x, failed):
    """Return a block's pixels, with 0 where they could not be decoded."""
    if failed:
        pixels = pixels.copy()
    for top, left, height, width, _ in failed:
        pixels[top - y : top - y + height, left - x : left - x + width] = 0
    return pixels


def _read(plan, y, x, height, width):
    """Read a part of level 0; if that fails, read it tile by tile; tiles that fail are blank."""
    if not plan.reader:
        return plan.blank(height, width), [[y, x, height, width, CRASH_REASON]]
    try:
        return _region(plan, y, x, height, width), []
    except SlideError as error:
        refuse_unread(error)
        pixels, failed = plan.blank(height, width), []
    tile = _slide(plan.path, plan.reader, plan.picture, plan.copies, plan.ground).tile
    for top, bottom in _cuts(y, height, tile[0]):
        for left, right in _cuts(x, width, tile[1]):
            try:
                pixels[top - y : bottom - y, left - x : right - x] = _region(
                    plan, top, left, bottom - top, right - left
                )
            except SlideError as error:
                refuse_unread(error)
                failed.append([top, left, bottom - top, right - left, str(error)])
    return pixels, failed


@patient
def _region(plan, y, x, height, width):
    """Read a region of level 0; what lies outside the file fails the slide, as a blank tile would stay."""
    try:
        slide = _slide(plan.path, plan.reader, plan.picture, plan.copies, plan.ground)
        return slide.read(0, y, x, height, width)
    except SlideNotReadError:
        _slide.cache_clear()  # the open file may be of no use any more
        raise


def _cuts(start, length, step):
    """Yield (begin, end) of the pieces of a range that is cut at the multiples of a step."""
    edges = [start, *range(start - start % step + step, start + length, step), start + length]
    return itertools.pairwise(edges)


def _keep(plan, pixels, y, x, failed):
    """Store the JPEG tiles of a part of level 0 as they are; those that failed or cannot be kept as new JPEGs."""
    tiles, size = _tiles(plan.path, plan.picture), plan.chunk
    for top in range(y, y + pixels.shape[0], size):
        for left in range(x, x + pixels.shape[1], size):
            if not any(fy <= top < fy + fh and fx <= left < fx + fw for fy, fx, fh, fw, _ in failed):
                try:
                    stream = tiles.read(top // size, left // size)
                except SlideError as error:  # absent, clipped to the picture, progressive ...
                    refuse_unread(error)
                else:
                    slides.put_tile(plan.store, 0, top // size, left // size, stream)
                    continue
            part = pixels[top - y : top - y + size, left - x : left - x + size]
            slides.write_jpegs(plan.store, 0, part, top, left, tile=size)


def _finish(plan, facts, associated, ledger, modality, nuclei_channel):
    """Add the associated images and the label of tissue; return what the overview shows."""
    for name in ("associated", "labels"):  # left by a run that was killed at this point
        shutil.rmtree(Path(plan.store, name), ignore_errors=True)
    for name, image in associated.items():
        slides.add_associated(plan.store, name, image)
    shape = facts["height"], facts["width"]
    picture = overview.Overview(shape, factor=plan.factor, channels=plan.channels, dtype=plan.dtype)
    while ledger.sums:  # some 100 MB of a large slide
        block, sums = ledger.sums.popitem()
        height, width = (min(plan.size, side - first) for side, first in zip(shape, block[1:], strict=True))
        picture.add(block.y, block.x, height, width, base64.b64decode(sums))
    read = functools.partial(slides.read_block, slides.open_levels(plan.store)[0])
    mask, seen = ground.describe(picture, facts, modality, read, nuclei_channel)
    slides.add_label(plan.store, "tissue", mask.astype(np.uint8), factor=plan.factor, mpp=facts["mpp"])
    return seen | {"warnings": facts["warnings"] + seen["warnings"]}
