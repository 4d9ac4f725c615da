"""One field of a plate: its nuclei and its image quality."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from fieldwork import quality, segmentation
from fieldwork.detection import illumination, outlines
from fieldwork.detection.flags import Flags
from fieldwork.detection.peaks import find_peaks
from fieldwork.gpu import client
from fieldwork.inputs.names.images import Source
from fieldwork.objects.groups import unmeasured_of
from fieldwork.plates.images import FieldImage, FieldPlane, form_of

GROUND_PERCENTILE = 10  # even a crowded field shows that much ground


class Levels(NamedTuple):
    """Smoothed intensities of a field in which peaks were looked for: is the threshold between them?"""

    ground: float | None = None
    brightest: float | None = None


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
    coordinates: np.ndarray = np.empty((0, 2), int)  # rows and columns: of peaks, or centroids of outlines
    intensities: np.ndarray = np.empty(0)  # of peaks
    areas: np.ndarray = np.empty(0, np.int64)  # px, of outlines
    touches_border: np.ndarray = np.empty(0, bool)  # of outlines
    labels: bytes | None = None  # outlines, from `label_images.encode`
    cells: bytes | None = None  # likewise, of cells around nuclei
    threshold: float | None = None  # of methods that are calibrated
    flags: Flags = Flags()
    figures: segmentation.Figures = segmentation.Figures()  # of methods that are calibrated
    levels: Levels = Levels()  # of method peaks
    quality: dict[str, float] = {}
    measurements: dict[str, np.ndarray] = {}  # of outlines, from `objects.measure_arrays`
    channel_types: dict[str, str] = {}  # of measured channels: name -> type of the pixels, and colours
    channels_missing: dict[str, str] = {}  # the others, and why
    groups_missing: dict[str, str] = {}  # from `objects.groups.unmeasured_of`
    notes: tuple[str, ...] = ()  # of the plane, as of `frames.Plane`
    inside: tuple = ()  # as of `layouts.Image`
    sources: tuple[Source | None, ...] = ()  # files of the measured channels; of URLs none is kept


def failed_field(image: FieldImage, reason: str) -> list[Field]:
    """Return the failed field of an image that could not be measured."""
    return [Field(image.well, image.site, image.timepoint, image.z, image.path, error=reason, inside=image.inside)]


def measure_field(
    image: FieldImage,
    planes: list[FieldPlane],
    *,
    detection: dict,
    with_quality: bool,
    calibration: segmentation.Calibration | None = None,
    drop_border: bool = False,
    with_labels: bool = False,
    cells: dict | None = None,
    groups: Sequence[str] = (),
    plate: str = "",
    channel: str = "auto",
    folders: Sequence[str] = (),
    device: client.Cpu | client.Gpu = client.CPU,
    correction: illumination.Correction = illumination.NO_CORRECTION,
) -> list[Field]:
    """Find the nuclei in one image and measure its quality.

    Parameters
    ----------
    image : FieldImage
    planes : list of images.FieldPlane
        From `images.read_channels`; or from `images.chosen_planes`, and nuclei are found but not measured.
    detection : dict
        ``method``: ``auto``; ``peaks``, with keyword arguments of `nuclei.detect_nuclei`; or a function of the user's,
        with ``function`` and ``arguments``.
    with_quality : bool
        Measure `quality.COLUMNS` too.
    calibration : segmentation.Calibration, optional
        The plate's. Where it is missing, fields of methods that need one fail.
    drop_border : bool
        Leave out outlines that the image's border cuts.
    with_labels : bool
        Keep the outlines.
    cells : dict, optional
    groups : list of str
        As for `outlines.outline_and_measure`; of planes that come with their channels.
    plate : str
        Its name seeds the random numbers of functions of the user's.
    channel : str
        Name of the nuclei channel, for functions of the user's.
    folders : list of str
        Of the user's own modules.
    device : client.Cpu or client.Gpu
        From `gpu.client.open_device`; finds peaks.
    correction : detection.illumination.Correction
        Of images in which nuclei are outlined and measured. Peaks and quality are those of the images as they are.

    Returns
    -------
    list of Field
        One for each plane; most files have one plane.
    """
    finds_peaks = detection["method"] == "peaks"
    options = {"calibration": calibration, "drop_border": drop_border, "with_labels": with_labels, "folders": folders}
    options |= {"channel": channel, "well": image.well, "site": image.site}
    form, fields = form_of(planes), []
    for plane in planes:
        source = plane.source
        options["path"] = source.copy or source.path
        options["frame"] = (plate, image.well, image.site, plane.timepoint, plane.z)
        try:
            if finds_peaks:
                measured = _find_peaks_and_levels(plane.image, detection, device)
            else:
                measured = _outline(plane, detection, correction, options, {"cells": cells, "groups": groups})
        except outlines.FailedDetectionError as failure:
            (field,) = failed_field(source, str(failure))
            fields.append(field._replace(timepoint=plane.timepoint, z=plane.z))
            continue
        if with_quality:
            measured["quality"] = quality.measure_image(plane.image)
        position = {"well": image.well, "site": image.site, "timepoint": plane.timepoint, "z": plane.z}
        read = {"path": source.path, "inside": source.inside, "notes": plane.notes, "shape": plane.image.shape}
        read["sources"] = () if source.copy else source.measured
        fields.append(Field(**position, **read, form=form, **measured))
    return fields


def _outline(plane, detection, correction, options, further):
    """Outline nuclei, and measure them where the plane came with its channels."""
    try:
        image = illumination.correct(plane.image, correction.nuclei, correction)
    except illumination.UncorrectedError as error:
        raise outlines.FailedDetectionError(str(error)) from None
    options = {**options, "calibrated": "plate"}
    if image is not plane.image:
        options["camera"] = plane.image
    if plane.channels is None:
        return outlines.outline_nuclei(image, detection, **options)._asdict()
    channels, uncorrected = _corrected_channels(plane, image, correction)
    outlined, measurements = outlines.outline_and_measure(image, detection, channels, **further, **options)
    return {
        **outlined._asdict(),
        "measurements": measurements,
        "channel_types": {name: plane.types[name] for name in channels},
        "channels_missing": plane.missing | uncorrected,
        "groups_missing": unmeasured_of(channels, further["groups"]),
    }


def _corrected_channels(plane, nuclei, correction):
    """Return the channels of a plane as they are measured, and why others are not; `nuclei` is corrected already."""
    channels, uncorrected = {}, {}
    for name, image in plane.channels.items():
        try:
            corrected = nuclei if image is plane.image else illumination.correct(image, name, correction)
        except illumination.UncorrectedError as error:
            uncorrected[name] = str(error)
        else:
            channels[name] = illumination.in_measured_unit(corrected, image)
    return channels, uncorrected


def _find_peaks_and_levels(pixels, detection, device):
    peaks = find_peaks(pixels, detection, detect=device.detect_nuclei)
    return {**peaks, "levels": _levels(pixels, peaks["intensities"], sigma=detection["sigma"])}


def _levels(pixels, intensities, *, sigma):
    """Return the smoothed intensity of the ground, and that of the brightest nucleus or, without one, of all pixels.

    Means of squares stand for smoothed pixels: of the side whose square spreads as far as the Gaussian.
    """
    if pixels.dtype not in (np.uint8, np.uint16, np.int16, np.float32, np.float64):
        pixels = pixels.astype(np.float64)
    sides = [min(max(1, round(12**0.5 * sigma)), length) for length in pixels.shape]
    height, width = (length // side for length, side in zip(pixels.shape, sides, strict=True))
    squares = pixels[: height * sides[0], : width * sides[1]]  # whole ones: OpenCV takes a quarter of the time
    coarse = cv2.resize(squares, (width, height), interpolation=cv2.INTER_AREA)
    brightest = intensities[0] if len(intensities) else coarse.max()
    return Levels(float(np.percentile(coarse, GROUND_PERCENTILE)), float(brightest))
