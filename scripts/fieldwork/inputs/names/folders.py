"""List the image files below a folder."""

import os
import re
from collections import Counter, deque
from collections.abc import Iterable, Sequence

from fieldwork import InputError
from fieldwork.inputs.names.images import natural

IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")
# Formats of microscopes, and other images and videos, that are not read.
FOREIGN_SUFFIXES = {
    *(".c01", ".dib", ".flex", ".czi", ".nd2", ".lif", ".lsm", ".oib", ".oif", ".oir", ".vsi", ".ims", ".stk", ".dv"),
    *(".mea", ".zvi", ".xdce", ".mvd2", ".sld", ".sldy", ".ids", ".ics", ".scn", ".lof", ".obf", ".msr"),
    *(".gif", ".webp", ".jp2", ".dcm", ".avi", ".mp4"),
}
_FOREIGN_METADATA = {".xdce", ".mea", ".mvd2"}  # without pixels: beside the TIFF files of a microscope
_ZARR_FILES = {".zgroup", ".zattrs", ".zarray", "zarr.json"}


class Files(list):
    """Paths of image files, in natural order.

    Attributes
    ----------
    notes : list of str
        How many other files there are.
    foreign : collections.Counter
        Suffix -> number of files, of `FOREIGN_SUFFIXES`.
    zarr : str or None
        The first folder below which a Zarr store lies; empty for the folder itself.
    """

    def __init__(self, paths: Iterable[str], others: Counter, zarr: str | None = None) -> None:
        super().__init__(sorted(paths, key=lambda path: (natural(path), path)))
        self.notes = _notes_on_others(others)
        self.foreign = Counter({suffix: count for suffix, count in others.items() if suffix in FOREIGN_SUFFIXES})
        self.zarr = zarr

    @property
    def warnings(self) -> list[str]:
        """A line, where there is any, on files with pixels that are not read."""
        unread = {suffix: count for suffix, count in self.foreign.items() if suffix not in _FOREIGN_METADATA}
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(unread.items()))
        return (
            [f"files of formats that are not read lie beside the images, and do not count: {kinds}"] if unread else []
        )


def image_paths(folder: str, regexes: Sequence[re.Pattern], results: str | os.PathLike | None) -> Files:
    """List the image files below a folder, as paths in it.

    Parameters
    ----------
    folder : str
        Links are followed; hidden folders and Zarr stores are left out.
    regexes : list of re.Pattern
        Of layouts: a folder with the name of an image is one, and fails as such.
    results : path-like, optional
        A folder that is left out.

    Raises
    ------
    InputError
        A folder cannot be read.
    """
    paths, others, again, seen, zarr = [], Counter(), [], set(), None
    left_out = os.path.realpath(results) if results else None
    pending = deque([""])
    while pending:
        below = pending.pop()
        directory = os.path.join(folder, below)
        if left_out and os.path.realpath(directory) == left_out:
            continue
        try:
            status = os.stat(directory)
            if (status.st_dev, status.st_ino) in seen:  # links can make loops, and n! ways through n folders
                again.append(below)
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(directory) as entries:
                entries = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise InputError(f"{directory!r}: {error.strerror}. Expected a folder that can be read.") from None
        if any(entry.name in _ZARR_FILES for entry in entries):
            zarr = below if zarr is None else zarr
            if below:
                continue
        for entry in entries:
            path = below + entry.name
            is_link = entry.is_symlink()
            is_folder = os.path.isdir(entry.path) if is_link else entry.is_dir()
            is_image = entry.name.lower().endswith(IMAGE_SUFFIXES)
            if entry.name.startswith(".") or entry.name == "@eaDir":  # Synology's previews, named like images
                others["hidden"] += 1
            elif is_image and not (is_folder and not any(regex.search(path) for regex in regexes)):
                paths.append(path)  # also a folder with the name of a plate's image: it fails as an image
            elif is_folder and is_link:
                pending.appendleft(f"{path}/")  # links last: a folder that is reached twice keeps its own path
            elif is_folder:
                pending.append(f"{path}/")
            else:
                others[os.path.splitext(entry.name)[1].lower() or "no suffix"] += 1
    files = Files(paths, others, zarr)
    if again:
        files.notes.append(f"{len(again)} links lead to folders that were read already, first {again[0]!r}.")
    if zarr is not None:
        files.notes.append(f"Zarr stores are not looked into, first {os.path.join(folder, zarr)!r}.")
    return files


def image_names(names: Iterable[str]) -> Files:
    """List the images among the objects of a folder at a URL, as `image_paths` does with files.

    Parameters
    ----------
    names : iterable of str
        Paths in the folder.
    """
    names = list(names)
    paths, others = [], Counter()
    zarr = min((os.path.dirname(name) for name in names if os.path.basename(name) in _ZARR_FILES), default=None)
    for name in names:
        last = os.path.basename(name)
        if any(part.startswith(".") or part == "@eaDir" for part in name.split("/")):
            others["hidden"] += 1
        elif last.lower().endswith(IMAGE_SUFFIXES):
            paths.append(name)
        else:
            others[os.path.splitext(last)[1].lower() or "no suffix"] += 1
    return Files(paths, others, zarr)


def _notes_on_others(others):
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
    return [f"{others.total()} files that are no images were not looked at: {kinds}."] if others else []
