"""Read stacks: the frames of a multi-page TIFF, a folder of images, an .npy file or a Zarr store.

A frame is a small record of where its pixels are; it travels to a worker, which reads these pixels and nothing else.
Zarr, which starts threads, is imported only where a Zarr store is read.
"""

import io
import itertools
import json
import math
import os
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.lib import format as npy

from fieldwork import frames
from fieldwork.frames import FrameError, refuse_large
from fieldwork.inputs.stack_files import FRAME_SUFFIXES, ZARR_METADATA_NAMES, files_below, is_zarr, list_folder

MOST_FRAMES = 2**20  # also of planes in a file and of chunks in a shard; more is a damaged header
MOST_CHUNKS = 2**16  # of a frame; even an absent chunk costs 0.1 ms
AXIS_NAMES = {"C": "channel", "Z": "z plane"}


class StackFrame(NamedTuple):
    """A frame of a stack, numbered from 0, or why there is none (`error`)."""

    path: str
    index: int
    kind: str = "image"  # "image" or a key of READERS
    position: tuple[int, ...] = ()  # in the file, in the form that the reader expects
    shape: tuple[int, ...] = ()
    dtype: str = ""
    stamp: tuple[int, int] | None = None
    error: str | None = None

    def __str__(self):
        return f"{self.path} (frame {self.index})"


class Stack(NamedTuple):
    """The frames of a stack in order, and notes for the log: what was chosen or left out."""

    frames: list[StackFrame]
    notes: list[str]


def open_stack(path: str | os.PathLike, *, channel: int = 0, z: int = 0) -> Stack:
    """List the frames of a stack without reading pixels.

    A hostile file may crash this process; Zarr starts threads in it, so that it should not fork later.

    Parameters
    ----------
    path : str or path-like
        A TIFF (plain pages, ImageJ, OME, MetaMorph; big, compressed), a folder of image files of one frame each, a
        NumPy array (.npy), or a Zarr array or image: the first level of OME-Zarr, the only array of another group.
        Arrays that name no axes are (t, y, x), (t, z, y, x) or a single (y, x).
    channel, z : int
        From 0: the channel to take of several, and the z plane to take at each of several time points. In a file
        without time points every z plane is a frame, and so is every page of unknown meaning. Not for a folder.

    Returns
    -------
    Stack
        A frame that the file promises but does not hold (a truncated TIFF) has an `error`.

    Raises
    ------
    FrameError
        The path is no stack, or has no such channel or z plane; the message is the reason.
    """
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
    raise FrameError(
        f"begins with {head!r}; expected a TIFF or .npy file, a folder of images, or a Zarr array or group"
    )


def read(frame: StackFrame) -> np.ndarray:
    """Read a frame; no file stays open, as opening one costs only 0.2 to 0.6 ms.

    Parameters
    ----------
    frame : StackFrame

    Returns
    -------
    (rows, columns) array
        C-contiguous, in the file's dtype and native byte order, with the stored values; see `frames.read`.

    Raises
    ------
    FrameError
        The frame cannot be read; the message is the reason.
    """
    if frame.error is not None:
        raise FrameError(frame.error)
    if frame.kind == "image":
        planes = frames.read(frame.path)
        if len(planes) > 1:
            raise FrameError(f"holds {len(planes)} planes; a file of a folder is one frame, so 1 is expected")
        return planes[0].image
    with frames.decoding():
        if _stamp(frame.path) != frame.stamp:
            raise FrameError("has changed since the frames were listed; run again")
        return frames.plane_of(None, None, READERS[frame.kind](frame)).image


# Choosing planes


