"""Check the user's functions: the arguments that they take, and the results that they return for an image.

As a program (``python -m fieldwork.user_functions``), in a process of its own, it answers `planning.function_checks`.
"""

import functools
import hashlib
import inspect
import json
import os
import random
import sys
from collections.abc import Callable, Iterable

import numpy as np

from fieldwork import NOT_READ, InputError, reason_of
from fieldwork.inputs.functions import EndedError, find, find_once, nearest
from fieldwork.surroundings import unread

CONTEXT = ("channel", "pixel_size", "calibration", "path", "well", "site")  # what a segmenter gets, if it declares it
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
RESERVED_PREFIXES = ("Metadata_", "Image_", "FileName_", "PathName_")  # of the tables' own columns


def check(
    name: str, arguments: dict, *, folders: Iterable[str | os.PathLike] = (), segments: bool = False
) -> list[str]:
    """Check that a function can be found, and called with an image and these keyword arguments.

    Parameters
    ----------
    name, folders
        As for `find`.
    arguments : dict
    segments : bool
        It is called as `segmenter` calls it.

    Returns
    -------
    list of str
        The names of `CONTEXT` that a segmenter declares; empty for others.

    Raises
    ------
    InputError
        As `find`; or names the argument that is not the function's, or is missing.
    """
    function = find(name, folders=folders)
    signature = _signature(function)
    if signature is None:
        return []
    parameters = signature.parameters.values()
    by_name = segments and _names_image(parameters)
    context = _declared(parameters, arguments) if segments else []
    kinds = inspect.Parameter
    known = [item.name for item in parameters if item.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)]
    image = "image" if by_name else next(iter(known), None)
    if not any(item.kind == kinds.VAR_KEYWORD for item in parameters):
        for argument in arguments:
            if argument not in known:
                others = [other for other in known if other != image and other not in context]
                hint = nearest(argument, others) or f"; it takes {', '.join(others) or 'the image alone'}"
                raise InputError(f"{name} takes no argument '{argument}'{hint}")
    positional, named = ((), {"image": None}) if by_name else ((None,), {})
    try:
        signature.bind(*positional, **named, **dict.fromkeys(context), **arguments)
    except TypeError as error:
        raise InputError(f"{name} cannot be called with an image and the arguments {arguments}: {error}") from None
    return context


def segmenter(name: str, arguments: dict, folders: Iterable[str | os.PathLike]) -> Callable:
    """Return a function of the user's that finds nuclei in an image. A process imports it once.

    Parameters
    ----------
    name, folders
        As for `find`.
    arguments : dict
        Its keyword arguments.

    Returns
    -------
    callable
        Takes an image and, as keywords, values of `CONTEXT`; the user's function gets those that it declares, None for
        those that are not given, and what `arguments` has under the same name.

    Raises
    ------
    InputError
        As `find`.
    """
    function = find_once(name, folders=tuple(folders))
    signature = _signature(function)
    parameters = signature.parameters.values() if signature else []
    by_name, declared = _names_image(parameters), _declared(parameters, arguments)

    def segment(image, **context):
        given = {name: context.get(name) for name in declared}
        return function(image=image, **given, **arguments) if by_name else function(image, **given, **arguments)

    return segment


