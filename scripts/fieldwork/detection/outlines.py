"""Outline the nuclei of one image: by the detector with a calibration, or by a function of the user's."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fieldwork import label_images, objects, segmentation, user_functions
from fieldwork.detection.cells import cells_of, measure_cells
from fieldwork.detection.flags import Flags
from fieldwork.inputs import outlining
from fieldwork.inputs.functions import contained, find_once
from fieldwork.objects.groups import measure_groups
from fieldwork.pixel_sizes import pixel_sizes


class Outlined(NamedTuple):
    """The nuclei of an image, by ascending label."""

    coordinates: np.ndarray  # (n, 2) float64: rows and columns of centroids
    areas: np.ndarray  # (n,) int64, px
    touches_border: np.ndarray  # (n,) bool
    labels: bytes | None  # from `label_images.encode`
    threshold: float | None = None  # in the image's unit; the network does not need it
    flags: Flags = Flags()
    figures: segmentation.Figures = segmentation.Figures()  # of methods that are calibrated
    cells: bytes | None = None  # around nuclei, from `label_images.encode`


class FailedDetectionError(ValueError):
    """The nuclei of an image cannot be found; the message is the reason."""


def outline_nuclei(
    image: np.ndarray,
    detection: dict,
    *,
    path: str | os.PathLike,
    calibration: segmentation.Calibration | None,
    calibrated: str,
    drop_border: bool = False,
    with_labels: bool = False,
    folders: Sequence[str] = (),
    camera: np.ndarray | None = None,
    **context: object,
) -> Outlined:
    """Outline the nuclei of one image.

    Parameters
    ----------
    image : (rows, columns) array
    detection : dict
        From `methods.detection_of`, of another method than peaks.
    path : path-like
        File that the image was read from, for functions of the user's: they get its pixel size, too.
    calibration : segmentation.Calibration, optional
        Without one, methods of `outlining.METHODS` fail.
    calibrated : str
        What has the calibration, for that message: ``plate``, ``stack``.
    drop_border : bool
        Leave out outlines that the image's border cuts.
    with_labels : bool
        Keep the outlines.
    folders : list of str
        Of the user's own modules.
    camera : (rows, columns) array, optional
        What the camera gave, where `image` is a corrected one.
    **context
        ``frame``: what identifies the image, for `user_functions.seed_random`. The rest is what functions of the user's
        get if they declare it: see `user_functions.CONTEXT`.

    Returns
    -------
    Outlined

    Raises
    ------
    FailedDetectionError
        There is no calibration, or the user's function failed or did not return labels.
    """
    context |= {"folders": folders, "camera": camera}
    labels, *others = _labels_of(image, detection, path, calibration, calibrated, **context)
    labels = label_images.drop_border(labels) if drop_border else labels
    return _outlined(labels, label_images.properties(labels), with_labels, *others)


def outline_and_measure(
    image: np.ndarray,
    detection: dict,
    channels: Mapping[str, np.ndarray],
    *,
    path: str | os.PathLike,
    calibration: segmentation.Calibration | None,
    calibrated: str,
    drop_border: bool = False,
    with_labels: bool = False,
    cells: Mapping[str, float | str] | None = None,
    groups: Sequence[str] = (),
    **options: object,
) -> tuple[Outlined, dict[str, np.ndarray]]:
    """Outline the nuclei of one image, and measure them in all channels.

    Parameters
    ----------
    image, detection, path, calibration, calibrated, drop_border, with_labels, **options
        As for `outline_nuclei`.
    channels : mapping of str to (rows, columns) array
        Name -> image of finite numbers.
    cells : mapping, optional
        How the cells around nuclei are found, from `cells.cells_of`; they are measured, too. A nucleus that the border
        cuts has a cell while they are found, also where it is left out: else it would be in its neighbours' cytoplasm.
    groups : sequence of str
        Further groups of measurements, as for `objects.groups.measure_groups`.

    Returns
    -------
    outlined : Outlined
    measurements : dict of str to (n,) array
        From `objects.measure_arrays`, `objects.groups.measure_groups` and `cells.measure_cells`.

    Raises
    ------
    FailedDetectionError
        As by `outline_nuclei`.
    """
    found, *others = _labels_of(image, detection, path, calibration, calibrated, **options)
    labels = label_images.drop_border(found) if drop_border else found
    measurements = objects.measure_arrays(labels, channels) | measure_groups(labels, channels, groups)
    outlined = _outlined(labels, objects.properties_of(measurements, labels.shape), with_labels, *others)
    if cells:
        try:
            named = {"folders": options.get("folders", ()), "frame": options.get("frame", ())}
            of_cells = cells_of(found, cells, channels, **named)
        except ValueError as error:
            raise FailedDetectionError(str(error)) from None
        if of_cells is not None and drop_border:
            of_cells = _renumbered(of_cells, found, labels)
        if of_cells is not None:
            measurements |= measure_cells(labels, of_cells, channels, groups=groups)
        if with_labels:
            kept = np.zeros_like(labels) if of_cells is None else of_cells
            outlined = outlined._replace(cells=label_images.encode(kept))
    return outlined, measurements


def _renumbered(cells, found, kept):
    """Return the cells of the nuclei that were kept, with the numbers of these."""
    numbers = np.zeros(found.max(initial=0) + 1, np.int32)
    numbers[found.ravel()] = kept.ravel()
    return numbers[cells]


def _labels_of(image, detection, path, calibration, calibrated, *, folders=(), camera=None, **context):
    """Return the labels of an image, and for methods that are calibrated also its threshold, flags and figures."""
    if detection["method"] in outlining.METHODS:
        labels, *others = _segment(image, detection, calibration, calibrated, camera)
    else:
        labels, *others = _segment_by_own_function(
            image, detection, folders, path=path, calibration=calibration, **context
        )
    return labels, *others


def _outlined(labels, nuclei, with_labels, *others):
    coordinates = np.stack([nuclei.rows, nuclei.columns], axis=1)
    encoded = label_images.encode(labels) if with_labels else None
    return Outlined(coordinates, nuclei.areas, nuclei.touches_border, encoded, *others)


def _segment(image, detection, calibration, calibrated, camera):
    if calibration is None:
        raise FailedDetectionError(
            f"not segmented: no image of the {calibrated}'s sample could be read, so that it has no calibration"
        )
    options = {"method": detection["method"], "model": detection.get("model")}
    labels, threshold, *flags, figures = segmentation.segment_field(image, calibration, camera=camera, **options)
    return labels, threshold, Flags(*map(bool, flags)), figures


def _segment_by_own_function(image, detection, folders, *, path, frame=(), **context):
    name, pixel_size = detection["function"], pixel_sizes(path).get("y")
    try:
        segment = user_functions.segmenter(name, detection["arguments"], folders)
        user_functions.seed_random(*frame)  # now: its module, which may draw or seed, is imported
        with contained():
            # A copy: it may work in place, and the image's quality is measured afterwards.
            labels = segment(image.copy(), pixel_size=pixel_size, path=path, **context)
            return (label_images.renumber(label_images.check_labels(labels, image.shape)),)
    except Exception as error:  # it may raise anything
        raise FailedDetectionError(user_functions.reason(name, error)) from None


def import_functions(detection: dict, cells: Mapping | None, *, folders: Sequence[str], engine: str, **_: str) -> None:
    """Import functions of the user's where Dask's workers will: it compares theirs with those of this process.

    Parameters
    ----------
    detection, cells, folders
        As for `outline_and_measure`.
    engine, **_
        The configuration's ``pool``.

    Raises
    ------
    InputError
        A function cannot be found.
    """
    for work in (detection, cells or {}):
        if engine == "dask" and "function" in work:
            find_once(work["function"], folders=tuple(folders))


def suspects_of(detection: dict, cells: Mapping | None = None) -> str:
    """Return what may have crashed a worker, for messages."""
    functions = [work["function"] for work in (detection, cells or {}) if "function" in work]
    return " or ".join(["the reader", *functions])
