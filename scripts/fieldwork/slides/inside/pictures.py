"""Find the pictures of a TIFF file: which of its pages are their levels and channels, and which label and macro."""

import itertools
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import tifffile

from fieldwork import FrameError
from fieldwork.frames.pages import page_offsets
from fieldwork.inputs.inside import ome, slide_files
from fieldwork.slides import SlideError
from fieldwork.slides.inside import channels
from fieldwork.slides.inside.channels import Channel

LEAST_LEVEL_FACTOR = 1.5  # from one level of a pyramid to the next; regions of the same shape differ by less
LEVEL_TOLERANCE_PX = 2  # sides of levels are rounded up or down, once per level

MACRO_SUBFILE_TYPE = 9  # of Aperio
_WORDS = {"label": "label", "barcode": "label", "macro": "macro", "overview": "macro"}
_WORDS |= {"thumbnail": "thumbnail", "thumb": "thumbnail", "preview": "thumbnail"}
_ASSOCIATED = re.compile(rf"(?i)(?:.*[\s:;#/\\\[(,|-])?({'|'.join(_WORDS)})(?:[ _-]?image)?[\])]?")
# Aperio's descriptions begin with their program; the line after it begins with the picture's kind.
_APERIO_LINE = re.compile(rf"(?mi)^\s*({'|'.join(_WORDS)})\b")
_PERKIN_ELMER = {"thumbnail": "thumbnail", "overview": "macro", "label": "label"}


class Picture(NamedTuple):
    """A picture of a TIFF file, in several levels."""

    name: str
    levels: list[list[tifffile.TiffPage]]  # by level, the largest first: the pages of its planes
    channels: Sequence[Channel] = ()  # as the file states them
    kind: str = ""  # label, macro or thumbnail; reduced: marked as a smaller copy
    image: int = 0  # its number among the images of OME metadata
    warning: str = ""
    fault: str = ""  # why it is no slide that can be stored
    doubt: str = ""  # why it is no slide unless the sheet says so

    @property
    def page(self) -> tifffile.TiffPage:
        """Its first page of level 0."""
        return self.levels[0][0]

    @property
    def pixels(self) -> int:
        """Number of pixels of level 0."""
        return self.page.imagelength * self.page.imagewidth

    @property
    def size(self) -> str:
        """Width and height of level 0, for people."""
        return f"{self.page.imagewidth} x {self.page.imagelength} px"


def open_tiff(file: BinaryIO, path: str | os.PathLike) -> tifffile.TiffFile:
    """Open a TIFF file with its OME metadata, which a companion file may have.

    Parameters
    ----------
    file : binary file
    path : path-like
        Its path.
    """
    tif = tifffile.TiffFile(file, name=os.path.basename(path))
    if not tif.is_ome or (companion := ome.companion_of(tif.ome_metadata, path)) is None:
        return tif
    text = Path(companion).read_text(encoding="utf-8", errors="replace").strip()
    file.seek(0)
    return tifffile.TiffFile(file, name=os.path.basename(path), omexml=text)


def pictures_of(tif: tifffile.TiffFile, path: str | os.PathLike) -> list[Picture]:
    """Return the pictures of a TIFF file in their order in it.

    Parameters
    ----------
    tif : tifffile.TiffFile
    path : path-like
        Of the file.

    Returns
    -------
    list of Picture
        Images of OME metadata, in their order. Else pages; those of the same shape and smaller are levels of one
        picture.

    Raises
    ------
    SlideError
        A page or a file of a set is missing.
    """
    fault = None
    if tif.is_ndpi:
        return _vendor_pictures(tif)
    try:
        with open(path, "rb") as file:
            offsets, _, fault = page_offsets(file)
    except FrameError as error:
        raise SlideError(str(error)) from None
    pages = [page for page in (tif.pages[number] for number in range(len(offsets))) if page.shape]
    if not pages:
        raise SlideError(fault or "a TIFF file without images")
    described = _described_pictures(tif, path, pages)
    if fault and not (tif.is_svs or len(described) == 1 and described[0].page.index == 0 and not len(pages) > 1):
        raise SlideError(f"{fault}; what is lost may be the slide")
    return described


