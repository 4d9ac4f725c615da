"""The JPEG tiles of a slide, which a store can keep as they are."""

from os import PathLike

import imagecodecs
import numpy as np
import tifffile

from fieldwork.slides import SlideError, tiff
from fieldwork.slides.readers import TiffSlide, open_slide

BASELINE_JPEG = 7  # value of TIFF's compression tag; 6 is the old JPEG
SAMPLED_SHARES = (0.5, 0.25, 0.75, 0.1, 0.9)  # of the grid's rows and columns: tiles to compare, until one is intact


def jpeg_tiles(path: str | PathLike) -> "JpegTiles | None":
    """Open the JPEG tiles of level 0, if a store can keep them as they are.

    Parameters
    ----------
    path : str or path-like
        A TIFF file.

    Returns
    -------
    JpegTiles or None
        None where level 0 is not made of square, baseline JPEG tiles of 8-bit RGB or YCbCr in the usual
        orientation, or where their streams would not show the same pixels without the TIFF around them. Where tiles
        overlap, `shape` differs from that of the chosen reader's level 0.
    """
    try:
        slide = open_slide(path, "tifffile")
    except SlideError:
        return None
    page = slide.pages[0]
    square = page.is_tiled and page.compression == BASELINE_JPEG and page.tilelength == page.tilewidth
    plain = page.samplesperpixel == 3 and page.planarconfig == 1 and slide.upright
    if square and plain and page.photometric in (2, 6):
        tiles = JpegTiles(slide, page)
        if tiles.show_the_slide():
            return tiles
    slide.close()
    return None


class JpegTiles:
    """The JPEG tiles of a slide's level 0.

    Attributes
    ----------
    tile : int
        Height and width of a tile, in pixels; those at the right and the bottom extend beyond the slide.
    shape : (height, width)
        Of level 0, in pixels.
    grid : (rows, columns)
        Number of tiles along each side.
    """

    def __init__(self, slide: TiffSlide, page: tifffile.TiffPage) -> None:
        self._slide, self._page = slide, page
        self.tile, self.shape = page.tilelength, slide.shapes[0]
        self._ycbcr = page.photometric == 6 or page.is_jfif  # as tifffile decides: Bio-Formats calls JFIF's YCbCr RGB
        self.grid = tiff.segment_grid(page)

    def read(self, row: int, column: int) -> bytes:
        """Return one tile as a self-contained JPEG stream, its compressed pixels as they are.

        Parameters
        ----------
        row, column : int
            Of the tile in the grid, from 0.

        Raises
        ------
        SlideError
            The tile is missing, truncated, or not a baseline JPEG of the right size.
        """
        page, number = self._page, row * self.grid[1] + column
        name = tiff.segment_name(page, number)
        data = self._slide.stored_bytes(page, number)
        # An Adobe marker tells any decoder what only the TIFF knows: RGB (Aperio) or YCbCr.
        parts = [b"\xff\xd8\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + (b"\1" if self._ycbcr else b"\0")]
        for stream in filter(None, (page.jpegtables, data)):
            for marker, segment in tiff.jpeg_markers(stream, name):
                if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # the frame's header
                    size = int.from_bytes(segment[5:7]), int.from_bytes(segment[7:9])
                    if marker > 0xC1 or segment[4] != 8 or segment[9] != 3 or size != (self.tile, self.tile):
                        raise SlideError(f"{name} is not a baseline JPEG of {self.tile} x {self.tile} pixels")
                if marker not in (0xEE, 0xD9):
                    parts.append(segment)
        return b"".join([*parts, b"\xff\xd9"])

    def close(self) -> None:
        """Close the slide."""
        self._slide.close()

    def show_the_slide(self) -> bool:
        """Return True if an intact tile's stream, decoded by itself, has the pixels of the slide."""
        rows, columns = self.grid
        for share in SAMPLED_SHARES:
            row, column = int(share * rows), int(share * columns)
            y, x = row * self.tile, column * self.tile
            height, width = min(self.tile, self.shape[0] - y), min(self.tile, self.shape[1] - x)
            try:
                decoded = imagecodecs.jpeg8_decode(self.read(row, column))
                expected = self._slide.read(0, y, x, height, width)
            except (SlideError, imagecodecs.Jpeg8Error):  # damaged, perhaps
                continue
            return np.array_equal(decoded[: expected.shape[0], : expected.shape[1]], expected)
        return False
