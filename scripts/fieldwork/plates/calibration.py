"""What the calibration of a plate knows of its fields."""

from collections.abc import Sequence
from typing import Any

from fieldwork import segmentation
from fieldwork.detection import calibration as detection_calibration
from fieldwork.detection import illumination
from fieldwork.plates.fields import Field
from fieldwork.plates.images import FieldImage, FieldPlane, chosen_planes, form_of
from fieldwork.plates.rows import levels_of
from fieldwork.segmentation import sampling
from fieldwork.segmentation.sampling import Reading, Sampled


def measure_image(
    image: FieldImage,
    planes: list[FieldPlane],
    *,
    correction: illumination.Correction = illumination.NO_CORRECTION,
) -> Reading:
    """Measure what an image of the sample tells: of several planes, the middle one."""
    plane = planes[len(planes) // 2]
    image = plane.source
    try:
        corrected = illumination.correct(plane.image, correction.nuclei, correction)
    except illumination.UncorrectedError as error:
        return Reading(image, error=str(error))
    return Reading(image, form=form_of(planes), sample=segmentation.measure_sample(corrected))


def read_middle_plane(image: FieldImage, **options: Any) -> list[FieldPlane]:
    """Read the plane of an image that `measure_image` measures, alone; options as for `images.chosen_planes`."""
    planes = chosen_planes(image, **options)
    return [planes[len(planes) // 2]]


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
    sampled, measured, calibration
        As for `detection.calibration.record_of`.
    warnings : list of str
        From `warnings_of`.
    settings : dict
        That counted: the plate's ``detection``, and ``calibrate_with``.
    """
    levels = [(*field.levels, len(field.coordinates)) for field in measured.values() if not field.error]
    return detection_calibration.record_of(
        sampled,
        measured,
        calibration,
        noun="fields",
        position_of=_position,
        levels=levels_of(levels, settings["detection"]),
        warnings=warnings,
        settings=settings,
    )


def _position(image):
    optional = {"timepoint": image.timepoint, "z": image.z}
    known = {name: value for name, value in optional.items() if value is not None}
    inside = {"inside": list(image.inside)} if image.inside else {}
    return {"well": image.well, "site": image.site, **known, "path": image.path, **inside}


def images_of(record: dict, copies: dict[str, str]) -> list[FieldImage]:
    """Return the images of a ``calibration.json`` that count, in its order; `copies` as for `images.images_of`."""
    return [
        FieldImage(
            *(field["well"], field["site"], field.get("timepoint"), field.get("z"), field["path"]),
            copy=copies.get(field["path"]),
            inside=tuple(field.get("inside", ())),
        )
        for field in record["fields"]
    ]


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
    method, other = settings["detection"]["method"], settings["calibrate_with"]
    warning = sampling.warning_of(sampled, calibration, noun="fields", method=method, channel=channel, other=other)
    return [warning] if warning else []


def title_of(field: Field) -> str:
    """Return the title of a field in the picture: its place, and how many nuclei it has."""
    moment = "".join(
        f" {name}{number}" for name, number in {"t": field.timepoint, "z": field.z}.items() if number is not None
    )
    return f"{field.well} site {field.site}{moment}: {detection_calibration.counted_nuclei(field)}"
