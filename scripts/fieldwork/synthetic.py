"""Synthetic fields and tissue with known nuclei, for the demo, the tests and the benchmarks."""

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from skimage.color import hed2rgb

SPACING_PX = 24  # between planted centres: two blobs of sigma 5, smoothed by 4, keep two maxima from 2 x 6.4 px on
MARGIN_PX = 16  # from the border: a complete nucleus, and the 6 px in which detection finds nothing by definition
REACH_PX = 13  # from the centre to the end of a nucleus's light: 2.6 sigma, 3 % of its height
GLASS_LEVEL = 242  # red, green and blue of a slide without tissue
FRINGE_PX = 4  # over which a piece of tissue fades into the glass


def plant_field(rng: np.random.Generator, *, shape: tuple[int, int], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one field of nuclei: Gaussian blobs of varying brightness on a noisy ground.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (int, int)
        Rows and columns.
    count : int
        Nuclei to plant; fewer if they don't fit.

    Returns
    -------
    image : (rows, columns) uint16 array
        Ground of 300, nuclei 4,000 to 12,000 above it.
    centres : (n, 2) int array
        Row and column of every nucleus, at least `SPACING_PX` from any other.
    """
    centres = _spaced(rng.integers(MARGIN_PX, np.array(shape) - MARGIN_PX, size=(20 * count, 2)), count)
    image = rng.normal(300, 40, shape)
    offsets = np.arange(-REACH_PX, REACH_PX + 1)
    for (row, column), height in zip(centres, rng.uniform(4000, 12000, len(centres)), strict=True):
        blob = height * np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 5**2))
        image[row - REACH_PX : row + REACH_PX + 1, column - REACH_PX : column + REACH_PX + 1] += blob
    return image.clip(0, 65535).astype(np.uint16), centres


def piece_of_tissue(rng: np.random.Generator, *, shape: tuple[int, int]) -> np.ndarray:
    """Outline one piece of tissue: an ellipse with a wavy border.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (int, int)
        Rows and columns of the rectangle that holds the piece.

    Returns
    -------
    (rows, columns) float32 array
        Distance to the glass in pixels, measured from the middle outwards: at most a third more than the shortest.
        0 on the glass.
    """
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, size, dtype=np.float32) for size in shape), indexing="ij")
    angle = np.arctan2(rows, columns)
    border = sum(rng.uniform(0.01, 0.04) * np.sin(waves * angle + rng.uniform(0, 2 * np.pi)) for waves in (2, 3, 5))
    return (0.85 + border - np.hypot(rows, columns)).clip(0) * min(shape) / 2


def lay_on_glass(tissue: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Cut a piece out of a picture of tissue; the glass begins gradually, over `FRINGE_PX`.

    Parameters
    ----------
    tissue : (rows, columns, 3) uint8 array
    depth : (rows, columns) array
        From `piece_of_tissue`.

    Returns
    -------
    (rows, columns, 3) uint8 array
    """
    share = np.minimum(depth / FRINGE_PX, 1)[..., None]
    return (GLASS_LEVEL + (tissue - np.float32(GLASS_LEVEL)) * share).round().astype(np.uint8)


def plant_tissue(rng: np.random.Generator, *, depth: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw stained tissue: haematoxylin nuclei, each an ellipse of 9 to 15 px, in pale eosin.

    Parameters
    ----------
    rng : numpy.random.Generator
    depth : (rows, columns) array
        From `piece_of_tissue`: nuclei are planted where it is at least `SPACING_PX`.
    count : int
        Nuclei to plant; fewer if they don't fit.

    Returns
    -------
    image : (rows, columns, 3) uint8 array
        Red, green, blue; eosin also where `depth` is 0.
    centres : (n, 2) int array
        Row and column of every nucleus, at least `SPACING_PX` from any other.
    """
    candidates = rng.integers(0, depth.shape, size=(40 * count, 2))
    centres = _spaced(candidates[depth[tuple(candidates.T)] >= SPACING_PX], count)
    fine, coarse = (_texture(rng, depth.shape, sigma=sigma) for sigma in (1.5, 20))
    nuclei = np.zeros(depth.shape, np.float32)
    rows, columns = np.mgrid[-REACH_PX : REACH_PX + 1, -REACH_PX : REACH_PX + 1]
    for row, column in centres:
        turn, long, flat, stain = rng.uniform((0, 6, 0.75, 0.08), (np.pi, 7.5, 1, 0.16))
        along = rows * np.cos(turn) + columns * np.sin(turn)
        across = columns * np.cos(turn) - rows * np.sin(turn)
        inside = long - np.hypot(along, across / flat)  # px to the border, more or less
        nuclei[row - REACH_PX : row + REACH_PX + 1, column - REACH_PX : column + REACH_PX + 1] += stain * inside.clip(
            0, 1
        )
    haematoxylin = nuclei * (1 + 0.15 * fine)
    eosin = 0.022 + 0.003 * fine + 0.003 * coarse
    brown = 0.3 * eosin  # pure eosin of these stains is violet
    image = hed2rgb(np.stack([haematoxylin, eosin, brown], axis=-1).clip(0))
    return (255 * image).round().astype(np.uint8), centres


def nuclei_at(concentration: float, *, untreated: int, half: float) -> int:
    """Return the number of nuclei that survive a concentration: a Hill curve of slope 2.

    Parameters
    ----------
    concentration, half : float
        In the same unit; at `half`, half of the nuclei survive.
    untreated : int
        Nuclei without the compound.

    Returns
    -------
    int
    """
    return round(untreated / (1 + (concentration / half) ** 2))


def match(detected: np.ndarray, planted: np.ndarray, *, within: float) -> int:
    """Count the pairs of a detected and a planted nucleus that belong together; no nucleus is in two pairs.

    Parameters
    ----------
    detected, planted : (n, 2) arrays
        Row and column in pixels.
    within : float
        Largest distance of a pair, in pixels.

    Returns
    -------
    int
    """
    distances = cdist(detected, planted)
    pairs = linear_sum_assignment(distances > within)  # most pairs, not least distance
    return int((distances[pairs] <= within).sum())


def _spaced(candidates, count):
    """Return the first `count` candidates that are `SPACING_PX` from all accepted before them."""
    centres = np.empty((0, 2), int)
    for candidate in candidates:
        if len(centres) == count:
            break
        if not len(centres) or cdist([candidate], centres).min() >= SPACING_PX:
            centres = np.vstack([centres, candidate])
    return centres


def _texture(rng, shape, *, sigma):
    """Return smooth noise of mean 0 and standard deviation 1, cut off at 3."""
    noise = gaussian_filter(rng.standard_normal(shape, np.float32), sigma, mode="wrap")
    return (noise / noise.std()).clip(-3, 3)
