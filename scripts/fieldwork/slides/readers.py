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

from fieldwork.decoding import DecodeError
from fieldwork.decoding.segments import Segments, segments_showing
from fieldwork.pixel_sizes import likely_mpp, number_or_none
from fieldwork.slides import SlideError, tiff
from fieldwork.tissue.modality import light_of

READERS = ("cucim", "tifffile", "openslide")

MOST_SAMPLES = 25  # of a slide's brightness

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
            pixels; tiles that a TIFF file leaves out are white, or black in fluorescence.

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

    @property
    def states_fluorescence(self) -> bool:
        """Return True if the metadata state wavelengths of fluorescence, as Hamamatsu's do."""
        stated = re.compile(r"(Excitation|Emission)WaveLength=[1-9]")
        return "hamamatsu.Fluorescence" in self.properties or any(map(stated.search, self.properties.values()))

    @functools.cached_property
    def fluorescence(self) -> bool:
        """Return True if the ground is dark: the metadata state it; else 25 samples of the lowest level decide.

        The conversion needs to know before it has seen all pixels, from which `slides.ground` decides in the end.
        """
        if self.states_fluorescence:
            return True
        samples = []
        for sample in self._samples():
            try:
                samples.append(sample().reshape(1, -1, 3))
            except (SlideError, DecodeError):
                continue  # the conversion will meet and report it
        pixels = np.concatenate(samples, axis=1) if samples else np.zeros((1, 0, 3), np.uint8)
        return light_of(pixels, np.ones(pixels.shape[:2], bool), is_picture=False)[0]

    def _samples(self):
        """Return functions that read small parts of the lowest level, with pixels of the slide."""
        level = len(self.shapes) - 1
        (rows, columns), side = self.shapes[level], 32
        return [
            functools.partial(self.read, level, y, x, min(side, rows), min(side, columns))
            for y in np.linspace(0, max(rows - side, 0), 5, dtype=int)
            for x in np.linspace(0, max(columns - side, 0), 5, dtype=int)
        ]

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
    segments : list of Segments
        Their tiles or strips, by level.
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
            self.segments = [Segments(page, self._file) for page in self.pages]
            self._turn = TURN_OF_ORIENTATION[int(self.pages[0].tags.valueof(274, 1))]
            self.upright = not any(self._turn)
            if self.upright:
                self.tile = self.segments[0].shape
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

    def has_gaps(self, level: int, y: int, x: int, height: int, width: int) -> bool:
        """Return True if tiles or strips of a region, as for `read`, were left out of the file, as TIFF allows."""
        return any(map(self.segments[level].is_absent, self._numbers(level, y, x, height, width)))

    def check(self, level: int, y: int, x: int, height: int, width: int, workers: int = 1) -> None:
        """Raise `DecodeError` unless the decoder finds no fault in any tile or strip of a region, as for `read`."""
        segments = self.segments[level]
        numbers = self._numbers(level, y, x, height, width)
        _in_threads(segments.decode, [number for number in numbers if not segments.is_absent(number)], workers)

    def _numbers(self, level, y, x, height, width):
        return segments_showing(self.pages[level], *self._box(level, y, x, height, width))

    def _box(self, level, y, x, height, width):
        """Return the stored box of pixels that a shown one is made from."""
        transpose, *flips = self._turn
        rows, columns = self.shapes[level]
        y, x = rows - y - height if flips[0] else y, columns - x - width if flips[1] else x
        return (x, y, width, height) if transpose else (y, x, height, width)

    def _region(self, level, y, x, height, width, workers):
        page, (transpose, *flips) = self.pages[level], self._turn
        image = self._stored(level, *self._box(level, y, x, height, width), workers)
        image = image.swapaxes(0, 1) if transpose else image
        image = np.flip(image, [axis for axis in (0, 1) if flips[axis]])
        return self._shown(page, image)

    def _stored(self, level, y, x, height, width, workers):
        """Decode the tiles or strips of a level that show the box: a (height, width, samples) array."""
        page, segments = self.pages[level], self.segments[level]
        image = np.empty((height, width, page.samplesperpixel), np.uint8)

        def fill(number):
            plane, top, left = segments.position(number)
            above, before = max(y - top, 0), max(x - left, 0)
            samples = slice(None) if page.planarconfig == 1 else slice(plane, plane + 1)
            rows, columns = (
                slice(start + skipped - first, start + length - first)
                for start, skipped, first, length in zip(
                    (top, left), (above, before), (y, x), segments.shape, strict=True
                )
            )
            area = image[rows, columns, samples]
            if segments.is_absent(number):
                area[:] = self._absent(page)[samples]
            else:
                area[:] = segments.decode(number)[above : above + area.shape[0], before : before + area.shape[1]]

        _in_threads(fill, segments_showing(page, y, x, height, width), workers)
        return image

    def _absent(self, page):
        """Return the stored pixel that stands for absent ones: white, or black in fluorescence."""
        shown = 0 if self.fluorescence else 255
        pixel = np.full(page.samplesperpixel, 255 - shown if page.photometric == 0 else shown, np.uint8)
        pixel[3 if len(pixel) > 2 else 1 :] = 255  # opaque
        return pixel

    def _samples(self):
        levels = [(level, segments.present()) for level, segments in enumerate(self.segments)]
        level, present = next((entry for entry in reversed(levels) if entry[1]), levels[-1])
        if self.segments[level].count == len(present):
            return super()._samples()
        step = max(len(present) // MOST_SAMPLES, 1)  # without the gaps
        return [functools.partial(self._segment, level, number) for number in present[::step]]

    def _segment(self, level, number):
        """Decode the part of a tile or strip that lies in the picture, as it is shown but for its orientation."""
        page, segments = self.pages[level], self.segments[level]
        _, top, left = segments.position(number)
        return self._shown(page, segments.decode(number)[: page.imagelength - top, : page.imagewidth - left])

    @staticmethod
    def _shown(page, image):
        return _rgb(image, inverted=page.photometric == 0, premultiplied=1 in page.extrasamples)


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
        # On a damaged JPEG tile cuCIM returns stale memory; on a damaged JPEG 2000 tile it aborts.
        self.check(level, y, x, height, width, workers)
        if self.has_gaps(level, y, x, height, width):
            return super()._region(level, y, x, height, width, workers)
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
        self._tiff = _tiff_slide(path, self.shapes[0])
        self.tile = tuple(
            int(self.properties.get(f"openslide.level[0].tile-{side}", 64)) for side in ("height", "width")
        )
        mpp = [self.properties.get(f"openslide.mpp-{axis}") for axis in "yx"]
        self.mpp = likely_mpp(mpp if all(mpp) else None)
        self.objective_power = number_or_none(self.properties.get("openslide.objective-power"))

    def close(self):
        self._slide.close()
        if self._tiff:
            self._tiff.close()

    def _associated(self):
        yield from ((name, functools.partial(self._image, name)) for name in self._slide.associated_images)

    def _image(self, name):
        return np.asarray(self._slide.associated_images[name])

    def _region(self, level, y, x, height, width, workers):
        if self._tiff and level == 0:
            # OpenSlide sees no holes of zeros that end at the right place, and shows gaps white in fluorescence, too.
            self._tiff.check(level, y, x, height, width, workers)
            if self._tiff.has_gaps(level, y, x, height, width):
                return self._tiff.read(level, y, x, height, width, workers)
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


def _tiff_slide(path, shape):
    """Open a slide as a TIFF file, None if it is none of which level 0 has this shape."""
    try:
        slide = TiffSlide(path)
    except Exception:  # damaged bytes make readers raise anything
        return None
    if slide.shapes[0] == shape:
        return slide
    slide.close()
    return None


def _in_threads(function, items, workers):
    """Call a function with every item."""
    if workers == 1 or len(items) < 2:
        for item in items:
            function(item)
    else:
        with ThreadPoolExecutor(workers) as threads:
            list(threads.map(function, items))


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
    return text if isinstance(error, SlideError | DecodeError) else f"{type(error).__name__}: {text}"
