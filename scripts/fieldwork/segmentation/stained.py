"""What images of stained tissue say of its nuclei: between nuclei lies no ground, but fibres, cells and noise."""

import math

import numpy as np

from fieldwork.segmentation import blobs, calibration
from fieldwork.segmentation.calibration import Sample

# Tuned on colour fields of BBBC038 and on what readers counted in a slide of OpenSlide's test data.
LEAST_SHARE = 0.3  # of the highest blob: less high ones are chromatin, fibres or noise
LEAST_DENSITY = 0.03  # optical density of a typical nucleus above what is around it
SMALLEST_UM, LARGEST_UM = 6, 20  # diameters of typical nuclei
SIZE_EXPONENT = 0.5  # of a blob's weight, beyond that of `blobs.DIAMETER_EXPONENT`: tissue has small blobs everywhere


def without_texture(sample: Sample, *, least_contrast: float, mpp: float | None) -> Sample:
    """Return what an image of stained tissue says of its nuclei, without the blobs that are none.

    Parameters
    ----------
    sample : Sample
        From `segmentation.measure_sample`, of an image of densities that was blurred.
    least_contrast : float
        Of a typical nucleus, in the image's unit.
    mpp : float or None
        Micrometres per pixel, by which diameters are bounded; None where they are not known.

    Returns
    -------
    Sample
        Never dark: gaps between fibres look like dark nuclei.
    """
    found = sample.blobs
    usable = found.bins >= blobs.bin_of(calibration.SMALLEST_DIAMETER_PX)
    if mpp:
        usable &= (found.bins >= blobs.bin_of(SMALLEST_UM / mpp)) & (found.bins <= blobs.bin_of(LARGEST_UM / mpp))
    highest = found.heights[usable].max(initial=0)
    chosen = usable & (found.heights >= LEAST_SHARE * highest)
    sizes = np.rint(2.0 ** (SIZE_EXPONENT * found.bins / blobs.BINS)).astype(np.int64)
    found = blobs.Blobs(*(values[chosen] for values in found._replace(weights=found.weights * sizes)))
    nothing = sample._replace(blobs=found, diameter=None, contrast=None, has_nuclei=False, is_dark=False)
    typical = calibration.calibration_of([nothing._replace(has_nuclei=True)])
    if typical.diameter is None or typical.contrast < least_contrast:
        return nothing
    return nothing._replace(diameter=typical.diameter, contrast=typical.contrast, has_nuclei=True)


def bounded(diameter: float, mpp: float | None) -> float:
    """Return the diameter of a typical nucleus in px, within what nuclei have in micrometres."""
    if not mpp:
        return diameter
    return min(max(diameter, math.ceil(SMALLEST_UM / mpp)), LARGEST_UM / mpp)
