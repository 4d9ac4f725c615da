"""Check the functions that the configuration names before any job starts, and list the files that define them."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from fieldwork import InputError, processes
from fieldwork.planning.imports import imported_names

IMPORTS_TIMEOUT_S = 60  # PyTorch from a slow network folder takes half of that


def check_calls(
    calls: Iterable[tuple[str, str, dict]],
    *,
    metrics: Iterable[tuple[str, str]] = (),
    folders: Iterable[str | os.PathLike] = (),
) -> None:
    """Check functions and metrics in a process of its own, as modules may crash, start threads, or print.

    Parameters
    ----------
    calls : iterable of (str, str, dict)
        The configuration's key, for the message; the function's name; its arguments.
    metrics : iterable of (str, str)
        The same for metrics: key and name.
    folders
        As for `find`.

    Raises
    ------
    InputError
        One line for the first that is wrong: its key, what was found, what is expected.
    """
    named = [*calls, *((key, name, None) for key, name in metrics)]
    if not named:
        return
    folders = list(map(os.fspath, folders))
    questions = [{"name": name, "arguments": arguments, "folders": folders} for _, name, arguments in named]
    # -P: without the working directory, as in jobs; a user's skimage.py there would hide the installed module.
    command = [sys.executable, "-P", "-m", "fieldwork.user_functions"]
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    # Files and not pipes: a process that a module has started would hold a pipe open.
    with tempfile.TemporaryFile() as answers, tempfile.TemporaryFile() as printed:
        try:
            process = subprocess.run(
                command,
                input=json.dumps(questions).encode(),
                stdout=answers,
                stderr=printed,
                env={**os.environ, **processes.ONE_THREAD, "PYTHONPATH": path},
                timeout=IMPORTS_TIMEOUT_S,
            )
            end = process.returncode
            reason = f"was ended by {signal.Signals(-end).name}" if end < 0 else f"ended (exit status {end})"
        except subprocess.TimeoutExpired:
            reason = f"was not done after {IMPORTS_TIMEOUT_S} s"
        answers.seek(0)
        printed.seek(0)
        problems = [json.loads(line) for line in answers]
        last_line = printed.read().decode(errors="replace").strip().rpartition("\n")[2]
    for (key, name, _), problem in zip(named, [*problems, None], strict=False):
        if problem is None:
            hint = f"; it printed last: {last_line}" if last_line else ""
            raise InputError(f"{key}: Python {reason} while it imported {name}{hint}")
        if problem:
            raise InputError(f"{key}: {problem}")


def module_files(names: Iterable[str], *, folders: Iterable[str | os.PathLike]) -> dict[str, Path]:
    """List the files of the user's own modules, whose changes re-make tables. Nothing is imported.

    Parameters
    ----------
    names : iterable of str
        Of functions, as for `find`.
    folders : iterable of path-like
        As for `find`.

    Returns
    -------
    dict of str to pathlib.Path
        By path below the folder, of the first folder that has the file, as Python imports it; with the modules of those
        folders that they import, but without imports by a name that is composed at run time.
    """
    files = {}
    for folder in map(Path, folders):
        seen = set()
        ahead = [tuple(name.split(".")) for name in names]
        while ahead:
            dotted = ahead.pop()
            for count in range(1, len(dotted) + 1):
                stem = folder.joinpath(*dotted[:count])
                for path in (stem / "__init__.py", stem.with_name(f"{stem.name}.py")):
                    if path not in seen and path.is_file():
                        seen.add(path)
                        files.setdefault(path.relative_to(folder).as_posix(), path)
                        with suppress(SyntaxError, ValueError):  # `check_calls` reports those
                            ahead += [tuple(name.split(".")) for name in imported_names(path, root=folder)]
    return files