def _signature(function):
    """Return the signature of a function; None for compiled ones that have none, such as OpenCV's."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _names_image(parameters):
    """Return True if a segmenter can be given its image by name, wherever that parameter stands."""
    return any(item.name == "image" and item.kind in _BY_NAME for item in parameters)


def _declared(parameters, arguments):
    """Return the names of `CONTEXT` among a segmenter's parameters, without its image and the user's own arguments."""
    named = [item.name for item in parameters if item.kind in _BY_NAME]
    image = "image" if "image" in named else next((item.name for item in parameters), None)
    return [name for name in named if name in CONTEXT and name != image and name not in arguments]


def seed_random(*frame: object) -> None:
    """Seed the random numbers of Python and NumPy that all functions share, by the names of a frame.

    A function of the user's then draws the same numbers for a frame in every run, whatever the engine, the number of
    workers and the unit of work. Threads of one process share this state: there it does not hold.

    Parameters
    ----------
    *frame
        What identifies the frame: plate or stack, well, site, number.
    """
    digest = hashlib.sha256("\0".join(map(str, frame)).encode("utf-8", "surrogatepass")).digest()
    random.seed(digest)
    np.random.seed(np.frombuffer(digest, "<u4"))


@functools.cache
def metric(name: str) -> Callable:
    """Find a NumPy function that returns one number for an image, such as ``var`` or ``linalg.norm``.

    Raises
    ------
    InputError
        NumPy has no such function, or it returns something else.
    """
    name = f"numpy.{name}"
    function = find(name)
    try:
        value = function(np.arange(12.0).reshape(3, 4))
    except Exception as error:
        raise InputError(f"{name} fails on an image: {type(error).__name__}: {error}") from None
    if _number(value) is None:
        raise InputError(f"{name} gives {_described(value)} for an image; expected one number")
    return function


def result_of(value: object, name: str) -> dict[str, int | float] | np.ndarray:
    """Convert the result of a function for one frame to numbers or an image.

    Parameters
    ----------
    value : object
        A number, a dict of numbers, or a 2-D array of real numbers.
    name : str
        The function's name; its last part is the column of a number.

    Returns
    -------
    dict of str to int or float, or (rows, columns) array
        Numbers by column, or an image as `image_of` returns it.

    Raises
    ------
    ValueError
        It is something else, or a column would have the name of one of the table's own.
    """
    if _number(value) is not None:
        value = {name.rpartition(".")[2]: value}
    if not isinstance(value, dict):
        return image_of(value, expected="a number, a dict of numbers, or an image (2-D array of real numbers)")
    numbers = {}
    for key, item in value.items():
        column, number = str(key), _number(item)
        if number is None:
            raise ValueError(f"gave {_described(item)} as '{column}'; expected a number")
        if column.startswith(RESERVED_PREFIXES) or column in numbers:
            raise ValueError(f"gave '{column}', a name that another column has; expected another name")
        numbers[column] = number
    return numbers


def reason(name: str, error: Exception) -> str:
    """Describe in one line how a function failed, as tables hold it: its error, and the one that this comes from."""
    cause = error.__cause__ if not isinstance(error, EndedError) else None
    start = NOT_READ if unread.cause_of(error) else ""  # of the job, or of files that the function reads
    text = f"{start}{name} failed: {reason_of(error, own=EndedError)}"
    return f"{text}, because of {reason_of(cause)}" if cause else text


def image_of(value: object, *, expected: str = "an image (2-D array of real numbers)") -> np.ndarray:
    """Check that a value is an image, and convert it to a type that files can hold.

    Parameters
    ----------
    value : object
    expected : str
        For the message.

    Returns
    -------
    (rows, columns) array
        C-contiguous, in native byte order; of the value's own type, but bool as uint8, float16 as float32, and
        longer floats as float64.

    Raises
    ------
    ValueError
        Describes the value.
    """
    is_array = isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray)
    if not is_array or value.ndim != 2 or not value.size or value.dtype.kind not in "biuf":
        raise ValueError(f"gave {_described(value)}; expected {expected}")
    others = {"?": np.uint8, "e": np.float32, "g": np.float64}
    return np.ascontiguousarray(value, others.get(value.dtype.char, value.dtype.newbyteorder("=")))


def _number(value):
    """Convert a real number of any type to int or float; return None for anything else."""
    if isinstance(value, int):
        return int(value) if abs(value) < 2**63 else float(value)  # no column of integers holds more
    if isinstance(value, float):
        return float(value)
    kind = value.dtype.kind if isinstance(value, np.generic | np.ndarray) and value.ndim == 0 else None
    return float(value) if kind == "f" else int(value) if kind in ("b", "i", "u") else None


def _described(value):
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and type {value.dtype}"
    return "None" if value is None else f"a value of type {type(value).__name__}"


def _answer_questions():
    """Read questions from stdin (JSON) and write a line of JSON for each: its problem, or an empty text; and a list.

    A question has the ``name`` of a function, its ``arguments`` (None for a metric), ``folders`` as for `find`, and
    whether it ``segments``; the list has the names of `CONTEXT` that a segmenter declares.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # modules print to stderr, not among the answers
    for question in json.load(sys.stdin):
        problem, declared = "", []
        try:
            if question["arguments"] is None:
                metric(question["name"])
            else:
                declared = check(**question)
        except InputError as error:
            problem = str(error)
        print(json.dumps([problem, declared]), file=answers, flush=True)
    os._exit(0)  # without waiting for threads that modules have started


if __name__ == "__main__":
    _answer_questions()
