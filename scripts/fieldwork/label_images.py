"""Label images: 0 is ground, every other value an object. Their objects' properties, their outlines, their files.

All arithmetic is of integers, so that every machine and library gives the same numbers.
"""

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import imagecodecs
import numpy as np

from fieldwork import outputs

# Levels of zstd, the smallest of Zarr's official codecs in its time: over 271 annotated fields, level 1 has 0.024 bytes
# per pixel, level 10 has 0.020, and Blosc with bits shuffled 0.031. A field of 1024 x 1280 px takes 2 ms at level 1 and
# 10 at level 10: only crowded fields, with more bytes per pixel at level 1 than this, get that.
QUICK_LEVEL, CROWDED_LEVEL = 1, 10
CROWDED_BYTES_PER_PX = 0.04
PART_PX, PART_RUNS = 2**24, 2**20  # of a large image that are searched and painted at once, for little memory
ROW_GROUP_FIELDS = 32  # of a unit's file: a reader holds the labels of so many fields


class Properties(NamedTuple):
    """What label images say of their objects, in the order of the labels 1..n."""

    rows: np.ndarray  # (n,) float64, px: mean row of the object's pixels, CellProfiler's Location_Center_Y
    columns: np.ndarray  # (n,) float64, px: mean column
    areas: np.ndarray  # (n,) int64, px
    touches_border: np.ndarray  # (n,) bool: a pixel lies in the image's first or last row or column


class Runs(NamedTuple):
    """Neighbouring pixels of one object in one row, from the image's first pixel to its last."""

    starts: np.ndarray  # (n,) int64: index of the first pixel in the flat image
    lengths: np.ndarray  # (n,) int64, px
    labels: np.ndarray  # (n,) of the image's own type


def runs_of(labels: np.ndarray) -> Runs:
    """Find the runs of a (rows, columns) label image. There are few: all else here takes them in place of pixels."""
    at_once = max(1, PART_PX // labels.shape[1])
    parts = [_runs_of_rows(labels[row : row + at_once], row) for row in range(0, len(labels), at_once)]
    return parts[0] if len(parts) == 1 else Runs(*map(np.concatenate, zip(*parts, strict=True)))


def _runs_of_rows(labels, row):
    """Find the runs of rows that begin at a row of the image."""
    columns, flat = labels.shape[1], labels.ravel()
    changes = np.empty(labels.size, bool)
    np.not_equal(flat[1:], flat[:-1], out=changes[1:])
    changes[::columns] = True
    starts = np.flatnonzero(changes)
    lengths = np.diff(starts, append=labels.size)
    values = flat[starts]
    objects = values != 0
    return Runs(starts.compress(objects) + row * columns, lengths.compress(objects), values.compress(objects))


def _painted(runs, shape):
    """Paint a label image of int32 with runs whose labels fit into it."""
    if len(runs.starts) <= PART_RUNS:
        return _repeated(runs, shape[0] * shape[1]).reshape(shape)
    painted = np.zeros(shape, np.int32)
    for first in range(0, len(runs.starts), PART_RUNS):
        part = Runs(*(values[first : first + PART_RUNS] for values in runs))
        start, end = part.starts[0], part.starts[-1] + part.lengths[-1]
        painted.ravel()[start:end] = _repeated(part._replace(starts=part.starts - start), end - start)
    return painted


def _repeated(runs, size):
    """Return the flat pixels, of this number, that runs fill with their labels."""
    lengths, values = np.zeros(2 * len(runs.starts) + 1, np.int64), np.zeros(2 * len(runs.starts) + 1, np.int32)
    ends = np.concatenate([[0], runs.starts + runs.lengths])
    lengths[::2] = np.append(runs.starts, size) - ends  # of the ground between runs
    lengths[1::2], values[1::2] = runs.lengths, runs.labels
    return np.repeat(values, lengths)


def check_labels(value: object, shape: tuple[int, int]) -> np.ndarray:
    """Check that a value is a label image of an image, as a user's own function should return it.

    Parameters
    ----------
    value : object
    shape : (int, int)
        Rows and columns of the image.

    Returns
    -------
    (rows, columns) array of integers
        The value itself.

    Raises
    ------
    ValueError
        Describes the value in one line.
    """
    expected = f"expected labels: integers from 0, of shape {tuple(shape)}"
    if not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray):
        raise ValueError(f"gave {'None' if value is None else f'a value of type {type(value).__name__}'}; {expected}")
    if value.dtype.kind == "b":
        raise ValueError(f"gave a mask (bool), in which touching nuclei are one; {expected}")
    if value.shape != tuple(shape) or value.dtype.kind not in "iu":
        raise ValueError(f"gave an array of shape {value.shape} and type {value.dtype}; {expected}")
    if value.dtype.kind == "i" and value.size and value.min() < 0:
        raise ValueError(f"gave a label of {value.min()}; {expected}")
    return value


