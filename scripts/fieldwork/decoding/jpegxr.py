"""Decode JPEG XR files."""

import struct

import imagecodecs
import numpy as np

from fieldwork.decoding import DecodeError, Form

START = b"II\xbc"
PIXEL_TAGS = (0xBCC0, 0xBCC1), (0xBCC2, 0xBCC3)  # offset and number of bytes: of the picture, of its alpha


def check(data: bytes) -> None:
    """Raise `DecodeError` unless a JPEG XR file has as many bytes as it states: jxrlib takes lost ones for zeros."""
    if not data.startswith(START):
        raise DecodeError(f"not a JPEG XR file: it starts with {data[:4]!r}")
    try:
        (directory,) = struct.unpack_from("<I", data, 4)
        (count,) = struct.unpack_from("<H", data, directory)
        entries = struct.iter_unpack("<HHI4s", data[directory + 2 : directory + 2 + 12 * count])
        # Numbers of 1, 2 or 4 bytes are at the beginning of the field.
        tags = {code: int.from_bytes(field, "little") for code, _, _, field in entries}
    except struct.error:
        raise DecodeError("it is truncated: its JPEG XR file has no complete directory") from None
    for offset, length in PIXEL_TAGS:
        if (end := tags.get(offset, 0) + tags.get(length, 0)) > len(data):
            raise DecodeError(f"it is truncated: its JPEG XR file goes on to byte {end} of {len(data)}")


def decode(data: bytes, form: Form) -> np.ndarray:
    """Decode a JPEG XR file.

    Parameters
    ----------
    data : bytes
    form : Form
        What the container states; it is compared before memory is taken.

    Returns
    -------
    (height, width, samples) array

    Raises
    ------
    DecodeError
        The file is damaged, incomplete or of another form, as far as jxrlib notices: nothing in the format checks the
        compressed pixels.
    """
    check(data)
    return form.decode(imagecodecs.jpegxr_decode, data)
