"""Find the functions that the configuration names by their import path.

A user's own modules lie beside the configuration. Their folders come last in `sys.path`, so that a ``filters.py`` or
``io.py`` there never takes an installed module's place.
"""

import difflib
import functools
import importlib
import os
import pkgutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from fieldwork import InputError, reason_of

own_folders: list[str] = []  # those that `find` has put into `sys.path`


class EndedError(Exception):
    """Code of the user's raised what would have ended the process; the message names it."""


@contextmanager
def contained() -> Iterator[None]:
    """Run code of the user's: the process survives whatever it raises, and stays in its working folder.

    Ctrl-C ends the process all the same, even where that code ignores it.

    Raises
    ------
    EndedError
        In place of `sys.exit` and of any other exception that is no `Exception`.
    """
    folder, handler, pressed = os.getcwd(), signal.getsignal(signal.SIGINT), []

    def note(*received):
        pressed.append(received)
        handler(*received)

    # Only the main thread may set a handler, and gets the KeyboardInterrupt of Ctrl-C.
    is_noted = callable(handler) and threading.current_thread() is threading.main_thread()
    if is_noted:
        signal.signal(signal.SIGINT, note)
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or pressed:
            raise
        raise EndedError(reason_of(error)).with_traceback(error.__traceback__) from None
    finally:
        if is_noted:
            signal.signal(signal.SIGINT, handler)
        os.chdir(folder)
        if pressed:
            raise KeyboardInterrupt


def find(name: str, *, folders: Iterable[str | os.PathLike] = ()) -> Callable:
    """Import a function by its name.

    Parameters
    ----------
    name : str
        ``skimage.filters.sobel``, ``my_module.my_function``, or without a dot a name in ``skimage.filters``.
    folders : iterable of path-like
        Folders of the user's own modules, which are searched after the installed ones: those of the config files.

    Returns
    -------
    callable

    Raises
    ------
    InputError
        Names the missing part and the nearest name; or the file, the line and the exception of a module that failed.
    """
    own = [os.path.abspath(folder) for folder in folders]
    sys.path.extend(folder for folder in own if folder not in sys.path)
    own_folders.extend(folder for folder in own if folder not in own_folders)
    target, path = None, ""
    for part in (name if "." in name else f"skimage.filters.{name}").split("."):
        parent, path = path, f"{path}.{part}" if path else part
        try:
            # A name that a module does not have may be a submodule that is not imported yet.
            with contained():
                is_attribute = parent and hasattr(target, part)
                target = getattr(target, part) if is_attribute else importlib.import_module(path)
        except Exception as error:
            if not isinstance(error, ModuleNotFoundError) or not f"{path}.".startswith(f"{error.name}."):
                reason = reason_of(error, own=EndedError)
                raise InputError(f"{name}: {path} cannot be imported: {_origin(error, own)}: {reason}") from None
            if parent:
                problem = f"{parent} ({getattr(target, '__file__', 'built in')}) has no '{part}'"
            else:
                problem = f"no module '{part}' is installed" + (f" or in {', '.join(own)}" if own else "")
            known = dir(target) if parent else [module.name for module in pkgutil.iter_modules()]
            raise InputError(f"{name}: {problem}{nearest(part, known)}") from None
    if not callable(target):
        raise InputError(f"{name} is of type {type(target).__name__}; expected a function")
    return target


@functools.cache
def find_once(name: str, *, folders: tuple[str | os.PathLike, ...]) -> Callable:
    """Return the function that `find` finds; each process looks for it once."""
    return find(name, folders=folders)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean '...'?" with the public name that is nearest; empty where none is near."""
    near = difflib.get_close_matches(str(name), [other for other in known if not other.startswith("_")], n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def _origin(error, folders):
    """Return the file and line of an exception: the user's own where it passed through one."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    steps = traceback.extract_tb(error.__traceback__)
    step = ([step for step in steps if step.filename.startswith(tuple(folders))] or steps)[-1]
    return f"{step.filename}, line {step.lineno}"
