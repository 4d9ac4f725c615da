"""Memory that is left: of the machine, or less where a control group has a limit."""

import sys

import psutil

from fieldwork.surroundings import memory

STATISTICS = "anon 1\ninactive_file 300\nactive_file 50\ntotal_inactive_file 200\ntotal_active_file 20\n"


def test_without_control_groups_the_machine_counts(groups):
    assert 0 < memory.left().bytes <= psutil.virtual_memory().total


def test_the_tightest_group_of_version_2_counts_without_copies_of_files(groups, tmp_path):
    (tmp_path / "cgroup").write_text("0::/jobs/step\n")
    groups("jobs/step", memory_max="max\n", memory_current="700\n", memory_stat=STATISTICS)
    groups("jobs", memory_max="1000\n", memory_current="900\n", memory_stat=STATISTICS)
    groups("", memory_stat=STATISTICS)
    assert memory.left().bytes == 1000 - (900 - 300 - 50)


def test_a_group_of_version_1_is_found_where_a_container_shows_it(groups, tmp_path):
    (tmp_path / "cgroup").write_text("9:name=systemd:/\n4:cpu,memory:/docker/abc\n1:cpuset:/\n0::/\n")
    groups("memory", memory_limit_in_bytes="5000\n", memory_usage_in_bytes="4000\n", memory_stat=STATISTICS)
    assert memory.left().bytes == 5000 - (4000 - 200 - 20)


def test_of_both_versions_the_tree_that_is_called_unified_is_the_second(groups, tmp_path):
    (tmp_path / "cgroup").write_text("1:cpu:/\n0::/jobs\n")
    groups("unified/jobs", memory_max="1000\n", memory_current="300\n", memory_stat=STATISTICS)
    assert memory.left().bytes == 1000 - (300 - 300 - 50)


def test_a_limit_above_which_the_kernel_slows_down_counts_too(groups, tmp_path):
    (tmp_path / "cgroup").write_text("0::/\n")
    groups("", memory_max="max\n", memory_high="800\n", memory_current="100\n")  # nor statistics, in some sandboxes
    assert memory.left().bytes == 700


def test_a_group_that_is_full_leaves_nothing(groups, tmp_path):
    (tmp_path / "cgroup").write_text("0::/\n")
    groups("", memory_max="100\n", memory_current="900\n", memory_stat="inactive_file 0\n")
    assert memory.left().bytes == 0


def test_what_slurm_gave_the_job_counts_where_no_group_has_its_limit(groups, monkeypatch):
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "50")
    assert memory.left() == (50 * 2**20, "of what the Slurm job was given")
    monkeypatch.delenv("SLURM_MEM_PER_NODE")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "20")
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "4")
    assert memory.left().in_words == "83 MB of memory are left of what the Slurm job was given"


def test_malformed_words_of_slurm_are_no_limit(groups, monkeypatch):
    unlimited = "of the machine"
    for value in ("", "4G", "0"):
        monkeypatch.setenv("SLURM_MEM_PER_NODE", value)
        assert memory.left().of == unlimited
    monkeypatch.delenv("SLURM_MEM_PER_NODE")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "20")  # and not how many processors
    assert memory.left().of == unlimited


def test_in_a_group_of_this_machines_kernel_copies_of_files_take_no_memory(real_group, tmp_path):
    enter = real_group("memory", {1: "memory.limit_in_bytes", 2: "memory.max"}, str(10**9))
    left = (
        "import pathlib, sys\nfrom fieldwork.surroundings import memory\n"
        "pathlib.Path(sys.argv[1]).write_bytes(bytes(200 * 10**6))\n"
        "taken = bytearray(int(sys.argv[2]))\n"
        "print(*memory.left())"
    )
    for taken in (0, 300 * 10**6):
        program = [sys.executable, "-c", left, str(tmp_path / "large"), str(taken)]
        number, _, words = enter(program).partition(" ")
        assert words.strip() == "within the limit of a control group"
        assert 900 * 10**6 - taken < int(number) <= 10**9 - taken
