"""Measure a frame of a stack by nuclei detection or by the user's function; build the tables of a stack."""

import functools
import os
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fieldwork import InputError, frames, parallel, quality, segmentation, user_functions
from fieldwork.detection import outlines
from fieldwork.detection.flags import FLAG_COLUMNS, THRESHOLD_COLUMN, Flags
from fieldwork.detection.peaks import find_peaks
from fieldwork.frames import FrameError
from fieldwork.inputs import functions
from fieldwork.inputs.stack_files import files_of, is_zarr
from fieldwork.stacks import series as stack_series
from fieldwork.stacks import sources
from fieldwork.surroundings.unread import about_file

NUCLEI = "nuclei"  # the function that is Fieldwork's own
QUALITY_COLUMNS = {f"ImageQuality_{name}_DNA": name for name in quality.COLUMNS}
METADATA_COLUMNS = ("Metadata_Stack", "Metadata_Frame")


class MeasuredFrame(NamedTuple):
    """One measured frame, or why it could not be measured (`error`)."""

    index: int
    error: str | None = None
    shape: tuple[int, int] | tuple[None, None] = (None, None)
    image_form: str | None = None  # size and type of the frame's pixels, where nuclei are found
    coordinates: np.ndarray = np.empty((0, 2), int)  # rows and columns: of peaks, or centroids of outlines
    intensities: np.ndarray = np.empty(0)  # of peaks
    areas: np.ndarray = np.empty(0, np.int64)  # px, of outlines
    touches_border: np.ndarray = np.empty(0, bool)  # of outlines
    measurements: dict[str, np.ndarray] = {}  # of outlines, from `objects.measure_arrays`
    labels: bytes | None = None  # outlines, from `label_images.encode`
    threshold: float | None = None  # of the classical detector
    flags: Flags = Flags()
    numbers: dict[str, float] = {}  # column -> value
    form: tuple[tuple[int, int], str] | None = None  # shape and dtype of the image that the function returned


def open_frames(
    stack: str, path: str, copy: str | os.PathLike, selection: dict, *, planned: int | None = None
) -> sources.Stack:
    """List the frames of a stack in a process of its own: a hostile file may crash it.

    Parameters
    ----------
    stack, path : str
        Its name, and its path or URL, for messages.
    copy : path-like
        What is read: the path, or the local copy of a URL.
    selection : dict
        Keyword arguments of `sources.open_stack`.
    planned : int, optional
        Images that were in its folder when the run was planned.

    Raises
    ------
    InputError
        It cannot be read as a stack, or images of its folder have come or gone since.
    """
    if planned and os.path.isdir(copy) and not is_zarr(copy) and len(files := files_of(copy)) != planned:
        raise InputError(
            f"stack {stack}: {path}: holds {len(files)} images; when the run was planned, it held {planned}: run again"
        )
    try:
        return parallel.call_in_process(
            stack, functools.partial(sources.open_stack, **selection), copy, on_crash=_unopened
        )
    except FrameError as error:
        raise InputError(f"stack {stack}: {path}: {error}") from None


def _unopened(path, signal):
    """Raise FrameError for a stack that crashed the reader."""
    raise FrameError(f"crashed the reader ({signal})")


def import_functions(work: dict, *, stack: list[sources.StackFrame]) -> None:
    """Import what `measure_frame` needs, so that forked workers have it already: 0.2 to 1 s in each of them.

    Parameters
    ----------
    work : dict
        Keyword arguments of `measure_frame`.
    stack : list of sources.StackFrame

    Raises
    ------
    InputError
        A function cannot be found.
    """
    own = work["function"] if work["function"] != NUCLEI else work["detection"].get("function")
    if own:
        functions.find_once(own, folders=tuple(work["folders"]))
    if any(frame.kind == "zarr" for frame in stack):
        import zarr  # noqa: F401 - starts threads when it is used, not here


def read_image(frame: sources.StackFrame) -> np.ndarray:
    """Read a frame as `sources.read` does; in a folder, the reason of a FrameError begins with the file's name."""
    try:
        return sources.read(frame)
    except FrameError as error:
        if frame.kind != "image":
            raise
        raise about_file(os.path.basename(frame.path), error) from error


def failed_frame(frame: sources.StackFrame, reason: str) -> MeasuredFrame:
    """Return the failed result of a frame that could not be measured."""
    return MeasuredFrame(frame.index, error=reason)


def form_of(image: np.ndarray) -> str:
    """Describe the pixels of a frame: a camera writes one form."""
    height, width = image.shape
    return f"{height} x {width} px of {image.dtype.name}"


def look_at(frame: sources.StackFrame, image: np.ndarray) -> MeasuredFrame:
    """Note the size and type of a frame, and measure nothing."""
    return MeasuredFrame(frame.index, shape=image.shape, image_form=form_of(image))


