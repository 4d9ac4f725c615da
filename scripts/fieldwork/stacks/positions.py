"""Frames of a stack, and which planes of a file they are."""

import itertools
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fieldwork import FrameError
from fieldwork.frames import refuse_large
from fieldwork.inputs.stack_files import ZARR_METADATA_NAMES
from fieldwork.stains import nuclei_among

MOST_FRAMES = 2**20  # also of planes in a file and of chunks in a shard; more is a damaged header
# Names of axes, of OME-Zarr, xarray, scikit-image, napari and others.
AXIS_LETTERS = {
    word: letter
    for letter, words in {
        "T": "t time times timepoint timepoints time_point frame frames",
        "Z": "z depth slice slices plane planes pln z_plane zstep",
        "C": "c ch channel channels wavelength",
        "Y": "y row rows height",
        "X": "x col cols column columns width",
    }.items()
    for word in words.split()
}
MOST_CHANNELS_LAST = 4  # along a last axis without a name; a frame is wider
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
    channel: str | int = "auto"  # of a file in a folder: as for `frames.read`
    colours: str | None = None  # what was taken of the stack's colours, as `frames.Plane.colours`; None: any

    def __str__(self):
        return f"{self.path} (frame {self.index})"


class Stack(NamedTuple):
    """The frames of a stack in order, and notes for the log: what was chosen or left out."""

    frames: list[StackFrame]
    notes: list[str]
    has_display_tags: bool = False  # its samples are no plain grey, as far as its first page or its files show
    decided: list[str] = []  # of the notes, those on what the stack leaves open


def positions_of(
    axes: str, sizes: Sequence[int], channel: str | int, z: int, names: Sequence[str] = ()
) -> tuple[list[tuple[int, ...]], list[str], list[str]]:
    """Choose the planes that are frames.

    Parameters
    ----------
    axes : str
        Those before the rows, as letters: T, Z and C, and I or Q for pages of unknown meaning.
    sizes : sequence of int
    channel, z
        As for `sources.open_stack`.
    names : sequence of str
        Of the channels; of those without names, nothing.

    Returns
    -------
    positions : list of tuple of int
        Indices along the axes.
    notes, decided : list of str
        As of a `Stack`.

    Raises
    ------
    FrameError
        There are other axes, or the channel or z plane is not there.
    """
    several = {axis for axis, size in zip(axes, sizes, strict=True) if size > 1}
    if not several <= set("TZC") and not several <= set("IQZC"):
        raise FrameError(f"axes {axes}YX, sizes {tuple(sizes)}; expected Y, X and at most T, Z and C")
    channels = dict(zip(axes, sizes, strict=True)).get("C", 1)
    called, doubt = names or [str(number) for number in range(1, channels + 1)], ""
    if channel == "auto" and channels > 1:
        channel, doubt = nuclei_among(called)
    numbers = {"C": channel_number(channel, called), "Z": z}
    ranges, decided = [], [doubt] if doubt else []
    notes = [*decided]
    for axis, size in zip(axes, sizes, strict=True):
        if size == 1 or axis not in AXIS_NAMES or (axis == "Z" and "T" not in several):
            ranges.append(range(size))
        elif (number := numbers[axis]) < size:
            ranges.append([number])
            name = f" ({names[number]})" if axis == "C" and names and names[number] != str(number + 1) else ""
            notes.append(f"{AXIS_NAMES[axis]} {number}{name} taken, of {size} (0 to {size - 1})")
        else:
            raise FrameError(
                f"stack.{axis.lower()}: {AXIS_NAMES[axis]} {number} is not there; found {size} (0 to {size - 1})"
            )
        if size > 1 and axis in "IQZ" and "T" not in several:
            notes.append(f"no time points: each of {size} {'z planes' if axis == 'Z' else 'pages'} is a frame")
    refuse_large([len(indices) for indices in ranges], MOST_FRAMES)
    return list(itertools.product(*ranges)), notes, decided


def channel_number(channel: str | int, names: Sequence[str]) -> int:
    """Return the number, from 0, of the channel that is wanted among those of these names; FrameError if there is none.

    ``auto`` is the first: there is one.
    """
    lower = [name.lower() for name in names]
    if channel == "auto":
        return 0
    if isinstance(channel, str) and lower.count(channel.lower()) == 1:
        return lower.index(channel.lower())
    if isinstance(channel, int) and channel < len(names):
        return channel
    found = f"{len(names)} (0 to {len(names) - 1})" if len(names) > 1 else "one channel"
    unnamed = lower == [str(number) for number in range(1, len(names) + 1)]
    listed = "" if unnamed else f": {', '.join(map(repr, names[:20]))}"
    advice = "" if len(names) > 1 else "; leave stack.channel out"
    raise FrameError(f"stack.channel: channel {channel!r} is not there; found {found}{listed}{advice}")


def plane_number(position: Sequence[int], sizes: Sequence[int]) -> int:
    """Return the number of planes before a position."""
    number = 0
    for index, size in zip(position, sizes, strict=True):
        number = number * size + index
    return number


def array_axes(shape: Sequence[int], dtype: np.dtype, names: Sequence[str] | None = None) -> str:
    """Return the axes of an array as letters.

    Parameters
    ----------
    shape : sequence of int
    dtype : numpy.dtype
    names : sequence of str, optional
        Of the axes: letters, or words such as time, slice, channel, row. Without names the axes are (t, y, x),
        (t, z, y, x) or (y, x).

    Returns
    -------
    str
        Of T, Z, C, Y and X, in the order of the array.

    Raises
    ------
    FrameError
        It is no stack, or a name is not understood.
    """
    described = f"array of {dtype}, shape {tuple(shape)}" + (f", axes {', '.join(map(str, names))}" if names else "")
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise FrameError(f"{described}; expected integers or real numbers of at most 64 bits")
    if names is None:
        axes = {2: "YX", 3: "TYX", 4: "TZYX"}.get(len(shape))
        if axes is None or (len(shape) > 2 and shape[-1] <= MOST_CHANNELS_LAST):
            why = f": its last axis, of {shape[-1]}, looks like channels" if axes else ""
            raise FrameError(f"{described}; expected the axes (t, y, x), (t, z, y, x) or (y, x){why}")
    else:
        axes = "".join(AXIS_LETTERS.get(str(name).lower(), "?") for name in names)
        if len(axes) != len(shape) or len(set(axes)) != len(axes) or not {"Y", "X"} <= set(axes) <= set("TZCYX"):
            raise FrameError(
                f"{described}; expected names of all axes, each once: y, x and at most t (time), z and c (channel)"
            )
    refuse_large([length for axis, length in zip(axes, shape, strict=True) if axis in "YX"])
    return axes


def stamp_of(path: str | os.PathLike) -> tuple[int, int]:
    """Return size and modification time of a file, or of a Zarr array's metadata, to recognise another one."""
    metadata = (os.path.join(path, name) for name in ZARR_METADATA_NAMES)
    status = os.stat(next(filter(os.path.isfile, metadata), path))
    return status.st_size, status.st_mtime_ns
