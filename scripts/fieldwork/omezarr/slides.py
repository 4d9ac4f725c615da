"""Write and read slides as OME-Zarr: RGB or channels of fluorescence, in planes c, y, x.

`create_slide` lays a store out. Then any number of processes open it with `open_levels` and write blocks: whole shards
(0.5) or whole chunks (0.4), so that no two processes touch one file.
"""

import functools
import json
import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import imagecodecs.numcodecs
import numcodecs
import numpy as np
import zarr

from fieldwork.omezarr.metadata import (
    ONE_THREAD,
    ZARR_FORMATS,
    Channel,
    add_image,
    by_zarrs,
    compression_of,
    level_shapes,
    new_label,
    ome_of,
    omero,
    version_of,
)

CODECS = {"0.4": ("zstd", "lz4", "none", "keep"), "0.5": ("zstd", "lz4", "none")}
RGB_COLOURS = {"Red": "FF0000", "Green": "00FF00", "Blue": "0000FF"}  # label -> RRGGBB
RGB_WINDOW = {"min": 0, "max": 255, "start": 0, "end": 255}
RGB_CHANNELS = [Channel(label, colour, RGB_WINDOW) for label, colour in RGB_COLOURS.items()]
JPEG_CODEC_ID = "imagecodecs_jpeg"
LEVEL_0_JPEG = {"level": 100, "subsampling": "444", "outcolorspace": "RGB"}
LOWER_LEVELS_JPEG = {"level": 90, "subsampling": "420"}
ASSOCIATED_CHUNK_PX = 1024  # edge; associated images are shown at full size


def create_slide(
    path: str | PathLike,
    *,
    shape: tuple[int, int],
    version: str,
    chunk: int,
    shard: int,
    codec: str,
    level: int,
    mpp: tuple[float, float] | None,
    name: str,
    channels: Sequence[Channel] = RGB_CHANNELS,
    dtype: np.dtype | str = "uint8",
    attributes: dict[str, Any] | None = None,
) -> None:
    """Lay out a store of a slide: all metadata, and empty arrays '0', '1', .. (c, y, x).

    Parameters
    ----------
    path : path-like
        A new folder; it must not exist.
    shape : (int, int)
        Height and width of level 0, in pixels.
    version : {'0.5', '0.4'}
        Of OME-Zarr.
    chunk : int
        Edge of a chunk, in pixels; a chunk holds all three colours of RGB, or one channel of fluorescence. For
        'keep', the edge of the JPEG tiles.
    shard : int
        Edge of a shard of level 0, in pixels, ``chunk`` times a power of two; level n has ``shard >> n``, at least
        ``chunk``. Not used by 0.4.
    codec : {'zstd', 'lz4', 'none', 'keep'}
        Compression of chunks (lz4 in Blosc). 'keep', with 0.4 alone: chunks are JPEG files; `put_tile` stores the
        slide's own, and `write_jpegs` those of other levels.
    level : int
        Compression level of zstd (1 to 22) or lz4 (1 to 9).
    mpp : (float, float) or None
        Height and width of a pixel of level 0, in micrometres; None where unknown: coordinates are then pixels.
    name : str
        Of the image.
    channels : sequence of Channel
        By default RGB, which is white where nothing is written; other channels are 0 there.
    dtype : numpy.dtype or str
        uint8 or uint16.
    attributes : dict, optional
        Further properties, kept under the root group's attribute 'fieldwork'; must be JSON.

    Raises
    ------
    ValueError
        The version, the codec or the shard is not one of the above.
    FileExistsError
        ``path`` exists.
    """
    if codec not in CODECS.get(version, ()):
        raise ValueError(f"OME-Zarr {version!r} with codec {codec!r}; expected one of {CODECS}")
    if version == "0.5" and shard not in (chunk << n for n in range(20)):
        raise ValueError(f"shard {shard}: expected chunk ({chunk}) times a power of two, as levels halve it")
    if os.path.lexists(path):
        raise FileExistsError(f"{path} is there already; expected a new folder")
    root = zarr.create_group(path, zarr_format=ZARR_FORMATS[version])
    is_rgb = list(channels) == RGB_CHANNELS
    shapes = [(len(channels), *sides) for sides in level_shapes(*shape, chunk=chunk)]
    if codec == "keep":
        # A JPEG decodes to interleaved colours: to Shuffle, three values of chunk ** 2 bytes each, which it turns.
        planar = numcodecs.Shuffle(elementsize=chunk**2)
        compression = {"compressors": imagecodecs.numcodecs.Jpeg(), "filters": [planar]}
    else:
        compression = compression_of(version, codec, level, typesize=np.dtype(dtype).itemsize)
    layouts = [{"chunks": (len(channels) if is_rgb else 1, chunk, chunk), **compression} for _ in shapes]
    if version == "0.5":
        for n, layout in enumerate(layouts):
            layout["shards"] = (len(channels), *(max(chunk, shard >> n),) * 2)
    options = {"sizes": _sizes_of(mpp), "name": name, "dtype": dtype, "extra": omero(channels)}
    add_image(root, "cyx", shapes, layouts, fill_value=255 if is_rgb else 0, **options)
    if attributes is not None:
        root.attrs["fieldwork"] = attributes
    if codec == "keep":  # zarr writes all the codec's options, unset ones too; readers need none
        for n in range(len(shapes)):
            file = Path(path, str(n), ".zarray")
            metadata = json.loads(file.read_text()) | {"compressor": {"id": JPEG_CODEC_ID}}
            file.write_text(json.dumps(metadata, indent=2))


