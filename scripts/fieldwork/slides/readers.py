"""Read regions of any level of a whole slide with OpenSlide, tifffile or cuCIM."""

import functools
import math
import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from os import PathLike

import numpy as np
import tifffile

from fieldwork.pixel_sizes import likely_mpp, number_or_none
from fieldwork.slides import SlideError, tiff

READERS = ("cucim", "tifffile", "openslide")

# From stored to shown pixels: orientation tag -> transpose, flip rows, flip columns (TIFF 6.0, p. 36).
TURN_OF_ORIENTATION = {
    1: (0, 0, 0),
    2: (0, 0, 1),
    3: (0, 1, 1),
    4: (0, 1, 0),
    5: (1, 0, 0),
    6: (1, 0, 1),
    7: (1, 1, 1),
    8: (1, 1, 0),
}


def open_slide(path: str | PathLike, reader: str) -> "Slide":
    """Open a whole slide with one reader.

    Parameters
    ----------
    path : str or path-like
        A slide of any format that the reader knows.
    reader : {'cucim', 'tifffile', 'openslide'}
        ``tifffile`` and ``cucim`` take sizes, pixel size and metadata from the TIFF tags; cuCIM then decodes.

    Returns
    -------
    Slide
        To be closed. Open it in the process that reads: neither threads nor file positions survive a fork.

    Raises
    ------
    SlideError
        The reader cannot open the file, or could only return wrong pixels: not 8 bits per sample, several planes,
        colours other than grey, RGB and JPEG's YCbCr.
    """
    try:
        check_file(path)
        return {"cucim": _Cucim, "tifffile": TiffSlide, "openslide": _OpenSlide}[reader](os.fspath(path))
    except SlideError:
        raise
    except Exception as error:  # damaged bytes make readers raise anything
        raise SlideError(f"cannot be opened: {_reason(error)}") from error


def check_file(path: str | PathLike) -> None:
    """Raise `SlideError` unless `path` is a regular file: a reader would wait forever for a pipe."""
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except OSError as error:
        raise SlideError(f"cannot be opened: {error.strerror}") from None
    if not regular:
        raise SlideError("not a regular file")


class Slide:
    """An open slide.

    Attributes
    ----------
    reader : str
        One of `READERS`.
    shapes : tuple of (height, width)
        In pixels, by level; level 0, the largest, first.
    mpp : (y, x) or None
        Micrometres per pixel of level 0; None where the file does not state it.
    objective_power : float or None
        Nominal magnification.
    properties : dict of str to str
        The vendor's metadata.
    tile : (height, width)
        Size of the smallest part of level 0 that can be decoded; the first part begins at its first pixel.
    """

    reader = shapes = mpp = objective_power = properties = None
    tile = (64, 64)  # where the file does not state it

    def read(self, level: int, y: int, x: int, height: int, width: int, workers: int = 1) -> np.ndarray:
        """Read a region.

        Parameters
        ----------
        level : int
            From 0, the largest.
        y, x : int
            Top left corner, in pixels of that level; may lie outside the slide. OpenSlide takes whole pixels of
            level 0, so its other levels are off by up to half a pixel of level 0.
        height, width : int
            In pixels of that level.
        workers : int
            Threads of tifffile and cuCIM.

        Returns
        -------
        (height, width, 3) uint8 array
            RGB, C-contiguous, colours as the reader returns them; white outside the slide and behind transparent
            pixels.

        Raises
        ------
        SlideError
            There is no such level, or a tile is missing or cannot be decoded.
        """
        if not 0 <= level < len(self.shapes):
            raise SlideError(f"no level {level}: the slide has {len(self.shapes)}")
        rows, columns = self.shapes[level]
        top, left, bottom, right = max(y, 0), max(x, 0), min(y + height, rows), min(x + width, columns)
        inside = bottom > top and right > left
        if inside:
            try:
                region = self._region(level, top, left, bottom - top, right - left, workers)
            except Exception as error:
                area = f"level {level}, rows {top} to {bottom - 1}, columns {left} to {right - 1}"
                raise SlideError(f"{area} cannot be read: {_reason(error)}") from error
            if region.shape[:2] == (height, width):
                return region
        canvas = np.full((height, width, 3), 255, np.uint8)
        if inside:
            canvas[top - y : bottom - y, left - x : right - x] = region
        return canvas

    @functools.cached_property
    def fluorescence(self) -> bool:
        """Return True if the ground is dark: Hamamatsu states it; else 25 samples of the lowest level decide."""
        stated = re.compile(r"(Excitation|Emission)WaveLength=[1-9]")
        if "hamamatsu.Fluorescence" in self.properties or any(map(stated.search, self.properties.values())):
            return True
        level = len(self.shapes) - 1
        (rows, columns), side = self.shapes[level], 32
        brightness = []
        for y in np.linspace(0, max(rows - side, 0), 5, dtype=int):
            for x in np.linspace(0, max(columns - side, 0), 5, dtype=int):
                try:
                    brightness.append(self.read(level, y, x, min(side, rows), min(side, columns)).max(axis=2).ravel())
                except SlideError:
                    continue  # the conversion will meet and report it
        # Bright field is above 200, dark ground below 30.
        return bool(brightness) and bool(np.median(np.concatenate(brightness)) < 64)

    def associated(self) -> dict[str, np.ndarray]:
        """Return label, macro and so on, name -> (height, width, 3) uint8 array; without undecodable ones."""
        images = {}
        for name, image in self._associated():
            try:
                images[name.lower()] = _rgb(image())
            except Exception:
                self._recover()
        return images

    def _recover(self):
        """Restore the slide after an error."""


