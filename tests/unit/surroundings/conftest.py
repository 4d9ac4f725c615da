"""Control groups that tests write."""

import pytest

from fieldwork.surroundings import control_groups


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
