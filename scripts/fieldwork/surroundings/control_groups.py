"""The control groups around this process, in which Linux limits a container or a cluster's job."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

GROUPS_FOLDER = Path("/sys/fs/cgroup")
GROUPS_OF_PROCESS = Path("/proc/self/cgroup")


class Group(NamedTuple):
    """A control group that has files of a controller."""

    folder: Path
    version: int  # 1 or 2, which have other files (https://docs.kernel.org/admin-guide/cgroup-v2.html)


def groups_around(controller: str) -> Iterator[Group]:
    """Yield this process's group, and each group around it, in every tree that may have a controller.

    Parameters
    ----------
    controller : str
        Such as ``memory``.

    Yields
    ------
    Group
        Its folder need not exist: in a container the process's own group may be the root of the tree.
    """
    lines = []
    with suppress(OSError):  # no Linux
        lines = GROUPS_OF_PROCESS.read_text(errors="replace").splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        # Version 1 has a tree for each: cpu is a link to cpu,cpuacct. Where there are both, unified is version 2.
        names = (controller, controllers) if controllers else ("unified", "")
        root = next((GROUPS_FOLDER / name for name in names if (GROUPS_FOLDER / name).is_dir()), GROUPS_FOLDER)
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            yield Group(folder, 1 if controllers else 2)
            if folder == root:
                break
