"""Control groups that tests write."""

import contextlib
import os
import subprocess

import pytest

from fieldwork.surroundings import control_groups
from workspace import SCRIPTS


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Return a function that writes a control group: its folder, and controller_name -> text of files."""
    monkeypatch.setattr(control_groups, "GROUPS_FOLDER", tmp_path / "groups")
    monkeypatch.setattr(control_groups, "GROUPS_OF_PROCESS", tmp_path / "cgroup")
    for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)

    def write(folder, **files):
        path = tmp_path / "groups" / folder
        path.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (path / name.replace("_", ".", 1)).write_text(text)

    return write


@pytest.fixture
def real_group():
    """Return a function that makes a group of this machine's kernel, and returns one that runs a program in it."""
    folders = []

    def make(controller, names, limit):
        group = next(control_groups.groups_around(controller))
        folder = (
            next(path for path in (group.folder, *group.folder.parents) if path.is_dir()) / f"fieldwork-{os.getpid()}"
        )
        try:
            folder.mkdir()
            folders.append(folder)
            (folder / names[group.version]).write_text(limit)
        except OSError as error:
            pytest.skip(f"no right to make a control group, or no {controller} in it: {error}")

        def enter(program):
            join = f'echo $$ > {folder}/cgroup.procs && exec "$@"'
            command = ["sh", "-c", join, "sh", *program]
            return subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(SCRIPTS)}
            ).stdout

        return enter

    yield make
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
