"""Frames of NumPy arrays (.npy) and Zarr arrays.

Zarr, which starts threads, is imported only where a Zarr store is read.
"""

import io
import itertools
import math
import os
import re
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from fieldwork import FrameError
from fieldwork.frames import refuse_large
from fieldwork.inputs.stack_files import files_below
from fieldwork.stacks.positions import MOST_FRAMES, Stack, StackFrame, array_axes, plane_number, positions_of, stamp_of

ROWS, COLUMNS = -1, -2  # in the position of a plane: these axes are its own
BLOSC_HEADER_BYTES, BLOSC_LENGTH = 16, slice(12, 16)  # the field of its compressed length, header included
MOST_CHUNKS = 2**16  # of a frame; even an absent chunk costs 0.1 ms


def open_npy(file: BinaryIO, channel: str | int, z: int) -> Stack:
    """List the frames of an .npy file that is open."""
    file.seek(0)
    head = io.BytesIO(file.read(2**14))  # NumPy refuses longer headers, but reads them first
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(head)
    if version not in read_header:
        raise FrameError(f".npy format {version}; expected (1, 0) or (2, 0)")
    shape, is_fortran, dtype = read_header[version](head)
    positions, notes, decided = positions_of(array_axes(shape, dtype)[:-2], shape[:-2], channel, z)
    start, size = head.tell(), stamp_of(file.name)[0]
    alike = {"shape": shape[-2:], "dtype": dtype.str, "stamp": stamp_of(file.name)}
    if is_fortran:
        notes.append("in Fortran order: each frame is read from all over the file, which is slow")
        end = start + math.prod(shape) * dtype.itemsize
        error = f"truncated: its pixels go on to byte {end}, the file has {size}" if end > size else None
        alike |= {"kind": "fortran", "error": error}
    else:
        plane = math.prod(shape[-2:]) * dtype.itemsize
        positions = [(start + plane_number(position, shape[:-2]) * plane,) for position in positions]
        alike |= {"kind": "npy"}
    listed = [StackFrame(file.name, index, position=position, **alike) for index, position in enumerate(positions)]
    return Stack(listed, notes, decided=decided)


def read_npy(frame: StackFrame) -> np.ndarray:
    """Read a frame of an .npy file in C order."""
    dtype, values = np.dtype(frame.dtype), math.prod(frame.shape)
    end = frame.position[0] + values * dtype.itemsize
    if end > frame.stamp[0]:
        raise FrameError(f"truncated: its pixels go on to byte {end}, the file has {frame.stamp[0]}")
    # No memory map: its pages would count as this process's memory, up to the size of the file.
    return np.fromfile(frame.path, dtype, values, offset=frame.position[0]).reshape(1, *frame.shape)


def read_fortran(frame: StackFrame) -> np.ndarray:
    """Read a frame of an .npy file in Fortran order."""
    return npy.open_memmap(frame.path, mode="r")[frame.position][np.newaxis]


