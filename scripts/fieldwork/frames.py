"""Read image files: 2-D planes of one channel, or the reason why they cannot be read."""

import logging
import math
import os
import stat
import struct
import threading
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple
from xml.etree import ElementTree

import numpy as np
import tifffile

from fieldwork.stains import is_dna

LARGEST_PLANE_VALUES = 2**28  # twice the largest cameras; more is a damaged header
LARGEST_FILE_VALUES = 2**30  # of all planes, which are in memory together
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
OTHER_SIGNATURES = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"BM": "BMP", b"GIF8": "GIF"}
TAG_TYPE_BYTES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)  # by type of tag: TIFF 6.0, then BigTIFF

# tifffile logs every odd tag. This module raises what matters; the rest would fill the log of a plate.
_reading = threading.local()
logging.getLogger("tifffile").addFilter(lambda record: not getattr(_reading, "now", False))


class FrameError(ValueError):
    """The file is not a readable image; the message is the reason."""


class Plane(NamedTuple):
    """One 2-D frame of a file."""

    timepoint: int | None  # from 1; None where the file has one time point
    z: int | None  # from 1; None where the file has one z plane
    image: np.ndarray  # (rows, columns)
    colours: int  # of the file; `image` is one of them


def read(path: str | os.PathLike, *, channel: str = "auto", exact: bool = False) -> list[Plane]:
    """Read all planes of one channel of an image file.

    Parameters
    ----------
    path : str or path-like
        A TIFF of any kind (read by tifffile and imagecodecs), or a PNG, JPEG, BMP or GIF (imageio).
    channel : str
        Name of a channel of an OME-TIFF, in upper or lower case. If no channel has it, the only channel named
        like a DNA stain is read.
    exact : bool
        Refuse a file of several channels if none of them has that name.

    Returns
    -------
    list of Plane
        Sorted by time point, then z; nearly always one, without either. Pages without a known meaning count as z
        planes. Images are (rows, columns), C-contiguous, of the file's dtype in native byte order (bilevel: uint8 0
        and 1), with the values as stored: a TIFF's colour map, orientation or inversion is not applied. Of a colour
        image, the colour with the largest standard deviation; of a pyramid, the full size; of a set of OME-TIFF
        files, the planes in this one.

    Raises
    ------
    FrameError
        The file is absent, empty, truncated or of another type; or it has NaN, infinity, complex
        numbers, further axes, several images, colours that vary alike or channels without names.
    """
    with open_file(path) as file, decoding():
        head = file.read(32)
        kind = next((name for start, name in OTHER_SIGNATURES.items() if head.startswith(start)), None)
        if head.startswith(TIFF_SIGNATURES):
            planes = _read_tiff(file, channel, exact)
            return planes if len(planes) > 1 else [planes[0]._replace(timepoint=None, z=None)]
        start = f"begins with {head[:8]!r}" + (f" like a {kind} file" if kind else "")
        if os.fspath(path).lower().endswith((".tif", ".tiff")):
            raise FrameError(f"not a TIFF file: {start}")
        if kind is None:
            raise FrameError(f"not an image file: {start}; expected a TIFF, PNG, JPEG, BMP or GIF file")
        return [_read_other(file, head)]


def read_plane(path: str | os.PathLike, *, channel: str = "auto", timepoint: int | None, z: int | None) -> np.ndarray:
    """Read the plane of a file that a row of a table describes.

    Parameters
    ----------
    path, channel
        As for `read`.
    timepoint, z : int or None
        Of the row. A plane without a time point or z plane of its own matches any.

    Returns
    -------
    (rows, columns) array
        As from `read`.

    Raises
    ------
    FrameError
        As by `read`, or the file does not have this plane.
    """
    planes = read(path, channel=channel)
    for plane in planes:
        if plane.timepoint in (None, timepoint) and plane.z in (None, z):
            return plane.image
    raise FrameError(f"has no plane of this time point and z plane any more, but {len(planes)} others")


def open_file(path: str | os.PathLike) -> BinaryIO:
    """Open a file to read bytes; raise FrameError at once if it is absent, empty or not a regular file."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait forever
            raise FrameError("a folder, not a file" if stat.S_ISDIR(status.st_mode) else "not a regular file")
        if not status.st_size:
            raise FrameError("empty file (0 bytes)")
        return open(path, "rb")
    except OSError as error:
        if isinstance(error, FileNotFoundError) and os.path.islink(path):
            raise FrameError(f"broken link to {os.readlink(path)}") from None
        raise FrameError(f"cannot be opened: {error.strerror}") from None


@contextmanager
def decoding() -> Iterator[None]:
    """Turn whatever decoders raise in this block into FrameError, and keep tifffile's messages out of the log."""
    _reading.now = True
    try:
        yield
    except FrameError:
        raise
    except Exception as error:  # anything: struct.error, MemoryError, ..
        reason = " ".join(str(error).split())[:200]
        raise FrameError(f"cannot be decoded: {type(error).__name__}: {reason}") from error
    finally:
        _reading.now = False


