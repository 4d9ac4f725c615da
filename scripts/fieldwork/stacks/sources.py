"""Read stacks: the frames of a multi-page TIFF, a folder of images, an .npy file or a Zarr store.

A frame is a small record of where its pixels are; it travels to a worker, which reads these pixels and nothing else.
"""

import os
import struct

import numpy as np

from fieldwork import FrameError, frames
from fieldwork.frames.colours import Samples, plane_of
from fieldwork.inputs.inside import headers
from fieldwork.inputs.paths import shown_in_utf_8
from fieldwork.inputs.stack_files import FRAME_SUFFIXES, is_zarr, list_folder, of_channel
from fieldwork.stacks.arrays import open_npy, open_zarr, read_fortran, read_npy, read_zarr
from fieldwork.stacks.positions import Stack, StackFrame, stamp_of
from fieldwork.stacks.tiff import open_tiff, read_page
from fieldwork.stains import nuclei_among
from fieldwork.surroundings.unread import patient

SAMPLED_FRAMES = 12  # of which the colours are looked at
READERS = {"page": read_page, "npy": read_npy, "fortran": read_fortran, "zarr": read_zarr}


def open_stack(path: str | os.PathLike, *, channel: str | int = "auto", z: int = 0) -> Stack:
    """List the frames of a stack. No pixels are read, but of some frames in colour, and of some files of a folder.

    A hostile file may crash this process; Zarr starts threads in it, so that it should not fork later.

    Parameters
    ----------
    path : str or path-like
        A TIFF (plain pages, ImageJ, OME, MetaMorph; big, compressed), a folder of image files of one frame each, a
        NumPy array (.npy), or a Zarr array or image: the first level of OME-Zarr, the only array of another group.
        Arrays that name no axes are (t, y, x), (t, z, y, x) or a single (y, x).
    channel : str or int
        Of several, the one of this name, in any case, or number, from 0: a channel of the file, or of each file of a
        folder, that OME metadata or OME-Zarr name, or the names of a folder's files; channels without names are called
        1, 2 and so on, colours red, green and blue. ``auto``: the only one named like a DNA stain, else the first;
        of colours, the grey of equal ones, or the one that alone shows signal in a sample of the stack.
    z : int
        From 0: the z plane to take at each of several time points. In a file without time points every z plane is a
        frame, and so is every page of unknown meaning. Not for a folder.

    Returns
    -------
    Stack
        A frame that the file promises but does not hold (a truncated TIFF) has an `error`. Where channels leave open
        which shows the nuclei, `decided` says which was taken.

    Raises
    ------
    FrameError
        The path is no stack, or has no such channel or z plane; or several colours of which none is chosen, or no size
        and type that most pages have. The message is the reason.
    """
    stack = _open(os.fspath(path), channel, z)
    return _with_colours(stack) if stack.has_display_tags else stack


def _open(path, channel, z):
    """List the frames of a stack."""
    with frames.decoding():
        if is_zarr(path):
            return open_zarr(path, channel, z)
        if os.path.isdir(path):
            return _open_folder(path, channel)
        with frames.open_file(path) as file:
            head = file.read(8)
            if head.startswith(frames.TIFF_SIGNATURES):
                return open_tiff(file, channel, z)
            if head.startswith(b"\x93NUMPY"):
                return open_npy(file, channel, z)
    raise FrameError(
        f"begins with {head!r}; expected a TIFF or .npy file, a folder of images, or a Zarr array or group"
    )


def read(frame: StackFrame) -> np.ndarray:
    """Read a frame; no file stays open, as opening one costs only 0.2 to 0.6 ms.

    Parameters
    ----------
    frame : StackFrame

    Returns
    -------
    (rows, columns) array
        C-contiguous, in the file's dtype and native byte order, with the values as by `frames.read`.

    Raises
    ------
    FrameError
        The frame cannot be read, or other colours of it vary than of the stack; the message is the reason.
    """
    plane = _plane_of(frame)
    if frame.colours is not None and not frames.has_form(plane.colours, frame.colours):
        kinds = [(text or " grey").strip() for text in (plane.colours, frame.colours)]
        raise FrameError(f"found an image {kinds[0]}; the stack's are {kinds[1]}: stack.channel can name a colour")
    return plane.image


