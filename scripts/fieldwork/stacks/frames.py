"""Measure a frame of a stack by nuclei detection or by the user's function; build the tables of a stack."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fieldwork import frames, nuclei, quality, user_functions
from fieldwork.inputs import functions
from fieldwork.stacks import series as stack_series
from fieldwork.stacks import sources

if TYPE_CHECKING:
    import pyarrow as pa

NUCLEI = "nuclei"  # the function that is Fieldwork's own
QUALITY_COLUMNS = {f"ImageQuality_{name}_DNA": name for name in quality.COLUMNS}
METADATA_COLUMNS = ("Metadata_Stack", "Metadata_Frame")


class MeasuredFrame(NamedTuple):
    """One measured frame, or why it could not be measured (`error`)."""

    index: int
    error: str | None = None
    shape: tuple[int, int] | tuple[None, None] = (None, None)
    coordinates: np.ndarray = np.empty((0, 2), int)
    intensities: np.ndarray = np.empty(0)
    numbers: dict[str, float] = {}  # column -> value
    form: tuple[tuple[int, int], str] | None = None  # shape and dtype of the image that the function returned


def import_function(function: str, *, folders: Sequence, stack: list[sources.StackFrame]) -> None:
    """Import what `measure_frame` needs, so that forked workers have it already: 0.2 to 1 s in each of them.

    Parameters
    ----------
    function, folders
        As for `measure_frame`.
    stack : list of sources.StackFrame

    Raises
    ------
    InputError
        The function cannot be found.
    """
    if function != NUCLEI:
        functions.find_once(function, folders=tuple(folders))
    if any(frame.kind == "zarr" for frame in stack):
        import zarr  # noqa: F401 - starts threads when it is used, not here


def read_image(frame: sources.StackFrame) -> np.ndarray:
    """Read a frame as `sources.read` does; in a folder, the reason of a FrameError begins with the file's name."""
    try:
        return sources.read(frame)
    except frames.FrameError as error:
        file = f"{os.path.basename(frame.path)}: " if frame.kind == "image" else ""
        raise frames.FrameError(f"{file}{error}") from error


def failed_frame(frame: sources.StackFrame, reason: str) -> MeasuredFrame:
    """Return the failed result of a frame that could not be measured."""
    return MeasuredFrame(frame.index, error=reason)


def measure_frame(
    frame: sources.StackFrame,
    image: np.ndarray,
    *,
    function: str,
    folders: Sequence,
    arguments: dict | None = None,
    detection: dict | None = None,
    with_quality: bool = False,
    series: stack_series.Series | None = None,
) -> MeasuredFrame:
    """Apply a function to one frame.

    Parameters
    ----------
    frame : StackFrame
    image : (rows, columns) array
        From `read_image`.
    function : str
        ``nuclei``, or as for `functions.find`.
    folders : list of path-like
        As for `functions.find`.
    arguments : dict, optional
        The function's keyword arguments.
    detection : dict, optional
        For ``nuclei``: the keyword arguments of `nuclei.detect_nuclei`, beside ``method``.
    with_quality : bool
        Measure `quality.COLUMNS` beside ``nuclei``.
    series : stack_series.Series, optional
        Where the image that the function returns is written.

    Returns
    -------
    MeasuredFrame
        A frame on which the function fails has an error.
    """
    index = frame.index
    if function == NUCLEI:
        arguments = {key: value for key, value in detection.items() if key != "method"}
        coordinates = nuclei.detect_nuclei(image, **arguments)
        figures = quality.measure_image(image) if with_quality else {}
        return MeasuredFrame(
            index,
            shape=image.shape,
            coordinates=coordinates,
            intensities=nuclei.intensities_at(coordinates, image, sigma=arguments["sigma"]),
            numbers={column: figures[name] for column, name in QUALITY_COLUMNS.items() if name in figures},
        )
    try:
        returned = user_functions.result_of(
            functions.find_once(function, folders=tuple(folders))(image, **arguments), function
        )
    except (Exception, SystemExit) as error:  # a function of the user's may raise anything
        return MeasuredFrame(index, error=user_functions.reason(function, error), shape=image.shape)
    if isinstance(returned, dict):
        error = f"{function} gave numbers; it gave an image for the first good frame" if series else None
        return MeasuredFrame(index, error=error, shape=image.shape, numbers={} if series else returned)
    form = returned.shape, returned.dtype.str
    if series:
        if form != series.form:
            (shape, dtype), (expected, usual) = form, series.form
            error = f"{function} gave an image of {shape} {dtype}; that of the first good frame is {expected} {usual}"
            return MeasuredFrame(index, error=error, shape=image.shape)
        stack_series.write(series, index, returned)
    return MeasuredFrame(index, shape=image.shape, form=form)


def rows_of(stack: str, measured: list[MeasuredFrame], *, count_nuclei: bool) -> tuple[list[dict], list[str]]:
    """Return the rows of measured and failed frames.

    Parameters
    ----------
    stack : str
    measured : list of MeasuredFrame
        In the order of the frames.
    count_nuclei : bool
        Add the column of the number of nuclei.

    Returns
    -------
    rows : list of dict
        One for each frame, without the columns for which it has no value.
    columns : list of str
        Columns of numbers stand in the order in which they first appeared.
    """
    count = ["Image_Count_Nuclei"] * count_nuclei
    numbers = dict.fromkeys(column for frame in measured for column in frame.numbers)
    rows = [
        {
            "Metadata_Stack": stack,
            "Metadata_Frame": frame.index,
            "Image_Height": frame.shape[0],
            "Image_Width": frame.shape[1],
            "Image_Count_Nuclei": None if frame.error else len(frame.coordinates),
            "Image_Status": "failed" if frame.error else "ok",
            "Image_Error": frame.error,
            **frame.numbers,
        }
        for frame in measured
    ]
    columns = [*METADATA_COLUMNS, "Image_Width", "Image_Height", *count, "Image_Status", "Image_Error", *numbers]
    return rows, columns


def nuclei_table(stack: str, measured: list[MeasuredFrame]) -> "pa.Table":
    """Return the table of the nuclei of measured frames.

    Parameters
    ----------
    stack : str
    measured : list of MeasuredFrame

    Returns
    -------
    pyarrow.Table
        One row for each nucleus, numbered from 1 in each frame, brightest first.
    """
    import pyarrow as pa  # here: it starts a thread, and no fork may follow a thread

    counts = [len(frame.coordinates) for frame in measured]
    coordinates = np.concatenate([np.empty((0, 2)), *(frame.coordinates for frame in measured)])
    return pa.table(
        {
            "Metadata_Stack": pa.repeat(pa.scalar(stack, pa.string()), len(coordinates)),
            "Metadata_Frame": np.repeat(np.array([frame.index for frame in measured], np.int64), counts),
            "ObjectNumber": np.concatenate([np.empty(0, np.int64), *(np.arange(1, count + 1) for count in counts)]),
            "Nuclei_Location_Center_X": coordinates[:, 1],
            "Nuclei_Location_Center_Y": coordinates[:, 0],
            "Nuclei_Intensity_Peak": np.concatenate([np.empty(0), *(frame.intensities for frame in measured)]),
        }
    )
