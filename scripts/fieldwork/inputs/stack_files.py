"""List the files that a stack is made of. Opens none of them."""

import os
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from fieldwork import FrameError, InputError
from fieldwork.inputs.names.folders import IMAGE_SUFFIXES
from fieldwork.inputs.names.images import natural
from fieldwork.inputs.names.movies import channels_in_names
from fieldwork.stains import nuclei_among

FRAME_SUFFIXES = (*IMAGE_SUFFIXES, ".gif")
ZARR_METADATA_NAMES = ("zarr.json", ".zarray", ".zgroup")  # a folder with one of these is a Zarr array or group


class FolderFrames(NamedTuple):
    """The images of a folder that are frames, and why these."""

    images: list[str]
    channel: str | int  # inside of each file, as for `frames.read`
    name: str = ""  # the channel that the names of these files state
    notes: list[str] = []
    decided: list[str] = []  # of the notes, doubts


def files_of(path: str | os.PathLike) -> list[str]:
    """List the files that a stack is made of.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    list of str
        All files of a Zarr store; a folder's images in natural order, without broken links, which are frames that
        fail; or the path itself, of a file or of nothing.

    Raises
    ------
    InputError
        A folder cannot be listed.
    """
    path = os.fspath(path)
    try:
        if is_zarr(path):
            return files_below(path)
        if os.path.isdir(path):
            return [image for image in list_folder(path)[0] if os.path.exists(image)]
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}; expected a folder that can be read") from None
    return [path]


def list_folder(path: str | os.PathLike) -> tuple[list[str], Counter]:
    """List the image files of a folder in natural order, and count its other entries by suffix."""
    images, others = [], Counter()
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                others["hidden"] += 1
            elif os.path.isdir(entry.path):
                others["folder"] += 1
            elif entry.name.lower().endswith(FRAME_SUFFIXES):
                images.append(entry.path)
            else:
                others[os.path.splitext(entry.name)[1].lower() or "without suffix"] += 1
    return sorted(images, key=lambda image: (natural(image), image)), others


def of_channel(images: Sequence[str], channel: str | int) -> FolderFrames:
    """Return the images of a folder that are of the channel that is wanted, where their names tell channels apart.

    Parameters
    ----------
    images : sequence of str
        In order.
    channel : str or int
        A channel in the names of files, in any case, or its number, from 0, in natural order; ``auto`` or another: the
        one named like a DNA stain, else the first, and `channel` counts inside of each file.

    Raises
    ------
    FrameError
        The names have no channel of this number.
    """
    channels = channels_in_names(images)
    if not channels:
        return FolderFrames(list(images), channel)
    names = [name for name in channels if name]
    wanted, decided, inside = str(channel).lower(), [], "auto"
    if isinstance(channel, int):
        if channel >= len(names):
            raise FrameError(
                f"stack.channel: channel {channel} is not there; its files' names have {len(names)}: {', '.join(names)}"
            )
        name = names[channel]
    elif wanted in map(str.lower, names):
        name = next(name for name in names if name.lower() == wanted)
    else:
        number, doubt = nuclei_among(names)
        name, inside, decided = names[number], channel, [doubt] if doubt else []
    others = [f"{len(files)} {own or 'of no channel'}" for own, files in channels.items() if own != name]
    note = f"its files' names tell channels apart: {name} is taken, {len(channels[name])} files; {', '.join(others)}"
    if channels.get(""):
        decided.append(f"{len(channels[''])} files whose names state no channel, as others do, are left out")
    return FolderFrames(channels[name], inside, name, [note, *decided], decided)


def is_zarr(path: str | os.PathLike) -> bool:
    """Return True for the folder of a Zarr array or group."""
    return any(os.path.isfile(os.path.join(path, name)) for name in ZARR_METADATA_NAMES)


def files_below(path: str | os.PathLike) -> list[str]:
    """List all files below a folder, links followed. Raises OSError for a folder that cannot be listed."""

    def refuse(error):
        raise error

    return [
        os.path.join(folder, name)
        for folder, _, names in sorted(os.walk(path, onerror=refuse, followlinks=True))
        for name in sorted(names)
    ]
