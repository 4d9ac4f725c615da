"""Synthetic fields with known nuclei, for the demo, the tests and the benchmarks."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

SPACING = 24  # px between planted centres: two blobs of sigma 5, smoothed by 4, keep two maxima from 2 x 6.4 px on
MARGIN = 16  # px from the border: a whole nucleus, and the 6 px in which detection finds nothing by definition
REACH = 13  # px from its centre to where a nucleus's light ends: 2.6 sigma, 3 % of its height


def plant_field(rng, *, shape, count):
    """Draw one field of nuclei: Gaussian blobs of varying brightness on a noisy ground.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (int, int)
        Rows and columns.
    count : int
        Nuclei wanted; fewer where they don't fit.

    Returns
    -------
    image : (rows, columns) uint16 array
        Ground of 300, nuclei 4,000 to 12,000 above it.
    centres : (n, 2) int array
        Row and column of every nucleus, at least `SPACING` apart.
    """
    centres = np.empty((0, 2), int)
    for candidate in rng.integers(MARGIN, np.array(shape) - MARGIN, size=(20 * count, 2)):
        if len(centres) == count:
            break
        if not len(centres) or cdist([candidate], centres).min() >= SPACING:
            centres = np.vstack([centres, candidate])
    image = rng.normal(300, 40, shape)
    offsets = np.arange(-REACH, REACH + 1)
    for (row, column), height in zip(centres, rng.uniform(4000, 12000, len(centres)), strict=True):
        blob = height * np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 5**2))
        image[row - REACH : row + REACH + 1, column - REACH : column + REACH + 1] += blob
    return image.clip(0, 65535).astype(np.uint16), centres


def nuclei_at(concentration, *, most, half):
    """Give the number of nuclei that survive a concentration: a Hill curve of slope 2.

    Parameters
    ----------
    concentration, half : float
        In the same unit; at `half` half of the nuclei are left.
    most : int
        Nuclei without the compound.

    Returns
    -------
    int
    """
    return round(most / (1 + (concentration / half) ** 2))


def match(found, planted, *, within):
    """Count the pairs of found and planted nuclei that belong together, each used once.

    Parameters
    ----------
    found, planted : (n, 2) arrays
        Coordinates in pixels.
    within : float
        Largest distance of a pair, in pixels.

    Returns
    -------
    int
    """
    distances = cdist(found, planted)
    pairs = linear_sum_assignment(distances > within)  # most pairs, not least distance
    return int((distances[pairs] <= within).sum())
