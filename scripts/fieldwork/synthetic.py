"""Synthetic fields and tissue with known nuclei, for the demo, the tests and the benchmarks."""

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

SPACING = 24  # px between planted centres: two blobs of sigma 5, smoothed by 4, keep two maxima from 2 x 6.4 px on
MARGIN = 16  # px from the border: a whole nucleus, and the 6 px in which detection finds nothing by definition
REACH = 13  # px from its centre to where a nucleus's light ends: 2.6 sigma, 3 % of its height
GLASS = 242  # red, green and blue of a slide without tissue
FRAYED = 4  # px over which a piece of tissue gives way to the glass


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
    centres = _apart(rng.integers(MARGIN, np.array(shape) - MARGIN, size=(20 * count, 2)), count)
    image = rng.normal(300, 40, shape)
    offsets = np.arange(-REACH, REACH + 1)
    for (row, column), height in zip(centres, rng.uniform(4000, 12000, len(centres)), strict=True):
        blob = height * np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 5**2))
        image[row - REACH : row + REACH + 1, column - REACH : column + REACH + 1] += blob
    return image.clip(0, 65535).astype(np.uint16), centres


def piece_of_tissue(rng, *, shape):
    """Outline one piece of tissue: an ellipse with a wavy border.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (int, int)
        Rows and columns of the rectangle that holds the piece.

    Returns
    -------
    (rows, columns) float32 array
        Distance to the glass outside it, in pixels and towards the middle: at most a third more than the shortest.
        0 on the glass.
    """
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, size, dtype=np.float32) for size in shape), indexing="ij")
    angle = np.arctan2(rows, columns)
    border = sum(rng.uniform(0.01, 0.04) * np.sin(waves * angle + rng.uniform(0, 2 * np.pi)) for waves in (2, 3, 5))
    return (0.85 + border - np.hypot(rows, columns)).clip(0) * min(shape) / 2


def lay_on_glass(tissue, depth):
    """Put a picture of tissue on a slide: what is outside the piece becomes glass, over some pixels.

    Parameters
    ----------
    tissue : (rows, columns, 3) uint8 array
    depth : (rows, columns) array
        From `piece_of_tissue`.

    Returns
    -------
    (rows, columns, 3) uint8 array
    """
    share = np.minimum(depth / FRAYED, 1)[..., None]
    return (GLASS + (tissue - np.float32(GLASS)) * share).round().astype(np.uint8)


def plant_tissue(rng, *, depth, count):
    """Draw stained tissue: haematoxylin nuclei, each an ellipse of 9 to 15 px, in pale eosin.

    Parameters
    ----------
    rng : numpy.random.Generator
    depth : (rows, columns) array
        From `piece_of_tissue`: nuclei are planted where it is `SPACING` or more.
    count : int
        Nuclei wanted; fewer where they don't fit.

    Returns
    -------
    image : (rows, columns, 3) uint8 array
        Red, green, blue; eosin also where `depth` is 0.
    centres : (n, 2) int array
        Row and column of every nucleus, at least `SPACING` apart.
    """
    from skimage.color import hed2rgb

    candidates = rng.integers(0, depth.shape, size=(40 * count, 2))
    centres = _apart(candidates[depth[tuple(candidates.T)] >= SPACING], count)
    fine, coarse = (_texture(rng, depth.shape, sigma=sigma) for sigma in (1.5, 20))
    nuclei = np.zeros(depth.shape, np.float32)
    rows, columns = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
    for row, column in centres:
        turn, long, flat, stain = rng.uniform((0, 6, 0.75, 0.08), (np.pi, 7.5, 1, 0.16))
        along = rows * np.cos(turn) + columns * np.sin(turn)
        across = columns * np.cos(turn) - rows * np.sin(turn)
        inside = long - np.hypot(along, across / flat)  # px to the border, more or less
        nuclei[row - REACH : row + REACH + 1, column - REACH : column + REACH + 1] += stain * inside.clip(0, 1)
    haematoxylin = nuclei * (1 + 0.15 * fine)
    eosin = 0.022 + 0.003 * fine + 0.003 * coarse
    brown = 0.3 * eosin  # pure eosin of these stains is violet
    image = hed2rgb(np.stack([haematoxylin, eosin, brown], axis=-1).clip(0))
    return (255 * image).round().astype(np.uint8), centres


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


def _apart(candidates, count):
    """Take candidates in turn, if `SPACING` away from those before, until there are enough."""
    centres = np.empty((0, 2), int)
    for candidate in candidates:
        if len(centres) == count:
            break
        if not len(centres) or cdist([candidate], centres).min() >= SPACING:
            centres = np.vstack([centres, candidate])
    return centres


def _texture(rng, shape, *, sigma):
    """Smooth noise of mean 0 and standard deviation 1, cut off at 3."""
    noise = gaussian_filter(rng.standard_normal(shape, np.float32), sigma, mode="wrap")
    return (noise / noise.std()).clip(-3, 3)
