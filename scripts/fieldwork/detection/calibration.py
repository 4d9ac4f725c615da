"""The calibration of a plate or a stack: from which images, what was decided, and what is drawn of it."""

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fieldwork import frames, job, label_images, outputs, segmentation
from fieldwork.detection import outlines
from fieldwork.segmentation import sampling
from fieldwork.segmentation.pixels import rounded
from fieldwork.segmentation.sampling import Reading, Sampled

log = logging.getLogger(__name__)

VERSION = 1  # of calibration.json
ENOUGH_COUNTED = 12  # images of the sample tell how many nuclei an image has
MOST_DRAWN = 6  # of them, beside the one that fits worst
PEAK_PX = 3  # half the side of the square that is drawn around a peak


def read_sample(
    images: Sequence, *, read: Callable[[Any], Any], measure: Callable[[Any, Any], Reading], **pool: Any
) -> Sampled:
    """Read the images of a sample in their order, until enough of them have nuclei.

    Parameters
    ----------
    images : sequence
        Small records that say in messages what they are.
    read, measure : callable
        As for `job.collect`; `measure` returns a `sampling.Reading`.
    **pool
        ``engine``, ``dask`` and ``workers``, as for `job.collect`.
    """
    pool |= {"mode": "paths"}  # in mode fork all images would be read, not as few as needed
    readings = job.results_of(
        measure, job.read_ahead(images, read=read, **pool), read=read, failed=sampling.failed_reading, **pool
    )
    sampled = sampling.take(readings, usual_form=frames.usual_form)
    readings.close()  # and the workers, which read ahead
    return sampled


def log_decision(
    label: str,
    sampled: Sampled,
    calibration: segmentation.Calibration | None,
    warnings: Sequence[str],
    *,
    noun: str,
) -> None:
    """Log the calibration of a plate or a stack, named by `label`: by which images, and what is doubtful about it."""
    for reading, reason in sampled.passed_over:
        log.info("passed over: %s: %s", reading.source, reason)
    log.info("%s: %s by %d %s", label, calibration, len(sampled.used), noun)
    for warning in warnings:
        log.warning("%s: %s", label, warning)


def measure_images(
    images: Sequence,
    *,
    measure: Callable[[Any, Any], Any],
    read: Callable[[Any], Any],
    failed: Callable[[Any, str], Any],
    detection: dict,
    label: str,
    noun: str,
    **pool: Any,
) -> list:
    """Find the nuclei in some images of a sample, which may all fail.

    Parameters
    ----------
    images : sequence
        Small records, as for `read_sample`.
    measure, read, failed, noun, **pool
        As for `job.collect`, without ``mode``.
    detection : dict
        How nuclei are found.
    label : str
        The plate or the stack, for messages.

    Returns
    -------
    list
        What `measure` returned for each image.
    """
    pool |= {"mode": "paths"}  # they are few, and may be large
    suspects = outlines.suspects_of(detection)
    road = {"read": read, "failed": failed, "suspects": suspects, "label": f"{label}, sample", "noun": noun}
    return job.collect(measure, images, all_may_fail=True, **road, **pool)


def measure_counted(sampled: Sampled, calibration: segmentation.Calibration | None, **options: Any) -> dict[int, Any]:
    """Find the nuclei in the images of `choose_counted`.

    Parameters
    ----------
    sampled : Sampled
    calibration : segmentation.Calibration or None
    **options
        As for `measure_images`.

    Returns
    -------
    dict of int to object
        Index of a used image -> what was measured.
    """
    counted = choose_counted(sampled.used, calibration)
    measured = measure_images([sampled.used[index].source for index in counted], **options)
    return dict(zip(counted, measured, strict=True))


def reasons_in(sampled: Sampled, measured: dict[int, Any]) -> list[str | None]:
    """Return why images of a sample were passed over, or failed: `measured` is from `measure_counted`."""
    return [*(reason for _, reason in sampled.passed_over), *(image.error for image in measured.values())]


def overrides(detection: dict) -> dict[str, float]:
    """Return the values that the user set in place of measured ones."""
    return {key: detection[key] for key in ("diameter", "contrast") if detection.get(key) is not None}


