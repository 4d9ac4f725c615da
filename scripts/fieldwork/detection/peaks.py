"""Find the nuclei of an image as peaks, in the form in which fields and frames keep them."""

from collections.abc import Callable

import numpy as np

from fieldwork import nuclei


def find_peaks(
    image: np.ndarray, detection: dict, *, detect: Callable[..., np.ndarray] = nuclei.detect_nuclei
) -> dict[str, np.ndarray]:
    """Find the peaks of an image, and how bright they are.

    Parameters
    ----------
    image : (rows, columns) array
    detection : dict
        Keyword arguments of `nuclei.detect_nuclei`, beside ``method``.
    detect : callable
        `nuclei.detect_nuclei`, or the same on a device.

    Returns
    -------
    dict of str to array
        ``coordinates``, (n, 2) rows and columns, brightest first, and ``intensities``, (n,), smoothed.
    """
    arguments = {key: value for key, value in detection.items() if key != "method"}
    coordinates = detect(image, **arguments)
    intensities = nuclei.intensities_at(coordinates, image, sigma=arguments["sigma"])
    return {"coordinates": coordinates, "intensities": intensities}
