"""The images that a function gives for the frames of a stack: one Zarr array or one TIFF, written by many processes."""

import functools
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fieldwork import outputs

NAMES = {"zarr": "frames.zarr", "tiff": "frames.tif"}


class Series(NamedTuple):
    """A series of images that has been laid out: where and how its frames are written."""

    path: str  # under its temporary name, another one for every job: workers keep it open
    kind: str
    shape: tuple[int, int, int]
    dtype: str
    offset: int = 0  # of the first pixel in a TIFF

    @property
    def form(self):
        """Shape and dtype of a frame."""
        return self.shape[1:], self.dtype


def lay_out(folder, *, kind, n_frames, form):
    """Begin a series without pixels (0), in place of what a killed job began.

    Parameters
    ----------
    folder : path-like
        Where it is to appear, under a name of `NAMES`, when `finish` is called.
    kind : {'zarr', 'tiff'}
        A Zarr 3 array (t, y, x) with a chunk for every frame, or an uncompressed TIFF with a page for every frame.
    n_frames : int
    form : ((int, int), str)
        Rows and columns of each frame, and the dtype.

    Returns
    -------
    Series
    """
    clear(folder)
    path = Path(folder, outputs.part_name(NAMES[kind]))
    series = Series(os.fspath(path), kind, (n_frames, *form[0]), form[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "tiff":
        import tifffile

        offset, _ = tifffile.imwrite(
            path,
            shape=series.shape,
            dtype=series.dtype,
            photometric="minisblack",  # three frames are no colours
            metadata={"axes": "TYX"},
            returnoffset=True,
        )
        return series._replace(offset=offset)
    import zarr  # here and below: it starts threads, so that this is for processes that fork no more

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


def write(series, index, image):
    """Write one frame of a series; others may write other frames at the same time."""
    if series.kind == "zarr":
        _opened(series.path)[index] = image
        return
    with open(series.path, "r+b", buffering=0) as file:
        file.seek(series.offset + index * image.nbytes)
        left = memoryview(np.ascontiguousarray(image)).cast("B")
        while left:
            left = left[file.write(left) :]


def finish(series):
    """Move a series to where it is to appear."""
    if series.kind == "zarr":
        for part in Path(series.path).rglob("*.partial"):  # zarr's, of a worker that was killed
            part.unlink()
    os.replace(series.path, Path(series.path).with_name(NAMES[series.kind]))


def clear(folder):
    """Delete the series that a folder holds, and what a killed job began."""
    for name in NAMES.values():
        path = Path(folder, name)
        outputs.clear_parts(path)
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)


@functools.cache
def _opened(path):
    import zarr

    return zarr.open_array(path, mode="r+")