def _sizes_of(mpp):
    """Return the pixel size of the axes y and x, empty where it is unknown."""
    return {} if mpp is None else dict(zip("yx", mpp, strict=True))


@functools.cache
def cached_levels(path: str | PathLike) -> list[zarr.Array]:
    """Open a store's levels as `open_levels` does, once in this process: workers use them for every block."""
    return open_levels(path)


def open_levels(path: str | PathLike) -> list[zarr.Array]:
    """Open a store's levels for reading and writing, and set zarr to one thread in this process.

    Parameters
    ----------
    path : path-like
        Of a store that `create_slide` laid out, or of another image group.

    Returns
    -------
    list of zarr.Array
        (c, y, x), level 0 first.
    """
    zarr.config.set(ONE_THREAD)
    root = zarr.open_group(path, mode="r+")
    paths = [dataset["path"] for dataset in ome_of(root)["multiscales"][0]["datasets"]]
    if version_of(root) == "0.4":  # perhaps of kept JPEG tiles, which zarrs does not know and leaves to zarr
        numcodecs.registry.register_codec(imagecodecs.numcodecs.Jpeg)
    with by_zarrs():
        return [root[path] for path in paths]


def write_block(array: zarr.Array, pixels: np.ndarray, y: int, x: int) -> None:
    """Write a block of pixels.

    Parameters
    ----------
    array : zarr.Array
        (c, y, x), from `open_levels`.
    pixels : (height, width, c) array
        Interleaved, of the array's type. Whole shards, except at the right and bottom border: other processes write
        their neighbours.
    y, x : int
        Position of its first pixel in the level.
    """
    height, width = pixels.shape[:2]
    planes = np.empty((pixels.shape[2], height, width), pixels.dtype)
    cv2.split(pixels, list(planes))
    depth, _, side = array.shards or array.chunks
    for channel in range(len(planes) // depth):
        for row in range(y // side, -(-(y + height) // side)):
            for column in range(x // side, -(-(x + width) // side)):
                # zarr reads files at the image's border before it writes them, and a killed writer leaves half a file.
                name = array.metadata.encode_chunk_key((channel, row, column))
                Path(array.store.root, array.path, name).unlink(missing_ok=True)
    array[:, y : y + height, x : x + width] = planes


def read_block(array: zarr.Array, y: int, x: int, height: int, width: int) -> np.ndarray:
    """Read a block of pixels that lies inside the image.

    Parameters
    ----------
    array : zarr.Array
        (c, y, x), from `open_levels`.
    y, x, height, width : int
        In pixels of this level.

    Returns
    -------
    (height, width, c) array
        C-contiguous.
    """
    return np.atleast_3d(cv2.merge(list(array[:, y : y + height, x : x + width])))


def read_rgb(path: str | PathLike, array: zarr.Array, y: int, x: int, height: int, width: int) -> np.ndarray:
    """Read a block of pixels as viewers show it; channels in their colours, between the values of their windows.

    Parameters
    ----------
    path : path-like
        Of the store.
    array : zarr.Array
        One of its levels.
    y, x, height, width : int
        In pixels of this level.

    Returns
    -------
    (height, width, 3) uint8 array
        RGB.
    """
    pixels, channels = read_block(array, y, x, height, width), _channels(path)
    if [channel["label"] for channel in channels] == list(RGB_COLOURS):
        return pixels
    shown = np.zeros((height, width, 3), np.float32)
    for plane, channel in zip(np.moveaxis(pixels, 2, 0), channels, strict=True):
        start, end = channel["window"]["start"], channel["window"]["end"]
        share = np.clip((plane.astype(np.float32) - start) / max(end - start, 1), 0, 1)
        shown += share[..., np.newaxis] * np.array([*bytes.fromhex(channel["color"])], np.float32)
    return np.minimum(shown, 255).astype(np.uint8)


@functools.lru_cache(maxsize=8)
def _channels(path):
    return ome_of(zarr.open_group(path, mode="r"))["omero"]["channels"]


def read_level_0(path: str | PathLike, y: int, x: int, height: int, width: int) -> np.ndarray:
    """Read a block of pixels of a store's level 0, as `read_block`; the store stays open in this process."""
    return read_block(cached_levels(path)[0], y, x, height, width)


def read_label(path: str | PathLike, name: str) -> np.ndarray:
    """Read the first level of a label image that `add_label` wrote, a (y, x) array of integers."""
    return zarr.open_group(path, mode="r")[f"labels/{name}/0"][:]


def put_tile(path: str | PathLike, level: int, row: int, column: int, stream: bytes) -> None:
    """Store a JPEG, byte for byte, as a tile of a store of codec 'keep'.

    Parameters
    ----------
    path : path-like
        Of the store.
    level, row, column : int
        Of the tile; pixel (0, 0) of the image is in tile (0, 0).
    stream : bytes
        A complete JPEG file of the store's chunk size, at the image's right and bottom too; with its tables, and an
        Adobe marker if its colours are RGB.
    """
    folder = f"{os.fspath(path)}/{level}/0/{row}"
    part = f"{folder}/.{column}.part"  # no two processes write one tile, and the next run overwrites a killed one's
    os.makedirs(folder, exist_ok=True)
    with open(part, "wb") as file:
        file.write(stream)
    os.replace(part, f"{folder}/{column}")


def write_jpegs(path: str | PathLike, level: int, pixels: np.ndarray, y: int, x: int, *, tile: int) -> None:
    """Write a block of pixels to a store of codec 'keep', as new JPEG tiles.

    Those of level 0, where the slide's own cannot be kept, have its pixels within one grey level: RGB of quality 100
    (of YCbCr it would be 4). The others have quality 90.

    Parameters
    ----------
    path : path-like
        Of the store.
    level : int
    pixels : (height, width, 3) uint8 array
        RGB. Whole tiles, except at the image's right and bottom border.
    y, x : int
        Position of its first pixel in the level, multiples of `tile`.
    tile : int
        The store's chunk size, in pixels.
    """
    height, width = pixels.shape[:2]
    pixels = cv2.copyMakeBorder(pixels, 0, -height % tile, 0, -width % tile, cv2.BORDER_REPLICATE)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            part = np.ascontiguousarray(pixels[top : top + tile, left : left + tile])
            stream = imagecodecs.jpeg8_encode(part, **(LOWER_LEVELS_JPEG if level else LEVEL_0_JPEG))
            put_tile(path, level, (y + top) // tile, (x + left) // tile, stream)


def add_label(
    path: str | PathLike, name: str, mask: np.ndarray, *, factor: int, mpp: tuple[float, float] | None
) -> None:
    """Add a label image, labels/<name>, to a store.

    It gets as many levels as the image has, as OME-Zarr demands, though it begins at a coarser level. Each level takes
    every second pixel of the level before.

    Parameters
    ----------
    path : path-like
        Of the store.
    name : str
    mask : (y, x) array of integers
        0 is background.
    factor : int
        Edge of the mask's pixels in pixels of level 0.
    mpp : (float, float) or None
        As for `create_slide`: of level 0, not of the mask.

    Raises
    ------
    ValueError
        The mask is not a 2-D array of integers.
    """
    if mask.ndim != 2 or mask.dtype.kind not in "iu":
        raise ValueError(f"mask of shape {mask.shape} and type {mask.dtype}; expected 2-D integers")
    arrays = open_levels(path)
    levels, chunk = len(arrays), arrays[0].chunks[-1]
    root = zarr.open_group(path, mode="r+")
    masks = [mask[:: 2**n, :: 2**n] for n in range(levels)]
    with new_label(root, name) as (group, extra):
        arrays = add_image(
            group,
            "yx",
            [pixels.shape for pixels in masks],
            [{"chunks": (chunk, chunk), **compression_of(version_of(root), "zstd")}] * levels,
            origins=[(factor * 2**n, (factor - 1) / 2) for n in range(levels)],
            sizes=_sizes_of(mpp),
            name=name,
            dtype=mask.dtype,
            fill_value=0,
            extra=extra,
        )
        for array, pixels in zip(arrays, masks, strict=True):
            array[:] = pixels


def add_associated(path: str | PathLike, name: str, image: np.ndarray) -> None:
    """Add a picture without a scale, such as a slide's label or macro, as the image group associated/<name>.

    Parameters
    ----------
    path : path-like
        Of the store.
    name : str
    image : (y, x, 3) uint8 array
        RGB.
    """
    root = zarr.open_group(path, mode="r+")
    version = version_of(root)
    group = root.require_group("associated").create_group(name)
    chunks = len(RGB_CHANNELS), ASSOCIATED_CHUNK_PX, ASSOCIATED_CHUNK_PX
    layout = {"chunks": chunks, **compression_of(version, "zstd")}
    shape = len(RGB_CHANNELS), *image.shape[:2]
    (array,) = add_image(group, "cyx", [shape], [layout], sizes={}, name=name, fill_value=255, extra={})
    array[:] = np.ascontiguousarray(image.transpose(2, 0, 1))
