"""Blocks of a slide, in which nuclei are outlined one after the other, and what is found in one of them."""

from typing import NamedTuple

import numpy as np

BLOCK_PX = 2048  # of level 0; fixed, as nuclei are numbered block by block


class Block(NamedTuple):
    """A square of a slide, in level-0 pixels, without halo; at the lower and right borders a rectangle."""

    row: int
    column: int
    height: int
    width: int

    def __str__(self):
        return f"block at row {self.row}, column {self.column} ({self.height} x {self.width} px)"


class BlockNuclei(NamedTuple):
    """The nuclei of a block, numbered 1..n by their first pixels, which lie in the block."""

    block: Block
    origin: tuple[int, int]  # level-0 row and column of the window's first pixel
    shape: tuple[int, int]  # rows and columns of the window, which holds the block's nuclei as a whole
    labels: bytes  # the window's label image, from `label_images.encode`: nuclei of this block alone
    measurements: dict[str, np.ndarray]  # column -> (n,) array, in the slide's pixels
    error: str = ""  # why there are no nuclei: the block could not be read, or crashed its worker


def blocks_of(shape: tuple[int, int]) -> list[Block]:
    """Cut a slide into blocks of `BLOCK_PX`, row by row.

    Parameters
    ----------
    shape : (int, int)
        Height and width of level 0.
    """
    height, width = shape
    return [
        Block(row, column, min(BLOCK_PX, height - row), min(BLOCK_PX, width - column))
        for row in range(0, height, BLOCK_PX)
        for column in range(0, width, BLOCK_PX)
    ]