def _described_pictures(tif, path, pages):
    """Return the pictures by the metadata of whatever program wrote the file."""
    text = pages[0].description
    if text.rstrip().endswith("OME>") and (pictures := _ome_pictures(tif, path, pages, text)):
        return pictures
    if tif.is_qpi or "<PerkinElmer-QPI-ImageDescription" in text:
        return _perkin_elmer_pictures(pages)
    if tif.is_philips or tif.is_avs:
        return _vendor_pictures(tif)
    if tif.is_svs and pages[0].is_tiled and pages[0].size == max(page.size for page in pages):
        return _vendor_pictures(tif)
    if (tif.is_imagej or tif.is_shaped) and (pictures := _axes_pictures(tif)):
        return pictures
    return _page_pictures(pages)


def _vendor_pictures(tif):
    """Return the series of a file whose format tifffile knows."""
    pictures = []
    for series in tif.series:
        kind = _WORDS.get(series.name.casefold(), "")
        planes = [_middle(level) for level in series.levels]
        if series.name.casefold() == "map":  # of the focus, by Hamamatsu
            continue
        page = planes[0][0]
        if not kind and page.is_reduced and pictures:
            kind = "reduced"
        warning = _focus_warning(len(series.levels[0].pages)) if len(series.levels[0].pages) > 1 else ""
        pictures.append(Picture(series.name or f"page {page.index}", planes, kind=kind, warning=warning))
    return pictures


def _focus_warning(planes):
    return f"of its {planes} focal planes the middle one is taken, number {planes // 2 + 1}"


