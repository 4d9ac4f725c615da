"""A failed job of a cluster is shown with its reason, whatever kind of job it is, and with its logs' last words."""

import inspect
import logging
import os
import time
from types import SimpleNamespace

import pytest
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from fieldwork import InputError
from fieldwork.cluster import failed_jobs
from fieldwork.job_log import logged

TIMEOUT = (
    "SLURM-job '17' failed, SLURM status is: 'TIMEOUT'. Detailed failure reason unavailable (status command is not "
    "'sacct')."
)
REFUSED = (
    "SLURM sbatch failed. The error message was 'sbatch: error: invalid partition specified: nowhere\n"
    "sbatch: error: Batch job submission failed: Invalid partition name specified'.\n"
    '    sbatch call:\n        sbatch --parsable --job-name a -p nowhere --wrap="python -m snakemake"\n'
)
CLUSTER_LOG = """\
Building DAG of jobs...
Error in rule detect_nuclei, jobid: 0
slurmstepd: error: *** JOB 17 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***
srun: Job step aborted: Waiting up to 7 seconds for job step to finish.
"""


class Job(SimpleNamespace):
    """A job as Snakemake hands it to an executor."""

    def is_group(self):
        return False


class Group(SimpleNamespace):
    """Jobs that are sent to the cluster as one."""

    def is_group(self):
        return True


def job(*logs, rule="detect_nuclei", **wildcards):
    return Job(rule=SimpleNamespace(name=rule), wildcards_dict=wildcards, log=list(map(str, logs)))


def fail(log, message):
    """Write the log of a job that fails as Fieldwork's jobs do."""
    with pytest.raises(SystemExit), logged(log, with_pandas=True):
        logging.info("3 images")
        raise InputError(message)


@pytest.fixture(autouse=True)
def handlers():
    """Restore the handlers of the root logger, which `logged` replaces."""
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    logging.captureWarnings(False)
    root.handlers[:] = before


def test_the_last_words_of_a_jobs_log_stand_below_its_reason(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fail("all.log", "plate P1: not one good frame of 3: empty file,\nand so on")
    (tmp_path / "17.log").write_text(CLUSTER_LOG)
    text = failed_jobs.describe(
        job("all.log", plate="P1", unit="all"), TIMEOUT, number="17", cluster_log=tmp_path / "17.log"
    )
    assert text.splitlines() == [
        "Error in detect_nuclei (plate=P1, unit=all), job 17 of the cluster: SLURM-job '17' failed, SLURM status is: "
        "'TIMEOUT'.",
        "    all.log ends: plate P1: not one good frame of 3: empty file,\\nand so on",
        "    17.log: slurmstepd: error: *** JOB 17 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***",
    ]


def test_of_what_slurm_says_of_a_job_the_cause_is_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    causes = [
        "slurmstepd-n1: error: StepId=7.0 exceeded memory limit (1184429056 > 1101004800), being killed",
        "slurmstepd-n1: error: Exceeded job memory limit",
    ]
    ends = ["slurmstepd-n1: error: *** STEP 7.0 ON n1 CANCELLED AT 2026-01-01T00:00:00 ***"] * 2
    (tmp_path / "7.log").write_text("\n".join([*causes, *ends, *causes, "srun: error: n1: task 0: Killed"]))
    text = failed_jobs.describe(job(), "FAILED", number="7", cluster_log="7.log")
    assert text.splitlines()[1:] == [f"    7.log: {line}" for line in causes]


def test_a_job_that_was_stopped_is_shown_with_the_last_line_of_its_log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "all.log").write_text("12:00 INFO 240 images\n12:01 INFO field 7\n\n")
    text = failed_jobs.describe(job("all.log", "no.log"), TIMEOUT, number="17", cluster_log="none.log")
    assert text.splitlines()[1:] == ["    all.log ends: 12:01 INFO field 7"]


def test_a_job_whose_log_is_of_an_earlier_run_is_shown_with_what_it_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fail("all.log", "of yesterday")
    os.utime("all.log", (time.time() - 86_400,) * 2)
    (tmp_path / "17.log").write_text("1\n2\n/bin/sh: 1: python: not found\n")
    text = failed_jobs.describe(job("all.log"), "", number="17", cluster_log="17.log", since_s=time.time() - 60)
    assert text.splitlines() == [
        "Error in detect_nuclei, job 17 of the cluster: the cluster names no reason",
        *("    17.log: 1", "    17.log: 2", "    17.log: /bin/sh: 1: python: not found"),
    ]


def test_a_job_that_the_cluster_refuses_is_shown_with_the_words_of_sbatch_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fail("all.log", "of the last attempt")
    assert failed_jobs.describe(job("all.log", plate="P1"), REFUSED) == (
        "Error in detect_nuclei (plate=P1): SLURM sbatch failed. The error message was 'sbatch: error: invalid "
        "partition specified: nowhere sbatch: error: Batch job submission failed: Invalid partition name specified'."
    )


def test_a_group_is_shown_with_its_reason_and_the_jobs_that_failed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fail("B02.log", "well B02 has no image")
    (tmp_path / "B03.log").write_text("12:00 INFO well B03 is done\n")
    jobs = {"B02": job("B02.log"), "B03": job("B03.log"), "merge": job("merge.log", rule="merge_units")}
    text = failed_jobs.describe(Group(jobs=jobs.values()), TIMEOUT, number="17")
    assert text.splitlines() == [
        "Error in group of detect_nuclei, merge_units, job 17 of the cluster: SLURM-job '17' failed, SLURM status is: "
        "'TIMEOUT'.",
        "    B02.log ends: well B02 has no image",
    ]


class Executor:
    """What sends jobs to a cluster."""

    logger = logging.getLogger("snakemake.logging")

    def print_job_error(self, job_info, msg=None, **named):
        self.logger.error("of Snakemake: %s", msg)


def test_an_executor_shows_it_once_and_before_what_snakemake_shows(caplog):
    for _ in range(2):  # of two modules
        failed_jobs.show_failed_jobs(Executor)
    Executor().print_job_error(SubmittedJobInfo(job(), external_jobid="17"), "TIMEOUT")
    assert [record.message for record in caplog.records] == [
        "Error in detect_nuclei, job 17 of the cluster: TIMEOUT",
        "of Snakemake: TIMEOUT",
    ]
    ours, snakemakes = map(inspect.signature, (Executor.print_job_error, RemoteExecutor.print_job_error))
    assert list(ours.parameters)[:3] == list(snakemakes.parameters)[:3] == ["self", "job_info", "msg"]
