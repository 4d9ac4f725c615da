"""Work on a large field block by block, so that its memory doesn't grow with it. Most fields are one block."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np

from fieldwork import label_images

Result = TypeVar("Result")


class Span(NamedTuple):
    """Rows or columns of a working copy: from the first to the one after the last."""

    first: int
    end: int


class Block(NamedTuple):
    """A rectangle of a working copy. The cores of blocks don't overlap; around it, a block sees a halo."""

    core: tuple[Span, Span]  # rows, columns
    outer: tuple[Span, Span]  # with the halo, which ends at the borders of the field

    @property
    def inner(self) -> tuple[slice, slice]:
        """Where the core lies in the pixels of the block."""
        return self.every(1, 1)

    def every(self, rows: int, columns: int) -> tuple[slice, slice]:
        """Return where every n-th row and column of the field lie in the pixels of the block's core."""
        return tuple(
            slice(core.first - outer.first + -core.first % step, core.end - outer.first, step)
            for core, outer, step in zip(self.core, self.outer, (rows, columns), strict=True)
        )

    def window(self, factor: int, margin: int = 0) -> tuple[slice, slice]:
        """Return where the block lies in a copy that is smaller by a factor, with a margin of its pixels."""
        return tuple(
            slice(max(0, span.first // factor - margin), -(-span.end // factor) + margin) for span in self.outer
        )

    def within(self, factor: int, margin: int) -> tuple[slice, slice]:
        """Return where the block lies in the pixels of its `window`, once these are enlarged by the factor."""
        starts = (span.first - max(0, span.first // factor - margin) * factor for span in self.outer)
        return tuple(
            slice(start, start + span.end - span.first) for start, span in zip(starts, self.outer, strict=True)
        )


def blocks_of(shape: tuple[int, int], *, halo: int, multiple: int, most_px: int) -> list[Block]:
    """Divide a working copy into blocks of at most `most_px` pixels with their halos.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the copy.
    halo : int
        Width in px. It is rounded up to the multiple.
    multiple : int
        Of which the first row and column of all blocks are multiples, in px.
    most_px : int

    Returns
    -------
    list of Block
        Row by row.
    """
    if math.prod(shape) <= most_px:
        spans = tuple(Span(0, side) for side in shape)
        return [Block(spans, spans)]
    halo = -(-halo // multiple) * multiple
    rows, columns = (_spans_of(side, max(math.isqrt(most_px) - 2 * halo, multiple), multiple) for side in shape)
    return [
        Block(core, tuple(_with_halo(span, halo, side) for span, side in zip(core, shape, strict=True)))
        for core in ((row, column) for row in rows for column in columns)
    ]


def _spans_of(side, most, multiple):
    """Divide rows or columns into spans of about equal length."""
    length = -(-side // -(-side // most))
    length = -(-length // multiple) * multiple
    return [Span(first, min(first + length, side)) for first in range(0, side, length)]


def _with_halo(span, halo, side):
    return Span(max(0, span.first - halo), min(side, span.end + halo))


def once(compute: Callable[[Block], Result]) -> Callable[[Block], Result]:
    """Return a function of blocks that keeps its last result: with one block, all is computed once."""
    return functools.lru_cache(maxsize=1)(compute)


class Canvas:
    """The labels of a field, painted block by block: what is painted stays."""

    def __init__(self, shape: tuple[int, int]):
        self._shape, self._count, self._numbers = shape, 0, None

    @functools.cached_property
    def _labels(self):
        return np.zeros(self._shape, np.int32)

    def begin(self, block: Block, brightest: np.ndarray, scale: float) -> None:
        """Choose which objects of a block are painted: their brightest pixel lies in its core, and on ground.

        Two blocks that see a nucleus in the same way agree whose it is. Where they part a clump in two ways, no pixel
        is painted twice, and the rim of an object that has been painted is no nucleus of its own.

        Parameters
        ----------
        block : Block
        brightest : (n + 1,) int array
            Index in the flat pixels of the block of each object's brightest pixel; the first one, of the ground, is
            not used.
        scale : float
            Pixels of the image per pixel of the working copy.
        """
        width = block.outer[1].end - block.outer[1].first
        at = [local + outer.first for local, outer in zip(np.divmod(brightest, width), block.outer, strict=True)]
        rows, columns = (
            np.minimum(((position + 0.5) * scale).astype(np.int64), side - 1)
            for position, side in zip(at, self._shape, strict=True)
        )
        chosen = self._labels[rows, columns] == 0
        for position, core in zip(at, block.core, strict=True):
            chosen &= (position >= core.first) & (position < core.end)
        chosen[0] = False
        self._numbers = (np.cumsum(chosen) + self._count) * chosen
        self._numbers = self._numbers.astype(np.int32)
        self._count += np.count_nonzero(chosen)

    def paint(self, labels: np.ndarray, row: int, column: int) -> None:
        """Paint labels on what is still ground: all of them, or the chosen ones of the block that was begun.

        Parameters
        ----------
        labels : (rows, columns) array of uint16 or int32
            At the image's resolution; the canvas may keep it. What lies outside of the image is left out.
        row, column : int
            Of the image: where the labels begin.
        """
        rows, columns = self._shape
        labels = labels[: rows - row, : columns - column]
        if self._numbers is not None:
            labels = self._numbers[labels]
        elif labels.shape == self._shape:
            self._labels = np.ascontiguousarray(labels)  # the whole field at once
            return
        target = self._labels[row : row + labels.shape[0], column : column + labels.shape[1]]
        np.copyto(target, labels, where=(labels > 0) & (target == 0))

    def finished(self) -> np.ndarray:
        """Return the labels, an (rows, columns) int32 array, numbered 1..n in reading order of their first pixels.

        Objects are in one piece. They needn't be in an enlarged copy, where outlines are interpolated and bridges of a
        pixel break, or where blocks meet.
        """
        return label_images.keep_largest_pieces(self._labels)