def record_of(
    sampled: Sampled,
    measured: dict[int, Any],
    calibration: segmentation.Calibration | None,
    *,
    noun: str,
    position_of: Callable[[Any], dict],
    warnings: Sequence[str],
    settings: dict,
    **others: Any,
) -> dict:
    """Return what ``calibration.json`` holds.

    Parameters
    ----------
    sampled : Sampled
    measured : dict of int to object
        From `measure_counted`.
    calibration : segmentation.Calibration or None
    noun : str
        What an image is, and the key of their list: ``fields``, ``frames``.
    position_of : callable
        Takes the source of a reading; returns where it was taken.
    warnings : list of str
    settings : dict
        That counted.
    **others
        Further keys.

    Returns
    -------
    dict
        Its first keys are those of a `segmentation.Calibration`, all None without one.
    """
    return {
        **(calibration._asdict() if calibration else dict.fromkeys(segmentation.Calibration._fields)),
        noun: [
            {**position_of(reading.source), **_own_estimate(reading.sample), **_outcome(measured.get(index))}
            for index, reading in enumerate(sampled.used)
        ],
        **others,
        "drawn": choose_drawn(sampled.used, measured, calibration)._asdict(),
        "passed_over": [{**position_of(reading.source), "reason": reason} for reading, reason in sampled.passed_over],
        "settings": settings,
        "version": VERSION,
        "warnings": list(warnings),
    }


def _own_estimate(sample):
    figures = {name: getattr(sample, name) for name in ("diameter", "contrast", "noise")}
    figures = {name: None if value is None else rounded(value) for name, value in figures.items()}
    return {**figures, "has_nuclei": sample.has_nuclei, "is_dark": sample.is_dark}


def _outcome(measured):
    error = {"error": measured.error} if measured and measured.error else {}
    return {"nuclei": count_of(measured), **error}


def count_of(measured: Any) -> int | None:
    """Return the number of nuclei of a measured image; None where it failed, or was not measured."""
    return None if measured is None or measured.error else len(measured.coordinates)


def read(path: str | os.PathLike) -> segmentation.Calibration | None:
    """Read the calibration that a ``calibration.json`` holds; None where no image of its sample could be read."""
    return of_record(outputs.read_json(path))


def of_record(values: dict) -> segmentation.Calibration | None:
    """Return the calibration of a record, as `read`."""
    if values["noise"] is None:
        return None
    return segmentation.Calibration(**{name: values[name] for name in segmentation.Calibration._fields})


def choose_counted(used: Sequence[Reading], calibration: segmentation.Calibration | None) -> list[int]:
    """Choose the used images whose nuclei are counted: the first ones, and the one that the calibration fits worst.

    Parameters
    ----------
    used : list of Reading
    calibration : segmentation.Calibration or None

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
    """The images of a calibration's picture, as indices of the used ones."""

    even: list[int]  # at even ranks, from sparse to dense
    worst: int | None  # where the calibration fits worst; of a single image nothing is said


def choose_drawn(
    used: Sequence[Reading], measured: dict[int, Any], calibration: segmentation.Calibration | None
) -> Drawn:
    """Choose the images of the picture among the counted ones.

    Parameters
    ----------
    used : list of Reading
    measured, calibration
        As for `record_of`.

    Returns
    -------
    Drawn
        Up to `MOST_DRAWN` images by their numbers of nuclei; empty ones only where there are too few others.
    """
    counts = {index: count_of(image) or 0 for index, image in measured.items()}
    worst = _worst(used, calibration) if len(used) > 1 else None
    others = sorted(counts.keys() - {worst}, key=lambda index: (counts[index], index))
    with_nuclei = [index for index in others if counts[index]]
    empty = others[: len(others) - len(with_nuclei)]
    ranked = empty[: max(0, MOST_DRAWN - len(with_nuclei))] + with_nuclei
    ranks = np.linspace(0, len(ranked) - 1, min(MOST_DRAWN, len(ranked))).round().astype(int)
    return Drawn([ranked[rank] for rank in ranks], worst)


def labels_of(measured: Any, shape: tuple[int, int]) -> np.ndarray:
    """Return what was found in an image as labels, (rows, columns) uint32; of a peak, the square around it."""
    if measured.labels:
        return label_images.decode(measured.labels, shape)
    labels = np.zeros(shape, np.uint32)
    for number, (row, column) in enumerate(measured.coordinates, 1):
        rows, columns = (slice(max(centre - PEAK_PX, 0), centre + PEAK_PX + 1) for centre in (row, column))
        labels[rows, columns] = number
    return labels


def areas_of(measured: Any) -> np.ndarray:
    """Return the areas of the objects of `labels_of`, in px."""
    return measured.areas if measured.labels else np.full(len(measured.coordinates), (2 * PEAK_PX + 1) ** 2)


def counted_nuclei(measured: Any) -> str:
    """Describe in words how many nuclei an image has, for its title."""
    count = count_of(measured)
    return f"failed: {measured.error}" if count is None else "1 nucleus" if count == 1 else f"{count} nuclei"


def note_of(calibration: segmentation.Calibration | None) -> str:
    """Describe a calibration in words."""
    if calibration is None or calibration.diameter is None or calibration.contrast is None:
        return "no typical nucleus"
    return f"typical nucleus: {calibration.diameter:g} px, {calibration.contrast:g} above the background"
