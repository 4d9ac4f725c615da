"""Memory that is left: of the machine, or less where a control group has a limit."""

import psutil
import pytest

from fieldwork.parallel import memory

STATISTICS = "anon 1\ninactive_file 300\ntotal_inactive_file 200\n"


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Return a function that writes a control group: its folder, and name -> text of files."""
    monkeypatch.setattr(memory, "GROUPS_FOLDER", tmp_path / "groups")
    monkeypatch.setattr(memory, "GROUPS_OF_PROCESS", tmp_path / "cgroup")

    def write(folder, **files):
        path = tmp_path / "groups" / folder
        path.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (path / f"memory.{name}").write_text(text)

    return write


def test_without_control_groups_the_machine_counts(groups):
    assert 0 < memory.available_bytes() <= psutil.virtual_memory().total


def test_the_tightest_group_of_version_2_counts_without_copies_of_files(groups, tmp_path):
    (tmp_path / "cgroup").write_text("0::/jobs/step\n")
    groups("jobs/step", max="max\n", current="700\n", stat=STATISTICS)
    groups("jobs", max="1000\n", current="900\n", stat=STATISTICS)
    groups("", stat=STATISTICS)
    assert memory.available_bytes() == 1000 - (900 - 300)


def test_a_group_of_version_1_is_found_where_a_container_shows_it(groups, tmp_path):
    (tmp_path / "cgroup").write_text("9:name=systemd:/\n4:cpu,memory:/docker/abc\n1:cpuset:/\n0::/\n")
    groups("memory", limit_in_bytes="5000\n", usage_in_bytes="4000\n", stat=STATISTICS)
    assert memory.available_bytes() == 5000 - (4000 - 200)


def test_a_group_that_is_full_leaves_nothing(groups, tmp_path):
    (tmp_path / "cgroup").write_text("0::/\n")
    groups("", max="100\n", current="900\n", stat="inactive_file 0\n")
    assert memory.available_bytes() == 0
