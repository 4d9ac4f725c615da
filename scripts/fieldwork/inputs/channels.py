"""What the channels of a plate are called, and which of them are measured."""

import itertools
import os
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from fieldwork import InputError
from fieldwork.inputs import image_lists
from fieldwork.inputs.inside import headers
from fieldwork.inputs.inside import nuclei as inside_nuclei
from fieldwork.inputs.layouts import natural
from fieldwork.inputs.paths import is_url
from fieldwork.inputs.plates import Plate
from fieldwork.stains import TOKEN, is_dna, nuclei_among

UNNAMED_NUCLEI = "DNA"  # the nuclei channel, where nothing names it


class Channel(NamedTuple):
    """A channel of a plate."""

    name: str  # in columns of tables: letters A to Z, digits and _
    token: str  # in file names, in the image list, or inside of the files


def channels_of(plate: Plate, given: Mapping[str, str]) -> list[Channel]:
    """Return the channels of a plate, the nuclei channel first.

    A name is that of `given`; or else of the image list or the file names; where these have only a token such as w1,
    the one that the file itself states (OME); or else ``DNA`` for the nuclei channel, and the token for others. Files
    of several channels count as so many channels, if they are OME-TIFF with names.

    Parameters
    ----------
    plate : Plate
    given : mapping of str to str
        The configuration's ``channels``: token -> name.

    Returns
    -------
    list of Channel
        The others in natural order of their tokens. Empty for a plate without images.
    """
    if not plate.scan.images:
        return []
    tokens = sorted({image.channel for image in plate.scan.images}, key=natural)
    nuclei, stated = plate.channel, {}
    if plate.inside:
        tokens = inside_nuclei.inside_of(plate.scan.images, nuclei, pages_are=plate.pages_are)
        nuclei = plate.inside
    elif plate.scan.layout != image_lists.LAYOUT_NAME:
        stated = {token: _names_in_plate(plate, token) for token in tokens if TOKEN.fullmatch(token)}
        if tokens == [nuclei] and len(names := stated.get(nuclei, [])) > 1:
            nuclei = _nuclei_inside(names, nuclei)
            tokens, stated = (names, {}) if nuclei in names else (tokens, {})
    given = {str(token).lower(): name for token, name in given.items()}

    def name_of(token):
        only = [name for name in stated.get(token, []) if len(stated[token]) == 1 and not TOKEN.fullmatch(name)]
        if name := given.get(token.lower(), next(iter(only), None)):
            return name
        return UNNAMED_NUCLEI if token == nuclei and TOKEN.fullmatch(token) else token

    tokens = [nuclei, *(token for token in tokens if token != nuclei)]
    return [Channel(_in_columns(name_of(token)), token) for token in tokens]


def _nuclei_inside(names, token):
    """Return the nuclei channel of files of several channels, chosen as `frames.read` does; else the token."""
    same = [name for name in names if name.lower() == token.lower()]
    stains = list(filter(is_dna, names))
    return (same or (stains if len(stains) == 1 else [token]))[0]


def measured_of(channels: Sequence[Channel], wanted: str | Iterable[str], *, where: str) -> list[Channel]:
    """Return the channels of a plate that are measured.

    Parameters
    ----------
    channels : list of Channel
        From `channels_of`.
    wanted : str or list of str
        The configuration's ``measure.channels``: all, none, or names and tokens in any case.
    where : str
        The plate, for messages.

    Returns
    -------
    list of Channel
        In natural order of their names.

    Raises
    ------
    InputError
        Two channels have one name, in whatever case, or a wanted channel is none of the plate's.
    """
    channels = sorted(channels, key=lambda channel: natural(channel.name))
    named = {}
    for channel in channels:
        first = named.setdefault(channel.name.lower(), channel)
        if first is not channel:
            called = " and ".join(dict.fromkeys([first.name, channel.name]))
            raise InputError(
                f"{where}: the channels '{first.token}' and '{channel.token}' are both called {called} in tables. "
                f"Name one of them otherwise under the key 'channels': {{{channel.token}: another name}}"
            )
    if wanted == "none" or not channels:
        return []
    if wanted == "all":
        return channels
    chosen = {channel_named(name, channels, where=f"{where}: measure.channels") for name in wanted}
    return [channel for channel in channels if channel in chosen]


def channel_named(name: str, channels: Sequence[Channel], *, where: str, what: str = "channels") -> Channel:
    """Return the channel of a name or token, in any case.

    Parameters
    ----------
    name : str
    channels : list of Channel
    where, what : str
        The plate and the key of the configuration, and what the channels are, for messages.

    Raises
    ------
    InputError
        There is none; the message lists the channels.
    """
    keys = {channel.token.lower(): channel for channel in channels}
    keys |= {channel.name.lower(): channel for channel in channels}
    if name.lower() not in keys:
        listed = ", ".join(
            channel.name if channel.name == channel.token else f"{channel.name} ({channel.token})"
            for channel in channels
        )
        raise InputError(f"{where} names {name!r}, but the {what} are {listed}. Expected their names or tokens")
    return keys[name.lower()]


def channel_of_stack(files: Iterable[str], wanted: str | int, name: str = "") -> str:
    """Return the name of the channel that the frames of a stack are of.

    It is the one that an OME-TIFF states, or the names of files; or else ``DNA``, as of a plate's nuclei channel.

    Parameters
    ----------
    files : iterable of str
        The stack's file, or the images of its folder; paths or URLs.
    wanted : str or int
        Where files have several channels, the name of one, or its number from 0; ``auto`` is the one that
        `stains.nuclei_among` chooses.
    name : str
        In the names of the files.
    """
    names = _names_inside(files)
    if len(names) > 1 and wanted == "auto":
        names = [names[nuclei_among(names)[0]]]
    elif len(names) > 1:
        names = [name for number, name in enumerate(names) if wanted == number or name.lower() == str(wanted).lower()]
    return next((_in_columns(name) for name in [*names, name] if name and not TOKEN.fullmatch(name)), UNNAMED_NUCLEI)


def _in_columns(name):
    return re.sub("[^A-Za-z0-9]", "_", name)


def _names_in_plate(plate, token):
    """Return what `_names_inside` returns for the files of a channel."""
    return _names_inside(dict.fromkeys(image.path for image in plate.scan.images if image.channel == token))


def _names_inside(paths):
    """Return the channels that the OME metadata of files name; an empty list where they name none."""
    for path in itertools.islice(paths, inside_nuclei.IMAGES_TRIED):
        if not is_url(path) and path.lower().endswith((".tif", ".tiff")) and os.path.isfile(path):  # no pipe
            try:
                return headers.ome_channels(path)
            except (OSError, ValueError, struct.error):
                continue
    return []
