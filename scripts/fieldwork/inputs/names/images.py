"""The images of a plate as names and lists describe them."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

MOST_DIGITS = 640  # that Python reads as a decimal number, whatever its settings


class Image(NamedTuple):
    """One image file of a plate, as its name or its list describes it."""

    path: str  # empty where there is none
    well: str
    site: int
    channel: str
    timepoint: int | None
    z: int | None
    copy: str | None = None  # the file to read, in a job for which Snakemake has fetched the image from a URL
    fault: str | None = None  # why no file is to be read: its row is one of a failed field
    # Which part of the file: series and frame, from 0 or None, as an image list names them; what pages without names
    # are; and True if the channel must be in it by name. Nothing where none of that is said.
    inside: tuple[int | None, int | None, str, bool] | tuple[()] = ()


Source = str | tuple  # a path; or a path and, as of `Image.inside`, which part of the file


def path_of(source: Source) -> str:
    """Return the path of a file, of which a part may be meant."""
    return source if isinstance(source, str) else source[0]


def planes_of_fields(images: Iterable[Any]) -> list[list[Any]]:
    """Return the images of each field and time point, in their order: its z planes.

    Parameters
    ----------
    images : iterable of Image or plates.images.FieldImage
    """
    fields = {}
    for image in images:
        fields.setdefault((image.well, image.site, image.timepoint), []).append(image)
    return list(fields.values())


def doubts_about_moments(images: Sequence[Image]) -> Iterator[str]:
    """Yield where fields have images with a time point or z plane, and one without, beside each other."""
    for noun, kind in (("time point", "timepoint"), ("z plane", "z")):
        if len({getattr(image, kind) is None for image in images}) < 2:
            continue
        fields = {}
        for image in images:
            fields.setdefault((image.well, image.site), set()).add(getattr(image, kind) is None)
        if both := [field for field, kinds in fields.items() if len(kinds) > 1]:
            well, site = both[0]
            yield (
                f"{len(both)} fields have an image without a {noun} beside those with one, first well {well}, site "
                f"{site}; it counts as one of its own"
            )


class Scan(NamedTuple):
    """The files of a plate's folder or image list; the notes count those that are in none of the lists."""

    layout: str
    images: list[Image]
    thumbnails: list[str]
    unmatched: list[str]
    duplicates: list[str]  # other files of places that are images with a fault
    notes: list[str]
    copies: list[str] = []  # copies, previews and masks beside originals, which alone count
    warnings: list[str] = []  # what the user should know of a decision


def natural(text: str) -> tuple[list[str | int], str]:
    """Return a sort key by which w2 comes before w10, in any case."""
    parts = re.split(r"(\d+)", text.lower())
    try:
        parts[1::2] = map(int, parts[1::2])
    except ValueError:  # too long for Python; read to the base 16, such numbers have the same order and are the largest
        parts[1::2] = [int(part, 16 if len(part) > MOST_DIGITS else 10) for part in parts[1::2]]
    return parts, text


def index_of(text: str) -> int:
    """Read a site, time point or z plane: 0 to 999999999, which any table of integers can hold; else ValueError."""
    if not text.isdecimal() or len(text) > 9:
        raise ValueError(f"{text!r} is no number from 0 to 999999999")
    return int(text)


def in_order(images: Iterable[Image]) -> list[Image]:
    """Sort images by well, site, time point, z plane, channel: the order of the tables' rows."""
    images = list(images)
    channels = {channel: natural(channel) for channel in {image.channel for image in images}}

    def order(image):
        # B02 < AA01; None < 0
        time_and_z = [-1 if number is None else number for number in (image.timepoint, image.z)]
        return len(image.well), image.well, image.site, time_and_z, channels[image.channel]

    return sorted(images, key=order)
