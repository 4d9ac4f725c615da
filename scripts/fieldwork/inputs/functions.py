"""Functions that the configuration names by their import path: finding, checking, and sorting what they give.

A user's own modules lie beside the configuration. Their folders come last in `sys.path`, so that a ``filters.py`` or
``io.py`` there never takes an installed module's place. The Snakefile imports this module, so it imports nothing large.
"""

import ast
import difflib
import functools
import importlib
import inspect
import json
import os
import pickle
import pkgutil
import signal
import subprocess
import sys
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path

from fieldwork import InputError

CHECK_SECONDS = 60  # for all imports; PyTorch from a slow network folder takes half of that
RESERVED = ("Metadata_", "Image_", "FileName_", "PathName_")  # how the tables' own columns begin


def find(name, *, folders=()):
    """Import a function by its name.

    Parameters
    ----------
    name : str
        ``skimage.filters.sobel``, ``my_module.my_function``, or without a dot a name in ``skimage.filters``.
    folders : iterable of path-like
        Where own modules are looked for, after the installed ones: the folders of the config files.

    Returns
    -------
    callable

    Raises
    ------
    InputError
        Says what was not found and the nearest name; or the file, the line and the exception of a module that failed.
    """
    own = [os.path.abspath(folder) for folder in folders]
    sys.path.extend(folder for folder in own if folder not in sys.path)
    found, place = None, ""
    for part in (name if "." in name else f"skimage.filters.{name}").split("."):
        inside, place = place, f"{place}.{part}" if place else part
        try:
            # What a module does not have may be a submodule that nobody has imported yet.
            there = inside and hasattr(found, part)
            found = getattr(found, part) if there else importlib.import_module(place)
        except (Exception, SystemExit) as error:
            if not isinstance(error, ModuleNotFoundError) or not f"{place}.".startswith(f"{error.name}."):
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                raise InputError(f"{name}: {place} cannot be imported: {_origin(error, own)}: {reason}") from None
            if inside:
                problem = f"{inside} ({getattr(found, '__file__', 'built in')}) has no '{part}'"
            else:
                problem = f"no module '{part}' is installed" + (f" or in {', '.join(own)}" if own else "")
            known = dir(found) if inside else [module.name for module in pkgutil.iter_modules()]
            raise InputError(f"{name}: {problem}{_nearest(part, known)}") from None
    if not callable(found):
        raise InputError(f"{name} is of type {type(found).__name__}; expected a function")
    return found


