"""Read regions of any level of a whole slide with OpenSlide, tifffile or cuCIM."""

import functools
import math
import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree

import numpy as np

from fieldwork.pixel_sizes import MICROMETRES, likely_mpp, number_or_none

READERS = ("cucim", "tifffile", "openslide")
MOST_PIXELS = 2**28  # of one tile or strip; more is a damaged header, or no region can be read without the whole
JPEG, JPEG_2000 = (6, 7, 34892), (33003, 33004, 33005, 34712)  # TIFF compressions
# How to turn stored pixels into shown ones, by orientation tag: transpose, flip rows, flip columns (TIFF 6.0, p. 36).
TURNS = dict(enumerate(([0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 0], [1, 0, 0], [1, 0, 1], [1, 1, 1], [1, 1, 0]), 1))


class SlideError(Exception):
    """Why a slide or a part of it cannot be read; the text is the reason, for people."""


def open_slide(path, reader):
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
        Open, to be closed. Open it in the process that reads: neither threads nor file positions survive a fork.

    Raises
    ------
    SlideError
        The reader cannot open the file, or could only give wrong pixels: not 8 bits per sample, several planes,
        colours other than grey, RGB and JPEG's YCbCr.
    """
    try:
        check_file(path)
        return {"cucim": _Cucim, "tifffile": _Tiff, "openslide": _OpenSlide}[reader](os.fspath(path))
    except SlideError:
        raise
    except Exception as error:  # damaged bytes make readers raise anything
        raise SlideError(f"cannot be opened: {_reason(error)}") from error


def check_file(path):
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)  # a pipe would make a reader wait for ever
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
        Pieces of level 0, counted from its first pixel, of which no part can be decoded without the whole.
    """

    reader = shapes = mpp = objective_power = properties = None
    tile = (64, 64)  # where the file does not tell

    def read(self, level, y, x, height, width, workers=1):
        """Read a region.

        Parameters
        ----------
        level : int
            0 is the largest.
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
            RGB, C-contiguous, colours as the reader gives them; white outside the slide and behind what is
            transparent.

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
                place = f"level {level}, rows {top} to {bottom - 1}, columns {left} to {right - 1}"
                raise SlideError(f"{place} cannot be read: {_reason(error)}") from error
            if region.shape[:2] == (height, width):
                return region
        canvas = np.full((height, width, 3), 255, np.uint8)
        if inside:
            canvas[top - y : bottom - y, left - x : right - x] = region
        return canvas

    @functools.cached_property
    def fluorescence(self):
        """Whether the ground is dark: stated (Hamamatsu), or seen on the lowest level at 25 places."""
        stated = re.compile(r"(Excitation|Emission)WaveLength=[1-9]")
        if "hamamatsu.Fluorescence" in self.properties or any(map(stated.search, self.properties.values())):
            return True
        level = len(self.shapes) - 1
        (rows, columns), side = self.shapes[level], 32
        seen = []
        for y in np.linspace(0, max(rows - side, 0), 5, dtype=int):
            for x in np.linspace(0, max(columns - side, 0), 5, dtype=int):
                try:
                    seen.append(self.read(level, y, x, min(side, rows), min(side, columns)).max(axis=2).ravel())
                except SlideError:
                    continue  # whoever converts the slide will meet it, and say so
        return bool(seen) and bool(np.median(np.concatenate(seen)) < 64)  # bright field is above 200, dark below 30

    def associated(self):
        """Give the label, macro and so on: a dict of name to (height, width, 3) uint8; without undecodable ones."""
        images = {}
        for name, image in self._associated():
            try:
                images[name.lower()] = _rgb(image())
            except Exception:
                self._recover()
        return images

    def _recover(self):
        """Make the slide usable after an error."""


class _Tiff(Slide):
    reader = "tifffile"

    def __init__(self, path):
        import tifffile

        self._file = open(path, "rb")  # noqa: SIM115
        try:
            self._tif = tifffile.TiffFile(self._file, name=os.path.basename(path))
            if not self._tif.series:
                raise SlideError("a TIFF file without images")
            if self._tif.is_bif or self._tif.is_scn:
                raise SlideError("only OpenSlide knows where the tiles of Ventana's and Leica's scans belong")
            levels = self._tif.series[0].levels
            self._pages = [_only_page(each, self._tif) for each in levels]
            self._turn = TURNS[int(self._pages[0].tags.valueof(274, 1))]
            if self._turn == TURNS[1]:
                self.tile = _segment_shape(self._pages[0])
            turned = slice(None, None, -1 if self._turn[0] else 1)
            self.shapes = tuple((page.imagelength, page.imagewidth)[turned] for page in self._pages)
            self.properties, self.mpp, self.objective_power = _metadata(self._tif)
            self.mpp = self.mpp and self.mpp[turned]
        except BaseException:
            self._file.close()
            raise

    def close(self):
        self._file.close()

    def _associated(self):
        if self._tif.is_svs or self._tif.is_ndpi:
            yield from ((series.name, series.asarray) for series in self._tif.series[1:])

    def _region(self, level, y, x, height, width, workers):
        page, (transpose, *flips) = self._pages[level], self._turn
        rows, columns = self.shapes[level]
        y, x = rows - y - height if flips[0] else y, columns - x - width if flips[1] else x
        box = (x, y, width, height) if transpose else (y, x, height, width)
        image = self._stored(page, *box, workers)
        image = image.swapaxes(0, 1) if transpose else image
        image = np.flip(image, [axis for axis in (0, 1) if flips[axis]])
        return _rgb(image, inverted=page.photometric == 0, premultiplied=1 in page.extrasamples)

    def _stored(self, page, y, x, height, width, workers):
        """Decode the tiles or strips of a page that show the box; (height, width, samples)."""
        image = np.empty((height, width, page.samplesperpixel), np.uint8)
        length, breadth = _segment_shape(page)
        tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if page.compression in JPEG else {}

        def decode(number):
            data = self._bytes(page, number)
            # tifffile gives the head of a truncated JPEG without a word; NDPI's tiles are parts of one, without ends
            if tables and page.jpegheader is None and not data.rstrip(b"\0").endswith(b"\xff\xd9"):
                raise SlideError(f"{segment_name(page, number)} is truncated: its JPEG stream has no end")
            try:
                tile, (sample, _, top, left, _), _ = page.decode(data, number, **tables)
            except Exception as error:
                raise SlideError(f"{segment_name(page, number)} cannot be decoded: {_reason(error)}") from error
            plane = image if page.planarconfig == 1 else image[..., sample : sample + 1]
            above, before = max(y - top, 0), max(x - left, 0)
            part = tile[0, above : y + height - top, before : x + width - left]
            # raises where the tile is smaller than it should be
            plane[top + above - y : top + length - y, left + before - x : left + breadth - x] = part

        numbers = _segments(page, y, x, height, width)
        if workers == 1 or len(numbers) == 1:
            for number in numbers:
                decode(number)
        else:
            with ThreadPoolExecutor(workers) as threads:
                list(threads.map(decode, numbers))
        return image

    def _bytes(self, page, number):
        """Read the stored bytes of a tile or strip. Sparse files are refused: what is missing cannot be told."""
        table = page.dataoffsets, page.databytecounts
        offset, count = (values[number] if number < len(values) else 0 for values in table)
        data = os.pread(self._file.fileno(), count, offset) if offset else b""  # threads share the position
        if not data or len(data) < count:
            raise SlideError(f"{segment_name(page, number)} is {'truncated' if data else 'missing'}")
        return data


def _only_page(level, tif):
    """Give the one page of a pyramid's level, if its pixels can be given as 8-bit RGB."""
    page = level.keyframe
    if len(level.pages) != 1 or level[0] is not page or page.parent is not tif or page.axes not in ("YX", "YXS", "SYX"):
        raise SlideError(f"an image of axes {level.axes} and shape {level.shape}; expected one of rows and columns")
    if page.dtype != np.uint8 or page.bitspersample != 8:
        raise SlideError(f"{page.bitspersample} bits per sample ({page.dtype}); expected 8, a slide in colour or grey")
    if page.photometric not in (0, 1, 2) and not (page.photometric == 6 and page.compression in JPEG):
        raise SlideError(f"colours stored as {page.photometric!r}, {page.compression!r}; expected grey or RGB")
    length, width = _segment_shape(page)
    if not page.imagelength * page.imagewidth or not 0 < length * width <= MOST_PIXELS:
        found = f"{page.imagelength} x {page.imagewidth} pixels in tiles or strips of {length} x {width}"
        raise SlideError(f"{found}; expected some, and at most {MOST_PIXELS} in one")
    return page


