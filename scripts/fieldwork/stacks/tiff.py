"""Frames of a TIFF file."""

import json
import math
from collections import Counter, defaultdict
from typing import BinaryIO, NamedTuple

import numpy as np
import tifffile

from fieldwork import FrameError
from fieldwork.decoding import segments
from fieldwork.frames import refuse_large
from fieldwork.frames.colours import COLOURS, Samples, samples_of
from fieldwork.frames.pages import check_page, page_offsets
from fieldwork.frames.planes import usual_form
from fieldwork.inputs.inside import ome
from fieldwork.stacks.positions import (
    MOST_CHANNELS_LAST,
    MOST_FRAMES,
    Stack,
    StackFrame,
    channel_number,
    plane_number,
    positions_of,
    stamp_of,
)

TAG_KINDS = {0: "inverted grey", 1: "grey", 2: "RGB", 3: "with a palette"}  # of PhotometricInterpretation


class _Listed(NamedTuple):
    """The planes of a file before some of them are chosen."""

    axes: str  # before the rows: T, Z and C, or I or Q for pages of unknown meaning
    sizes: list[int]
    planes: list[tuple[int, ...] | None]  # in the form that `_page` expects; None: not in this file
    missing: str  # why they are not
    names: list[str]  # of channels
    notes: list[str]
    decided: list[str] = []  # of the notes, as of a `Stack`


def open_tiff(file: BinaryIO, channel: str | int, z: int) -> Stack:
    """List the frames of a TIFF that is open.

    Parameters
    ----------
    file : binary file
    channel, z
        As for `sources.open_stack`.

    Returns
    -------
    Stack

    Raises
    ------
    FrameError
        As by `sources.open_stack`.
    """
    offsets, following, fault = page_offsets(file)
    if not offsets:
        raise FrameError(fault or "a TIFF file without pages")
    with tifffile.TiffFile(file.name) as tif:
        if tif.is_lsm:  # its offsets and axes need tifffile's corrections of the whole file
            raise FrameError("a Zeiss LSM file; export it as OME-TIFF")
        images = ome.images_of(tif.ome_metadata, file.name, len(offsets)) if tif.is_ome else []
        listed = _ome_planes(images, offsets, fault) if images else _page_planes(tif, offsets, following, fault)
        key, tags = _usual_page(tif, [plane for plane in listed.planes if plane] or [(tif.pages.first.offset, 0)])
        listed, colours = _with_samples(listed, key, channel)
    colours = colours and dict(zip(listed.axes, listed.sizes, strict=True)).get("C", 1) == 1
    wanted = "auto" if colours else channel
    positions, chosen, decided = positions_of(listed.axes, listed.sizes, wanted, z, listed.names)
    planes = [listed.planes[plane_number(position, listed.sizes)] for position in positions]
    colour = channel_number(channel, COLOURS) if colours and channel != "auto" else None
    if colour is not None:
        planes = [plane and (*plane, colour) for plane in planes]
        chosen.append(f"{COLOURS[colour]} taken, of the colours red, green and blue")
    alike = {"kind": "page", "shape": key.shape, "dtype": str(key.dtype), "stamp": stamp_of(file.name)}
    frames = [
        StackFrame(file.name, index, position=plane or (), error=None if plane else listed.missing, **alike)
        for index, plane in enumerate(planes)
    ]
    if len(tags) > 1:
        kinds = ", ".join(f"{count} {TAG_KINDS.get(tag, 'others')}" for tag, count in sorted(tags.items()))
        chosen.append(f"its pages are of several kinds ({kinds}); each is read as its tags say")
    return Stack(
        frames,
        listed.notes + chosen,
        key.photometric != 1 and colour is None,
        listed.decided + decided,
    )


def _ome_planes(images, offsets, fault):
    """List the planes of a file with OME metadata."""
    if len(images) > 1:
        raise FrameError(f"OME metadata of {len(images)} images; expected one")
    image = images[0]
    planes = [None if number is None else (offsets[number], 0) for number in image.pages]
    notes = [fault] if fault else []
    if unused := len(offsets) - len(set(image.pages) - {None}):
        notes.append(f"{unused} pages of no plane in the OME metadata left out")
    missing = fault or (
        f"truncated: {len(planes)} planes are promised, the file has {len(offsets)} page(s); or it is in another "
        "file of an OME-TIFF set"
    )
    return _Listed(image.axes, image.sizes, planes, missing, image.names, notes)


def _page_planes(tif, offsets, following, fault):
    """List the planes of a file without OME metadata."""
    first, notes = tif.pages.first, [fault] if fault else []
    pages = [offset for offset in offsets if not _is_reduced(tif, offset)] or offsets
    notes += [f"{len(offsets) - len(pages)} pages of reduced size left out"] * (len(pages) < len(offsets))
    planes = [(offset, 0) for offset in pages]
    axes, sizes = _promised(tif, first) or ("I", [0])
    refuse_large([max(1, math.prod(sizes))], MOST_FRAMES)
    samples = first.samplesperpixel if sizes and sizes[-1] == first.samplesperpixel else 1
    if (count := math.prod(sizes)) == len(pages) * samples and samples > 1:  # the description names the samples
        planes = [(*plane, sample) for plane in planes for sample in range(samples)]
    elif 1 < count < len(pages) and tif.is_imagej:
        notes.append(f"{len(pages) - count} page(s) more than the {count} that its ImageJ description states: left out")
        planes = planes[:count]
    elif count < len(pages):  # nothing promised, or each page an image of its own
        planes += [None] * bool(fault)
        axes, sizes = "I", [len(planes)]
    elif count > len(pages) and _is_one_piece(first, count, (*offsets[1:], following)[0]):
        planes = [(first.offset, number * first.nbytes) for number in range(count)]
    else:
        planes += [None] * (count - len(pages))
    missing = fault or f"truncated: {count} planes are promised, the file has {len(offsets)} page(s)"
    return _Listed(axes, sizes, planes, missing, [], notes)


