"""Read PNG, JPEG, BMP and GIF files."""

import warnings
from typing import BinaryIO

import numpy as np

from fieldwork import FrameError
from fieldwork.frames.colours import Samples, of_palette, plane_of
from fieldwork.frames.files import refuse_large
from fieldwork.frames.planes import Plane

SIGNATURES = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"BM": "BMP", b"GIF8": "GIF"}


def read_picture(file: BinaryIO, head: bytes, channel: str | int = "auto", *, required: bool = False) -> Plane:
    """Read a PNG, JPEG, BMP or GIF file.

    Parameters
    ----------
    file : binary file
    head : bytes
        Its first 32 bytes.
    channel, required
        As for `colours.plane_of`.

    Returns
    -------
    Plane

    Raises
    ------
    FrameError
        It has several images, or colours that are not RGB; or as from `colours.plane_of`.
    """
    from PIL import Image  # takes 0.1 s, and few plates need it

    file.seek(0)
    with warnings.catch_warnings(action="ignore"), Image.open(file) as picture:
        count, mode = getattr(picture, "n_frames", 1), picture.mode
        if count > 1 or mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            raise FrameError(f"found {count} image(s) of mode {mode}; expected one, grey or RGB")
        # Pillow would only warn, hence "ignore".
        refuse_large((picture.height, picture.width, len(picture.getbands())), value_bytes=2 if "16" in mode else 1)
        palette = None
        if mode in ("P", "PA"):
            picture.load()  # the palette of some formats is read with the pixels
            palette = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3).T
        # Some releases of Pillow read grey PNGs of 16 bits as 32.
        image = np.array(picture.convert("I;16") if mode == "I" and picture.format == "PNG" else picture)
        if head.startswith(b"\x89PNG") and head[24] == 16 and image.ndim == 3:
            import imagecodecs  # Pillow cuts 16-bit colours to 8 bits

            file.seek(0)
            image = imagecodecs.png_decode(file.read())
    if palette is not None:
        return plane_of(
            None, None, of_palette(image if image.ndim == 2 else image[..., 0], palette), channel, required=required
        )
    values = np.atleast_3d(image).transpose(2, 0, 1)
    values = values[: {2: 1, 4: 3}.get(len(values))]  # without alpha
    return plane_of(None, None, Samples(values, len(values) == 3), channel, required=required)
