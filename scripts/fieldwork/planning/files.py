"""Input files and their state, on disk and at URLs, as rules tell it to Snakemake."""

import functools
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress

from fieldwork import InputError
from fieldwork.inputs.names.images import Image, Source
from fieldwork.inputs.paths import check_writable, is_url, suits_snakemake
from fieldwork.inputs.remote import Remote

ROAD_FOLDERS = ("plates", "slides", "stacks", "screen")  # in that of results, and in those that mirror it
SNAKEMAKE_FOLDERS = ("fieldwork", "metadata", "incomplete", "locks")  # in which each run writes


def rows_of(images: Iterable[Image]) -> list[tuple]:
    """Return images in a form that parameters of a rule can have.

    Parameters
    ----------
    images : iterable of Image

    Returns
    -------
    list of tuple
        Well, site, time point, z plane, file (from `source_of`); of an image that is not to be read also the reason.
    """
    return [
        (image.well, image.site, image.timepoint, image.z, source_of(image), *filter(None, [image.fault]))
        for image in images
    ]


def good_images(images: Iterable[Image]) -> list[Image]:
    """Return the images that are to be read."""
    return [image for image in images if not image.fault]


def source_of(image: Image) -> Source:
    """Return the file of an image, and which part of it the image is, in a form that parameters of a rule can have."""
    return (image.path, *image.inside) if image.inside and image.path else image.path


def shared_by_plates(images_of: Iterable[tuple[str, Iterable[Image]]]) -> list[str]:
    """Return a line for every two plates that have images in common: a folder or list may stand in a wrong row.

    Parameters
    ----------
    images_of : iterable of (str, iterable of Image)
        Plates, and the images of their nuclei channels.
    """
    first, shared = {}, Counter()
    for plate, images in images_of:
        for image in good_images(images):
            other = first.setdefault(source_of(image), plate)
            if other != plate:
                shared[other, plate] += 1
    return [
        f"WARNING plate {plate}: {count} of its images are those of plate {other}, too, and count in both; is a folder "
        "or list in the wrong row of the sheet?"
        for (other, plate), count in shared.items()
    ]


def check_folders(folders: Mapping[str, str], names: Mapping[str, Iterable[str]], *, source: str) -> None:
    """Check that jobs, and Snakemake, can write where they do, and that no pipe lies there, which would be waited for.

    Parameters
    ----------
    folders : mapping of str to str
        Folder of results, logs and benchmarks, by these names.
    names : mapping of str to iterable of str
        Plates, slides and stacks, each of which has a folder of its own in these.
    source : str
        Of the configuration, for messages.

    Raises
    ------
    InputError
        One cannot be written or made.
    """
    own = [os.path.join(road, name) for road, of_road in names.items() for name in of_road]
    _check_folder(".snakemake", "Snakemake's own folder is")
    for name in SNAKEMAKE_FOLDERS:
        _check_folder(os.path.join(".snakemake", name), "Snakemake's own folder is")
    for kind, folder in folders.items():
        of_kind = f"{source}: 'results'" if kind == "results" else f"the folder for {kind}"
        _check_folder(folder, f"{of_kind} is")
        for inner in (*ROAD_FOLDERS, *own, *(os.path.join(name, "units") for name in own)):
            _check_folder(os.path.join(folder, inner), f"{of_kind} has")


def _check_folder(path, where):
    """Check that a folder can be written or made, and that all in it are files and folders."""
    if not os.path.lexists(path) and os.path.lexists(os.path.dirname(path)):
        return  # the folder above is checked, too
    check_writable(path, where=where)
    with suppress(FileNotFoundError), os.scandir(path) as entries:
        for entry in entries:
            if not (entry.is_file() or entry.is_dir() or (entry.is_symlink() and not os.path.exists(entry.path))):
                raise InputError(f"'{entry.path}' is a pipe, socket or device where jobs write a file; delete it")


class Files:
    """Input files as they were when the plan was made.

    Parameters
    ----------
    remote : fieldwork.inputs.remote.Remote
        Knows the objects at URLs.
    generated : frozenset of str
        Paths that a rule writes, whose state is Snakemake's business.
    """

    def __init__(self, remote: Remote, generated: frozenset[str] = frozenset()) -> None:
        self._remote = remote
        self._generated = generated
        self._now_ns = time.time_ns()
        self.stamp = functools.cache(self._stamp)

    def _stamp(self, path):
        """Return size and modification time, or None where there is no file; both, as an older file may replace one."""
        if is_url(path):
            return self._remote.known.get(path)
        try:
            status = os.stat(path)
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns

    def on_disk(self, paths: Iterable[str]) -> list[str]:
        """Return the paths of files that exist."""
        return [path for path in paths if not is_url(path) and self.stamp(path)]

    def newest(self, paths: Iterable[str]) -> list[str]:
        """Return what Snakemake is told of files: those that a rule writes, and the newest of the others.

        A file that is newer than a table has the table made again; all other changes show in `stamps`. All files would
        make planning several times as long, and the command lines of a cluster's jobs longer than Linux allows. Files
        from the future, by a wrong clock, are left out: Snakemake would find every new table too old. So are those with
        names that it cannot take.
        """
        paths = list(paths)
        past = [path for path in self.on_disk(paths) if self.stamp(path)[1] <= self._now_ns and suits_snakemake(path)]
        newest = max(past, key=lambda path: self.stamp(path)[1], default=None)
        return [path for path in paths if path in self._generated or path == newest]

    def stamps(self, paths: Iterable[str]) -> list[tuple | None]:
        """Return the state of each file that no rule writes."""
        return [self.stamp(path) for path in paths if path not in self._generated]

    def megabytes(self, paths: Iterable[str]) -> float:
        """Return the size of all files together, in MB."""
        return sum(stamp[0] for path in paths if (stamp := self.stamp(path))) / 1e6

    def exists(self, path: str) -> bool:
        """Return True for a file on disk, one that a rule writes, and any URL."""
        return path in self._generated or is_url(path) or bool(self.stamp(path))

    def fetched(self, paths: Iterable[str]) -> list:
        """Return Snakemake's inputs for all paths that are URLs: it fetches them, and jobs read its copies."""
        return [self._remote.input(path) for path in paths if is_url(path)]
