"""Read stacks: the frames of a multi-page TIFF, a folder of images, an .npy file or a Zarr store.

A frame is a small record that says where its pixels are; it travels to a worker, which reads them and nothing else.
"""

import io
import itertools
import json
import math
import os
from typing import NamedTuple
from xml.etree import ElementTree

from fieldwork.inputs.stack_files import FRAME_SUFFIXES, ZARR_METADATA_NAMES, files_below, is_zarr, list_folder
from fieldwork.omezarr import metadata as omezarr_metadata

MOST_FRAMES = 2**20  # also of planes in a file and of chunks in a shard; more is a damaged header
MOST_CHUNKS = 2**16  # of a frame: absent ones cost 0.1 ms, too
NAMES = {"C": "channel", "Z": "z plane"}


class StackFrame(NamedTuple):
    """One frame of a stack, or why there is none (`error`); its number counts from 0."""

    path: str
    index: int
    kind: str = "image"  # which of READERS reads it
    place: tuple[int, ...] = ()  # where in the file, as that reader takes it
    shape: tuple[int, ...] = ()
    dtype: str = ""
    stamp: tuple[int, int] | None = None
    error: str | None = None

    def __str__(self):
        return f"{self.path} (frame {self.index})"


class Stack(NamedTuple):
    """The frames of a stack in order; and what was chosen or left out, for the log."""

    frames: list[StackFrame]
    notes: list[str]


def open_stack(path, *, channel=0, z=0):
    """List the frames of a stack, without their pixels.

    A hostile file may crash this process, and Zarr starts threads in it, after which it should not be forked.

    Parameters
    ----------
    path : str or path-like
        A TIFF (plain pages, ImageJ, OME, MetaMorph; big, compressed), a folder whose image files are a frame each, a
        NumPy array (.npy), or a Zarr array or image: of OME-Zarr the first level, of another group its only array.
        Arrays are (t, y, x) or (t, z, y, x) where they name no axes, or a single (y, x).
    channel, z : int
        From 0: which of several channels, and which z plane of each of several time points. Without these,
        every z plane is a frame, and so is every page whose meaning the file does not tell. Not for a folder.

    Returns
    -------
    Stack
        What the file promises and does not hold (a truncated TIFF) is a frame with an `error`.

    Raises
    ------
    FrameError
        There is no stack, or no such channel or z plane; the message is the reason.
    """
    from fieldwork import frames

    path = os.fspath(path)
    with frames.decoding():
        if is_zarr(path):
            return _open_zarr(path, channel, z)
        if os.path.isdir(path):
            return _open_folder(path)
        with frames.open_file(path) as file:
            head = file.read(8)
            if head.startswith(frames.TIFF_SIGNATURES):
                return _open_tiff(file, channel, z)
            if head.startswith(b"\x93NUMPY"):
                return _open_npy(file, channel, z)
    raise frames.FrameError(
        f"begins with {head!r}; expected a TIFF or .npy file, a folder of images, or a Zarr array or group"
    )


def read(frame):
    """Read a frame; nothing stays open, as opening a file costs 0.2 to 0.6 ms.

    Parameters
    ----------
    frame : StackFrame

    Returns
    -------
    (rows, columns) array
        C-contiguous, of the file's dtype in native byte order, values as stored; see `frames.read`.

    Raises
    ------
    FrameError
        It cannot be read; the message is the reason.
    """
    from fieldwork import frames

    if frame.error is not None:
        raise frames.FrameError(frame.error)
    if frame.kind == "image":
        planes = frames.read(frame.path)
        if len(planes) > 1:
            raise frames.FrameError(f"holds {len(planes)} planes; a file of a folder is one frame, so 1 is expected")
        return planes[0].image
    with frames.decoding():
        if _stamp(frame.path) != frame.stamp:
            raise frames.FrameError("has changed since the frames were listed; run again")
        return frames.plane_of(None, None, READERS[frame.kind](frame)).image


# Which planes are frames


def _places(axes, sizes, channel, z):
    """Choose the planes that are frames: their indices along the axes before the rows (letters T, Z, C, and I or Q
    where a page's meaning is not told) of these sizes; give notes too."""
    from fieldwork.frames import FrameError, refuse_large

    several = {axis for axis, size in zip(axes, sizes, strict=True) if size > 1}
    if not several <= set("TZC") and not several <= set("IQZC"):
        raise FrameError(f"axes {axes}YX, sizes {tuple(sizes)}; expected Y, X and at most T, Z and C")
    ranges, notes = [], []
    for axis, size in zip(axes, sizes, strict=True):
        number = channel if axis == "C" else z
        if size == 1 or axis not in NAMES or (axis == "Z" and "T" not in several):
            ranges.append(range(size))
        elif number < size:
            ranges.append([number])
            notes.append(f"{NAMES[axis]} {number} taken, of {size} (0 to {size - 1})")
        else:
            raise FrameError(f"{NAMES[axis]} {number} is not there; found {size} (0 to {size - 1})")
        if size > 1 and axis in "IQZ" and "T" not in several:
            notes.append(f"no time points: each of {size} {'z planes' if axis == 'Z' else 'pages'} is a frame")
    refuse_large([len(each) for each in ranges], MOST_FRAMES)
    return list(itertools.product(*ranges)), notes


