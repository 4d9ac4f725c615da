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
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numcodecs
import numpy as np
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

from fieldwork.wells import ROWS, place_of, plate_format

CODECS = {"0.4": ("zstd", "lz4", "none", "keep"), "0.5": ("zstd", "lz4", "none")}
CHANNELS = {"Red": "FF0000", "Green": "00FF00", "Blue": "0000FF"}
# zarrs writes 3 times as fast as zarr's own pipeline. Told this, it works in the calling thread alone: one core for one
# process, and no pool of threads, which a forked child would wait for for ever.
ZARRS = {
    "codec_pipeline.path": "zarrs.ZarrsCodecPipeline",
    "codec_pipeline.chunk_concurrent_minimum": 1,
    "codec_pipeline.chunk_concurrent_maximum": 1,
}
# Several threads would also put a shard's chunks in any order.
ONE_THREAD = {"threading.max_workers": 1, "async.concurrency": 1}
ZARR_FORMATS = {"0.4": 2, "0.5": 3}
JPEG = "imagecodecs_jpeg"
JPEG_QUALITY = 90
SMALL = 1024  # px, chunk edge of associated images, which are shown whole
AXES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


class Channel(NamedTuple):
    """How viewers show a channel: colour as RRGGBB; window: what there can be (min, max), what is seen (start, end)."""

    label: str
    color: str
    window: dict[str, float]


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
    root = zarr.create_group(path, zarr_format=ZARR_FORMATS[version])
    colours = len(CHANNELS)
    shapes = [(colours, *sides) for sides in level_shapes(*shape, chunk=chunk)]
    layouts = [{"chunks": (colours, chunk, chunk), **_compression(version, codec, level)} for _ in shapes]
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
    extra = _omero([Channel(label, color, window) for label, color in CHANNELS.items()])
    _add_image(root, "cyx", shapes, layouts, sizes=_sizes(mpp), name=name, fill_value=255, extra=extra)
    if attributes is not None:
        root.attrs["fieldwork"] = attributes
    if codec == "keep":  # zarr writes all the codec's options, unset ones too; readers need none
        for n in range(len(shapes)):
            metadata = Path(path, str(n), ".zarray")
            metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "compressor": {"id": JPEG}}, indent=2))


def create_plate(path, *, wells, version, name):
    """Lay out a store of a plate: its metadata, and a group for each well, for fields that `write_field` adds.

    Parameters
    ----------
    path : path-like
        Folder to make, or an empty one.
    wells : dict of str to int
        The wells with images (``B02``) and how many fields each has: its groups are to be ``B/2/0``, ``B/2/1``, ..
        All rows and columns of their `names.plate_format` are listed, as OME-Zarr demands.
    version : {'0.5', '0.4'}
        Of OME-Zarr.
    name : str
        Of the plate.
    """
    places = [place_of(well) for well in wells]
    rows, columns = plate_format(wells)
    plate = {
        "columns": [{"name": str(column + 1)} for column in range(columns)],
        "rows": [{"name": row} for row in ROWS[:rows]],
        "wells": [
            {"path": well_path(well), "rowIndex": row, "columnIndex": column}
            for well, (row, column) in zip(wells, places, strict=True)
        ],
        "field_count": max(wells.values()),
        "name": name,
        "version": version,
    }
    root = zarr.create_group(path, zarr_format=ZARR_FORMATS[version])
    _set_ome(root, version, {"plate": plate})
    for row in dict.fromkeys(row for row, _ in places):
        root.create_group(ROWS[row])
    for well, fields in wells.items():
        images = [{"path": str(field)} for field in range(fields)]
        _set_ome(root.create_group(well_path(well)), version, {"well": {"images": images, "version": version}})


def well_path(well):
    """Give the path of a well's group in a plate's store: ``B/2`` for ``B02``."""
    row, column = place_of(well)
    return f"{ROWS[row]}/{column + 1}"


