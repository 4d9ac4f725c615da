"""How much memory is left: of the machine, and of the control group of a cluster's job or a container."""

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import psutil

from fieldwork.surroundings.control_groups import groups_around

# Of the versions of control groups: the limit, what is used, and the part of that which the kernel gives back before it
# kills, as it is copies of files.
FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
    2: ("memory.max", "memory.current", ("inactive_file", "active_file")),
}


class Left(NamedTuple):
    """Memory that this process can still take before it swaps or is killed."""

    bytes: int
    of: str  # in words, what limits it

    @property
    def megabytes(self) -> int:
        """The same in MB."""
        return self.bytes // 10**6

    @property
    def in_words(self) -> str:
        """How much it is, and what limits it, for messages."""
        return f"{self.megabytes:,} MB of memory are left {self.of}"


def left() -> Left:
    """Return the memory that this process can still take, and what limits it."""
    limits = [Left(psutil.virtual_memory().available, "of the machine"), *_left_in_groups(), *_given_by_slurm()]
    tightest = min(limits, key=lambda limit: limit.bytes)
    return tightest._replace(bytes=max(0, tightest.bytes))


def available_bytes() -> int:
    """Return how many bytes this process can still take before it swaps or is killed."""
    return left().bytes


def _left_in_groups() -> Iterator[Left]:
    """Yield what is left in each control group around this process that has a limit."""
    for folder, version in groups_around("memory"):
        limit, used, reclaimable = FILES[version]
        with suppress(OSError, ValueError):  # no limit is the word max
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            taken = int((folder / used).read_text()) - sum(int(statistics.get(name, 0)) for name in reclaimable)
            yield Left(int((folder / limit).read_text()) - taken, "within the limit of a control group")


def _given_by_slurm() -> Iterator[Left]:
    """Yield what Slurm gave the job around this process, which not every cluster enforces by a control group."""
    mebibytes = os.environ.get("SLURM_MEM_PER_NODE")
    with suppress(KeyError, ValueError):
        if mebibytes is None:  # a job has one of both; the other may be left from the job that submitted it
            mebibytes = int(os.environ["SLURM_MEM_PER_CPU"]) * int(os.environ["SLURM_CPUS_ON_NODE"])
        if int(mebibytes):  # 0 is all memory of the node
            yield Left(int(mebibytes) * 2**20, "of what the Slurm job was given")
