"""The parts that stores of slides and plates share: axes, levels, compression, channels and labels (OME-Zarr 0.5, 0.4).

Their bytes are the same for any number of writing processes, in any order. In each process one thread compresses, and
processes may be forked from one that has used this package.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import cv2
import numcodecs
import numpy as np
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

# zarrs writes 3 times as fast as zarr's own pipeline. With these limits it works in the calling thread alone: one core
# for each process, and no pool of threads, for which a forked child would wait forever.
ZARRS = {
    "codec_pipeline.path": "zarrs.ZarrsCodecPipeline",
    "codec_pipeline.chunk_concurrent_minimum": 1,
    "codec_pipeline.chunk_concurrent_maximum": 1,
}

# Several threads would also put a shard's chunks in any order.
ONE_THREAD = {"threading.max_workers": 1, "async.concurrency": 1}

ZARR_FORMATS = {"0.4": 2, "0.5": 3}

AXIS_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}

OPENCV_DTYPES = ("uint8", "uint16", "int16", "float32", "float64")  # those that cv2.resize takes


class Channel(NamedTuple):
    """How viewers show a channel: colour as RRGGBB; window: possible values (min, max), shown values (start, end)."""

    label: str
    color: str
    window: dict[str, float]


def level_shapes(height: int, width: int, *, chunk: int) -> list[tuple[int, int]]:
    """Return the sizes of a pyramid's levels: halved, rounded up, until both sides fit into one chunk.

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