def _plane_number(place, sizes):
    """Count the planes before a place."""
    number = 0
    for index, size in zip(place, sizes, strict=True):
        number = number * size + index
    return number


def _array_axes(shape, dtype, names=None):
    """Name the axes before the rows of an array, by its own names where they are known; refuse what is no stack."""
    from fieldwork.frames import FrameError, refuse_large

    found = f"array of {dtype}, shape {tuple(shape)}" + (f", axes {names}" if names else "")
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise FrameError(f"{found}; expected integers or real numbers of at most 64 bits")
    if names is None:
        names = {2: "YX", 3: "TYX", 4: "TZYX"}.get(len(shape))
        if names is None or (len(shape) > 2 and shape[-1] in (3, 4)):  # the last may be colours
            raise FrameError(f"{found}; expected the axes (t, y, x), (t, z, y, x) or (y, x)")
    if len(names) != len(shape) or not names.endswith("YX") or len(set(names)) != len(names):
        raise FrameError(f"{found}; expected names of all axes, y and x as the last")
    refuse_large(shape[-2:])
    return names[:-2]


# TIFF


def _open_tiff(file, channel, z):
    import tifffile

    from fieldwork import frames

    offsets, following, fault = frames.page_offsets(file)
    if not offsets:
        raise frames.FrameError(fault or "a TIFF file without pages")
    notes = [fault] if fault else []
    with tifffile.TiffFile(file.name) as tif:
        first = tif.pages.first
        if tif.is_lsm:  # its offsets and axes need tifffile's corrections of the whole file
            raise frames.FrameError("a Zeiss LSM file; export it as OME-TIFF")
        ome = _ome_planes(tif.ome_metadata, os.path.basename(file.name), len(offsets)) if tif.is_ome else None
        if ome:
            axes, sizes, numbers = ome
            planes = [None if number is None else (offsets[number], 0) for number in numbers]
            if unused := len(offsets) - len(set(numbers) - {None}):
                notes.append(f"{unused} pages of no plane in the OME metadata left out")
        else:
            pages = [offset for offset in offsets if not _is_reduced(tif, offset)] or offsets
            notes += [f"{len(offsets) - len(pages)} pages of reduced size left out"] * (len(pages) < len(offsets))
            planes = [(offset, 0) for offset in pages]
            axes, sizes = _promised(tif, first) or ("I", [0])
            frames.refuse_large([max(1, math.prod(sizes))], MOST_FRAMES)
            if (count := math.prod(sizes)) < len(pages):  # nothing promised, or each page an image of its own
                planes += [None] * bool(fault)
                axes, sizes = "I", [len(planes)]
            elif count > len(pages) and _is_one_piece(first, count, (*offsets[1:], following)[0]):
                planes = [(first.offset, number * first.nbytes) for number in range(count)]
            else:
                planes += [None] * (count - len(pages))
        places, chosen = _places(axes, sizes, channel, z)
        planes = [planes[_plane_number(place, sizes)] for place in places]
        key = _page(tif, next(filter(None, planes), (first.offset, 0)))
    missing = fault or f"truncated: {math.prod(sizes)} planes are promised, the file has {len(offsets)} page(s)"
    if ome and not fault:
        missing += "; or it is in another file of an OME-TIFF set"
    alike = {"kind": "page", "shape": key.shape, "dtype": str(key.dtype), "stamp": _stamp(file.name)}
    listed = [
        StackFrame(file.name, index, place=plane or (), error=None if plane else missing, **alike)
        for index, plane in enumerate(planes)
    ]
    return Stack(listed, notes + chosen)


