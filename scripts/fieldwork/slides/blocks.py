"""Blocks of a slide, in which nuclei are outlined and measured one after the other."""

import contextlib
import io
import json
import shutil
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np

from fieldwork import label_images, objects, outputs
from fieldwork.detection import cells
from fieldwork.frames import FrameError
from fieldwork.segmentation import detector
from fieldwork.segmentation.calibration import Calibration
from fieldwork.segmentation.working_copies import Extent, Levels
from fieldwork.slides import channels as slide_channels
from fieldwork.slides.tiles import MeasuredTile, Tile, look_at_tile
from fieldwork.surroundings.unread import failure_of
from fieldwork.tissue.samples import Block, in_mask, squares_of

BLOCK_PX = 2048  # of level 0; fixed, as nuclei are numbered block by block
STRIP_ROWS = 256  # that rings are drawn in at once
PACKED = ".npz.zst"  # ends the names of the files of finished blocks
MARGIN_PX = 1  # of the window around a block's nuclei: no nucleus touches its rim
RING = "Cytoplasm"  # prefix of what is measured in the ring around a nucleus
POSITIVE, MEAN = "Nuclei_Positive_{}", "Nuclei_Intensity_MeanIntensity_{}"


class BlockNuclei(NamedTuple):
    """The nuclei of a block, numbered 1..n by their first pixels, which lie in the block."""

    block: Block
    origin: tuple[int, int] = (0, 0)  # level-0 row and column of the window's first pixel
    shape: tuple[int, int] = (0, 0)  # rows and columns of the window, which holds the block's nuclei as a whole
    labels: bytes | None = None  # the window's label image, from `label_images.encode`: this block's nuclei; None: none
    measurements: dict[str, np.ndarray] = {}  # column -> (n,) array, in the slide's pixels; empty without nuclei
    error: str = ""  # why there are no nuclei: the block could not be read, or crashed its worker
    tiles: Sequence[MeasuredTile] = ()  # the tiles whose first pixels lie in the block, without their nuclei

    @property
    def count(self) -> int:
        """The number of nuclei."""
        return len(self.measurements["ObjectNumber"]) if self.measurements else 0


class Detection(NamedTuple):
    """How the nuclei of a slide are outlined and measured."""

    shape: tuple[int, int]  # height and width of level 0
    channels: slide_channels.Channels
    calibration: Calibration
    levels: Levels
    ring_px: float  # width of the ring around a nucleus
    positive: dict[str, float]  # channel -> mean intensity above which a nucleus is positive
    tissue_factor: float  # level-0 pixels per pixel of the mask
    method: str = "auto"  # of `outlining.METHODS`
    model: str | None = None  # path of the network's; None: the built-in one


def blocks_of(shape: tuple[int, int]) -> list[Block]:
    """Cut a slide into blocks of `BLOCK_PX`, row by row.

    Parameters
    ----------
    shape : (int, int)
        Height and width of level 0.
    """
    return squares_of(shape, side=BLOCK_PX)


def failed_block(block: Block, reason: str) -> BlockNuclei:
    """Return the failed result of a block that could not be measured."""
    return BlockNuclei(block, error=reason)


def measure_block(block: Block, *, read: Callable, mask: np.ndarray, detection: Detection) -> BlockNuclei:
    """Outline and measure the nuclei of one block: those in tissue whose first pixels lie in it.

    Parameters
    ----------
    block : Block
    read : callable
        ``read(row, column, height, width)`` returns (height, width, channels) pixels of level 0.
    mask : (h, w) bool array
        Tissue: pixel (i, j) covers level-0 pixels from (i, j) * `tissue_factor` on; the last ones reach to the border.
    detection : Detection

    Returns
    -------
    BlockNuclei

    Notes
    -----
    A block is read with a halo, in which nuclei are outlined too, so that two blocks see a nucleus in the same way and
    agree whose it is. Without tissue nearby it is not read.
    """
    window = _window_of(block, detection)
    (top, bottom), (left, right) = window
    rows, columns = (
        in_mask(np.arange(*span), detection.tissue_factor, side) for span, side in zip(window, mask.shape, strict=True)
    )
    if not mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].any():
        return BlockNuclei(block)
    try:
        pixels = read(top, left, bottom - top, right - left)
    except Exception as error:  # damaged bytes make decoders raise anything, as in `frames`
        return failed_block(block, failure_of(error))
    extent = Extent((top, left), detection.shape)
    labels = _labels_of(pixels, extent, detection)
    numbers = _own_numbers(labels, block, extent.origin)
    numbers = numbers[_are_in_tissue(labels, numbers, mask, rows, columns)]
    if not len(numbers):
        return BlockNuclei(block)
    return _measured(block, labels, numbers, pixels, extent, detection)


