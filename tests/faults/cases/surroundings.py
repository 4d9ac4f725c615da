"""Cases of what happens around a run: variables, limits, folders, kills, and images that come and go."""

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from faults.catalogue import Refused, RunCase, SameTables, random_numbers
from faults.snakemake_runs import Ended, run
from workspace import Workspace

TARGET = "tables"
VARIABLES = {
    "no locale": {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "warnings are errors": {"PYTHONWARNINGS": "error"},
    "an absent TMPDIR": {"TMPDIR": "/nonexistent/tmp"},
    "a device as TMPDIR": {"TMPDIR": "/dev/null"},
    "an absent home": {"HOME": "/nonexistent"},
    "odd threads": {"OMP_NUM_THREADS": "many", "OPENBLAS_NUM_THREADS": "-1"},
    "an odd screen": {"MPLBACKEND": "nothing", "DISPLAY": ":99", "COLUMNS": "0", "TERM": "nothing"},
    "an odd time zone": {"TZ": "Nowhere/None"},
    "another order of sets": {"PYTHONHASHSEED": "1"},
    "an odd PYTHONPATH": {"PYTHONPATH": "/nonexistent:/dev/null"},
}
KILLS = {"SIGKILL 1": signal.SIGKILL, "SIGKILL 2": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
IN_PLACE = {"results": r"results", "logs": r"logs", "benchmarks": r"benchmarks", ".snakemake": r"\.snakemake"}


def cases() -> Iterator[RunCase]:
    """Yield every case."""
    for name, variables in VARIABLES.items():
        yield RunCase("Surroundings", name, _with(environment=variables), SameTables())
    yield RunCase("Surroundings", "64 open files", _with(prepare=_limit(resource.RLIMIT_NOFILE, 64)), SameTables())
    yield RunCase("Surroundings", "no core dumps", _with(prepare=_limit(resource.RLIMIT_CORE, 0)), SameTables())
    yield RunCase("Surroundings", "a narrow umask", _with(prepare=lambda: os.umask(0o077)), SameTables())
    small = _with(prepare=_limit(resource.RLIMIT_FSIZE, 2000))
    yield RunCase("Surroundings", "no file above 2 kB", small, SameTables(first=r"[Ff]ile too large|too large|limit"))
    for name, message in IN_PLACE.items():
        yield RunCase("Surroundings", f"a file in the place of {name}", _file_in_place(name), Refused(message))
    yield RunCase("Surroundings", "results that are a link", _linked_results, SameTables())
    for name, number in KILLS.items():
        yield RunCase("Kills", name, _killed(number, name), SameTables())
    yield RunCase("Images that change", "one is away, and back", _away_and_back, SameTables())
    yield RunCase("Images that change", "one is damaged, and mended", _damaged_and_mended, SameTables())
    yield RunCase("Images that change", "tables are deleted", _deleted("fields.csv"), SameTables())
    yield RunCase("Images that change", "a unit's table is deleted", _deleted("units/all.parquet"), SameTables())


def _with(**options) -> Callable[[Workspace], Ended]:
    return lambda workspace: run(workspace.path, TARGET, **options)


def _limit(what, value):
    return lambda: resource.setrlimit(what, (value, value))


def _file_in_place(name):
    def disturb(workspace: Workspace) -> Ended:
        (workspace.path / name).write_text("a file\n")
        return run(workspace.path, TARGET)

    return disturb


def _linked_results(workspace):
    (workspace.path / "elsewhere").mkdir()
    (workspace.path / "results").symlink_to("elsewhere")
    return run(workspace.path, TARGET)


def _killed(number, name):
    def disturb(workspace: Workspace) -> Ended:
        process = subprocess.Popen(
            workspace.command(TARGET, cores=1), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(random_numbers("kills", name).uniform(1, 6))  # wherever it is then, or done
        process.send_signal(number)
        process.wait()
        return run(workspace.path, TARGET)

    return disturb


def _away_and_back(workspace):
    image = _image(workspace)
    image.rename(workspace.path / "away")
    run(workspace.path, TARGET)
    (workspace.path / "away").rename(image)
    return run(workspace.path, TARGET)


def _damaged_and_mended(workspace):
    image = _image(workspace)
    shutil.copy2(image, workspace.path / "copy")
    image.write_bytes(image.read_bytes()[:1000])
    run(workspace.path, TARGET, "--config", "max_failed_fields=1")
    shutil.copy2(workspace.path / "copy", image)
    return run(workspace.path, TARGET)


def _deleted(name):
    def disturb(workspace: Workspace) -> Ended:
        run(workspace.path, TARGET)
        (workspace.path / "results/plates/P1" / name).unlink()
        return run(workspace.path, TARGET)

    return disturb


def _image(workspace) -> Path:
    return sorted((workspace.path / "images").rglob("*.tif"))[2]
