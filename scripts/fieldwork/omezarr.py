"""Write and read multiscale images as OME-Zarr: 0.5 (Zarr 3, sharded) or 0.4 (Zarr 2), RGB in planes c, y, x.

A store is laid out once with `create`. Then any number of processes open it with `open_levels` and write blocks:
whole shards (0.5) or chunks (0.4) each, so that no two of them touch one file; its bytes are the same for any number of
processes and any order. Parallelism is processes; in each one thread compresses. They may be forked from a process
that has used this module.
"""

import functools
import json
import os
import warnings
from pathlib import Path

import cv2
import numcodecs
import numpy as np
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

CODECS = {"0.4": ("zstd", "lz4", "none", "keep"), "0.5": ("zstd", "lz4", "none")}
CHANNELS = {"Red": "FF0000", "Green": "00FF00", "Blue": "0000FF"}
# zarrs writes 3 times as fast as zarr's own pipeline. Told this, it works in the calling thread alone: one core for one
# process, and no pool of threads, which a forked child would wait for for ever.
ZARRS = {
    "codec_pipeline.path": "zarrs.ZarrsCodecPipeline",
    "codec_pipeline.chunk_concurrent_minimum": 1,
    "codec_pipeline.chunk_concurrent_maximum": 1,
}
ONE_THREAD = {"threading.max_workers": 1, "async.concurrency": 1}
JPEG = "imagecodecs_jpeg"
JPEG_QUALITY = 90
SMALL = 1024  # px, chunk edge of associated images, which are shown whole


def level_shapes(height, width, *, chunk):
    """Give the sizes of a pyramid's levels: halved, rounded up, until both sides fit into one chunk.

    Parameters
    ----------
    height, width : int
        Of level 0, in pixels; at least 1.
    chunk : int
        Edge of a chunk, in pixels.

    Returns
    -------
    list of (int, int)
        Height and width of every level, level 0 first.
    """
    shapes = [(height, width)]
    while max(shapes[-1]) > chunk:
        shapes.append(tuple((side + 1) // 2 for side in shapes[-1]))
    return shapes


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
    root = zarr.create_group(path, zarr_format=2 if version == "0.4" else 3)
    shapes = level_shapes(*shape, chunk=chunk)
    layouts = [{"chunks": (chunk, chunk), **_compression(version, codec, level)} for _ in shapes]
    if version == "0.5":
        for n, layout in enumerate(layouts):
            layout["shards"] = (max(chunk, shard >> n),) * 2
    if codec == "keep":
        import imagecodecs.numcodecs

        # A JPEG decodes to interleaved colours: to Shuffle, three values of chunk ** 2 bytes each, which it turns.
        planar = numcodecs.Shuffle(elementsize=chunk**2)
        jpeg = {"chunks": (chunk, chunk), "compressors": imagecodecs.numcodecs.Jpeg(), "filters": [planar]}
        layouts = [jpeg for _ in shapes]
    window = {"min": 0, "max": 255, "start": 0, "end": 255}
    channels = [
        {"label": label, "color": color, "window": window, "active": True, "coefficient": 1, "family": "linear"}
        for label, color in CHANNELS.items()
    ]
    omero = {"channels": channels, "rdefs": {"model": "color", "defaultT": 0, "defaultZ": 0}}
    places = [(2**n, (2**n - 1) / 2) for n in range(len(shapes))]  # levels are means of 2 x 2 pixels
    _add_image(root, shapes, layouts, places, mpp, name, channels=len(CHANNELS), extra={"omero": omero})
    if attributes is not None:
        root.attrs["fieldwork"] = attributes
    if codec == "keep":  # zarr writes all the codec's options, unset ones too; readers need none
        for n in range(len(shapes)):
            metadata = Path(path, str(n), ".zarray")
            metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "compressor": {"id": JPEG}}, indent=2))


def _compression(version, codec, level=1):
    """Give the compressor of a codec as `zarr.create_array` takes it."""
    if codec == "none":
        return {"compressors": None}
    if codec == "lz4":
        level = min(level, 9)
        # Blosc's: Zarr 3 has no bare LZ4, and of Zarr 2 few readers know it
        zarr_3 = BloscCodec(typesize=1, cname="lz4", clevel=level, shuffle="noshuffle")
        zarr_2 = numcodecs.Blosc("lz4", level, numcodecs.Blosc.NOSHUFFLE)
    else:
        zarr_3, zarr_2 = ZstdCodec(level=level), numcodecs.Zstd(level)
    return {"compressors": zarr_3 if version == "0.5" else zarr_2}


