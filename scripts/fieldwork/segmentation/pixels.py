"""Images as whole numbers, and sums and blurs of them that are exact.

Decisions between nucleus and ground are made with whole numbers, also where OpenCV only knows floats: float32 holds
every integer up to 2**24, so sums that stay below have no rounding, in whatever order, with or without fused
multiplications. Two machines, two numbers of threads and two versions of a library then give the same labels.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

cv2.setNumThreads(1)  # parallelism is processes

LARGEST_FACTOR = 128  # of `box_sums`: 128**2 * 65535 < 2**31
STRIP_PX = 2**16  # of its sums of columns, at once: they stay in the processor's cache
FLOAT_LEVELS = 2**14  # that the middle of a float image's intensities is divided into; four times as many in all
FLOAT_TAIL = 1e-4  # share of pixels at each end that do not count for it: hot and dead ones
FLOAT32_UNITS = 1e-30, 1e30  # steps that float32 images have room for
TYPICAL = 2048  # intensity of a typical nucleus in a working copy
BRIGHTEST = 8 * TYPICAL - 1  # there; 14 bits: what is brighter counts as that
SLIGHT = np.array([6, 20, 6], np.float32)  # sigma 0.61 px; sums of kernels are 32, of two 2**10
NARROW = np.array([1, 7, 16, 7, 1], np.float32)  # sigma 0.83
MEDIUM = np.array([2, 8, 12, 8, 2], np.float32)  # sigma 1
WIDE = np.array([1, 4, 7, 8, 7, 4, 1], np.float32)  # sigma sqrt(2)
KERNEL_SUM = 2**10  # of two kernels, one for rows and one for columns
SUBSET = 16  # of so many values, one tells `dark_of` where to look
OCTAVE = 4096  # of `log_table`


class Pixels(NamedTuple):
    """An image as whole numbers: intensity = offset + unit * value."""

    values: np.ndarray  # (rows, columns) uint8 or uint16
    offset: float
    unit: float


def whole_numbers(image: np.ndarray) -> Pixels:
    """Convert an image of any real type to 8 or 16 bits.

    Images of uint8 and uint16 stay as they are, and other whole numbers that span less than 2**16 only shift, also if
    their type is float. All others are cut into steps of 1 / 16384 of the span of their pixels, without the lowest and
    the highest ten thousandth.

    Parameters
    ----------
    image : (rows, columns) array of bool, integers or floats

    Returns
    -------
    Pixels

    Raises
    ------
    ValueError
        The image has another form, no pixel, pixels that are NaN or infinite, or ones further from each other than
        half of the largest float.
    """
    if image.ndim != 2 or not image.size or image.dtype.kind not in "biuf":
        raise ValueError(
            f"an image of shape {image.shape} and type {image.dtype}; expected rows and columns of numbers"
        )
    if image.dtype.kind == "b":
        image = image.view(np.uint8)
    if image.dtype in (np.uint8, np.uint16):
        return Pixels(np.ascontiguousarray(image, image.dtype.newbyteorder("=")), 0.0, 1.0)
    low, high = image.min(), image.max()
    if image.dtype.kind in "iu" and int(high) - int(low) < 2**16:
        shifted = image.astype(np.int64) - int(low) if image.dtype != np.uint64 else image - low
        return Pixels(np.ascontiguousarray(shifted, np.uint16), float(low), 1.0)
    if not np.isfinite(low) or not np.isfinite(high):
        raise ValueError("an image with pixels that are NaN or infinite; expected numbers")
    image = image.astype(np.float64) if image.dtype == np.float16 else image  # it has no room for what follows
    if not math.isfinite(2 * (float(high) - float(low))):  # `low` comes to lie below the darkest pixel
        raise ValueError(f"an image with pixels from {low:g} to {high:g}; expected a span that a float holds")
    if image.dtype.kind == "f" and float(high) - float(low) < 2**16 and np.array_equal(image, np.rint(image)):
        return Pixels((image - low).astype(np.uint16), float(low), 1.0)
    tail = int(image.size * FLOAT_TAIL)
    ordered = np.partition(image.ravel(), [tail, image.size - 1 - tail])
    low, high = float(ordered[tail]), float(ordered[image.size - 1 - tail])
    if not high > low:
        low, high = float(image.min()), float(image.max())
    unit = (high - low) / FLOAT_LEVELS
    if not unit > 0:
        return Pixels(np.zeros(image.shape, np.uint16), low, 1.0)
    low -= FLOAT_LEVELS * unit / 4  # what is darker than the tail stays darker
    if not FLOAT32_UNITS[0] < unit < FLOAT32_UNITS[1]:
        image = image.astype(np.float64)
    values = np.rint((image - low) / unit)
    return Pixels(np.clip(values, 0, 2**16 - 1).astype(np.uint16), low, unit)


def box_sums(values: np.ndarray, factor: int) -> np.ndarray:
    """Sum the pixels of squares; the last ones of rows and columns are filled up with the image's last pixels.

    Parameters
    ----------
    values : (rows, columns) array of uint8 or uint16
    factor : int
        Side of a square in px, at most `LARGEST_FACTOR`.

    Returns
    -------
    (rows / factor, columns / factor) int32 array
        Rounded up.
    """
    if factor == 1:
        return values.astype(np.int32)
    rows, columns = values.shape
    height = max(1, STRIP_PX // columns) * factor
    sums = np.empty((-(-rows // factor), -(-columns // factor)), np.int32)
    for top in range(0, rows, height):
        strip = values[top : top + height]
        if len(strip) % factor or columns % factor:
            rest = -len(strip) % factor, -columns % factor
            strip = cv2.copyMakeBorder(strip, 0, rest[0], 0, rest[1], cv2.BORDER_REPLICATE)
        tall = strip[::factor].astype(np.int32)
        for row in range(1, factor):
            tall += strip[row::factor]
        part = sums[top // factor :][: len(tall)]
        part[:] = tall[:, ::factor]
        for column in range(1, factor):
            part += tall[:, column::factor]
    return sums


def blurred(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve an image with a kernel in rows and in columns, without rounding.

    Parameters
    ----------
    values : (rows, columns) array of whole numbers from 0 to 16383
        Of any type.
    kernel : (n,) float32 array
        `SLIGHT`, `NARROW`, `MEDIUM` or `WIDE`.

    Returns
    -------
    (rows, columns) float32 array
        `KERNEL_SUM` times the blurred image: whole numbers below 2**24.
    """
    values = values.astype(np.float32, copy=False)  # four times as fast as from uint16
    return cv2.sepFilter2D(values, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REFLECT)


