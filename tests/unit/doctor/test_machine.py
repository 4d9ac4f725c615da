"""The doctor says in ten lines whether a machine is fit, and does not call one fit that is not."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.specifiers import SpecifierSet

from fieldwork.doctor import libraries, machine
from fieldwork.surroundings.memory import Left
from workspace import REPOSITORY, SCRIPTS


def doctor(folder, **environment):
    """Call the script in a folder; return its exit status and its lines."""
    command = [sys.executable, str(SCRIPTS / "doctor.py")]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_ten_lines_say_that_this_machine_is_fit(tmp_path):
    status, lines = doctor(tmp_path)
    assert status == 0 and len(lines) == 10 and lines[-1] == "This machine is fit for Fieldwork."
    assert [line.split()[1] for line in lines[:9]] == [
        *("Python", "Disk", "Cores", "Memory", "Images", "Slides", "Chromium", "Slurm", "GPU")
    ]
    assert str(tmp_path) in lines[1] and "numpy 2." in lines[4] and "pyarrow" in lines[5]


def test_a_library_that_does_not_load_makes_the_machine_unfit(tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sklearn.py").write_text("raise ImportError('libgomp.so.1: cannot open shared object file')\n")
    status, lines = doctor(tmp_path, PYTHONPATH=str(broken))
    assert status == 1 and len(lines) == 10 and lines[-1] == "This machine is not fit: see Slides."
    (line,) = [line for line in lines if line.startswith("UNFIT")]
    assert line.split()[1] == "Slides" and "ImportError: libgomp.so.1: cannot open shared object file" in line


def test_a_python_without_the_packages_is_told_how_to_install_them():
    command = [sys.executable, "-S", str(SCRIPTS / "doctor.py")]  # without site-packages
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "make doctor" in done.stdout and done.stdout.count("\n") == 1 and not done.stderr


def test_a_full_disk_and_a_folder_that_takes_no_file_are_unfit(tmp_path, monkeypatch):
    assert machine.disk(tmp_path).state == machine.FIT
    if os.path.isdir("/proc/self"):  # where not even root writes
        refused = machine.disk(Path("/proc/self"))
        assert refused.state == machine.UNFIT and "nothing may be written" in refused.text
    monkeypatch.setattr(machine, "LEAST_FREE_MB", 10**12)
    found = machine.disk(tmp_path)
    assert found.state == machine.UNFIT and "needed: 1,000,000,000.0 GB" in found.text


def test_memory_for_less_than_one_worker_is_unfit_and_for_fewer_than_cores_it_says_so():
    assert machine.workers_memory(Left(900 * 10**6, "of the machine"), 4).state == machine.UNFIT
    short = machine.workers_memory(Left(1500 * 10**6, "of the machine"), 4)
    assert short.state == machine.FIT and short.text.endswith("enough for 2 workers on 4 cores")
    assert machine.workers_memory(Left(64 * 10**9, "of the machine"), 4).text.endswith("enough for 4 workers")


def test_what_only_some_runs_need_may_be_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = [machine.chromium(), machine.slurm()]
    assert [line.state for line in missing] == [machine.NOT_NEEDED] * 2
    assert "not found" in missing[0].text and "no sbatch" in missing[1].text


def test_a_slurm_whose_controller_does_not_answer_is_no_slurm(monkeypatch, tmp_path):
    for name, code in {
        "sbatch": "exit 0",
        "sinfo": "echo 'slurm_load_partitions: Unable to contact' >&2; exit 1",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{code}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.slurm() == (
        machine.NOT_NEEDED,
        "Slurm",
        "sinfo does not answer: slurm_load_partitions: Unable to contact",
    )


def test_the_oldest_python_is_that_of_the_project():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    oldest = ".".join(map(str, machine.OLDEST_PYTHON))
    assert SpecifierSet(project["requires-python"]) == SpecifierSet(f">={oldest}")


def test_every_check_of_a_library_is_on_one_line_of_the_doctor():
    assert sorted(machine.FOR_IMAGES + machine.FOR_SLIDES_AND_TABLES) == sorted(libraries.CHECKS)
