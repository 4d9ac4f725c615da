"""Outline the nuclei of annotated fields by the workflow's own road, and score them."""

import functools
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fieldwork import label_images
from fieldwork.segmentation import Calibration, segment_field
from fieldwork.slides import blocks
from training.fields import Field, Slide, part_of
from training.scores import Scores, scores_of


def labels_of(field: Field, method: str, model: Path | None = None) -> np.ndarray:
    """Return the labels, (rows, columns) int32, of a field's nuclei by a method, with the field's calibration."""
    if field.slide:
        detection = field.slide.detection._replace(method=method, model=model)
        return labels_of_slide(field.slide._replace(detection=detection))
    typical = Calibration(field.diameter, field.contrast, 0.0)
    return segment_field(field.image, typical, method=method, model=model).labels


def score(fields: Iterable[Field], method: str, model: Path | None = None) -> Scores:
    """Score a method, and a model of one's own where there is one, on fields."""
    return scores_of((labels_of(field, method, model), field.labels) for field in fields)


def labels_of_slide(slide: Slide) -> np.ndarray:
    """Outline the nuclei in the tissue of a slide, block by block as the workflow does: (rows, columns) int32."""
    labels, number = np.zeros(slide.detection.shape, np.int32), 0
    read = functools.partial(part_of, slide.picture)
    for block in blocks.blocks_of(labels.shape):
        found = blocks.measure_block(block, read=read, mask=slide.tissue, detection=slide.detection)
        if found.count:
            window = label_images.decode(found.labels, found.shape).astype(np.int32)
            rows, columns = (slice(first, first + side) for first, side in zip(found.origin, found.shape, strict=True))
            labels[rows, columns][window > 0] = window[window > 0] + number
            number += found.count
    return labels