def write_field(path, pixels, *, labels, version, chunk, codec, level, sizes, name, channels, attributes):
    """Write one field of a plate, with its pyramid: means of 2 x 2 pixels, of the same dtype.

    Parameters
    ----------
    path : path-like
        Of its group, which is made, in the store of `create_plate`.
    pixels : (t, c, z, y, x) array
        0 where there is no image.
    labels : dict of str to (t, z, y, x) array of integers
        Label images, 0 is background; each of their levels takes every second pixel of the one before.
    version, codec, level
        As for `create`, without 'keep'.
    chunk : int
        Longest edge of a chunk, in pixels; a chunk is of one plane. In 0.5 a level is one file for each time point.
    sizes : dict of str to float
        The axes z, y and x whose pixel size is known, and that, in micrometers.
    name : str
    channels : list of Channel
    attributes : dict
        Kept under the attribute 'fieldwork'; must be JSON.
    """
    levels = [pixels]
    for shape in level_shapes(*pixels.shape[-2:], chunk=chunk)[1:]:
        planes = levels[-1].reshape(-1, *levels[-1].shape[-2:])
        levels.append(np.stack([halved(plane) for plane in planes]).reshape(*pixels.shape[:3], *shape))
    group = zarr.create_group(path, zarr_format=ZARR_FORMATS[version])
    compression = _compression(version, codec, level, typesize=pixels.dtype.itemsize)
    _write_levels(group, "tczyx", levels, chunk, compression, sizes=sizes, name=name, extra=_omero(channels))
    for label, mask in labels.items():
        masks = [mask[..., :: 2**n, :: 2**n] for n in range(len(levels))]
        with _label(group, label) as (label_group, extra):
            places = [(2**n, 0) for n in range(len(levels))]
            options = {"places": places, "sizes": sizes, "name": label, "extra": extra}
            _write_levels(label_group, "tzyx", masks, chunk, _compression(version, "zstd"), **options)
    group.attrs["fieldwork"] = attributes


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


