"""What is measured in one frame of a stack, by nuclei detection or by a function of the user's; and its tables."""

import os
from typing import NamedTuple

import numpy as np

from fieldwork import frames, nuclei, quality, user_functions
from fieldwork.inputs import functions
from fieldwork.stacks import series as stack_series
from fieldwork.stacks import sources

NUCLEI = "nuclei"  # the function that is ours
QUALITY = {f"ImageQuality_{name}_DNA": name for name in quality.COLUMNS}
METADATA = ("Metadata_Stack", "Metadata_Frame")


class Frame(NamedTuple):
    """One frame of a stack. `image` is what `load` read ahead, or why it could not be read."""

    source: sources.StackFrame
    image: np.ndarray | frames.FrameError | None = None

    def __str__(self):
        return str(self.source)


class Measured(NamedTuple):
    """One measured frame, or why it could not be measured (`error`)."""

    index: int
    error: str | None = None
    shape: tuple[int, int] | tuple[None, None] = (None, None)
    coordinates: np.ndarray = np.empty((0, 2), int)
    intensities: np.ndarray = np.empty(0)
    numbers: dict[str, float] = {}  # column -> value
    form: tuple[tuple[int, int], str] | None = None  # shape and dtype of the image that the function gave


def load(frame):
    """Read a frame ahead, for workers that are to share it.

    Parameters
    ----------
    frame : Frame

    Returns
    -------
    Frame
        With its image, or with the reason why there is none.
    """
    try:
        return frame._replace(image=sources.read(frame.source))
    except frames.FrameError as error:
        return frame._replace(image=error)


def unreadable(frame, signal):
    """Stand in for `load` on a frame that crashed the reader; `signal` is the signal's name."""
    return frame._replace(image=frames.FrameError(f"crashed the reader ({signal})"))


def prepare(function, *, folders, frames):
    """Import what `measure` needs, so that forked workers have it already: 0.2 to 1 s in each of them.

    Parameters
    ----------
    function, folders
        As for `measure`.
    frames : list of Frame

    Raises
    ------
    InputError
        The function can not be found.
    """
    if function != NUCLEI:
        functions.find(function, folders=folders)
    if any(frame.source.kind == "zarr" for frame in frames):
        import zarr  # noqa: F401 - starts threads when it is used, not here


def crashed(frame, signal):
    """Stand in for `measure` on a frame that crashed the reader or the function; `signal` is the signal's name."""
    return Measured(frame.source.index, error=f"crashed the reader or the function ({signal})")


def measure(frame, *, function, arguments, folders, with_quality=False, series=None):
    """Apply a function to one frame.

    Parameters
    ----------
    frame : Frame
    function : str
        ``nuclei``, or as for `functions.find`.
    arguments : dict
        Its keyword arguments; for ``nuclei`` those of `nuclei.detect_nuclei`.
    folders : list of path-like
        As for `functions.find`.
    with_quality : bool
        Measure `quality.COLUMNS` beside ``nuclei``.
    series : stack_images.Series, optional
        Where the image that the function gives is written.

    Returns
    -------
    Measured
        A bad frame, or one that the function fails on, has an error.
    """
    if frame.image is None:
        frame = load(frame)
    index, image = frame.source.index, frame.image
    if isinstance(image, frames.FrameError):
        file = f"{os.path.basename(frame.source.path)}: " if frame.source.kind == "image" else ""
        return Measured(index, error=f"{file}{image}")
    if function == NUCLEI:
        coordinates = nuclei.detect_nuclei(image, **arguments)
        measured = quality.measure(image) if with_quality else {}
        return Measured(
            index,
            shape=image.shape,
            coordinates=coordinates,
            intensities=nuclei.intensities_at(coordinates, image, sigma=arguments["sigma"]),
            numbers={column: measured[name] for column, name in QUALITY.items() if name in measured},
        )
    try:
        given = user_functions.result_of(functions.find(function, folders=folders)(image, **arguments), function)
    except (Exception, SystemExit) as error:  # the function is the user's: it may raise anything
        return Measured(index, error=user_functions.reason(function, error), shape=image.shape)
    if isinstance(given, dict):
        error = f"{function} gave numbers; it gave an image for the first good frame" if series else None
        return Measured(index, error=error, shape=image.shape, numbers={} if series else given)
    form = given.shape, given.dtype.str
    if series:
        if form != series.form:
            (found, kind), (expected, usual) = form, series.form
            error = f"{function} gave an image of {found} {kind}; that of the first good frame is {expected} {usual}"
            return Measured(index, error=error, shape=image.shape)
        stack_series.write(series, index, given)
    return Measured(index, shape=image.shape, form=form)


def rows_of(stack, measured, *, count_nuclei):
    """Put measured and failed frames into rows.

    Parameters
    ----------
    stack : str
    measured : list of Measured
        In the order of the frames.
    count_nuclei : bool
        Add the column of the number of nuclei.

    Returns
    -------
    rows : list of dict
        One for each frame; a column that a frame has no value for is absent.
    columns : list of str
        Those of the numbers in the order in which they were first given.
    """
    count = ["Image_Count_Nuclei"] * count_nuclei
    numbers = dict.fromkeys(column for each in measured for column in each.numbers)
    rows = [
        {
            "Metadata_Stack": stack,
            "Metadata_Frame": each.index,
            "Image_Height": each.shape[0],
            "Image_Width": each.shape[1],
            "Image_Count_Nuclei": None if each.error else len(each.coordinates),
            "Image_Status": "failed" if each.error else "ok",
            "Image_Error": each.error,
            **each.numbers,
        }
        for each in measured
    ]
    columns = [*METADATA, "Image_Width", "Image_Height", *count, "Image_Status", "Image_Error", *numbers]
    return rows, columns


def nuclei_table(stack, measured):
    """Put the nuclei of measured frames into a table.

    Parameters
    ----------
    stack : str
    measured : list of Measured

    Returns
    -------
    pyarrow.Table
        One row for each nucleus, numbered from 1 in each frame, brightest first.
    """
    import pyarrow as pa  # here: it starts a thread, and no fork may follow a thread

    counts = [len(each.coordinates) for each in measured]
    coordinates = np.concatenate([np.empty((0, 2)), *(each.coordinates for each in measured)])
    return pa.table(
        {
            "Metadata_Stack": pa.repeat(pa.scalar(stack, pa.string()), len(coordinates)),
            "Metadata_Frame": np.repeat(np.array([each.index for each in measured], np.int64), counts),
            "ObjectNumber": np.concatenate([np.empty(0, np.int64), *(np.arange(1, count + 1) for count in counts)]),
            "Nuclei_Location_Center_X": coordinates[:, 1],
            "Nuclei_Location_Center_Y": coordinates[:, 0],
            "Nuclei_Intensity_Peak": np.concatenate([np.empty(0), *(each.intensities for each in measured)]),
        }
    )
