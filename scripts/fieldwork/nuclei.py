"""Nuclei: bright blobs found as local maxima of the smoothed image."""

import numpy as np
from skimage.feature import peak_local_max
from skimage.filters import gaussian


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
        Row and column of every peak, brightest first; the array that scikit-image's
        ``peak_local_max(gaussian(image, sigma, preserve_range=True), ...)`` gives.

    Raises
    ------
    ValueError
        The image is not 2-D, is empty, or holds NaN or infinity.
    """
    return find_peaks(image, sigma=sigma, min_distance=min_distance, threshold_abs=threshold_abs)[0]


def find_peaks(image, *, sigma, min_distance, threshold_abs):
    """Find nuclei and the smoothed intensity at each of them.

    Parameters
    ----------
    image, sigma, min_distance, threshold_abs
        As for `detect_nuclei`.

    Returns
    -------
    coordinates : (n, 2) int array
        As from `detect_nuclei`.
    intensities : (n,) float64 array
        Smoothed intensity of each peak, in the image's unit.

    Raises
    ------
    ValueError
        As for `detect_nuclei`.
    """
    image = np.asarray(image)
    if image.ndim != 2 or image.size == 0:
        raise ValueError(f"expected a 2-D image with at least one pixel, found shape {image.shape}")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise ValueError("the image holds NaN or infinity")
    smoothed = gaussian(image, sigma, preserve_range=True)
    coordinates = peak_local_max(smoothed, min_distance=min_distance, threshold_abs=threshold_abs)
    return coordinates, smoothed[tuple(coordinates.T)].astype(np.float64)
