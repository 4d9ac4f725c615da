"""Decode compressed images strictly: what a decoder calls damaged, or is not what its container says, is an error."""

from typing import NamedTuple

import numpy as np


class DecodeError(ValueError):
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
