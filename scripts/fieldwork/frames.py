"""Read the frames of an image file: 2-D planes of one channel, or the reason why there are none."""

import logging
import math
import os
import stat
import struct
import threading
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import tifffile

MOST_VALUES = (
    2**28
)  # of one plane, 16 times the largest camera: more is a damaged header, refused before allocating
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
OTHERS = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"BM": "BMP", b"GIF8": "GIF"}
TAG_BYTES = dict(
    enumerate((0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8))
)  # TIFF 6.0 and BigTIFF types

# tifffile tells its logger of every odd tag. What matters is raised here; the rest would fill the log of a plate.
_reading = threading.local()
logging.getLogger("tifffile").addFilter(lambda record: not getattr(_reading, "now", False))


class FrameError(ValueError):
    """The file is not a readable image; the message is the reason."""


class Plane(NamedTuple):
    """One 2-D frame of a file: where it stands on the file's own axes (from 1; None without the axis), pixels."""

    timepoint: int | None
    z: int | None
    image: np.ndarray


def read(path, *, channel="auto"):
    """Read all planes of one channel of an image file.

    Parameters
    ----------
    path : str or path-like
        A TIFF of any kind (tifffile, imagecodecs), or a PNG, JPEG, BMP or GIF (imageio).
    channel : str
        Name of a channel of an OME-TIFF, in any case. Any other name, like ``auto``: the first in the file.

    Returns
    -------
    list of Plane
        Nearly always one. Sorted by time point, then z; pages without a known meaning count as z planes. Images are
        (rows, columns), C-contiguous, in the file's own dtype (native byte order; bilevel becomes uint8 0 and 1).
        Of a colour image the channel with the largest standard deviation. Pixels are as stored: no colour
        map of a TIFF, no inversion, no orientation tag is applied. Of a pyramid the full size; of a set of
        OME-TIFF files the planes in this one.

    Raises
    ------
    FrameError
        Whatever else the file is: absent, empty, truncated, of another type, with NaN, infinity or complex numbers,
        with further axes or several images, with several colours that vary alike.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise FrameError("a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file")
        file = open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        link = os.path.islink(path)
        raise FrameError(f"broken link to {os.readlink(path)}" if link else "no such file") from None
    except OSError as error:
        raise FrameError(f"cannot be opened: {error.strerror}") from None
    _reading.now = True
    try:
        with file:
            head = file.read(32)
            if not head:
                raise FrameError("empty file (0 bytes)")
            if head[:4] in TIFF:
                return _read_tiff(file, status.st_size, channel)
            kind = next((name for start, name in OTHERS.items() if head.startswith(start)), None)
            found = f"begins with {head[:8]!r}" + (f", a {kind} file" if kind else "")
            if os.fspath(path).lower().endswith((".tif", ".tiff")):
                raise FrameError(f"not a TIFF file: {found}")
            if kind is None:
                raise FrameError(f"not an image: {found}; expected TIFF, PNG, JPEG, BMP or GIF")
            return [Plane(None, None, _read_other(file, head))]
    except FrameError:
        raise
    except (
        Exception
    ) as error:  # decoders raise anything for damaged bytes: struct.error, IndexError, MemoryError, ...
        reason = " ".join(str(error).split())[:200]
        raise FrameError(f"cannot be decoded: {type(error).__name__}: {reason}") from error
    finally:
        _reading.now = False


def _read_other(file, head):
    """Read a PNG, JPEG, BMP or GIF file of which ``head`` is the beginning."""
    file.seek(0)
    if (
        head.startswith(b"\x89PNG") and head[24] == 16 and head[25] != 0
    ):  # Pillow would cut 16-bit colours to 8 bits
        import imagecodecs

        _refuse_large(struct.unpack(">II", head[16:24]))
        image = imagecodecs.png_decode(file.read())
    else:
        import warnings

        import imageio.v3 as iio  # 0.1 s, and few plates need it

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's of large images: the size is looked at here
            with iio.imopen(file, "r", plugin="pillow") as reader:
                properties, mode = reader.properties(index=...), reader.metadata(index=0)["mode"]
                if properties.n_images > 1 or mode in ("CMYK", "YCbCr", "LAB", "HSV"):
                    raise FrameError(
                        f"found {properties.n_images} images of mode {mode}; expected one, grey or RGB"
                    )
                _refuse_large(properties.shape)
                image = reader.read(index=0)
    colours = (
        image.shape[2] - (image.shape[2] in (2, 4)) if image.ndim == 3 else 1
    )  # 2 and 4: the last is alpha
    return _one_channel(np.atleast_3d(image).transpose(2, 0, 1)[:colours])


def _read_tiff(file, size, channel):
    """Read the planes of an open TIFF file of ``size`` bytes."""
    _check_directories(file, size)
    with tifffile.TiffFile(file.name) as tif:
        if not tif.is_ome:
            return _read_planes(tif, size, channel, [])
        xml, names = _own_ome(tif.ome_metadata, os.path.basename(file.name))
    with tifffile.TiffFile(file.name, omexml=xml) as tif:
        return _read_planes(tif, size, channel, names)


def _check_directories(file, size):
    """Follow the chain of pages; tifffile drops those after a break without a word, and can go in circles."""
    file.seek(0)
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    word, counter, entry = ("Q", "Q", "HHQQ") if b"+" in head[2:4] else ("I", "H", "HHII")
    word, counter, entry = (struct.Struct(order + each) for each in (word, counter, entry))
    (offset,) = word.unpack_from(head, word.size)
    seen = set()
    while offset:
        if offset in seen:
            raise FrameError(f"damaged: after page {len(seen)} the list of pages begins anew")
        seen.add(offset)
        file.seek(offset)
        (tags,) = counter.unpack(file.read(counter.size).ljust(counter.size, b"\xff"))
        entries = file.read(min(tags * entry.size + word.size, size))
        ends = [offset + counter.size + tags * entry.size + word.size]
        for code, kind, count, value in entry.iter_unpack(entries[: len(entries) // entry.size * entry.size]):
            length = count * TAG_BYTES.get(kind, 0)
            if code < 2**15 and length > word.size:  # private tags may mean anything
                ends.append(value + length)
        if max(ends) > size:
            raise FrameError(f"truncated: page {len(seen)} goes on to byte {max(ends)}, the file has {size}")
        (offset,) = word.unpack_from(entries, tags * entry.size)


def _own_ome(xml, name):
    """Leave of OME metadata what is about this file, called ``name``; also the channels' names."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return None, []
    names = None
    for pixels in root.iterfind("{*}Image/{*}Pixels"):
        planes = [math.prod(int(pixels.get(f"Size{axis}", 1)) for axis in "CZT")]
        for block in pixels.findall("{*}TiffData"):
            planes += [int(block.get("NumPlanes", 0)), int(block.get("PlaneCount", 0))]
            uuid = block.find("{*}UUID")
            if uuid is None:
                continue
            if uuid.text == root.get("UUID") or uuid.get("FileName", "").lower() == name.lower():
                block.remove(uuid)
            else:
                pixels.remove(block)  # tifffile would open that file, or give zeros where it is absent
        if max(planes) > 2**20:
            raise FrameError(f"OME metadata of {max(planes)} planes")
        if names is None and pixels.find("{*}TiffData") is not None:
            names = [str(element.get("Name")).lower() for element in pixels.iterfind("{*}Channel")]
    return ElementTree.tostring(root, encoding="unicode"), names or []


