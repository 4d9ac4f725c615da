"""Optical densities (base 10) of brightfield pictures: mean over the colours, and of the stains that make them up."""

import functools
from collections.abc import Sequence

import cv2
import numpy as np

cv2.setNumThreads(1)  # parallelism is processes

# Haematoxylin, eosin and DAB in red, green, blue (Ruifrok & Johnston, Anal. Quant. Cytol. Histol. 23, 2001;
# https://pubmed.ncbi.nlm.nih.gov/11531144/).
STAINS = {"Hematoxylin": (0.65, 0.70, 0.29), "Eosin": (0.07, 0.99, 0.11), "DAB": (0.27, 0.57, 0.78)}
WHITE = 255  # intensity without any stain, where the glass is not known
DARKEST = 1  # intensity; 0 has no logarithm and counts as this


def mean_density(rgb: np.ndarray, glass: Sequence[float] | None = None) -> np.ndarray:
    """Return the mean optical density of the three colours.

    Parameters
    ----------
    rgb : (h, w, 3) uint8 array
        Red, green, blue.
    glass : sequence of three numbers, optional
        Red, green and blue of the glass, which has a density of 0; white without it.

    Returns
    -------
    (h, w) float32 array
        ``-log10(max(intensity, 1) / glass)``, at least 0, averaged over red, green and blue. A pixel's value depends on
        that pixel alone.

    Raises
    ------
    ValueError
        The picture is not of that shape and dtype, or is empty.
    """
    _check_rgb(rgb)
    white = (WHITE,) * 3 if glass is None else glass
    return _summed(rgb, [np.maximum(_densities_of(bright), 0) / 3 for bright in white])


def weighted_density(rgb: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """Return a weighted sum of the optical densities of red, green and blue; else as `mean_density` without a glass.

    Parameters
    ----------
    rgb : (h, w, 3) uint8 array
        Red, green, blue.
    weights : sequence of three numbers

    Returns
    -------
    (h, w) float32 array
    """
    _check_rgb(rgb)
    return _summed(rgb, np.outer(weights, _densities_of(WHITE)))


def stain_densities(rgb: np.ndarray) -> dict[str, np.ndarray]:
    """Unmix the optical densities of haematoxylin, eosin and DAB.

    Parameters
    ----------
    rgb : (h, w, 3) uint8 array
        Red, green, blue.

    Returns
    -------
    dict of str to (h, w) float32 array
        ``Hematoxylin``, ``Eosin`` and ``DAB``, at least 0, in base 10: six times what scikit-image's ``rgb2hed``
        returns, which divides by the density of a millionth. A pixel's value depends on that pixel alone.

    Raises
    ------
    ValueError
        The picture is not of that shape and dtype, or is empty.
    """
    _check_rgb(rgb)
    return {name: _summed(rgb, tables) for name, tables in _stain_tables().items()}


@functools.cache
def _stain_tables():
    """Return for each stain its share of the density of every intensity of red, green and blue."""
    shares = np.linalg.inv(np.array(list(STAINS.values())))
    return {name: np.outer(shares[:, number], _densities_of(WHITE)) for number, name in enumerate(STAINS)}


def _densities_of(white):
    """Return the density of every intensity from 0 to 255, where glass has the intensity `white`."""
    return -np.log10(np.maximum(np.arange(256), DARKEST) / white)


def _summed(rgb, tables):
    """Sum what tables say of the intensities of red, green and blue; at least 0."""
    planes = (cv2.LUT(plane, table.astype(np.float32)) for plane, table in zip(cv2.split(rgb), tables, strict=True))
    total = next(planes)
    for density in planes:
        total += density
    return np.maximum(total, 0, out=total)


def _check_rgb(rgb):
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0 or rgb.dtype != np.uint8:
        raise ValueError(f"expected (h, w, 3) uint8, not empty; found {rgb.shape} {rgb.dtype}")
