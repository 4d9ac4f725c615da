"""Nuclei: bright blobs found as local maxima of the smoothed image, exactly as scikit-image finds them, but faster."""

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

cv2.setNumThreads(1)  # parallelism is processes

UNIT = 2.0**-24  # unit roundoff of float32
TRUNCATE = 4.0  # standard deviations, scikit-image's default


def detect_nuclei(image, *, sigma=4, min_distance=6, threshold_abs=1000):
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
    OpenCV smooths in float32. A sum of n products, in any order, is off by at most n u / (1 - n u) of the sum of
    their absolute values, with u = 2**-24 (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1).
    With rounded pixels and weights, two passes of n = 2 r + 1 taps each, and scikit-image's own rounding for float32
    images, the smoothed intensity S of an image without negative pixels is known to ``(2 n + 10) u S``; with negative
    pixels, to ``(2 n + 10) u max|image|``. What the bound leaves open (is it the highest, is it above the threshold,
    which of two is brighter) is computed again on that spot in float64, and where even that is too close, with SciPy,
    as scikit-image does. Where peaks share a plateau, which scikit-image thins out by a rule of its own, it does the
    whole image.
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
        coordinates = _by_opencv(image, sigma, min_distance, threshold_abs, magnitude)
    if coordinates is None:
        coordinates = _by_scikit_image(image, sigma, min_distance, threshold_abs)
    return coordinates


def intensities_at(coordinates, image, *, sigma):
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
    from skimage.feature import peak_local_max  # 0.3 s to import, and few images need it
    from skimage.filters import gaussian

    smoothed = gaussian(image, sigma, preserve_range=True)
    return peak_local_max(smoothed, min_distance=min_distance, threshold_abs=threshold_abs)


def _by_opencv(image, sigma, min_distance, threshold_abs, magnitude):
    """Do as `detect_nuclei` says; None where peaks share a plateau. `magnitude`: bound errors by it, not by S."""
    kernel = _kernel(sigma)
    error = (2 * len(kernel) + 10) * UNIT
    pixels = image.astype(np.float32, order="C")
    smoothed = cv2.sepFilter2D(pixels, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)

    def lowered(values, out=None):
        """The least that an intensity may seem to be and yet be as high as these; and a little less.

        Each of the two is off by at most `error`; 0.1 of the least error, 16 u, is more than this rounds by.
        """
        if magnitude is None:
            return np.multiply(values, np.float32(1 - 2.1 * error), out=out)
        return np.subtract(values, np.float32(2.1 * error * magnitude), out=out)

    square = np.ones((2 * min_distance + 1,) * 2, np.uint8)
    lowest = cv2.dilate(smoothed, square, dst=pixels)
    lowered(lowest, out=lowest)
    candidates = np.flatnonzero(smoothed >= lowest)
    threshold = np.float32(threshold_abs)
    candidates = candidates[smoothed.ravel()[candidates] > lowered(threshold)]
    coordinates = np.stack(np.divmod(candidates, image.shape[1]), axis=1)
    inside = (coordinates >= min_distance) & (coordinates < np.array(image.shape) - min_distance)
    coordinates = coordinates[inside.all(axis=1)]  # as scikit-image's exclude_border
    if len(coordinates) > image.size / (min_distance + 1) ** 2:  # more than there is room for peaks: a plateau
        return None

    heights = smoothed[tuple(coordinates.T)]
    lows = lowered(heights)
    squares = sliding_window_view(smoothed, square.shape)[tuple(coordinates.T - min_distance)]
    rivals = np.count_nonzero(squares >= lows[:, None, None], axis=(1, 2))
    doubtful = np.flatnonzero((rivals > 1) | (lows <= threshold))
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
        apart = np.abs(peaks[:, None] - peaks).max(axis=2)
        if np.count_nonzero(apart < min_distance) > len(peaks):  # more than each to itself
            return None
        coordinates = np.delete(coordinates, doubtful[~good], axis=0)
        heights = np.delete(heights, doubtful[~good])

    order = np.argsort(-heights, kind="stable")
    close = heights[order][1:] >= lowered(heights[order][:-1])
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
    """Smooth (n, 2 reach + 1, 2 reach + 1) around n pixels; and how far apart values must be to compare as SciPy's."""
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
    """Smooth as scikit-image does, to the bit: (n, 2 reach + 1, 2 reach + 1) around n pixels."""
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
    """Weights of the Gaussian, as SciPy computes them."""
    radius = int(TRUNCATE * sigma + 0.5)
    kernel = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
    return kernel / kernel.sum()
