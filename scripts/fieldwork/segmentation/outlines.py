"""Bring the outlines that were found in a working copy to the resolution of the image."""

from collections.abc import Iterator

import cv2
import numpy as np

from fieldwork.segmentation import pixels
from fieldwork.segmentation.objects import Objects, Scale

LEVEL_STEPS = 2**12  # of a margin, per level of the 8 bits that are interpolated; it is 4 steps of the copy
STRIP_PX = 2**24  # of the image, at which outlines are drawn at once
MIDDLE_LEVEL, MOST_LEVELS = 128, 127  # of margin 0; above and below it


def strips_of(objects: Objects, scale: Scale) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the labels of a working copy at the image's resolution, strip by strip.

    The outline runs where the interpolated margin is 0, so that it is smooth.

    Parameters
    ----------
    objects : Objects
    scale : Scale

    Yields
    ------
    row : int
        Of the image: the first one of the strip.
    labels : (rows, columns) array of uint16 or int32
        The last rows and columns may lie outside of the image.
    """
    if scale.enlarged > 1:
        yield 0, _halved(objects)
    elif scale.shrunk == 1:
        yield 0, objects.labels
    else:
        near, factor = _spread(objects.labels), scale.shrunk
        rows, columns = near.shape
        height = max(1, STRIP_PX // (columns * factor**2))
        for top in range(0, rows, height):
            strip = near[top : top + height]
            skipped = min(top, 1)  # the row above a strip and the one below count for its interpolation
            inside = _enlarged_mask(objects.margin[top - skipped : top + height + 1], factor)
            inside = inside[skipped * factor :][: len(strip) * factor]
            wide = cv2.resize(strip, (columns * factor, len(strip)), interpolation=cv2.INTER_NEAREST_EXACT)
            strip = wide[:, None] * inside.reshape(len(strip), factor, -1)
            yield top * factor, strip.reshape(inside.shape)


def _spread(labels):
    """Return labels, and on the ground around them the highest label nearby: as far as a margin may reach."""
    few = labels.max() < 2**16
    labels = labels.astype(np.uint16 if few else np.float32)
    near = cv2.dilate(labels, np.ones((3, 3), np.uint8))
    near = cv2.copyTo(labels, (labels > 0).view(np.uint8), near)
    return near if few else near.astype(np.int32)


def _enlarged_mask(margin, factor):
    """Return where the interpolated margin is above 0."""
    levels = margin * np.float32(1 / LEVEL_STEPS)
    levels = np.clip(np.ceil(levels, out=levels), -MOST_LEVELS, MOST_LEVELS, out=levels)  # above 0 where the margin is
    levels += MIDDLE_LEVEL
    return pixels.enlarged(levels.astype(np.uint8), factor) > MIDDLE_LEVEL


def _halved(objects):
    """Return labels at half the size: squares of four pixels whose margins are above 0 together."""
    labels, margin = objects.labels, objects.margin
    squares = labels.shape[0] // 2, 2, labels.shape[1] // 2, 2
    margin = np.where(labels > 0, np.maximum(margin, 1), np.minimum(margin, -1)).astype(np.int64)
    total = margin.reshape(squares).sum(axis=(1, 3))
    return np.where(total > 0, labels.reshape(squares).max(axis=(1, 3)), 0)
