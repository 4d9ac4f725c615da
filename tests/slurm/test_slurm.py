"""The workflow on a real Slurm: the same tables as here, also when nodes and jobs die.

`make test-slurm` runs it on the Slurm that it finds; nodes are killed on that of lab.py only.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import lab
import numpy as np
import pandas as pd
import pytest
import tifffile

from fieldwork import synthetic

REPOSITORY = Path(__file__).parents[2]
AGAIN = "Slurm stopped job {} (preempted, or its node was lost) and starts it again"
OURS = pytest.mark.skipif(not lab.is_ours(), reason="this Slurm is not for killing")


class Folder:
    """A working directory with the demo and a plate of 240 fields for the network, and the workflow run in it."""

    def __init__(self, path):
        self.path = path
        self.runs = []
        shutil.copytree(REPOSITORY / "config", path / "config")
        images = path / "images"
        images.mkdir()
        rng = np.random.default_rng(7)
        for number in range(240):
            name = f"P_{'BCDEF'[number // 48]}{number // 4 % 12 + 1:02}_s{number % 4 + 1}_w1.tif"
            tifffile.imwrite(images / name, synthetic.plant_field(rng, shape=(256, 320), count=20)[0])
        sheet = path / "config/demo/plates.tsv"
        plates = pd.read_csv(sheet, sep="\t", dtype=str)
        plates.loc[len(plates), ["plate", "images", "method"]] = "P240", "images", "network"
        plates.to_csv(sheet, sep="\t", index=False)

    def start(self, *arguments):
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
        command += ["--directory", str(self.path), "--configfile", str(self.path / "config/demo/config.yaml")]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        run = subprocess.Popen(
            [*command, *arguments, "--", "tables"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        self.runs.append(run)
        return run

    def submit(self, *arguments):
        """Start a run that sends its jobs to Slurm."""
        return self.start("--profile", str(REPOSITORY / "profiles/slurm"), *arguments)

    def end(self):
        """End what a failed test left running; Snakemake cancels its jobs."""
        for run in self.runs:
            if run.poll() is None:
                run.terminate()
                run.communicate(timeout=60)

    def tables(self):
        found = [path for kind in ("csv", "parquet") for path in (self.path / "results").rglob(f"*.{kind}")]
        return {path.relative_to(self.path).as_posix(): path.read_bytes() for path in found}


def end_of(run):
    output, _ = run.communicate(timeout=900)
    assert run.returncode == 0, output
    return output


def wait_for_job(folder, node=None):
    """Wait until a job of a folder's run is at work (on that node), and return its number."""
    for _ in range(300):
        for line in lab.run("squeue", "-h", "--me", "-t", "RUNNING", "-o", "%i %N %Z").splitlines():
            job, place, work = line.split(maxsplit=2)
            if work == str(folder.path) and node in (None, place):
                return job
        time.sleep(0.2)
    raise AssertionError("no job was started")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The tables of a run without Slurm."""
    folder = Folder(tmp_path_factory.mktemp("here"))
    end_of(folder.start("--cores", "2"))
    tables = folder.tables()
    assert len(tables) > 10
    return tables


@pytest.fixture
def folder(tmp_path):
    folder = Folder(tmp_path)
    yield folder
    folder.end()


def test_jobs_of_a_cluster_make_the_same_tables(folder, here):
    output = end_of(folder.submit("--slurm-keep-successful-logs"))
    assert folder.tables() == here
    numbers = re.findall(r"has been submitted with SLURM jobid (\d+)", output)
    assert len(numbers) == 20 and "Trying to restart" not in output  # merges and targets stay at home
    nodes = {re.search(r" NodeList=(\S+)", lab.run("scontrol", "show", "job", "-o", number))[1] for number in numbers}
    assert nodes <= set(lab.run("sinfo", "-h", "-N", "-o", "%N").split())
    if lab.is_ours():
        assert nodes == set(lab.NODES)


def test_a_cancelled_job_is_sent_again(folder, here):
    run = folder.submit()
    lab.run("scancel", wait_for_job(folder))
    assert "Trying to restart" in end_of(run)
    assert folder.tables() == here


@OURS
def test_the_jobs_of_a_dead_node_are_started_again(folder, here):
    run = folder.submit()
    try:
        number = wait_for_job(folder, "n1")
        lab.kill("n1")
        output = end_of(run)
    finally:
        lab.start()
    assert AGAIN.format(number) in output and "Trying to restart" not in output
    assert folder.tables() == here


@OURS
@pytest.mark.parametrize(
    ("partition", "report"),
    [("main", AGAIN), ("fleeting", "Slurm stopped job {} (PREEMPTED) and will not start it again")],
)
def test_a_preempted_job_goes_on(folder, here, partition, report):
    run = folder.submit("--default-resources", f"slurm_partition={partition}", "mem_mb=1000", "runtime=15")
    number = wait_for_job(folder)
    lab.run("sbatch", "-p", "urgent", "-N", "2", "-c", "2", "--wrap", "sleep 20", "--output", "/dev/null")
    output = end_of(run)
    assert report.format(number) in output
    assert ("Trying to restart" in output) is (partition == "fleeting")
    assert folder.tables() == here


@OURS
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--default-resources", "slurm_partition=nowhere"], "invalid partition specified: nowhere"),
        (["--set-resources", "synthesize_demo:mem_mb=100000"], "Requested node configuration is not available"),
    ],
)
def test_what_slurm_refuses_is_shown_in_its_own_words(folder, arguments, reason):
    run = folder.submit("--retries", "0", *arguments)
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 1
    (line, *_) = [line for line in output.splitlines() if reason in line]
    assert line.startswith("Error in ") and "python" not in line


@OURS
@pytest.mark.parametrize(
    ("statement", "arguments", "reason"),
    [
        ("time.sleep(300)", ["--set-resources", "measure_frames:runtime=1"], "DUE TO TIME LIMIT"),
        ("large = numpy.ones(250_000_000); time.sleep(30)", [], "exceeded memory limit"),
        ("image.percentile(99)", [], "own.measure failed: AttributeError"),
    ],
)
def test_the_reason_of_a_job_that_ends_badly_is_shown(folder, statement, arguments, reason):
    module = f"import time\n\nimport numpy\n\n\ndef measure(image):\n    {statement}\n    return 1\n"
    (folder.path / "config/demo/own.py").write_text(module)
    stack = ["--config", "stack={function: own.measure}", "--until", "measure_frames"]
    run = folder.submit("--retries", "0", *arguments, *stack)
    output, _ = run.communicate(timeout=600)
    assert run.returncode == 1
    end = output[output.index("Error in measure_frames (stack=demo), job ") :]
    assert reason in end and len(end.splitlines()) < 20