def _positions(axes, sizes, channel, z):
    """Choose the planes that are frames; return their indices along the axes, and notes.

    `axes` are those before the rows, as letters: T, Z and C, and I or Q for pages of unknown meaning.
    """
    several = {axis for axis, size in zip(axes, sizes, strict=True) if size > 1}
    if not several <= set("TZC") and not several <= set("IQZC"):
        raise FrameError(f"axes {axes}YX, sizes {tuple(sizes)}; expected Y, X and at most T, Z and C")
    ranges, notes = [], []
    for axis, size in zip(axes, sizes, strict=True):
        number = channel if axis == "C" else z
        if size == 1 or axis not in AXIS_NAMES or (axis == "Z" and "T" not in several):
            ranges.append(range(size))
        elif number < size:
            ranges.append([number])
            notes.append(f"{AXIS_NAMES[axis]} {number} taken, of {size} (0 to {size - 1})")
        else:
            raise FrameError(f"{AXIS_NAMES[axis]} {number} is not there; found {size} (0 to {size - 1})")
        if size > 1 and axis in "IQZ" and "T" not in several:
            notes.append(f"no time points: each of {size} {'z planes' if axis == 'Z' else 'pages'} is a frame")
    refuse_large([len(indices) for indices in ranges], MOST_FRAMES)
    return list(itertools.product(*ranges)), notes


def _plane_number(position, sizes):
    """Return the number of planes before a position."""
    number = 0
    for index, size in zip(position, sizes, strict=True):
        number = number * size + index
    return number


def _array_axes(shape, dtype, names=None):
    """Return the axes before the rows of an array, by its `names` if it has any; raise an error if it is no stack."""
    described = f"array of {dtype}, shape {tuple(shape)}" + (f", axes {names}" if names else "")
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise FrameError(f"{described}; expected integers or real numbers of at most 64 bits")
    if names is None:
        names = {2: "YX", 3: "TYX", 4: "TZYX"}.get(len(shape))
        if names is None or (len(shape) > 2 and shape[-1] in (3, 4)):  # the last may be colours
            raise FrameError(f"{described}; expected the axes (t, y, x), (t, z, y, x) or (y, x)")
    if len(names) != len(shape) or not names.endswith("YX") or len(set(names)) != len(names):
        raise FrameError(f"{described}; expected names of all axes, y and x as the last")
    refuse_large(shape[-2:])
    return names[:-2]


# TIFF


def _open_tiff(file, channel, z):
    """List the frames of a TIFF that is open."""
    offsets, following, fault = frames.page_offsets(file)
    if not offsets:
        raise FrameError(fault or "a TIFF file without pages")
    notes = [fault] if fault else []
    with tifffile.TiffFile(file.name) as tif:
        first = tif.pages.first
        if tif.is_lsm:  # its offsets and axes need tifffile's corrections of the whole file
            raise FrameError("a Zeiss LSM file; export it as OME-TIFF")
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
            refuse_large([max(1, math.prod(sizes))], MOST_FRAMES)
            if (count := math.prod(sizes)) < len(pages):  # nothing promised, or each page an image of its own
                planes += [None] * bool(fault)
                axes, sizes = "I", [len(planes)]
            elif count > len(pages) and _is_one_piece(first, count, (*offsets[1:], following)[0]):
                planes = [(first.offset, number * first.nbytes) for number in range(count)]
            else:
                planes += [None] * (count - len(pages))
        positions, chosen = _positions(axes, sizes, channel, z)
        planes = [planes[_plane_number(position, sizes)] for position in positions]
        key = _page(tif, next(filter(None, planes), (first.offset, 0)))
    missing = fault or f"truncated: {math.prod(sizes)} planes are promised, the file has {len(offsets)} page(s)"
    if ome and not fault:
        missing += "; or it is in another file of an OME-TIFF set"
    alike = {"kind": "page", "shape": key.shape, "dtype": str(key.dtype), "stamp": _stamp(file.name)}
    listed = [
        StackFrame(file.name, index, position=plane or (), error=None if plane else missing, **alike)
        for index, plane in enumerate(planes)
    ]
    return Stack(listed, notes + chosen)


