"""Run pip on a lock, and show in one line how far it is: ``show_progress.py LOCK COMMAND...``. It needs no package."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

# Measured on Linux, x86-64, with Python 3.11; tests compare the second one with what is installed.
DOWNLOAD_MB, DISK_MB = 490, 1780


def main(lock, *command):
    """Run the command; return its exit status."""
    total = len(set(re.findall(r"^([A-Za-z0-9._-]+)==", Path(lock).read_text(encoding="utf-8"), re.MULTILINE)))
    started, done, last, is_said = time.monotonic(), 0, [], False
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, **pipes, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as process:
        for line in process.stdout:
            last = [*last[-30:], line]
            if line.startswith(("Looking in ", "Ignoring ")):  # the latter for another system or version of Python
                total -= line.startswith("Ignoring ")
                continue
            if not is_said:  # pip has named all packages that it ignores
                is_said = True
                print(
                    f"Setting up: {total} packages, about {DOWNLOAD_MB} MB to download, {DISK_MB / 1000:.1f} GB on "
                    "disk; a few minutes, once.",
                    flush=True,
                )
            # After the package's name or file stands the lock's: (from -r envs/requirements.lock (line 7)).
            if match := re.match(r"(?:Collecting |Processing (?:.*/)?)([^=\s]+)", line.split(" (from ")[0]):
                done += 1
                show(f"{done} of {total}: {match[1]}", is_step=done % 25 == 0)
            elif "Retrying" in line:
                show(line.strip(), is_step=True)
            elif line.startswith("Installing collected packages"):
                show(f"{done} packages are here; unpacking them takes about a minute", is_step=True)
    if process.returncode:
        print("", *last, sep="\n" if sys.stdout.isatty() else "", end="", flush=True)
    else:
        show(f"{done} packages installed in {time.monotonic() - started:.0f} s", is_step=True)
        print(end="\n" if sys.stdout.isatty() else "")
    return process.returncode


def show(text, *, is_step):
    """Print a line in place of the last one; where no one watches, only where a step is done."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\033[K  {text[: width - 2]}", end="", flush=True)
    elif is_step:
        print(f"  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