def _add_image(group, shapes, layouts, places, mpp, name, *, channels=None, dtype="uint8", fill_value=255, extra):
    """Make the levels and the OME metadata of one image in a group.

    ``shapes``, ``layouts`` and ``places`` are by level: (y, x); options of `zarr.create_array` for the axes y and x;
    (scale, translation) in pixels of level 0. Without ``channels`` there is no axis c.
    """
    version = _version(group)
    lead, letters = ((), "yx") if channels is None else ((channels,), "cyx")
    for n, (shape, layout) in enumerate(zip(shapes, layouts, strict=True)):
        grid = {key: lead + layout[key] for key in ("chunks", "shards") if key in layout}
        if version == "0.5":
            grid["dimension_names"] = list(letters)
        else:
            grid["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
        group.create_array(str(n), shape=lead + tuple(shape), dtype=dtype, fill_value=fill_value, **(layout | grid))
    unit = {} if mpp is None else {"unit": "micrometer"}
    spaces = [{"name": axis, "type": "space", **unit} for axis in "yx"]
    size = np.array(mpp or (1, 1), float)
    ones, zeros = [1.0] * len(lead), [0.0] * len(lead)
    image = {
        "name": name,
        "axes": [{"name": "c", "type": "channel"}] * len(lead) + spaces,
        "datasets": [
            {
                "path": str(n),
                "coordinateTransformations": [
                    {"type": "scale", "scale": ones + (scale * size).tolist()},
                    {"type": "translation", "translation": zeros + (translation * size).tolist()},
                ],
            }
            for n, (scale, translation) in enumerate(places)
        ],
    }
    if version == "0.5":
        group.attrs["ome"] = {"version": version, "multiscales": [image], **extra}
    else:
        group.attrs.update({"multiscales": [{"version": version, **image}], **extra})


def _version(group):
    """Give the version of OME-Zarr that a group is of."""
    return {2: "0.4", 3: "0.5"}[group.metadata.zarr_format]


def _ome(group):
    """Give a group's OME metadata, which 0.5 keeps under one key."""
    return group.attrs.get("ome", group.attrs)


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
    paths = [each["path"] for each in _ome(root)["multiscales"][0]["datasets"]]
    if _version(root) == "0.4":  # it may be of kept JPEG tiles, which zarrs does not know and leaves to zarr
        import imagecodecs.numcodecs

        numcodecs.registry.register_codec(imagecodecs.numcodecs.Jpeg)
    with warnings.catch_warnings(), zarr.config.set(ZARRS):
        warnings.filterwarnings("ignore", "Array is unsupported by ZarrsCodecPipeline")
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
    levels = len(_ome(root)["multiscales"][0]["datasets"])
    chunk = root["0"].chunks[-1]
    version = _version(root)
    labels = root.require_group("labels")
    names = [*_ome(labels).get("labels", []), name]
    group = labels.create_group(name)
    masks = [mask[:: 2**n, :: 2**n] for n in range(levels)]
    _add_image(
        group,
        [each.shape for each in masks],
        [{"chunks": (chunk, chunk), **_compression(version, "zstd")}] * levels,
        [(factor * 2**n, (factor - 1) / 2) for n in range(levels)],
        mpp,
        name,
        dtype=mask.dtype,
        fill_value=0,
        extra={"image-label": {"version": version, "source": {"image": "../../"}}},
    )
    for n, each in enumerate(masks):
        group[str(n)][:] = each
    if version == "0.5":  # last: until here a reader does not see it
        labels.attrs["ome"] = {"version": version, "labels": names}
    else:
        labels.attrs["labels"] = names


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
    version = _version(root)
    group = root.require_group("associated").create_group(name)
    layout = {"chunks": (SMALL, SMALL), **_compression(version, "zstd")}
    _add_image(group, [image.shape[:2]], [layout], [(1, 0)], None, name, channels=len(CHANNELS), extra={})
    group["0"][:] = np.ascontiguousarray(image.transpose(2, 0, 1))
