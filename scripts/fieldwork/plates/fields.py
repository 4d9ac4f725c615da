"""One field of a plate: its nuclei and its image quality."""

from typing import NamedTuple

import numpy as np

from fieldwork import frames, nuclei, quality
from fieldwork.gpu import client
from fieldwork.plates.images import FieldImage


class Field(NamedTuple):
    """One measured field, or why it could not be measured (`error`)."""

    well: str
    site: int
    timepoint: int | None
    z: int | None
    path: str
    error: str | None = None
    shape: tuple[int, int] | tuple[None, None] = (None, None)
    form: str | None = None  # the file's planes, size, type and colours: equal for all good images of a plate
    coordinates: np.ndarray = np.empty((0, 2), int)
    intensities: np.ndarray = np.empty(0)
    quality: dict[str, float] = {}


def failed_field(image: FieldImage, reason: str) -> list[Field]:
    """Return the failed field of an image that could not be measured."""
    return [Field(image.well, image.site, image.timepoint, image.z, image.path, error=reason)]


def measure_field(
    image: FieldImage,
    planes: list[frames.Plane],
    *,
    detection: dict,
    with_quality: bool,
    device: client.Cpu | client.Gpu = client.CPU,
) -> list[Field]:
    """Find the nuclei in one image and measure its quality.

    Parameters
    ----------
    image : FieldImage
    planes : list of frames.Plane
        From `images.read_planes`.
    detection : dict
        The keyword arguments of `nuclei.detect_nuclei`, beside ``method``.
    with_quality : bool
        Measure `quality.COLUMNS` too.
    device : client.Cpu or client.Gpu
        From `gpu.client.open_device`.

    Returns
    -------
    list of Field
        One for each plane; most files have one plane.
    """
    height, width = planes[0].image.shape
    several = f"{len(planes)} planes of " if len(planes) > 1 else ""
    colours = f" in {planes[0].colours} colours" if planes[0].colours > 1 else ""
    form = f"{several}{height} x {width} px of {planes[0].image.dtype.name}{colours}"
    return [_measure_plane(image, plane, form, detection, with_quality, device) for plane in planes]


def _measure_plane(image, plane, form, detection, with_quality, device):
    arguments = {key: value for key, value in detection.items() if key != "method"}
    coordinates = device.detect_nuclei(plane.image, **arguments)
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
        quality=quality.measure_image(plane.image) if with_quality else {},
    )