def with_position(planes: list[Plane], *, timepoint: int | None, z: int | None) -> list[Plane]:
    """Return the planes of a file with the time point and z plane that its name states.

    Parameters
    ----------
    planes : list of Plane
    timepoint, z : int or None
        From the name; None keeps those of the planes.

    Returns
    -------
    list of Plane

    Raises
    ------
    FrameError
        The file has several planes, although its name says that it is one of them.
    """
    if any(None not in (timepoint, plane.timepoint) or None not in (z, plane.z) for plane in planes):
        raise FrameError(f"holds {len(planes)} planes; its name says that it is one of them, so 1 is expected")
    return [
        plane._replace(timepoint=plane.timepoint if timepoint is None else timepoint, z=plane.z if z is None else z)
        for plane in planes
    ]


def usual_form(forms: Iterable[str]) -> str | None:
    """Return the form (size, type) of most images: an absolute majority decides; None where there is none."""
    counts = Counter(forms)
    form, votes = max(counts.items(), key=lambda item: item[1], default=(None, 0))
    return form if votes * 2 > counts.total() else None


def _read_other(file, head):
    """Read a PNG, JPEG, BMP or GIF file that begins with ``head``."""
    import imageio.v3 as iio  # takes 0.1 s, and few plates need it

    file.seek(0)
    with warnings.catch_warnings(action="ignore"), iio.imopen(file, "r", plugin="pillow") as reader:
        properties, mode = reader.properties(index=...), reader.metadata(index=0)["mode"]
        count = properties.n_images
        if count > 1 or mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            raise FrameError(f"found {count} image(s) of mode {mode}; expected one, grey or RGB")
        refuse_large(properties.shape)  # Pillow would only warn, hence "ignore"
        image = reader.read(index=0)
        if head.startswith(b"\x89PNG") and head[24] == 16 and image.ndim == 3:
            import imagecodecs  # Pillow cuts 16-bit colours to 8 bits

            file.seek(0)
            image = imagecodecs.png_decode(file.read())
    image = np.atleast_3d(image).transpose(2, 0, 1)
    return plane_of(None, None, image[: {2: 1, 4: 3}.get(len(image))])  # without alpha


def _read_tiff(file, channel, exact):
    """Read the planes of a TIFF file."""
    size = os.fstat(file.fileno()).st_size
    _, _, fault = page_offsets(file)
    if fault:
        raise FrameError(fault)
    with tifffile.TiffFile(file.name) as tif:
        if not tif.is_ome:
            return _read_planes(tif, size, channel, exact, [])
        xml, names = own_ome(tif.ome_metadata, os.path.basename(file.name))
    with tifffile.TiffFile(file.name, omexml=xml) as tif:
        return _read_planes(tif, size, channel, exact, names)


