"""What stains are called, and the colours that they are shown in."""

import itertools
import re

# CellProfiler's pipelines say OrigDNA and CorrDNA; mtDNA is another stain; brightfield may use DAPI's filter.
_DNA = re.compile(r"(?i)(?:_m|(?<![a-z])(?:orig|corr)?)(?:dapi|hoechst|dna|nuclei|nucleus)(?![a-z])")

_TRANSMITTED = re.compile(r"(?i)bright|phase|(?<![a-z])(?:tl|dic|trans)(?![a-z])")


def is_dna(channel):
    """Tell whether a channel is named like a DNA stain (DAPI, Hoechst, DNA, nuclei), and not in transmitted light."""
    return bool(_DNA.search(channel)) and not _TRANSMITTED.search(channel)


BLUE = "0000FF"  # the nuclei channel, and others that are named like a DNA stain

# Other stains and dyes by what they are called; Cell Painting's are among them.
COLOURS = {
    "00FF00": r"e?gfp|fitc|alexa ?(?:fluor ?)?488|green|er|tubulin",
    "FF0000": r"rfp|m?cherry|tritc|cy3|alexa ?(?:fluor ?)?5[469]\d|texas ?red|(?<!far )red|actin|phalloidin|agp",
    "FF00FF": r"cy5|alexa ?(?:fluor ?)?6\d\d|far ?red|mito\w*",
    "FFFF00": r"yfp|rna|syto\w*",
    "00FFFF": r"cfp|cyan",
    "FFFFFF": r"bright ?field|bf|phase\w*|dic|tl|trans\w*",
}


def colours_of(channels, nuclei):
    """Give each channel the colour that its stain is usually shown in, and those without a known name the others.

    Nuclei without a known name are blue, where nothing else is.

    Parameters
    ----------
    channels : list of str
    nuclei : str
        That of the nuclei.

    Returns
    -------
    dict of str to str
        Channel -> RRGGBB.
    """
    colours = {}
    for name in channels:
        if is_dna(name):
            colours[name] = BLUE
            continue
        for colour, pattern in COLOURS.items():
            if re.search(rf"(?i)(?<![a-z])(?:{pattern})(?![a-z])", re.sub(r"[\W_]+", " ", name)):
                colours[name] = colour
                break
    if BLUE not in colours.values():
        colours.setdefault(nuclei, BLUE)
    free = [colour for colour in COLOURS if colour not in colours.values()]
    unknown = [name for name in channels if name not in colours]
    colours |= dict(zip(unknown, itertools.cycle(free or COLOURS), strict=False))
    return {name: colours[name] for name in channels}
