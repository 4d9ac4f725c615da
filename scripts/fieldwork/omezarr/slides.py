"""Write and read multiscale images as OME-Zarr: 0.5 (Zarr 3, sharded) or 0.4 (Zarr 2); slides, and plates of fields.

A slide's store is laid out once with `create`: RGB in planes c, y, x. Then any number of processes open it with
`open_levels` and write blocks: whole shards (0.5) or chunks (0.4) each, so that no two of them touch one file. A plate
is laid out with `create_plate`; processes write its fields, (t, c, z, y, x), with `write_field`. The bytes are the same
for any number of processes and any order. Parallelism is processes; in each one thread compresses. They may be forked
from a process that has used this module.
"""

import functools
import json
import os
from pathlib import Path

import cv2
import numcodecs
import numpy as np
import zarr

from fieldwork.omezarr.metadata import (
    CODECS,
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
    sizes_of,
    version_of,
)

CHANNELS = {"Red": "FF0000", "Green": "00FF00", "Blue": "0000FF"}
JPEG = "imagecodecs_jpeg"
JPEG_QUALITY = 90
SMALL = 1024  # px, chunk edge of associated images, which are shown whole


def create(path, *, shape, version, chunk, shard, codec, level, mpp, name, attributes=None):
    """Lay out a store of an RGB image: all metadata, and empty (white) arrays '0', '1', .. (3, y, x) of uint8.

    Parameters
    ----------
    path : path-like
        Folder to make; nothing may be there.
    shape : (int, int)
        Height and width of level 0, in pixels.
    version : {'0.5', '0.4'}
        Of OME-Zarr.
    chunk : int
        Edge of a chunk, in pixels; a chunk holds all three colours. For 'keep' it is that of the JPEG tiles.
    shard : int
        Edge of a shard of level 0, in pixels, ``chunk`` times a power of two; level n has ``shard >> n``, at least
        ``chunk``. Not used by 0.4.
    codec : {'zstd', 'lz4', 'none', 'keep'}
        How chunks are compressed (lz4 in Blosc). 'keep', with 0.4 alone: chunks are JPEG files, the slide's own put
        there by `put_tile`, and those of other levels by `write_jpegs`.
    level : int
        Compression level of zstd (1 to 22) or lz4 (1 to 9).
    mpp : (float, float) or None
        Height and width of a pixel of level 0, in micrometers; None where unknown: coordinates are then pixels.
    name : str
        Of the image.
    attributes : dict, optional
        Further properties, kept under the root group's attribute 'fieldwork'; must be JSON.

    Raises
    ------
    ValueError
        The version, the codec or the shard is not one of the above.
    FileExistsError
        Something is at ``path``.
    """
    if codec not in CODECS.get(version, ()):
        raise ValueError(f"OME-Zarr {version!r} with codec {codec!r}; expected one of {CODECS}")
    if version == "0.5" and shard not in (chunk << n for n in range(20)):
        raise ValueError(f"shard {shard}: expected chunk ({chunk}) times a power of two, as levels halve it")
    if os.path.lexists(path):
        raise FileExistsError(f"{path} is there already; expected a new folder")
    root = zarr.create_group(path, zarr_format=ZARR_FORMATS[version])
    colours = len(CHANNELS)
    shapes = [(colours, *sides) for sides in level_shapes(*shape, chunk=chunk)]
    layouts = [{"chunks": (colours, chunk, chunk), **compression_of(version, codec, level)} for _ in shapes]
    if version == "0.5":
        for n, layout in enumerate(layouts):
            layout["shards"] = (colours, *(max(chunk, shard >> n),) * 2)
    if codec == "keep":
        import imagecodecs.numcodecs

        # A JPEG decodes to interleaved colours: to Shuffle, three values of chunk ** 2 bytes each, which it turns.
        planar = numcodecs.Shuffle(elementsize=chunk**2)
        jpeg = {"chunks": (colours, chunk, chunk), "compressors": imagecodecs.numcodecs.Jpeg(), "filters": [planar]}
        layouts = [jpeg for _ in shapes]
    window = {"min": 0, "max": 255, "start": 0, "end": 255}
    extra = omero([Channel(label, color, window) for label, color in CHANNELS.items()])
    add_image(root, "cyx", shapes, layouts, sizes=sizes_of(mpp), name=name, fill_value=255, extra=extra)
    if attributes is not None:
        root.attrs["fieldwork"] = attributes
    if codec == "keep":  # zarr writes all the codec's options, unset ones too; readers need none
        for n in range(len(shapes)):
            metadata = Path(path, str(n), ".zarray")
            metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "compressor": {"id": JPEG}}, indent=2))


