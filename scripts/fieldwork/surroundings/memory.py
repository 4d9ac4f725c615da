"""How much memory is left: of the machine, and of the control group of a cluster's job or a container."""

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import psutil

from fieldwork.surroundings.control_groups import groups_around

# Of the versions of control groups: the limits (above `high`, the kernel slows processes down instead of killing them),
# what is used, and the part of that which the kernel gives back before it kills, as it is copies of files.
FILES = {
    1: (("memory.limit_in_bytes",), "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
    2: (("memory.max", "memory.high"), "memory.current", ("inactive_file", "active_file", "slab_reclaimable")),
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


def left_to_process() -> Left:
    """Return as `left`, or what the limit of this process's address space (``ulimit -v``) leaves to it alone."""
    limits = [left()]
    if (limit := resource.getrlimit(resource.RLIMIT_AS)[0]) != resource.RLIM_INFINITY:
        limits.append(Left(max(0, limit - psutil.Process().memory_info().vms), "to this process (ulimit -v)"))
    return min(limits, key=lambda limit: limit.bytes)


def _left_in_groups() -> Iterator[Left]:
    """Yield what is left in each control group around this process that has a limit."""
    for folder, version in groups_around("memory"):
        limits, used, reclaimable = FILES[version]
        for limit in limits:
            with suppress(OSError, ValueError):  # no limit is the word max
                limit_bytes = int((folder / limit).read_text())
                taken = int((folder / used).read_text()) - _reclaimable_bytes(folder, reclaimable)
                yield Left(limit_bytes - taken, "within the limit of a control group")


def _reclaimable_bytes(folder, names):
    """Return the sum of some of a control group's statistics, which some sandboxes don't have."""
    with suppress(OSError, ValueError):
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return sum(int(statistics.get(name, 0)) for name in names)
    return 0


def _given_by_slurm() -> Iterator[Left]:
    """Yield what Slurm gave the job around this process, which not every cluster enforces by a control group."""
    mebibytes = os.environ.get("SLURM_MEM_PER_NODE")
    with suppress(KeyError, ValueError):
        if mebibytes is None:  # a job has one of both; the other may be left from the job that submitted it
            mebibytes = int(os.environ["SLURM_MEM_PER_CPU"]) * int(os.environ["SLURM_CPUS_ON_NODE"])
        if int(mebibytes):  # 0 is all memory of the node
            yield Left(int(mebibytes) * 2**20, "of what the Slurm job was given")
