"""Read image files: 2-D planes of one channel, or the reason why they cannot be read."""

import os

import numpy as np

from fieldwork import FrameError, NotReadError
from fieldwork.frames.colours import ADVICE
from fieldwork.frames.files import decoding, open_file, refuse_large
from fieldwork.frames.pages import TIFF_SIGNATURES
from fieldwork.frames.pictures import SIGNATURES as OTHER_SIGNATURES
from fieldwork.frames.pictures import read_picture
from fieldwork.frames.planes import ANY_COLOUR, ChannelError, Plane, has_form, usual_form, with_position
from fieldwork.frames.tiff import Wanted, read_tiff
from fieldwork.surroundings.unread import patient

__all__ = [
    "OTHER_SIGNATURES",
    "TIFF_SIGNATURES",
    "ChannelError",
    "FrameError",
    "NotReadError",
    "Plane",
    "Wanted",
    "decoding",
    "has_form",
    "open_file",
    "read",
    "read_plane",
    "refuse_large",
    "usual_form",
    "with_position",
]


@patient
def read(path: str | os.PathLike, *, channel: str | int = "auto", **wanted: object) -> list[Plane]:
    """Read all planes of one channel of an image file.

    Parameters
    ----------
    path : str or path-like
        A TIFF of any kind (read by tifffile and imagecodecs), or a PNG, JPEG, BMP or GIF (Pillow).
    channel : str or int
        Name of a channel in the file, in upper or lower case: as OME metadata name it; of channels without names, 1, 2
        and so on; of a colour image, red, green or blue. Or its number from 0. If no channel has that name, and it is
        auto, a token such as w1, or a name of a DNA stain, the only channel named like one is read; of a colour image,
        the grey of equal colours, or the colour that alone shows signal.
    **wanted
        Of `Wanted`, as of its fields: ``exact`` refuses a file of several channels if none of them has that name;
        ``required`` refuses any other one, too. ``series`` and ``frame`` choose one image of the file, and one page of
        it, from 0. ``pages_are`` (z, c or t) says what pages are of which the file does not say it, and samples that
        are no colours.

    Returns
    -------
    list of Plane
        Sorted by time point, then z; nearly always one, without either. Images are (rows, columns), C-contiguous, of
        the file's dtype in native byte order (bilevel: uint8 0 and 1), with the values as stored, but for two display
        tags, which the planes' notes state: inverted grey is inverted back, and a palette's colours count
        (`colours.of_palette`). An orientation is not applied. Of a pyramid, the full size; of a set of OME-TIFF files,
        the planes in this one.

    Raises
    ------
    NotReadError
        The file is absent, or cannot be read for another reason outside it, four times; or memory is too small for it.
    FrameError
        The file is empty, truncated or of another type; or it has NaN, infinity, complex numbers, further
        axes, several images, pages of unknown meaning, fewer planes than its OME metadata declare, or several channels
        or colours of which none is wanted.
    """
    wanted = Wanted(channel, **wanted)
    with open_file(path) as file, decoding():
        head = file.read(32)
        kind = next((name for start, name in OTHER_SIGNATURES.items() if head.startswith(start)), None)
        if head.startswith(TIFF_SIGNATURES):
            planes = read_tiff(file, wanted)
            if len(kinds := {plane.colours for plane in planes} - {ANY_COLOUR}) > 1:
                raise ChannelError(f"its planes are{' and'.join(kind or ' grey' for kind in sorted(kinds))}: {ADVICE}")
            return planes if len(planes) > 1 else [planes[0]._replace(timepoint=None, z=None)]
        start = f"begins with {head[:8]!r}" + (f" like a {kind} file" if kind else "")
        if os.fspath(path).lower().endswith((".tif", ".tiff")):
            raise FrameError(f"not a TIFF file: {start}")
        if kind is None:
            raise FrameError(f"not an image file: {start}; expected a TIFF, PNG, JPEG, BMP or GIF file")
        if wanted.series or wanted.frame:
            raise FrameError(
                f"a {kind} file, which has one image; the image list names another Series_ or Frame_ than 0"
            )
        return [read_picture(file, head, channel, required=wanted.required)]


def read_plane(
    path: str | os.PathLike,
    *,
    channel: str = "auto",
    timepoint: int | None,
    z: int | None,
    series: int | None = None,
    frame: int | None = None,
) -> np.ndarray:
    """Read the plane of a file that a row of a table describes.

    Parameters
    ----------
    path, channel, series, frame
        As for `read`.
    timepoint, z : int or None
        Of the row. A plane without a time point or z plane of its own matches any. What pages without names are is
        taken from the row, too: it has a time point or z plane where they have.

    Returns
    -------
    (rows, columns) array
        As from `read`.

    Raises
    ------
    FrameError
        As by `read`, or the file does not have this plane.
    """
    pages_are = "z" if z is not None else "t" if timepoint is not None else "c"
    planes = read(path, channel=channel, series=series, frame=frame, pages_are=pages_are)
    for plane in planes:
        if plane.timepoint in (None, timepoint) and plane.z in (None, z):
            return plane.image
    raise FrameError(f"has no plane of this time point and z plane any more, but {len(planes)} others")
