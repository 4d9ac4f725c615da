"""Decode JPEG 2000 streams."""

import struct

import imagecodecs
import numpy as np

from fieldwork import reason_of
from fieldwork.decoding import DecodeError, Form

START, END = b"\xff\x4f\xff\x51", b"\xff\xd9"
BOX = b"\0\0\0\x0cjP"  # JP2 files have the stream in boxes
_SIZES = struct.Struct(">8IH")  # Xsiz to YTOsiz, Csiz
_SIZES_OFFSET = 8  # after the marks, Lsiz and Rsiz


def check(data: bytes, form: Form) -> None:
    """Raise `DecodeError` unless a JPEG 2000 stream, or a JP2 file, is of a form and has its end mark."""
    start = data.find(START) if data.startswith(BOX) else 0
    if data[start : start + len(START)] != START or len(data) < start + _SIZES_OFFSET + _SIZES.size + 1:
        raise DecodeError(f"not a JPEG 2000 stream: it starts with {data[:4]!r}")
    right, bottom, left, top, *_, samples = _SIZES.unpack_from(data, start + _SIZES_OFFSET)
    bits = data[start + _SIZES_OFFSET + _SIZES.size]  # of the first sample: its sign, and the number less 1
    dtype = np.dtype(f"{'i' if bits & 0x80 else 'u'}{1 if bits & 0x7F < 8 else 2 if bits & 0x7F < 16 else 4}")
    form.check(bottom - top, right - left, samples, dtype)
    if END not in data[start:]:  # a mark cannot occur among compressed pixels
        raise DecodeError("it is truncated: its JPEG 2000 stream has no end mark")


def decode(data: bytes, form: Form) -> np.ndarray:
    """Decode a JPEG 2000 stream.

    Parameters
    ----------
    data : bytes
        A stream, or a JP2 file.
    form : Form
        What the container states; it is compared before memory is taken.

    Returns
    -------
    (height, width, samples) array

    Raises
    ------
    DecodeError
        The stream is damaged, incomplete or of another form, as far as OpenJPEG notices: nothing in the format checks
        the compressed pixels.
    """
    check(data, form)
    try:
        image = imagecodecs.jpeg2k_decode(data)
    except MemoryError:
        raise
    except Exception as error:
        raise DecodeError(f"its JPEG 2000 stream is damaged or incomplete: {reason_of(error)}") from error
    form.check(*np.atleast_3d(image).shape, image.dtype)
    return np.atleast_3d(image)
