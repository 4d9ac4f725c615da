"""Frames of NumPy arrays (.npy) and Zarr arrays.

Zarr, which starts threads, is imported only where a Zarr store is read.
"""

import io
import math
import os
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from fieldwork import FrameError
from fieldwork.frames import refuse_large
from fieldwork.inputs.stack_files import files_below
from fieldwork.stacks.positions import MOST_FRAMES, Stack, StackFrame, array_axes, plane_number, positions_of, stamp_of

MOST_CHUNKS = 2**16  # of a frame; even an absent chunk costs 0.1 ms


def open_npy(file: BinaryIO, channel: int, z: int) -> Stack:
    """List the frames of an .npy file that is open."""
    file.seek(0)
    head = io.BytesIO(file.read(2**14))  # NumPy refuses longer headers, but reads them first
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(head)
    if version not in read_header:
        raise FrameError(f".npy format {version}; expected (1, 0) or (2, 0)")
    shape, is_fortran, dtype = read_header[version](head)
    positions, notes = positions_of(array_axes(shape, dtype), shape[:-2], channel, z)
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
    return Stack(listed, notes)


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


def open_zarr(path: str, channel: int, z: int) -> Stack:
    """List the frames of a Zarr array or image."""
    import zarr

    for name in files_below(path):
        if not os.path.isfile(name):  # a pipe, for which a reader would wait; a broken link, which would be background
            raise FrameError(f"holds {os.path.relpath(name, path)!r}, which is not a file")
    array, names, notes = _zarr_array(zarr.open(path, mode="r"))
    axes = array_axes(array.shape, array.dtype, names)
    positions, chosen = positions_of(axes, array.shape[:-2], channel, z)
    shard = array.shards or array.chunks
    parts = [max(1, size // part) for size, part in zip(shard, array.chunks, strict=True)]  # a shard's index lists them
    tiles = [-(-size // part) for size, part in zip(array.shape[-2:], array.chunks[-2:], strict=True)]
    refuse_large(array.chunks)
    refuse_large(parts, MOST_FRAMES)
    refuse_large(tiles, MOST_CHUNKS)
    if (depth := math.prod(array.chunks[:-2])) > 1:
        notes.append(f"its chunks hold {depth} planes, which are all decoded for each frame: chunks of one are faster")
    path = os.path.normpath(os.path.join(path, array.path))  # the second is empty if the store is one array
    alike = {"kind": "zarr", "stamp": stamp_of(path)}
    listed = [StackFrame(path, index, position=position, **alike) for index, position in enumerate(positions)]
    return Stack(listed, notes + chosen)


def _zarr_array(node):
    """Return the array of a Zarr node, the names of its axes (None if it has none), and notes."""
    import zarr

    if isinstance(node, zarr.Array):
        names = "".join(str(name) for name in getattr(node.metadata, "dimension_names", None) or ()).upper()
        return node, names if set("TCZYX").issuperset(names) and names else None, []
    images = node.attrs.get("ome", node.attrs).get("multiscales")
    if images:
        axes = [axis["name"] if isinstance(axis, dict) else axis for axis in images[0]["axes"]]
        array = node[images[0]["datasets"][0]["path"]]
        notes = [f"the first of {len(images)} images"] if len(images) > 1 else []
        return array, "".join(axes).upper(), notes
    arrays, groups = sorted(node.array_keys()), sorted(node.group_keys())
    if len(arrays) != 1:
        members = ", ".join([*arrays, *(f"{name}/" for name in groups)][:8]) or "nothing"
        raise FrameError(f"a Zarr group of {members}; expected an OME-Zarr image or one array: give its path")
    return _zarr_array(node[arrays[0]])


def read_zarr(frame: StackFrame) -> np.ndarray:
    """Read a plane of a Zarr array."""
    import zarr

    from fieldwork.omezarr.metadata import ONE_THREAD  # it imports zarr

    # Without zarrs, which is no faster here, and ends the process if a damaged store makes it allocate too much.
    zarr.config.set(ONE_THREAD)
    return np.asarray(zarr.open_array(frame.path, mode="r")[frame.position])[np.newaxis]
