"""Read the planes of TIFF files."""

import math
import os
from typing import BinaryIO

import numpy as np
import tifffile

from fieldwork import FrameError
from fieldwork.frames.colours import plane_of, split_colours
from fieldwork.frames.files import LARGEST_FILE_VALUES, refuse_large
from fieldwork.frames.ome import own_ome
from fieldwork.frames.pages import check_page, page_offsets
from fieldwork.frames.planes import Plane
from fieldwork.stains import is_dna


def read_tiff(file: BinaryIO, channel: str, exact: bool) -> list[Plane]:
    """Read the planes of a TIFF file that is open; `channel` and `exact` as for `frames.read`."""
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