def with_file_names(rows: list[dict], columns: list[str], listed: list[StackFrame]) -> tuple[list[dict], list[str]]:
    """Return the rows of frames and their columns; of a folder, with a column ``FileName`` behind the frame's number.

    Parameters
    ----------
    rows, columns
        From `frames.rows_of`.
    listed : list of StackFrame
        All frames of the stack.
    """
    if any(frame.kind != "image" for frame in listed):
        return rows, columns
    names = {frame.index: shown_in_utf_8(os.path.basename(frame.path)) for frame in listed}
    number = columns.index("Metadata_Frame") + 1
    rows = [{**row, "FileName": names[row["Metadata_Frame"]]} for row in rows]
    return rows, [*columns[:number], "FileName", *columns[number:]]


def _plane_of(frame):
    """Read the plane of a frame."""
    if frame.error is not None:
        raise FrameError(frame.error)
    if frame.kind == "image":
        named = frame.channel != "auto"
        # Pages without names may be channels where one is wanted; else they are too many for a frame.
        planes = frames.read(frame.path, channel=frame.channel, required=named, pages_are="c" if named else "z")
        if len(planes) > 1:
            raise FrameError(f"holds {len(planes)} planes; a file of a folder is one frame, so 1 is expected")
        return planes[0]
    return _decoded(frame)


@patient
def _decoded(frame):
    """Read the plane of a frame that is no file of its own."""
    with frames.decoding():
        if stamp_of(frame.path) != frame.stamp:
            raise FrameError("has changed since the frames were listed; run again")
        samples = READERS[frame.kind](frame)
        if frame.kind == "zarr":  # to zarr, chunks that are away are chunks of zeros
            stamp_of(frame.path)
        return plane_of(None, None, samples if isinstance(samples, Samples) else Samples(samples))


def _with_colours(stack):
    """Return a stack with the colours that its frames have, from a sample of them, and notes on what was chosen."""
    chosen = stack.frames[:: max(1, len(stack.frames) // SAMPLED_FRAMES)][:SAMPLED_FRAMES]
    planes, reasons, unread = [], [], None
    for frame in chosen:
        try:
            planes.append(_plane_of(frame))
        except frames.ChannelError as error:
            reasons.append(f"{frame}: {error}")
        except frames.NotReadError as error:
            unread = error
        except FrameError:  # it fails when it is read
            continue
    if unread and not planes:  # frames that can be read in the end would each have colours of their own
        raise unread
    if reasons and len(reasons) >= len(planes):
        raise FrameError(f"{len(reasons)} of {len(planes) + len(reasons)} sampled frames: {reasons[0]}")
    usual = None
    if stack.frames[0].channel == "auto" and planes:
        usual = frames.usual_form(plane.colours for plane in planes)
        if usual is None:
            kinds = sorted({(plane.colours or " grey").strip() for plane in planes})
            raise FrameError(
                f"found images {', others '.join(kinds)}, and no kind is most: stack.channel can name a colour"
            )
        planes = [plane for plane in planes if frames.has_form(plane.colours, usual)]
    notes = list(dict.fromkeys(note for plane in planes for note in plane.notes))
    return stack._replace(
        frames=[frame._replace(colours=usual) for frame in stack.frames], notes=[*stack.notes, *notes]
    )


def _open_folder(path, channel):
    """List the images of a folder as frames."""
    images, others = list_folder(path)
    left_out = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
    if not images:
        raise FrameError(
            f"a folder without images; found {left_out or 'nothing'}; expected {', '.join(FRAME_SUFFIXES)}"
        )
    chosen = of_channel(images, channel)
    inside, doubt = _channel_inside(chosen.images) if chosen.channel == "auto" else (chosen.channel, "")
    listed = [StackFrame(image, index, channel=inside) for index, image in enumerate(chosen.images)]
    notes = [f"left out of the folder: {left_out}"] if left_out else []
    notes += chosen.notes + [doubt] * bool(doubt)
    notes += [f"channel {inside} taken of each file"] if inside != "auto" and not doubt else []
    return Stack(listed, notes, True, chosen.decided + [doubt] * bool(doubt))


def _channel_inside(images):
    """Return the channel to read of each file of a folder, and why it is doubtful: by the first that can be read."""
    for image in images[:SAMPLED_FRAMES]:
        try:
            names = headers.channels_in(image)
        except (OSError, ValueError, struct.error):  # it fails when it is read
            continue
        if len(names) < 2 or names == list(headers.COLOURS):
            break
        number, doubt = nuclei_among(names)
        # Where one is named like a DNA stain, each file says which.
        return (names[number] if doubt else "auto"), doubt
    return "auto", ""
