"""Choose the channel of a plate's nuclei: by the names of files, or inside of them."""

import struct
from collections.abc import Collection, Iterator, Mapping, Sequence

from fieldwork import InputError
from fieldwork.inputs import layouts
from fieldwork.inputs.inside import headers
from fieldwork.inputs.paths import is_url
from fieldwork.stains import TOKEN, is_dna

IMAGES_TRIED = 3  # of a channel: the first ones may be bad


def choose(
    images: Sequence[layouts.Image], requested: str, names: Mapping[str, str], *, pages_are: str = ""
) -> tuple[str, str]:
    """Choose the channel in which to look for nuclei.

    Parameters
    ----------
    images : list of layouts.Image
    requested : str
        As for `layouts.nuclei_channel`; of files that hold all channels, also the name of one inside.
    names : mapping of str to str
        The configuration's ``channels``: token in any case -> name. Tokens inside of files count, too.
    pages_are : {'', 'z', 'c', 't'}
        As for `headers.channels_in`.

    Returns
    -------
    channel : str
        The one in the names of the files to read.
    inside : str
        The one inside of these files; an empty text where none is requested.

    Raises
    ------
    InputError
        There is no such channel; the message lists those there.
    """
    tokens = {image.channel for image in images}
    given = {str(token).lower(): name for token, name in names.items()}
    if requested == "auto" and (len(tokens) > 1 or given.keys() <= {token.lower() for token in tokens}):
        return layouts.nuclei_channel(images, requested, names), ""
    if requested != "auto":
        try:
            return layouts.nuclei_channel(images, requested, names), ""
        except InputError as error:
            if len(tokens) > 1:
                raise
            fault = str(error)
    (token,) = tokens
    inside = inside_of(images, token, pages_are=pages_are)
    called = {name: given.get(name.lower(), name) for name in inside}
    if requested == "auto":
        stains = [name for name in inside if name.lower() in given and is_dna(called[name])]
        return token, stains[0] if len(stains) == 1 else ""
    for name in inside:
        if requested.lower() in (name.lower(), called[name].lower()):
            return token, name
    listed = f" Inside of the files are {', '.join(inside)}." if inside else ""
    if not inside and not pages_are:
        listed = " Pages of which a file does not say what they are count as channels with pages_are: c."
    raise InputError(f"{fault}{listed}")


def doubts_about(channel: str, names: Mapping[str, str], tokens: Collection[str]) -> Iterator[str]:
    """Yield what makes a nuclei channel doubtful that was chosen by its name: none is a DNA stain's, or several are.

    Parameters
    ----------
    channel : str
    names : mapping of str to str
        As for `choose`.
    tokens : collection of str
        All channels in the names of files.
    """
    given = {str(token).lower(): name for token, name in names.items()}
    named = sorted(given.get(token.lower(), token) for token in tokens)
    stains = list(filter(is_dna, named))
    if len(named) > 1 and not stains and not any(map(TOKEN.fullmatch, named)):
        yield (
            f"no channel is named like a DNA stain ({', '.join(named)}); nuclei are looked for in {channel}, the first "
            "one: the sheet's column nuclei_channel names another"
        )
    elif len(stains) > 1:
        yield (
            f"several channels are named like a DNA stain ({', '.join(stains)}); nuclei are looked for in {channel}: "
            "the sheet's column nuclei_channel names another"
        )


def inside_of(images: Sequence[layouts.Image], token: str, *, pages_are: str = "") -> list[str]:
    """Return the channels inside of the files of a channel, by the first that can be read; none at URLs.

    Parameters
    ----------
    images : list of layouts.Image
    token : str
        The channel in the names of the files.
    pages_are : {'', 'z', 'c', 't'}
        As for `headers.channels_in`.
    """
    good = [image for image in images if image.channel == token and not image.fault]
    paths = dict.fromkeys(image.path for image in good if not is_url(image.path))
    for path in [*paths][:IMAGES_TRIED]:
        try:
            return headers.channels_in(path, pages_are=pages_are)
        except (OSError, ValueError, struct.error):
            continue
    return []