def halved(pixels: np.ndarray) -> np.ndarray:
    """Average squares of 2 x 2 pixels; beyond an odd side its last row or column counts twice.

    Parameters
    ----------
    pixels : (height, width) or (height, width, channels) array of any real dtype

    Returns
    -------
    (ceil(height / 2), ceil(width / 2)) or (ceil(height / 2), ceil(width / 2), channels) array
        Means of the same dtype; those of integers are rounded half up.
    """
    if pixels.ndim == 3 and pixels.shape[2] not in (3, 4):  # OpenCV rounds other numbers of channels in another way
        return np.stack([halved(np.ascontiguousarray(pixels[..., n])) for n in range(pixels.shape[2])], axis=2)
    height, width = pixels.shape[:2]
    if pixels.dtype.name not in OPENCV_DTYPES:
        means = halved(pixels.astype(np.float64))
        return (means if pixels.dtype.kind == "f" else np.floor(means + 0.5)).astype(pixels.dtype)
    if height % 2 or width % 2:
        pixels = cv2.copyMakeBorder(pixels, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return cv2.resize(pixels, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)


def compression_of(version: str, codec: str, level: int = 1, *, typesize: int = 1) -> dict[str, Any]:
    """Return the options of `zarr.create_array` for a codec.

    Parameters
    ----------
    version : {'0.5', '0.4'}
        Of OME-Zarr.
    codec : {'zstd', 'lz4', 'none'}
    level : int
        Compression level of zstd (1 to 22) or lz4 (1 to 9; higher ones are 9).
    typesize : int
        Bytes of a value; lz4 shuffles those of more than 1.

    Returns
    -------
    dict
        ``compressors``.
    """
    if codec == "none":
        return {"compressors": None}
    if codec == "lz4":
        level = min(level, 9)
        # Blosc's: Zarr 3 has no bare LZ4, and few readers know that of Zarr 2.
        shuffle = "noshuffle" if typesize == 1 else "shuffle"
        zarr_3 = BloscCodec(typesize=typesize, cname="lz4", clevel=level, shuffle=shuffle)
        zarr_2 = numcodecs.Blosc("lz4", level, getattr(numcodecs.Blosc, shuffle.upper()))
    else:
        zarr_3, zarr_2 = ZstdCodec(level=level), numcodecs.Zstd(level)
    return {"compressors": zarr_3 if version == "0.5" else zarr_2}


def omero(channels: Iterable[Channel]) -> dict[str, Any]:
    """Return the metadata by which viewers show channels."""
    channels = [{**channel._asdict(), "active": True, "coefficient": 1, "family": "linear"} for channel in channels]
    return {"omero": {"channels": channels, "rdefs": {"model": "color", "defaultT": 0, "defaultZ": 0}}}


def add_image(
    group: zarr.Group,
    axes: str,
    shapes: Sequence[tuple[int, ...]],
    layouts: Sequence[dict[str, Any]],
    *,
    origins: Sequence[tuple[float, float]] | None = None,
    sizes: dict[str, float],
    name: str,
    dtype: np.dtype | str = "uint8",
    fill_value: int,
    extra: dict[str, Any],
) -> list[zarr.Array]:
    """Add an image to a group: empty levels and the OME metadata.

    Parameters
    ----------
    group : zarr.Group
    axes : str
        Letters of `AXIS_TYPES`.
    shapes, layouts : list
        By level: its shape, and its options of `zarr.create_array`.
    origins : list of (float, float), optional
        By level: scale and translation of y and x, in pixels of level 0; by default for levels of 2 x 2 means.
    sizes : dict of str to float
        Micrometres per pixel of level 0, of the axes for which they are known.
    name : str
    dtype, fill_value
        Of all levels.
    extra : dict
        Further OME metadata.

    Returns
    -------
    list of zarr.Array
        The levels, level 0 first.
    """
    version = version_of(group)
    naming = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    if version == "0.5":
        naming = {"dimension_names": list(axes)}
    arrays = [
        group.create_array(str(n), shape=tuple(shape), dtype=dtype, fill_value=fill_value, **layout, **naming)
        for n, (shape, layout) in enumerate(zip(shapes, layouts, strict=True))
    ]
    datasets = []
    for n, (scale, translation) in enumerate(origins or [(2**n, (2**n - 1) / 2) for n in range(len(shapes))]):
        steps = [float(sizes.get(axis, 1) * (scale if axis in "yx" else 1)) for axis in axes]
        starts = [float(sizes.get(axis, 1) * (translation if axis in "yx" else 0)) for axis in axes]
        transformations = [{"type": "scale", "scale": steps}, {"type": "translation", "translation": starts}]
        datasets.append({"path": str(n), "coordinateTransformations": transformations})
    units = {axis: {"unit": "micrometer"} for axis in sizes}
    described = [{"name": axis, "type": AXIS_TYPES[axis], **units.get(axis, {})} for axis in axes]
    image = {"name": name, "axes": described, "datasets": datasets}
    if version == "0.4":
        image = {"version": version, **image}
    set_ome(group, version, {"multiscales": [image], **extra})
    return arrays


def set_ome(group: zarr.Group, version: str, metadata: dict[str, Any]) -> None:
    """Set a group's OME metadata."""
    group.attrs.update({"ome": {"version": version, **metadata}} if version == "0.5" else metadata)


def version_of(group: zarr.Group) -> str:
    """Return the version of OME-Zarr that a group has."""
    return "0.4" if group.metadata.zarr_format == 2 else "0.5"


def ome_of(group: zarr.Group) -> dict[str, Any]:
    """Return a group's OME metadata, which 0.5 keeps under one key."""
    return group.attrs.get("ome", group.attrs)


@contextmanager
def by_zarrs() -> Iterator[None]:
    """Set zarrs as the pipeline of arrays that are opened or created in the block, if it knows their codecs."""
    with warnings.catch_warnings(), zarr.config.set(ZARRS):
        warnings.filterwarnings("ignore", "Array is unsupported by ZarrsCodecPipeline")
        yield


@contextmanager
def new_label(image: zarr.Group, name: str) -> Iterator[tuple[zarr.Group, dict[str, Any]]]:
    """Create the group of a label image; list the label when the block ends, for readers.

    Parameters
    ----------
    image : zarr.Group
        Of the image.
    name : str
        Of the label.

    Yields
    ------
    zarr.Group
        For the label's levels.
    dict
        OME metadata of a label: `extra` of `add_image`.
    """
    version = version_of(image)
    labels = image.require_group("labels")
    yield labels.create_group(name), {"image-label": {"version": version, "source": {"image": "../../"}}}
    set_ome(labels, version, {"labels": [*ome_of(labels).get("labels", []), name]})
