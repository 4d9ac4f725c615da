"""Frames of a stack in the files of a folder: by the names of the files, which are of which channel."""

import os
import re
from collections import defaultdict
from collections.abc import Sequence

from fieldwork.inputs.names.images import natural
from fieldwork.stains import STAIN_WORDS

MOST_CHANNELS = 8  # of names that count them; more are wells, cells or columns
LASERS_NM = (
    "365|375|385|405|440|445|458|470|475|485|488|490|505|514|525|532|543|546|549|555|560|561|568|590|594|610|617|630|"
    "633|635|638|640|642|645|647|660|700|730|750|780|785"
)
# An instrument's count of channels (w1, C01, ch2; f00d1), but no column behind its row; and wavelengths.
_COUNT = r"(?<!r\d)(?<!r\d\d)(?<!r\d )(?<!r\d\d )(?:w|c|ch|chan|channel|wv|wavelength|(?<=f\d\d)d) ?\d{1,3}(?!\d)"
_LASER = rf"(?<!\d)(?:{LASERS_NM})(?: ?nm)?(?![a-z\d])"
_CHANNEL = re.compile(rf"(?i)(?<![a-z])(?:(?P<stain>(?:{STAIN_WORDS})(?![a-z]))|{_COUNT}|{_LASER})")


def channels_in_names(paths: Sequence[str]) -> dict[str, list[str]]:
    """Return the channels that the names of a folder's images state, where some differ in that alone.

    Names differ in a stain (t1_DAPI, t1_Actin) at one frame at least; or in an instrument's count or a wavelength
    (t1_w1, t1_w2), at half of the frames, two or more: one alone may count anything.

    Parameters
    ----------
    paths : sequence of str
        In order.

    Returns
    -------
    dict of str to list of str
        Channel -> its files, in natural order of the channels; files that state none are of the channel ''. Empty where
        the names tell no channels apart.
    """
    stems = [re.sub(r"[\W_]+", " ", os.path.splitext(os.path.basename(path))[0]) for path in paths]
    words = [{match[0].lower() for match in _CHANNEL.finditer(stem)} for stem in stems]
    usual = set.intersection(*filter(None, words)) if any(words) else set()
    frames, files, are_stains = defaultdict(set), defaultdict(list), True
    for path, stem in zip(paths, stems, strict=True):
        matches = [match for match in _CHANNEL.finditer(stem) if match[0].lower() not in usual]
        channel = "".join(match[0] for match in matches)
        files[channel.lower()].append((channel, path))
        if channel:
            rest = _CHANNEL.sub(lambda match: match[0] if match[0].lower() in usual else "\0", stem)
            frames[re.sub(r"\0[\0 ]*", "\0", rest).lower()].add(channel.lower())
            are_stains &= any(match["stain"] for match in matches)
    several = sum(len(channels) > 1 for channels in frames.values())
    counts = several > 1 and 2 * several >= len(frames) and len(files) <= MOST_CHANNELS
    if not (several and are_stains or counts):
        return {}
    ordered = sorted(files, key=lambda channel: (not channel, natural(channel)))
    return {files[channel][0][0]: [path for _, path in files[channel]] for channel in ordered}
