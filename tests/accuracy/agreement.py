"""Compare label images: how many objects of one have a partner in the other."""

import numpy as np
from skimage.metrics import contingency_table


def overlaps(labels, truth):
    """Return the intersection over union of each object with each nucleus: (objects, nuclei)."""
    shared = contingency_table(labels, truth, sparse_type="array").toarray()
    areas, true_areas = shared.sum(axis=1), shared.sum(axis=0)
    both = shared[1:, 1:]
    return both / np.maximum(areas[1:, None] + true_areas[None, 1:] - both, 1)


def share_of_pairs(labels, truth, overlap):
    """Return F1 of the pairs whose intersection over union is above `overlap`, at least 0.5: 1 where all pair."""
    total = int(labels.max()) + int(truth.max())
    if not total:
        return 1.0
    return 2 * np.count_nonzero(overlaps(labels, truth) > overlap) / total


def hits_of(labels, points):
    """Count objects that hold a point, and points without an object of their own."""
    held = {labels[row, column] for row, column in points} - {0}
    return len(held), len(points) - len(held)