def page_offsets(file: BinaryIO) -> tuple[list[int], int, str | None]:
    """Follow the chain of a TIFF file's pages: tifffile drops those after a break without a warning.

    Parameters
    ----------
    file : binary file

    Returns
    -------
    offsets : list of int
        Where the directories of the complete pages begin.
    following : int
        Where the directory of the damaged page after them should begin; 0 if there is none.
    fault : str or None
        What is wrong with that page.

    Raises
    ------
    FrameError
        The chain is a circle, which tifffile would follow forever.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    head = file.read(16)
    formats = ("Q", "Q", "HHQQ") if b"+" in head[2:4] else ("I", "H", "HHII")
    word, counter, entry = (struct.Struct("<>"[head.startswith(b"MM")] + code) for code in formats)
    (offset,) = word.unpack_from(head, word.size)
    seen = {}
    while offset:
        if offset in seen:
            raise FrameError(f"damaged: the list of its {len(seen)} pages goes in a circle")
        file.seek(offset)
        (tags,) = counter.unpack(file.read(counter.size).ljust(counter.size, b"\xff"))
        ends = [offset + counter.size + tags * entry.size + word.size]
        table = file.read(ends[0] - file.tell()) if ends[0] <= size else b""
        for code, kind, count, value in entry.iter_unpack(table[: -word.size]):
            length = count * TAG_TYPE_BYTES[kind] if kind < len(TAG_TYPE_BYTES) else 0
            if code < 2**15 and length > word.size:  # private tags may mean anything
                ends.append(value + length)
        if max(ends) > size:
            return list(seen), offset, f"truncated: page {len(seen) + 1} goes on to byte {max(ends)} of {size}"
        seen[offset] = True
        (offset,) = word.unpack(table[-word.size :])
    return list(seen), 0, None


def own_ome(xml: str, name: str) -> tuple[str | None, list[str]]:
    """Reduce the OME metadata of a set of files to one file.

    Parameters
    ----------
    xml : str
        OME metadata.
    name : str
        Of the file.

    Returns
    -------
    xml : str or None
        The metadata of this file's planes; None if they cannot be parsed.
    names : list of str
        The channels' names in lower case.

    Raises
    ------
    FrameError
        The metadata has more than 2**20 planes, or modulo axes.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return None, []
    names = []
    for pixels in root.iterfind("{*}Image/{*}Pixels"):
        blocks = pixels.findall("{*}TiffData")
        declared = [math.prod(int(pixels.get("Size" + axis, 1)) for axis in "CZT")]
        declared += [int(block.get(count, 0)) for block in blocks for count in ("NumPlanes", "PlaneCount")]
        if max(declared) > 2**20 or "ModuloAlong" in xml:
            raise FrameError(f"OME metadata of {max(declared)} planes, or with modulo axes: not supported")
        for block in blocks:
            uuid = block.find("{*}UUID")
            if uuid is None:
                continue
            if uuid.text == root.get("UUID") or uuid.get("FileName", "").lower() == name.lower():
                block.remove(uuid)
            else:
                pixels.remove(block)  # tifffile would open that file, or return zeros if it is absent
        if not names and pixels.find("{*}TiffData") is not None:
            names = [element.get("Name", "").lower() for element in pixels.iterfind("{*}Channel")]
    return ElementTree.tostring(root, encoding="unicode"), names


def _read_planes(tif, size, channel, exact, names):
    """Read the planes of the channel from a TIFF file whose OME channels have these names."""
    series = [entry for entry in tif.series if not entry.keyframe.is_reduced] or tif.series  # without thumbnails
    if not series:
        raise FrameError("a TIFF file without pages")
    first, key = series[0], series[0].keyframe
    forms = "; ".join(f"{entry.dtype} {entry.axes} {entry.shape}" for entry in series[:4])
    if first.kind == "generic" and (tif.is_imagej or tif.is_shaped):  # the other pages are missing
        raise FrameError(f"damaged or truncated: {forms} is not what its description promises")
    letters, shape = first.get_axes(False).replace("I", "Z").replace("Q", "Z"), first.get_shape(False)
    sizes = zip(letters, shape, strict=True)
    axes = {axis: length for axis, length in sizes if axis not in "YXS" and length > 1}
    pages = [page for entry in series for page in entry]
    alike = all(entry.kind == "shaped" and entry.shape == shape for entry in series)  # pages written one by one
    if len(series) > 1 and alike and not axes:
        axes = {"Z": len(series)}
    elif len(series) > 1 or not set("TZC").issuperset(axes):
        raise FrameError(f"found {forms}; expected one image with the axes Y, X and at most T, Z and C")
    check_page(key, size)
    if first.is_truncated:  # one page stands for the stack after it (ImageJ, MetaMorph)
        if first.dataoffset is None or first.dataoffset + first.nbytes > size:
            raise FrameError(f"truncated: {forms} takes more than the {size} bytes of the file")
        images = list(first.asarray().reshape(-1, *key.shape))
        pages = [key] * len(images)
    if len(pages) != math.prod(axes.values()):
        raise FrameError(f"found {len(pages)} page(s); {forms} needs {math.prod(axes.values())}")
    refuse_large((len(pages), *key.shape), LARGEST_FILE_VALUES)
    positions = [dict(zip(axes, indices, strict=True)) for indices in np.ndindex(*axes.values())]
    wanted = None
    if "C" in axes:
        present = {position["C"] for position, page in zip(positions, pages, strict=True) if page}
        named = channel.lower() in names
        wanted = present.pop() if len(present) == 1 and not named else _channel(names, channel, exact, axes["C"])
    planes = []
    for index, (position, page) in enumerate(zip(positions, pages, strict=True)):
        if page is None or position.get("C") != wanted:  # None: in another file of the set
            continue
        check_page(page, size)
        other = page.keyframe
        if (other.shape, other.dtype) != (key.shape, key.dtype):
            raise FrameError(f"found {forms}, but page {index + 1} is {other.dtype} {other.shape}")
        image = images[index] if first.is_truncated else page.asarray(maxworkers=1)  # each core has its job
        timepoint, z = (position[axis] + 1 if axis in position else None for axis in "TZ")
        planes.append(plane_of(timepoint, z, split_colours(image, other)))
    if not planes:
        raise FrameError(f"channel {channel!r} of {', '.join(names)} is in another file of this OME-TIFF set")
    return sorted(planes, key=lambda plane: (plane.timepoint or 0, plane.z or 0))


