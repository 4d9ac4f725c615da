"""One run in a folder, cores shared out, the last lines of a run."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fieldwork import InputError, runs

SCRIPTS = Path(__file__).parents[1] / "scripts"
HOLDER = """
import subprocess, sys, time
from fieldwork import runs
held = runs.hold_folder(sys.argv[1])
job = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=subprocess.DEVNULL)
print(job.pid, flush=True)
time.sleep(60)
"""


def test_a_folder_is_held_against_others_until_its_holder_is_killed(tmp_path):
    lock = tmp_path / "run.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, lock],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        stdout=subprocess.PIPE,
        text=True,
    )
    job = None
    try:
        job = int(holder.stdout.readline())
        for _ in range(2):  # a refused run does not loosen the lock, nor overwrite whose it is
            with pytest.raises(InputError, match=rf"process {holder.pid}\).*{re.escape(os.getcwd())}"):
                runs.hold_folder(lock)
        holder.send_signal(signal.SIGKILL)
        holder.wait(timeout=30)
        with runs.hold_folder(lock):  # although a job of the killed run is still there
            os.kill(job, 0)
            assert lock.read_text().split() == [str(os.getpid())]
    finally:
        holder.kill()
        holder.communicate()
        if job:
            os.kill(job, signal.SIGKILL)


def test_a_folder_given_back_can_be_held_again(tmp_path):
    for _ in range(2):
        with runs.hold_folder(tmp_path / "run.lock"), pytest.raises(InputError):
            runs.hold_folder(tmp_path / "run.lock")


@pytest.mark.parametrize("cores", [1, 2, 7, 16, 96])
def test_one_unit_gets_all_cores_and_many_units_get_one_each(cores):
    assert runs.threads_per_unit(1, fields=240, cores=cores) == cores
    assert runs.threads_per_unit(1, fields=1, cores=cores) == cores
    assert runs.threads_per_unit(0, fields=0, cores=cores) == 1
    assert runs.threads_per_unit(13_200, fields=13_200, cores=cores) == 1


@pytest.mark.parametrize(
    ("units", "fields", "cores", "threads"),
    [
        (55, 55 * 240, 2, 1),  # 28 rounds x 38 s; with 2 threads 55 x 20 s
        (2, 2 * 240, 2, 1),  # 38 s; 2 x 20 s
        (3, 3 * 240, 2, 2),  # 2 x 38 s; 3 x 20 s
        (4, 4 * 240, 16, 4),  # 11 s; with 8 threads 2 x 6.5 s, with 2 20 s
        (55, 55 * 240, 16, 2),  # 7 rounds x 20 s; with 1 thread 4 x 38 s, with 3 11 x 14 s
    ],
)
def test_cores_are_shared_so_that_the_run_ends_soonest(units, fields, cores, threads):
    assert runs.threads_per_unit(units, fields=fields, cores=cores) == threads


def test_threads_are_never_none_and_never_more_than_there_are_cores():
    for cores in range(1, 20):
        for units in (0, 1, 2, 3, 5, 8, 60, 500):
            for fields in (0, units, 10 * units, 1000):
                assert 1 <= runs.threads_per_unit(units, fields=fields, cores=cores) <= cores


def test_the_summary_adds_up_the_plates_that_are_done(tmp_path):
    header = "Metadata_Plate,Metadata_Well,Fields_Total,Fields_Failed,Count_Nuclei,Mean_Count_Nuclei\n"
    for plate, body in {
        "a": "a,B02,4,1,1200,400.0\na,B03,4,4,,\n",
        "b": "b,B02,1000,0,34,0.034\n",
        "c, empty": "",
        "not in the sheet": "x,B02,9,9,9,9\n",
    }.items():
        (tmp_path / "out" / "plates" / plate).mkdir(parents=True)
        (tmp_path / "out" / "plates" / plate / "wells.csv").write_text(header + body)
    said = runs.summary(iter(["a", "b", "c, empty", "to come"]), tmp_path / "out")
    assert "Plates: 3 of 4 done. Fields: 1,008, of which 5 failed. Nuclei: 1,234." in said
    assert str(tmp_path / "out" / "plates") in said and len(said.splitlines()) <= 4