def _promised(tif, first):
    """Return axes and sizes that a description by ImageJ, tifffile or MetaMorph promises, or None."""
    if tif.is_imagej:
        described = tif.imagej_metadata
        sizes = {"T": described.get("frames", 1), "Z": described.get("slices", 1), "C": described.get("channels", 1)}
        images, count = described.get("images", 1), math.prod(sizes.values())
        if images > count:
            return "I", [images]
        if count == sizes["C"] > 7:  # ImageJ has at most 7; tifffile writes stacks of unknown axes in this way
            return "I", [count]
        if sizes["C"] == first.samplesperpixel:  # Bio-Formats counts colours as channels
            sizes["C"] = 1
        order = described.get("order", "czt").upper()[::-1]
        axes = order if sorted(order) == ["C", "T", "Z"] else "TZC"
        return axes, [sizes[axis] for axis in axes]
    if tif.is_stk and (planes := first.tags.get("UIC2tag")):
        return "I", [planes.count]
    if (first.shaped_description or "").startswith("{"):
        described = json.loads(first.shaped_description)
        shape, axes = described["shape"], described.get("axes", "")
        if len(axes) != len(shape):
            return "Q", [math.prod(shape) // math.prod(first.shape)]
        named = [(axis, size) for axis, size in zip(axes, shape, strict=True) if axis not in "YXS"]
        return "".join(axis for axis, _ in named), [size for _, size in named]
    return None


def _ome_planes(xml, name, pages):
    """Return the axes, their sizes, and each plane's page that the OME metadata of a file describe.

    A page is None if it is not among the `pages` of this file. Returns None if the metadata describe no planes.
    """
    xml, _ = frames.own_ome(xml, name)
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
        position = [int(block.get("First" + axis, 0)) for axis in axes]
        page = int(block.get("IFD", 0))
        count = int(block.get("PlaneCount", block.get("NumPlanes", 1 if "IFD" in block.attrib else pages)))
        if page < 0 or not all(0 <= index < size for index, size in zip(position, sizes, strict=True)):
            raise FrameError(f"OME metadata of page {page} for plane {position} of {sizes}")
        start = _plane_number(position, sizes)
        for step in range(min(count, pages - page, len(numbers) - start)):
            numbers[start + step] = page + step
    return axes, sizes, numbers


def _is_one_piece(first, count, second):
    """Return True if the pixels of all planes follow the first plane's in one piece, as ImageJ writes them.

    Then neither the directory of the first page nor that of the next one, at `second`, lies among the pixels, and
    pages may be missing.
    """
    if not first.is_final:
        return False
    start = first.dataoffsets[0]
    end = start + count * first.nbytes
    return not start <= first.offset < end and (not second or second >= end)


def _page(tif, position):
    """Read the directory of a page at (offset, shift); the pixels lie `shift` bytes behind those of the directory."""
    offset, shift = position
    tif.filehandle.seek(offset)
    page = tifffile.TiffPage(tif, int(offset != tif.pages.first.offset))
    page.dataoffsets = tuple(start + shift for start in page.dataoffsets)
    return page


def _is_reduced(tif, offset):
    """Return True if the page at an offset is a thumbnail or a level of a pyramid."""
    try:
        return _page(tif, (offset, 0)).is_reduced
    except Exception:  # a damaged page: a frame, which fails when it is read
        return False


def _read_page(frame):
    """Read the page of a TIFF."""
    with tifffile.TiffFile(frame.path) as tif:
        page = _page(tif, frame.position)
        frames.check_page(page, frame.stamp[0])
        if (page.shape, str(page.dtype)) != (frame.shape, frame.dtype):
            raise FrameError(
                f"{page.dtype} of shape {page.shape}; expected {frame.dtype} of {frame.shape} as in the first frame"
            )
        return frames.split_colours(page.asarray(maxworkers=1), page)  # one thread: every core has a frame of its own


# Folders


def _open_folder(path):
    """List the images of a folder as frames."""
    images, others = list_folder(path)
    left_out = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
    if not images:
        raise FrameError(
            f"a folder without images; found {left_out or 'nothing'}; expected {', '.join(FRAME_SUFFIXES)}"
        )
    listed = [StackFrame(image, index) for index, image in enumerate(images)]
    return Stack(listed, [f"left out of the folder: {left_out}"] if left_out else [])


# NumPy


def _open_npy(file, channel, z):
    """List the frames of an .npy file that is open."""
    file.seek(0)
    head = io.BytesIO(file.read(2**14))  # NumPy refuses longer headers, but reads them first
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(head)
    if version not in read_header:
        raise FrameError(f".npy format {version}; expected (1, 0) or (2, 0)")
    shape, is_fortran, dtype = read_header[version](head)
    positions, notes = _positions(_array_axes(shape, dtype), shape[:-2], channel, z)
    start, size = head.tell(), _stamp(file.name)[0]
    alike = {"shape": shape[-2:], "dtype": dtype.str, "stamp": _stamp(file.name)}
    if is_fortran:
        notes.append("in Fortran order: each frame is read from all over the file, which is slow")
        end = start + math.prod(shape) * dtype.itemsize
        error = f"truncated: its pixels go on to byte {end}, the file has {size}" if end > size else None
        alike |= {"kind": "fortran", "error": error}
    else:
        plane = math.prod(shape[-2:]) * dtype.itemsize
        positions = [(start + _plane_number(position, shape[:-2]) * plane,) for position in positions]
        alike |= {"kind": "npy"}
    listed = [StackFrame(file.name, index, position=position, **alike) for index, position in enumerate(positions)]
    return Stack(listed, notes)


def _read_npy(frame):
    """Read a frame of an .npy file in C order."""
    dtype, values = np.dtype(frame.dtype), math.prod(frame.shape)
    end = frame.position[0] + values * dtype.itemsize
    if end > frame.stamp[0]:
        raise FrameError(f"truncated: its pixels go on to byte {end}, the file has {frame.stamp[0]}")
    # No memory map: its pages would count as this process's memory, up to the size of the file.
    return np.fromfile(frame.path, dtype, values, offset=frame.position[0]).reshape(1, *frame.shape)


def _read_fortran(frame):
    """Read a frame of an .npy file in Fortran order."""
    return npy.open_memmap(frame.path, mode="r")[frame.position][np.newaxis]


# Zarr


def _open_zarr(path, channel, z):
    """List the frames of a Zarr array or image."""
    import zarr

    for name in files_below(path):
        if not os.path.isfile(name):  # a pipe, for which a reader would wait; a broken link, which would be background
            raise FrameError(f"holds {os.path.relpath(name, path)!r}, which is not a file")
    array, names, notes = _zarr_array(zarr.open(path, mode="r"))
    axes = _array_axes(array.shape, array.dtype, names)
    positions, chosen = _positions(axes, array.shape[:-2], channel, z)
    shard = array.shards or array.chunks
    parts = [max(1, size // part) for size, part in zip(shard, array.chunks, strict=True)]  # a shard's index lists them
    tiles = [-(-size // part) for size, part in zip(array.shape[-2:], array.chunks[-2:], strict=True)]
    refuse_large(array.chunks)
    refuse_large(parts, MOST_FRAMES)
    refuse_large(tiles, MOST_CHUNKS)
    if (depth := math.prod(array.chunks[:-2])) > 1:
        notes.append(f"its chunks hold {depth} planes, which are all decoded for each frame: chunks of one are faster")
    path = os.path.normpath(os.path.join(path, array.path))  # the second is empty if the store is one array
    alike = {"kind": "zarr", "stamp": _stamp(path)}
    listed = [StackFrame(path, index, position=position, **alike) for index, position in enumerate(positions)]
    return Stack(listed, notes + chosen)


def _zarr_array(node):
    """Return the array of a Zarr node, the names of its axes (None if it has none), and notes."""
    import zarr

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
        members = ", ".join([*arrays, *(f"{name}/" for name in groups)][:8]) or "nothing"
        raise FrameError(f"a Zarr group of {members}; expected an OME-Zarr image or one array: give its path")
    return _zarr_array(node[arrays[0]])


def _read_zarr(frame):
    """Read a plane of a Zarr array."""
    import zarr

    from fieldwork.omezarr.metadata import ONE_THREAD  # it imports zarr

    # Without zarrs, which is no faster here, and ends the process if a damaged store makes it allocate too much.
    zarr.config.set(ONE_THREAD)
    return np.asarray(zarr.open_array(frame.path, mode="r")[frame.position])[np.newaxis]


def _stamp(path):
    """Return size and modification time of a file, or of a Zarr array's metadata, to recognise another one."""
    metadata = (os.path.join(path, name) for name in ZARR_METADATA_NAMES)
    status = os.stat(next(filter(os.path.isfile, metadata), path))
    return status.st_size, status.st_mtime_ns


READERS = {"page": _read_page, "npy": _read_npy, "fortran": _read_fortran, "zarr": _read_zarr}
