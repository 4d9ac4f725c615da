"""Runs that ask for a GPU, on machines without one."""

import re

import pytest

from fieldwork.gpu import choice
from workspace import REPOSITORY


def test_a_run_without_a_gpu_is_silent_with_auto_and_refused_with_gpu_in_one_line(workspace):
    if not choice.missing():
        pytest.skip("there is a GPU")
    workspace.plant()
    (workspace.path / "config/config.yaml").write_text("nuclei: {method: peaks}\n")
    assert "GPU" not in workspace.run("tables")
    log = (workspace.path / "logs/plates/P1/units/all.log").read_text()
    assert "WARNING" not in log and "GPU" not in log
    for dry_run in ([], ["--dry-run"]):
        printed = workspace.run(*dry_run, "--config", "device=gpu", "--", "tables", status=1)
        (line,) = [line for line in printed.splitlines() if line.startswith("Error: ")]
        assert "device: gpu, but CuPy" in line and "envs/gpu.lock" in line and "device: auto" in line
    # A cluster's nodes may have what this machine has not.
    cluster = ["--profile", str(REPOSITORY / "profiles/slurm"), "--forceall", "--dry-run", "--quiet", "host"]
    assert re.findall(r"gpu=(\d+)", workspace.run(*cluster, "--config", "device=gpu", "--", "tables")) == ["1"]
    # Where a table was made on is no reason to make it again.
    assert workspace.planned("--config", "device=cpu", "--", "tables") == {}


def test_jobs_that_will_take_a_gpu_say_so_and_fail_in_one_line_where_it_fails(workspace, monkeypatch):
    workspace.plant()
    (workspace.path / "config/config.yaml").write_text("nuclei: {method: peaks}\n")
    claims = workspace.path / "packages/cupy/__init__.py"  # a CuPy that sees a GPU, and no more
    claims.parent.mkdir(parents=True)
    claims.write_text("class cuda:\n    class runtime:\n        getDeviceCount = staticmethod(lambda: 1)\n")
    monkeypatch.setenv("PYTHONPATH", str(claims.parents[1]))
    dry_run = ["--dry-run", "--quiet", "host"]
    for chosen, count in (("gpu", 1), ("auto", 0)):  # six fields are not worth it
        printed = workspace.run(*dry_run, "--config", f"device={chosen}", "--", "tables")
        assert re.findall(r"gpu=(\d+)", printed) == [str(count)]
    assert workspace.planned("benchmarks")["benchmark_gpu"] == 1
    assert "benchmark_gpu" not in workspace.planned("--config", "device=cpu", "--", "benchmarks")
    printed = workspace.run("--config", "device=gpu", "--", "tables", status=1)
    (line,) = [line for line in printed.splitlines() if line.startswith("device: gpu: ")]
    assert "cupy" in line and "envs/gpu.lock" in line
    assert not workspace.tables()
