"""Read the planes of TIFF files."""

import math
import os
from typing import BinaryIO, NamedTuple

import numpy as np
import tifffile

from fieldwork import FrameError
from fieldwork.decoding.segments import ignore_needless_predictor, read_page
from fieldwork.frames.colours import Samples, plane_of, samples_of
from fieldwork.frames.files import LARGEST_FILE_VALUES, refuse_large
from fieldwork.frames.pages import check_page, page_offsets
from fieldwork.frames.planes import ChannelError, Plane
from fieldwork.inputs.inside import ome
from fieldwork.stains import TOKEN, is_dna
from fieldwork.surroundings.unread import refuse_beyond_memory

UNKNOWN_AXES = "IQS"  # tifffile's letters of pages, and of samples, that no description names
PAGES = "P"  # such pages or samples here


class Wanted(NamedTuple):
    """What to read of a file, as for `frames.read`."""

    channel: str | int = "auto"
    exact: bool = False
    required: bool = False  # also of a file with one channel
    series: int | None = None  # image of the file, from 0
    frame: int | None = None  # page of that image, from 0
    pages_are: str = ""  # z, c or t


class Planes(NamedTuple):
    """The planes of an image in a TIFF file, and what is known of them."""

    sizes: dict[str, int]  # of the axes T, Z, C and `PAGES` that have a length above 1, slowest first
    pages: list[tifffile.TiffPage | tifffile.TiffFrame | None]  # None: not in this file
    key: tifffile.TiffPage
    described: str
    names: list[str]  # of channels, if there is an axis C
    samples: str = ""  # the axis, C or `PAGES`, along which each page has several samples
    pieces: np.ndarray | None = None  # pixels of all pages, where one page stands for those after it
    image: ome.OmeImage | None = None


def read_tiff(file: BinaryIO, wanted: Wanted) -> list[Plane]:
    """Read the planes of a TIFF file that is open.

    Parameters
    ----------
    file : binary file
    wanted : Wanted

    Returns
    -------
    list of Plane
        As from `frames.read`.
    """
    offsets, _, fault = page_offsets(file)
    if fault:
        raise FrameError(fault)
    size = os.fstat(file.fileno()).st_size
    with tifffile.TiffFile(file.name) as tif:
        ignore_needless_predictor(tif.pages.first)  # before its pages are made series
        images = ome.images_of(tif.ome_metadata, file.name, len(offsets)) if tif.is_ome else []
        if images:
            return _read_planes(_ome_planes(tif, images, wanted.series), size, wanted)
        if not tif.is_ome:
            return _read_planes(_planes_of(tif, size, wanted), size, wanted)
    with tifffile.TiffFile(file.name, is_ome=False) as tif:  # its metadata are of no use
        ignore_needless_predictor(tif.pages.first)
        return _read_planes(_planes_of(tif, size, wanted), size, wanted)


def _ome_planes(tif, images, number):
    """Return the planes of the OME image of a number; of the only one where it is None."""
    full = [image for image in images if not tif.pages[_first(image.pages)].keyframe.is_reduced] or images
    if number is not None:
        full = [image for image in images if image.number == number]
    if len(full) != 1:
        listed = ", ".join(str(image.number) for image in images)
        raise FrameError(
            f"its OME metadata have {len(images)} images in this file ({listed}), none chosen; expected one image: "
            "an image list can choose one in a column Series_<Channel>, from 0"
            if number is None
            else f"has no image {number} (Series_); its OME metadata have {listed}"
        )
    image = full[0]
    pages = [None if page is None else tif.pages[page] for page in image.pages]
    sizes = {axis: size for axis, size in zip(image.axes, image.sizes, strict=True) if size > 1}
    key = tif.pages[_first(image.pages)].keyframe
    described = f"{key.dtype} {image.axes}{key.axes} {(*image.sizes, *key.shape)}"
    return Planes(sizes, pages, key, described, image.names, image=image)


def _first(pages):
    return next(page for page in pages if page is not None)


