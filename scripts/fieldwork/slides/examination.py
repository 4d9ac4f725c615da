"""Examine a slide before its pixels are read: its files, reader, channels, pictures beside it, what it states."""

import logging
import os
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from fieldwork import NOT_READ, parallel
from fieldwork.inputs.inside import headers, slide_files
from fieldwork.omezarr import metadata
from fieldwork.slides import SlideError, SlideNotReadError, choice, jpeg, readers
from fieldwork.slides.inside import channels
from fieldwork.slides.inside.slide import error_of, refuse_unread
from fieldwork.slides.metadata import Wanted, facts_of
from fieldwork.surroundings.unread import patient

WINDOW_PERCENTILES = (1, 99.9)  # of sampled pixels: what viewers show of a channel
SAMPLE_PX = 128

log = logging.getLogger(__name__)


class Examined(NamedTuple):
    """What is known of a slide before its pixels are read."""

    facts: dict[str, Any]
    associated: dict[str, np.ndarray]
    channels: list[metadata.Channel]  # of fluorescence; none: RGB
    dtype: str
    icc_profile: bytes | None
    has_bright_ground: bool = False  # of channels: the first one's
    tile: int | None = None  # px: the side of JPEG tiles that are kept


def examine(
    path: str,
    *,
    reader: str,
    codec: str,
    version: str,
    modality: str | None,
    picture: int | None,
    nuclei_channel: str | None,
    wanted: Wanted,
    copies: str | None = None,
) -> Examined:
    """Choose reader and codec of a slide, and ask the reader for all that is no pixel of level 0.

    Parameters
    ----------
    path : str
    reader, codec, version, modality, nuclei_channel
        As for `conversion.convert`.
    picture, copies : optional
        As for `readers.open_slide`.
    wanted : Wanted
        What the sheet states, and what is kept.

    Raises
    ------
    SlideError
        The slide cannot be opened, parts of it are missing, the sheet contradicts it, or nothing says which channel
        shows the nuclei.
    """
    if missing := slide_files.missing_files(path):
        listed = ", ".join(missing)
        raise SlideNotReadError(
            f"{NOT_READ}parts of it are missing: {listed}; expected all files of the slide together"
        )
    reader, reason = choice.choose_reader(path, reader, picture, copies)
    log.info("%s: reader %s: %s", path, reader, reason)
    question = _facts, path, reader, picture, copies, wanted, modality
    examined = parallel.call_in_process(path, _asked, *question, on_crash=_unopened)
    facts, tile = examined.facts, None
    facts |= {"reader": reader, "reader_reason": reason, "codec": codec, "codec_reason": "as configured"}
    if codec == "keep":
        shape = facts["height"], facts["width"]
        question = _kept_tile, path, version, shape, picture
        tile, reason = parallel.call_in_process(path, _asked, *question, on_crash=_unopened)
        facts |= {"codec": "keep" if tile else "zstd", "codec_reason": reason}
        log.log(logging.INFO if tile else logging.WARNING, "%s: codec %s: %s", path, facts["codec"], reason)
    facts["files"] = [os.path.basename(file) for file in slide_files.files_of(path)]
    facts["nuclei_channel"] = None
    if examined.channels:
        facts["nuclei_channel"] = _nuclei_channel(examined, modality, nuclei_channel)
    return examined._replace(tile=tile)


def check_claims(path: str) -> None:
    """Raise `SlideError` if a TIFF file of the slide states pixels that it cannot hold: they would all be read."""
    for file in filter(os.path.isfile, slide_files.files_of(path)):
        if lost := headers.lost_pixels(file):
            name = f"{os.path.basename(file)} " if file != path else ""
            raise SlideError(f"{name}{lost}")


def _nuclei_channel(examined, modality, wanted):
    """Choose the channel of the nuclei of a slide in channels, and note what is doubtful about it."""
    names = examined.facts["channels"]
    if modality not in (None, "fluorescence"):
        raise SlideError(
            f"column modality says {modality}, but it has channels of fluorescence: {', '.join(names)}. Brightfield is "
            "in colour, or in three planes of 8 bits named R, G and B"
        )
    channel, warning = channels.nuclei_channel(names, wanted)
    if warning and len(names) == 1 and examined.has_bright_ground and modality is None:
        raise SlideError(
            f"its only channel, {channel!r}, has a bright ground, as brightfield has; expected 8 bits of that, or "
            "modality fluorescence in the sheet (column modality)"
        )
    examined.facts["warnings"].extend(filter(None, [warning]))
    return channel


