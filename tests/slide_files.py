"""Write slides for tests."""

import cv2
import numpy as np
import tifffile


def picture(height, width, seed=0):
    """Draw smooth colours with a white border, like tissue on glass: a (height, width, 3) uint8 array."""
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), (0, 0), 3)
    image = cv2.normalize(image, None, 30, 220, cv2.NORM_MINMAX)
    image[:20] = image[:, :20] = 255
    return image


def write_slide(path, image, **options):
    """Write an image as a tiled TIFF of 0.5 µm per pixel, and return its path."""
    options = {"compression": "deflate", "tile": (64, 64), "photometric": "rgb", **options}
    tifffile.imwrite(path, image, resolution=(20000, 20000), resolutionunit="CENTIMETER", **options)
    return path
