"""Functions that the configuration names by their import path: finding, checking, and sorting what they give.

A user's own modules lie beside the configuration. Their folders come last in `sys.path`, so that a ``filters.py`` or
``io.py`` there never takes an installed module's place. The Snakefile imports this module, so it imports nothing large.
"""

import difflib
import importlib
import os
import pkgutil
import sys
import traceback

from fieldwork import InputError


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
            raise InputError(f"{name}: {problem}{nearest(part, known)}") from None
    if not callable(found):
        raise InputError(f"{name} is of type {type(found).__name__}; expected a function")
    return found


def nearest(name, known):
    near = difflib.get_close_matches(str(name), [each for each in known if not each.startswith("_")], n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def _origin(error, folders):
    """The file and line of an exception: the user's own where it passed through one."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    steps = traceback.extract_tb(error.__traceback__)
    step = ([each for each in steps if each.filename.startswith(tuple(folders))] or steps)[-1]
    return f"{step.filename}, line {step.lineno}"
