"""Pen marks on a slide and folds of its tissue, where their colour tells."""

import cv2
import numpy as np

from fieldwork.tissue import glass

# Optical densities above those of the glass, in red, green and blue, of squares of 8 µm.
GREEN_INK = 0.4  # in red, at least. Green and teal inks leave 0.6 of it in green; haematoxylin 0.8 and more
BLUE_INK = 0.5  # in red, at least. Blue inks leave 0.35 of it in blue; haematoxylin 0.4 and more
BLACK_INK = 0.7  # in all three, at least, and alike to a quarter
COLOUR = 0.15  # of the rest, as a share of its density: on silver stains and grey slides colour does not tell black ink
EDGE = 0.1  # of strokes: the same hue, but as little as this

SMALLEST_MARK_UM2 = 1000  # larger than a goblet cell with Alcian blue
# Folds of H&E: as much again of the same dyes. Dense keratin may look the same; dense nuclei are bluer.
FOLD = 1.9  # of the median optical density: a fold has three layers
FOLD_DENSITY = 0.3  # at least
SAME_HUE = 0.99  # cosine between optical densities
SMALLEST_FOLD_UM2 = 5000
BLUR_UM = 8  # standard deviation: a fold is denser as a whole, not in its nuclei
LARGEST_SHARE = 0.5  # of what is not glass: more of one colour is a stain


def pen_marks(means: np.ndarray, tissue: np.ndarray, ground: glass.Glass, *, um: float) -> np.ndarray:
    """Find pen marks: green, blue and black ink. Red ink has the hue of eosin, and remains tissue.

    Parameters
    ----------
    means : (h, w, 3) float32 array
        Red, green, blue, 0 to 255.
    tissue : (h, w) bool array
        What is not glass.
    ground : glass.Glass
    um : float
        Side of a square.

    Returns
    -------
    (h, w) bool array
    """
    inks, colours = np.zeros((3, 2, *tissue.shape), bool), []  # dense ink, edges of strokes
    for rows in glass.bands(means):
        red, green, blue = (_density(means, ground, channel, rows) for channel in range(3))
        least, most = np.minimum(np.minimum(red, green), blue), np.maximum(np.maximum(red, green), blue)
        inks[0, :, rows] = (
            (red > GREEN_INK) & (green < 0.6 * red) & (blue < 0.9 * red),
            (red > EDGE) & (green < 0.75 * red),
        )
        inks[1, :, rows] = (
            (red > BLUE_INK) & (green < 0.9 * red) & (blue < 0.35 * red),
            (red > EDGE) & (blue < 0.4 * red),
        )
        inks[2, :, rows] = (
            (least > BLACK_INK) & (most - least < 0.25 * most),
            (least > EDGE) & (most - least < 0.3 * most),
        )
        rest = tissue[rows] & (least < BLACK_INK)
        colours.append((most - least)[rest] / np.maximum(most[rest], 1e-6))
    colours = np.concatenate(colours)
    if not colours.size or np.median(colours, overwrite_input=True) < COLOUR:
        inks = inks[:2]
    inks &= tissue
    marks = np.zeros(tissue.shape, bool)
    for dense, edge in inks:
        mark = _without_small(dense, SMALLEST_MARK_UM2 / um**2)
        for _ in range(2):
            mark |= edge & (cv2.dilate(mark.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
        if np.count_nonzero(mark) <= LARGEST_SHARE * np.count_nonzero(tissue):
            marks |= mark
    return marks


def folds(means: np.ndarray, tissue: np.ndarray, ground: glass.Glass, *, um: float) -> np.ndarray:
    """Find folds of H&E-stained tissue: nearly twice its usual density, and the same hue. They remain tissue.

    Parameters
    ----------
    means, tissue, ground, um
        As for `pen_marks`; the tissue is without marks.

    Returns
    -------
    (h, w) bool array
    """
    if not tissue.any():
        return tissue
    total, squares, products = np.zeros((3, *tissue.shape), np.float32)
    usual = []
    for channel in range(3):
        plane = cv2.GaussianBlur(_density(means, ground, channel), (0, 0), max(BLUR_UM / um, 0.3))
        usual.append(np.median(plane[tissue], overwrite_input=True))
        total += plane
        products += plane * usual[-1]
        squares += np.square(plane, out=plane)
    squares *= sum(level**2 for level in usual)
    length = np.sqrt(squares, out=squares)
    hue = np.divide(products, np.maximum(length, 1e-6, out=length), out=products)
    dense = (total > FOLD * np.median(total[tissue], overwrite_input=True)) & (total > 3 * FOLD_DENSITY)
    return _without_small(tissue & dense & (hue > SAME_HUE), SMALLEST_FOLD_UM2 / um**2)


def _density(means, ground, channel, rows=slice(None)):
    """Return the optical density of a channel above that of the glass."""
    density = glass.optical_densities(means[rows, :, channel])
    density -= glass.ground_of(ground, means.shape[:2], channel, rows)
    return np.maximum(density, 0, out=density)


def _without_small(mask, least):
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return mask & (stats[:, cv2.CC_STAT_AREA] >= least)[labels]