class TiffSlide(Slide):
    """An open TIFF file, as tifffile reads it.

    Attributes
    ----------
    pages : list of tifffile.TiffPage
        By level.
    upright : bool
        Stored pixels are shown as they are, neither turned nor flipped.
    """

    reader = "tifffile"

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")  # noqa: SIM115
        try:
            self._tif = tifffile.TiffFile(self._file, name=os.path.basename(path))
            if not self._tif.series:
                raise SlideError("a TIFF file without images")
            if self._tif.is_bif or self._tif.is_scn:
                raise SlideError("only OpenSlide knows where the tiles of Ventana's and Leica's scans belong")
            levels = self._tif.series[0].levels
            self.pages = [tiff.only_page(level, self._tif) for level in levels]
            self._turn = TURN_OF_ORIENTATION[int(self.pages[0].tags.valueof(274, 1))]
            self.upright = not any(self._turn)
            if self.upright:
                self.tile = tiff.segment_shape(self.pages[0])
            order = slice(None, None, -1 if self._turn[0] else 1)
            self.shapes = tuple((page.imagelength, page.imagewidth)[order] for page in self.pages)
            self.properties, self.mpp, self.objective_power = tiff.metadata_of(self._tif)
            self.mpp = self.mpp and self.mpp[order]
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _associated(self):
        if self._tif.is_svs or self._tif.is_ndpi:
            yield from ((series.name, series.asarray) for series in self._tif.series[1:])

    def _region(self, level, y, x, height, width, workers):
        page, (transpose, *flips) = self.pages[level], self._turn
        rows, columns = self.shapes[level]
        y, x = rows - y - height if flips[0] else y, columns - x - width if flips[1] else x
        box = (x, y, width, height) if transpose else (y, x, height, width)
        image = self._stored(page, *box, workers)
        image = image.swapaxes(0, 1) if transpose else image
        image = np.flip(image, [axis for axis in (0, 1) if flips[axis]])
        return _rgb(image, inverted=page.photometric == 0, premultiplied=1 in page.extrasamples)

    def _stored(self, page, y, x, height, width, workers):
        """Decode the tiles or strips of a page that show the box: a (height, width, samples) array."""
        image = np.empty((height, width, page.samplesperpixel), np.uint8)
        length, breadth = tiff.segment_shape(page)
        is_jpeg = page.compression in tiff.JPEG_COMPRESSIONS
        tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if is_jpeg else {}

        def decode(number):
            data = self.stored_bytes(page, number)
            # tifffile decodes a truncated JPEG in part, without an error; NDPI's tiles are parts of one, without ends.
            if tables and page.jpegheader is None and not data.rstrip(b"\0").endswith(b"\xff\xd9"):
                raise SlideError(f"{tiff.segment_name(page, number)} is truncated: its JPEG stream has no end")
            try:
                tile, (sample, _, top, left, _), _ = page.decode(data, number, **tables)
            except Exception as error:
                raise SlideError(f"{tiff.segment_name(page, number)} cannot be decoded: {_reason(error)}") from error
            plane = image if page.planarconfig == 1 else image[..., sample : sample + 1]
            above, before = max(y - top, 0), max(x - left, 0)
            part = tile[0, above : y + height - top, before : x + width - left]
            # This raises where the tile is smaller than its tags say.
            plane[top + above - y : top + length - y, left + before - x : left + breadth - x] = part

        numbers = tiff.segments_showing(page, y, x, height, width)
        if workers == 1 or len(numbers) == 1:
            for number in numbers:
                decode(number)
        else:
            with ThreadPoolExecutor(workers) as threads:
                list(threads.map(decode, numbers))
        return image

    def stored_bytes(self, page: tifffile.TiffPage, number: int) -> bytes:
        """Read the stored bytes of a tile or strip, or raise `SlideError` where they are missing or truncated.

        Sparse files are refused: their absent tiles look like missing ones.
        """
        table = page.dataoffsets, page.databytecounts
        offset, count = (values[number] if number < len(values) else 0 for values in table)
        data = os.pread(self._file.fileno(), count, offset) if offset else b""  # threads share the position
        if not data or len(data) < count:
            raise SlideError(f"{tiff.segment_name(page, number)} is {'truncated' if data else 'missing'}")
        return data


