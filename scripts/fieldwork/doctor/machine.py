"""What a machine has: Python, disk, processors, memory, and what only parts of Fieldwork need."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fieldwork.doctor import libraries
from fieldwork.gpu import choice
from fieldwork.surroundings import memory, processors
from fieldwork.surroundings.workers import JOB_MB, WORKER_MB

OLDEST_PYTHON = (3, 11)
LEAST_FREE_MB = 500  # what the demo draws and its results take 60 MB
SLURM_ANSWER_S = 30
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

FOR_IMAGES = ("numpy", "scipy", "opencv-python-headless", "scikit-image", "imagecodecs", "pillow", "simplejpeg")
FOR_IMAGES += ("cp-measure", "onnx", "onnxruntime")
FOR_SLIDES_AND_TABLES = (
    "openslide-python",
    "cucim-cu12",
    "zarrs",
    "numcodecs",
    "pyarrow",
    "pandas",
    "scikit-learn",
    "shapely",
    "python-calamine",
    "matplotlib",
)
# There are no wheels of these for some machines, and the lock leaves them out there (docs/dependencies.md).
NOT_EVERYWHERE = {"cucim-cu12": "other readers take its slides", "cp-measure": "measure.groups is refused"}

FIT, NOT_NEEDED, UNFIT = "fit", "-", "UNFIT"


class Finding(NamedTuple):
    """One line of the doctor's."""

    state: str  # FIT; NOT_NEEDED: it is not there, and most runs do without; UNFIT
    subject: str
    text: str


def examine(folder: Path) -> Iterator[Finding]:
    """Yield what was found on this machine, as soon as it is known.

    Parameters
    ----------
    folder : pathlib.Path
        The working directory of runs.
    """
    yield python()
    yield disk(folder)
    usable = processors.usable()
    yield Finding(FIT, "Cores", f"{usable.count} ({usable.why})")
    yield workers_memory(memory.left(), usable.count)
    yield native("Images", FOR_IMAGES, usable.count)
    yield native("Slides", FOR_SLIDES_AND_TABLES, usable.count)
    yield chromium()
    yield slurm()
    yield gpu()


def python() -> Finding:
    """Return the version of Python, and the system."""
    text = f"{platform.python_version()} ({sys.prefix}) on {platform.platform()}"
    if sys.version_info < OLDEST_PYTHON:
        return Finding(UNFIT, "Python", f"{text}; needed: {'.'.join(map(str, OLDEST_PYTHON))} or newer")
    if sys.platform == "win32":
        return Finding(UNFIT, "Python", f"{text}; use Linux, as Windows has it in WSL 2")
    return Finding(FIT, "Python", text)


def disk(folder: Path) -> Finding:
    """Return how much room there is for results, and for temporary files.

    Parameters
    ----------
    folder : pathlib.Path
        Where results will be.
    """
    texts, state = [], FIT
    for path in (folder, Path(tempfile.gettempdir())):
        free_mb = shutil.disk_usage(path).free // 10**6
        texts.append(f"{free_mb / 1000:,.1f} GB free in {path.resolve()}")
        if free_mb < LEAST_FREE_MB:
            texts[-1] += f", needed: {LEAST_FREE_MB / 1000:,.1f} GB"
            state = UNFIT
        if not os.access(path, os.W_OK | os.X_OK):
            texts[-1] += ", where nothing may be written"
            state = UNFIT
    return Finding(state, "Disk", "; ".join(texts))


def workers_memory(left: memory.Left, cores: int) -> Finding:
    """Return for how many workers there is memory: one for every processor is best.

    Parameters
    ----------
    left : fieldwork.surroundings.memory.Left
    cores : int
        Processors that may be used.
    """
    workers = min(cores, (left.megabytes - JOB_MB) // WORKER_MB)
    if workers < 1:
        return Finding(UNFIT, "Memory", f"{left.in_words}, needed for one worker: {JOB_MB + WORKER_MB:,} MB")
    text = f"{left.in_words}, enough for {workers:,} worker" + "s" * (workers > 1)
    return Finding(FIT, "Memory", text + f" on {cores:,} cores" * (workers < cores))


def native(subject: str, names: tuple[str, ...], processes: int) -> Finding:
    """Return which of a few native libraries load, and read what was just written.

    Parameters
    ----------
    subject : str
        What they are for.
    names : tuple of str
        Keys of `libraries.CHECKS`.
    processes : int
        At once.
    """
    texts, state = [], FIT
    for library in libraries.examine(names, processes=processes):
        if library.is_absent and library.name in NOT_EVERYWHERE:
            texts.append(f"no {library.name}: {NOT_EVERYWHERE[library.name]}")
        elif library.fault:
            texts.insert(0, f"{library.name} {library.fault}")
            state = UNFIT
        else:
            texts.append(library.name)
    return Finding(state, subject, ", ".join(texts))


def chromium() -> Finding:
    """Return the browser that tests of pages need."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        return Finding(NOT_NEEDED, "Chromium", "not found; only tests of the viewer and of the report need it")
    return _answer("Chromium", [program, "--version"], str.strip)


def slurm() -> Finding:
    """Return whether there is a Slurm to send jobs to, and its nodes."""
    if shutil.which("sbatch") is None:
        return Finding(NOT_NEEDED, "Slurm", "no sbatch here; only --profile profiles/slurm needs it")
    return _answer("Slurm", ["sinfo", "--noheader", "--format=%D %T"], _nodes)


def _nodes(output):
    return "nodes: " + (", ".join(" ".join(line.split()) for line in output.splitlines()) or "none")


def _answer(subject, command, in_words):
    """Return what a program answers, in words; or why it does not, which most runs need not mind."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SLURM_ANSWER_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(NOT_NEEDED, subject, f"{command[0]} does not answer: {error}")
    if done.returncode:
        reason = (done.stderr.strip() or f"it ended with {done.returncode}").splitlines()[-1]
        return Finding(NOT_NEEDED, subject, f"{command[0]} does not answer: {reason}")
    return Finding(FIT, subject, in_words(done.stdout))


def gpu() -> Finding:
    """Return whether there is a GPU to use."""
    if reason := choice.missing():
        return Finding(NOT_NEEDED, "GPU", f"{reason}; only device: gpu needs one (docs/dependencies.md)")
    return Finding(FIT, "GPU", "CuPy sees one")
