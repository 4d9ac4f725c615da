"""A plate's calibration: from which fields, what was decided, and what was seen."""

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from fieldwork import frames, label_images, outputs, segmentation
from fieldwork.plates.fields import Field
from fieldwork.plates.images import FieldImage, form_of, read_planes
from fieldwork.plates.rows import levels_of
from fieldwork.segmentation import sampling
from fieldwork.segmentation.sampling import Reading, Sampled

VERSION = 1  # of calibration.json
ENOUGH_COUNTED = 12  # fields of the sample tell how many nuclei a field has
MOST_DRAWN = 6  # of them, beside the one that fits worst
PEAK_PX = 3  # half the side of the square that is drawn around a peak


def measure_image(image: FieldImage, planes: list[frames.Plane]) -> Reading:
    """Measure what an image of the sample tells: of several planes, the middle one."""
    plane = planes[len(planes) // 2]
    return Reading(image, form=form_of(planes), sample=segmentation.measure_sample(plane.image))


def read_middle_plane(image: FieldImage, *, channel: str) -> list[frames.Plane]:
    """Read the plane of an image that `measure_image` measures, alone."""
    planes = read_planes(image, channel=channel)
    return [planes[len(planes) // 2]]


def failed_reading(image: FieldImage, reason: str) -> Reading:
    """Return what stands for an image that could not be read."""
    return Reading(image, error=reason)


def take(readings: Iterable[Reading]) -> Sampled:
    """Take images in their order until enough have nuclei; those of another form than most are passed over."""
    return sampling.take(readings, usual_form=frames.usual_form)


def record_of(
    sampled: Sampled,
    measured: dict[int, Field],
    calibration: segmentation.Calibration | None,
    *,
    warnings: Sequence[str],
    settings: dict,
) -> dict:
    """Return what ``calibration.json`` holds.

    Parameters
    ----------
    sampled : Sampled
    measured : dict of int to fields.Field
        Those of `choose_counted`, with their nuclei.
    calibration : segmentation.Calibration or None
    warnings : list of str
        From `warnings_of`.
    settings : dict
        That counted: the plate's ``detection``, and ``calibrate_with``.

    Returns
    -------
    dict
        Its first keys are those of a `segmentation.Calibration`, all None without one.
    """
    detection = settings["detection"]
    return {
        **(calibration._asdict() if calibration else dict.fromkeys(segmentation.Calibration._fields)),
        "fields": [
            {**_position(reading.source), **_own_estimate(reading.sample), "nuclei": _count(measured.get(index))}
            for index, reading in enumerate(sampled.used)
        ],
        "levels": levels_of(
            [(*field.levels, _count(field)) for field in measured.values() if not field.error], detection
        ),
        "passed_over": [{**_position(reading.source), "reason": reason} for reading, reason in sampled.passed_over],
        "settings": settings,
        "version": VERSION,
        "warnings": list(warnings),
    }


def _position(image):
    optional = {"timepoint": image.timepoint, "z": image.z}
    known = {name: value for name, value in optional.items() if value is not None}
    return {"well": image.well, "site": image.site, **known, "path": image.path}


def _own_estimate(sample):
    figures = {name: getattr(sample, name) for name in ("diameter", "contrast", "noise")}
    rounded = {name: None if value is None else float(f"{value:.3g}") for name, value in figures.items()}
    return {**rounded, "has_nuclei": sample.has_nuclei, "is_dark": sample.is_dark}


def _count(field):
    return None if field is None or field.error else len(field.coordinates)


def warnings_of(
    sampled: Sampled, calibration: segmentation.Calibration | None, *, channel: str, settings: dict
) -> list[str]:
    """Return what is doubtful about a plate's calibration: at most one line.

    Parameters
    ----------
    sampled : Sampled
    calibration : segmentation.Calibration or None
    channel : str
        In which nuclei are looked for.
    settings : dict
        As for `record_of`.
    """
    other = settings["calibrate_with"]
    if other and calibration is None:
        return [f"plate {other}, whose calibration it takes, has none"]
    warning = sampling.warning_of(sampled, calibration, noun="fields", channel=channel)
    return [warning] if warning else []


def read(path: str | os.PathLike) -> segmentation.Calibration | None:
    """Read the calibration that a ``calibration.json`` holds; None where no image of its sample could be read."""
    values = outputs.read_json(path)
    if values["noise"] is None:
        return None
    return segmentation.Calibration(**{name: values[name] for name in segmentation.Calibration._fields})


def choose_counted(used: Sequence[Reading], calibration: segmentation.Calibration | None) -> list[int]:
    """Choose the used images whose nuclei are counted: the first ones, and the one that the calibration fits worst.

    Parameters
    ----------
    used, calibration
        As for `record_of`.

    Returns
    -------
    list of int
        Their indices, ascending; among them, if there are so many, `MOST_DRAWN` images with nuclei beside the worst.
    """
    with_nuclei = [index for index, reading in enumerate(used) if reading.sample.has_nuclei]
    worst = [] if (index := _worst(used, calibration)) is None else [index]
    return sorted({*range(min(ENOUGH_COUNTED, len(used))), *with_nuclei[: MOST_DRAWN + 1], *worst})


def _worst(used, calibration):
    """Return the index of the image that is dark, or whose own estimate is farthest from the calibration."""

    def badness(index):
        sample = used[index].sample
        return sample.is_dark, sampling.misfit(sample, calibration), -index

    return max(range(len(used)), key=badness, default=None)


class Drawn(NamedTuple):
    """The fields of a calibration's picture, as indices of the used images."""

    fields: list[int]  # from sparse to dense
    worst: int | None  # where the calibration fits worst


def choose_drawn(
    used: Sequence[Reading], measured: dict[int, Field], calibration: segmentation.Calibration | None
) -> Drawn:
    """Choose the fields of the picture among the counted ones.

    Parameters
    ----------
    used, measured, calibration
        As for `record_of`.

    Returns
    -------
    Drawn
        Up to `MOST_DRAWN` fields at even ranks of their numbers of nuclei; empty ones only where there are too few
        others.
    """
    counts = {index: _count(field) or 0 for index, field in measured.items()}
    worst = _worst(used, calibration)
    others = sorted(counts.keys() - {worst}, key=lambda index: (counts[index], index))
    with_nuclei = [index for index in others if counts[index]]
    empty = others[: len(others) - len(with_nuclei)]
    ranked = empty[: max(0, MOST_DRAWN - len(with_nuclei))] + with_nuclei
    ranks = np.linspace(0, len(ranked) - 1, min(MOST_DRAWN, len(ranked))).round().astype(int)
    return Drawn([ranked[rank] for rank in ranks], worst)


def labels_of(field: Field, shape: tuple[int, int]) -> np.ndarray:
    """Return what was found in a field as labels, (rows, columns) uint32; of a peak, the square around it."""
    if field.labels:
        return label_images.decode(field.labels, shape)
    labels = np.zeros(shape, np.uint32)
    for number, (row, column) in enumerate(field.coordinates, 1):
        rows, columns = (slice(max(centre - PEAK_PX, 0), centre + PEAK_PX + 1) for centre in (row, column))
        labels[rows, columns] = number
    return labels


def title_of(field: Field) -> str:
    """Return the title of a field in the picture: its place, and how many nuclei it has."""
    count = _count(field)
    found = f"failed: {field.error}" if count is None else "1 nucleus" if count == 1 else f"{count} nuclei"
    moment = "".join(
        f" {name}{number}" for name, number in {"t": field.timepoint, "z": field.z}.items() if number is not None
    )
    return f"{field.well} site {field.site}{moment}: {found}"


def note_of(calibration: segmentation.Calibration | None) -> str:
    """Describe a calibration in words."""
    if calibration is None or calibration.diameter is None or calibration.contrast is None:
        return "no typical nucleus"
    return f"typical nucleus: {calibration.diameter:g} px, {calibration.contrast:g} above the background"
