"""Decode JPEG streams; what libjpeg only warns of is an error."""

import functools
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

import imagecodecs
import numpy as np
import simplejpeg

from fieldwork.decoding import DecodeError, Form

START, END = b"\xff\xd8", b"\xff\xd9"
END_MARKER, SCAN_MARKER, JFIF_MARKER, ADOBE_MARKER = 0xD9, 0xDA, 0xE0, 0xEE
COMMENT_MARKERS = (0xFE, *range(0xE1, 0xEE), 0xEF)  # comments and what applications add, but for JFIF and Adobe
HUFFMAN_FRAMES = (0xC0, 0xC1, 0xC2)  # markers of frames: baseline, extended, progressive
SEQUENTIAL_FRAMES = HUFFMAN_FRAMES[:2]
TABLES_MARKER = 0xC4  # of Huffman codes
END_OF_BLOCK = 0x00  # symbol of a Huffman table: no more coefficients
HOLE_BYTES = 32  # of zeros; the longest run among the compressed pixels of real slides has 4
ADOBE_RGB, ADOBE_YCBCR = 0, 1  # values of Adobe's colour transform

_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # stuffed bytes, restarts and fill bytes belong to a scan
_RESTARTS = tuple(bytes([0xFF, marker]) for marker in range(0xD0, 0xD8))


class Part(NamedTuple):
    """A part of a JPEG stream."""

    marker: int  # its second byte
    start: int  # position of the marker's first byte
    stop: int  # position after its header


class Frame(NamedTuple):
    """What the header of a frame states."""

    marker: int
    bits: int  # per sample
    height: int
    width: int
    samples: int


def parts_of(stream: bytes) -> Iterator[Part]:
    """Yield the parts of a JPEG stream, from the one after its start to its end mark.

    Parameters
    ----------
    stream : bytes

    Yields
    ------
    Part
        That of a scan stops before its compressed pixels.

    Raises
    ------
    DecodeError
        The stream is damaged at that part.
    """
    if not stream.startswith(START):
        raise DecodeError(f"not a JPEG stream: it starts with {stream[:2]!r}")
    position, marker = 2, None
    while marker != END_MARKER:
        while stream[position : position + 2] == b"\xff\xff":  # fill bytes
            position += 1
        starts_part = stream[position : position + 1] == b"\xff" and position + 1 < len(stream)
        marker = stream[position + 1] if starts_part else 0
        stop = position + 2 + (0 if marker == END_MARKER else int.from_bytes(stream[position + 2 : position + 4]))
        if marker < 0xC0 or stop > len(stream) or (marker != END_MARKER and stop < position + 4):
            raise DecodeError(f"its JPEG stream is damaged at byte {position}")
        yield Part(marker, position, stop)
        position = stop
        if marker == SCAN_MARKER:
            end = _END_OF_SCAN.search(stream, stop)
            if end is None:
                raise DecodeError("its JPEG stream has no end")
            position = end.start()


def frame_of(stream: bytes) -> Frame:
    """Read the header of the frame of a JPEG stream; raise `DecodeError` if it is damaged or absent."""
    for marker, start, stop in parts_of(stream):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # no tables
            values = stream[start + 4 : stop]
            if len(values) < 6:
                break
            return Frame(marker, values[0], int.from_bytes(values[1:3]), int.from_bytes(values[3:5]), values[5])
        if marker == SCAN_MARKER:
            break
    raise DecodeError("its JPEG stream has no header of a frame")


def complete(
    data: bytes, *, tables: bytes | None = None, header: bytes | None = None, transform: int | None = None
) -> bytes:
    """Return a self-contained JPEG stream of one that shares parts with others.

    Parameters
    ----------
    data : bytes
        As it is stored.
    tables : bytes, optional
        A stream of tables without a picture (TIFF's JPEGTables).
    header : bytes, optional
        All that comes before the compressed pixels, of which alone `data` consists (Hamamatsu's NDPI).
    transform : {ADOBE_RGB, ADOBE_YCBCR}, optional
        The colours, where the container knows them; by default the stream's own markers tell.

    Returns
    -------
    bytes
        The compressed pixels as they are.

    Raises
    ------
    DecodeError
        A header or the tables are damaged; or the end is missing where a header came separately.
    """
    if header is not None:
        # A strip ends where the next one begins: after a restart marker, in place of the end mark.
        data = data.rstrip(b"\0")
        if not data.endswith((*_RESTARTS, END)):
            raise DecodeError("it is truncated: its JPEG strip does not end in a restart marker")
        data = b"".join([header, data[:-2], END])
    if tables is None and transform is None:
        return data
    dropped = () if transform is None else (JFIF_MARKER, ADOBE_MARKER)
    adobe = b"" if transform is None else b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + bytes([transform])
    pieces = [START, adobe, _parts(tables, dropped) if tables else b""]
    for marker, start, stop in parts_of(data):
        if marker == SCAN_MARKER:
            pieces.append(data[start:])
            break
        if marker not in dropped:
            pieces.append(data[start:stop])
    return b"".join(pieces)