def stamps_of(path: str | PathLike) -> list[tuple[str, int, int]]:
    """Return name, size and modification time of every file of a slide that exists."""
    files = [file for file in slide_files.files_of(path) if os.path.exists(file)]
    return [(os.path.basename(file), os.stat(file).st_size, os.stat(file).st_mtime_ns) for file in files]


def _unopened(call, reason):
    raise SlideError(f"cannot be opened: its reader crashed ({reason})")


@patient
def _asked(function, *arguments):
    """Call a function that asks a slide's reader; any error is a `SlideError`."""
    try:
        return function(*arguments)
    except SlideError as error:
        refuse_unread(error)
        raise
    except Exception as error:  # odd or damaged files make readers raise anything
        raise error_of(error, "cannot be opened") from error


def _facts(path, reader, picture, copies, wanted, modality=None):
    """Open the slide; return what is known of it, its associated images and its channels."""
    slide = readers.open_slide(path, reader, picture, copies=copies)
    height, width = slide.shapes[0]
    pictures = slide
    if reader == "openslide":  # the tags list further pictures, where tifffile can read them
        try:
            tags = readers.open_slide(path, "tifffile", picture)
            pictures = tags if tags.shapes[0] == slide.shapes[0] else slide
        except SlideError as error:  # it may be of another format
            refuse_unread(error)
    known, warnings = facts_of(slide.stated, (height, width), wanted)
    facts = {
        "height": height,
        "width": width,
        **known,
        "fluorescence": modality == "fluorescence" if modality else bool(slide.fluorescence),
        "fluorescence_stated": slide.states_fluorescence,
        "channels": [channel.name for channel in slide.channels],
        "series": pictures.number,
        "other_series": list(pictures.others),
        "warnings": list(dict.fromkeys([*slide.warnings, *pictures.warnings, *warnings])),
    }
    stored, is_bright = ([], False) if slide.is_rgb else _with_windows(slide)
    associated = slide.associated() if wanted.keep_associated else {}
    # A profile has texts and dates, of the scanner at least.
    profile = slide.icc_profile if wanted.keep_properties else None
    return Examined(facts, associated, stored, slide.dtype.name, profile, is_bright)


def _kept_tile(path, version, shape, picture=None):
    """Return the side of the slide's JPEG tiles, None if they cannot be kept as they are, and the reason."""
    if version != "0.4":
        return None, 'JPEG tiles can be kept with ome_zarr: "0.4" only, as there is no registered JPEG codec for Zarr 3'
    tiles = jpeg.jpeg_tiles(path, picture)
    if tiles is None:
        return None, "level 0 is not made of square baseline JPEG tiles of three colours"
    if tuple(tiles.shape) != shape:
        return None, "its tiles do not lie side by side"
    reason = (
        f"its JPEG tiles of {tiles.tile} px are stored as they are; any others become new JPEGs, within 1 grey level"
    )
    return tiles.tile, reason


def _with_windows(slide):
    """Return the channels of a slide with the values that viewers show, and whether the first one's ground is bright.

    25 samples of the lowest level tell.
    """
    level = len(slide.shapes) - 1
    rows, columns = slide.shapes[level]
    height, width = min(SAMPLE_PX, rows), min(SAMPLE_PX, columns)
    samples = []
    for y in np.linspace(0, rows - height, 5, dtype=int):
        for x in np.linspace(0, columns - width, 5, dtype=int):
            try:
                samples.append(slide.read(level, int(y), int(x), height, width).reshape(-1, len(slide.channels)))
            except SlideError as error:
                refuse_unread(error)
                continue  # the conversion will meet and report it
    largest, stored = int(np.iinfo(slide.dtype).max), []
    pixels = np.concatenate(samples or [np.array([[0], [largest]]).repeat(len(slide.channels), axis=1)])
    for channel, values in zip(slide.channels, pixels.T, strict=True):
        start, end = (int(value) for value in np.percentile(values, WINDOW_PERCENTILES, method="nearest"))
        window = {"min": 0, "max": largest, "start": start, "end": max(end, start + 1)}
        stored.append(metadata.Channel(channel.name, channel.colour, window))
    window = stored[0].window
    return stored, bool(np.median(pixels[:, 0]) > (window["start"] + window["end"]) / 2)