def _channel(names, channel, exact, count):
    """Return the index of the named channel among `count`; if absent and not `exact`, that of the only DNA stain."""
    stains = [name for name in names if is_dna(name)]
    listed = ", ".join(names) if any(names) else "without names"
    if channel.lower() in names:
        return names.index(channel.lower())
    if exact:
        raise FrameError(f"holds {count} channels ({listed}), none of them {channel!r}")
    if len(stains) == 1:
        return names.index(stains[0])
    advice = "name it in an image list, or export single channels" if any(names) else "export single channels"
    raise FrameError(f"holds {count} channels ({listed}): which shows the nuclei cannot be told; {advice}")


def check_page(page: tifffile.TiffPage | tifffile.TiffFrame, size: int) -> None:
    """Raise FrameError, before anything is allocated, unless a page is complete in a file of ``size`` bytes."""
    key = page.keyframe
    if key.dtype is None or key.dtype.kind == "c" or key.axes not in ("YX", "YXS", "SYX"):
        kind = f"axes {key.axes}, {key.bitspersample} bits, sample format {key.sampleformat!r}"
        raise FrameError(f"pixels of {kind}; expected real numbers in rows and columns")
    refuse_large(key.shaped)
    if key.is_tiled:
        refuse_large((key.tilelength, key.tilewidth))
    offsets, counts, segments = page.dataoffsets, page.databytecounts, math.prod(key.chunked)
    ends = [offset + count for offset, count in zip(offsets, counts, strict=False)]
    if not all(offsets) or not all(counts) or len(ends) < (1 if key.is_contiguous else segments):
        raise FrameError(f"damaged: {len(ends)} of {segments} strips or tiles, or some without data")
    if key.is_contiguous:
        ends = [offsets[0] + key.nbytes]
    elif key.compression == 1:
        ends.append(math.prod(key.shaped) * int(np.max(key.bitspersample)) // 8)
    if max(ends) > size:
        raise FrameError(f"truncated: its pixels go on to byte {max(ends)}, the file has {size}")


def refuse_large(shape: Sequence[int], most: int = LARGEST_PLANE_VALUES) -> None:
    """Raise FrameError if an array of this shape has no value or more than `most`."""
    if not 0 < math.prod(shape) <= most:
        raise FrameError(f"shape {tuple(shape)}; expected at least one value and at most {most}")


def split_colours(image: np.ndarray, key: tifffile.TiffPage) -> np.ndarray:
    """Return the pixels of a page that `key` describes as (colours, rows, columns), without alpha."""
    if key.axes == "YX":
        return image[np.newaxis]
    jpeg = key.photometric == 6 and key.compression in {6, 7, 34892}  # YCbCr: its decoder makes it RGB
    if key.photometric not in (0, 1, 2) and not jpeg:
        raise FrameError(f"colours stored as {key.photometric!r}; expected grey or RGB")
    image = image.transpose(2, 0, 1) if key.axes == "YXS" else image
    alpha = sum(kind in (1, 2) for kind in key.extrasamples)
    if key.photometric == 2 and len(image) == 4:  # many writers do not say what the fourth is
        alpha = 1
    return image[: len(image) - alpha]


def plane_of(timepoint: int | None, z: int | None, colours: np.ndarray) -> Plane:
    """Return the plane of the colour that holds the signal.

    Parameters
    ----------
    timepoint, z : int or None
    colours : (colours, rows, columns) array

    Returns
    -------
    Plane
        Of the colour with the largest standard deviation.

    Raises
    ------
    FrameError
        Pixels are NaN or infinite, or another colour varies more than half as much and is not equal.
    """
    if colours.dtype.kind == "f" and not (finite := np.isfinite(colours)).all():
        raise FrameError(f"{np.count_nonzero(~finite)} of {colours.size} pixels are NaN or infinite")
    spread = colours.std(axis=(1, 2), dtype=np.float64) if len(colours) > 1 else np.zeros(1)
    image = colours[np.argmax(spread)]
    if not all(np.array_equal(colour, image) for colour in colours[spread > spread.max() / 2]):
        figures = ", ".join(f"{deviation:.4g}" for deviation in spread)
        raise FrameError(
            f"several colours vary alike (standard deviations of R, G, B: {figures}): which shows the nuclei "
            "cannot be told; export single channels"
        )
    dtype = np.uint8 if image.dtype.kind == "b" else image.dtype.newbyteorder("=")
    return Plane(timepoint, z, np.ascontiguousarray(image, dtype), len(colours))
