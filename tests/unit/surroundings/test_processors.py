"""Processors that a process may use: of the machine, or fewer where it is bound, or a control group has a quota."""

import os
import sys

import psutil
import pytest

from fieldwork.surroundings import processors


@pytest.fixture(autouse=True)
def large_machine(monkeypatch):
    """Set the machine to 64 processors, which this process may all use."""
    monkeypatch.setattr(psutil, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)


def test_without_limits_the_machine_counts(groups):
    assert processors.usable() == (64, "processors of the machine: 64")


def test_a_process_that_is_bound_has_these_processors_alone(groups, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 7, 9}, raising=False)
    assert processors.usable() == (3, "processors that it is bound to: 3 of 64")


@pytest.mark.parametrize(
    ("quota", "count"), [("200000 100000", 2), ("150000 100000", 2), ("5000 100000", 1), ("max 100000", 64)]
)
def test_a_quota_of_version_2_counts_in_any_group_around(groups, tmp_path, quota, count):
    (tmp_path / "cgroup").write_text("0::/pod/container\n")
    groups("pod/container", cpu_max="max 100000\n")
    groups("pod", cpu_max=f"{quota}\n")
    assert processors.usable().count == count


@pytest.mark.parametrize("tree", ["cpu", "cpu,cpuacct"])
def test_a_quota_of_version_1_is_found_where_a_container_shows_it(groups, tmp_path, tree):
    (tmp_path / "cgroup").write_text("4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:cpuset:/\n0::/\n")
    groups(tree, cpu_cfs_quota_us="400000\n", cpu_cfs_period_us="100000\n")
    assert processors.usable() == (4, "quota of a control group: 4 processors")
    groups(tree, cpu_cfs_quota_us="-1\n")
    assert processors.usable().count == 64


def test_what_slurm_gave_the_job_counts(groups, monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "6")
    assert processors.usable() == (6, "processors given to the Slurm job: 6")


@pytest.mark.parametrize("value", ["", "4(x2)", "x"])
def test_malformed_words_of_slurm_are_no_limit(groups, monkeypatch, value):
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", value)
    assert processors.usable().count == 64


def test_a_quota_of_this_machines_kernel_counts(real_group):
    enter = real_group("cpu", {1: "cpu.cfs_quota_us", 2: "cpu.max"}, "50000")
    program = "from fieldwork.surroundings import processors; print(processors.usable().why)"
    assert enter([sys.executable, "-c", program]).strip() == "quota of a control group: 0.5 processors"
