"""Find what a typical nucleus of a plate is like: its diameter and its contrast."""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from fieldwork.segmentation import blobs, pixels

COARSE_SIDE_PX = 640  # of the copy that is searched
LARGE_FACTOR = 4  # pixels of an image per pixel of that copy, from which on it may hide small nuclei
SURE_DIAMETER_PX = 5  # in that copy: smaller nuclei may be several, or noise
PART_SHARE, PART_POSITIONS = 4, ((2, 2), (1, 1), (1, 3), (3, 1), (3, 3))  # of a large image, in quarters of the way
SAMPLE_SIDE = 256  # pixels in rows and in columns that tell the spread of intensities
LEAST_CONTRAST = 14  # times the noise; nuclei have more
LEAST_SKEW = 0.3  # of blurred intensities; noise has none, nuclei on a dark ground have more
SMALLEST_DIAMETER_PX = 7  # of blobs
LEAST_DIAMETER_PX = 6  # as measured; hot pixels are smaller
LARGEST_DIAMETER = 0.4  # of the image's shorter side
WIDTHS = (1, 4, 10, 16, 19, 16, 10, 4, 1)  # of bins, to smooth a histogram; applied twice
NEAR_BINS = 14  # blobs of about the typical diameter
LOG_NOISE, LOG_SPREAD = 12, 0.01  # where the log turns logarithmic: times the noise, and of the spread of intensities
OCTAVE_DIAMETER_PX = 3.4  # of the blobs that the difference of an octave and the next is largest for
QUANTISED = 0.29  # standard deviation of what rounding takes away
LAPLACIAN_NOISE = 1.4826 / math.sqrt(20)  # standard deviation of pixels per median of |Laplacian|


class Calibration(NamedTuple):
    """A typical nucleus of a plate; all numbers have three significant digits.

    Attributes
    ----------
    diameter : float or None
        In px; None where no nucleus was seen.
    contrast : float or None
        Intensity above the background; None likewise.
    noise : float
        Standard deviation of a pixel of the coarse copy, in intensity.
    softness : float or None
        Width of a typical nucleus's edge, in radii; None where no nucleus was seen.
    background : float or None
        Intensity; None where nothing was measured.
    dark : bool
        Dark nuclei on a bright ground were seen: nothing is counted.
    """

    diameter: float | None
    contrast: float | None
    noise: float
    softness: float | None = None
    background: float | None = None
    dark: bool = False


class Sample(NamedTuple):
    """What one image says of its plate's nuclei."""

    diameter: float | None  # px, of this image alone; None where it has no nuclei
    contrast: float | None
    noise: float
    background: float
    has_nuclei: bool
    is_dark: bool  # dark nuclei on a bright ground
    blobs: blobs.Blobs  # bright ones
    unit: float  # intensity per step of the blobs' heights
    largest_px: float  # diameter that the image has room for


def calibrate(images: Iterable[np.ndarray]) -> Calibration:
    """Find what a typical nucleus is like in a sample of a plate's images.

    Parameters
    ----------
    images : iterable of (rows, columns) arrays of any real type

    Returns
    -------
    Calibration
    """
    return calibration_of([measure_sample(image) for image in images])


def calibration_of(
    samples: Sequence[Sample], *, diameter: float | None = None, contrast: float | None = None
) -> Calibration:
    """Find what a typical nucleus is like from what images say.

    Parameters
    ----------
    samples : sequence of Sample
    diameter, contrast : float, optional
        Known ones, which are taken as they are.

    Returns
    -------
    Calibration
        Without diameter and contrast where no image shows nuclei, or where more images show dark nuclei on a bright
        ground than bright ones.
    """
    nothing = Calibration(
        None,
        None,
        pixels.rounded(_middle([sample.noise for sample in samples], 0.0)),
        background=pixels.rounded(_middle([sample.background for sample in samples], 0.0)),
    )
    showing = [sample for sample in samples if sample.has_nuclei]
    if sum(sample.is_dark for sample in samples) > len(showing):
        return nothing._replace(dark=True)
    if diameter is not None and contrast is not None:
        nothing = nothing._replace(diameter=pixels.rounded(diameter), contrast=pixels.rounded(contrast))
    elif not showing and diameter is None and contrast is None:
        return nothing
    typical = _typical(showing or samples, nothing, diameter, contrast)
    if contrast is None and typical.contrast is not None and not typical.contrast > LEAST_CONTRAST * typical.noise:
        return nothing
    return typical


