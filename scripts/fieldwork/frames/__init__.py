"""Read image files: 2-D planes of one channel, or the reason why they cannot be read."""

import os

import numpy as np

from fieldwork import FrameError
from fieldwork.frames.files import decoding, open_file, refuse_large
from fieldwork.frames.pages import TIFF_SIGNATURES
from fieldwork.frames.pictures import SIGNATURES as OTHER_SIGNATURES
from fieldwork.frames.pictures import read_picture
from fieldwork.frames.planes import Plane, usual_form, with_position
from fieldwork.frames.tiff import read_tiff

__all__ = [
    "OTHER_SIGNATURES",
    "TIFF_SIGNATURES",
    "FrameError",
    "Plane",
    "decoding",
    "open_file",
    "read",
    "read_plane",
    "refuse_large",
    "usual_form",
    "with_position",
]


def read(path: str | os.PathLike, *, channel: str = "auto", exact: bool = False) -> list[Plane]:
    """Read all planes of one channel of an image file.

    Parameters
    ----------
    path : str or path-like
        A TIFF of any kind (read by tifffile and imagecodecs), or a PNG, JPEG, BMP or GIF (imageio).
    channel : str
        Name of a channel of an OME-TIFF, in upper or lower case. If no channel has it, the only channel named
        like a DNA stain is read.
    exact : bool
        Refuse a file of several channels if none of them has that name.

    Returns
    -------
    list of Plane
        Sorted by time point, then z; nearly always one, without either. Pages without a known meaning count as z
        planes. Images are (rows, columns), C-contiguous, of the file's dtype in native byte order (bilevel: uint8 0
        and 1), with the values as stored: a TIFF's colour map, orientation or inversion is not applied. Of a colour
        image, the colour with the largest standard deviation; of a pyramid, the full size; of a set of OME-TIFF
        files, the planes in this one.

    Raises
    ------
    FrameError
        The file is absent, empty, truncated or of another type; or it has NaN, infinity, complex
        numbers, further axes, several images, colours that vary alike or channels without names.
    """
    with open_file(path) as file, decoding():
        head = file.read(32)
        kind = next((name for start, name in OTHER_SIGNATURES.items() if head.startswith(start)), None)
        if head.startswith(TIFF_SIGNATURES):
            planes = read_tiff(file, channel, exact)
            return planes if len(planes) > 1 else [planes[0]._replace(timepoint=None, z=None)]
        start = f"begins with {head[:8]!r}" + (f" like a {kind} file" if kind else "")
        if os.fspath(path).lower().endswith((".tif", ".tiff")):
            raise FrameError(f"not a TIFF file: {start}")
        if kind is None:
            raise FrameError(f"not an image file: {start}; expected a TIFF, PNG, JPEG, BMP or GIF file")
        return [read_picture(file, head)]


def read_plane(path: str | os.PathLike, *, channel: str = "auto", timepoint: int | None, z: int | None) -> np.ndarray:
    """Read the plane of a file that a row of a table describes.

    Parameters
    ----------
    path, channel
        As for `read`.
    timepoint, z : int or None
        Of the row. A plane without a time point or z plane of its own matches any.

    Returns
    -------
    (rows, columns) array
        As from `read`.

    Raises
    ------
    FrameError
        As by `read`, or the file does not have this plane.
    """
    planes = read(path, channel=channel)
    for plane in planes:
        if plane.timepoint in (None, timepoint) and plane.z in (None, z):
            return plane.image
    raise FrameError(f"has no plane of this time point and z plane any more, but {len(planes)} others")
