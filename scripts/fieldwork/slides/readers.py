"""Read regions of any level of a whole slide with OpenSlide, tifffile or cuCIM."""

import contextlib
import functools
import math
import os
import stat
from os import PathLike

import numpy as np

from fieldwork.inputs.inside.headers import LONGEST_PX
from fieldwork.slides import SlideError, metadata
from fieldwork.slides.inside.colours import to_rgb
from fieldwork.slides.inside.slide import Slide, error_of, refuse_unread
from fieldwork.slides.inside.tiff_slide import TiffSlide

READERS = ("cucim", "tifffile", "openslide")


def open_slide(path: str | PathLike, reader: str, picture: int | None = None, *, copies: str | None = None) -> Slide:
    """Open a whole slide with one reader.

    Parameters
    ----------
    path : str or path-like
        A slide of any format that the reader knows.
    reader : {'cucim', 'tifffile', 'openslide'}
        ``tifffile`` and ``cucim`` take sizes, pixel size and metadata from the TIFF tags; cuCIM then decodes.
    picture : int, optional
        Number of the picture in the file, from 0; by default that which `series.choose` chooses. Only tifffile knows
        others than the first.
    copies : str, optional
        Folder with copies of the long tiles and strips of a TIFF file, from `inside.copies`.

    Returns
    -------
    Slide
        To be closed. Open it in the process that reads: neither threads nor file positions survive a fork.

    Raises
    ------
    SlideError
        The reader cannot open the file, or could only return wrong pixels: colours of other than 8 bits per sample,
        colours other than grey, RGB and JPEG's YCbCr; channels of other than 8 or 16 bits, time points.
    """
    try:
        check_file(path)
        slides = {"cucim": _Cucim, "tifffile": TiffSlide, "openslide": _OpenSlide}
        return slides[reader](os.fspath(path), picture, copies=copies)
    except SlideError as error:
        refuse_unread(error)
        raise
    except Exception as error:  # damaged bytes make readers raise anything
        raise error_of(error, "cannot be opened") from error


def check_file(path: str | PathLike) -> None:
    """Raise `SlideError` unless `path` is a regular file: a reader would wait forever for a pipe."""
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except OSError as error:
        raise error_of(error, "cannot be opened") from None
    if not regular:
        raise SlideError("not a regular file")


class _Cucim(TiffSlide):
    reader = "cucim"

    def __init__(self, path, picture=None, *, copies=None):
        from cucim import CuImage  # here: large, seldom used, and absent on macOS

        super().__init__(path, picture, copies=copies)
        if not self.upright:
            raise SlideError("cuCIM applies the orientation tag only in part")
        if self.number or not self.is_rgb or len(self.planes[0]) > 1:
            raise SlideError("cuCIM reads the first picture of a file, in colour")
        if math.prod(self.tile) > LONGEST_PX**2:
            raise SlideError("cuCIM decodes its large tiles or strips as a whole for every region")
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
        return to_rgb(np.asarray(self._slide.read_region(location, (width, height), level, num_workers=workers)))


class _OpenSlide(Slide):
    reader = "openslide"

    def __init__(self, path, picture=None, *, copies=None):
        import openslide  # here: large, and seldom used

        if picture:
            raise SlideError("OpenSlide reads the first picture of a file")
        self._open = lambda: openslide.OpenSlide(path)
        self._slide = self._open()
        self.shapes = tuple(size[::-1] for size in self._slide.level_dimensions)
        if self.shapes.count(self.shapes[0]) > 1:
            raise SlideError("OpenSlide takes its focal planes for levels")
        self.stated = metadata.metadata_of_openslide(self._slide.properties)
        self._tiff = _tiff_slide(path, self.shapes[0], copies)
        self.tile = tuple(
            int(self.properties.get(f"openslide.level[0].tile-{side}", 64)) for side in ("height", "width")
        )
        if self.properties.get("dicom.ImageType[3]") == "RESAMPLED":
            self.warnings = ["its largest level is a resampled one: the file of the full resolution may be missing"]
        with contextlib.suppress(Exception):  # a broken profile costs no pixel
            self.icc_profile = self._slide.color_profile and self._slide.color_profile.tobytes()

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
            if self._tiff.is_shown and self._tiff.has_gaps(level, y, x, height, width):
                self._tiff.fluorescence = self.fluorescence
                return self._tiff.read(level, y, x, height, width, workers)
        downsample = self._slide.level_downsamples[level]
        location = round(x * downsample), round(y * downsample)
        try:
            return to_rgb(np.asarray(self._slide.read_region(location, level, (width, height))))
        except Exception:
            self._recover()
            raise

    def _recover(self):
        self._slide.close()  # after one failed tile OpenSlide fails on all others
        self._slide = self._open()


def _tiff_slide(path, shape, copies):
    """Open a slide as a TIFF file, None if it is none of which level 0 has this shape."""
    try:
        slide = TiffSlide(path, copies=copies, checks_alone=True)
    except Exception as error:  # damaged bytes make readers raise anything
        refuse_unread(error)
        return None
    if slide.shapes[0] == shape:
        return slide
    slide.close()
    return None