def measure_frame(
    frame: sources.StackFrame,
    image: np.ndarray,
    *,
    function: str,
    folders: Sequence,
    arguments: dict | None = None,
    detection: dict | None = None,
    channels: Sequence[str] | None = None,
    with_quality: bool = False,
    calibration: segmentation.Calibration | None = None,
    drop_border: bool = False,
    with_labels: bool = False,
    series: stack_series.Series | None = None,
    stack: str = "",
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
        For ``nuclei``: how they are found, as for `plates.fields.measure_field`.
    channels : list of str, optional
        Measure outlines: their shape, and their intensities in the frame under this name, or none. Without it, they are
        only found.
    with_quality : bool
        Measure `quality.COLUMNS` beside ``nuclei``.
    calibration : segmentation.Calibration, optional
        The stack's, for ``nuclei``. Where it is missing, frames of methods that need one fail.
    drop_border : bool
        Leave out outlines that the image's border cuts.
    with_labels : bool
        Keep the outlines.
    series : stack_series.Series, optional
        Where the image that the function returns is written.
    stack : str
        Its name seeds the random numbers of functions of the user's.

    Returns
    -------
    MeasuredFrame
        A frame on which the function fails has an error.
    """
    index = frame.index
    if function == NUCLEI:
        try:
            if detection["method"] == "peaks":
                measured = find_peaks(image, detection)
            else:
                options = {"calibration": calibration, "drop_border": drop_border, "with_labels": with_labels}
                options |= {"folders": folders, "path": frame.path, "calibrated": "stack", "frame": (stack, index)}
                measured = _outline(image, detection, channels, options)
        except outlines.FailedDetectionError as failure:
            return failed_frame(frame, str(failure))
        measured["image_form"] = form_of(image)
        figures = quality.measure_image(image) if with_quality else {}
        numbers = {column: figures[name] for column, name in QUALITY_COLUMNS.items() if name in figures}
        return MeasuredFrame(index, shape=image.shape, numbers=numbers, **measured)
    try:
        called = functions.find_once(function, folders=tuple(folders))
        user_functions.seed_random(stack, index)  # now: its module, which may draw or seed, is imported
        with functions.contained():
            returned = user_functions.result_of(called(image, **arguments), function)
    except Exception as error:  # a function of the user's may raise anything
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


def _outline(image, detection, channels, options):
    """Outline nuclei, and measure them where that is asked for."""
    if channels is None:
        outlined, measurements = outlines.outline_nuclei(image, detection, **options), {}
    else:
        outlined, measurements = outlines.outline_and_measure(
            image, detection, dict.fromkeys(channels, image), **options
        )
    measured = {**outlined._asdict(), "measurements": measurements}
    del measured["cells"], measured["figures"]  # stacks have no cells, and are judged frame by frame
    return measured


def fail_odd(measured: list[MeasuredFrame]) -> list[MeasuredFrame]:
    """Return measured frames, with those failed whose size or type differs from that of most.

    A camera writes one size and type: of another one, neither calibration nor counts are comparable. Only an absolute
    majority decides. Where no size is that of most, as of cut-outs, the type alone counts; and without a type of most,
    all frames fail.

    Parameters
    ----------
    measured : list of MeasuredFrame
        Of nuclei, or from `look_at`.
    """
    forms = [frame.image_form for frame in measured if not frame.error]
    types = list(map(_type_in, forms))
    usual, usual_type = frames.usual_form(forms), frames.usual_form(types)
    listed = ", ".join(f"{count} of {name}" for name, count in Counter(types).most_common())
    expected = f"the stack's frames are {usual or usual_type}" if usual_type else f"no type is that of most: {listed}"
    return [
        frame
        if frame.error
        or (frame.image_form == usual if usual else usual_type and _type_in(frame.image_form) == usual_type)
        else MeasuredFrame(
            frame.index,
            error=f"wrong shape or type: found {frame.image_form}, {expected}",
            shape=frame.shape,
        )
        for frame in measured
    ]


def _type_in(form):
    return form.rpartition(" ")[2]


def rows_of(
    stack: str, measured: list[MeasuredFrame], *, count_nuclei: bool, outlined: bool = False
) -> tuple[list[dict], list[str]]:
    """Return the rows of measured and failed frames.

    Parameters
    ----------
    stack : str
    measured : list of MeasuredFrame
        In the order of the frames.
    count_nuclei : bool
        Add the column of the number of nuclei.
    outlined : bool
        Nuclei have outlines: add the columns of the threshold and of what makes a count doubtful.

    Returns
    -------
    rows : list of dict
        One for each frame, without the columns for which it has no value.
    columns : list of str
        Columns of numbers stand in the order in which they first appeared.
    """
    count = ["Image_Count_Nuclei"] * count_nuclei
    doubts = [THRESHOLD_COLUMN, *FLAG_COLUMNS] if outlined else []
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
            THRESHOLD_COLUMN: frame.threshold,
            **{column: getattr(frame.flags, name) for column, name in FLAG_COLUMNS.items()},
            **frame.numbers,
        }
        for frame in measured
    ]
    columns = [*METADATA_COLUMNS, "Image_Width", "Image_Height", *count, "Image_Status", "Image_Error"]
    return rows, [*columns, *doubts, *numbers]