def _read_planes(tif, size, channel, names):
    """Read the planes of the channel from a TIFF whose OME channels have these names."""
    series = [
        each for each in tif.series if not each.keyframe.is_reduced
    ] or tif.series  # thumbnails go with an image
    if not series:
        raise FrameError("a TIFF file without pages")
    first, key = series[0], series[0].keyframe
    found = "; ".join(f"axes {each.axes}, shape {each.shape}, {each.dtype}" for each in series[:4])
    if first.kind == "generic" and (
        tif.is_imagej or tif.is_shaped
    ):  # tifffile then reads the first page alone
        raise FrameError(
            f"damaged or truncated: its pages ({found}) are not those that its description promises"
        )
    if len(series) == 1:
        shape = zip(first.get_axes(False), first.get_shape(False), strict=True)
        axes = [
            ("Z" if axis in "IQ" else axis, length)
            for axis, length in shape
            if axis not in "YXS" and length > 1
        ]
    else:
        axes = [("Z", len(series))]
    letters = "".join(axis for axis, _ in axes)
    single = {(each.kind, each.shape, each.dtype, len(each)) for each in series} == {
        ("shaped", key.shape, key.dtype, 1)
    }
    if len(set(letters)) < len(letters) or set(letters) - set("TZC") or (len(series) > 1 and not single):
        raise FrameError(
            f"found {len(series)} image(s): {found}; expected one with axes Y, X and at most T, Z and C"
        )
    _check_page(key, key, size)
    lengths = [length for _, length in axes]
    if first.is_truncated:  # ImageJ, MetaMorph STK: one page stands for the whole stack that follows it
        if first.dataoffset is None or first.dataoffset + math.prod(lengths) * key.nbytes > size:
            raise FrameError(f"truncated: {found} needs more than the {size} bytes of the file")
        stack = first.asarray(maxworkers=1).reshape(-1, *key.shape)
        pages = [key] * len(stack)
    else:
        stack, pages = None, list(first) if len(series) == 1 else [each[0] for each in series]
    if len(pages) != math.prod(lengths):
        raise FrameError(f"found {len(pages)} page(s) for {found}; expected {math.prod(lengths)}")
    places = [dict(zip(letters, place, strict=True)) for place in np.ndindex(*lengths)]
    present = [(index, place) for index, place in enumerate(places) if pages[index] is not None]
    wanted = min((place.get("C") for _, place in present), default=None) if "C" in letters else None
    if "C" in letters and channel.lower() in names:
        wanted = names.index(channel.lower())
    planes = []
    for index, place in present:
        if place.get("C") != wanted:
            continue
        page = pages[index]
        _check_page(page, key, size)
        image = (
            page.asarray(maxworkers=1) if stack is None else stack[index]
        )  # one thread: the pool has the others
        timepoint, z = (place[axis] + 1 if axis in place else None for axis in "TZ")
        planes.append(Plane(timepoint, z, _one_channel(_colours(image, key))))
    if not planes:
        raise FrameError(f"no page of channel {channel!r} in this file; its metadata name {', '.join(names)}")
    return sorted(planes, key=lambda plane: (plane.timepoint or 0, plane.z or 0))


