"""The images of a plate as jobs get them, and how their planes are read."""

import struct
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from fieldwork import NOT_READ, frames
from fieldwork.inputs.inside.headers import ome_channels
from fieldwork.inputs.names.images import Source, path_of, planes_of_fields
from fieldwork.surroundings import unread

INSIDE = ("series", "frame", "pages_are", "required")  # of `frames.Wanted`


class FieldImage(NamedTuple):
    """One image file of the nuclei channel; if `path` is a URL, `copy` is read in its place."""

    well: str
    site: int
    timepoint: int | None
    z: int | None
    path: str
    copy: str | None = None
    measured: tuple[Source | None, ...] = ()  # files to read of the measured channels; None: there is none
    fault: str | None = None  # why no file is to be read
    unread: str | None = None  # why no file but that of the nuclei channel is to be read
    inside: tuple = ()  # as of `layouts.Image`
    planes: tuple["FieldImage", ...] = ()  # the images of a field's z planes, of which one is taken

    def __str__(self):
        position = f"well {self.well}, site {self.site}"
        return f"{self.path} ({position})" if self.path else position


class Channels(NamedTuple):
    """The measured channels of a plate, of which every image has a file in `FieldImage.measured`."""

    nuclei: str  # name of the nuclei channel, whether it is measured or not
    measured: list[tuple[str, str]]  # name, and token: how the file names the channel if it has several


class FieldPlane(NamedTuple):
    """A `frames.Plane` of the nuclei channel, the image that it is of, and the same plane of all measured channels."""

    timepoint: int | None
    z: int | None
    image: np.ndarray  # (rows, columns)
    colours: str
    notes: tuple[str, ...]
    source: FieldImage
    channels: dict[str, np.ndarray] | None = None  # name -> pixels of the same size; None: they were not read
    missing: dict[str, str] = {}  # name -> why it has no pixels
    types: dict[str, str] = {}  # name -> type of its pixels, and colours of its file: a camera writes one


def images_of(rows: Iterable[tuple], copies: dict[str, str]) -> list[FieldImage]:
    """Return the images that a rule passes to its job as rows.

    Parameters
    ----------
    rows : iterable of tuple
        Well, site, time point, z plane, and the file: its path, or path and `layouts.Image.inside`; of images that are
        not to be read also the reason; of jobs that measure channels also a tuple with the file, or None, of each
        measured channel.
    copies : dict of str to str
        URL -> local copy.
    """
    images = []
    for row in rows:
        position, source, others = row[:4], row[4], row[5:]
        path, *inside = [source] if isinstance(source, str) else source
        options = {
            "copy": copies.get(path),
            "measured": tuple(_copied(other, copies) for part in others if not isinstance(part, str) for other in part),
            "fault": next((reason for reason in others if isinstance(reason, str)), None),
            "inside": tuple(inside),
        }
        images.append(FieldImage(*position, path, **options))
    return images


def of_fields(images: Iterable[FieldImage], z: str | int) -> list[FieldImage]:
    """Return an image for each field where one of its z planes is taken, and they have files of their own.

    Parameters
    ----------
    images : iterable of FieldImage
    z : str or int
        As for `detection.planes.choose`.
    """
    if z != "best":
        return list(images)
    return [
        planes[0] if len(planes) == 1 else planes[0]._replace(z=None, planes=tuple(planes))
        for planes in planes_of_fields(images)
    ]


def _copied(source, copies):
    """Return the file of a channel with the local copy of a URL."""
    if source is None or isinstance(source, str):
        return copies.get(source, source)
    return (copies.get(source[0], source[0]), *source[1:])


def read_file(source: Source, *, channel: str, exact: bool = False) -> list[frames.Plane]:
    """Read the planes of a file, or of a part of it, as `frames.read` does.

    Parameters
    ----------
    source : str or tuple
        A path; or a path, and in one tuple with it what `layouts.Image.inside` has.
    channel, exact
        As for `frames.read`.
    """
    path, *inside = [source] if isinstance(source, str) else source
    return frames.read(path, channel=channel, exact=exact, **dict(zip(INSIDE, inside, strict=False)))


def without_other_files(image: FieldImage, reason: str) -> FieldImage | None:
    """Return an image on which a worker crashed, to be read without the files of other channels; None without such."""
    others = {path_of(source) for source in image.measured if source} - {image.copy or image.path}
    unread = f"not read, as the field {reason}"
    planes = tuple(plane._replace(unread=unread) for plane in image.planes)
    return image._replace(unread=unread, planes=planes) if others else None


def read_planes(image: FieldImage, *, channel: str) -> list[frames.Plane]:
    """Read an image's planes; a time point or z plane in the file's name overrides the one inside the file.

    Parameters
    ----------
    image : FieldImage
    channel : str
        As for `frames.read`.

    Raises
    ------
    FrameError
        The file cannot be read, or has several planes although its name says that it is one of them; or the image has a
        fault.
    """
    if image.fault:
        raise frames.FrameError(image.fault)
    planes = read_file((image.copy or image.path, *image.inside), channel=channel)
    return frames.with_position(planes, timepoint=image.timepoint, z=image.z)


