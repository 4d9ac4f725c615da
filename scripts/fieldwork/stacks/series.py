"""Write the images that a function returns for a stack's frames: one Zarr array or TIFF, by many processes."""

import functools
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile

from fieldwork import outputs

FILE_NAMES = {"zarr": "frames.zarr", "tiff": "frames.tif"}


class Series(NamedTuple):
    """A series of images on the disk: where and how its frames are written."""

    path: str  # its temporary name, a new one for every job, as workers keep it open
    kind: str
    shape: tuple[int, int, int]
    dtype: str
    offset: int = 0  # of the first pixel in a TIFF

    @property
    def form(self) -> tuple[tuple[int, int], str]:
        """Return shape and dtype of a frame."""
        return self.shape[1:], self.dtype


def lay_out(folder: str | os.PathLike, *, kind: str, n_frames: int, form: tuple[tuple[int, int], str]) -> Series:
    """Create a series whose pixels are 0, and delete what a killed job left.

    Zarr starts threads, so a process that calls this must not fork later.

    Parameters
    ----------
    folder : path-like
        The series appears in it, under a name of `FILE_NAMES`, when `finish` is called.
    kind : {'zarr', 'tiff'}
        A Zarr 3 array (t, y, x) with a chunk for each frame, or an uncompressed TIFF with a page for each frame.
    n_frames : int
    form : ((int, int), str)
        Rows and columns of each frame, and the dtype.

    Returns
    -------
    Series
    """
    clear(folder)
    path = Path(folder, outputs.part_name(FILE_NAMES[kind]))
    series = Series(os.fspath(path), kind, (n_frames, *form[0]), form[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "tiff":
        offset, _ = tifffile.imwrite(
            path,
            shape=series.shape,
            dtype=series.dtype,
            photometric="minisblack",  # else three frames would be taken for colours
            metadata={"axes": "TYX"},
            returnoffset=True,
        )
        return series._replace(offset=offset)
    import zarr  # it starts threads, here and below

    zarr.create_array(
        path,
        shape=series.shape,
        chunks=(1, *form[0]),
        dtype=series.dtype,
        compressors=zarr.codecs.ZstdCodec(level=1),
        fill_value=0,
        dimension_names=["t", "y", "x"],
    )
    return series


def write(series: Series, index: int, image: np.ndarray) -> None:
    """Write one frame of a series; other processes may write other frames at the same time."""
    if series.kind == "zarr":
        _opened(series.path)[index] = image
        return
    with open(series.path, "r+b", buffering=0) as file:
        file.seek(series.offset + index * image.nbytes)
        left = memoryview(np.ascontiguousarray(image)).cast("B")
        while left:
            left = left[file.write(left) :]


def finish(series: Series) -> None:
    """Rename a series from its temporary to its final name."""
    if series.kind == "zarr":
        for part in Path(series.path).rglob("*.partial"):  # zarr's, left by a worker that was killed
            part.unlink()
    os.replace(series.path, Path(series.path).with_name(FILE_NAMES[series.kind]))


def clear(folder: str | os.PathLike) -> None:
    """Delete the series in a folder, and the parts that killed jobs left."""
    for name in FILE_NAMES.values():
        path = Path(folder, name)
        outputs.clear_parts(path)
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)


@functools.cache
def _opened(path):
    """Open a series' Zarr array, once in every process."""
    import zarr

    return zarr.open_array(path, mode="r+")
