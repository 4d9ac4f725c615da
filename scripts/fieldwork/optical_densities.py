"""Optical densities (base 10) of brightfield pictures: mean over the colours, and of the stains that make them up."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

cv2.setNumThreads(1)  # parallelism is processes

# Haematoxylin, eosin and DAB in red, green, blue (Ruifrok & Johnston, Anal. Quant. Cytol. Histol. 23, 2001;
# https://pubmed.ncbi.nlm.nih.gov/11531144/).
STAINS = {"Hematoxylin": (0.65, 0.70, 0.29), "Eosin": (0.07, 0.99, 0.11), "DAB": (0.27, 0.57, 0.78)}
WHITE = 255  # intensity without any stain, where the glass is not known
DARKEST = 1  # intensity; 0 has no logarithm and counts as this
# Of haematoxylin as scikit-image has it: the floor and the unit of its logarithm, and a row for each of R, G, B.
_LOGARITHMS = np.log(np.maximum(np.arange(256) / 255, 1e-6)) / np.log(1e-6)
_HAEMATOXYLIN = np.outer(np.linalg.inv(np.array(list(STAINS.values())))[:, 0], _LOGARITHMS).astype(np.float32)


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
    return weighted_density(rgb, (1 / 3,) * 3, glass)


def weighted_density(rgb: np.ndarray, weights: Sequence[float], glass: Sequence[float] | None = None) -> np.ndarray:
    """Return a weighted sum of the optical densities of red, green and blue; else as `mean_density`.

    Parameters
    ----------
    rgb : (h, w, 3) uint8 array
        Red, green, blue.
    weights : sequence of three numbers
    glass : sequence of three numbers, optional

    Returns
    -------
    (h, w) float32 array
    """
    check_rgb(rgb)
    tables = _densities_of(glass)
    return _summed(rgb, [weight * table for weight, table in zip(weights, tables, strict=True)])


def stain_densities(rgb: np.ndarray, glass: Sequence[float] | None = None) -> dict[str, np.ndarray]:
    """Unmix the optical densities of haematoxylin, eosin and DAB.

    Parameters
    ----------
    rgb : (h, w, 3) uint8 array
        Red, green, blue.
    glass : sequence of three numbers, optional
        As for `mean_density`.

    Returns
    -------
    dict of str to (h, w) float32 array
        ``Hematoxylin``, ``Eosin`` and ``DAB``, at least 0, in base 10: without a glass six times what scikit-image's
        ``rgb2hed`` returns, which divides by the density of a millionth. A pixel's value depends on that pixel alone.

    Raises
    ------
    ValueError
        The picture is not of that shape and dtype, or is empty.
    """
    check_rgb(rgb)
    shares, tables = np.linalg.inv(np.array(list(STAINS.values()))), _densities_of(glass)
    return {name: _summed(rgb, shares[:, [number]] * tables) for number, name in enumerate(STAINS)}


def haematoxylin(image: np.ndarray) -> np.ndarray:
    """Unmix the haematoxylin of a brightfield picture.

    Parameters
    ----------
    image : (h, w, 3) uint8 array
        Red, green, blue.

    Returns
    -------
    (h, w) float32 array
        Equal to ``skimage.color.rgb2hed(image)[..., 0]`` but for rounding, which is within 2e-7: the optical density
        (base 10) divided by 6, 0 on glass, 0.05 to 0.2 in nuclei. A pixel's value depends on that pixel alone.

    Raises
    ------
    ValueError
        The image is not of that shape and dtype, or is empty.
    """
    check_rgb(image)
    return _summed(image, _HAEMATOXYLIN)


def haematoxylin_on(device: Any, images: Any) -> Any:
    """Unmix the haematoxylin of many pictures on a device.

    Parameters
    ----------
    device : gpu.server.Cuda
        Its `xp` is CuPy, or NumPy in tests.
    images : (n, h, w, 3) uint8 array of the device

    Returns
    -------
    (n, h, w) float32 array of the device
        Equal to `haematoxylin` to the bit: the same sums of the same numbers, in the same order.
    """
    red, green, blue = device.xp.asarray(_HAEMATOXYLIN)
    density = red[images[..., 0]]
    density += green[images[..., 1]]
    density += blue[images[..., 2]]
    return device.xp.maximum(density, 0, out=density)


def _densities_of(glass):
    """Return the densities, (3, 256), of all intensities of red, green and blue; nothing is brighter than the glass."""
    white = np.array((WHITE,) * 3 if glass is None else glass)
    return np.maximum(-np.log10(np.maximum(np.arange(256), DARKEST) / white[:, None]), 0)


def _summed(rgb, tables):
    """Sum what tables say of the intensities of red, green and blue; at least 0."""
    planes = (cv2.LUT(plane, table.astype(np.float32)) for plane, table in zip(cv2.split(rgb), tables, strict=True))
    total = next(planes)
    for density in planes:
        total += density
    return np.maximum(total, 0, out=total)


def check_rgb(rgb: np.ndarray) -> None:
    """Raise ValueError for a picture that is not (h, w, 3) uint8, or is empty."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0 or rgb.dtype != np.uint8:
        raise ValueError(f"expected (h, w, 3) uint8, not empty; found {rgb.shape} {rgb.dtype}")
