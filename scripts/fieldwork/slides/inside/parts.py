"""Parts of the tiles and strips of a TIFF slide: long ones are decoded once, into copies from which parts are read."""

import functools
import math
import os
import zlib
from typing import BinaryIO

import numpy as np
import tifffile

from fieldwork import outputs
from fieldwork.decoding import DecodeError
from fieldwork.decoding.segments import Segments
from fieldwork.inputs.inside.headers import LONGEST_PX, UNCOMPRESSED


class Parts:
    """Reads parts of the tiles or strips of a page.

    Parameters
    ----------
    page : tifffile.TiffPage
        Of rows and columns, perhaps with samples.
    copies : path-like, optional
        Folder to which `copies.copy_long` copies long tiles and strips. Without a copy they are decoded for every part.

    Attributes
    ----------
    segments : Segments
        The tiles or strips.
    are_long : bool
        They are compressed, and longer than `LONGEST_PX`: several blocks of a slide have parts of the same one.
    segment_bytes : int
        Size of a decoded tile or strip.
    copy : str or None
        Path of the copy, complete or not; None where none is made.
    """

    def __init__(self, page: tifffile.TiffPage, copies: str | os.PathLike | None = None) -> None:
        self._page, self._file = page, page.parent.filehandle
        self.segments = Segments(page, self._file)
        self._samples = page.samplesperpixel if page.planarconfig == 1 else 1
        self._pixel_bytes = self._samples * page.dtype.itemsize
        # Rows of strips that lie in the file as they are.
        self._are_raw = not page.is_tiled and (page.compression, page.fillorder) == (UNCOMPRESSED, 1)
        self.are_long = max(self.segments.shape) > LONGEST_PX and not self._are_raw
        self.segment_bytes = math.prod(self.segments.shape) * self._pixel_bytes
        name = f"{zlib.crc32(os.fsencode(self._file.name)):08x}-{page.offset}"
        self.copy = os.path.join(copies, name) if copies and self.are_long else None

    def read(self, number: int, y: int, x: int, height: int, width: int) -> np.ndarray:
        """Read a part of a tile or strip.

        Parameters
        ----------
        number : int
            Of the tile or strip, from 0.
        y, x, height, width : int
            The part, in pixels of the tile or strip; it lies in the picture.

        Returns
        -------
        (height, width, samples) array
            As of `Segments.decode`.

        Raises
        ------
        DecodeError
            The tile or strip is missing, truncated or damaged, whichever part of it is.
        """
        if self._are_raw and self._is_complete(number):
            stored = self._page.dtype.newbyteorder(self._page.parent.byteorder)
            part = self._rows(self._file, self._page.dataoffsets[number], y, x, height, width)
            return part.view(stored).astype(self._page.dtype, copy=False)
        if self._copied is None:
            return self.segments.decode(number)[y : y + height, x : x + width]
        self.check(number)
        return self._rows(self._copied[0], number * self.segment_bytes, y, x, height, width)

    def check(self, number: int) -> None:
        """Raise `DecodeError` as `Segments.check` does."""
        if self._copied is None:
            self.segments.check(number)
        elif reason := self._copied[1].get(str(number)):
            raise DecodeError(reason)

    @functools.cached_property
    def _copied(self):
        """The copy, as an open file, and why some tiles or strips are not in it; None without a complete copy."""
        if self.copy is None or not os.path.exists(f"{self.copy}.json"):
            return None
        return open(self.copy, "rb"), outputs.read_json(f"{self.copy}.json")  # noqa: SIM115

    def _is_complete(self, number):
        """Return True if an uncompressed strip has as many bytes as its pixels."""
        page, (_, top, _) = self._page, self.segments.position(number)
        if number >= min(len(page.dataoffsets), len(page.databytecounts)) or not page.dataoffsets[number]:
            return False
        rows, count = min(self.segments.shape[0], page.imagelength - top), page.databytecounts[number]
        in_file = page.dataoffsets[number] + count <= os.fstat(self._file.fileno()).st_size
        return in_file and count >= rows * page.imagewidth * self._pixel_bytes

    def _rows(self, file, start, y, x, height, width):
        """Read a part of decoded rows, which begin at a byte of a file."""
        part = np.empty((height, width, self._samples), self._page.dtype)
        row_bytes = self.segments.shape[1] * self._pixel_bytes
        for number, line in enumerate([part] if width == self.segments.shape[1] else part):
            place = start + (y + number) * row_bytes + x * self._pixel_bytes
            if os.preadv(file.fileno(), [line.data.cast("B")], place) < line.nbytes:
                raise DecodeError("a part of it is missing")
        return part

    def write_copy(self, number: int, file: BinaryIO) -> None:
        """Decode a tile or strip, and write it to its place in the copy; raise `DecodeError` as `Segments.decode`."""
        pixels, (height, width) = self.segments.decode(number), self.segments.shape
        if pixels.shape[1] < width:  # JPEG tiles at the border may hold the picture's pixels only
            pixels = np.pad(pixels, [(0, 0), (0, width - pixels.shape[1]), (0, 0)])
        file.seek(number * self.segment_bytes)
        file.write(np.ascontiguousarray(pixels[:height], self._page.dtype).data)
