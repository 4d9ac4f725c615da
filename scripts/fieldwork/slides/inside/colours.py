"""Convert the colours of slides to RGB."""

import numpy as np


def to_rgb(
    image: np.ndarray,
    colours: int | None = None,
    *,
    alpha: int | None = None,
    inverted: bool = False,
    premultiplied: bool = False,
) -> np.ndarray:
    """Convert grey or RGB pixels to RGB on white.

    Parameters
    ----------
    image : (rows, columns) or (rows, columns, samples) uint8 array
    colours : {1, 3}, optional
        Number of samples with grey or RGB. By default 1 of 1 and 2 samples, 3 of 3 and 4, with alpha behind them.
    alpha : int, optional
        Number of the sample with alpha, from 0; other samples have no effect.
    inverted : bool
        0 is white.
    premultiplied : bool
        Colours are multiplied by alpha.

    Returns
    -------
    (rows, columns, 3) uint8 array
        C-contiguous.
    """
    image = np.atleast_3d(image)
    samples = image.shape[2]
    if colours is None:
        colours, alpha = (3 if samples > 2 else 1), (samples - 1 if samples in (2, 4) else None)
    front = image[..., :3] if colours == 3 else image[..., [0, 0, 0]]
    front = 255 - front if inverted else front
    if alpha is not None and (opaque := image[..., [alpha]].astype(np.uint16)).min() < 255:
        front = front.astype(np.uint16) * (255 if premultiplied else opaque)
        front = np.minimum((front + (255 - opaque) * 255 + 127) // 255, 255).astype(np.uint8)
    return np.ascontiguousarray(front, np.uint8)
