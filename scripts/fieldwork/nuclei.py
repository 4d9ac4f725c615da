"""Nuclei: bright blobs, found as local maxima of the smoothed image, exactly as scikit-image finds them, but faster."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

cv2.setNumThreads(1)  # parallelism is processes

UNIT = 2.0**-24  # unit roundoff of float32
TRUNCATE = 4.0  # standard deviations, scikit-image's default
GATHERED_PX = 2**22  # of candidates' squares that a GPU gathers at once: 55 MB with their positions


class Candidates(NamedTuple):
    """Pixels of an image that may be peaks, as far as float32 can tell; every peak is among them."""

    coordinates: np.ndarray  # (n, 2) int: rows and columns, ordered by row, then by column
    heights: np.ndarray  # (n,) float32: smoothed intensities, as exact as `detect_nuclei` says
    alone: np.ndarray  # (n,) bool: certainly higher than all else in the square


def candidates_by_opencv(
    image: np.ndarray, *, sigma: float, min_distance: int, threshold_abs: float, magnitude: float | None
) -> Candidates | None:
    """Find the candidates of one image with OpenCV.

    Parameters
    ----------
    image : (rows, columns) array
        Longer than the square in both directions.
    sigma, min_distance, threshold_abs
        As for `detect_nuclei`.
    magnitude : float or None
        The largest absolute pixel, by which errors are bounded; None: the smoothed intensity itself bounds them.

    Returns
    -------
    Candidates or None
        None where there are more than there is room for peaks: a plateau.
    """
    kernel = _kernel(sigma)
    margin, lower = _margin(sigma, magnitude), _lower(magnitude, np)
    pixels = image.astype(np.float32, order="C")
    smoothed = cv2.sepFilter2D(pixels, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    square = np.ones((2 * min_distance + 1,) * 2, np.uint8)
    lowest = cv2.dilate(smoothed, square, dst=pixels)
    lower(lowest, margin, out=lowest)
    candidates = np.flatnonzero(smoothed >= lowest)
    candidates = candidates[smoothed.ravel()[candidates] > lower(np.float32(threshold_abs), margin)]
    coordinates = np.stack(np.divmod(candidates, image.shape[1]), axis=1)
    inside = (coordinates >= min_distance) & (coordinates < np.array(image.shape) - min_distance)
    coordinates = coordinates[inside.all(axis=1)]  # as scikit-image's exclude_border
    if len(coordinates) > _room(image.shape, min_distance):
        return None
    heights = smoothed[tuple(coordinates.T)]
    squares = sliding_window_view(smoothed, square.shape)[tuple(coordinates.T - min_distance)]
    rivals = np.count_nonzero(squares >= lower(heights, margin)[:, None, None], axis=(1, 2))
    return Candidates(coordinates, heights, rivals == 1)


def _candidates_on(device, images, *, sigma, min_distance, threshold_abs, magnitudes):
    """Find the candidates of many images of one size on a device.

    Parameters
    ----------
    device : gpu.server.Cuda
        Its `xp` and `ndimage` are CuPy and ``cupyx.scipy.ndimage``, or NumPy and ``scipy.ndimage`` in tests; its
        `to_host` converts an array of `xp` to one of NumPy.
    images : (n, rows, columns) array of the device
        Longer than the square in both directions.
    sigma, min_distance, threshold_abs
        As for `detect_nuclei`.
    magnitudes : list of n floats, or of n times None
        Of each image, as for `candidates_by_opencv`.

    Returns
    -------
    list of n times Candidates or None
        As from `candidates_by_opencv`, but for heights, which are rounded in another order. They lead to the same
        peaks.
    """
    xp, ndimage = device.xp, device.ndimage
    _, rows, columns = images.shape
    side = 2 * min_distance + 1
    kernel = xp.asarray(_kernel(sigma))
    margins = np.array([_margin(sigma, magnitude) for magnitude in magnitudes])
    thresholds = xp.asarray(_lower(magnitudes[0], np)(np.float32(threshold_abs), margins))
    margins, lower = xp.asarray(margins), _lower(magnitudes[0], xp)
    smoothed = images.astype(xp.float32)
    for axis in (1, 2):
        smoothed = ndimage.correlate1d(smoothed, kernel, axis=axis, mode="nearest")
    lowest = smoothed
    for axis in (1, 2):
        lowest = ndimage.maximum_filter1d(lowest, side, axis=axis, mode="nearest")
    lower(lowest, margins[:, None, None], out=lowest)
    inside = np.s_[:, min_distance : rows - min_distance, min_distance : columns - min_distance]
    possible = xp.zeros(images.shape, bool)
    possible[inside] = (smoothed >= lowest)[inside]
    possible &= smoothed > thresholds[:, None, None]
    counts = xp.count_nonzero(possible, axis=(1, 2))
    too_many = counts > _room((rows, columns), min_distance)
    possible &= ~too_many[:, None, None]

    positions = xp.flatnonzero(possible)
    smoothed = smoothed.ravel()
    heights = smoothed[positions]
    lows = lower(heights, margins[positions // (rows * columns)])
    alone = xp.zeros(positions.shape, bool)
    steps = xp.arange(-min_distance, min_distance + 1)
    square = (columns * steps[:, None] + steps).ravel()  # from a position to those around it
    at_once = max(1, GATHERED_PX // side**2)
    for begin in range(0, len(positions), at_once):
        part = slice(begin, begin + at_once)
        squares = smoothed[positions[part, None] + square]
        alone[part] = xp.count_nonzero(squares >= lows[part, None], axis=1) == 1

    positions, heights, alone = (device.to_host(array) for array in (positions, heights, alone))
    images, positions = np.divmod(positions, rows * columns)
    coordinates = np.stack(np.divmod(positions, columns), axis=1)
    ends = np.searchsorted(images, np.arange(len(margins) + 1))
    parts = [slice(*bounds) for bounds in zip(ends[:-1], ends[1:], strict=True)]
    return [
        None if many else Candidates(coordinates[part], heights[part], alone[part])
        for many, part in zip(device.to_host(too_many), parts, strict=True)
    ]


def detect_nuclei(
    image: np.ndarray, *, sigma: float = 4, min_distance: int = 6, threshold_abs: float = 1000
) -> np.ndarray:
    """Find bright blobs as local maxima of the smoothed image.

    Parameters
    ----------
    image : (rows, columns) array of any real dtype
        One channel of one field; bright nuclei on a dark ground. Intensities keep their unit.
    sigma : float
        Standard deviation of the Gaussian, in pixels; about half a nucleus's radius.
    min_distance : int
        Half the side of the square, in pixels, in which a peak must be the highest.
    threshold_abs : float
        A peak's smoothed intensity is above this.

    Returns
    -------
    (n, 2) int array
        Row and column of every peak, brightest first: element for element the array that scikit-image's
        ``peak_local_max(gaussian(image, sigma, preserve_range=True), min_distance=min_distance,
        threshold_abs=threshold_abs)`` gives.

    Raises
    ------
    ValueError
        The image is not 2-D, is empty, or holds NaN or infinity.

    Notes
    -----
    OpenCV smooths in float32, as a GPU does. A sum of n products, in any order, is off by at most n u / (1 - n u) of
    the sum of their absolute values, with u = 2**-24 (Higham, Accuracy and Stability of Numerical Algorithms, 2002,
    section 3.1). With rounded pixels and weights, two passes of n = 2 r + 1 taps each, and scikit-image's own rounding
    for float32 images, the smoothed intensity S of an image without negative pixels is known to ``(2 n + 10) u S``;
    with negative pixels, to ``(2 n + 10) u max|image|``. What the bound leaves open (is it the highest, is it above
    the threshold, which of two is brighter) is computed again on that spot in float64, and where even that is too
    close, with SciPy, as scikit-image does. Peaks need no spacing but on plateaus: two that are nearer than
    `min_distance` lie in each other's squares, and as each is the highest in its own, they are equally high. Where
    peaks share a plateau, which scikit-image thins out by a rule of its own, it does the whole image.
    """
    return _detect_among(
        candidates_by_opencv, image, sigma=sigma, min_distance=min_distance, threshold_abs=threshold_abs
    )


def _detect_among(find_candidates, image, *, sigma=4, min_distance=6, threshold_abs=1000):
    """Find the peaks among the candidates of an image, as `detect_nuclei` does: a GPU's way in.

    Parameters
    ----------
    find_candidates : callable
        `candidates_by_opencv`, or `gpu.client.Gpu.candidates`, which leads to the same peaks.
    image, sigma, min_distance, threshold_abs
        As for `detect_nuclei`.
    """
    image = np.asarray(image)
    if image.ndim != 2 or image.size == 0:
        raise ValueError(f"expected a 2-D image with at least one pixel, found shape {image.shape}")
    if image.dtype.kind == "f" and image.dtype.itemsize > 8:
        image = image.astype(np.float64)  # as scikit-image does
    low, high = (0, 1) if image.dtype.kind in "bu" else (float(image.min()), float(image.max()))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("the image holds NaN or infinity")
    coordinates = None
    if (
        np.isscalar(sigma)
        and np.isscalar(threshold_abs)
        and TRUNCATE * sigma >= 0.5
        and isinstance(min_distance, int)  # NumPy's unsigned integers wrap around in scikit-image
        and min_distance >= 1
        and min(image.shape) > 2 * min_distance
        and image.size > (2 * min_distance + 1) ** 2  # there, scikit-image has a rule for constant images
        and max(-low, high) < 1e30  # float32 does not overflow
        and not -1e-20 < threshold_abs < 0  # nor does the threshold become 0
    ):
        # Where float32 could underflow, a bound that is relative to the smoothed intensity would not hold.
        relative = low >= 0 and (image.dtype.kind in "biu" or threshold_abs > 1e-20)
        magnitude = None if relative else max(-low, high, 1e-20)
        options = {"sigma": sigma, "min_distance": min_distance, "threshold_abs": threshold_abs}
        candidates = find_candidates(image, magnitude=magnitude, **options)
        if candidates is not None:
            coordinates = _settled(image, candidates, magnitude=magnitude, **options)
    if coordinates is None:
        coordinates = _by_scikit_image(image, sigma, min_distance, threshold_abs)
    return coordinates


def intensities_at(coordinates: np.ndarray, image: np.ndarray, *, sigma: float) -> np.ndarray:
    """Compute the smoothed intensity at some pixels only.

    Parameters
    ----------
    coordinates : (n, 2) int array
        Rows and columns.
    image : (rows, columns) array
    sigma : float
        As for `detect_nuclei`.

    Returns
    -------
    (n,) float64 array
        Equal to scikit-image's smoothed image there but for the rounding of float64.
    """
    kernel = _kernel(sigma)
    return _patches(image, coordinates, len(kernel) // 2).astype(np.float64) @ kernel @ kernel


def _by_scikit_image(image, sigma, min_distance, threshold_abs):
    """Find the peaks of the whole image with scikit-image."""
    from skimage.feature import peak_local_max  # 0.3 s to import, and few images need it
    from skimage.filters import gaussian

    smoothed = gaussian(image, sigma, preserve_range=True)
    return peak_local_max(smoothed, min_distance=min_distance, threshold_abs=threshold_abs)


def _margin(sigma, magnitude):
    """Return by how much an intensity may seem lower and yet be the same: a factor; with a `magnitude` a difference.

    Each of the two is off by at most `error`; 0.1 of the least error, 16 u, is more than `_lower` rounds by.
    """
    error = (2 * len(_kernel(sigma)) + 10) * UNIT
    return np.float32(1 - 2.1 * error if magnitude is None else 2.1 * error * magnitude)


def _lower(magnitude, xp):
    """Return the function that lowers intensities by their margin."""
    return xp.multiply if magnitude is None else xp.subtract


def _room(shape, min_distance):
    """Return how many peaks an image has room for."""
    return shape[0] * shape[1] / (min_distance + 1) ** 2


def _settled(image, candidates, *, sigma, min_distance, threshold_abs, magnitude):
    """Pick the peaks among the candidates and put them in order; None where peaks share a plateau."""
    kernel = _kernel(sigma)
    margin, lower = _margin(sigma, magnitude), _lower(magnitude, np)
    coordinates, heights, alone = candidates
    doubtful = np.flatnonzero(~alone | (lower(heights, margin) <= np.float32(threshold_abs)))
    if len(doubtful) * (len(kernel) + 2 * min_distance) ** 2 > 4 * image.size:  # more work than all of the image
        return None
    if len(doubtful):
        squares, rounding = _in_float64(image, coordinates[doubtful], sigma, min_distance)
        centres = squares[:, min_distance, min_distance]
        rivals = np.count_nonzero(np.abs(squares - centres[:, None, None]) <= rounding, axis=(1, 2))
        if np.any(rivals > 1) or np.any(np.abs(centres - threshold_abs) <= rounding):
            squares = _by_scipy(image, coordinates[doubtful], sigma, min_distance)
            centres = squares[:, min_distance, min_distance]
        good = (centres == squares.max(axis=(1, 2))) & (centres > threshold_abs)
        peaks = coordinates[doubtful[good]]
        if len(peaks) ** 2 > image.size:
            return None
        distances = np.abs(peaks[:, None] - peaks).max(axis=2)
        if np.count_nonzero(distances < min_distance) > len(peaks):  # more than each peak to itself
            return None
        coordinates = np.delete(coordinates, doubtful[~good], axis=0)
        heights = np.delete(heights, doubtful[~good])

    order = np.argsort(-heights, kind="stable")
    close = heights[order][1:] >= lower(heights[order][:-1], margin)
    unsure = np.zeros(len(order), bool)
    unsure[1:] |= close
    unsure[:-1] |= close
    unsure = order[unsure]
    if len(unsure) * len(kernel) ** 2 > 4 * image.size:
        return None
    heights = heights.astype(np.float64)
    if len(unsure):
        squares, rounding = _in_float64(image, coordinates[unsure], sigma, 0)
        if np.any(np.diff(np.sort(squares, axis=None)) <= rounding):
            squares = _by_scipy(image, coordinates[unsure], sigma, 0)
        heights[unsure] = squares[:, 0, 0]
    return coordinates[np.argsort(-heights, kind="stable")]


def _in_float64(image, coordinates, sigma, reach):
    """Smooth squares around n pixels; return them, and the least difference of values that compare as SciPy's do.

    The squares are (n, 2 reach + 1, 2 reach + 1).
    """
    kernel = _kernel(sigma)
    patches = _patches(image, coordinates, len(kernel) // 2 + reach)
    if patches.dtype.kind == "f" and patches.dtype.itemsize < 8:
        rounding = np.inf  # for these, scikit-image rounds to float32
    else:
        # Twice two computations' errors, each bounded as in `detect_nuclei` with u = 2**-53.
        rounding = 4 * (2 * len(kernel) + 10) * 2.0**-53 * np.abs(patches.astype(np.float64)).max()
    band = sliding_window_view(np.pad(kernel, 2 * reach), patches.shape[1])[::-1]
    return band @ patches.astype(np.float64) @ band.T, rounding


def _by_scipy(image, coordinates, sigma, reach):
    """Smooth squares around n pixels as scikit-image does, to the bit: (n, 2 reach + 1, 2 reach + 1)."""
    from scipy import ndimage  # 0.2 s to import, and few images need it

    radius = len(_kernel(sigma)) // 2
    patches = _patches(image, coordinates, radius + reach)
    if patches.dtype.kind != "f" or patches.dtype.itemsize < 4:
        patches = patches.astype(np.float32 if patches.dtype.kind == "f" else np.float64)
    middle = slice(radius, radius + 2 * reach + 1)
    patches = ndimage.gaussian_filter1d(patches, sigma, axis=1, mode="nearest", truncate=TRUNCATE)[:, middle]
    return ndimage.gaussian_filter1d(patches, sigma, axis=2, mode="nearest", truncate=TRUNCATE)[:, :, middle]


def _patches(image, coordinates, reach):
    """Cut (n, 2 reach + 1, 2 reach + 1) squares around n pixels; beyond the border its pixels are repeated."""
    size = 2 * reach + 1
    patches = np.empty((len(coordinates), size, size), image.dtype)
    for patch, (row, column) in zip(patches, coordinates - reach, strict=True):
        rows, columns = slice(max(row, 0), row + size), slice(max(column, 0), column + size)
        inside = image[rows, columns]
        if inside.shape != patch.shape:
            below, right = row + size - image.shape[0], column + size - image.shape[1]
            beyond = [(max(-row, 0), max(below, 0)), (max(-column, 0), max(right, 0))]
            inside = np.pad(inside, beyond, mode="edge")
        patch[:] = inside
    return patches


def _kernel(sigma):
    """Return the weights of the Gaussian, as SciPy computes them."""
    radius = int(TRUNCATE * sigma + 0.5)
    kernel = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
    return kernel / kernel.sum()