class _Cucim(TiffSlide):
    reader = "cucim"

    def __init__(self, path):
        from cucim import CuImage  # here: large, seldom used, and absent on macOS

        super().__init__(path)
        if not self.upright:
            raise SlideError("cuCIM applies the orientation tag only in part")
        self._slide = CuImage(path)
        sizes = self._slide.resolutions["level_dimensions"]
        self._downsamples = self._slide.resolutions["level_downsamples"]
        if tuple(size[::-1] for size in sizes) != self.shapes:
            raise SlideError(
                f"cuCIM sees levels of (width, height) {sizes}; the tags say (height, width) {self.shapes}"
            )

    def close(self):
        self._slide.close()
        super().close()

    def _region(self, level, y, x, height, width, workers):
        page = self.pages[level]
        for number in tiff.segments_showing(page, y, x, height, width):
            # On a damaged JPEG tile cuCIM returns stale memory; on a damaged JPEG 2000 tile it aborts.
            data, name = self.stored_bytes(page, number), tiff.segment_name(page, number)
            if page.compression in tiff.JPEG_COMPRESSIONS:
                list(tiff.jpeg_markers(data, name))
            elif page.compression in tiff.JPEG_2000_COMPRESSIONS and not data.startswith(b"\xff\x4f\xff\x51"):
                raise SlideError(f"{name} cannot be decoded: not a JPEG 2000 stream")
        downsample = self._downsamples[level]
        location = tuple(math.ceil(value * downsample) for value in (x, y))  # cuCIM takes pixels of level 0
        return _rgb(np.asarray(self._slide.read_region(location, (width, height), level, num_workers=workers)))


class _OpenSlide(Slide):
    reader = "openslide"

    def __init__(self, path):
        import openslide  # here: large, and seldom used

        self._open = lambda: openslide.OpenSlide(path)
        self._slide = self._open()
        self.shapes = tuple(size[::-1] for size in self._slide.level_dimensions)
        self.properties = dict(self._slide.properties)
        self.tile = tuple(
            int(self.properties.get(f"openslide.level[0].tile-{side}", 64)) for side in ("height", "width")
        )
        mpp = [self.properties.get(f"openslide.mpp-{axis}") for axis in "yx"]
        self.mpp = likely_mpp(mpp if all(mpp) else None)
        self.objective_power = number_or_none(self.properties.get("openslide.objective-power"))

    def close(self):
        self._slide.close()

    def _associated(self):
        yield from ((name, functools.partial(self._image, name)) for name in self._slide.associated_images)

    def _image(self, name):
        return np.asarray(self._slide.associated_images[name])

    def _region(self, level, y, x, height, width, workers):
        downsample = self._slide.level_downsamples[level]
        location = round(x * downsample), round(y * downsample)
        try:
            return _rgb(np.asarray(self._slide.read_region(location, level, (width, height))))
        except Exception:
            self._recover()
            raise

    def _recover(self):
        self._slide.close()  # after one failed tile OpenSlide fails on all others
        self._slide = self._open()


def _rgb(image, inverted=False, premultiplied=False):
    """Convert (rows, columns[, samples]) uint8, grey or RGB and perhaps with alpha, to RGB on white."""
    image = np.atleast_3d(image)
    samples = image.shape[2]
    colours = image[..., :3] if samples > 2 else image[..., [0, 0, 0]]
    colours = 255 - colours if inverted else colours
    if samples in (2, 4) and (alpha := image[..., -1:].astype(np.uint16)).min() < 255:
        front = colours.astype(np.uint16) * (255 if premultiplied else alpha)
        colours = np.minimum((front + (255 - alpha) * 255 + 127) // 255, 255).astype(np.uint8)
    return np.ascontiguousarray(colours, np.uint8)


def _reason(error):
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, SlideError) else f"{type(error).__name__}: {text}"