def chosen_planes(
    image: FieldImage, *, channel: str, choose: Callable[[list[FieldPlane]], list[FieldPlane]] = list
) -> list[FieldPlane]:
    """Read the planes of an image that count.

    Parameters
    ----------
    image : FieldImage
        One of `of_fields`.
    channel : str
        As for `frames.read`.
    choose : callable
        As `detection.planes.choose`; all planes count without it.

    Raises
    ------
    FrameError
        As by `read_planes` and `choose`.
    """
    planes = []
    for member in image.planes or (image,):
        try:
            read = read_planes(member, channel=channel)
        except frames.FrameError as error:
            if not image.planes:
                raise
            raise unread.about_file(member.path, error, "; the sharpest plane is not known without it") from None
        planes += [FieldPlane(*plane, source=member) for plane in read]
    return choose(planes)


def read_channels(
    image: FieldImage,
    *,
    channel: str,
    channels: Channels,
    choose: Callable[[list[FieldPlane]], list[FieldPlane]] = list,
) -> list[FieldPlane]:
    """Read the planes of an image that count, with those of all measured channels.

    Parameters
    ----------
    image, channel, choose
        As for `chosen_planes`.
    channels : Channels

    Returns
    -------
    list of FieldPlane
        A measured channel that cannot be read, or has no such plane, or another size, is missing.

    Raises
    ------
    FrameError
        By the nuclei channel alone, as `chosen_planes`; or its file states that it holds another measured one alone.
    """
    planes = chosen_planes(image, channel=channel, choose=choose)
    return [
        with_channels
        for _, of_image in groupby(planes, key=lambda plane: id(plane.source))
        for with_channels in _read_others(list(of_image), channels)
    ]


def _read_others(planes, channels):
    """Return planes of one image with those of all measured channels."""
    image = planes[0].source
    nuclei_path = image.copy or image.path
    sources = {name: source for (name, _), source in zip(channels.measured, image.measured, strict=True)}
    others = {
        name: _planes_by_position(image, sources[name], token)
        for name, token in channels.measured
        if name != channels.nuclei
    }
    sources[channels.nuclei] = nuclei_path
    paths = {name: source and path_of(source) for name, source in sources.items()}
    tokens = [token for name, token in channels.measured if name != channels.nuclei and paths[name] == nuclei_path]
    if tokens:
        _refuse_other_channel(nuclei_path, tokens)
    return [_with_channels(plane, channels, others, paths) for plane in planes]


def _refuse_other_channel(path, tokens):
    """Refuse a file of one channel that states to be one of the others, which files of the plate hold, too."""
    try:
        names = ome_channels(path)
    except (OSError, ValueError, struct.error) as error:
        if cause := unread.cause_of(error):
            raise frames.NotReadError(f"{NOT_READ}{cause}") from error
        return  # it states none
    if len(names) == 1 and names[0].lower() in map(str.lower, tokens):
        raise frames.FrameError(f"holds the channel {names[0]!r} alone, and not that of the nuclei")


def _planes_by_position(image, source, token):
    """Read another channel: (time point, z plane) -> plane, or the reason why there are none."""
    if source is None:
        return "there is no image of it"
    if image.unread and path_of(source) != (image.copy or image.path):
        return image.unread
    try:
        # Exactly: of a file with several channels, the nuclei channel must not stand in for a missing one.
        planes = frames.with_position(
            read_file(source, channel=token, exact=True), timepoint=image.timepoint, z=image.z
        )
    except frames.FrameError as error:
        return f"{path_of(source)}: {error}"
    return {(plane.timepoint, plane.z): plane for plane in planes}


def _with_channels(plane, channels, others, paths):
    """Return a plane of the nuclei channel with those of the measured channels."""
    readable, missing = {channels.nuclei: plane}, {}
    for name, planes in others.items():
        own = planes if isinstance(planes, str) else planes.get((plane.timepoint, plane.z))
        same_file = [other.image for channel, other in readable.items() if paths[channel] == paths[name]]
        if isinstance(own, str):
            missing[name] = own
        elif own is None:
            missing[name] = f"{paths[name]}: has no plane of this time point and z plane, but {len(planes)} others"
        elif own.image.shape != plane.image.shape:
            actual, usual = (f"{height} x {width} px" for height, width in (own.image.shape, plane.image.shape))
            missing[name] = f"{paths[name]}: found {actual}, the nuclei channel has {usual}"
        elif any(np.array_equal(own.image, other) for other in same_file):  # one channel, listed as several
            missing[name] = f"{paths[name]}: has the same pixels as another channel of this file"
        else:
            readable[name] = own
    measured = {name: readable[name] for name, _ in channels.measured if name in readable}
    return plane._replace(
        channels={name: own.image for name, own in measured.items()},
        missing=missing,
        types={name: _type_of(own) for name, own in measured.items()},
    )


def form_of(planes: Sequence[frames.Plane]) -> str:
    """Describe the planes of a file: number, size, type and colours. A camera writes one form."""
    height, width = planes[0].image.shape
    several = f"{len(planes)} planes of " if len(planes) > 1 else ""
    # Planes in which no colour varies leave open which it is.
    colours = max((plane.colours for plane in planes), key=len)
    return f"{several}{height} x {width} px of {planes[0].image.dtype.name}{colours}"


def _type_of(plane):
    return f"{plane.image.dtype.name}{plane.colours}"
