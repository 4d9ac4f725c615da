"""Names of stains, and the colours in which viewers show them."""

import itertools
import re
from collections.abc import Collection, Sequence

# CellProfiler's pipelines say OrigDNA and CorrDNA; mtDNA is another stain; brightfield may use DAPI's filter.
_DNA_WORDS = "dapi|hoechst|dna|nuc|nuclei|nucleus"
_DNA = re.compile(rf"(?i)(?:_m|(?<![a-z])(?:orig|corr)?)(?:{_DNA_WORDS})(?![a-z])")

_TRANSMITTED = re.compile(r"(?i)bright|phase|(?<![a-z])(?:tl|dic|trans)(?![a-z])")

# w1, d0, ch5, C01, "Channel:0:1", 405: an instrument's count, which names nothing.
TOKEN = re.compile(r"(?i)(?:[a-z]|ch|chan|channel|rc\d+-ch|wv)?(?:[ :_-]*\d+)+")


def is_dna(channel: str) -> bool:
    """Return True if a channel is named like a DNA stain (DAPI, Hoechst, DNA, nuclei), not like transmitted light."""
    return bool(_DNA.search(channel)) and not _TRANSMITTED.search(channel)


DNA_COLOUR = "0000FF"  # of the nuclei channel, and of others that are named like a DNA stain

# Colours of other stains and dyes, with the names of these; Cell Painting's are among them.
STAIN_COLOURS = {
    "00FF00": r"e?gfp|fitc|alexa ?(?:fluor ?)?488|green|er|tubulin",
    "FF0000": r"rfp|m?cherry|tritc|cy3|alexa ?(?:fluor ?)?5[469]\d|texas ?red|(?<!far )red|actin|phalloidin|agp",
    "FF00FF": r"cy5|alexa ?(?:fluor ?)?6\d\d|far ?red|mito\w*",
    "FFFF00": r"yfp|rna|syto\w*",
    "00FFFF": r"cfp|cyan",
    "FFFFFF": r"bright ?field|bf|phase\w*|dic|tl|trans\w*",
}
STAIN_WORDS = "|".join([_DNA_WORDS, "blue", *STAIN_COLOURS.values()])  # where blanks part words


def nuclei_among(channels: Sequence[str]) -> tuple[int, str]:
    """Return the number, from 0, of the channel of the nuclei, and why it is doubtful: nothing for a sole DNA stain.

    Of several that are named like a DNA stain it is the first of these; without any, the first of all.

    Parameters
    ----------
    channels : sequence of str
        Two or more, in order; 1, 2 and so on where they have no names.
    """
    stains = [number for number, name in enumerate(channels) if is_dna(name)]
    if len(stains) == 1:
        return stains[0], ""
    number = stains[0] if stains else 0
    if stains:
        doubt = f"several channels are named like a DNA stain ({', '.join(channels[stain] for stain in stains)})"
    elif list(channels) == [str(count) for count in range(1, len(channels) + 1)]:
        # stack.channel counts from 0.
        doubt = f"its {len(channels)} channels have no names"
        return 0, f"{doubt}; number 0, the first, is taken: stack.channel names another"
    else:
        doubt = f"no channel is named like a DNA stain ({', '.join(channels)})"
    return number, f"{doubt}; {channels[number]}, the first, is taken: stack.channel names another"


def colours_of(channels: Collection[str], nuclei: str) -> dict[str, str]:
    """Choose a colour for each channel: its stain's usual colour, or an unused one if the stain is unknown.

    The nuclei channel is blue if its stain is unknown and no other channel is blue.

    Parameters
    ----------
    channels : collection of str
    nuclei : str
        The nuclei channel.

    Returns
    -------
    dict of str to str
        Channel -> RRGGBB, in the order of `channels`.
    """
    colours = {}
    for name in channels:
        if is_dna(name):
            colours[name] = DNA_COLOUR
            continue
        for colour, pattern in STAIN_COLOURS.items():
            if re.search(rf"(?i)(?<![a-z])(?:{pattern})(?![a-z])", re.sub(r"[\W_]+", " ", name)):
                colours[name] = colour
                break
    if DNA_COLOUR not in colours.values():
        colours.setdefault(nuclei, DNA_COLOUR)
    free = [colour for colour in STAIN_COLOURS if colour not in colours.values()]
    unknown = [name for name in channels if name not in colours]
    colours |= dict(zip(unknown, itertools.cycle(free or STAIN_COLOURS), strict=False))
    return {name: colours[name] for name in channels}
