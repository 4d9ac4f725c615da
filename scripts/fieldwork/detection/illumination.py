"""The illumination of a channel, found in a sample of its images; and images corrected by it.

After CellProfiler 4's CorrectIlluminationCalculate ("Regular", median filter; correctilluminationcalculate.py of its
source), whose function is the mean of all images, smoothed and divided by a low percentile, and to be divided by. Some
things differ, as a mean of up to 96 fields shows single nuclei, and a wide median filter levels the corners:

- In place of the mean of the images stands their median, cell by cell of a coarse copy: what most fields show there,
  wherever nuclei happen to lie. Only where most fields are dark, the mean counts.
- Where nuclei contradict the ground, as it is the camera's offset, their own intensities count (`light_of_nuclei`).
- The filter works on the ratio to a polynomial of second degree, so that it may be wide and changes no slope.

The function is divided by its minimum: it has no outliers, and CellProfiler's percentile would leave the darkest 2 % of
the pixels, which are the corners, too dark.
"""

import functools
import hashlib
import math
import os
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fieldwork import InputError, outputs

CELLS = 64  # of the coarse copy, along the shorter side of the image
LEAST_SIDE_PX = 32  # of images that have a function
TILES = 12  # along the shorter side, whose medians the polynomial goes through
ZONES = 6  # in rows and in columns, whose nuclei have a median intensity
LEAST_NUCLEI = 200  # that tell the light
FILTER_SHARE = 1 / 8  # of the shorter side: width of the median filter
BLUR_CELLS = 2  # half the width of the box that smooths its steps
DARK_SHARE = 0.05  # of the mean: what most fields show is no light where it is less
LEAST_LIGHT = 0.1  # of the brightest place; what is darker counts as that
SURE_SHARE = 0.95  # of the image, where a function is as certain as it is said to be
MANTISSA_BITS = 40  # of whole numbers that stand for sums of floats


class UncorrectedError(ValueError):
    """An image cannot be corrected; the message is the reason."""


class StoredFunction(NamedTuple):
    """The illumination function of a channel, in a file."""

    path: str  # .npy: (rows, columns) float32, from 1
    digest: str  # from `digest_of`


class Correction(NamedTuple):
    """How images are corrected before nuclei are found and measured in them."""

    nuclei: str = "DNA"  # name of the nuclei channel
    background: float | None = None  # percentile of each image that is subtracted
    functions: dict[str, StoredFunction] | None = None  # channel -> function; None: illumination is not corrected


NO_CORRECTION = Correction()