def _write_levels(group, axes, levels, chunk, compression, **options):
    """Make an image whose levels are at hand; in 0.5 each of them is one shard for each time point."""
    layouts = []
    for pixels in levels:
        plane = [min(chunk, side) for side in pixels.shape[-2:]]
        layout = {"chunks": (1,) * (pixels.ndim - 2) + tuple(plane), **compression}
        if _version(group) == "0.5":
            whole = [-(-side // edge) * edge for side, edge in zip(pixels.shape[-2:], plane, strict=True)]
            layout["shards"] = (1, *pixels.shape[1:-2], *whole)
        layouts.append(layout)
    zarr.config.set(ONE_THREAD)
    with _by_zarrs():
        arrays = _add_image(
            group, axes, [pixels.shape for pixels in levels], layouts, dtype=levels[0].dtype, fill_value=0, **options
        )
    for array, pixels in zip(arrays, levels, strict=True):
        array[:] = pixels


def _compression(version, codec, level=1, *, typesize=1):
    """Give the compressor of a codec as `zarr.create_array` takes it."""
    if codec == "none":
        return {"compressors": None}
    if codec == "lz4":
        level = min(level, 9)
        # Blosc's: Zarr 3 has no bare LZ4, and of Zarr 2 few readers know it
        shuffle = "noshuffle" if typesize == 1 else "shuffle"
        zarr_3 = BloscCodec(typesize=typesize, cname="lz4", clevel=level, shuffle=shuffle)
        zarr_2 = numcodecs.Blosc("lz4", level, getattr(numcodecs.Blosc, shuffle.upper()))
    else:
        zarr_3, zarr_2 = ZstdCodec(level=level), numcodecs.Zstd(level)
    return {"compressors": zarr_3 if version == "0.5" else zarr_2}


def _omero(channels):
    """Give the metadata by which viewers show channels."""
    channels = [{**channel._asdict(), "active": True, "coefficient": 1, "family": "linear"} for channel in channels]
    return {"omero": {"channels": channels, "rdefs": {"model": "color", "defaultT": 0, "defaultZ": 0}}}


def _sizes(mpp):
    """Give the pixel size of the axes y and x, if it is known."""
    return {} if mpp is None else dict(zip("yx", mpp, strict=True))


def _add_image(group, axes, shapes, layouts, *, places=None, sizes, name, dtype="uint8", fill_value, extra):
    """Make the levels and the OME metadata of one image in a group; give the levels.

    ``axes`` are letters of `AXES`; ``shapes`` and ``layouts`` (options of `zarr.create_array`) are by level, and so are
    ``places``: (scale, translation) of y and x in pixels of level 0, by default of levels that are means of 2 x 2.
    """
    version = _version(group)
    named = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    if version == "0.5":
        named = {"dimension_names": list(axes)}
    arrays = [
        group.create_array(str(n), shape=tuple(shape), dtype=dtype, fill_value=fill_value, **layout, **named)
        for n, (shape, layout) in enumerate(zip(shapes, layouts, strict=True))
    ]
    datasets = []
    for n, (scale, translation) in enumerate(places or [(2**n, (2**n - 1) / 2) for n in range(len(shapes))]):
        steps = [float(sizes.get(axis, 1) * (scale if axis in "yx" else 1)) for axis in axes]
        starts = [float(sizes.get(axis, 1) * (translation if axis in "yx" else 0)) for axis in axes]
        transformations = [{"type": "scale", "scale": steps}, {"type": "translation", "translation": starts}]
        datasets.append({"path": str(n), "coordinateTransformations": transformations})
    units = {axis: {"unit": "micrometer"} for axis in sizes}
    described = [{"name": axis, "type": AXES[axis], **units.get(axis, {})} for axis in axes]
    image = {"name": name, "axes": described, "datasets": datasets}
    if version == "0.4":
        image = {"version": version, **image}
    _set_ome(group, version, {"multiscales": [image], **extra})
    return arrays


def _set_ome(group, version, metadata):
    """Set a group's OME metadata."""
    group.attrs.update({"ome": {"version": version, **metadata}} if version == "0.5" else metadata)


def _version(group):
    """Give the version of OME-Zarr that a group is of."""
    return "0.4" if group.metadata.zarr_format == 2 else "0.5"


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
    with _by_zarrs():
        return [root[each] for each in paths]


@contextmanager
def _by_zarrs():
    """Have arrays that are opened or made read and written by zarrs where it can."""
    with warnings.catch_warnings(), zarr.config.set(ZARRS):
        warnings.filterwarnings("ignore", "Array is unsupported by ZarrsCodecPipeline")
        yield


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
    masks = [mask[:: 2**n, :: 2**n] for n in range(levels)]
    with _label(root, name) as (group, extra):
        arrays = _add_image(
            group,
            "yx",
            [each.shape for each in masks],
            [{"chunks": (chunk, chunk), **_compression(_version(root), "zstd")}] * levels,
            places=[(factor * 2**n, (factor - 1) / 2) for n in range(levels)],
            sizes=_sizes(mpp),
            name=name,
            dtype=mask.dtype,
            fill_value=0,
            extra=extra,
        )
        for array, each in zip(arrays, masks, strict=True):
            array[:] = each


@contextmanager
def _label(image, name):
    """Give a group for a label image, and what its metadata say of that; list it when it is written, for readers."""
    version = _version(image)
    labels = image.require_group("labels")
    yield labels.create_group(name), {"image-label": {"version": version, "source": {"image": "../../"}}}
    _set_ome(labels, version, {"labels": [*_ome(labels).get("labels", []), name]})


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
    layout = {"chunks": (len(CHANNELS), SMALL, SMALL), **_compression(version, "zstd")}
    shape = len(CHANNELS), *image.shape[:2]
    (array,) = _add_image(group, "cyx", [shape], [layout], sizes={}, name=name, fill_value=255, extra={})
    array[:] = np.ascontiguousarray(image.transpose(2, 0, 1))