def renumber(labels: np.ndarray) -> np.ndarray:
    """Number objects 1..n in reading order: by their first pixels, row by row.

    Parameters
    ----------
    labels : (rows, columns) array of integers from 0
        Of any values, with gaps, in any order.

    Returns
    -------
    (rows, columns) int32 array
    """
    return _painted(_numbered(runs_of(labels)), labels.shape)


def _numbered(runs):
    _, first, of_run = np.unique(runs.labels, return_index=True, return_inverse=True)
    numbers = np.empty(len(first), np.int32)
    numbers[np.argsort(first)] = np.arange(1, len(first) + 1)
    return runs._replace(labels=numbers[of_run])


def keep_largest_pieces(labels: np.ndarray) -> np.ndarray:
    """Drop all but the largest piece of every object, and number objects 1..n in reading order.

    Parameters
    ----------
    labels : (rows, columns) array of uint16 or int32
        Contiguous. Pixels that touch at a side or a corner are of one piece; of equal pieces, the first one stays.

    Returns
    -------
    (rows, columns) int32 array
        Of large images of int32 the same array: a second one of that size may be a quarter of the memory of a job.
    """
    rows, columns = labels.shape
    runs = _numbered(_largest_pieces(runs_of(labels), columns))
    height = max(1, PART_PX // columns)
    if height >= rows:
        return _painted(runs, labels.shape)
    labels = labels.astype(np.int32, copy=False)
    for row in range(0, rows, height):
        strip = labels[row : row + height]
        first, last = np.searchsorted(runs.starts, [row * columns, row * columns + strip.size])
        part = Runs(*(values[first:last] for values in runs))
        strip[:] = _painted(part._replace(starts=part.starts - row * columns), strip.shape)
    return labels


def _largest_pieces(runs, columns):
    """Return the runs of the largest piece of each object."""
    kept = np.ones(len(runs.labels), bool)
    doubtful = _are_of_broken_chains(runs, columns)
    kept[doubtful] = _are_in_largest_piece(Runs(*(values[doubtful] for values in runs)), columns)
    return Runs(*(values[kept] for values in runs))


def _are_of_broken_chains(runs, columns):
    """Return True for the runs of objects that may be in pieces: not every run touches the next one, a row below."""
    order = np.argsort(runs.labels, kind="stable")
    starts, labels, row = runs.starts[order], runs.labels[order], runs.starts[order] // columns
    ends = starts + runs.lengths[order]
    touches = (row[1:] == row[:-1] + 1) & (starts[1:] <= ends[:-1] + columns) & (ends[1:] >= starts[:-1] + columns)
    broken = np.zeros(int(labels.max(initial=0)) + 1, bool)
    broken[labels[1:][(labels[1:] == labels[:-1]) & ~touches]] = True
    return broken[runs.labels]


def _are_in_largest_piece(runs, columns):
    """Return True for the runs that belong to the largest piece of their object."""
    count, row, ends = len(runs.starts), runs.starts // columns, runs.starts + runs.lengths
    first = np.searchsorted(ends, runs.starts - columns)  # of the runs that a run touches in the row above
    number = np.searchsorted(runs.starts, ends - columns, side="right") - first
    lower = np.repeat(np.arange(count), number)
    upper = np.arange(len(lower)) + np.repeat(first - np.cumsum(number) + number, number)
    touching = (runs.labels[upper] == runs.labels[lower]) & (row[upper] + 1 == row[lower])
    piece = _components(count, lower[touching], upper[touching])
    areas = np.bincount(piece, runs.lengths, count)
    # The first run of a piece has its number, and the piece's area; all others have none.
    order = np.lexsort((-np.arange(count), areas, runs.labels))
    largest = np.zeros(count, bool)
    largest[order[np.flatnonzero(np.diff(runs.labels[order].astype(np.int64), append=-1))]] = True
    return largest[piece]


def _components(count, first, second):
    """Return the component of each of some nodes, by the number of its first node; edges link first and second nodes.

    SciPy has this too, but a third of the start of every job would be its import.
    """
    component = np.arange(count)
    while (apart := component[first] != component[second]).any():
        first, second = component[first[apart]], component[second[apart]]
        np.minimum.at(component, np.maximum(first, second), np.minimum(first, second))
        while not np.array_equal(further := component[component], component):
            component = further
    return component


def drop_border(labels: np.ndarray) -> np.ndarray:
    """Drop the objects that touch the image's border, and number the others in reading order.

    Parameters
    ----------
    labels : (rows, columns) array of integers from 0

    Returns
    -------
    (rows, columns) int32 array
    """
    runs = runs_of(labels)
    cut = np.unique(np.concatenate([labels[[0, -1]].ravel(), labels[:, [0, -1]].ravel()]))
    kept = ~np.isin(runs.labels, cut)
    return _painted(_numbered(Runs(*(values[kept] for values in runs))), labels.shape)


def properties(labels: np.ndarray) -> Properties:
    """Measure the position and the area of every object.

    Sums of coordinates are whole numbers, and each mean is one division: the same everywhere.

    Parameters
    ----------
    labels : (rows, columns) array of integers
        Objects are numbered 1..n, without gaps.

    Returns
    -------
    Properties
    """
    height, width = labels.shape
    starts, lengths, values = runs_of(labels)
    count = int(values.max(initial=0))
    rows, columns = np.divmod(starts, width)
    sums = [
        np.bincount(values, weights, count + 1)[1:]  # in float64, which holds whole numbers up to 2**53
        for weights in (lengths, rows * lengths, (2 * columns + lengths - 1) * lengths // 2)
    ]
    at_border = (rows == 0) | (rows == height - 1) | (columns == 0) | (columns + lengths == width)
    touches_border = np.zeros(count + 1, bool)
    touches_border[values[at_border]] = True
    areas, row_sums, column_sums = sums
    return Properties(row_sums / areas, column_sums / areas, areas.astype(np.int64), touches_border[1:])


def usual_radius(areas: np.ndarray) -> float:
    """Return the radius of a circle with the median of some areas, in px; 0 without areas."""
    return float(np.sqrt(np.median(areas) / np.pi)) if len(areas) else 0.0


def outlines(labels: np.ndarray) -> list[np.ndarray]:
    """Trace the objects, for pictures.

    Parameters
    ----------
    labels : (rows, columns) array of integers from 0

    Returns
    -------
    list of (n, 2) int32 array
        Closed polygons through the centres of an object's outermost pixels, column (x) and row (y) of every corner;
        by ascending label. An object of several pieces has as many polygons; holes have none.
    """
    from scipy import ndimage  # 0.2 s to import, and jobs that draw nothing have no need of it

    polygons = []
    labels = labels.astype(np.int32, copy=False)
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        if box is not None:
            corner = box[1].start, box[0].start
            mask = (labels[box] == number).view(np.uint8)
            pieces, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=corner)
            polygons += [piece[:, 0] for piece in pieces]
    return polygons


def encode(labels: np.ndarray) -> bytes:
    """Compress a label image to what a chunk of a Zarr array of uint32 with the codec zstd holds.

    Parameters
    ----------
    labels : (rows, columns) array of integers from 0 to 2**32 - 1

    Returns
    -------
    bytes
        2 to 3 % of the number of pixels; 5 % where 900 nuclei share 1.3 megapixels, and 9 % where they touch all over.
    """
    kind = "<i4" if labels.dtype == "<i4" else "<u4"  # int32 from 0 has the bytes of uint32: no copy of a large image
    pixels = np.ascontiguousarray(labels, kind)
    encoded = imagecodecs.zstd_encode(pixels, level=QUICK_LEVEL)
    if len(encoded) > CROWDED_BYTES_PER_PX * labels.size:
        encoded = imagecodecs.zstd_encode(pixels, level=CROWDED_LEVEL)
    return encoded


def decode(encoded: bytes, shape: tuple[int, int]) -> np.ndarray:
    """Decompress a label image.

    Parameters
    ----------
    encoded : bytes
        From `encode`.
    shape : (int, int)
        Rows and columns.

    Returns
    -------
    (rows, columns) uint32 array
    """
    height, width = shape
    return np.frombuffer(imagecodecs.zstd_decode(encoded, out=4 * height * width), "<u4").reshape(shape)


def write_unit(
    path: str | os.PathLike, encoded: Sequence[bytes | None], shapes: Sequence[tuple[int, int] | tuple[None, None]]
) -> None:
    """Write the label images of a unit as Parquet, complete or not at all.

    Parameters
    ----------
    path : path-like
    encoded : list of bytes or None
        From `encode`, in the order of the unit's fields; None for failed fields.
    shapes : list of (int, int)
        Rows and columns; not used for failed fields.
    """
    import pyarrow as pa  # it starts a thread: only once no fork follows
    import pyarrow.parquet as pq

    known = [(None, None) if labels is None else shape for labels, shape in zip(encoded, shapes, strict=True)]
    columns = {
        "Image_Height": pa.array([height for height, _ in known], pa.int64()),
        "Image_Width": pa.array([width for _, width in known], pa.int64()),
        "Labels": pa.array(encoded, pa.large_binary()),
    }
    with outputs.atomic_file(path) as part:
        pq.write_table(
            pa.table(columns), part, row_group_size=ROW_GROUP_FIELDS, compression="none", use_dictionary=False
        )


def read_unit(path: str | os.PathLike) -> Iterator[tuple[bytes | None, tuple[int, int] | tuple[None, None]]]:
    """Read the label images of a unit, a few at a time.

    Parameters
    ----------
    path : path-like
        From `write_unit`.

    Yields
    ------
    bytes or None
        As `write_unit` got them, in its order.
    (int, int) or (None, None)
        Rows and columns.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            for row in file.read_row_group(group, use_threads=False).to_pylist():
                yield row["Labels"], (row["Image_Height"], row["Image_Width"])