def cell_sums(image: np.ndarray) -> np.ndarray:
    """Sum the pixels of square cells, of which `CELLS` or some more lie along the shorter side.

    Parameters
    ----------
    image : (rows, columns) array of any real type

    Returns
    -------
    (r, c) array of int64, or of float64 where the image has floats
        Without the last rows and columns of pixels that fill no cell. Sums have one order on every machine.
    """
    side = _cell_side(image.shape)
    rows, columns = (length // side * side for length in image.shape)
    kind = np.int64 if image.dtype.kind in "biu" and image.dtype != np.uint64 else np.float64
    tall = np.zeros((rows // side, columns), kind)
    for row in range(side):
        tall += image[row:rows:side, :columns]
    sums = np.zeros((rows // side, columns // side), kind)
    for column in range(side):
        sums += tall[:, column::side]
    return sums


def _cell_side(shape):
    return max(1, min(shape) // CELLS)


class Light(NamedTuple):
    """The light in the cells of a coarse copy, in any unit."""

    trend: tuple[float, ...]  # coefficients of 1, x, y, x**2, x * y, y**2; x and y count half cells from the middle
    ratios: np.ndarray  # (r, c) float64: to this polynomial
    source: str  # what it is the light of: most fields, the mean of all, nuclei


def light_of(cells: np.ndarray) -> Light | None:
    """Find the light in coarse copies of images.

    Parameters
    ----------
    cells : (n, r, c) array
        From `cell_sums`.

    Returns
    -------
    Light or None
        None where the images are dark.
    """
    from scipy.ndimage import median_filter  # 0.2 s to import, and jobs that only correct have no need of it

    cells = _whole_numbers(cells)
    ordered = np.sort(cells, axis=0)
    typical = ordered[(len(cells) - 1) // 2] + ordered[len(cells) // 2]
    mean = 2 * cells.sum(axis=0) // len(cells)
    is_typical = typical.sum() > DARK_SHARE * mean.sum()
    light, source = (typical, "most fields") if is_typical else (mean, "the mean of all")
    trend = _polynomial(light)
    values = _evaluated(trend, *map(_half_cells, light.shape))
    brightest = values.max()
    if not brightest > 0:
        return None
    values = np.maximum(values, LEAST_LIGHT * brightest)
    width = 2 * math.floor(FILTER_SHARE * min(light.shape) / 2) + 1
    return Light(trend, _blurred(median_filter(light / values, size=width, mode="reflect")), source)


def _whole_numbers(cells):
    """Convert sums to int64 so that no further sum or median rounds, by a power of two."""
    _, exponent = math.frexp(float(np.abs(cells).max()))
    return np.rint(np.ldexp(cells.astype(np.float64), MANTISSA_BITS - exponent)).astype(np.int64)


def _half_cells(count):
    """Return the distances of so many cells from their middle, in half cells."""
    return np.arange(1 - count, count, 2)


def _polynomial(light):
    """Fit a polynomial of second degree to the medians of tiles: least squares, solved exactly."""
    side = max(1, min(light.shape) // TILES)
    places, medians = [], []
    rows, columns = light.shape
    for top in range(0, rows - side + 1, side):
        for left in range(0, columns - side + 1, side):
            tile = np.sort(light[top : top + side, left : left + side], axis=None)
            x, y = (2 * first + side - count for first, count in ((left, columns), (top, rows)))
            places.append((x, y))
            medians.append(int(tile[len(tile) // 2]))
    return _fitted(places, medians, [1] * len(places))


def _fitted(places, values, weights):
    """Return the coefficients of the polynomial of second degree through weighted values, by exact least squares."""
    terms = [(1, x, y, x * x, x * y, y * y) for x, y in places]
    equations = [
        [
            Fraction(sum(weight * term[i] * term[j] for term, weight in zip(terms, weights, strict=True)))
            for j in range(6)
        ]
        + [Fraction(sum(weight * term[i] * value for term, value, weight in zip(terms, values, weights, strict=True)))]
        for i in range(6)
    ]
    for i in range(6):
        equations[i] = [number / equations[i][i] for number in equations[i]]
        for j in range(6):
            if j != i:
                factor = equations[j][i]
                equations[j] = [number - factor * own for number, own in zip(equations[j], equations[i], strict=True)]
    return tuple(float(equation[-1]) for equation in equations)


def light_of_nuclei(rows: np.ndarray, columns: np.ndarray, values: np.ndarray, shape: tuple[int, int]) -> Light | None:
    """Find the light by the intensities of nuclei: a polynomial through the medians of zones, where their nuclei lie.

    Parameters
    ----------
    rows, columns : (n,) array
        Positions, in px.
    values : (n,) float64 array
        Mean intensities.
    shape : (int, int)
        Of the images.

    Returns
    -------
    Light or None
        None where there are less than `LEAST_NUCLEI`, or zones without nuclei, or dark nuclei.
    """
    if len(values) < LEAST_NUCLEI:
        return None
    counts = [length // _cell_side(shape) for length in shape]
    zones = [
        ((positions + 0.5) * ZONES / length).astype(int)
        for positions, length in ((rows, shape[0]), (columns, shape[1]))
    ]
    zone = zones[0] * ZONES + zones[1]
    places, medians, weights = [], [], []
    side = _cell_side(shape)
    for number in range(ZONES**2):
        inside = zone == number
        if not inside.any():
            return None
        # Nuclei that the border cuts are not whole: those of outer zones lie nearer to the middle than these do.
        y, x = (
            Fraction(float((2 * positions[inside] + 1).mean())) / side - count
            for positions, count in zip((rows, columns), counts, strict=True)
        )
        places.append((x, y))
        medians.append(Fraction(float(np.median(values[inside]))))
        weights.append(int(np.count_nonzero(inside)))
    light = Light(_fitted(places, medians, weights), np.ones(counts), "nuclei")
    return light if _evaluated(light.trend, *map(_half_cells, counts)).max() > 0 else None


def _evaluated(trend, y, x):
    """Return the (len(y), len(x)) values of a polynomial."""
    constant, by_x, by_y, by_xx, by_xy, by_yy = trend
    x, y = x.astype(np.float64), y.astype(np.float64)[:, None]
    return (constant + by_x * x + by_xx * (x * x)) + (by_y * y + by_yy * (y * y)) + by_xy * (x * y)


def _blurred(values):
    """Return the mean of the box around every cell."""
    padded = np.pad(values, BLUR_CELLS, mode="edge")
    width = 2 * BLUR_CELLS + 1
    rows, columns = values.shape
    tall = sum(padded[step : step + rows] for step in range(width))
    return sum(tall[:, step : step + columns] for step in range(width)) / width**2


def cell_values(light: Light) -> np.ndarray:
    """Return the light of every cell, (r, c) float64, as a share of the brightest."""
    values = _evaluated(light.trend, *map(_half_cells, light.ratios.shape)) * light.ratios
    return _lifted(values)


def _lifted(values):
    brightest = values.max()
    return np.maximum(values, LEAST_LIGHT * brightest) / brightest


def function_of(light: Light | None, shape: tuple[int, int]) -> np.ndarray:
    """Return the illumination function of images: divide them by it.

    Parameters
    ----------
    light : Light or None
        From `light_of`; None where the images are dark: they stay as they are.
    shape : (int, int)
        Rows and columns of the images.

    Returns
    -------
    (rows, columns) float32 array
        From 1, at the darkest place, to at most 1 / `LEAST_LIGHT`.
    """
    if light is None:
        return np.ones(shape, np.float32)
    side = _cell_side(shape)
    centres = [
        (2 * np.arange(length) + 1) / side - count for length, count in zip(shape, light.ratios.shape, strict=True)
    ]
    values = _evaluated(light.trend, *centres)
    ratios = light.ratios
    for axis, length in enumerate(shape):
        ratios = _enlarged(ratios, axis, length, side)
    values = _lifted(values * ratios)
    return (values / values.min()).astype(np.float32)


def _enlarged(values, axis, length, side):
    """Interpolate linearly between the centres of cells, along one axis; beyond the outer ones, nothing changes."""
    last = values.shape[axis] - 1
    position = np.clip((np.arange(length) + 0.5) / side - 0.5, 0, last)
    below = np.minimum(position.astype(np.intp), max(0, last - 1))
    part = np.expand_dims(position - below, 1 - axis)
    above = np.minimum(below + 1, last)
    return np.take(values, below, axis) * (1 - part) + np.take(values, above, axis) * part


def uncertainty_of(cells: np.ndarray) -> float | None:
    """Return how far a function may be off, as a share: half of what those of two halves of the images differ by.

    Parameters
    ----------
    cells : (n, r, c) array
        From `cell_sums`, in the order of reading.

    Returns
    -------
    float or None
        Exceeded in 5 % of the image. None for less than two images, or dark ones.
    """
    halves = [light_of(cells[first::2]) for first in (0, 1)] if len(cells) > 1 else [None]
    if None in halves:
        return None
    first, second = (cell_values(light) for light in halves)
    ratios = first / second
    middle = np.sort(ratios, axis=None)[ratios.size // 2]
    return float(np.sort(np.abs(ratios / middle - 1), axis=None)[int(SURE_SHARE * ratios.size)]) / 2


def digest_of(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def correction_of(nuclei: str, background: float | None, record: str | os.PathLike | None) -> Correction:
    """Return the correction of a plate's images.

    Parameters
    ----------
    nuclei : str
        Name of the nuclei channel.
    background : float or None
        Percentile of each image that is subtracted.
    record : path-like or None
        ``functions.json``, beside the files that it names; None where the illumination is not corrected.

    Raises
    ------
    InputError
        A function is not the one that the record names.
    """
    if record is None:
        return Correction(nuclei, background)
    folder, functions = Path(record).parent, {}
    for channel, values in outputs.read_json(record)["channels"].items():
        if values["file"] is None:
            continue
        path = folder / values["file"]
        if not path.is_file() or digest_of(path) != values["digest"]:
            raise InputError(
                f"{path}: {'is not the function' if path.is_file() else 'there is no function'} that {record} names; "
                f"delete the folder '{folder}', and it is made again"
            )
        functions[channel] = StoredFunction(str(path), values["digest"])
    return Correction(nuclei, background, functions)


@functools.lru_cache(maxsize=64)
def _read_function(path, digest):
    """Read a function; `digest` keeps another plate's or run's apart that had the same path."""
    return np.load(path, allow_pickle=False)


def correct(image: np.ndarray, channel: str, correction: Correction) -> np.ndarray:
    """Subtract the background of an image and divide it by its channel's illumination function.

    Parameters
    ----------
    image : (rows, columns) array
    channel : str
        Its name.
    correction : Correction

    Returns
    -------
    (rows, columns) array
        In the unit of the image: of its type where only a background is subtracted, else float32, or float64 for
        float64. The image itself where there is nothing to correct.

    Raises
    ------
    UncorrectedError
        The channel has no function, or one of another size.
    """
    if correction.background is not None:
        image = without_background(image, correction.background)
    if correction.functions is None:
        return image
    if channel not in correction.functions:
        raise UncorrectedError(
            "not corrected: no image of it in the plate's sample could be read, so that it has no illumination function"
        )
    function = _read_function(*correction.functions[channel])
    if image.shape != function.shape:
        actual, usual = (f"{height} x {width} px" for height, width in (image.shape, function.shape))
        raise UncorrectedError(f"not corrected: found {actual}, the plate's illumination function has {usual}")
    return image.astype(np.result_type(np.float32, image.dtype) if image.dtype.kind == "f" else np.float32) / function


def without_background(image: np.ndarray, percentile: float) -> np.ndarray:
    """Subtract a percentile of an image from it; what is below becomes 0.

    Parameters
    ----------
    image : (rows, columns) array
    percentile : float
        From 0 to 100: the lowest of the image's values that so many percent of its pixels do not exceed.

    Returns
    -------
    (rows, columns) array
        Of the type of the image.
    """
    if image.dtype.kind == "b":
        return image
    level = np.percentile(image, percentile, method="inverted_cdf")
    if image.dtype.kind == "i":  # the type may have no room for the difference
        highest = np.iinfo(image.dtype).max
        return np.clip(image.astype(np.int64) - int(level), 0, highest).astype(image.dtype)
    level = image.dtype.type(level)
    return np.maximum(image, level) - level


def in_measured_unit(corrected: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return a corrected image as it is measured: where integers became floats, as a share of their type's maximum.

    Parameters
    ----------
    corrected : (rows, columns) array
        From `correct`.
    image : (rows, columns) array
        As it was before.
    """
    if image.dtype.kind in "iu" and corrected.dtype.kind == "f":
        return corrected / np.float32(np.iinfo(image.dtype).max)
    return corrected
