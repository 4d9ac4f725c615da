"""Write an image for every frame of a stack, such as a function returns: one Zarr array or TIFF, by many processes."""

import functools
import itertools
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile

from fieldwork import label_images, outputs

SUFFIXES = {"zarr": ".zarr", "tiff": ".tif"}
IMAGES, LABELS = "frames", "labels"  # names of series: what a function returned, outlines of nuclei
LABEL_DTYPE = np.dtype(np.uint32).str


class Series(NamedTuple):
    """A series of images on the disk: where and how its frames are written."""

    path: str  # its temporary name, a new one for every job, as workers keep it open
    kind: str
    shape: tuple[int, int, int]
    dtype: str
    name: str  # of the file or folder, in the end
    offset: int = 0  # of the first pixel in a TIFF

    @property
    def form(self) -> tuple[tuple[int, int], str]:
        """Return shape and dtype of a frame."""
        return self.shape[1:], self.dtype


def lay_out(
    folder: str | os.PathLike, *, kind: str, n_frames: int, form: tuple[tuple[int, int], str], name: str = IMAGES
) -> Series:
    """Create a series whose pixels are 0, and delete what a killed job left.

    Zarr starts threads, so a process that calls this must not fork later.

    Parameters
    ----------
    folder : path-like
        The series appears in it when `finish` is called.
    kind : {'zarr', 'tiff'}
        A Zarr 3 array (t, y, x) with a chunk for each frame, or an uncompressed TIFF with a page for each frame.
    n_frames : int
    form : ((int, int), str)
        Rows and columns of each frame, and the dtype.
    name : str
        Of the series, without suffix.

    Returns
    -------
    Series
    """
    clear(folder)
    file_name = f"{name}{SUFFIXES[kind]}"
    path = Path(folder, outputs.part_name(file_name))
    series = Series(os.fspath(path), kind, (n_frames, *form[0]), form[1], file_name)
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


def write_labels(series: Series, index: int, encoded: bytes, shape: tuple[int, int]) -> None:
    """Write the label image of one frame; a smaller one is padded with 0 at the bottom and at the right.

    Parameters
    ----------
    series : Series
        Of `LABEL_DTYPE`.
    index : int
    encoded : bytes
        From `label_images.encode`.
    shape : (int, int)
        Its rows and columns.
    """
    height, width = series.shape[1:]
    if series.kind == "tiff" or shape != (height, width):
        labels = np.zeros((height, width), np.uint32)
        labels[: shape[0], : shape[1]] = label_images.decode(encoded, shape)
        if series.kind == "tiff":
            write(series, index, labels)
            return
        encoded = label_images.encode(labels)
    chunk = Path(series.path, "c", str(index), "0", "0")  # `encode` gives what such a file holds
    chunk.parent.mkdir(parents=True)
    chunk.write_bytes(encoded)


def read_labels(path: str | os.PathLike, index: int) -> np.ndarray:
    """Read the label image, (rows, columns) uint32, of one frame of a series."""
    if Path(path).suffix == SUFFIXES["tiff"]:
        return tifffile.imread(path, key=index)
    import zarr

    return zarr.open_array(path, mode="r")[index]


def finish(series: Series) -> None:
    """Rename a series from its temporary to its final name."""
    if series.kind == "zarr":
        for part in Path(series.path).rglob("*.partial"):  # zarr's, left by a worker that was killed
            part.unlink()
    os.replace(series.path, Path(series.path).with_name(series.name))


def clear(folder: str | os.PathLike) -> None:
    """Delete the series in a folder, and the parts that killed jobs left."""
    for name, suffix in itertools.product((IMAGES, LABELS), SUFFIXES.values()):
        path = Path(folder, f"{name}{suffix}")
        outputs.clear_parts(path)
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)


@functools.cache
def _opened(path):
    """Open a series' Zarr array, once in every process."""
    import zarr

    return zarr.open_array(path, mode="r+")
