"""A TIFF slide, as tifffile reads it."""

import functools
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tifffile

from fieldwork.decoding.segments import (
    JPEG_COMPRESSIONS,
    is_ycbcr_in_jpeg_2000,
    read_page,
    segment_shape,
    segments_showing,
)
from fieldwork.inputs.inside.headers import LARGEST_SEGMENT_PX
from fieldwork.slides import SlideError, metadata
from fieldwork.slides.inside import channels, pictures, series
from fieldwork.slides.inside.colours import to_rgb
from fieldwork.slides.inside.parts import Parts
from fieldwork.slides.inside.slide import Slide

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


class TiffSlide(Slide):
    """An open TIFF file, as tifffile reads it.

    Attributes
    ----------
    pages : list of tifffile.TiffPage
        By level.
    planes : list of list of Parts
        The tiles or strips of every plane, by level.
    is_shown : bool
        Its pixels can be read; else its tiles can be checked alone.
    upright : bool
        Stored pixels are shown as they are, neither turned nor flipped.
    """

    reader = "tifffile"

    def __init__(
        self, path: str, picture: int | None = None, *, copies: str | None = None, checks_alone: bool = False
    ) -> None:
        self._file = open(path, "rb")  # noqa: SIM115
        try:
            self._tif = pictures.open_tiff(self._file, path)
            if self._tif.is_bif or self._tif.is_scn:
                raise SlideError("only OpenSlide knows where the tiles of Ventana's and Leica's scans belong")
            inside = pictures.pictures_of(self._tif, path)
            choice = series.choose(inside, picture)
            self.sizes = [(picture.page.imagelength, picture.page.imagewidth) for picture in inside]
            self._associates = choice.associated
            self.number, self.others, self.warnings = choice.number, choice.others, choice.warnings
            self.is_shown = not any(map(is_ycbcr_in_jpeg_2000, itertools.chain(*choice.picture.levels)))
            for page in itertools.chain(*choice.picture.levels):
                if not (checks_alone and is_ycbcr_in_jpeg_2000(page)):
                    check_page(page)
            self.pages = [planes[0] for planes in choice.picture.levels]
            self.planes = [[Parts(page, copies) for page in planes] for planes in choice.picture.levels]
            self.icc_profile = _stored_bytes(self.pages[0].tags.get(34675))
            self._turn = TURN_OF_ORIENTATION.get(self.pages[0].tags.valueof(274, 1), TURN_OF_ORIENTATION[1])
            self.upright = not any(self._turn)
            if self.upright:
                self.tile = self.planes[0][0].segments.shape
            order = slice(None, None, -1 if self._turn[0] else 1)
            self.shapes = tuple((page.imagelength, page.imagewidth)[order] for page in self.pages)
            stated = metadata.metadata_of(self._tif, self.pages[0], choice.picture.image)
            self.stated = stated.turned() if self._turn[0] else stated
            self._name_channels(choice.picture)
        except BaseException:
            self._file.close()
            raise

    def _name_channels(self, picture):
        """Name the channels; of three planes without names the ground decides whether they are red, green and blue."""
        decided = channels.channels_of(picture.levels[0], picture.channels)
        if decided is None:
            dark = self._is_dark()
            kind = "dark: they are channels of fluorescence" if dark else "bright: they are red, green and blue"
            self.warnings = [*self.warnings, f"its three planes have no names, and their ground is {kind}"]
            decided = channels.named(picture.channels, 3) if dark else channels.RGB
        self.channels, self.dtype = decided, self.pages[0].dtype

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _associated(self):
        for name, picture in self._associates.items():
            yield name, functools.partial(self._picture, picture)

    @staticmethod
    def _picture(picture):
        """Return an associated image as it is stored."""
        planes = [read_page(page) for page in picture.levels[0]]
        image = planes[0] if len(planes) == 1 else np.stack(planes[:3], axis=2)
        image = np.moveaxis(image, 0, 2) if picture.page.axes == "SYX" else image
        return (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image

    def has_gaps(self, level: int, y: int, x: int, height: int, width: int) -> bool:
        """Return True if tiles or strips of a region, as for `read`, were left out of the file, as TIFF allows."""
        numbers = self._numbers(level, y, x, height, width)
        return any(parts.segments.is_absent(number) for parts in self.planes[level] for number in numbers)

    def check(self, level: int, y: int, x: int, height: int, width: int, workers: int = 1) -> None:
        """Raise `DecodeError` unless the decoder finds no fault in any tile or strip of a region, as for `read`."""
        numbers = self._numbers(level, y, x, height, width)
        for parts in self.planes[level]:
            present = [number for number in numbers if not parts.segments.is_absent(number)]
            _in_threads(parts.check, present, workers)

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
        box = self._box(level, y, x, height, width)
        planes = [self._stored(page, parts, *box, workers) for parts in self.planes[level]]
        image = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)
        image = image.swapaxes(0, 1) if transpose else image
        image = np.flip(image, [axis for axis in (0, 1) if flips[axis]])
        return self._shown(page, image)

    def _stored(self, page, parts, y, x, height, width, workers):
        """Decode the tiles or strips of a plane that show the box: a (height, width, samples) array."""
        image, segments = np.empty((height, width, page.samplesperpixel), page.dtype), parts.segments

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
                area[:] = parts.read(number, above, before, *area.shape[:2])

        _in_threads(fill, segments_showing(page, y, x, height, width), workers)
        return image

    def _absent(self, page):
        """Return the stored pixel that stands for absent ones: white, or black in fluorescence."""
        shown = 0 if self.fluorescence else 255
        pixel = np.full(page.samplesperpixel, 255 - shown if page.photometric == 0 else shown, page.dtype)
        if (alpha := channels.alpha_of(page)) is not None:
            pixel[alpha] = 255  # opaque
        return pixel

    def _samples(self):
        levels = [(level, planes[0].segments.present()) for level, planes in enumerate(self.planes)]
        level, present = next((entry for entry in reversed(levels) if entry[1]), levels[-1])
        if self.planes[level][0].segments.count == len(present):
            return super()._samples()
        step = max(len(present) // MOST_SAMPLES, 1)  # without the gaps
        return [functools.partial(self._segment, level, number) for number in present[::step]]

    def _segment(self, level, number):
        """Decode the part of a tile or strip that lies in the picture, as it is shown but for its orientation."""
        page = self.pages[level]
        _, top, left = self.planes[level][0].segments.position(number)
        numbers = segments_showing(page, top, left, 1, 1)  # one for each sample plane
        planes = [parts.segments.decode(number) for parts in self.planes[level] for number in numbers]
        image = np.concatenate(planes, axis=2)[: page.imagelength - top, : page.imagewidth - left]
        return self._shown(page, image)

    def _shown(self, page, image):
        """Return stored samples as they are shown, colours as RGB."""
        if not self.is_rgb:
            return np.ascontiguousarray(image[..., : len(self.channels)])
        is_grey = page.photometric in (0, 1) and image.shape[2] - (channels.alpha_of(page) is not None) < 3
        return to_rgb(
            image,
            1 if is_grey else 3,
            alpha=channels.alpha_of(page),
            inverted=page.photometric == 0,
            premultiplied=1 in page.extrasamples,
        )


def check_page(page: tifffile.TiffPage) -> None:
    """Raise `SlideError` if the pixels of a page are neither 8-bit colours nor grey of 8 or 16 bits."""
    if page.axes not in ("YX", "YXS", "SYX"):
        raise SlideError(f"an image of axes {page.axes} and shape {page.shape}; expected one of rows and columns")
    if page.photometric not in (0, 1, 2) and not (page.photometric == 6 and page.compression in JPEG_COMPRESSIONS):
        raise SlideError(f"colours stored as {page.photometric!r}, {page.compression!r}; expected grey or RGB")
    kinds = {"uint8": 8, "uint16": 16} if page.photometric == 1 else {"uint8": 8}
    if kinds.get(str(page.dtype)) != page.bitspersample:
        raise SlideError(
            f"{page.bitspersample} bits per sample ({page.dtype}); expected 8 in colour, 8 or 16 (whole numbers) in "
            "channels of fluorescence"
        )
    length, width = segment_shape(page)
    if not page.imagelength * page.imagewidth or not 0 < length * width <= LARGEST_SEGMENT_PX:
        sizes = f"{page.imagelength} x {page.imagewidth} pixels in tiles or strips of {length} x {width}"
        raise SlideError(f"{sizes}; expected some, and at most {LARGEST_SEGMENT_PX} in one")


def _stored_bytes(tag: tifffile.TiffTag | None) -> bytes | None:
    """Return the value of a tag as it is stored, whatever type the tag states; None without the tag."""
    if tag is None:
        return None
    file = tag.parent.filehandle
    file.seek(tag.valueoffset)
    return file.read(tag.valuebytecount)


def _in_threads(function, items, workers):
    """Call a function with every item."""
    if workers == 1 or len(items) < 2:
        for item in items:
            function(item)
    else:
        with ThreadPoolExecutor(workers) as threads:
            list(threads.map(function, items))
