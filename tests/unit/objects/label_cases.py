"""Label images with every kind of object, and images of every type; a seed gives the same pixels in every run."""

import cv2
import numpy as np

TYPES = ("bool", "uint8", "uint16", "int16", "int32", "uint32", "float32", "float64")


def crowd(seed=0, *, shape=(180, 220), count=60, largest=14):
    """Draw ellipses that cover and cut each other; some are cut by the border, and some pixels are holes."""
    rng = np.random.default_rng(seed)
    drawn = np.zeros(shape, np.int32)
    for number in range(1, count + 1):
        centre = tuple(int(rng.integers(0, side)) for side in reversed(shape))
        axes = tuple(int(axis) for axis in rng.integers(0, largest, 2))
        cv2.ellipse(drawn, centre, axes, float(rng.uniform(0, 180)), 0, 360, number, -1)
    drawn[rng.random(shape) < 0.02] = 0
    return drawn


def scattered(seed=0, *, shape=(40, 50), count=30):
    """Draw a label for every pixel: objects in many pieces, full of holes, all at the border."""
    return np.random.default_rng(seed).integers(0, count, shape).astype(np.int32)


def drawn_rows(*rows):
    """Return labels from digits."""
    return np.array([[int(digit) for digit in row] for row in rows], np.int32)


def large_among_small():
    """Draw small discs and one object that is wider than the atlas' shelves, with a bay and a hole."""
    drawn = crowd(3, shape=(260, 900), count=80)
    cv2.ellipse(drawn, (450, 130), (400, 90), 4, 0, 360, 99, -1)
    cv2.circle(drawn, (300, 130), 30, 0, -1)
    cv2.rectangle(drawn, (500, 0), (560, 150), 0, -1)
    return drawn


LABELS = {
    "a crowd": crowd(),
    "gaps between the labels": 7 * crowd(1),
    "scattered": scattered(),
    "one pixel": drawn_rows("000", "010", "000"),
    "one pixel is the image": drawn_rows("1"),
    "two pixels": drawn_rows("0000", "0110", "0000"),
    "one row": drawn_rows("110220003"),
    "one column": drawn_rows("110220003").T.copy(),
    "fills the image": np.ones((20, 31), np.int32),
    "two fill the image": np.repeat([[1, 2]], 12, axis=0).repeat(9, axis=1).astype(np.int32),
    "ring": drawn_rows("11111", "10001", "10201", "10001", "11111"),
    "corners that touch": drawn_rows("1010", "0101", "2010", "0200"),
    "large among small": large_among_small(),
    "many": crowd(2, shape=(900, 900), count=5600, largest=5),
    "none": np.zeros((9, 12), np.int32),
}


def image_of(shape, dtype, seed=0):
    """Draw an image of noise."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind == "f":
        return rng.normal(100, 30, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(max(limits.min, -3000), min(limits.max, 60000), shape, endpoint=True).astype(dtype)
