"""Where tissue is in a slide's overview."""

from typing import NamedTuple

import cv2
import numpy as np

from fieldwork import processes
from fieldwork.tissue import glass
from fieldwork.tissue.marks import pen_marks

WHITE = glass.Glass((255.0, 255.0, 255.0), 0)  # stands for the glass of a picture that is tissue all over

# Optical densities above that of the glass, the mean of the three channels' squares.
PALEST = 0.01  # glass is even to 0.002; the palest cytoplasm of immunostained slides has 0.015
NOISES = 5  # standard deviations of glass, in slides of large pixels or low quality
PALEST_ON_WHITE = 0.04  # where no glass is seen, which would have 0.02 to 0.03
# The threshold of a piece of tissue is the lowest of three densities.
PALE_SHARE, MARGIN = 0.4, 0.02  # what this share of its squares does not reach, less this
DENSE_SHARE, HALF = 0.95, 0.38  # this part of what this share of its squares does not reach
MIXED = 0.18  # half of what strongly stained tissue has
BROAD_UM = 56  # width: what is paler, but wider, is no rim
BROAD_SHARE = 0.75  # of a square of that width; the rest is nuclei
FILLED = 0.65  # of the threshold: the mean density of holes that are pale tissue rather than gaps

SPECK_UM2 = 250  # smaller pieces are dust; single cells of smears are larger
HOLE_UM2 = 750  # smaller holes are pale cells, and gaps that pixels of 32 µm would not show

DARK_LEVEL = 8  # of fluorescence: unstained ground is 2 to 5 bright
GROUND_PERCENTILES = (1, 99.9)
BLUR_UM = 16  # standard deviation: dim tissue has gaps between its nuclei
# The blurred light reaches 30 µm beyond the tissue. Squares that are blurred less have its rim.
RIM_BLUR_UM = 4
GAP_UM = 64  # dark between such squares


class Tissue(NamedTuple):
    """What an overview shows."""

    mask: np.ndarray  # (h, w) bool
    glass: glass.Glass | None  # of brightfield, if any is seen
    marks: np.ndarray  # (h, w) bool: pen marks, which are no tissue


def find_tissue(means: np.ndarray, valid: np.ndarray, *, um: float, fluorescence: bool) -> Tissue:
    """Find the tissue in a slide's overview.

    Parameters
    ----------
    means : (h, w, channels) float32 array
        Mean colours of the pixels, 4 to 32 µm each; red, green, blue in brightfield.
    valid : (h, w) bool array
        Pixels that could be read.
    um : float
        Side of a pixel.
    fluorescence : bool
        Bright tissue on a dark ground, as opposed to tissue that absorbs light.
    """
    if fluorescence:
        return Tissue(tissue_in_the_dark(means, valid, um=um), None, np.zeros_like(valid))
    valid = valid & ~glass.frames(means)
    ground = glass.glass_of(means, valid)
    density = glass.absorbance(means, valid, ground or WHITE)
    floor = max(PALEST, NOISES * ground.noise) if ground else PALEST_ON_WHITE
    marks = pen_marks(means, density > floor, ground or WHITE, um=um)
    density[marks] = 0
    processes.release_memory()
    mask = tissue_on_glass(density, floor=floor, um=um) if ground else without_holes(density > floor, um=um)
    return Tissue(mask & valid & ~marks, ground, marks)


