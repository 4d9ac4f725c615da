"""An open slide, whatever reads it."""

import functools
import re

import numpy as np

import fieldwork
from fieldwork import NOT_READ
from fieldwork.decoding import DecodeError
from fieldwork.slides import SlideError, SlideNotReadError
from fieldwork.slides.inside import channels
from fieldwork.slides.inside.colours import to_rgb
from fieldwork.slides.metadata import are_hidden
from fieldwork.surroundings import unread
from fieldwork.tissue.modality import light_of


class Slide:
    """An open slide.

    Attributes
    ----------
    reader : str
        One of `READERS`.
    shapes : tuple of (height, width)
        In pixels, by level; level 0, the largest, first.
    stated : metadata.Metadata
        What the file states of the slide.
    tile : (height, width)
        Size of the smallest part of level 0 that can be decoded; the first part begins at its first pixel.
    channels : list of channels.Channel
        Red, green and blue; of fluorescence slides in channels, theirs.
    dtype : numpy.dtype
        uint8; of channels, uint8 or uint16.
    number : int
        Of the picture in the file, from 0.
    sizes : list of (height, width)
        Of all pictures in the file, where the reader knows them.
    others : list of str
        Other pictures of the file that may be slides, with their numbers and sizes.
    warnings : list of str
        What was decided about the file's pictures.
    icc_profile : bytes or None
        The colour profile, as it is stored.
    """

    reader = shapes = stated = icc_profile = None
    tile = (64, 64)  # where the file does not state it
    channels, dtype, number, sizes, others, warnings = channels.RGB, np.dtype(np.uint8), 0, (), (), ()

    @property
    def mpp(self) -> tuple[float, float] | None:
        """Return (y, x) micrometres per pixel of level 0; None where the file does not state them, or not credibly."""
        return self.stated.pixel.mpp

    @property
    def objective_power(self) -> float | None:
        """Return the nominal magnification."""
        return self.stated.objective_power

    @property
    def properties(self) -> dict[str, str]:
        """Return the vendor's metadata."""
        return self.stated.properties

    @property
    def is_rgb(self) -> bool:
        """Return True if pixels are red, green and blue, False if they are channels of fluorescence."""
        return self.channels is channels.RGB

    def blank(self, height: int, width: int) -> np.ndarray:
        """Return pixels where there is no picture: white, or 0 in channels of fluorescence."""
        return np.full((height, width, len(self.channels)), 255 if self.is_rgb else 0, self.dtype)

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
        (height, width, channels) array of `dtype`
            RGB, C-contiguous, colours as the reader returns them; white outside the slide and behind transparent
            pixels; tiles that a TIFF file leaves out are white, or black in fluorescence. Or channels of fluorescence,
            0 outside the slide.

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
                raise error_of(error, f"{area} cannot be read") from error
            if region.shape[:2] == (height, width):
                return region
        canvas = self.blank(height, width)
        if inside:
            canvas[top - y : bottom - y, left - x : right - x] = region
        return canvas

    @property
    def states_fluorescence(self) -> bool:
        """Return True if the metadata state wavelengths, as Hamamatsu's do, or if it has channels of fluorescence."""
        stated = re.compile(r"(Excitation|Emission)WaveLength=[1-9]")
        return (
            not self.is_rgb
            or "hamamatsu.Fluorescence" in self.properties
            or any(map(stated.search, self.properties.values()))
        )

    @functools.cached_property
    def fluorescence(self) -> bool:
        """Return True if the ground is dark: the metadata state it; else 25 samples of the lowest level decide.

        The conversion needs to know before it has seen all pixels, from which `slides.ground` decides in the end.
        """
        return self.states_fluorescence or self._is_dark()

    def _is_dark(self):
        samples = []
        for sample in self._samples():
            try:
                samples.append(sample().reshape(1, -1, 3))
            except (SlideError, DecodeError) as error:
                refuse_unread(error)
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
                images[name.lower()] = to_rgb(image())
            except Exception as error:
                refuse_unread(error)
                self._recover()
        return images

    def _recover(self):
        """Restore the slide after an error."""


def reason_of(error: Exception) -> str:
    """Return the message of an error in one line, with its type unless it is one of the library's own.

    What others say may quote the file; where properties are hidden, the type is all.
    """
    own = SlideError, DecodeError
    return fieldwork.reason_of(error, own=own) if isinstance(error, own) or not are_hidden() else type(error).__name__


def error_of(error: Exception, failed: str) -> SlideError:
    """Return what is raised in place of an error; `failed` is what failed, for the message."""
    if cause := unread.cause_of(error):
        return SlideNotReadError(f"{NOT_READ}{cause}")
    return SlideError(f"{failed}: {reason_of(error)}")


def refuse_unread(error: Exception) -> None:
    """Raise SlideNotReadError if an error has its cause outside the slide's files."""
    if cause := unread.cause_of(error):
        raise SlideNotReadError(f"{NOT_READ}{cause}") from error
