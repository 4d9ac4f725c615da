"""Draw label images with known objects, and read the outlines of a picture."""

import itertools

import numpy as np
from matplotlib.collections import LineCollection


def squares(count, *, shape=(60, 80), side=5):
    """Return labels of squares with distances."""
    labels = np.zeros(shape, np.uint32)
    corners = list(itertools.product(range(2, shape[0] - side, side + 3), range(2, shape[1] - side, side + 3)))
    for number, (y, x) in enumerate(corners[:count], 1):
        labels[y : y + side, x : x + side] = number
    assert labels.max() == count
    return labels


def traced(axes):
    """Return the boxes of a picture's outlines: lowest and highest x and y."""
    (collection,) = (item for item in axes.collections if isinstance(item, LineCollection))
    for path in collection.get_segments():
        np.testing.assert_array_equal(path[0], path[-1], err_msg="an outline is open")
    return [(*path.min(axis=0).tolist(), *path.max(axis=0).tolist()) for path in collection.get_segments()]
