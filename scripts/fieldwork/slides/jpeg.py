"""The JPEG tiles of a slide, to be kept as they are."""

import numpy as np

from fieldwork.slides.readers import TURNS, SlideError, jpeg_markers, open_slide, segment_grid, segment_name


def jpeg_tiles(path):
    """Give access to the JPEG streams of level 0, to keep them as they are.

    Parameters
    ----------
    path : str or path-like
        A TIFF file.

    Returns
    -------
    JpegTiles or None
        None where level 0 is not made of square, baseline JPEG tiles of 8-bit RGB or YCbCr in the usual
        orientation, or where their streams would not show the same pixels without the TIFF around them. Formats
        whose tiles overlap show in that `shape` is not that of the chosen reader's level 0.
    """
    try:
        slide = open_slide(path, "tifffile")
    except SlideError:
        return None
    page = slide._pages[0]
    fits = page.is_tiled and page.compression == 7 and page.tilelength == page.tilewidth
    plain = page.samplesperpixel == 3 and page.planarconfig == 1 and slide._turn == TURNS[1]
    if fits and plain and page.photometric in (2, 6):
        tiles = JpegTiles(slide, page)
        if tiles._shows_the_same():
            return tiles
    slide.close()
    return None


class JpegTiles:
    """The JPEG tiles of level 0.

    Attributes
    ----------
    tile : int
        Height and width of a tile, in pixels; those at the right and the bottom reach over the slide.
    shape : (height, width)
        Of level 0, in pixels.
    grid : (rows, columns)
        Numbers of tiles.
    """

    def __init__(self, slide, page):
        self._slide, self._page = slide, page
        self.tile, self.shape = page.tilelength, slide.shapes[0]
        self._ycbcr = page.photometric == 6 or page.is_jfif  # as tifffile sees it: Bio-Formats says RGB of JFIF's YCbCr
        self.grid = segment_grid(page)

    def read(self, row, column):
        """Give one tile as a self-contained JPEG stream (bytes), its compressed pixels as they are.

        Raises
        ------
        SlideError
            The tile is missing, truncated, or not a baseline JPEG of the right size.
        """
        page, number = self._page, row * self.grid[1] + column
        place = segment_name(page, number)
        data = self._slide._bytes(page, number)
        # An Adobe marker tells any decoder what only the TIFF knows: RGB (Aperio) or YCbCr.
        parts = [b"\xff\xd8\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + (b"\1" if self._ycbcr else b"\0")]
        for stream in filter(None, (page.jpegtables, data)):
            for marker, segment in jpeg_markers(stream, place):
                if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                    size = int.from_bytes(segment[5:7]), int.from_bytes(segment[7:9])
                    if marker > 0xC1 or segment[4] != 8 or segment[9] != 3 or size != (self.tile, self.tile):
                        raise SlideError(f"{place} is not a baseline JPEG of {self.tile} x {self.tile} pixels")
                if marker not in (0xEE, 0xD9):
                    parts.append(segment)
        return b"".join([*parts, b"\xff\xd9"])

    def close(self):
        self._slide.close()

    def _shows_the_same(self):
        """Whether a good tile's stream by itself is baseline JPEG and shows what the slide does."""
        import imagecodecs

        rows, columns = self.grid
        for share in (0.5, 0.25, 0.75, 0.1, 0.9):
            row, column = int(share * rows), int(share * columns)
            y, x = row * self.tile, column * self.tile
            try:
                shown = imagecodecs.jpeg8_decode(self.read(row, column))
                expected = self._slide.read(
                    0, y, x, min(self.tile, self.shape[0] - y), min(self.tile, self.shape[1] - x)
                )
            except (SlideError, imagecodecs.Jpeg8Error):  # damaged, perhaps
                continue
            return np.array_equal(shown[: expected.shape[0], : expected.shape[1]], expected)
        return False
