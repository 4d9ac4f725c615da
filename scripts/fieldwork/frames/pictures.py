"""Read PNG, JPEG, BMP and GIF files."""

import warnings
from typing import BinaryIO

import numpy as np

from fieldwork import FrameError
from fieldwork.frames.colours import plane_of
from fieldwork.frames.files import refuse_large
from fieldwork.frames.planes import Plane

SIGNATURES = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"BM": "BMP", b"GIF8": "GIF"}


def read_picture(file: BinaryIO, head: bytes) -> Plane:
    """Read a PNG, JPEG, BMP or GIF file that is open and begins with ``head``."""
    import imageio.v3 as iio  # takes 0.1 s, and few plates need it

    file.seek(0)
    with warnings.catch_warnings(action="ignore"), iio.imopen(file, "r", plugin="pillow") as reader:
        properties, mode = reader.properties(index=...), reader.metadata(index=0)["mode"]
        count = properties.n_images
        if count > 1 or mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            raise FrameError(f"found {count} image(s) of mode {mode}; expected one, grey or RGB")
        refuse_large(properties.shape)  # Pillow would only warn, hence "ignore"
        image = reader.read(index=0)
        if head.startswith(b"\x89PNG") and head[24] == 16 and image.ndim == 3:
            import imagecodecs  # Pillow cuts 16-bit colours to 8 bits

            file.seek(0)
            image = imagecodecs.png_decode(file.read())
    image = np.atleast_3d(image).transpose(2, 0, 1)
    return plane_of(None, None, image[: {2: 1, 4: 3}.get(len(image))])  # without alpha
