"""Colours of images: which of them is the plane of the nuclei."""

import numpy as np
import tifffile

from fieldwork import FrameError
from fieldwork.frames.planes import Plane


def split_colours(image: np.ndarray, key: tifffile.TiffPage) -> np.ndarray:
    """Return the pixels of a page that `key` describes as (colours, rows, columns), without alpha."""
    if key.axes == "YX":
        return image[np.newaxis]
    jpeg = key.photometric == 6 and key.compression in {6, 7, 34892}  # YCbCr: its decoder makes it RGB
    if key.photometric not in (0, 1, 2) and not jpeg:
        raise FrameError(f"colours stored as {key.photometric!r}; expected grey or RGB")
    image = image.transpose(2, 0, 1) if key.axes == "YXS" else image
    alpha = sum(kind in (1, 2) for kind in key.extrasamples)
    if key.photometric == 2 and len(image) == 4:  # many writers do not say what the fourth is
        alpha = 1
    return image[: len(image) - alpha]


def plane_of(timepoint: int | None, z: int | None, colours: np.ndarray) -> Plane:
    """Return the plane of the colour that holds the signal.

    Parameters
    ----------
    timepoint, z : int or None
    colours : (colours, rows, columns) array

    Returns
    -------
    Plane
        Of the colour with the largest standard deviation.

    Raises
    ------
    FrameError
        Pixels are NaN or infinite, or another colour varies more than half as much and is not equal.
    """
    if colours.dtype.kind == "f" and not (finite := np.isfinite(colours)).all():
        raise FrameError(f"{np.count_nonzero(~finite)} of {colours.size} pixels are NaN or infinite")
    spread = colours.std(axis=(1, 2), dtype=np.float64) if len(colours) > 1 else np.zeros(1)
    image = colours[np.argmax(spread)]
    if not all(np.array_equal(colour, image) for colour in colours[spread > spread.max() / 2]):
        figures = ", ".join(f"{deviation:.4g}" for deviation in spread)
        raise FrameError(
            f"several colours vary alike (standard deviations of R, G, B: {figures}): which shows the nuclei "
            "cannot be told; export single channels"
        )
    dtype = np.uint8 if image.dtype.kind == "b" else image.dtype.newbyteorder("=")
    return Plane(timepoint, z, np.ascontiguousarray(image, dtype), len(colours))
