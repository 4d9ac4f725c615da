"""Measure the quality of an image as CellProfiler's MeasureImageQuality does."""

import functools
import math

import numpy as np

COLUMNS = (
    "PowerLogLogSlope",
    "PercentMaximal",
    "MeanIntensity",
    "MedianIntensity",
    "StdIntensity",
    "MinIntensity",
    "MaxIntensity",
)


LEAST_SIDE_PX = 32  # of an image whose slope can be told
PART_PX = 2**24  # of a large image that are taken at once: copies of all would be most of a job's memory


def sharpness(image: np.ndarray) -> float:
    """Return `measure_image`'s ``PowerLogLogSlope``, which is lower where blurred; of a constant image the least.

    Parameters
    ----------
    image : (rows, columns) array of any real dtype
        Without NaN or infinity, and with `LEAST_SIDE_PX` in both directions.
    """
    return _power_slope(image) if image.min() < image.max() else -math.inf


def contrast(image: np.ndarray) -> float:
    """Return the standard deviation of an image beyond that of white noise, by which neighbours in a row differ.

    Parameters
    ----------
    image : (rows, columns) array of any real dtype
        Without NaN or infinity, and with two columns or more.
    """
    mean = image.mean(dtype=np.float64)
    reach = max(image.max() - mean, mean - image.min()) or 1  # so that squares of 1e200 are numbers
    squares = steps = 0.0
    for part in _parts(image):
        values = (part - mean) / reach
        squares += (values**2).mean() * len(part)
        steps += (np.diff(values, axis=1) ** 2).mean() * len(part)
    return float(reach * math.sqrt(max(0, squares - steps / 2) / len(image)))


def measure_image(image: np.ndarray) -> dict[str, float]:
    """Measure blur, saturation and intensity as CellProfiler's MeasureImageQuality defines them.

    Parameters
    ----------
    image : (rows, columns) array of any real dtype
        One channel of one field, without NaN or infinity.

    Returns
    -------
    dict of str to float
        One figure for each of `COLUMNS`, in that order. ``PowerLogLogSlope``: least-squares slope of
        log(power) on log(radius) of the power spectrum, lower where blurred; 0 for a constant image and
        where the short side is under 32 px. ``PercentMaximal``: percentage of pixels that equal the maximum.
        Intensities are in the image's own unit: CellProfiler's are these divided by the dtype's range
        (65535 for uint16). ``StdIntensity`` is the population's.

    Raises
    ------
    ValueError
        The image is not 2-D, or has no pixels.

    Notes
    -----
    Sources: CellProfiler 4, ``modules/measureimagequality.py``; centrosome, ``radial_power_spectrum.py``. One
    difference: where over half of the pixels equal the mean, centrosome divides by zero and CellProfiler
    writes 0; here the slope is computed all the same.
    """
    image = np.asarray(image)
    if image.ndim != 2 or image.size == 0:
        raise ValueError(f"found an image of shape {image.shape}; expected (rows, columns), not empty")
    size, lowest, highest = image.size, image.min().item(), image.max().item()
    if np.can_cast(image.dtype, np.intp) and highest - lowest < 2**16:  # a histogram gives the rest, exactly
        levels = highest - lowest + 1
        counts = sum(np.bincount(rows.ravel().astype(np.intp) - lowest, minlength=levels) for rows in _parts(image))
        steps = np.arange(counts.size)
        total, squares = int(counts @ steps), int(counts @ steps**2)  # below 2**63 up to 2**31 pixels
        middle = np.searchsorted(np.cumsum(counts), [(size - 1) // 2, size // 2], side="right")
        maximal, median = int(counts[-1]), lowest + int(middle.sum()) / 2
        mean, deviation = (lowest * size + total) / size, math.sqrt((size * squares - total**2) / size**2)
    else:
        maximal, median = np.count_nonzero(image == highest), np.median(image)
        mean, deviation = image.mean(dtype=np.float64), image.std(dtype=np.float64)
    slope = _power_slope(image) if highest > lowest else 0
    figures = slope, 100 * maximal / size, mean, median, deviation, lowest, highest
    return dict(zip(COLUMNS, map(float, figures), strict=True))


def _power_slope(image):
    """Return the slope of log(power) on log(radius) of a (rows, columns) image that is not constant."""
    from scipy import fft  # 0.1 s to import, so only where it is used

    reach = min(image.shape) // 8  # radii 2 .. reach - 1: beyond, the image's borders dominate (centrosome)
    if reach < 4:  # fewer than two radii
        return 0.0
    # Only the corners of low frequency count: an eighth of the columns, then an eighth of the rows.
    by_rows = np.empty((len(image), reach), np.complex128)
    for part, rows in zip(_parts(image), _parts(by_rows, image.shape[1]), strict=True):
        rows[:] = fft.rfft(part.astype(np.float64, copy=False), axis=1, workers=1)[:, :reach]
    low = np.r_[0:reach, 1 - reach : 0]
    spectrum = np.concatenate([fft.fft(part.T, axis=0, workers=1)[low] for part in _parts(by_rows.T)], axis=1)
    # Column -k of a real image's spectrum is the conjugate of column k, with rows i and -i swapped.
    right, left = spectrum[:, :-1], np.roll(spectrum[::-1, 1:], 1, axis=0)
    ends = np.r_[0 : reach - 1, 1 - reach : 0]
    corners = np.abs(np.concatenate((right[ends], left[ends]), axis=1)).ravel()
    corners /= corners.max() or 1  # the slope has no unit; the power of 1e200 has no float
    power = np.bincount(_radii(reach), weights=corners**2)[2:reach]
    valid = power > 0
    if np.count_nonzero(valid) < 2:
        return 0.0
    x, y = np.log(np.arange(2, reach)[valid]), np.log(power[valid])
    x -= x.mean()
    return (x * y).sum() / (x * x).sum()


def _parts(image, width=None):
    """Return parts of an image, some rows each, so that what is made of them takes little memory."""
    at_once = max(1, PART_PX // (width or image.shape[1]))
    return [image[start : start + at_once] for start in range(0, len(image), at_once)]


@functools.lru_cache(maxsize=8)  # by the size of the image; a plate has one size
def _radii(reach):
    """Return the radius of each value of the corners, flat.

    Rows 0, 1, .., -2, -1; columns 0, 1, .., then -1, -2, ..
    """
    steps = np.arange(reach - 1)
    # As in centrosome, which mirrors 0 .. n-1 onto n-1 .. 0, so that frequency -1 counts as 0, -2 as 1.
    squares = np.r_[steps, steps[::-1]][:, None] ** 2 + np.r_[steps, steps] ** 2
    return np.sqrt(squares).astype(np.intp).ravel() + 1