def _check_page(page, key, size):
    """Refuse, before anything is allocated, a page that cannot be read whole; ``key`` describes its kind."""
    if key.dtype is None or key.dtype.kind == "c" or key.axes not in ("YX", "YXS", "SYX"):
        raise FrameError(
            f"pixels of {key.bitspersample} bits, sample format {int(key.sampleformat)}, axes {key.axes}; "
            "expected whole or real numbers in rows and columns"
        )
    _refuse_large(key.shaped)
    offsets, counts, segments = page.dataoffsets, page.databytecounts, math.prod(key.chunked)
    if key.is_contiguous:
        ends = [offsets[0] + key.nbytes]
    else:
        if key.compression == 1:
            counts_needed = math.prod(key.shaped) * np.max(key.bitspersample) // 8
            if counts_needed > size:
                raise FrameError(f"truncated: its pixels take {counts_needed} bytes, the file has {size}")
        ends = [offset + count for offset, count in zip(offsets, counts, strict=False)]
        if len(ends) < segments:
            raise FrameError(f"damaged: found {len(ends)} strips or tiles; expected {segments}")
    if not all(offsets) or not all(counts):
        raise FrameError("damaged: strips or tiles without data")  # tifffile would fill them with zeros
    if max(ends) > size:
        raise FrameError(f"truncated: its pixels go on to byte {max(ends)}, the file has {size}")


def _refuse_large(shape):
    if not 0 < math.prod(shape) <= MOST_VALUES:
        raise FrameError(f"shape {tuple(shape)}; expected at least one and at most {MOST_VALUES} values")


def _colours(image, key):
    """Bring a page's pixels to (colours, rows, columns), without alpha."""
    if key.axes == "YX":
        return image[np.newaxis]
    jpeg = key.photometric == 6 and key.compression in (6, 7, 34892)  # YCbCr, which this decoder turns to RGB
    if key.photometric not in (0, 1, 2) and not jpeg:
        raise FrameError(
            f"colours stored as {getattr(key.photometric, 'name', key.photometric)}; expected grey or RGB"
        )
    image = image.transpose(2, 0, 1) if key.axes == "YXS" else image
    alpha = sum(kind in (1, 2) for kind in key.extrasamples)
    if key.photometric == 2 and len(image) == 4:  # many writers leave out what the fourth is
        alpha = 1
    return image[: len(image) - alpha]


def _one_channel(colours):
    """Choose the one of (colours, rows, columns) that holds the signal, and check its numbers."""
    if colours.dtype.kind not in "biuf":
        raise FrameError(f"pixels of type {colours.dtype}; expected whole or real numbers")
    if colours.dtype.kind == "f" and not (finite := np.isfinite(colours)).all():
        raise FrameError(f"{np.count_nonzero(~finite)} of {colours.size} pixels are NaN or infinite")
    best = 0
    if len(colours) > 1:
        spread = [float(each.std(dtype=np.float64)) for each in colours]
        best = int(np.argmax(spread))
        rivals = [each for each, other in zip(colours, spread, strict=True) if other > spread[best] / 2]
        if not all(np.array_equal(each, colours[best]) for each in rivals):
            figures = ", ".join(f"{each:.4g}" for each in spread)
            raise FrameError(
                f"several colours vary alike (standard deviations of R, G, B: {figures}), so which of them shows "
                "the nuclei cannot be told; export single channels"
            )
    image = colours[best]
    dtype = np.dtype(np.uint8) if image.dtype.kind == "b" else image.dtype.newbyteorder("=")
    return np.ascontiguousarray(image, dtype=dtype)
