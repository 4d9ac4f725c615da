"""What is measured in one field of a plate: its nuclei and its image quality."""

from typing import NamedTuple

import numpy as np

from fieldwork import frames, nuclei, quality


class FieldImage(NamedTuple):
    """One image file of the nuclei channel. `planes` is what `load` read ahead, or why it could not be read.

    `copy` is what is read in place of `path`, where that is a URL.
    """

    well: str
    site: int
    timepoint: int | None
    z: int | None
    path: str
    planes: list[frames.Plane] | frames.FrameError | None = None
    copy: str | None = None

    def __str__(self):
        return f"{self.path} (well {self.well}, site {self.site})"


class Field(NamedTuple):
    """One measured field, or why it could not be measured (`error`)."""

    well: str
    site: int
    timepoint: int | None
    z: int | None
    path: str
    error: str | None = None
    shape: tuple[int, int] | tuple[None, None] = (None, None)
    form: str | None = None  # the file's planes, size, type and colours: the same for all images of a sound plate
    coordinates: np.ndarray = np.empty((0, 2), int)
    intensities: np.ndarray = np.empty(0)
    quality: dict[str, float] = {}


def images_of(rows, copies):
    """Make images of what a rule knows of them.

    Parameters
    ----------
    rows : iterable of tuple
        Well, site, time point, z plane, path.
    copies : dict of str to str
        URL -> local copy.

    Returns
    -------
    list of FieldImage
    """
    images = [FieldImage(*row) for row in rows]
    return [image._replace(copy=copies.get(image.path)) for image in images]


def load(image, *, channel):
    """Read an image's planes ahead, for workers that are to share them.

    Parameters
    ----------
    image : FieldImage
    channel : str
        As for `frames.read`.

    Returns
    -------
    FieldImage
        With its planes, or with the reason why there are none.
    """
    try:
        return image._replace(planes=frames.read(image.copy or image.path, channel=channel))
    except frames.FrameError as error:
        return image._replace(planes=error)


def unreadable(image, signal):
    """Stand in for `load` on an image that crashed the reader; `signal` is the signal's name."""
    return image._replace(planes=frames.FrameError(f"crashed the reader ({signal})"))


def crashed(image, signal):
    """Stand in for `measure` on an image that crashed the reader; `signal` is the signal's name."""
    return _failed(image, f"crashed the reader ({signal})")


def measure(image, *, channel, detection, with_quality, find=nuclei.candidates_by_opencv):
    """Find the nuclei in one image and measure its quality.

    Parameters
    ----------
    image : FieldImage
    channel : str
        As for `frames.read`.
    detection : dict
        Keyword arguments of `nuclei.detect_nuclei`.
    with_quality : bool
        Measure `quality.COLUMNS` too.
    find : callable
        As for `nuclei.detect_nuclei`.

    Returns
    -------
    list of Field
        One for each plane of the file, nearly always one; a bad image is one failed Field.
    """
    if image.planes is None:
        image = load(image, channel=channel)
    if isinstance(image.planes, frames.FrameError):
        return _failed(image, str(image.planes))
    try:
        planes = frames.with_position(image.planes, timepoint=image.timepoint, z=image.z)
    except frames.FrameError as error:
        return _failed(image, str(error))
    height, width = planes[0].image.shape
    several = f"{len(planes)} planes of " if len(planes) > 1 else ""
    colours = f" in {planes[0].colours} colours" if planes[0].colours > 1 else ""
    form = f"{several}{height} x {width} px of {planes[0].image.dtype.name}{colours}"
    return [_measure_plane(image, plane, form, detection, with_quality, find) for plane in planes]


def _failed(image, reason):
    return [Field(image.well, image.site, image.timepoint, image.z, image.path, error=reason)]


def _measure_plane(image, plane, form, detection, with_quality, find):
    coordinates = nuclei.detect_nuclei(plane.image, find=find, **detection)
    return Field(
        well=image.well,
        site=image.site,
        timepoint=plane.timepoint,
        z=plane.z,
        path=image.path,
        shape=plane.image.shape,
        form=form,
        coordinates=coordinates,
        intensities=nuclei.intensities_at(coordinates, plane.image, sigma=detection["sigma"]),
        quality=quality.measure(plane.image) if with_quality else {},
    )