def _middle(level):
    return [level.pages[len(level.pages) // 2]]


def _axes_pictures(tif):
    """Return the pictures of a file in which ImageJ or tifffile state what the pages are; none if they don't."""
    pictures = []
    labels = {"C": {"Channel": {"Name": (tif.imagej_metadata or {}).get("Labels")}}}  # of channels alone
    described = tif.shaped_metadata or itertools.repeat(None)
    for series, metadata in zip(tif.series, described, strict=False):
        sizes = dict(zip(series.get_axes(squeeze=False), series.get_shape(squeeze=False), strict=True))
        stacked = {axis: size for axis, size in sizes.items() if size > 1 and axis not in "YXS"}
        if not stacked:
            return []
        if not set(stacked) <= set("CZT") or len(series.pages) != np.prod(list(stacked.values())):
            return []
        numbers = np.arange(len(series.pages)).reshape(list(stacked.values()))
        axes = "".join(stacked)
        pictures.append(_stack(f"series {series.index}", series, axes, numbers, metadata or labels.get(axes, {})))
    return pictures


def _stack(name, series, axes, numbers, metadata):
    """Return a stack of planes as a picture: the channels of its middle plane."""
    warning = fault = ""
    if "Z" in axes:
        planes = numbers.shape[axes.index("Z")]
        warning = _focus_warning(planes)
        numbers = numbers.take(planes // 2, axis=axes.index("Z"))
    if "T" in axes:
        fault = f"{numbers.shape[axes.replace('Z', '').index('T')]} time points; expected a slide of one"
    names = (metadata.get("Channel") or {}).get("Name") or [] if isinstance(metadata.get("Channel"), dict) else []
    stated = [Channel(str(text).strip()) for text in names] if isinstance(names, list) else []
    levels = []
    for level in series.levels:
        pages = [level.pages[number] for number in numbers.ravel()]
        if any(not isinstance(page, tifffile.TiffPage) for page in pages):
            pages = [page.aspage() for page in pages]
        levels.append(pages)
    return Picture(name, levels, channels=stated, warning=warning, fault=fault)


def _perkin_elmer_pictures(pages):
    """Return the pictures of a QPTIFF: a page for every channel of a level, and thumbnail, overview and label."""
    described = [(page, *channels.perkin_elmer(page.description)) for page in pages]
    first = described[0]
    slide, associated = {}, []
    for page, kind, channel in described:
        known = _PERKIN_ELMER.get(kind.casefold())
        resolution = kind.casefold() in ("fullresolution", "reducedresolution")
        is_level = resolution or (not kind and _is_level(page, first[0]) and page.is_tiled == first[0].is_tiled)
        if known or not is_level:
            associated.append(Picture(known or kind or f"page {page.index}", [[page]], kind=known or "thumbnail"))
            continue
        slide.setdefault((page.imagelength, page.imagewidth), []).append((page, channel))
    levels = sorted(slide.values(), key=lambda planes: -planes[0][0].imagelength * planes[0][0].imagewidth)
    levels = [planes for planes in levels if len(planes) == len(levels[0])]
    stated = [channel for _, channel in levels[0]] if levels else []
    picture = [Picture("slide", [[page for page, _ in planes] for planes in levels], channels=stated)] if levels else []
    return [*picture, *associated]


def _page_pictures(pages: Iterable[tifffile.TiffPage], *, first: int = 0) -> list[Picture]:
    """Return the pictures of pages that nothing describes: pages of the same shape and smaller are its levels."""
    singles = []  # pages and those of their SubIFDs, in order
    for page in pages:
        singles += [page, *(sub for sub in (page.pages or ()) if sub.shape)]
    kinds = [_kind_of(page) for page in singles]
    order = sorted(range(len(singles)), key=lambda n: (kinds[n] == "reduced", -_area(singles[n]), n))
    groups: dict[int, list[int]] = {}  # the number of a picture's largest page -> those of all its pages
    for number in order:
        page, kind = singles[number], kinds[number]
        tops = [top for top in groups if kinds[top] == "" and _is_level(page, singles[top])]
        if kind in ("", "reduced") and tops and (page.is_tiled or not singles[tops[0]].is_tiled):
            # Of several pictures of one shape, the page belongs to the one that it follows.
            top = max((top for top in tops if top < number), default=tops[0])
            groups[top].append(number)
        else:
            groups[number] = [number]
    pictures = []
    for top, numbers in sorted(groups.items(), key=lambda group: min(group[1])):
        levels = {}
        for number in numbers:
            levels.setdefault((singles[number].imagelength, singles[number].imagewidth), [singles[number]])
        kind = kinds[top]
        slides = [other for other in groups if other != top and not kinds[other] and singles[other].is_tiled]
        if any(_is_level(singles[top], singles[other]) for other in slides) and not (kind or singles[top].is_tiled):
            kind = "thumbnail"
        name = _name_of(singles[top]) or f"page {singles[top].index}"
        pictures.append(Picture(name, list(levels.values()), kind=kind, image=first))
    return _without_unnamed_planes(pictures)


def _without_unnamed_planes(pictures):
    """Refuse grey pages of one size of which nothing says whether they are channels, focal planes or regions."""
    grey = [n for n, picture in enumerate(pictures) if not picture.kind and picture.page.photometric in (0, 1)]
    largest = max((picture.pixels for picture in pictures if not picture.kind), default=0)
    alike = [n for n in grey if pictures[n].pixels == largest]
    if len(alike) > 1:
        doubt = (
            f"{len(alike)} grey pages of {pictures[alike[0]].size}, of which nothing says whether they are channels, "
            "focal planes or regions; as an OME-TIFF it would say so"
        )
        for number in alike:
            pictures[number] = pictures[number]._replace(doubt=doubt)
    return pictures


def _area(page):
    return page.imagelength * page.imagewidth


def _is_level(page, top):
    """Return True if a page has the shape and kind of pixels of a larger one, and may be a level of its pyramid."""
    if page.samplesperpixel != top.samplesperpixel or page.dtype != top.dtype:
        return False
    factor = top.imagewidth / page.imagewidth
    deviation = abs(top.imagelength / factor - page.imagelength)
    tolerance = LEVEL_TOLERANCE_PX * max(1, page.imagelength / page.imagewidth)
    return factor >= LEAST_LEVEL_FACTOR and deviation <= tolerance


def _name_of(page):
    """Return a page's name: its PageName, or a description of one short line."""
    name = str(page.tags.valueof(285) or "").strip()
    lines = page.description.strip().splitlines()
    plain = len(lines) == 1 and len(lines[0]) <= 80 and not lines[0].lstrip().startswith(("<", "{"))
    return name or (lines[0].strip() if plain else "")


def _kind_of(page):
    """Return label, macro or thumbnail by a page's name, description or subfile type; else reduced, or nothing."""
    if match := _ASSOCIATED.fullmatch(_name_of(page)):
        return _WORDS[match[1].casefold()]
    if page.description.startswith("Aperio") and (match := _APERIO_LINE.search(page.description)):
        return _WORDS[match[1].casefold()]
    if page.subfiletype == MACRO_SUBFILE_TYPE:
        return "macro"
    return "reduced" if page.is_reduced else ""


def _ome_pictures(tif, path, pages, xml):
    """Return the images of OME metadata, and pages that these do not describe."""
    try:
        images = ome.images_of(xml, path, len(pages))
        elements = ome.parsed(xml, path).findall("{*}Image") if images else []
    except FrameError as error:
        raise SlideError(str(error)) from None
    if not images:
        return []
    pictures = [_ome_picture(image, elements[image.number], path, pages) for image in images]
    used = {page for image in images for page in image.pages}
    rest = [page for number, page in enumerate(pages) if number not in used]
    tops = [picture.page for picture in pictures]
    rest = [page for page in rest if not any(_is_level(page, top) or _alike(page, top) for top in tops)]
    return [*pictures, *_page_pictures(rest)]


def _alike(page, top):
    return page.shape == top.shape


def _ome_picture(image, element, path, pages):
    """Return an image of OME metadata: the channels of its middle focal plane."""
    sizes = dict(zip(image.axes, image.sizes, strict=True))
    warning = fault = ""
    if sizes["Z"] > 1:
        warning = _focus_warning(sizes["Z"])
    if sizes["T"] > 1:
        fault = f"{sizes['T']} time points; expected a slide of one"
    position = {"Z": sizes["Z"] // 2, "T": 0}
    planes = [None if number is None else pages[number] for number in image.pages]
    if any(plane is None for plane in planes) and image.elsewhere:
        planes = _planes_of_set(image, path, planes)
    grid = np.arange(len(planes)).reshape(image.sizes)
    index = tuple(slice(None) if axis == "C" else position[axis] for axis in image.axes)
    planes = [planes[number] for number in grid[index]]
    if any(plane is None for plane in planes):
        planes = [plane for plane in planes if plane is not None]
        planes = planes or [pages[number] for number in image.pages if number is not None][:1]
        fault = fault or f"planes that its OME metadata promise are missing: {image.missing(0) or 'of its focal plane'}"
    name = (element.get("Name") or "").strip()
    match = _ASSOCIATED.fullmatch(name)
    kind = _WORDS[match[1].casefold()] if match else "reduced" if planes[0].is_reduced else ""
    stated = channels.ome_channels(element.find("{*}Pixels"))
    subs = [list(plane.pages or ()) for plane in planes]
    levels = [planes, *([sub[n] for sub in subs] for n in range(min(map(len, subs))))]
    levels.sort(key=lambda level: -_area(level[0]))
    return Picture(name or f"image {image.number}", levels, stated, kind, image.number, warning, fault)


def _planes_of_set(image, path, planes):
    """Fill in the planes of an image that are in other files of its set."""
    planes, missing = list(planes), []
    for file in slide_files.files_of_set(path)[1:]:
        if file.lower().endswith((".ome", ".xml")):
            continue
        if not os.path.isfile(file):
            missing.append(os.path.basename(file))
            continue
        other = tifffile.TiffFile(file)  # it stays open, for as long as its pages are in use
        pages = [other.pages[number] for number in range(len(other.pages))]
        for part in ome.images_of(pages[0].description, file, len(pages)):
            if part.number == image.number:
                for number, page in enumerate(part.pages):
                    if page is not None and planes[number] is None:
                        planes[number] = pages[page]
    if missing and any(plane is None for plane in planes):
        files = ", ".join(map(repr, missing[:5]))
        raise SlideError(f"files of its set that hold planes of it are missing: {files}; {len(missing)} in all")
    return planes