def _planes_of(tif, size, wanted):
    """Return the planes of a TIFF file without OME metadata."""
    series = [entry for entry in tif.series if not entry.keyframe.is_reduced] or tif.series  # without thumbnails
    if not series:
        raise FrameError("a TIFF file without pages")
    if wanted.series:
        raise FrameError(f"has one image, as it has no OME metadata; the image list names image {wanted.series}")
    first, key = series[0], series[0].keyframe
    described = "; ".join(f"{entry.dtype} {entry.axes} {entry.shape}" for entry in series[:4])
    if first.kind == "generic" and (tif.is_imagej or tif.is_shaped):  # the other pages are missing
        raise FrameError(f"damaged or truncated: {described} is not what its description promises")
    check_page(key, size)
    sizes, samples = _axes_of(first, key)
    pages = [page for entry in series for page in entry]
    alike = all(entry.kind == "shaped" and entry.shape == first.shape for entry in series)  # written one by one
    if len(series) > 1 and alike and not sizes:
        sizes = [(PAGES, len(series))]
    elif len(series) > 1 or not {axis for axis, _ in sizes} <= {*"TZC", PAGES}:
        raise FrameError(f"found {described}; expected one image with the axes Y, X and at most T, Z and C")
    pieces = None
    if first.is_truncated:  # one page stands for the stack after it (ImageJ, MetaMorph)
        if first.dataoffset is None or first.dataoffset + first.nbytes > size:
            raise FrameError(f"truncated: {described} takes more than the {size} bytes of the file")
        pieces = first.asarray().reshape(-1, *key.shape)
        pages = [key] * len(pieces)
    count = math.prod(length for axis, length in sizes if axis != samples)
    if len(pages) != count:
        raise FrameError(f"found {len(pages)} page(s); {described} needs {count}")
    stated = tif.imagej_metadata.get("images", 1) if tif.is_imagej else 1
    if stated > len(pages) * key.samplesperpixel:  # Bio-Formats counts samples as channels
        raise FrameError(f"truncated: its ImageJ description states {stated} images, and {len(pages)} are there")
    if len(dict(sizes)) != len(sizes):
        raise FrameError(f"found {described}, with two axes of which nothing says what they are; expected one at most")
    names = [str(number) for number in range(1, dict(sizes).get("C", 1) + 1)]
    return Planes(dict(sizes), pages, key, described, names, samples, pieces)


def _axes_of(series, key):
    """Return the axes of a series before rows and columns with their lengths, and the one that is of samples.

    Of colours, which are no axis here, the second is an empty text.
    """
    letters, shape = series.get_axes(False), series.get_shape(False)
    sizes = [(axis, length) for axis, length in zip(letters, shape, strict=True) if axis not in "YX" and length > 1]
    samples = ""
    if "S" in key.axes and (count := key.shape[key.axes.index("S")]) > 1:
        if not sizes or sizes[-1][1] != count:
            raise FrameError(f"found {series.axes} {series.shape} of pages {key.axes} {key.shape}, which do not fit")
        samples = sizes[-1][0]  # S, unless a description names it
        if samples == "S":
            pixel = tuple(length if axis == "S" else 1 for axis, length in zip(key.axes, key.shape, strict=True))
            stored = samples_of(np.zeros(pixel, key.dtype), key)
            sizes = sizes[:-1]
            if stored.are_colours or len(stored.values) == 1:
                samples = ""
            else:
                sizes.append(("S", len(stored.values)))
    sizes = [(PAGES if axis in UNKNOWN_AXES else axis, length) for axis, length in sizes]
    return sizes, PAGES if samples and samples in UNKNOWN_AXES else samples


