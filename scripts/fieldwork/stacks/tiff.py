"""Frames of a TIFF file."""

import json
import math
import os
from typing import BinaryIO
from xml.etree import ElementTree

import numpy as np
import tifffile

from fieldwork import FrameError
from fieldwork.frames import refuse_large
from fieldwork.frames.colours import split_colours
from fieldwork.frames.ome import own_ome
from fieldwork.frames.pages import check_page, page_offsets
from fieldwork.stacks.positions import MOST_FRAMES, Stack, StackFrame, plane_number, positions_of, stamp_of


def open_tiff(file: BinaryIO, channel: int, z: int) -> Stack:
    """List the frames of a TIFF that is open."""
    offsets, following, fault = page_offsets(file)
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
        positions, chosen = positions_of(axes, sizes, channel, z)
        planes = [planes[plane_number(position, sizes)] for position in positions]
        key = _page(tif, next(filter(None, planes), (first.offset, 0)))
    missing = fault or f"truncated: {math.prod(sizes)} planes are promised, the file has {len(offsets)} page(s)"
    if ome and not fault:
        missing += "; or it is in another file of an OME-TIFF set"
    alike = {"kind": "page", "shape": key.shape, "dtype": str(key.dtype), "stamp": stamp_of(file.name)}
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
        position = [int(block.get("First" + axis, 0)) for axis in axes]
        page = int(block.get("IFD", 0))
        count = int(block.get("PlaneCount", block.get("NumPlanes", 1 if "IFD" in block.attrib else pages)))
        if page < 0 or not all(0 <= index < size for index, size in zip(position, sizes, strict=True)):
            raise FrameError(f"OME metadata of page {page} for plane {position} of {sizes}")
        start = plane_number(position, sizes)
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


def read_page(frame: StackFrame) -> np.ndarray:
    """Read the page of a TIFF."""
    with tifffile.TiffFile(frame.path) as tif:
        page = _page(tif, frame.position)
        check_page(page, frame.stamp[0])
        if (page.shape, str(page.dtype)) != (frame.shape, frame.dtype):
            raise FrameError(
                f"{page.dtype} of shape {page.shape}; expected {frame.dtype} of {frame.shape} as in the first frame"
            )
        return split_colours(page.asarray(maxworkers=1), page)  # one thread: every core has a frame of its own
