"""Find the tissue on a slide, and unmix its haematoxylin."""

import cv2
import numpy as np

cv2.setNumThreads(1)  # parallelism is processes

# Optical densities of haematoxylin, eosin and DAB in red, green, blue (Ruifrok & Johnston, Anal. Quant. Cytol.
# Histol. 23, 2001; https://pubmed.ncbi.nlm.nih.gov/11531144/), and scikit-image's floor and unit of the logarithm.
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
DENSITIES = np.log(np.maximum(np.arange(256) / 255, 1e-6)) / np.log(1e-6)
HAEMATOXYLIN = np.outer(np.linalg.inv(STAINS)[:, 0], DENSITIES).astype(np.float32)  # a row for each of R, G, B


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
    red, green, blue = cv2.split(image)
    density = cv2.LUT(red, HAEMATOXYLIN[0])
    density += cv2.LUT(green, HAEMATOXYLIN[1])
    density += cv2.LUT(blue, HAEMATOXYLIN[2])
    return np.maximum(density, 0, out=density)


def check_rgb(image: np.ndarray) -> None:
    """Raise ValueError for an image that is not (h, w, 3) uint8, or is empty."""
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0 or image.dtype != np.uint8:
        raise ValueError(f"expected (h, w, 3) uint8, not empty; found {image.shape} {image.dtype}")


def _haematoxylin_on(device, images):
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
    red, green, blue = device.xp.asarray(HAEMATOXYLIN)
    density = red[images[..., 0]]
    density += green[images[..., 1]]
    density += blue[images[..., 2]]
    return device.xp.maximum(density, 0, out=density)
