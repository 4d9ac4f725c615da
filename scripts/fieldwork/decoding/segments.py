"""Read and decode the tiles or strips of a page of a TIFF file."""

import functools
import math
import os
from typing import BinaryIO

import imagecodecs
import numpy as np
import tifffile

from fieldwork import reason_of
from fieldwork.decoding import DecodeError, Form, jpeg, jpeg2000, jpegxr, png

# Values of TIFF tags.
JPEG_COMPRESSIONS, JPEG_2000_COMPRESSIONS = (6, 7, 33007, 34892), (33003, 33004, 33005, 34712)
PNG_COMPRESSION, JPEG_XR_COMPRESSIONS, JPEG_XL_COMPRESSIONS, WEBP_COMPRESSIONS = (
    34933,
    (22610, 34934),
    (50002, 52546),
    (34927, 50001),
)
LERC_COMPRESSION, LERC_PARAMETERS = 34887, 50674
FAX_COMPRESSIONS = (2, 3, 4, 32771)  # CCITT's
PREDICTED_COMPRESSIONS = (5, 8, 32946, 50013, 34925, 34926, 50000)  # LZW, Deflate, LZMA, Zstandard
YCBCR = 6
MOST_JFIF_SAMPLES = 16  # streams whose first bytes tell whether a page's streams are JFIF


def segment_shape(page: tifffile.TiffPage) -> tuple[int, int]:
    """Return height and width of a page's tiles or strips, in pixels."""
    return (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)


def is_ycbcr_in_jpeg_2000(page: tifffile.TiffPage) -> bool:
    """Return True for a page in Aperio's YCbCr, whose chroma may be subsampled: OpenSlide alone shows it."""
    return page.photometric == YCBCR and page.compression in JPEG_2000_COMPRESSIONS


def ignore_needless_predictor(page: tifffile.TiffPage | tifffile.TiffFrame) -> None:
    """Ignore the Predictor tag of a page whose compression has none, as libtiff does; tifffile applies it."""
    key = page.keyframe
    if key.compression not in PREDICTED_COMPRESSIONS:
        key.predictor = 1


def segment_grid(page: tifffile.TiffPage) -> tuple[int, int]:
    """Count the rows and columns of tiles or strips of a page."""
    length, width = segment_shape(page)
    return math.ceil(page.imagelength / length), math.ceil(page.imagewidth / width)