def halved(pixels):
    """Average squares of 2 x 2 pixels; beyond an odd side its last row or column counts twice.

    Parameters
    ----------
    pixels : (height, width) or (height, width, 3) array of any real dtype

    Returns
    -------
    (ceil(height / 2), ceil(width / 2)) or (ceil(height / 2), ceil(width / 2), 3) array
        Means of the same dtype; those of integers are rounded half up.
    """
    height, width = pixels.shape[:2]
    if pixels.dtype.name not in ("uint8", "uint16", "int16", "float32", "float64"):  # OpenCV has no others
        means = halved(pixels.astype(np.float64))
        return (means if pixels.dtype.kind == "f" else np.floor(means + 0.5)).astype(pixels.dtype)
    if height % 2 or width % 2:
        pixels = cv2.copyMakeBorder(pixels, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return cv2.resize(pixels, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)


@functools.cache
def kept_open(path):
    """Open a store's levels as `open_levels` does, once in this process: workers come back to them for every block."""
    return open_levels(path)


def open_levels(path):
    """Open a store's levels for reading and writing, and set zarr to one thread in this process.

    Parameters
    ----------
    path : path-like
        Of a store made by `create`, or of another image group.

    Returns
    -------
    list of zarr.Array
        (3, y, x) uint8, level 0 first.
    """
    zarr.config.set(ONE_THREAD)
    root = zarr.open_group(path, mode="r+")
    paths = [each["path"] for each in ome_of(root)["multiscales"][0]["datasets"]]
    if version_of(root) == "0.4":  # it may be of kept JPEG tiles, which zarrs does not know and leaves to zarr
        import imagecodecs.numcodecs

        numcodecs.registry.register_codec(imagecodecs.numcodecs.Jpeg)
    with by_zarrs():
        return [root[each] for each in paths]


def write(array, pixels, y, x):
    """Write a block of pixels.

    Parameters
    ----------
    array : zarr.Array
        (3, y, x), from `open_levels`.
    pixels : (height, width, 3) uint8 array
        RGB, interleaved. Whole shards, but at the image's right and bottom: others may write beside them.
    y, x : int
        Where its first pixel goes.
    """
    height, width = pixels.shape[:2]
    planes = np.empty((3, height, width), np.uint8)
    cv2.split(pixels, list(planes))
    side = (array.shards or array.chunks)[-1]
    for row in range(y // side, -(-(y + height) // side)):
        for column in range(x // side, -(-(x + width) // side)):
            # Files at the image's border are read before they are written, and one may be half of a killed writer's.
            name = array.metadata.encode_chunk_key((0, row, column))
            Path(array.store.root, array.path, name).unlink(missing_ok=True)
    array[:, y : y + height, x : x + width] = planes


def read(array, y, x, height, width):
    """Read a block of pixels that lies inside the image.

    Parameters
    ----------
    array : zarr.Array
        (3, y, x), from `open_levels`.
    y, x, height, width : int
        In pixels of this level.

    Returns
    -------
    (height, width, 3) uint8 array
        RGB, C-contiguous.
    """
    return cv2.merge(list(array[:, y : y + height, x : x + width]))


def read_level_0(path, y, x, height, width):
    """Read a block of pixels of a store's level 0, as `read`; the store stays open in this process."""
    return read(kept_open(path)[0], y, x, height, width)


def read_label(path, name):
    """Read the first level of a label image that `add_label` wrote, a (y, x) array."""
    return zarr.open_group(path, mode="r")[f"labels/{name}/0"][:]


def put_tile(path, level, row, column, stream):
    """Make a JPEG a tile of a store of codec 'keep', byte for byte.

    Parameters
    ----------
    path : path-like
        Of the store.
    level, row, column : int
        Of the tile; pixel (0, 0) of the image is in tile (0, 0).
    stream : bytes
        One whole JPEG file of the store's chunk size, at the image's right and bottom too; with its tables, and an
        Adobe marker if its colours are RGB.
    """
    folder = f"{os.fspath(path)}/{level}/0/{row}"
    part = f"{folder}/.{column}.part"  # no two processes write one tile, and a killed one's is written again
    os.makedirs(folder, exist_ok=True)
    with open(part, "wb") as file:
        file.write(stream)
    os.replace(part, f"{folder}/{column}")


def write_jpegs(path, level, pixels, y, x, *, tile):
    """Write a block of pixels to a store of codec 'keep', as new JPEG tiles of quality `JPEG_QUALITY`.

    Parameters
    ----------
    path : path-like
        Of the store.
    level : int
    pixels : (height, width, 3) uint8 array
        RGB. Whole tiles, but at the image's right and bottom.
    y, x : int
        Where its first pixel goes, multiples of `tile`.
    tile : int
        The store's chunk size.
    """
    import imagecodecs

    height, width = pixels.shape[:2]
    pixels = cv2.copyMakeBorder(pixels, 0, -height % tile, 0, -width % tile, cv2.BORDER_REPLICATE)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            part = np.ascontiguousarray(pixels[top : top + tile, left : left + tile])
            stream = imagecodecs.jpeg8_encode(part, level=JPEG_QUALITY, subsampling="420")
            put_tile(path, level, (y + top) // tile, (x + left) // tile, stream)


def add_label(path, name, mask, *, factor, mpp):
    """Add a label image, labels/<name>, to a store.

    It gets as many levels as the image has, as OME-Zarr demands, though it begins at a coarser one; each takes every
    second pixel of the one before.

    Parameters
    ----------
    path : path-like
        Of the store.
    name : str
    mask : (y, x) array of integers
        0 is background.
    factor : int
        Power of two: edge of the mask's pixels in pixels of level 0, made by halving.
    mpp : (float, float) or None
        As given to `create`: of level 0, not of the mask.

    Raises
    ------
    ValueError
        The mask is not a 2-D array of integers.
    """
    if mask.ndim != 2 or mask.dtype.kind not in "iu":
        raise ValueError(f"mask of shape {mask.shape} and type {mask.dtype}; expected 2-D integers")
    root = zarr.open_group(path, mode="r+")
    levels = len(ome_of(root)["multiscales"][0]["datasets"])
    chunk = root["0"].chunks[-1]
    masks = [mask[:: 2**n, :: 2**n] for n in range(levels)]
    with new_label(root, name) as (group, extra):
        arrays = add_image(
            group,
            "yx",
            [each.shape for each in masks],
            [{"chunks": (chunk, chunk), **compression_of(version_of(root), "zstd")}] * levels,
            places=[(factor * 2**n, (factor - 1) / 2) for n in range(levels)],
            sizes=sizes_of(mpp),
            name=name,
            dtype=mask.dtype,
            fill_value=0,
            extra=extra,
        )
        for array, each in zip(arrays, masks, strict=True):
            array[:] = each


def add_associated(path, name, image):
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
    layout = {"chunks": (len(CHANNELS), SMALL, SMALL), **compression_of(version, "zstd")}
    shape = len(CHANNELS), *image.shape[:2]
    (array,) = add_image(group, "cyx", [shape], [layout], sizes={}, name=name, fill_value=255, extra={})
    array[:] = np.ascontiguousarray(image.transpose(2, 0, 1))
