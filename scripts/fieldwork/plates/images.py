"""The images of a plate as jobs get them, and how their planes are read."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fieldwork import frames


class FieldImage(NamedTuple):
    """One image file of the nuclei channel; if `path` is a URL, `copy` is read in its place."""

    well: str
    site: int
    timepoint: int | None
    z: int | None
    path: str
    copy: str | None = None

    def __str__(self):
        return f"{self.path} (well {self.well}, site {self.site})"


def images_of(rows: Iterable[tuple], copies: dict[str, str]) -> list[FieldImage]:
    """Return the images that a rule passes to its job as rows.

    Parameters
    ----------
    rows : iterable of tuple
        Well, site, time point, z plane, path.
    copies : dict of str to str
        URL -> local copy.
    """
    images = [FieldImage(*row) for row in rows]
    return [image._replace(copy=copies.get(image.path)) for image in images]


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
        The file cannot be read, or has several planes although its name says that it is one of them.
    """
    planes = frames.read(image.copy or image.path, channel=channel)
    return frames.with_position(planes, timepoint=image.timepoint, z=image.z)


def form_of(planes: Sequence[frames.Plane]) -> str:
    """Describe the planes of a file: number, size, type and colours. A camera writes one form."""
    height, width = planes[0].image.shape
    several = f"{len(planes)} planes of " if len(planes) > 1 else ""
    colours = f" in {planes[0].colours} colours" if planes[0].colours > 1 else ""
    return f"{several}{height} x {width} px of {planes[0].image.dtype.name}{colours}"