def _nearest(name, known):
    near = difflib.get_close_matches(str(name), [each for each in known if not each.startswith("_")], n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def _origin(error, folders):
    """The file and line of an exception: the user's own where it passed through one."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    steps = traceback.extract_tb(error.__traceback__)
    step = ([each for each in steps if each.filename.startswith(tuple(folders))] or steps)[-1]
    return f"{step.filename}, line {step.lineno}"


def check(name, arguments, *, folders=()):
    """Check that a function can be found, and called with an image and these keyword arguments.

    Parameters
    ----------
    name, folders
        As for `find`.
    arguments : dict

    Raises
    ------
    InputError
        As `find`; or names the argument that is not the function's, or is missing.
    """
    function = find(name, folders=folders)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # compiled functions, such as OpenCV's, do not tell
        return
    parameters = signature.parameters.values()
    known = [each.name for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    if not any(each.kind == each.VAR_KEYWORD for each in parameters):
        for argument in arguments:
            if argument not in known:
                hint = _nearest(argument, known[1:]) or f"; it takes {', '.join(known[1:]) or 'the image alone'}"
                raise InputError(f"{name} takes no argument '{argument}'{hint}")
    try:
        signature.bind(None, **arguments)
    except TypeError as error:
        raise InputError(f"{name} cannot be called with an image and the arguments {arguments}: {error}") from None


@functools.cache
def metric(name):
    """Find a NumPy function that gives one number for an image, such as ``var`` or ``linalg.norm``.

    Raises
    ------
    InputError
        NumPy has no such function, or it gives something else.
    """
    import numpy as np  # here and below: the Snakefile imports this module and handles no arrays

    name = f"numpy.{name}"
    function = find(name)
    try:
        value = function(np.arange(12.0).reshape(3, 4))
    except Exception as error:
        raise InputError(f"{name} fails on an image: {type(error).__name__}: {error}") from None
    if _number(value) is None:
        raise InputError(f"{name} gives {_described(value)} for an image; expected one number")
    return function


def check_calls(calls, *, metrics=(), folders=()):
    """Check functions and metrics in a process of its own, which modules may crash, fill with threads, or print from.

    Parameters
    ----------
    calls : iterable of (str, str, dict)
        Where the configuration names it, for the message; the function's name; its arguments.
    metrics : iterable of (str, str)
        The same of metrics: where, and the name.
    folders
        As for `find`.

    Raises
    ------
    InputError
        One line for the first that is wrong: where, what was found, what is expected.
    """
    work = [(key, functools.partial(check, name, arguments, folders=folders)) for key, name, arguments in calls]
    work += [(key, functools.partial(metric, name)) for key, name in metrics]
    if not work:
        return
    # -P: without the working directory, as in jobs, where a skimage.py of the user's would be in the way.
    command = [sys.executable, "-P", "-c", "from fieldwork.inputs import functions; functions._answer()"]
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    # Files and not pipes: a process that a module has started would hold a pipe open.
    with tempfile.TemporaryFile() as answers, tempfile.TemporaryFile() as printed:
        try:
            process = subprocess.run(
                command,
                input=pickle.dumps([task for _, task in work]),
                stdout=answers,
                stderr=printed,
                env={**os.environ, "PYTHONPATH": path},
                timeout=CHECK_SECONDS,
            )
            end = process.returncode
            reason = f"was ended by {signal.Signals(-end).name}" if end < 0 else f"ended (exit status {end})"
        except subprocess.TimeoutExpired:
            reason = f"was not done after {CHECK_SECONDS} s"
        answers.seek(0)
        printed.seek(0)
        found = [json.loads(line) for line in answers]
        last = printed.read().decode(errors="replace").strip().rpartition("\n")[2]
    for (key, task), problem in zip(work, [*found, None], strict=False):
        if problem is None:
            said = f"; it printed last: {last}" if last else ""
            raise InputError(f"{key}: Python {reason} while it imported {task.args[0]}{said}")
        if problem:
            raise InputError(f"{key}: {problem}")


def _answer():
    """Run the checks that come by standard input; write for each a line of JSON, its problem or an empty text."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what modules print
    for task in pickle.load(sys.stdin.buffer):
        problem = ""
        try:
            task()
        except InputError as error:
            problem = str(error)
        print(json.dumps(problem), file=answers, flush=True)
    os._exit(0)  # without waiting for threads that modules have started


def module_files(names, *, folders):
    """List the files of own modules, so that a change of them re-makes what they made. Nothing is imported.

    Parameters
    ----------
    names : iterable of str
        Of functions, as for `find`.
    folders : iterable of path-like
        As for `find`.

    Returns
    -------
    dict of str to pathlib.Path
        By number of the folder and path below it; with the modules of those folders that they import, but not what
        they import by a name made up as they run.
    """
    found = {}
    for number, folder in enumerate(map(Path, folders)):
        ahead = [tuple(name.split(".")) for name in names]
        while ahead:
            dotted = ahead.pop()
            for count in range(1, len(dotted) + 1):
                stem = folder.joinpath(*dotted[:count])
                for path in (stem / "__init__.py", stem.with_name(f"{stem.name}.py")):
                    name = f"{number}/{path.relative_to(folder).as_posix()}"
                    if name not in found and path.is_file():
                        found[name] = path
                        ahead += _imports(path, folder)
    return found


def _imports(path, folder):
    """List what a file imports, each as the parts of a dotted name; of `from a import b`, a.b."""
    names = []
    with suppress(SyntaxError, ValueError):  # `check_calls` tells of those
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                names += [tuple(alias.name.split(".")) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                parents = path.relative_to(folder).parts[: -node.level] if node.level else ()
                module = tuple(node.module.split(".")) if node.module else ()
                names += [(*parents, *module, alias.name) for alias in node.names]
    return names


def result_of(value, name):
    """Sort what a function gave for one frame: numbers or an image.

    Parameters
    ----------
    value : object
        A number, a dict of numbers, or a 2-D array of real numbers.
    name : str
        Of the function; its last part is the column of a number.

    Returns
    -------
    dict of str to int or float, or (rows, columns) array
        Numbers by column, or an image as `image_of` gives it.

    Raises
    ------
    ValueError
        It is something else, or a column would be called as one of the table's own.
    """
    if _number(value) is not None:
        value = {name.rpartition(".")[2]: value}
    if not isinstance(value, dict):
        return image_of(value, expected="a number, a dict of numbers, or an image (2-D array of real numbers)")
    numbers = {}
    for key, each in value.items():
        column, number = str(key), _number(each)
        if number is None:
            raise ValueError(f"gave {_described(each)} as '{column}'; expected a number")
        if column.startswith(RESERVED) or column in numbers:
            raise ValueError(f"gave '{column}', a name that another column has; expected another name")
        numbers[column] = number
    return numbers


def reason(name, error):
    """Say in a line that a function failed, and how."""
    return f"{name} failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}"


def image_of(value, *, expected="an image (2-D array of real numbers)"):
    """Check that a value is an image, and bring it to a type that files can hold.

    Returns
    -------
    (rows, columns) array
        C-contiguous, in native byte order; of the value's own type, but bool as uint8, float16 as float32, and
        longer floats as float64.

    Raises
    ------
    ValueError
        Says what it is instead.
    """
    import numpy as np

    is_array = isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray)
    if not is_array or value.ndim != 2 or not value.size or value.dtype.kind not in "biuf":
        raise ValueError(f"gave {_described(value)}; expected {expected}")
    others = {"?": np.uint8, "e": np.float32, "g": np.float64}
    return np.ascontiguousarray(value, others.get(value.dtype.char, value.dtype.newbyteorder("=")))


def _number(value):
    """The int or float that a value is; None where it is no real number."""
    import numpy as np

    if isinstance(value, int):
        return int(value) if abs(value) < 2**63 else float(value)  # no column of integers holds more
    if isinstance(value, float):
        return float(value)
    kind = value.dtype.kind if isinstance(value, np.generic | np.ndarray) and value.ndim == 0 else None
    return float(value) if kind == "f" else int(value) if kind in ("b", "i", "u") else None


def _described(value):
    import numpy as np

    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and type {value.dtype}"
    return "None" if value is None else f"a value of type {type(value).__name__}"
