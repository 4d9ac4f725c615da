"""Tiles of a slide's tissue, on which is decided what holds for the whole slide."""

from typing import NamedTuple

import numpy as np

from fieldwork.planning import samples

TILE_PX = 512  # of level 0; on a grid from (0, 0) that does not depend on the configuration
LEAST_TISSUE = 0.5  # of a tile; where no tile has so much, those with the most
ENOUGH_TILES = 24  # with the most tissue, where none has `LEAST_TISSUE`


class Block(NamedTuple):
    """A square of a slide, in level-0 pixels, without halo; at the lower and right borders a rectangle."""

    row: int
    column: int
    height: int
    width: int

    def __str__(self):
        return f"block at row {self.row}, column {self.column} ({self.height} x {self.width} px)"


def sample_of(shape: tuple[int, int], mask: np.ndarray, factor: float) -> list[Block]:
    """Choose tiles with tissue, spread evenly over a slide.

    Parameters
    ----------
    shape : (int, int)
        Height and width of level 0.
    mask : (h, w) bool array
        Tissue.
    factor : float
        Level-0 pixels per pixel of the mask.

    Returns
    -------
    list of Block
        Squares of `TILE_PX`, smaller ones at the lower and right borders; at most `samples.MOST_SAMPLE_IMAGES`, in the
        order in which they are read. Any first part of them is spread over the tissue, too.
    """
    grid = squares_of(shape, side=TILE_PX)
    areas = [tissue_px(tile, mask, factor) for tile in grid]
    chosen = [tile for tile, area in zip(grid, areas, strict=True) if area >= LEAST_TISSUE * TILE_PX**2]
    if not chosen:
        most = sorted((-area, tile) for tile, area in zip(grid, areas, strict=True) if area > 0)[:ENOUGH_TILES]
        chosen = sorted(tile for _, tile in most)
    return samples.spread(chosen)[: samples.MOST_SAMPLE_IMAGES]


def squares_of(shape: tuple[int, int], *, side: int) -> list[Block]:
    """Cut a slide of this shape into squares, row by row; those at the lower and right borders are smaller."""
    height, width = shape
    return [
        Block(row, column, min(side, height - row), min(side, width - column))
        for row in range(0, height, side)
        for column in range(0, width, side)
    ]


def tissue_px(tile: tuple[int, int, int, int], mask: np.ndarray, factor: float) -> int:
    """Return the area of the tissue in a tile (row, column, height, width), in level-0 pixels.

    Parameters
    ----------
    tile, mask, factor
        As for `sample_of`.
    """
    (rows, heights), (columns, widths) = (
        np.unique(lines, return_counts=True) for lines in lines_in_mask(tile, mask, factor)
    )
    return int(heights @ mask[np.ix_(rows, columns)] @ widths)


def lines_in_mask(tile: tuple[int, int, int, int], mask: np.ndarray, factor: float) -> list[np.ndarray]:
    """Return the mask's row of each row of a tile (row, column, height, width), and its column of each column."""
    return [
        in_mask(np.arange(first, first + length), factor, side)
        for first, length, side in zip(tile[:2], tile[2:], mask.shape, strict=True)
    ]


def in_mask(positions: np.ndarray, factor: float, side: int) -> np.ndarray:
    """Return the rows (columns) of a mask of `side` rows that level-0 rows lie in."""
    return np.minimum(positions // factor, side - 1).astype(int)
