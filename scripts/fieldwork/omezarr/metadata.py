"""What all OME-Zarr stores have in common: axes, levels, compression, channels and labels; OME-Zarr 0.5 and 0.4."""

import warnings
from contextlib import contextmanager
from typing import NamedTuple

import numcodecs
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

CODECS = {"0.4": ("zstd", "lz4", "none", "keep"), "0.5": ("zstd", "lz4", "none")}

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


def compression_of(version, codec, level=1, *, typesize=1):
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


def omero(channels):
    """Give the metadata by which viewers show channels."""
    channels = [{**channel._asdict(), "active": True, "coefficient": 1, "family": "linear"} for channel in channels]
    return {"omero": {"channels": channels, "rdefs": {"model": "color", "defaultT": 0, "defaultZ": 0}}}


def sizes_of(mpp):
    """Give the pixel size of the axes y and x, if it is known."""
    return {} if mpp is None else dict(zip("yx", mpp, strict=True))


def add_image(group, axes, shapes, layouts, *, places=None, sizes, name, dtype="uint8", fill_value, extra):
    """Make the levels and the OME metadata of one image in a group; give the levels.

    ``axes`` are letters of `AXES`; ``shapes`` and ``layouts`` (options of `zarr.create_array`) are by level, and so are
    ``places``: (scale, translation) of y and x in pixels of level 0, by default of levels that are means of 2 x 2.
    """
    version = version_of(group)
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
    set_ome(group, version, {"multiscales": [image], **extra})
    return arrays


def set_ome(group, version, metadata):
    """Set a group's OME metadata."""
    group.attrs.update({"ome": {"version": version, **metadata}} if version == "0.5" else metadata)


def version_of(group):
    """Give the version of OME-Zarr that a group is of."""
    return "0.4" if group.metadata.zarr_format == 2 else "0.5"


def ome_of(group):
    """Give a group's OME metadata, which 0.5 keeps under one key."""
    return group.attrs.get("ome", group.attrs)


@contextmanager
def by_zarrs():
    """Have arrays that are opened or made read and written by zarrs where it can."""
    with warnings.catch_warnings(), zarr.config.set(ZARRS):
        warnings.filterwarnings("ignore", "Array is unsupported by ZarrsCodecPipeline")
        yield


@contextmanager
def new_label(image, name):
    """Give a group for a label image, and what its metadata say of that; list it when it is written, for readers."""
    version = version_of(image)
    labels = image.require_group("labels")
    yield labels.create_group(name), {"image-label": {"version": version, "source": {"image": "../../"}}}
    set_ome(labels, version, {"labels": [*ome_of(labels).get("labels", []), name]})
