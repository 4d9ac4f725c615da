"""Check the functions that the configuration names before any job starts, and list the files that they are from."""

import ast
import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from fieldwork import InputError

CHECK_SECONDS = 60  # for all imports; PyTorch from a slow network folder takes half of that


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
    work = [*calls, *((key, name, None) for key, name in metrics)]
    if not work:
        return
    folders = list(map(os.fspath, folders))
    questions = [{"name": name, "arguments": arguments, "folders": folders} for _, name, arguments in work]
    # -P: without the working directory, as in jobs, where a skimage.py of the user's would be in the way.
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
    for (key, name, _), problem in zip(work, [*found, None], strict=False):
        if problem is None:
            said = f"; it printed last: {last}" if last else ""
            raise InputError(f"{key}: Python {reason} while it imported {name}{said}")
        if problem:
            raise InputError(f"{key}: {problem}")


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
