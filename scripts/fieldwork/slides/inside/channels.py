"""The channels of a slide: names, colours, whether three are red, green and blue, and which one shows the nuclei."""

import itertools
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple
from xml.etree import ElementTree

import tifffile

from fieldwork import stains
from fieldwork.slides import SlideError

BLACK_IS_ZERO = 1  # of the tag PhotometricInterpretation: grey

# Names that a program gives to channels without names, by their number: Channel 0, Channel:0:1, C1, ch02, 3.
_NUMBERED = re.compile(r"(?i)(?:c|ch|channel)?(?:[ :_-]*\d+)+")
_RGB_NAMES = ({"r", "red"}, {"g", "green"}, {"b", "blue"})


class Channel(NamedTuple):
    """A channel of a slide."""

    name: str
    colour: str = ""  # RRGGBB; empty: not stated


RGB = [Channel("Red", "FF0000"), Channel("Green", "00FF00"), Channel("Blue", "0000FF")]


def ome_channels(pixels: ElementTree.Element) -> list[Channel]:
    """Return the channels that an element Pixels of OME metadata describes."""
    return [
        Channel(channel.get("Name", "").strip(), _ome_colour(channel.get("Color")))
        for channel in pixels.iterfind("{*}Channel")
    ]


def _ome_colour(text):
    """Return OME's colour, a signed number of red, green, blue and alpha, as RRGGBB."""
    try:
        return f"{int(text) & 0xFFFFFFFF:08X}"[:6]
    except (TypeError, ValueError):
        return ""


def perkin_elmer(description: str) -> tuple[str, Channel]:
    """Return kind and channel of a page of a QPTIFF by its description.

    Parameters
    ----------
    description : str
        Of the page: XML.

    Returns
    -------
    str
        ``FullResolution``, ``ReducedResolution``, ``Thumbnail``, ``Overview``, ``Label``; empty where it states none.
    Channel
        Its name is that of the stain; of several pages with one name, the marker tells them apart.
    """
    try:
        root = ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", description))
    except (ElementTree.ParseError, ValueError):
        return "", Channel("")
    name, marker = (root.findtext(tag, "").strip() for tag in ("Name", "Biomarker"))
    if marker and marker.casefold() not in name.casefold():
        name = f"{name} {marker}".strip()
    try:
        colour = "".join(f"{min(max(int(value), 0), 255):02X}" for value in root.findtext("Color", "").split(","))
    except ValueError:
        colour = ""
    return root.findtext("ImageType", "").strip(), Channel(name, colour if len(colour) == 6 else "")


def are_rgb(channels: Sequence[Channel]) -> bool | None:
    """Return True if the names of three channels are red, green and blue; None where they have no names.

    Parameters
    ----------
    channels : sequence of Channel
        As the file states them.

    Returns
    -------
    bool or None
        False for other names and other numbers of channels. None: what the pixels are must tell.
    """
    names = [channel.name.casefold() for channel in channels]
    if len(names) != len(_RGB_NAMES):
        return False
    if all(name in words for name, words in zip(names, _RGB_NAMES, strict=True)):
        return True
    return None if all(not name or _NUMBERED.fullmatch(name) for name in names) else False


def channels_of(planes: Sequence[tifffile.TiffPage], stated: Sequence[Channel]) -> list[Channel] | None:
    """Decide whether planes are red, green and blue, or channels of fluorescence.

    Parameters
    ----------
    planes : sequence of tifffile.TiffPage
        The pages of a slide's level 0.
    stated : sequence of Channel
        As the file states them.

    Returns
    -------
    list of Channel or None
        `RGB` of one page in colour; of one grey page of 8 bits, unless its channel has a stain's name; and of three
        planes of 8 bits whose names are red, green and blue. None of three planes of 8 bits without names. All other
        planes are channels.

    Raises
    ------
    SlideError
        The planes are no channels of one image.
    """
    page = planes[0]
    if len({(plane.imagelength, plane.imagewidth, plane.dtype, plane.photometric) for plane in planes}) > 1:
        raise SlideError("its channels differ in size or type")
    if page.photometric != BLACK_IS_ZERO:
        if len(planes) > 1:
            raise SlideError(f"{len(planes)} channels of pages in colour; expected one page in colour, or grey pages")
        return RGB
    samples = page.samplesperpixel - (alpha_of(page) is not None)
    count, is_8_bit = len(planes) * samples, page.bitspersample == 8
    if is_8_bit and count == 1 and not any(map(is_stained, stated)):
        return RGB
    colours = are_rgb(stated or [Channel("")] * count) if is_8_bit else False
    if colours is None:
        return None
    return RGB if colours else named(stated, count)