def _segment_shape(page):
    return (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)


def segment_grid(page):
    """Count the rows and columns of tiles or strips of a page."""
    length, width = _segment_shape(page)
    return math.ceil(page.imagelength / length), math.ceil(page.imagewidth / width)


def _segments(page, y, x, height, width):
    """Number the tiles or strips of a page that show a box, row by row, sample plane by sample plane."""
    (length, breadth), (down, across) = _segment_shape(page), segment_grid(page)
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    rows, columns = (
        range(y // length, (y + height - 1) // length + 1),
        range(x // breadth, (x + width - 1) // breadth + 1),
    )
    return [(plane * down + row) * across + column for plane in range(planes) for row in rows for column in columns]


def segment_name(page, number):
    down, across = segment_grid(page)
    kind = "tile" if page.is_tiled else "strip"
    return f"{kind} {number} (row {number // across % down}, column {number % across})"


def _metadata(tif):
    """Give properties, (y, x) micrometres per pixel and objective power as a TIFF file states them."""
    from tifffile.tifffile import svs_description_metadata

    page, properties, mpp = tif.pages.first, {}, None
    for name in ("ImageDescription", "Make", "Model", "Software", "DateTime"):
        if page.tags.valueof(name):
            properties[f"tiff.{name}"] = str(page.tags.valueof(name))
    vendor = {"aperio": svs_description_metadata(page.description)} if tif.is_svs else {}
    if tif.is_ndpi:
        vendor = {"hamamatsu": page.ndpi_tags}
    properties |= {f"{name}.{key}": str(value) for name, tags in vendor.items() for key, value in tags.items()}
    power = properties.get("aperio.AppMag") or properties.get("hamamatsu.Magnification")
    if "aperio.MPP" in properties:
        mpp = (properties["aperio.MPP"],) * 2
    if tif.is_ome:
        mpp, power = _ome_metadata(tif.ome_metadata)
    unit = {2: 25400, 3: 10000}.get(page.resolutionunit)
    if mpp is None and unit:
        mpp = [unit / value if value else 0 for value in page.resolution[::-1]]
    return properties, likely_mpp(mpp), number_or_none(power)


def _ome_metadata(xml):
    """Give (y, x) micrometres per pixel and the objective power of the first image."""
    root = ElementTree.fromstring(xml)
    pixels = root.find("{*}Image/{*}Pixels")
    units = [MICROMETRES.get(pixels.get(f"PhysicalSize{axis}Unit", "\xb5m"), 0) for axis in "YX"]
    sizes = [number_or_none(pixels.get(f"PhysicalSize{axis}")) or 0 for axis in "YX"]
    settings = root.find("{*}Image/{*}ObjectiveSettings")
    powers = {each.get("ID"): each.get("NominalMagnification") for each in root.iterfind("{*}Instrument/{*}Objective")}
    mpp = [size * unit for size, unit in zip(sizes, units, strict=True)]
    return mpp if all(mpp) else None, powers.get(settings.get("ID")) if settings is not None else None


class _Cucim(_Tiff):
    reader = "cucim"

    def __init__(self, path):
        from cucim import CuImage

        super().__init__(path)
        if self._turn != TURNS[1]:
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
        page = self._pages[level]
        for number in _segments(page, y, x, height, width):  # cuCIM gives stale memory for a bad JPEG tile
            data = self._bytes(page, number)
            if page.compression in JPEG:
                list(jpeg_markers(data, segment_name(page, number)))
            elif page.compression in JPEG_2000 and not data.startswith(b"\xff\x4f\xff\x51"):  # and aborts on these
                raise SlideError(f"{segment_name(page, number)} cannot be decoded: not a JPEG 2000 stream")
        downsample = self._downsamples[level]
        location = tuple(math.ceil(value * downsample) for value in (x, y))  # cuCIM takes pixels of level 0
        return _rgb(np.asarray(self._slide.read_region(location, (width, height), level, num_workers=workers)))


class _OpenSlide(Slide):
    reader = "openslide"

    def __init__(self, path):
        import openslide

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
    """Make (rows, columns[, samples]) uint8 of grey or RGB, perhaps with alpha, RGB on white."""
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


def jpeg_markers(stream, place):
    """Yield (marker, bytes) of each part of a JPEG stream, pixels with their scan's header, up to its end."""
    end_of_scan = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # stuffed bytes, restarts and fill bytes belong to it
    position, marker = 2, None
    if not stream.startswith(b"\xff\xd8"):
        raise SlideError(f"{place} cannot be decoded: not a JPEG stream: it starts with {stream[:2]!r}")
    while marker != 0xD9:
        marker = (
            stream[position + 1] if stream[position : position + 1] == b"\xff" and position + 1 < len(stream) else 0
        )
        stop = position + 2 + (0 if marker == 0xD9 else int.from_bytes(stream[position + 2 : position + 4]))
        if marker == 0xDA:
            found = end_of_scan.search(stream, stop)
            stop = found.start() if found else len(stream) + 1
        if marker < 0xC0 or stop > len(stream) or (marker != 0xD9 and stop < position + 4):
            raise SlideError(f"{place} cannot be decoded: its JPEG stream is damaged at byte {position}")
        yield marker, stream[position:stop]
        position = stop
