"""Outline the nuclei of annotated fields by the workflow's own road, and score them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fieldwork.segmentation import Calibration, segment_field
from training.fields import Field
from training.scores import Scores, scores_of


def labels_of(field: Field, method: str, model: Path | None = None) -> np.ndarray:
    """Return the labels, (rows, columns) int32, of a field's nuclei by a method, with the field's calibration."""
    typical = Calibration(field.diameter, field.contrast, 0.0)
    return segment_field(field.image, typical, method=method, model=model).labels


def score(fields: Iterable[Field], method: str, model: Path | None = None) -> Scores:
    """Score a method, and a model of one's own where there is one, on fields."""
    return scores_of((labels_of(field, method, model), field.labels) for field in fields)
