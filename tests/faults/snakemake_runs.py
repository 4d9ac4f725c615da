"""Runs of the workflow as a user starts them."""

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from workspace import Workspace

LONGEST_RUN_S = 600  # four times what the longest takes on two idle cores


class Ended(NamedTuple):
    """How a run ended."""

    status: int | None  # None: it hung
    printed: str

    @property
    def wrong(self) -> str:
        """What is wrong with a run that must succeed."""
        return wrong_end(self, status=0)


def run(
    folder: Path,
    *arguments: str,
    cores: int = 1,
    environment: Mapping[str, str] | None = None,
    prepare: Callable[[], object] | None = None,
) -> Ended:
    """Run the workflow in a folder to its end, with further variables, after a call in the new process."""
    command = Workspace(folder).command(*arguments, cores=cores)
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
        preexec_fn=prepare,
    )
    try:
        printed, _ = process.communicate(timeout=LONGEST_RUN_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        printed, _ = process.communicate()
        return Ended(None, printed.decode(errors="replace"))
    return Ended(process.returncode, printed.decode(errors="replace"))


def wrong_end(ended: Ended, *, status: int) -> str:
    """Return what is wrong with the end of a run; nothing where it is as it must be."""
    if ended.status is None:
        return f"not over after {LONGEST_RUN_S} s"
    if "Traceback" in ended.printed:
        return "a traceback: " + ended.printed.rpartition("Traceback")[2][-300:]
    if ended.status != status:
        return f"exit status {ended.status}, not {status}: {ended.printed[-300:]}"
    return ""