def _promised(tif, first):
    """Give axes and sizes that a description of ImageJ, tifffile or MetaMorph promises, or None."""
    if tif.is_imagej:
        found = tif.imagej_metadata
        sizes = {"T": found.get("frames", 1), "Z": found.get("slices", 1), "C": found.get("channels", 1)}
        images, count = found.get("images", 1), math.prod(sizes.values())
        if images > count:
            return "I", [images]
        if count == sizes["C"] > 7:  # ImageJ has 7; tifffile writes so a stack whose axes it was not told
            return "I", [count]
        if sizes["C"] == first.samplesperpixel:  # Bio-Formats counts colours as channels
            sizes["C"] = 1
        order = found.get("order", "czt").upper()[::-1]
        axes = order if sorted(order) == ["C", "T", "Z"] else "TZC"
        return axes, [sizes[axis] for axis in axes]
    if tif.is_stk and (planes := first.tags.get("UIC2tag")):
        return "I", [planes.count]
    if (first.shaped_description or "").startswith("{"):
        found = json.loads(first.shaped_description)
        shape, axes = found["shape"], found.get("axes", "")
        if len(axes) != len(shape):
            return "Q", [math.prod(shape) // math.prod(first.shape)]
        named = [(axis, size) for axis, size in zip(axes, shape, strict=True) if axis not in "YXS"]
        return "".join(axis for axis, _ in named), [size for _, size in named]
    return None


def _ome_planes(xml, name, pages):
    """Give the axes, their sizes, and the number of each plane's page (None: not among the `pages` of this file,
    called ``name``) that OME metadata tell; None if they tell nothing."""
    from fieldwork.frames import FrameError, own_ome, refuse_large

    xml, _ = own_ome(xml, name)
    images = ElementTree.fromstring(xml).findall("{*}Image/{*}Pixels[{*}TiffData]") if xml else []
    if not images:
        return None
    if len(images) > 1:
        raise FrameError(f"OME metadata of {len(images)} images; expected one")
    axes = images[0].get("DimensionOrder")[:1:-1]  # after X and Y, fastest first
    sizes = [int(images[0].get("Size" + axis)) for axis in axes]
    channel = images[0].find("{*}Channel")
    colours = int(channel.get("SamplesPerPixel", 1)) if channel is not None else 1
    sizes[axes.index("C")] //= colours
    refuse_large(sizes, MOST_FRAMES)
    numbers = [None] * math.prod(sizes)
    for block in images[0].iterfind("{*}TiffData"):
        place = [int(block.get("First" + axis, 0)) for axis in axes]
        page = int(block.get("IFD", 0))
        count = int(block.get("PlaneCount", block.get("NumPlanes", 1 if "IFD" in block.attrib else pages)))
        if page < 0 or not all(0 <= index < size for index, size in zip(place, sizes, strict=True)):
            raise FrameError(f"OME metadata of page {page} for plane {place} of {sizes}")
        start = _plane_number(place, sizes)
        for step in range(min(count, pages - page, len(numbers) - start)):
            numbers[start + step] = page + step
    return axes, sizes, numbers


def _is_one_piece(first, count, second):
    """Whether the pixels of all planes follow those that the first page tells of, as ImageJ writes them: no other
    page (the next one should be at ``second``), nor this one, is between them. A page may then be missing."""
    if not first.is_final:
        return False
    start = first.dataoffsets[0]
    end = start + count * first.nbytes
    return not start <= first.offset < end and (not second or second >= end)


def _page(tif, place):
    """Read the directory of a page; its pixels may be that many bytes behind those that it tells of."""
    import tifffile

    offset, shift = place
    tif.filehandle.seek(offset)
    page = tifffile.TiffPage(tif, int(offset != tif.pages.first.offset))
    page.dataoffsets = tuple(start + shift for start in page.dataoffsets)
    return page


def _is_reduced(tif, offset):
    try:
        return _page(tif, (offset, 0)).is_reduced
    except Exception:  # a damaged page: a frame, which fails when it is read
        return False


def _read_page(frame):
    import tifffile

    from fieldwork import frames

    with tifffile.TiffFile(frame.path) as tif:
        page = _page(tif, frame.place)
        frames.check_page(page, frame.stamp[0])
        if (page.shape, str(page.dtype)) != (frame.shape, frame.dtype):
            raise frames.FrameError(
                f"{page.dtype} of shape {page.shape}; expected {frame.dtype} of {frame.shape} as in the first frame"
            )
        return frames.split_colours(page.asarray(maxworkers=1), page)  # each core has its frame


# Folders


def _open_folder(path):
    from fieldwork.frames import FrameError

    images, others = list_folder(path)
    found = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
    if not images:
        raise FrameError(f"a folder without images; found {found or 'nothing'}; expected {', '.join(FRAME_SUFFIXES)}")
    listed = [StackFrame(image, index) for index, image in enumerate(images)]
    return Stack(listed, [f"left out of the folder: {found}"] if found else [])


# NumPy


def _open_npy(file, channel, z):
    from numpy.lib import format as npy

    from fieldwork.frames import FrameError

    file.seek(0)
    head = io.BytesIO(file.read(2**14))  # NumPy refuses longer headers, but reads them first
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(head)
    if version not in read_header:
        raise FrameError(f".npy format {version}; expected (1, 0) or (2, 0)")
    shape, is_fortran, dtype = read_header[version](head)
    places, notes = _places(_array_axes(shape, dtype), shape[:-2], channel, z)
    start, size = head.tell(), _stamp(file.name)[0]
    alike = {"shape": shape[-2:], "dtype": dtype.str, "stamp": _stamp(file.name)}
    if is_fortran:
        notes.append("in Fortran order: each frame is read from all over the file, which is slow")
        end = start + math.prod(shape) * dtype.itemsize
        error = f"truncated: its pixels go on to byte {end}, the file has {size}" if end > size else None
        alike |= {"kind": "fortran", "error": error}
    else:
        plane = math.prod(shape[-2:]) * dtype.itemsize
        places = [(start + _plane_number(place, shape[:-2]) * plane,) for place in places]
        alike |= {"kind": "npy"}
    return Stack([StackFrame(file.name, index, place=place, **alike) for index, place in enumerate(places)], notes)


def _read_npy(frame):
    import numpy as np

    from fieldwork.frames import FrameError

    dtype, values = np.dtype(frame.dtype), math.prod(frame.shape)
    end = frame.place[0] + values * dtype.itemsize
    if end > frame.stamp[0]:
        raise FrameError(f"truncated: its pixels go on to byte {end}, the file has {frame.stamp[0]}")
    # Not a memory map: its pages would count as this process's memory, to the size of the file.
    return np.fromfile(frame.path, dtype, values, offset=frame.place[0]).reshape(1, *frame.shape)


def _read_fortran(frame):
    import numpy as np

    return np.lib.format.open_memmap(frame.path, mode="r")[frame.place][np.newaxis]


# Zarr


def _open_zarr(path, channel, z):
    import zarr

    from fieldwork.frames import FrameError, refuse_large

    for name in files_below(path):
        if not os.path.isfile(name):  # a pipe, for which a reader would wait; a broken link, which would be background
            raise FrameError(f"holds {os.path.relpath(name, path)!r}, which is not a file")
    array, names, notes = _zarr_array(zarr.open(path, mode="r"))
    axes = _array_axes(array.shape, array.dtype, names)
    places, chosen = _places(axes, array.shape[:-2], channel, z)
    shard = array.shards or array.chunks
    parts = [max(1, size // part) for size, part in zip(shard, array.chunks, strict=True)]  # a shard's index lists them
    tiles = [-(-size // part) for size, part in zip(array.shape[-2:], array.chunks[-2:], strict=True)]
    refuse_large(array.chunks)
    refuse_large(parts, MOST_FRAMES)
    refuse_large(tiles, MOST_CHUNKS)
    if (depth := math.prod(array.chunks[:-2])) > 1:
        notes.append(f"its chunks hold {depth} planes, which are all decoded for each frame: chunks of one are faster")
    path = os.path.normpath(os.path.join(path, array.path))  # of a lone array the second is empty
    alike = {"kind": "zarr", "stamp": _stamp(path)}
    return Stack([StackFrame(path, index, place=place, **alike) for index, place in enumerate(places)], notes + chosen)


def _zarr_array(node):
    """Find the array of a Zarr node and the names of its axes (None if it tells none); and notes."""
    import zarr

    from fieldwork.frames import FrameError

    if isinstance(node, zarr.Array):
        names = "".join(str(name) for name in getattr(node.metadata, "dimension_names", None) or ()).upper()
        return node, names if set("TCZYX").issuperset(names) and names else None, []
    images = node.attrs.get("ome", node.attrs).get("multiscales")
    if images:
        axes = [axis["name"] if isinstance(axis, dict) else axis for axis in images[0]["axes"]]
        array = node[images[0]["datasets"][0]["path"]]
        notes = [f"the first of {len(images)} images"] if len(images) > 1 else []
        return array, "".join(axes).upper(), notes
    arrays, groups = sorted(node.array_keys()), sorted(node.group_keys())
    if len(arrays) != 1:
        found = ", ".join([*arrays, *(f"{name}/" for name in groups)][:8]) or "nothing"
        raise FrameError(f"a Zarr group of {found}; expected an OME-Zarr image or one array: give its path")
    return _zarr_array(node[arrays[0]])


def _read_zarr(frame):
    import numpy as np
    import zarr

    # Not zarrs: it is no faster here, and ends the process where a damaged store has it allocate too much.
    zarr.config.set(omezarr_metadata.ONE_THREAD)
    return np.asarray(zarr.open_array(frame.path, mode="r")[frame.place])[np.newaxis]


def _stamp(path):
    """Size and modification time of a file, or of a Zarr array's metadata: another one has others."""
    metadata = (os.path.join(path, name) for name in ZARR_METADATA_NAMES)
    status = os.stat(next(filter(os.path.isfile, metadata), path))
    return status.st_size, status.st_mtime_ns


READERS = {"page": _read_page, "npy": _read_npy, "fortran": _read_fortran, "zarr": _read_zarr}