def open_zarr(path: str, channel: str | int, z: int) -> Stack:
    """List the frames of a Zarr array or image."""
    import zarr

    for name in files_below(path):
        if not os.path.isfile(name):  # a pipe, for which a reader would wait; a broken link, which would be background
            raise FrameError(f"holds {os.path.relpath(name, path)!r}, which is not a file")
    array, names, channels, notes = _zarr_array(zarr.open(path, mode="r"))
    axes = array_axes(array.shape, array.dtype, names)
    leading = "".join(axis for axis in axes if axis not in "YX")
    sizes = dict(zip(axes, array.shape, strict=True))
    positions, chosen, decided = positions_of(leading, [sizes[axis] for axis in leading], channel, z, channels)
    # Rows and columns may be anywhere among the axes; their places in the position say so to `read_zarr`.
    places = [leading.index(axis) if axis in leading else {"Y": ROWS, "X": COLUMNS}[axis] for axis in axes]
    positions = [tuple(position[place] if place >= 0 else place for place in places) for position in positions]
    if not axes.endswith("YX"):
        notes.append(
            f"its axes are {', '.join(map(str, names))}: each frame is read from all over the array, which is slow"
        )
    spread = [places.index(ROWS), places.index(COLUMNS)]
    shard = array.shards or array.chunks
    parts = [max(1, size // part) for size, part in zip(shard, array.chunks, strict=True)]  # a shard's index lists them
    tiles = [-(-array.shape[axis] // array.chunks[axis]) for axis in spread]
    refuse_large(array.chunks)
    refuse_large(parts, MOST_FRAMES)
    refuse_large(tiles, MOST_CHUNKS)
    depth = math.prod(part for axis, part in enumerate(array.chunks) if axis not in spread)
    if depth > 1:
        notes.append(f"its chunks hold {depth} planes, which are all decoded for each frame: chunks of one are faster")
    path = os.path.normpath(os.path.join(path, array.path))  # the second is empty if the store is one array
    alike = {"kind": "zarr", "stamp": stamp_of(path)}
    listed = [StackFrame(path, index, position=position, **alike) for index, position in enumerate(positions)]
    return Stack(listed, notes + chosen, decided=decided)


def _zarr_array(node):
    """Return the array of a Zarr node, the names of its axes (None if it has none) and of its channels, and notes."""
    import zarr

    if isinstance(node, zarr.Array):
        names, of_xarray = getattr(node.metadata, "dimension_names", None), node.attrs.get("_ARRAY_DIMENSIONS")
        if names and of_xarray and list(names) != list(of_xarray):
            raise FrameError(f"its dimension_names are {names}, its _ARRAY_DIMENSIONS {of_xarray}; expected the same")
        names = names or of_xarray
        unnamed = names is None or not any(names) or all(re.fullmatch(r"dim_\d+", str(name)) for name in names)
        return node, None if unnamed else list(names), [], []
    attributes = node.attrs.get("ome", node.attrs)
    images = attributes.get("multiscales")
    if images:
        axes = [axis["name"] if isinstance(axis, dict) else axis for axis in images[0]["axes"]]
        array = node[images[0]["datasets"][0]["path"]]
        notes = [f"the first of {len(images)} images"] if len(images) > 1 else []
        labels = [str(channel.get("label", "")) for channel in attributes.get("omero", {}).get("channels", [])]
        count = dict(zip(axes, array.shape, strict=False)).get("c")
        return array, axes, labels if len(labels) == count and all(labels) else [], notes
    arrays, groups = sorted(node.array_keys()), sorted(node.group_keys())
    if len(arrays) != 1:
        members = ", ".join([*arrays, *(f"{name}/" for name in groups)][:8]) or "nothing"
        raise FrameError(f"a Zarr group of {members}; expected an OME-Zarr image or one array: give its path")
    return _zarr_array(node[arrays[0]])


def read_zarr(frame: StackFrame) -> np.ndarray:
    """Read a plane of a Zarr array, (1, rows, columns)."""
    import zarr

    from fieldwork.omezarr.metadata import ONE_THREAD  # it imports zarr

    # Without zarrs, which is no faster here, and ends the process if a damaged store makes it allocate too much.
    zarr.config.set(ONE_THREAD)
    array = zarr.open_array(frame.path, mode="r")
    _check_chunks(array, frame)
    plane = np.asarray(array[tuple(slice(None) if index < 0 else index for index in frame.position)])
    is_turned = frame.position.index(COLUMNS) < frame.position.index(ROWS)
    return (plane.T if is_turned else plane)[np.newaxis]


def _check_chunks(array, frame):
    """Raise FrameError if a file of a frame's chunks is empty, or shorter than the header of Blosc in it states.

    Zarr takes an empty file of a sharded array for an absent one; Blosc reads on behind bytes that are too few.
    """
    sides = array.shards or array.chunks
    are_blosc = not array.shards and [type(codec).__name__ for codec in array.compressors] in (
        ["Blosc"],
        ["BloscCodec"],
    )
    numbers = [
        range(math.ceil(length / side)) if index < 0 else [index // side]
        for length, side, index in zip(array.shape, sides, frame.position, strict=True)
    ]
    for place in itertools.product(*numbers):
        name = array.metadata.encode_chunk_key(place)
        path = os.path.join(frame.path, name)
        if not os.path.exists(path):  # absent: the fill value
            continue
        size = os.path.getsize(path)
        if not size:
            raise FrameError(f"its chunk {name} is an empty file (0 bytes)")
        if are_blosc:
            with open(path, "rb") as file:
                stated = int.from_bytes(file.read(BLOSC_HEADER_BYTES)[BLOSC_LENGTH], "little")
            if size < max(stated, BLOSC_HEADER_BYTES):
                raise FrameError(f"truncated: its chunk {name} has {size} bytes, and states {stated}")
