"""How many processors this process may use."""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import psutil

from fieldwork.surroundings.control_groups import groups_around


class Usable(NamedTuple):
    """Processors that this process may use."""

    count: int
    why: str  # these and no more


def usable() -> Usable:
    """Return how many processors this process may use: those of the machine, or what limits it."""
    return min([_of_machine(), *_quotas(), *_given_by_slurm()], key=lambda limit: limit.count)


def _of_machine():
    """Return the processors of the machine, or those that this process is bound to."""
    count = psutil.cpu_count() or 1
    if hasattr(os, "sched_getaffinity") and (bound := len(os.sched_getaffinity(0))) < count:
        return Usable(bound, f"processors that it is bound to: {bound} of {count}")
    return Usable(count, f"processors of the machine: {count}")


def _quotas() -> Iterator[Usable]:
    """Yield the quota of each control group around this process that has one; of 1.5 processors two are in use."""
    for folder, version in groups_around("cpu"):
        with suppress(OSError, ValueError):  # no quota is the word max
            if version == 2:
                quota, period = map(int, (folder / "cpu.max").read_text().split())
            else:
                quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
            if quota > 0 and period > 0:  # -1 is no quota
                share = quota / period
                yield Usable(max(1, math.ceil(share)), f"quota of a control group: {share:.3g} processors")


def _given_by_slurm() -> Iterator[Usable]:
    """Yield what Slurm gave the job around this process, which not every cluster enforces."""
    with suppress(KeyError, ValueError):
        count = int(os.environ["SLURM_CPUS_ON_NODE"])
        yield Usable(max(1, count), f"processors given to the Slurm job: {count}")
