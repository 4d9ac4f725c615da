"""How much memory is left: of the machine, and of the control group of a cluster's job or a container."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

GROUPS_FOLDER = Path("/sys/fs/cgroup")
GROUPS_OF_PROCESS = Path("/proc/self/cgroup")
# Version 2 and version 1 of control groups: where the tree is, its limit, what is used, and the part of that which the
# kernel gives back at once, as it is copies of files (https://docs.kernel.org/admin-guide/cgroup-v2.html).
VERSION_2 = ("", "memory.max", "memory.current", "inactive_file")
VERSION_1 = ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def available_bytes() -> int:
    """Return how many bytes this process can still take before it swaps or is killed."""
    return max(0, min([psutil.virtual_memory().available, *_left_in_groups()]))


def _left_in_groups() -> Iterator[int]:
    """Yield what is left in each control group around this process that has a limit."""
    lines = []
    with suppress(OSError):  # no Linux
        lines = GROUPS_OF_PROCESS.read_text().splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        tree, limit, used, reclaimable = VERSION_1 if controllers else VERSION_2
        root = GROUPS_FOLDER / tree
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):  # in a container the group's own folder may be the root
            with suppress(OSError, ValueError, KeyError):  # no limit is the word max
                statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                taken = int((folder / used).read_text()) - int(statistics[reclaimable])
                yield int((folder / limit).read_text()) - taken
            if folder == root:
                break
