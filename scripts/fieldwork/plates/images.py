"""The images of a plate as jobs get them, and how their planes are read."""

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from fieldwork import frames
from fieldwork.inputs.ome_names import ome_channels


class FieldImage(NamedTuple):
    """One image file of the nuclei channel; if `path` is a URL, `copy` is read in its place."""

    well: str
    site: int
    timepoint: int | None
    z: int | None
    path: str
    copy: str | None = None
    measured: tuple[str | None, ...] = ()  # files to read of the measured channels; None: there is none
    fault: str | None = None  # why no file is to be read
    unread: str | None = None  # why no file but that of the nuclei channel is to be read

    def __str__(self):
        place = f"well {self.well}, site {self.site}"
        return f"{self.path} ({place})" if self.path else place


class Channels(NamedTuple):
    """The measured channels of a plate, of which every image has a file in `FieldImage.measured`."""

    nuclei: str  # name of the nuclei channel, whether it is measured or not
    measured: list[tuple[str, str]]  # name, and token: how the file names the channel if it has several


class FieldPlane(NamedTuple):
    """A `frames.Plane` of the nuclei channel, with the same plane of all measured channels."""

    timepoint: int | None
    z: int | None
    image: np.ndarray  # (rows, columns)
    colours: int
    channels: dict[str, np.ndarray]  # name -> pixels of the same size
    missing: dict[str, str]  # name -> why it has no pixels
    types: dict[str, str]  # name -> type of its pixels, and colours of its file: a camera writes one


def images_of(rows: Iterable[tuple], copies: dict[str, str]) -> list[FieldImage]:
    """Return the images that a rule passes to its job as rows.

    Parameters
    ----------
    rows : iterable of tuple
        Well, site, time point, z plane, path; of images that are not to be read also the reason; of jobs that measure
        channels also a tuple with the path, or None, of each measured channel.
    copies : dict of str to str
        URL -> local copy.
    """
    return [
        FieldImage(
            *row[:5],
            copy=copies.get(row[4]),
            measured=tuple(copies.get(path, path) for paths in row[5:] if not isinstance(paths, str) for path in paths),
            fault=next((reason for reason in row[5:] if isinstance(reason, str)), None),
        )
        for row in rows
    ]


def without_other_files(image: FieldImage, reason: str) -> FieldImage | None:
    """Return an image on which a worker crashed, to be read without the files of other channels; None without such."""
    others = {path for path in image.measured if path} - {image.copy or image.path}
    return image._replace(unread=f"not read, as the field {reason}") if others else None


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
    planes = frames.read(image.copy or image.path, channel=channel)
    return frames.with_position(planes, timepoint=image.timepoint, z=image.z)


def read_channels(image: FieldImage, *, channel: str, channels: Channels) -> list[FieldPlane]:
    """Read an image's planes as `read_planes` does, with those of all measured channels.

    Parameters
    ----------
    image : FieldImage
    channel : str
        Of the nuclei, as for `frames.read`.
    channels : Channels

    Returns
    -------
    list of FieldPlane
        A measured channel that cannot be read, or has no such plane, or another size, is missing.

    Raises
    ------
    FrameError
        By the nuclei channel alone, as `read_planes`; or its file states that it holds another measured channel alone.
    """
    planes = read_planes(image, channel=channel)
    nuclei_path = image.copy or image.path
    paths = {name: path for (name, _), path in zip(channels.measured, image.measured, strict=True)}
    others = {
        name: _planes_by_position(image, paths[name], token)
        for name, token in channels.measured
        if name != channels.nuclei
    }
    paths[channels.nuclei] = nuclei_path
    tokens = [token for name, token in channels.measured if name != channels.nuclei and paths[name] == nuclei_path]
    if tokens:
        _refuse_other_channel(nuclei_path, tokens)
    return [_with_channels(plane, channels, others, paths) for plane in planes]


def _refuse_other_channel(path, tokens):
    """Refuse a file of one channel that states to be one of the others, which files of the plate hold, too."""
    try:
        names = ome_channels(path)
    except (OSError, ValueError, struct.error):  # it states none
        return
    if len(names) == 1 and names[0].lower() in map(str.lower, tokens):
        raise frames.FrameError(f"holds the channel {names[0]!r} alone, and not that of the nuclei")


def _planes_by_position(image, path, token):
    """Read another channel: (time point, z plane) -> plane, or the reason why there are none."""
    if path is None:
        return "there is no image of it"
    if image.unread and path != (image.copy or image.path):
        return image.unread
    try:
        # Exactly: of a file with several channels, the nuclei channel must not stand in for a missing one.
        planes = frames.with_position(
            frames.read(path, channel=token, exact=True), timepoint=image.timepoint, z=image.z
        )
    except frames.FrameError as error:
        return f"{path}: {error}"
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
    return FieldPlane(
        *plane,
        channels={name: own.image for name, own in measured.items()},
        missing=missing,
        types={name: _type_of(own) for name, own in measured.items()},
    )


def form_of(planes: Sequence[frames.Plane]) -> str:
    """Describe the planes of a file: number, size, type and colours. A camera writes one form."""
    height, width = planes[0].image.shape
    several = f"{len(planes)} planes of " if len(planes) > 1 else ""
    return f"{several}{height} x {width} px of {_type_of(planes[0])}"


def _type_of(plane):
    return plane.image.dtype.name + (f" in {plane.colours} colours" if plane.colours > 1 else "")
