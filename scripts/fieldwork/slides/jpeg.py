"""The JPEG tiles of a slide, which a store can keep as they are."""

from os import PathLike

import imagecodecs
import numpy as np
import tifffile

from fieldwork.decoding import DecodeError, jpeg
from fieldwork.slides import SlideError, metadata
from fieldwork.slides.inside.slide import error_of, refuse_unread
from fieldwork.slides.readers import TiffSlide, open_slide

BASELINE_FRAMES = (0xC0, 0xC1)  # markers of JPEG's frames: baseline, and the like with more tables
BASELINE_JPEG = 7  # value of TIFF's compression tag; 6 is the old JPEG
SAMPLED_SHARES = (0.5, 0.25, 0.75, 0.1, 0.9)  # of the tiles: those to compare, until one is intact


def jpeg_tiles(path: str | PathLike, picture: int | None = None) -> "JpegTiles | None":
    """Open the JPEG tiles of level 0, if a store can keep them as they are.

    Parameters
    ----------
    path : str or path-like
        A TIFF file.
    picture : int, optional
        As for `readers.open_slide`.

    Returns
    -------
    JpegTiles or None
        None where level 0 is not made of square, baseline JPEG tiles of 8-bit RGB or YCbCr in the usual
        orientation, or where their streams would not show the same pixels without the TIFF around them. Where tiles
        overlap, `shape` differs from that of the chosen reader's level 0.
    """
    try:
        slide = open_slide(path, "tifffile", picture)
    except SlideError as error:
        refuse_unread(error)
        return None
    page = slide.pages[0]
    square = page.is_tiled and page.compression == BASELINE_JPEG and page.tilelength == page.tilewidth
    plain = page.samplesperpixel == 3 and page.planarconfig == 1 and slide.upright and slide.is_rgb
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
        self._slide, self._tables, self._segments = slide, page.jpegtables, slide.planes[0][0].segments
        self.tile, self.shape, self.grid = page.tilelength, slide.shapes[0], self._segments.grid
        self._is_ycbcr = page.photometric == 6 or self._segments.are_jfif

    def read(self, row: int, column: int) -> bytes:
        """Return one tile as a self-contained JPEG stream, its compressed pixels as they are.

        Parameters
        ----------
        row, column : int
            Of the tile in the grid, from 0.

        Raises
        ------
        SlideError
            The tile is absent, missing, truncated, or not a baseline JPEG of the right size.
        """
        number = row * self.grid[1] + column
        name = self._segments.name(number)
        try:
            # An Adobe marker tells any decoder what only the TIFF knows: RGB (Aperio) or YCbCr.
            transform = jpeg.ADOBE_YCBCR if self._is_ycbcr else jpeg.ADOBE_RGB
            stream = jpeg.complete(self._segments.stored(number), tables=self._tables, transform=transform)
            stream = jpeg.without_comments(stream) if metadata.are_hidden() else stream
            frame, (*_, end) = jpeg.frame_of(stream), jpeg.parts_of(stream)
        except DecodeError as error:
            raise error_of(error, f"{name} cannot be kept") from error
        if frame.marker not in BASELINE_FRAMES or frame[1:] != (8, self.tile, self.tile, 3):
            raise SlideError(
                f"{name} cannot be kept: not a baseline JPEG of {self.tile} x {self.tile} pixels in colour"
            )
        return stream[: end.stop]

    def close(self) -> None:
        """Close the slide."""
        self._slide.close()

    def show_the_slide(self) -> bool:
        """Return True if an intact tile's stream, decoded by itself, has the pixels of the slide."""
        present = self._segments.present()
        for share in SAMPLED_SHARES:
            row, column = divmod(present[int(share * len(present))], self.grid[1]) if present else (0, 0)
            y, x = row * self.tile, column * self.tile
            height, width = min(self.tile, self.shape[0] - y), min(self.tile, self.shape[1] - x)
            try:
                decoded = imagecodecs.jpeg8_decode(self.read(row, column))
                expected = self._slide.read(0, y, x, height, width)
            except (SlideError, imagecodecs.Jpeg8Error) as error:  # damaged, perhaps
                refuse_unread(error)
                continue
            return np.array_equal(decoded[: expected.shape[0], : expected.shape[1]], expected)
        return False