def segments_showing(page: tifffile.TiffPage, y: int, x: int, height: int, width: int) -> list[int]:
    """Return the numbers of the tiles or strips that show a box of pixels, row by row, sample plane by sample plane."""
    (length, breadth), (down, across) = segment_shape(page), segment_grid(page)
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    rows = range(y // length, (y + height - 1) // length + 1)
    columns = range(x // breadth, (x + width - 1) // breadth + 1)
    return [(plane * down + row) * across + column for plane in range(planes) for row in rows for column in columns]


class Segments:
    """The tiles or strips of a page of a TIFF file.

    Parameters
    ----------
    page : tifffile.TiffPage
        Of rows and columns, perhaps with samples.
    file : binary file
        The open file of the page. Threads may read at the same time.

    Attributes
    ----------
    shape : (height, width)
        Of a tile or strip, in pixels.
    grid : (rows, columns)
        Number of them along each side.
    count : int
        Number of them, in all sample planes.
    """

    def __init__(self, page: tifffile.TiffPage, file: BinaryIO) -> None:
        ignore_needless_predictor(page)
        self._tables, self._page, self._file = page, page.keyframe, file
        self._size = os.fstat(file.fileno()).st_size
        page = page.keyframe
        self.shape, self.grid = segment_shape(page), segment_grid(page)
        self.count = math.prod(self.grid) * (page.samplesperpixel if page.planarconfig == 2 else 1)

    def position(self, number: int) -> tuple[int, int, int]:
        """Return the sample plane of a tile or strip, and the row and column of its first pixel."""
        down, across = self.grid
        return number // across // down, number // across % down * self.shape[0], number % across * self.shape[1]

    def name(self, number: int) -> str:
        """Name a tile or strip, with its row and column."""
        down, across = self.grid
        kind = "tile" if self._page.is_tiled else "strip"
        return f"{kind} {number} (row {number // across % down}, column {number % across})"

    def is_absent(self, number: int) -> bool:
        """Return True if a tile or strip was left out, as TIFF allows: its offset and its number of bytes are 0."""
        tables = self._tables.dataoffsets, self._tables.databytecounts
        return all(number < len(table) and table[number] == 0 for table in tables)

    def stored(self, number: int) -> bytes:
        """Read the stored bytes of a tile or strip; raise `DecodeError` where they are missing or truncated."""
        tables = self._tables.dataoffsets, self._tables.databytecounts
        offset, count = (table[number] if number < len(table) else 0 for table in tables)
        if not offset or not count or offset >= self._size:
            raise DecodeError(f"{self.name(number)} is missing")
        if offset + count > self._size:  # before memory is taken for what a damaged table states
            raise DecodeError(f"{self.name(number)} is truncated")
        return os.pread(self._file.fileno(), count, offset)  # threads share the position

    def present(self) -> list[int]:
        """Return the numbers of the tiles and strips that were not left out."""
        return [number for number in range(self.count) if not self.is_absent(number)]

    @functools.cached_property
    def are_jfif(self) -> bool:
        """Return True if JPEG streams of the page are JFIF: their colours are YCbCr, even if the tags say RGB.

        Bio-Formats writes such files. The first stream may be absent or damaged, so several are asked.
        """
        present = [number for number, offset in enumerate(self._tables.dataoffsets) if offset]
        heads = [
            os.pread(self._file.fileno(), 10, self._tables.dataoffsets[number])
            for number in present[:: math.ceil(len(present) / MOST_JFIF_SAMPLES) or 1]
        ]
        return any(head[6:] == b"JFIF" for head in heads)

    def decode(self, number: int) -> np.ndarray:
        """Decode a tile or strip.

        Parameters
        ----------
        number : int
            Of the tile or strip, from 0.

        Returns
        -------
        (rows, columns, samples) array
            In the page's dtype. JPEG's YCbCr is RGB. At the edge of the picture it may extend beyond it, or be clipped.

        Raises
        ------
        DecodeError
            It is missing, truncated or damaged, or its size, samples or type are not those that the tags state.
        """
        return self._named(self._decoded, number)

    def check(self, number: int) -> None:
        """Raise `DecodeError` as `decode` does; of YCbCr in JPEG 2000 only for a stream without its end or form."""
        self._named(self._checked if is_ycbcr_in_jpeg_2000(self._page) else self._decoded, number)

    def _named(self, function, number):
        """Call a function with the stored bytes of a tile or strip; name it in errors."""
        data = self.stored(number)
        try:
            return function(data, number)
        except MemoryError:
            raise
        except Exception as error:  # damaged bytes make decoders raise anything
            reason = reason_of(error, own=DecodeError)
            raise DecodeError(f"{self.name(number)} cannot be decoded: {reason}") from error

    def _decoded(self, data, number):
        page, form = self._page, self._form(number)
        if page.compression in JPEG_COMPRESSIONS:
            # As tifffile decides it.
            is_rgb = page.photometric == 2 and form.samples == 3 and not page.extrasamples and not self.are_jfif
            return jpeg.decode(data, form, tables=self._tables.jpegtables, header=page.jpegheader, is_rgb=is_rgb)
        if page.compression in JPEG_2000_COMPRESSIONS:
            return jpeg2000.decode(data, form)
        if page.compression == PNG_COMPRESSION:
            return png.decode(data, form)
        if page.compression in JPEG_XR_COMPRESSIONS:
            return jpegxr.decode(data, form)
        if page.compression in JPEG_XL_COMPRESSIONS:
            return form.decode(imagecodecs.jpegxl_decode, data)
        if page.compression in WEBP_COMPRESSIONS:
            return form.decode(imagecodecs.webp_decode, data, hasalpha=form.samples == 4)
        if page.compression == LERC_COMPRESSION and not any(page.tags.valueof(LERC_PARAMETERS, ())[1:2]):
            return form.decode(imagecodecs.lerc_decode, data)  # not compressed further
        image = page.decode(data, number)[0][0]
        form.check(*image.shape, image.dtype)
        return image

    def _checked(self, data, number):
        jpeg2000.check(data, self._form(number))

    def _form(self, number):
        """Return the form of a tile or strip."""
        page, (_, top, left) = self._page, self.position(number)
        sizes = []
        for start, full, end in zip((top, left), self.shape, (page.imagelength, page.imagewidth), strict=True):
            full = min(full, end) if not page.is_tiled else full
            sizes.append(range(min(full, end - start), full + 1))
        return Form(*sizes, page.samplesperpixel if page.planarconfig == 1 else 1, page.dtype)


def read_page(page: tifffile.TiffPage | tifffile.TiffFrame) -> np.ndarray:
    """Read the pixels of a page.

    Parameters
    ----------
    page : tifffile.TiffPage or tifffile.TiffFrame
        Of an open file; of rows and columns, perhaps with samples.

    Returns
    -------
    array
        As of the page's `asarray`.

    Raises
    ------
    DecodeError
        A tile or strip is missing, truncated or damaged, or its size, samples or type are not those that the tags
        state.
    """
    segments, key = Segments(page, page.parent.filehandle), page.keyframe
    if key.is_contiguous:  # uncompressed
        return page.asarray(maxworkers=1)  # one thread: each core has its job
    image = np.empty(key.shaped, key.dtype)  # (sample planes, 1, rows, columns, samples)
    for number in range(segments.count):
        plane, top, left = segments.position(number)
        area = image[plane, 0, top : top + segments.shape[0], left : left + segments.shape[1]]
        area[:] = segments.decode(number)[: area.shape[0], : area.shape[1]]
    return image.reshape(key.shape)
