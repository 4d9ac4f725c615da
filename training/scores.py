"""Score labels against annotated ones, pooled over fields."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

OVERLAPS = 0.5, 0.7, 0.9  # intersections over unions from which an outline is right


class Scores(NamedTuple):
    """F1 of points, and of outlines at `OVERLAPS`."""

    points: float
    outlines: tuple[float, ...]
    nuclei: int
    fields: int

    def __str__(self):
        overlaps = ", ".join(f"{f1:.3f} at {overlap}" for f1, overlap in zip(self.outlines, OVERLAPS, strict=True))
        return f"F1 of points {self.points:.3f}, of outlines {overlaps} ({self.nuclei} nuclei in {self.fields} fields)"


def scores_of(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Scores:
    """Score fields.

    Parameters
    ----------
    pairs : iterable of two (rows, columns) int arrays
        What was found, and what is true; 0 is ground.

    Returns
    -------
    Scores
        A nucleus is hit by a point if at least one object's pixel nearest to its centroid lies in it; an outline is
        right if its intersection over union with a nucleus is at least so much (at 0.5: more).
    """
    hit = objects = nuclei = fields = 0
    right = np.zeros(len(OVERLAPS), int)
    for found, truth in pairs:
        found, truth = consecutive(found), consecutive(truth)
        at = truth[tuple(_points_of(found).T)]
        hit += len(np.unique(at[at > 0]))
        objects, nuclei, fields = objects + int(found.max()), nuclei + int(truth.max()), fields + 1
        ratios = _intersections_over_unions(found, truth)
        right += [
            np.count_nonzero(ratios > 0.5 if overlap == 0.5 else ratios >= overlap - 1e-9) for overlap in OVERLAPS
        ]
    total = max(1, objects + nuclei)
    return Scores(2 * hit / total, tuple((2 * right / total).tolist()), nuclei, fields)


def consecutive(labels: np.ndarray) -> np.ndarray:
    """Return labels, (rows, columns), as 1..n in their order; 0 stays."""
    values, index = np.unique(labels, return_inverse=True)
    return index.reshape(labels.shape) + int(values[0] != 0)


def _points_of(labels):
    """Return the row and column of a pixel of each object: the one nearest to its centroid."""
    rows, columns = np.nonzero(labels)
    label = labels[rows, columns]
    sizes = np.maximum(np.bincount(label), 1)
    away = [values - (np.bincount(label, values) / sizes)[label] for values in (rows, columns)]
    order = np.lexsort((np.hypot(*away), label))
    first = order[np.unique(label[order], return_index=True)[1]]
    return np.stack([rows[first], columns[first]], axis=1)


def _intersections_over_unions(found, truth):
    """Return those of all pairs that overlap."""
    shape = found.max() + 1, truth.max() + 1
    both = np.bincount((found * shape[1] + truth).ravel(), minlength=shape[0] * shape[1]).reshape(shape)
    first, second = np.nonzero(both[1:, 1:])
    shared = both[first + 1, second + 1]
    return shared / (both.sum(1)[first + 1] + both.sum(0)[second + 1] - shared)
