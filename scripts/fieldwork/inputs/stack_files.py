"""List the files that a stack is made of. Opens none of them."""

import os
from collections import Counter

from fieldwork import InputError
from fieldwork.inputs.names.folders import IMAGE_SUFFIXES
from fieldwork.inputs.names.images import natural

FRAME_SUFFIXES = (*IMAGE_SUFFIXES, ".gif")
ZARR_METADATA_NAMES = ("zarr.json", ".zarray", ".zgroup")  # a folder with one of these is a Zarr array or group


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
