"""Label images of slides, from level 0 on, written window after window into a store that is there already."""

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import numpy as np
import zarr

from fieldwork import label_images, outputs
from fieldwork.omezarr import slides
from fieldwork.omezarr.metadata import (
    ZARR_FORMATS,
    add_image,
    by_zarrs,
    compression_of,
    ome_of,
    set_ome,
    version_of,
)

SQUARE_PX = 2048  # the most of a level's side that is written at once, and is in one file; of uint32, 17 MB


@contextmanager
def label_writer(
    path: str | PathLike, name: str, *, mpp: tuple[float, float] | None
) -> Iterator[Callable[[np.ndarray, np.ndarray, tuple[int, int]], None]]:
    """Yield a function that adds objects to a label image, labels/<name>, which appears complete or not at all.

    It has as many levels as the image, each with every second pixel of the level before, and the image's chunks; in
    0.5, these are in shards. What is empty has no file. A label image of that name from an earlier job goes at once.

    Parameters
    ----------
    path : path-like
        Of a store that `slides.create_slide` laid out.
    name : str
        Of the label image, of type uint32.
    mpp : (float, float) or None
        Height and width of a pixel of level 0, in micrometres.

    Yields
    ------
    callable
        ``add(numbers, labels, origin)``: the numbers, (n,), of objects, at least one; their labels 1..n in a window,
        (rows, columns); the level-0 row and column of the window's first pixel. Windows come in an order in which none
        has a pixel above the row of blocks, of `SQUARE_PX` each, that holds the first pixel of the window before.

    Notes
    -----
    What cannot be written yet, as later windows may reach into it, waits in memory, compressed: of 60,000 columns
    crowded with nuclei 20 MB.
    """
    discard_label(path, name)
    image = slides.open_levels(path)
    labels = zarr.open_group(path, mode="r+").require_group("labels")
    version = version_of(labels)
    with outputs.atomic_folder(Path(path, "labels", name)) as part:
        group = zarr.create_group(part, zarr_format=ZARR_FORMATS[version], overwrite=True)
        with by_zarrs():
            arrays = _add_levels(group, image, name=name, mpp=mpp, version=version)
        first = None
        for array in reversed(arrays):
            first = _Level(array, first)
        done = 0

        def add(numbers, labels, origin):
            nonlocal done
            row = origin[0] + int(np.flatnonzero(labels.any(1))[0])
            if row // SQUARE_PX > done:
                done = row // SQUARE_PX
                first.write_above(done * SQUARE_PX)
            first.add(np.append(0, numbers).astype(np.uint32)[labels], *origin)

        yield add
        first.write_above(arrays[0].shape[0])
    set_ome(labels, version, {"labels": [*_listed(labels), name]})


def discard_label(path: str | PathLike, name: str) -> None:
    """Delete a label image of a slide's store, and what a killed job left of it, if there is one."""
    folder = Path(path, "labels", name)
    outputs.clear_parts(folder)
    if folder.exists():
        labels = zarr.open_group(folder.parent, mode="r+")
        set_ome(labels, version_of(labels), {"labels": [other for other in _listed(labels) if other != name]})
        shutil.rmtree(folder)


def _listed(labels):
    return ome_of(labels).get("labels", [])


def _add_levels(group, image, *, name, mpp, version):
    """Add empty levels and the metadata to the group of a label image; `image` has the levels of its image."""
    chunk, layouts = min(image[0].chunks[-1], SQUARE_PX), []
    for level in range(len(image)):
        layout = {"chunks": (chunk, chunk), **compression_of(version, "zstd", typesize=4)}
        if version == "0.5":
            layout["shards"] = (max(1, (SQUARE_PX >> level) // chunk) * chunk,) * 2
        layouts.append(layout)
    return add_image(
        group,
        "yx",
        [array.shape[-2:] for array in image],
        layouts,
        origins=[(2**level, 0) for level in range(len(image))],
        sizes={} if mpp is None else dict(zip("yx", mpp, strict=True)),
        name=name,
        dtype="uint32",
        fill_value=0,
        extra={"image-label": {"version": version, "source": {"image": "../../"}}},
    )


class _Level:
    """A level of a label image, written in squares, row by row; every square goes on to the next level.

    Parameters
    ----------
    array : zarr.Array
    following : _Level or None
    """

    def __init__(self, array, following):
        self._array, self._following = array, following
        chunk = array.chunks[-1]
        self._side = array.shards[-1] if array.shards else max(1, SQUARE_PX // chunk) * chunk
        self._waiting = defaultdict(list)  # row and column of a square -> top, left, shape, encoded pixels of its parts

    def add(self, labels, top, left):
        """Keep a window, whose first pixel has this row and column, until its squares are written."""
        height, width = labels.shape
        for row in range(top // self._side, (top + height - 1) // self._side + 1):
            for column in range(left // self._side, (left + width - 1) // self._side + 1):
                y, x = max(row * self._side, top), max(column * self._side, left)
                part = labels[y - top : (row + 1) * self._side - top, x - left : (column + 1) * self._side - left]
                if part.any():
                    self._waiting[row, column].append((y, x, part.shape, label_images.encode(part)))

    def write_above(self, end):
        """Write the squares all of whose rows are above a row; no window reaches there any more."""
        height = self._array.shape[0]
        for row, column in sorted(self._waiting):
            if min((row + 1) * self._side, height) <= end:
                self._write(row * self._side, column * self._side, self._waiting.pop((row, column)))
        if self._following is not None:
            self._following.write_above(-(-(end - end % self._side if end < height else height) // 2))

    def _write(self, top, left, parts):
        height, width = (
            min(self._side, side - first) for side, first in zip(self._array.shape, (top, left), strict=True)
        )
        pixels = np.zeros((height, width), np.uint32)
        for y, x, shape, encoded in parts:
            part = label_images.decode(encoded, shape)
            area = pixels[y - top : y - top + shape[0], x - left : x - left + shape[1]]
            np.copyto(area, part, where=part > 0)
        self._array[top : top + height, left : left + width] = pixels
        if self._following is not None:
            self._following.add(pixels[top % 2 :: 2, left % 2 :: 2], -(-top // 2), -(-left // 2))
