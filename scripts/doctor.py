"""Check in ten lines whether this machine is fit for Fieldwork; `make doctor` calls it. The exit status is 1 if not."""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import importlib.util
import sys
from pathlib import Path


def main():
    """Print a line for each thing that was looked at, and return the exit status."""
    if importlib.util.find_spec("psutil") is None:
        print(f"{sys.executable} lacks the packages of envs/requirements.lock: `make doctor` installs them first.")
        return 1
    from fieldwork.doctor import machine  # here: it needs these packages

    unfit = []
    for state, subject, text in machine.examine(Path()):
        print(f"{state:<6}{subject:<10}{text}", flush=True)
        if state == machine.UNFIT:
            unfit.append(subject)
    print(f"This machine is not fit: see {', '.join(unfit)}." if unfit else "This machine is fit for Fieldwork.")
    return 1 if unfit else 0


if __name__ == "__main__":
    sys.exit(main())
