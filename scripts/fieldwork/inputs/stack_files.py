"""List the files that a stack is made of. Opens none of them."""

import os
from collections import Counter

from fieldwork import InputError
from fieldwork.inputs import layouts

SUFFIXES = (*layouts.SUFFIXES, ".gif")

ZARR = ("zarr.json", ".zarray", ".zgroup")  # a folder with one of these is a Zarr array or group


def files_of(path):
    """List the files that a stack is made of.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    list of str
        All files of a Zarr store; a folder's images in natural order, without broken links, which are frames that
        fail; or the path itself, whatever there is.

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


def list_folder(path):
    """Give the image files of a folder in natural order, and count what else is in it."""
    images, others = [], Counter()
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                others["hidden"] += 1
            elif os.path.isdir(entry.path):
                others["folder"] += 1
            elif entry.name.lower().endswith(SUFFIXES):
                images.append(entry.path)
            else:
                others[os.path.splitext(entry.name)[1].lower() or "without suffix"] += 1
    return sorted(images, key=lambda image: (layouts.natural(image), image)), others


def is_zarr(path):
    return any(os.path.isfile(os.path.join(path, name)) for name in ZARR)


def files_below(path):
    def refuse(error):
        raise error

    return [
        os.path.join(folder, name)
        for folder, _, names in sorted(os.walk(path, onerror=refuse, followlinks=True))
        for name in sorted(names)
    ]
