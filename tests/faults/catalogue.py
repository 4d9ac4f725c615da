"""What a case is, and what must happen to it."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faults.snakemake_runs import Ended

SEED = 26

# Reasons of failed rows: what they have to be about.
MISSING_BYTES = (
    r"truncated|incomplete|no end|premature|ends (before|after)|goes on to byte|missing|holds \d+ of|too few"
)
NOT_READ = "^not read: "  # for a reason outside the file: the next run tries it again
SAID_BY_LIBRARIES = r"zeros from byte|bogus|unsupported|not defined|not a (PNG|JPEG) stream|no header of a picture"
DAMAGED = rf"damaged|corrupt|cannot be decoded|{SAID_BY_LIBRARIES}|{MISSING_BYTES}"


class Good(NamedTuple):
    """The row is good, and its figures are those of an image."""

    image: np.ndarray


class Failed(NamedTuple):
    """The row has failed, for a reason that matches a pattern."""

    reason: str


class GoodOrFailed(NamedTuple):
    """The row is good with the figures of an image, or has failed for a reason that matches a pattern."""

    image: np.ndarray
    reason: str


class ReadsBack(NamedTuple):
    """A table has this value, to the letter; a line break may be a blank."""

    value: str


class Tiles(NamedTuple):
    """The slide is good: tiles of these numbers are listed as failed and blank, and all other pixels are an image's."""

    image: np.ndarray
    failed: set[int]


class Returns(NamedTuple):
    """The row is good and has the value that a function of the user's returned."""

    value: float


class SameTables(NamedTuple):
    """The tables are those of an undisturbed run, byte by byte.

    Where `first` is a pattern, a first run ends with exit code 1 and a message that matches it, without a traceback;
    the same command, undisturbed, then gives these tables.
    """

    first: str = ""


class Unpacked(NamedTuple):
    """The folder has these files."""

    files: dict[str, bytes]


class NoTables(NamedTuple):
    """The job ends with a message that matches a pattern, without outputs; all else goes on, and the exit code is 1."""

    message: str


class Frames(NamedTuple):
    """Every frame of a stack, in order, is as it must be."""

    frames: list[Good | Failed]


class Refused(NamedTuple):
    """The run is refused before any job, in one line that matches a pattern, with exit code 1 and no traceback."""

    message: str


class FieldCase(NamedTuple):
    """An image file among the fields of a plate."""

    category: str
    name: str
    plate: str
    suffix: str
    write: Callable[[Path], None]
    must: Good | Failed | GoodOrFailed
    prefix: str = "X"  # of the file's name


class ValueCase(NamedTuple):
    """A value in the platemap of a plate."""

    category: str
    name: str
    must: ReadsBack


class FunctionCase(NamedTuple):
    """What a function of the user's does with a frame."""

    category: str
    name: str
    code: str  # of the function's body
    must: Returns | Failed


class ArchiveCase(NamedTuple):
    """An archive of a plate."""

    category: str
    name: str
    suffix: str
    content: bytes
    must: Unpacked | NoTables
    further: dict[str, str] = {}  # columns of the sheet


class RunCase(NamedTuple):
    """What happens around a run."""

    category: str
    name: str
    disturb: Callable[..., Ended]  # of a workspace: runs in it
    must: SameTables | Refused


class SlideCase(NamedTuple):
    """A slide."""

    category: str
    name: str
    write: Callable[[Path], None]
    must: Tiles | Failed


class StackCase(NamedTuple):
    """A stack."""

    category: str
    name: str
    suffix: str
    write: Callable[[Path], None]
    must: Frames | NoTables


class RefusalCase(NamedTuple):
    """A working directory that is refused."""

    category: str
    name: str
    write: Callable[[Path], None]
    must: Refused


class Verdict(NamedTuple):
    """What became of a case: nothing wrong, or what was wrong."""

    category: str
    name: str
    wrong: str = ""


def random_numbers(*names: str | int) -> np.random.Generator:
    """Return a generator that depends on the corpus's seed and on names, and on nothing else."""
    return np.random.default_rng([SEED, *(zlib.crc32(str(name).encode()) for name in names)])