def _read_planes(planes, size, wanted):
    """Read the planes of an image that are wanted, from a file of `size` bytes."""
    refuse_large((len(planes.pages), *planes.key.shape), LARGEST_FILE_VALUES)
    axes, names = _named_axes(planes, wanted)
    positions = [dict(zip(axes, indices, strict=True)) for indices in np.ndindex(*planes.sizes.values())]
    channel = None
    if wanted.frame is not None:
        if wanted.frame >= len(positions):
            raise FrameError(f"has {len(positions)} pages, numbered from 0; the image list names frame {wanted.frame}")
        chosen = [wanted.frame]
    else:
        if "C" in axes:
            channel = _channel(planes, names, wanted, positions)
        chosen = [index for index, position in enumerate(positions) if position.get("C") == channel]
    if planes.image and (missing := planes.image.missing(channel or 0)) and wanted.frame is None:
        raise FrameError(missing)
    several = planes.sizes.get(planes.samples, 1)
    refuse_beyond_memory(len(chosen) / several * math.prod(planes.key.shape) * planes.key.dtype.itemsize)
    # The only channel of OME metadata may have a name.
    is_named = isinstance(wanted.channel, str) and wanted.channel.lower() in map(str.lower, planes.names)
    required = wanted.required and "C" not in axes and not is_named
    read, decoded, number = [], None, None
    for index in chosen:
        page = planes.pages[index // several]
        if page is None:  # in another file of the set
            continue
        if number != index // several:
            number = index // several
            decoded = _samples_of_page(planes, number, size)
        samples = decoded
        if several > 1:
            samples = Samples(decoded.values[index % several][np.newaxis], notes=decoded.notes)
        place = positions[index] if wanted.frame is None else {}
        timepoint, z = (place[axis] + 1 if axis in place else None for axis in "TZ")
        read.append(plane_of(timepoint, z, samples, "auto" if "C" in axes else wanted.channel, required=required))
    if not read:
        what = f"channel {wanted.channel!r} of {', '.join(names)}" if wanted.frame is None else f"frame {wanted.frame}"
        raise FrameError(f"{what} is in another file of this OME-TIFF set")
    return sorted(read, key=lambda plane: (plane.timepoint or 0, plane.z or 0))


def _named_axes(planes, wanted):
    """Return the axes of an image, with what its pages are, and the names of its channels."""
    axes = "".join(planes.sizes)
    if PAGES not in axes or wanted.frame is not None:
        return axes, planes.names
    count = planes.sizes[PAGES]
    kind = "samples a pixel that are no colours" if planes.samples == PAGES else "pages"
    if not wanted.pages_are:
        raise FrameError(
            f"holds {count} {kind} ({planes.described}), and does not say what they are: set pages_are (z, c or t) in "
            f"the sheet or the configuration; with c, nuclei_channel names one of the channels 1 to {count}"
        )
    axis = wanted.pages_are.upper()
    if axis in axes:
        raise FrameError(
            f"holds {count} {kind}; pages_are says {wanted.pages_are}, but {planes.described} has that axis"
        )
    return axes.replace(PAGES, axis), [str(number) for number in range(1, count + 1)] if axis == "C" else planes.names


def _samples_of_page(planes, number, size):
    """Read a page: its samples, checked."""
    page, key = planes.pages[number], planes.key
    check_page(page, size)
    other = page.keyframe
    if (other.shape, other.dtype) != (key.shape, key.dtype):
        raise FrameError(f"found {planes.described}, but page {number + 1} is {other.dtype} {other.shape}")
    pieces = planes.pieces
    image = read_page(page) if pieces is None else pieces[number]
    return samples_of(image, other, are_channels=planes.samples not in ("", PAGES))


def _channel(planes, names, wanted, positions):
    """Return the number of the wanted channel of an image."""
    image, name = planes.image, wanted.channel
    lower = [text.lower() for text in names]
    if isinstance(name, int):
        if name not in range(len(names)):
            raise ChannelError(f"channel {name} is not there; found {_listed(names)}, numbered from 0")
        return name
    if (count := lower.count(name.lower())) == 1:
        return lower.index(name.lower())
    if count:
        raise ChannelError(f"holds {len(names)} channels ({_listed(names)}), of which {count} are called {name!r}")
    several = planes.sizes.get(planes.samples, 1)
    present = {place["C"] for index, place in enumerate(positions) if planes.pages[index // several] is not None}
    stains = [number for number, text in enumerate(names) if is_dna(text)]
    if len(present) == 1 and not wanted.required:
        (only,) = present
        lacking = image.missing_planes.keys() - {only} if image else set()
        other_stain = not wanted.exact and only not in stains and not lacking.isdisjoint(stains)
        if lacking <= (image.undescribed if image else set()) and not other_stain:
            return only
    if wanted.exact or wanted.required or not (name == "auto" or is_dna(name) or TOKEN.fullmatch(name)):
        raise ChannelError(f"holds {len(names)} channels ({_listed(names)}), none of them {name!r}")
    if len(stains) == 1:
        return stains[0]
    raise ChannelError(
        f"holds {len(names)} channels ({_listed(names)}): which shows the nuclei cannot be told; name it: "
        "nuclei_channel (of a plate) or stack.channel"
    )


def _listed(names):
    unnamed = names == [str(number) for number in range(1, len(names) + 1)]
    return f"without names: {names[0]} to {names[-1]}" if unnamed else ", ".join(names)
