"""Decode compressed images strictly: what a decoder calls damaged, or is not what its container says, is an error."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fieldwork import FrameError, reason_of


class DecodeError(FrameError):
    """A compressed image is damaged, or is not what its container says; the message is the reason."""


class Form(NamedTuple):
    """The form that a container states of a compressed image."""

    heights: range  # px; tiles at the edge may be clipped to the picture
    widths: range  # px
    samples: int  # per pixel
    dtype: np.dtype

    def check(self, height: int, width: int, samples: int, dtype: np.dtype) -> None:
        """Raise `DecodeError` unless a compressed image has this form.

        Parameters
        ----------
        height, width : int
            In pixels.
        samples : int
            Per pixel.
        dtype : numpy.dtype
        """
        fits = height in self.heights and width in self.widths
        if not fits or samples != self.samples or dtype != self.dtype:
            raise DecodeError(
                f"it holds {height} x {width} pixels of {samples} x {dtype}; "
                f"expected {self.heights[-1]} x {self.widths[-1]} of {self.samples} x {self.dtype}"
            )

    def decode(self, decoder: Callable[..., np.ndarray], data: bytes, **options: object) -> np.ndarray:
        """Decode a compressed image of this form.

        Parameters
        ----------
        decoder : callable
            Of imagecodecs. Before it decodes into an array, it compares size and type with those of the stream.
        data : bytes
        **options
            Of the decoder.

        Returns
        -------
        (height, width, samples) array
            At the edge of the picture in full, or clipped to it.

        Raises
        ------
        DecodeError
            The stream is damaged or of another form.
        """
        heights, widths = ({sides[-1]: None, sides[0]: None} for sides in (self.heights, self.widths))
        for height, width in itertools.product(heights, widths):
            image = np.empty((height, width, self.samples), self.dtype)
            try:
                decoder(data, out=image, **options)
            except MemoryError:
                raise
            except ValueError as error:  # of another form
                other = error
            except Exception as error:
                raise DecodeError(reason_of(error)) from error
            else:
                return image
        expected = f"{self.heights[-1]} x {self.widths[-1]} pixels of {self.samples} x {self.dtype}"
        raise DecodeError(f"it does not hold {expected}: {other}") from other
