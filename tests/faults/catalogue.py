"""What a case is, and what must happen to it."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

SEED = 26

# Reasons of failed rows: what they have to be about.
MISSING_BYTES = (
    r"truncated|incomplete|no end|premature|ends (before|after)|goes on to byte|missing|holds \d+ of|too few"
)
DAMAGED = rf"damaged|corrupt|cannot be decoded|{MISSING_BYTES}"


class Good(NamedTuple):
    """The row is good, and its figures are those of an image."""

    image: np.ndarray


class Failed(NamedTuple):
    """The row has failed, for a reason that matches a pattern."""

    reason: str


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
    must: Good | Failed


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