def as_8_bits(means: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Scale channels of fluorescence of any range to 0 to 255, from their ground to their brightest pixels.

    Parameters
    ----------
    means : (h, w, channels) float32 array
    valid : (h, w) bool array

    Returns
    -------
    (h, w, channels) float32 array
        A channel that shows no more than noise is 0.
    """
    scaled = np.zeros_like(means)
    for channel in range(means.shape[2]):
        plane = means[..., channel]
        if not valid.any():
            break
        ground, top = np.percentile(plane[valid], GROUND_PERCENTILES)
        noise = np.median(abs(np.diff(plane, axis=1))) / 0.6745 / 2**0.5 if plane.shape[1] > 1 else 0
        ground += 2 * noise  # from the darkest pixels of it to their mean
        if top - ground > NOISES * noise:
            scaled[..., channel] = np.clip((plane - ground) * (255 / (top - ground)), 0, 255)
    return scaled


def tissue_in_the_dark(means: np.ndarray, valid: np.ndarray, *, um: float) -> np.ndarray:
    """Find tissue by its light.

    Parameters
    ----------
    means, valid, um
        As for `find_tissue`.

    Returns
    -------
    (h, w) bool array

    Notes
    -----
    Li's minimum cross entropy on the logarithm of the brightest channel: tissue is nuclei and what lies dimly
    between them, and of the nuclei in OpenSlide's DAPI slide that keeps 99.3 %, Otsu's method 96.8 %. It always finds
    two classes. Where both are on the same side of `DARK_LEVEL`, there is one, and that value decides.
    """
    from skimage.filters import threshold_li  # 0.3 s to import

    values = glass.brightest(cv2.GaussianBlur(means, (0, 0), max(BLUR_UM / um, 0.5)).reshape(means.shape))
    values, border = np.log1p(values, dtype=np.float32), np.log1p(DARK_LEVEL)
    if not valid.any():
        return valid
    threshold = threshold_li(values[valid])
    tissue, ground = valid & (values > threshold), valid & (values <= threshold)
    if not tissue.any() or not ground.any() or not values[ground].mean() < border < values[tissue].mean():
        tissue, threshold = valid & (values > border), border
    return without_holes(tissue & _lit(means, threshold, um=um), um=um) & valid


def _lit(means, threshold, *, um):
    """Return the squares that are bright themselves, and the gaps between them."""
    blurred = cv2.GaussianBlur(means, (0, 0), max(RIM_BLUR_UM / um, 0.5)).reshape(means.shape)
    bright = np.log1p(glass.brightest(blurred)) > threshold
    side = 2 * max(round(GAP_UM / 2 / um), 1) + 1
    gap = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return cv2.morphologyEx(bright.astype(np.uint8), cv2.MORPH_CLOSE, gap) > 0


def tissue_on_glass(density: np.ndarray, *, floor: float, um: float) -> np.ndarray:
    """Find tissue by what it absorbs.

    Parameters
    ----------
    density : (h, w) float32 array
        From `glass.absorbance`; 0 on what cannot be tissue.
    floor : float
        What absorbs less is glass.
    um : float
        Side of a pixel.

    Returns
    -------
    (h, w) bool array

    Notes
    -----
    Pieces that absorb more than `floor` are looked at one by one, as pale tissue may lie beside strongly stained
    tissue. In a strongly stained piece, squares that are paler than most of it are half glass: its rim, and gaps. Its
    threshold removes them. Then the share of tissue does not depend on the size of the pixels (4 to 32 µm).
    """
    within = density > floor
    count, labels = cv2.connectedComponents(within.astype(np.uint8), connectivity=8)
    thresholds = np.full(count, floor, np.float32)
    # Sorted by piece, then by density, in little memory: bits of positive numbers are in their order.
    order = labels[within].astype(np.uint64) << 32
    order |= density[within].view(np.uint32)
    order.sort()
    starts = np.searchsorted(order, np.arange(count + 1, dtype=np.uint64) << 32)
    sizes, starts = np.diff(starts), starts[1:-1]
    values = order.astype(np.uint32).view(np.float32)
    del order
    pale, dense = (values[starts + (share * (sizes[1:] - 1)).astype(int)] for share in (PALE_SHARE, DENSE_SHARE))
    thresholds[1:] = np.clip(np.minimum(pale - MARGIN, HALF * dense), floor, max(floor, MIXED))
    thresholds = thresholds[labels]
    del labels
    tissue = within & (density > thresholds)
    tissue |= _broad(within & ~tissue, within, um=um)
    thresholds *= within
    tissue |= _pale_holes(tissue, density, thresholds, um=um)
    return without_specks(tissue, um=um)


def _broad(pale, within, *, um):
    """Return the pale squares of regions that are wider than the rim of strongly stained tissue."""
    side = 2 * max(2, round(BROAD_UM / 2 / um)) + 1
    box = np.ones((side, side), np.uint8)
    share = cv2.blur(pale.astype(np.float32), (side, side), borderType=cv2.BORDER_REFLECT)
    inner = (share > BROAD_SHARE) & (cv2.erode(within.astype(np.uint8), box) > 0)
    return pale & (cv2.dilate(inner.astype(np.uint8), box) > 0)


def _pale_holes(tissue, density, thresholds, *, um):
    """Return the holes in a mask that are small, or absorb nearly as much as the tissue around them."""
    count, holes, stats, _ = cv2.connectedComponentsWithStats((~tissue).astype(np.uint8), connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA]
    sums, around = np.zeros(count), np.zeros(count, np.float32)
    thresholds = cv2.dilate(thresholds, np.ones((3, 3)))
    for rows in glass.bands(holes):
        pieces = holes[rows].ravel().astype(np.intp)
        np.add.at(sums, pieces, density[rows].ravel().astype(np.float64))
        np.maximum.at(around, pieces, thresholds[rows].ravel())
    means = sums / np.maximum(areas, 1)
    is_hole = np.ones(count, bool)
    for border in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
        is_hole[border] = False
    filled = (areas * um**2 < HOLE_UM2) | (is_hole & (means > FILLED * around))
    filled[0] = False  # the tissue
    return filled[holes]


def without_holes(mask: np.ndarray, *, um: float) -> np.ndarray:
    """Fill the small holes of a mask and clear its specks.

    Parameters
    ----------
    mask : (h, w) bool array
    um : float
        Side of a pixel.
    """
    return without_specks(~without_specks(~mask, um=um, least_um2=HOLE_UM2), um=um)


def without_specks(mask: np.ndarray, *, um: float, least_um2: float = SPECK_UM2) -> np.ndarray:
    """Clear the small pieces of a mask; in a picture of a few pixels something stays.

    Parameters
    ----------
    mask : (h, w) bool array
    um : float
        Side of a pixel.
    least_um2 : float
        Smaller pieces are cleared.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    least = min(least_um2 / um**2, mask.size / 4)
    return mask & (stats[:, cv2.CC_STAT_AREA] >= least)[labels]