def _middle(values, default):
    return sorted(values)[len(values) // 2] if values else default


def _typical(samples, nothing, diameter, contrast):
    """Return the calibration by the blobs of samples; diameter and contrast stay as they are unless None."""
    modal = _modal_bin(samples) if diameter is None else blobs.bin_of(diameter)
    if modal is None:
        return nothing
    near = [abs(sample.blobs.bins - modal) <= NEAR_BINS for sample in samples]
    weights = np.concatenate([sample.blobs.weights[chosen] for sample, chosen in zip(samples, near, strict=True)])
    if not len(weights):
        return nothing
    widths = np.concatenate([sample.blobs.widths[chosen] for sample, chosen in zip(samples, near, strict=True)])
    heights = [sample.blobs.heights[chosen] * sample.unit for sample, chosen in zip(samples, near, strict=True)]
    inner, middle, outer = (int(_weighted_median(values, weights)) for values in widths.T)
    if diameter is None:
        diameter = max(middle / blobs.STEP, 1.0)
    if contrast is None:
        contrast = float(_weighted_median(np.concatenate(heights), weights))
    return nothing._replace(
        diameter=pixels.rounded(diameter),
        contrast=pixels.rounded(contrast),
        softness=pixels.rounded((outer - inner) / max(middle, 1)),
    )


def _modal_bin(samples):
    """Return the bin of the blobs of most weight, of diameters that nuclei can have; None without any."""
    counts = np.zeros(blobs.LAST_BIN + 1, np.int64)
    for sample in samples:
        least, most = blobs.bin_of(SMALLEST_DIAMETER_PX), blobs.bin_of(max(1.0, sample.largest_px))
        fits = (sample.blobs.bins >= least) & (sample.blobs.bins <= most)
        np.add.at(counts, sample.blobs.bins[fits], sample.blobs.weights[fits])
    pooled = (counts >> 10) * blobs.size_weights()
    if not pooled.any():
        return None
    pooled >>= max(0, int(pooled.max()).bit_length() - 40)  # room for the sums
    for _ in range(2):
        pooled = np.convolve(pooled, WIDTHS, "same")
    return int(pooled.argmax())


def _weighted_median(values, weights):
    order = np.lexsort((weights, values))
    total = np.cumsum(weights[order])
    return values[order][np.searchsorted(total, (total[-1] + 1) // 2)]


def measure_sample(image: np.ndarray) -> Sample:
    """Measure what one image says of its plate's nuclei.

    Parameters
    ----------
    image : (rows, columns) array of any real type

    Returns
    -------
    Sample
    """
    return _sample_of(pixels.whole_numbers(image))


def _sample_of(source):
    """Return what an image says, or, of a large one with smaller nuclei than its coarse copy shows, a part of it."""
    shape = source.values.shape
    factor = min(-(-max(shape) // COARSE_SIDE_PX), pixels.LARGEST_FACTOR)
    sums = pixels.box_sums(source.values, factor)
    scale = _Scale(factor, source.unit / factor**2, source.offset, LARGEST_DIAMETER * min(shape))
    sample, skews = _measured(sums, scale)
    if not sample.has_nuclei and min(skews, default=0.0) < -LEAST_SKEW:
        negative, _ = _measured(int(sums.max()) - sums, scale)
        sample = sample._replace(is_dark=negative.has_nuclei)
    if factor < LARGE_FACTOR or sample.is_dark or sample.has_nuclei and sample.diameter >= SURE_DIAMETER_PX * factor:
        return sample
    parts = [_sample_of(source._replace(values=part)) for part in _parts(source.values)]
    clear = [part for part in parts if part.has_nuclei]
    return max(clear, key=lambda part: part.blobs.weights.sum(), default=sample)


def _parts(values):
    """Return five parts of an image, in the middle and towards its corners, a quarter as high and as wide."""
    sides = [-(-side // PART_SHARE) for side in values.shape]
    starts = [
        [(side - part) * share // 4 for share in range(5)] for side, part in zip(values.shape, sides, strict=True)
    ]
    corners = [(starts[0][row], starts[1][column]) for row, column in PART_POSITIONS]
    return [values[row : row + sides[0], column : column + sides[1]] for row, column in corners]


class _Scale(NamedTuple):
    """What turns sums of squares of pixels into an image's units."""

    factor: int  # side of the squares in px
    unit: float  # intensity per step of a sum
    offset: float  # intensity where it is 0
    largest_px: float  # diameter of nuclei that the image has room for


def _measured(sums, scale):
    """Return what an image says of bright nuclei, and the skewness of its octaves."""
    noise = _noise(sums, scale.factor)
    values, low, step, spread = _scaled(sums, noise)
    constant = round(max(LOG_NOISE * noise, LOG_SPREAD * spread) / step)
    octaves = blobs.octaves_of(values, min(max(1, constant), 2**14 - 1))
    skews = [_skew(finer, coarser) for finer, coarser in itertools.pairwise(octaves)]
    sample = Sample(
        None,
        None,
        noise * scale.unit,
        scale.offset + low * scale.unit,
        False,
        False,
        blobs.bright(octaves, scale.factor),
        step * scale.unit,
        scale.largest_px,
    )
    typical = _typical([sample], Calibration(None, None, sample.noise), None, None)
    if typical.diameter is not None and _are_nuclei(typical, skews, scale.factor):
        sample = sample._replace(diameter=typical.diameter, contrast=typical.contrast, has_nuclei=True)
    return sample, skews


def _are_nuclei(typical, skews, factor):
    """Return True if blobs are wide and high enough, and rise above their ground more than gaps fall below it."""
    octave = max(0, round(math.log2(typical.diameter / factor / OCTAVE_DIAMETER_PX)))
    near = skews[max(0, octave - 1) : octave + 1]
    return (
        typical.diameter >= LEAST_DIAMETER_PX
        and typical.contrast > LEAST_CONTRAST * typical.noise
        and max(near, default=0.0) >= LEAST_SKEW
    )


def _skew(finer, coarser):
    """Return the skewness of the difference of two octaves: how much more blobs rise above their ground than below."""
    differences = (blobs.halved(finer.smooth) - coarser.smooth).astype(np.int32)
    counts = np.bincount(np.abs(differences).ravel())
    signed = np.bincount(np.maximum(differences, 0).ravel(), minlength=len(counts)) * 2 - counts
    levels = np.arange(len(counts), dtype=np.int64)
    square, cube = int((counts * levels**2).sum()), int((signed * levels**3).sum())
    if not square:
        return 0.0
    square, cube = square / differences.size, cube / differences.size
    return cube / (square * math.sqrt(square))


def _noise(sums, factor):
    """Return the standard deviation of noise, from the darker half of the image."""
    centre = sums[1:-1:2, 1:-1:2]
    if not centre.size:
        return QUANTISED * factor
    details = 4 * centre.astype(np.int64)
    for side in (sums[:-2:2, 1:-1:2], sums[2::2, 1:-1:2], sums[1:-1:2, :-2:2], sums[1:-1:2, 2::2]):
        details -= side
    middle = np.partition(centre.ravel(), centre.size // 2)[centre.size // 2]
    details = np.abs(details[centre <= middle])
    detail = int(np.partition(details, len(details) // 2)[len(details) // 2])
    return max(detail * LAPLACIAN_NOISE, QUANTISED * factor)


def _scaled(sums, noise):
    """Return the image in 14 bits, the sum where these are 0, the sum per step, and the spread of sums.

    The brightest pixels, of which there are few, may be cut off.
    """
    sample = np.sort(sums[:: 1 + sums.shape[0] // SAMPLE_SIDE, :: 1 + sums.shape[1] // SAMPLE_SIDE].ravel())
    low, high = int(sample[len(sample) // 20]), int(sample[int(0.999 * (len(sample) - 1))])
    step = max(noise / 4, (high - low) / 2**12, (int(sums.max()) - low) / 2**17)
    values = np.rint((sums - low).astype(np.float32) * np.float32(1 / step))
    return np.clip(values, 0, 2**14 - 1).astype(np.uint16), low, step, high - low