def _with_samples(listed, key, channel):
    """Return the planes where each page has several samples, and True if these are colours."""
    if "S" not in key.axes or any(plane and len(plane) > 2 for plane in listed.planes):
        return listed, False
    pixel = tuple(length if axis == "S" else 1 for axis, length in zip(key.axes, key.shape, strict=True))
    stored, count = samples_of(np.zeros(pixel, key.dtype), key), key.samplesperpixel
    is_shaped = (key.shaped_description or "").startswith("{") and "axes" not in json.loads(key.shaped_description)
    if is_shaped and len(listed.planes) == 1 and key.axes == "SYX" and listed.planes[0] and channel not in COLOURS:
        if channel not in ("auto", 0):
            raise FrameError(f"channel {channel!r} is not there: its {count} samples a pixel are taken for frames")
        planes = [(*listed.planes[0], sample) for sample in range(count)]
        note = (
            f"one page of {count} planes, as tifffile.imwrite stores {count} frames, or colours: each is taken for a "
            "frame; stack.channel: red (green, blue) says that they are colours"
        )
        return listed._replace(
            axes="Q", sizes=[count], planes=planes, notes=[*listed.notes, note], decided=[note]
        ), False
    if stored.are_colours or len(stored.values) == 1:
        return listed, stored.are_colours
    if channel == "auto":
        raise FrameError(f"{count} samples a pixel that are no colours: which is wanted? Set stack.channel, from 0")
    if dict(zip(listed.axes, listed.sizes, strict=True)).get("C", 1) > 1:
        raise FrameError(
            f"several channels, each with {count} samples a pixel that are no colours; expected one of both"
        )
    count = len(stored.values)
    planes = [plane and (*plane, sample) for plane in listed.planes for sample in range(count)]
    axes = [(axis, size) for axis, size in zip(listed.axes, listed.sizes, strict=True) if axis != "C"]
    names = [axis for axis, _ in axes]
    return listed._replace(
        axes="".join([*names, "C"]), sizes=[*(size for _, size in axes), count], planes=planes, names=[]
    ), False


def _usual_page(tif, planes):
    """Return a page of the size and type of most, and how many of these pages have which PhotometricInterpretation.

    A preview or another camera's picture may be the first page.

    Raises
    ------
    FrameError
        There is no absolute majority.
    """
    first_of, counts, tags = {}, Counter(), defaultdict(Counter)
    for offset, shift, *_ in planes[:1] if len({plane[0] for plane in planes}) == 1 else planes:
        try:
            page = _page(tif, (offset, shift))
            counts[_form_of(page)] += 1
            tags[_form_of(page)][page.photometric] += 1
            first_of.setdefault(_form_of(page), page)
        except Exception:  # a damaged page: a frame, which fails when it is read
            continue
    usual = usual_form(counts.elements())
    if counts and usual is None:
        listed = ", ".join(f"{count} of {form}" for form, count in counts.most_common(4))
        raise FrameError(f"found pages of several sizes or types ({listed}), none of them most: which are the stack's?")
    return (first_of[usual], tags[usual]) if usual else (_page(tif, planes[0][:2]), Counter())


def _form_of(page):
    return f"{page.dtype} {page.shape}"


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
            if len(shape) > 2 and first.samplesperpixel == 1 and shape[-1] <= MOST_CHANNELS_LAST:
                raise FrameError(
                    f"array of shape {tuple(shape)} without names of axes: its last axis, of {shape[-1]}, looks like "
                    "channels; expected rows and columns last, or metadata={'axes': 'TYXC'} or the like"
                )
            return "Q", [math.prod(shape) // math.prod(first.shape)]
        named = [(axis, size) for axis, size in zip(axes, shape, strict=True) if axis not in "YXS"]
        return "".join(axis for axis, _ in named), [size for _, size in named]
    return None


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
    segments.ignore_needless_predictor(page)
    page.dataoffsets = tuple(start + shift for start in page.dataoffsets)
    return page


def _is_reduced(tif, offset):
    """Return True if the page at an offset is a thumbnail or a level of a pyramid."""
    try:
        return _page(tif, (offset, 0)).is_reduced
    except Exception:  # a damaged page: a frame, which fails when it is read
        return False


def read_page(frame: StackFrame) -> Samples:
    """Read the page of a TIFF; of one with several samples of which the frame is one, that one."""
    offset, shift, *sample = frame.position
    with tifffile.TiffFile(frame.path) as tif:
        page = _page(tif, (offset, shift))
        check_page(page, frame.stamp[0])
        if (page.shape, str(page.dtype)) != (frame.shape, frame.dtype):
            raise FrameError(
                f"{page.dtype} of shape {page.shape}; expected {frame.dtype} of {frame.shape} as in most frames"
            )
        image = segments.read_page(page)
        if not sample:
            return samples_of(image, page)
        values = samples_of(image, page, are_channels=True)
        return values._replace(values=values.values[sample])
