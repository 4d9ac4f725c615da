"""Frames of a stack, and which planes of a file they are."""

import itertools
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fieldwork import FrameError
from fieldwork.frames import refuse_large
from fieldwork.inputs.stack_files import ZARR_METADATA_NAMES

MOST_FRAMES = 2**20  # also of planes in a file and of chunks in a shard; more is a damaged header
AXIS_NAMES = {"C": "channel", "Z": "z plane"}


class StackFrame(NamedTuple):
    """A frame of a stack, numbered from 0, or why there is none (`error`)."""

    path: str
    index: int
    kind: str = "image"  # "image" or a key of `sources.READERS`
    position: tuple[int, ...] = ()  # in the file, in the form that the reader expects
    shape: tuple[int, ...] = ()
    dtype: str = ""
    stamp: tuple[int, int] | None = None
    error: str | None = None

    def __str__(self):
        return f"{self.path} (frame {self.index})"


class Stack(NamedTuple):
    """The frames of a stack in order, and notes for the log: what was chosen or left out."""

    frames: list[StackFrame]
    notes: list[str]


def positions_of(axes: str, sizes: Sequence[int], channel: int, z: int) -> tuple[list[tuple[int, ...]], list[str]]:
    """Choose the planes that are frames; return their indices along the axes, and notes.

    `axes` are those before the rows, as letters: T, Z and C, and I or Q for pages of unknown meaning.
    """
    several = {axis for axis, size in zip(axes, sizes, strict=True) if size > 1}
    if not several <= set("TZC") and not several <= set("IQZC"):
        raise FrameError(f"axes {axes}YX, sizes {tuple(sizes)}; expected Y, X and at most T, Z and C")
    ranges, notes = [], []
    for axis, size in zip(axes, sizes, strict=True):
        number = channel if axis == "C" else z
        if size == 1 or axis not in AXIS_NAMES or (axis == "Z" and "T" not in several):
            ranges.append(range(size))
        elif number < size:
            ranges.append([number])
            notes.append(f"{AXIS_NAMES[axis]} {number} taken, of {size} (0 to {size - 1})")
        else:
            raise FrameError(f"{AXIS_NAMES[axis]} {number} is not there; found {size} (0 to {size - 1})")
        if size > 1 and axis in "IQZ" and "T" not in several:
            notes.append(f"no time points: each of {size} {'z planes' if axis == 'Z' else 'pages'} is a frame")
    refuse_large([len(indices) for indices in ranges], MOST_FRAMES)
    return list(itertools.product(*ranges)), notes


def plane_number(position: Sequence[int], sizes: Sequence[int]) -> int:
    """Return the number of planes before a position."""
    number = 0
    for index, size in zip(position, sizes, strict=True):
        number = number * size + index
    return number


def array_axes(shape: Sequence[int], dtype: np.dtype, names: str | None = None) -> str:
    """Return the axes before the rows of an array, by its `names` if it has any; raise an error if it is no stack."""
    described = f"array of {dtype}, shape {tuple(shape)}" + (f", axes {names}" if names else "")
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise FrameError(f"{described}; expected integers or real numbers of at most 64 bits")
    if names is None:
        names = {2: "YX", 3: "TYX", 4: "TZYX"}.get(len(shape))
        if names is None or (len(shape) > 2 and shape[-1] in (3, 4)):  # the last may be colours
            raise FrameError(f"{described}; expected the axes (t, y, x), (t, z, y, x) or (y, x)")
    if len(names) != len(shape) or not names.endswith("YX") or len(set(names)) != len(names):
        raise FrameError(f"{described}; expected names of all axes, y and x as the last")
    refuse_large(shape[-2:])
    return names[:-2]


def stamp_of(path: str | os.PathLike) -> tuple[int, int]:
    """Return size and modification time of a file, or of a Zarr array's metadata, to recognise another one."""
    metadata = (os.path.join(path, name) for name in ZARR_METADATA_NAMES)
    status = os.stat(next(filter(os.path.isfile, metadata), path))
    return status.st_size, status.st_mtime_ns
