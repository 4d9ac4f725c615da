"""Read PNG, JPEG, BMP and GIF files."""

import io
import warnings
from typing import BinaryIO

import numpy as np

from fieldwork import FrameError, reason_of
from fieldwork.decoding import DecodeError, Form, jpeg, png
from fieldwork.frames.colours import Samples, of_palette, plane_of
from fieldwork.frames.files import refuse_large
from fieldwork.frames.planes import Plane

SIGNATURES = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"BM": "BMP", b"GIF8": "GIF"}
MANY_PICTURES = b"MPF\0"  # in a JPEG file that has several (CIPA DC-007)


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
        It has several images, or colours that are not RGB; it is damaged or incomplete by what libpng, libjpeg or
        Pillow says, warnings of libjpeg too; or as from `colours.plane_of`.
    """
    file.seek(0)
    content, palette = file.read(), None
    if head.startswith(b"\x89PNG"):
        image, palette = _read_png(content)
    elif head.startswith(jpeg.START):
        image = _read_jpeg(content)
    else:
        image, palette = _read_by_pillow(content)
    if palette is not None:
        return plane_of(
            None, None, of_palette(image if image.ndim == 2 else image[..., 0], palette), channel, required=required
        )
    values = np.atleast_3d(image).transpose(2, 0, 1)
    values = values[: {2: 1, 4: 3}.get(len(values))]  # without alpha
    return plane_of(None, None, Samples(values, len(values) == 3), channel, required=required)


def _read_png(content):
    """Return the pixels of a PNG file, and its palette or None."""
    header = png.header_of(content)
    refuse_large((header.height, header.width, png.SAMPLES[header.colour]), value_bytes=max(header.bits // 8, 1))
    if (count := png.pictures_in(content)) > 1:
        raise FrameError(f"found {count} images; expected one")
    image = png.decode(content)
    if header.colour == png.PALETTE or header.bits < 8:  # libpng applies palettes, and makes 1 bit 0 and 255
        return _read_by_pillow(png.without_texts(content))
    return image, None


def _read_jpeg(content):
    """Return the pixels of a JPEG file."""
    frame = jpeg.frame_of(content)
    refuse_large((frame.height, frame.width, frame.samples), value_bytes=1)
    if frame.bits != 8:
        raise FrameError(f"a JPEG of {frame.bits} bits cannot be decoded; expected 8")
    if frame.samples not in (1, 3):
        raise FrameError(f"found {frame.samples} colours a pixel, as CMYK has; expected one, grey or RGB")
    if MANY_PICTURES in content:
        _read_by_pillow(content)  # it counts them
    sides = (range(side, side + 1) for side in (frame.height, frame.width))
    return jpeg.decode(content, Form(*sides, frame.samples, np.dtype(np.uint8)))


def _read_by_pillow(content):
    """Return the pixels of a picture, and its palette, (3, colours), or None."""
    try:
        return _open_by_pillow(content)
    except (FrameError, MemoryError):
        raise
    except Exception as error:  # an OSError, too, is about the content, which is in memory
        raise DecodeError(f"cannot be decoded: {reason_of(error, own=OSError)}") from error


def _open_by_pillow(content):
    from PIL import Image  # takes 0.1 s, and few plates need it

    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content)) as picture:
        count, mode = getattr(picture, "n_frames", 1), picture.mode
        if count > 1 or mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            raise FrameError(f"found {count} image(s) of mode {mode}; expected one, grey or RGB")
        # Pillow would only warn, hence "ignore".
        refuse_large((picture.height, picture.width, len(picture.getbands())), value_bytes=2 if "16" in mode else 1)
        if mode not in ("P", "PA"):
            return np.array(picture), None
        picture.load()  # the palette of some formats is read with the pixels
        return np.array(picture), np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3).T