def alpha_of(page: tifffile.TiffPage) -> int | None:
    """Return the number of the sample with alpha, from 0; other samples beyond grey or RGB have no effect."""
    first = page.samplesperpixel - len(page.extrasamples)
    return next((sample for sample, kind in enumerate(page.extrasamples, first) if kind), None)


def is_stained(channel: Channel) -> bool:
    """Return True if a channel has the name of a DNA stain or of another fluorescent stain."""
    words = re.sub(r"[\W_]+", " ", channel.name)
    usual = "|".join(pattern for colour, pattern in stains.STAIN_COLOURS.items() if colour != "FFFFFF")
    return stains.is_dna(channel.name) or bool(re.fullmatch(rf"(?i)(?:{usual})", words.strip()))


def named(channels: Sequence[Channel], count: int) -> list[Channel]:
    """Return `count` channels with a name and a colour for every one.

    Parameters
    ----------
    channels : sequence of Channel
        As the file states them.
    count : int
        Of the planes; channels without a name get their number, from 1.

    Returns
    -------
    list of Channel
        Names differ, and none that the file has goes to another channel. A colour that is not stated is the usual one
        of the stain.
    """
    stated = [*channels, *[Channel("")] * count][:count]
    names, in_file = [], {channel.name.casefold() for channel in stated}
    for number, channel in enumerate(stated, 1):
        stem = channel.name or str(number)
        wishes = itertools.chain([stem], (f"{stem} ({other})" for other in itertools.count(number)))
        taken = {*map(str.casefold, names), *in_file - {channel.name.casefold()}}
        names.append(next(name for name in wishes if name.casefold() not in taken))
    usual = stains.colours_of(names, "")
    return [Channel(name, stated[n].colour or usual[name]) for n, name in enumerate(names)]


def nuclei_channel(names: Collection[str], wanted: str | None) -> tuple[str, str]:
    """Choose the channel of a fluorescence slide in which its nuclei are bright.

    Parameters
    ----------
    names : collection of str
        Of all channels, in their order.
    wanted : str or None
        By the sheet's column ``nuclei_channel``.

    Returns
    -------
    str
        The channel: the wanted one, else the first that is named like a DNA stain, else the only one.
    str
        A warning about that choice; empty where there is nothing to warn of.

    Raises
    ------
    SlideError
        The wanted channel is absent, or none is named like a DNA stain and there are several.
    """
    names = list(names)
    listed = f"its channels are {', '.join(map(repr, names))}"
    if wanted:
        matches = [name for name in names if name.casefold() == wanted.strip().casefold()]
        if not matches:
            raise SlideError(f"it has no channel {wanted!r}, which column nuclei_channel of the sheet names; {listed}")
        return matches[0], ""
    stained = [name for name in names if stains.is_dna(name)]
    if stained:
        more = f"{len(stained)} channels are named like a DNA stain; nuclei are taken from the first, {stained[0]!r}"
        return stained[0], more if len(stained) > 1 else ""
    if len(names) == 1:
        return names[0], f"nuclei are taken from its only channel, {names[0]!r}, which is not named like a DNA stain"
    raise SlideError(
        f"none of its channels is named like a DNA stain: {listed}. Name the channel that shows the nuclei in column "
        "nuclei_channel of the sheet of slides"
    )
