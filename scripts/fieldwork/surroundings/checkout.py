"""The checkout that this library is part of."""

import os
import subprocess
from pathlib import Path

CLONE = Path(__file__).parents[3]
CODE = ("Snakefile", "rules", "scripts", "envs")  # of a clone; sheets and configuration may lie in it, too
GIT_ANSWER_S = 60  # more on a file system that hangs; no table waits for it


def commit_of(clone: Path = CLONE) -> str | None:
    """Return the commit of a checkout, with ``-dirty`` where its code has been changed since; None where there is none.

    Parameters
    ----------
    clone : pathlib.Path
        Root of the checkout. A folder inside of another checkout has no commit of its own.

    Returns
    -------
    str or None
        40 hexadecimal digits; None also where git is not installed.
    """
    lines = _git(clone, "rev-parse", "--show-prefix", "HEAD")
    if lines is None or len(lines) != 2 or lines[0]:
        return None
    changed = _git(clone, "status", "--porcelain", "--untracked-files=no", "--", *CODE)
    return None if changed is None else lines[1] + "-dirty" * bool(changed)


def _git(clone, *arguments):
    """Return the lines that git writes, or None where it fails."""
    # The repository and index that a hook of git names are others; and a clone may be another user's.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-c", "safe.directory=*", "-C", clone, *arguments]
    options = {"env": environment, "stdin": subprocess.DEVNULL, "timeout": GIT_ANSWER_S}
    try:
        done = subprocess.run(command, capture_output=True, text=True, **options)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout.splitlines()