@functools.lru_cache(maxsize=16)  # all tiles of a page have the same tables
def _parts(tables, dropped):
    """Return the parts of a stream without a picture, but for those of some markers."""
    parts = [tables[start:stop] for marker, start, stop in parts_of(tables) if marker not in (END_MARKER, *dropped)]
    return b"".join(parts)


def without_comments(stream: bytes) -> bytes:
    """Return a JPEG stream without the parts in which programs write texts, colour profiles and the like."""
    pieces = [START]
    for marker, start, stop in parts_of(stream):
        if marker == SCAN_MARKER:
            return b"".join([*pieces, stream[start:]])
        if marker not in COMMENT_MARKERS:
            pieces.append(stream[start:stop])
    return stream


def hole_of(stream: bytes) -> int | None:
    """Find zeros among the compressed pixels of a sequential stream, as lost parts of files leave them.

    libjpeg decodes them. Where it ends at the right place by chance (1 of 12 holes of 600 bytes in tiles of quality 80
    and subsampled colours), it does not warn. But they cannot be pixels: the first code of every table consists of
    zeros, and in an AC table it nearly always stands for a small coefficient, which would follow itself 63 times in
    block after block. In the tables of nearly empty pictures it may end a block, and nothing is said of them.

    Parameters
    ----------
    stream : bytes
        A self-contained JPEG stream.

    Returns
    -------
    int or None
        Position of the first of at least `HOLE_BYTES` zeros.

    Raises
    ------
    DecodeError
        The stream is damaged.
    """
    zeros = bytes(HOLE_BYTES)
    if zeros not in stream:
        return None
    first_symbols = {}
    for (marker, start, stop), following in itertools.pairwise(parts_of(stream)):
        if marker == TABLES_MARKER:
            position = start + 4
            while position + 17 < stop:
                first_symbols[stream[position]] = stream[position + 17]
                position += 17 + sum(stream[position + 1 : position + 17])
        if marker == SCAN_MARKER:
            hole = stream.find(zeros, stop, following.start)
            used = [0x10 | (tables & 0x0F) for tables in stream[start + 6 : stop - 3 : 2]]  # class 1: AC
            if hole >= 0 and any(first_symbols.get(table) != END_OF_BLOCK for table in used):
                return hole
    return None


def decode(
    data: bytes, form: Form, *, tables: bytes | None = None, header: bytes | None = None, is_rgb: bool = False
) -> np.ndarray:
    """Decode a JPEG stream.

    Parameters
    ----------
    data, tables, header
        As for `complete`.
    form : Form
        What the container states; it is compared before memory is taken.
    is_rgb : bool
        The container says that three samples are RGB as they are; by default the stream's own markers tell.

    Returns
    -------
    (height, width, samples) array
        Grey, RGB (of YCbCr too), or the samples as they are.

    Raises
    ------
    DecodeError
        The stream is damaged, incomplete or of another form, by libjpeg's errors and warnings; or bytes are missing
        in it (`hole_of`).
    """
    stream = complete(data, tables=tables, header=header, transform=ADOBE_RGB if is_rgb else None)
    frame = frame_of(header or data)
    form.check(frame.height, frame.width, frame.samples, np.dtype(np.uint8 if frame.bits <= 8 else np.uint16))
    if frame.marker in SEQUENTIAL_FRAMES and (hole := hole_of(stream)) is not None:
        raise DecodeError(f"its JPEG stream is damaged: zeros from byte {hole} on, in place of pixels")
    if frame.marker in HUFFMAN_FRAMES and frame.bits == 8 and frame.samples in (1, 3):
        try:
            return simplejpeg.decode_jpeg(stream, "RGB" if frame.samples == 3 else "GRAY", strict=True)
        except ValueError as error:
            if "ICC marker" in str(error) and (plain := without_comments(stream)) != stream:
                return decode(plain, form)  # a damaged profile is no damaged pixel
            if "subsampling" not in str(error):  # simplejpeg knows the usual ones
                fault = "truncated" if str(error).startswith("Premature end of JPEG file") else "damaged"
                raise DecodeError(f"its JPEG stream is {fault}: {error}") from error
    if not stream.rstrip(b"\0").endswith(END):
        raise DecodeError("it is truncated: its JPEG stream has no end")
    try:
        image = imagecodecs.jpeg_decode(stream, bitspersample=frame.bits)
    except MemoryError:
        raise
    except Exception as error:
        raise DecodeError(f"its JPEG stream is damaged: {error}") from error
    return image.reshape(frame.height, frame.width, frame.samples)
