"""Find the tissue on a slide, and the channel in which its nuclei are bright."""

import cv2
import numpy as np

cv2.setNumThreads(1)  # parallelism is processes

# Otsu's result is checked against these values of the saturation (0 to 255) and of the brightest channel. On the
# slides of OpenSlide's test data, glass has a saturation of 0 to 9 and tissue's pale parts 30; unstained ground is 2 to
# 5 bright.
PALE = 20
DARK = 8
GAP = 30  # brightest channel: darker than any stain, where a brightfield scanner left the picture black
SPECK_PX = 16  # of the low-resolution picture: smaller pieces are dust, smaller holes are pale cells

# Optical densities of haematoxylin, eosin and DAB in red, green, blue (Ruifrok & Johnston, Anal. Quant. Cytol.
# Histol. 23, 2001; https://pubmed.ncbi.nlm.nih.gov/11531144/), and scikit-image's floor and unit of the logarithm.
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
DENSITIES = np.log(np.maximum(np.arange(256) / 255, 1e-6)) / np.log(1e-6)
HAEMATOXYLIN = np.outer(np.linalg.inv(STAINS)[:, 0], DENSITIES).astype(np.float32)  # a row for each of R, G, B


def tissue_mask(image: np.ndarray, *, fluorescence: bool) -> np.ndarray:
    """Find the tissue on a low-resolution picture of a slide.

    Parameters
    ----------
    image : (h, w, 3) uint8 array
        Red, green, blue; a pixel of 4 to 32 µm or so.
    fluorescence : bool
        Bright tissue on a dark ground, as opposed to coloured tissue on bright glass.

    Returns
    -------
    (h, w) bool array
        True on tissue; pieces and holes of less than `SPECK_PX` pixels are gone.

    Raises
    ------
    ValueError
        The image is not of that shape and dtype, or is empty.

    Notes
    -----
    Otsu's method on the saturation of the lightly smoothed picture, as in CLAM (Lu et al., Nat. Biomed. Eng. 5, 2021);
    beside strong stains it takes pale tissue for glass.
    In fluorescence, Li's minimum cross entropy on the logarithm of the brightest channel: tissue there is nuclei and
    what lies dimly between them, and of the nuclei in OpenSlide's DAPI slide that keeps 99.3 %, Otsu's method 96.8 %.
    Either always finds two classes. Where both are on the same side of `PALE` (`DARK`), there is one: blank glass,
    or tissue all over, and that value decides. Pen marks count as tissue.
    """
    check_rgb(image)
    if fluorescence:
        from skimage.filters import threshold_li  # 0.3 s to import

        values, border = cv2.GaussianBlur(image, (0, 0), 2).max(axis=-1), np.log1p(DARK)
        values = np.log1p(values, dtype=np.float32)
        tissue = values > threshold_li(values)
    else:
        image = cv2.GaussianBlur(image, (0, 0), 1)
        values, border = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 1], PALE
        values[image.max(axis=-1) < GAP] = 0  # the noise of a black gap is saturated
        threshold, _ = cv2.threshold(values, 0, 255, cv2.THRESH_OTSU)
        tissue = values > threshold
    if tissue.all() or not tissue.any() or not values[~tissue].mean() < border < values[tissue].mean():
        tissue = values > border
    small = min(SPECK_PX - 1, tissue.size // 4)  # of a slide of a few pixels, something must stay
    return ~_without_specks(~_without_specks(tissue, small), small)


def _without_specks(mask, size):
    """Clear the pieces of a mask that have no more than `size` pixels."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    return mask & (stats[:, cv2.CC_STAT_AREA] > size)[labels]


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


def nuclei_channel(image: np.ndarray, *, fluorescence: bool) -> np.ndarray:
    """Return the channel in which nuclei are bright.

    Parameters
    ----------
    image : (h, w, 3) uint8 array
        Red, green, blue.
    fluorescence : bool
        As for `tissue_mask`.

    Returns
    -------
    (h, w) array
        The haematoxylin (float32); in fluorescence the largest of the three channels (uint8): scanners save a DNA
        stain's channel in blue alone.

    Raises
    ------
    ValueError
        The image is not of that shape and dtype, or is empty.
    """
    check_rgb(image)
    if not fluorescence:
        return haematoxylin(image)
    red, green, blue = cv2.split(image)
    return cv2.max(cv2.max(red, green), blue)


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