def framed(values: np.ndarray) -> np.ndarray:
    """Return a (rows + 2, columns + 2) copy of an image with zeros around it: every pixel of the image has neighbours.

    Parameters
    ----------
    values : (rows, columns) array of uint8, uint16 or float32
    """
    return cv2.copyMakeBorder(values, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)


def unframed(values: np.ndarray) -> np.ndarray:
    """Return the (rows, columns) view of a framed image without its frame."""
    return values[1:-1, 1:-1]


def unframed_indices(framed: np.ndarray, columns: int) -> np.ndarray:
    """Convert indices in a flat framed image to those in the flat image, which has so many columns."""
    row, column = np.divmod(framed, columns + 2)
    return (row - 1) * columns + column - 1


def averaged(values: np.ndarray, side: int) -> np.ndarray:
    """Return the mean of the square around every pixel, rounded down.

    Parameters
    ----------
    values : (rows, columns) uint16 array
    side : int
        Odd, at most 181.

    Returns
    -------
    (rows, columns) uint16 array
    """
    sums = cv2.boxFilter(values, cv2.CV_32S, (side, side), normalize=False, borderType=cv2.BORDER_REFLECT)
    return (sums // side**2).astype(np.uint16)


def enlarged(values: np.ndarray, factor: int) -> np.ndarray:
    """Enlarge an image by a whole number, linearly between the centres of pixels, in fixed point.

    Parameters
    ----------
    values : (rows, columns) array of uint8 or uint16
    factor : int

    Returns
    -------
    (factor * rows, factor * columns) array of the same type
    """
    if factor == 1:
        return values
    rows, columns = values.shape
    return cv2.resize(values, (columns * factor, rows * factor), interpolation=cv2.INTER_LINEAR_EXACT)


def opened(values: np.ndarray, radius: int) -> np.ndarray:
    """Open an image with a disk: what is narrower than the disk vanishes.

    Parameters
    ----------
    values : (rows, columns) uint16 array
    radius : int
        Of the disk, in px.

    Returns
    -------
    (rows, columns) uint16 array
    """
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    return cv2.morphologyEx(values, cv2.MORPH_OPEN, disk)


def log_table(size: int, constant: int) -> np.ndarray:
    """Return log2(1 + n / constant) for n from 0 to size - 1, in units of 1 / `OCTAVE`, rounded: no rounding is a tie.

    Parameters
    ----------
    size, constant : int

    Returns
    -------
    (size,) uint16 array
    """
    return np.array([round(OCTAVE * math.log2(1 + number / constant)) for number in range(size)], np.uint16)


def quantile_of(counts: np.ndarray, share: float) -> int:
    """Return the lowest value that at least a share of the values do not exceed.

    Parameters
    ----------
    counts : (n,) int array
        Numbers of the values 0 to n - 1.
    share : float
        From 0 to 1.
    """
    total = np.cumsum(counts)
    return int(np.searchsorted(total, share * total[-1]))


def dark_of(values: np.ndarray, share: int) -> float:
    """Return the lowest value of all but the darkest, which are one of so many, as a number of Python's.

    Parameters
    ----------
    values : (n,) array of any real type
    share : int
        Of so many values, one is left out.
    """
    every, place = values[::SUBSET], len(values) // share
    bound = np.partition(every, 2 * len(every) // share)[2 * len(every) // share]
    low = values[values <= bound]  # NumPy takes three times as long to order them all
    return np.partition(low if len(low) > place else values, place)[place].item()


def rounded(value: float) -> float:
    """Round to three significant digits."""
    return float(f"{value:.3g}")