def measure_block_and_tiles(
    block: Block, *, read: Callable, mask: np.ndarray, detection: Detection, tile: int
) -> BlockNuclei:
    """Outline and measure the nuclei of one block, and look at its tiles, with pixels that are read once.

    Parameters
    ----------
    block, read, mask, detection
        As for `measure_block`.
    tile : int
        Side of the slide's tiles, in pixels.
    """
    read = _Reader(read)
    found = measure_block(block, read=read, mask=mask, detection=detection)
    return found._replace(tiles=_look_at_tiles(block, read, mask, detection, tile))


def failed_block_and_tiles(
    block: Block, reason: str, *, mask: np.ndarray, detection: Detection, tile: int
) -> BlockNuclei:
    """Return the failed result of a block that could not be measured, and of its tiles; arguments as for these."""

    def read(*_):
        raise FrameError(reason)

    looked = _look_at_tiles(block, read, mask, detection, tile)
    return failed_block(block, reason)._replace(tiles=looked)


def _look_at_tiles(block, read, mask, detection, side):
    """Look at the tiles whose first pixels lie in a block."""
    (height, width), factor = detection.shape, detection.tissue_factor
    rows, columns = (
        range(-(-first // side) * side, first + length, side)
        for first, length in zip(block[:2], block[2:], strict=True)
    )
    return tuple(
        look_at_tile(
            Tile(row, column, min(side, height - row), min(side, width - column)),
            read=read,
            mask=mask,
            factor=factor,
        )
        for row in rows
        for column in columns
    )


class _Reader:
    """Reads pixels; from the first ones that were read, where they hold others."""

    def __init__(self, read):
        self._read, self._first, self._pixels = read, (0, 0), None

    def __call__(self, row, column, height, width):
        if self._pixels is None:
            self._first, self._pixels = (row, column), self._read(row, column, height, width)
            return self._pixels
        top, left = row - self._first[0], column - self._first[1]
        if min(top, left) >= 0 and top + height <= len(self._pixels) and left + width <= self._pixels.shape[1]:
            return self._pixels[top : top + height, left : left + width]
        return self._read(row, column, height, width)


class Totals:
    """The numbers of outlined nuclei: of a slide, and of its tiles by centroid.

    Parameters
    ----------
    frames : list of Tile
        All tiles of a slide, row by row.
    looked : list of MeasuredTile
        Those that no block looks at, from `look_at_tile`.

    Attributes
    ----------
    nuclei : int
    """

    def __init__(self, frames: Sequence[Tile], looked: Sequence[MeasuredTile] = ()) -> None:
        self.nuclei = 0
        self._frames, self._looked = frames, {result.tile: result for result in looked}
        self._rows, self._columns = (sorted({tile[axis] for tile in frames}) for axis in (0, 1))
        self._counts = np.zeros((len(self._rows), len(self._columns)), np.int64)
        self._errors = {}

    def add(self, found: BlockNuclei) -> None:
        """Count the nuclei of a block, or note why it has none; keep what its tiles look like."""
        self.nuclei += found.count
        self._looked.update((result.tile, result) for result in found.tiles)
        if found.error:
            self._errors[found.block] = found.error
        if found.count:
            rows, columns = (np.rint(found.measurements[f"Nuclei_AreaShape_Center_{axis}"]) for axis in "YX")
            at = [
                np.searchsorted(edges, values, "right") - 1
                for edges, values in ((self._rows, rows), (self._columns, columns))
            ]
            np.add.at(self._counts, tuple(at), 1)

    def tiles(self) -> list[MeasuredTile]:
        """Return the tiles with their numbers of nuclei; those in a failed block have failed."""
        counted = zip(self._frames, self._counts.ravel().tolist(), strict=True)
        return [self._with_error(self._looked[tile]._replace(outlined=count)) for tile, count in counted]

    def _with_error(self, result):
        row, column, height, width = result.tile
        for block, error in self._errors.items():
            above, beside = block.row < row + height, block.column < column + width
            if above and beside and row < block.row + block.height and column < block.column + block.width:
                return result._replace(error=f"nuclei of the {block}: {error}", focus=None, colour=(None,) * 3)
        return result


def finished_folder(table: str | PathLike, identity: str) -> Path:
    """Return the folder beside a slide's table in which workers keep finished blocks, so that a killed job resumes.

    Parameters
    ----------
    table : path-like
    identity : str
        Digest of what decides the blocks; those of another identity are deleted.
    """
    table = Path(table)
    folder = table.with_name(f".{table.name}.{identity}.blocks")
    discard_finished(table, but=folder)
    folder.mkdir(exist_ok=True)
    return folder


def discard_finished(table: str | PathLike, *, but: Path | None = None) -> None:
    """Delete the finished blocks beside a slide's table, but for those in one folder."""
    table = Path(table)
    for folder in table.parent.glob(f".{table.name}.*.blocks"):
        if folder != but:
            shutil.rmtree(folder, ignore_errors=True)


def finished_in(folder: Path) -> int:
    """Count the finished blocks in a folder."""
    return len(list(folder.glob(f"*{PACKED}")))


def read_or_measure(block: Block, *, folder: Path, measure: Callable[[Block], BlockNuclei]) -> BlockNuclei:
    """Return a block that is finished, or measure and keep it; one that fails is measured again by the next job."""
    path = folder / f"{block.row}_{block.column}{PACKED}"
    if path.exists():
        with contextlib.suppress(Exception):  # of any kind, in a file that the machine's crash left empty or damaged
            return _unpacked(block, path.read_bytes())
    result = measure(block)
    if not result.error and not any(seen.error for seen in result.tiles):
        with outputs.atomic_file(path) as part:
            part.write_bytes(_packed(result))
    return result


def _packed(result):
    """Return a block's nuclei as bytes: compressed, as their 150 columns take a third then."""
    looked = [(*seen.tile, seen.tissue, seen.focus, seen.colour, seen.error) for seen in result.tiles]
    form = json.dumps([result.origin, result.shape, list(result.measurements), looked])
    labels, stream = np.frombuffer(result.labels or b"", np.uint8), io.BytesIO()
    np.savez(stream, form, labels, *result.measurements.values(), allow_pickle=False)
    return imagecodecs.zstd_encode(stream.getvalue(), level=1)


def _unpacked(block, packed):
    with np.load(io.BytesIO(imagecodecs.zstd_decode(packed)), allow_pickle=False) as file:
        form, labels, *columns = (file[name] for name in file.files)
    origin, shape, names, looked = json.loads(str(form))
    measurements = dict(zip(names, columns, strict=True))
    looked = tuple(
        MeasuredTile(Tile(*tile), tissue=tissue, focus=focus, colour=tuple(colour), error=error)
        for *tile, tissue, focus, colour, error in looked
    )
    return BlockNuclei(block, tuple(origin), tuple(shape), labels.tobytes() or None, measurements, tiles=looked)


def halo_of(detection: Detection) -> int:
    """Return the width of the margin with which a block is read, in level-0 pixels."""
    return max(_grid_of(detection)[1], int(detection.ring_px) + 2)


def _grid_of(detection):
    return detector.grid_of(detection.calibration, method=detection.method)


def _labels_of(pixels, extent, detection):
    image = slide_channels.nuclei_image(pixels, detection.channels)
    options = {"method": detection.method, "model": detection.model}
    return detector.segment_window(image, detection.calibration, detection.levels, extent, **options)


def _window_of(block, detection):
    """Return first and last + 1 of a block's rows and columns with its halo; the first are on the detector's grid."""
    (multiple, _), halo = _grid_of(detection), halo_of(detection)
    return [
        (max(0, first - halo) // multiple * multiple, min(side, -(-(first + length + halo) // multiple) * multiple))
        for first, length, side in zip(block[:2], block[2:], detection.shape, strict=True)
    ]


def _own_numbers(labels, block, origin):
    """Return the labels, (n,) ascending, of the nuclei whose first pixels lie in a block."""
    runs = label_images.runs_of(labels)
    numbers, first = np.unique(runs.labels, return_index=True)
    rows, columns = np.divmod(runs.starts[first], labels.shape[1])
    rows, columns = rows + origin[0] - block.row, columns + origin[1] - block.column
    return numbers[(rows >= 0) & (rows < block.height) & (columns >= 0) & (columns < block.width)]


def _are_in_tissue(labels, numbers, mask, rows, columns):
    """Return True for the nuclei whose centroids lie in tissue; rows and columns are the mask's, of the labels'."""
    nuclei = label_images.properties(labels)
    at = [np.rint(centres[numbers - 1]).astype(int) for centres in (nuclei.rows, nuclei.columns)]
    return mask[rows[at[0]], columns[at[1]]]


def _measured(block, labels, numbers, pixels, extent, detection):
    """Measure nuclei with these labels, and return them with the part of the window that holds them."""
    renumbered = np.zeros(labels.max() + 1, np.int32)
    renumbered[numbers] = np.arange(1, len(numbers) + 1)
    ring = _rings(labels, renumbered, detection.ring_px)
    own = renumbered[labels]
    part = _part_around(own > 0, ring > 0)
    own, ring = (np.ascontiguousarray(image[part]) for image in (own, ring))
    origin = tuple(first + span.start for first, span in zip(extent.origin, part, strict=True))
    images = slide_channels.measured_images(np.ascontiguousarray(pixels[part]), detection.channels)
    measurements = _in_slide(objects.measure_arrays(own, images), origin)
    touches_border = np.zeros(len(numbers), bool)
    for axis, side in zip("YX", detection.shape, strict=True):
        touches_border |= measurements[f"Nuclei_AreaShape_BoundingBoxMinimum_{axis}"] == 0
        touches_border |= measurements[f"Nuclei_AreaShape_BoundingBoxMaximum_{axis}"] == side
    measurements["Nuclei_TouchesBorder"] = touches_border
    for channel, threshold in detection.positive.items():
        measurements[POSITIVE.format(channel)] = measurements[MEAN.format(channel)] > threshold
    measurements |= _in_slide(_ring_measurements(ring, images, len(numbers)), origin)
    return BlockNuclei(block, origin, own.shape, label_images.encode(own), measurements)


def _rings(labels, renumbered, width):
    """Return the rings around nuclei with new numbers, in strips: as a whole they take several images' memory."""
    rings, margin = np.zeros_like(labels), int(width) + 1
    for row in range(0, len(labels), STRIP_ROWS):
        first = max(0, row - margin)
        strip = cells.expand_nuclei(labels[first : row + STRIP_ROWS + margin], width)[row - first :][:STRIP_ROWS]
        rings[row : row + STRIP_ROWS] = np.where(labels[row : row + STRIP_ROWS] > 0, 0, renumbered[strip])
    return rings


def _part_around(*masks):
    """Return the rows and columns of an image that hold all that masks mark, with a margin."""
    return tuple(
        slice(max(0, int(inside[0]) - MARGIN_PX), int(inside[-1]) + 1 + MARGIN_PX)
        for inside in (np.flatnonzero(sum(mask.any(axis=axis) for mask in masks)) for axis in (1, 0))
    )


def _ring_measurements(ring, images, count):
    """Measure intensities in the rings around nuclei 1 to `count`; NaN where there is no room for one."""
    measured = objects.measure_arrays(ring, images, prefix=RING)
    rows = measured.pop("ObjectNumber") - 1
    columns = {}
    for name in ring_columns(list(images)):
        columns[name] = np.full(count, np.nan)
        columns[name][rows] = measured[name]
    return columns


def ring_columns(names: list[str]) -> list[str]:
    """Return the columns that are measured in the ring around a nucleus: its intensities in these channels."""
    return [name for name in objects.columns_of(names, prefix=RING) if not name.startswith(f"{RING}_AreaShape_")]


def _in_slide(measurements, origin):
    """Return measurements with positions in the slide, in place of those in a window that begins at `origin`."""
    for name in measurements:
        if _is_position(name):
            measurements[name] = measurements[name] + origin["YX".index(_axis_of(name))]
    return measurements


def _is_position(column: str) -> bool:
    """Return True if a column holds positions of rows or of columns."""
    return "_Location_" in column or "_AreaShape_Center_" in column or "_AreaShape_BoundingBoxM" in column


def _axis_of(column: str) -> str:
    """Return X or Y, of a column of positions."""
    return next(part for part in column.split("_") if part in ("X", "Y"))
