"""Plan working directories, each in a process of its own that may hang or crash: `python -m faults.planner FOLDER ...`.

Prints a line of JSON for each: the refusal, what was raised in its place, or neither.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

LONGEST_PLAN_S = 30
LARGEST_PLAN_BYTES = 2**32  # of addresses; a plan has some 10^9 before it begins
MESSAGE_BYTES = 2**16


class Planned(NamedTuple):
    """What became of a plan."""

    refusal: str = ""
    raised: str = ""


def plan_all(folders: Sequence[Path]) -> list[Planned]:
    """Plan folders in one other process, which forks for each."""
    command = [sys.executable, "-m", "faults.planner", *map(str, folders)]
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **paths})
    lines = [line for line in ended.stdout.splitlines() if line.startswith('{"refusal')]
    assert len(lines) == len(folders), ended.stdout[-2000:] + ended.stderr[-2000:]
    return [Planned(**json.loads(line)) for line in lines]


def _plan(folder):
    """Plan a folder, as Snakemake would, and return what became of it."""
    from fieldwork import InputError
    from plans import plan_in

    resource.setrlimit(resource.RLIMIT_AS, (LARGEST_PLAN_BYTES, LARGEST_PLAN_BYTES))
    try:
        plan = plan_in(Path(folder))
        plan.plates.require_all_images()
        for plate in plan.plates.names:
            plan.plates.units(plate)
    except InputError as error:
        return Planned(refusal=str(error))
    except BaseException:
        return Planned(raised=traceback.format_exc()[-600:])
    return Planned()


def _plan_apart(folder):
    """Plan a folder in a forked process, and return what became of it and of the process."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(LONGEST_PLAN_S)
        result = json.dumps(_plan(folder)._asdict()).encode()
        os.write(
            writing,
            result if len(result) < MESSAGE_BYTES else json.dumps(Planned(raised="too long")._asdict()).encode(),
        )
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as stream:
        text = stream.read()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if text:
        return text.decode()
    raised = f"not over after {LONGEST_PLAN_S} s" if code == -signal.SIGALRM else f"the process ended with {code}"
    return json.dumps(Planned(raised=raised)._asdict())


if __name__ == "__main__":
    import plans  # noqa: F401  once, before the forks

    for path in sys.argv[1:]:
        print(_plan_apart(path), flush=True)
