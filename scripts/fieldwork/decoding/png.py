"""Decode PNG streams; what libpng calls damaged is an error."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import imagecodecs
import numpy as np

from fieldwork import reason_of
from fieldwork.decoding import DecodeError, Form

START, END = b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xaeB`\x82"
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6  # types of colour
SAMPLES = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
CHUNKS_OF_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_HEADER = struct.Struct(">4sIIBB")  # its name, width, height, bits, type of colour


class Header(NamedTuple):
    """What a PNG stream states of its picture."""

    height: int  # px
    width: int  # px
    bits: int  # per sample
    colour: int


class Chunk(NamedTuple):
    """A chunk of a PNG stream."""

    name: bytes
    start: int  # position of its first byte
    stop: int


def header_of(stream: bytes) -> Header:
    """Read the header of a PNG stream; raise `DecodeError` if it is damaged."""
    if not stream.startswith(START) or len(stream) < len(START) + 4 + _HEADER.size:
        raise DecodeError(f"its PNG stream is damaged: it starts with {stream[:8]!r}")
    name, width, height, bits, colour = _HEADER.unpack_from(stream, len(START) + 4)
    if name != b"IHDR" or colour not in SAMPLES:
        raise DecodeError(f"its PNG stream is damaged: it starts with {name!r}, which states colours of type {colour}")
    return Header(height, width, bits, colour)


def chunks_of(stream: bytes) -> Iterator[Chunk]:
    """Yield the chunks of a PNG stream, as far as they are complete."""
    start = len(START)
    while start + 12 <= len(stream):
        stop = start + 12 + int.from_bytes(stream[start : start + 4])
        if stop <= len(stream):
            yield Chunk(stream[start + 4 : start + 8], start, stop)
        start = stop


def pictures_in(stream: bytes) -> int:
    """Count the pictures of a PNG stream: more than one where it is animated."""
    counts = [stream[start + 8 : start + 12] for name, start, _ in chunks_of(stream) if name == b"acTL"]
    return int.from_bytes(counts[0]) if counts else 1


def without_texts(stream: bytes) -> bytes:
    """Return a PNG stream without the chunks that are no pixels: rubbish in them troubles some readers."""
    chunks = [stream[start:stop] for name, start, stop in chunks_of(stream) if name in CHUNKS_OF_PIXELS]
    return b"".join([START, *chunks])


def decode(data: bytes, form: Form | None = None) -> np.ndarray:
    """Decode a PNG stream.

    Parameters
    ----------
    data : bytes
    form : Form, optional
        What a container states; it is compared before memory is taken.

    Returns
    -------
    (height, width[, samples]) array
        Grey or RGB, with alpha if there is; palettes are applied, samples of less than 8 bits are made 8.

    Raises
    ------
    DecodeError
        The stream is damaged, incomplete or of another form, by libpng's errors: rows are missing, or check sums are
        wrong. Chunks that are no pixels may be damaged.
    """
    if END not in data:
        raise DecodeError("it is truncated: its PNG stream has no end")
    if form:
        return form.decode(imagecodecs.png_decode, data)
    try:
        return imagecodecs.png_decode(data)
    except MemoryError:
        raise
    except Exception as error:
        raise DecodeError(f"its PNG stream is damaged: {reason_of(error, own=imagecodecs.PngError)}") from error
