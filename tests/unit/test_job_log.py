"""What a job writes to its log and to the terminal: tried on real processes."""

import os
import re
import subprocess
import sys
import tempfile

import pytest

from workspace import SCRIPTS

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
JOB = """
import logging, sys, warnings
from fieldwork import InputError, WorkerDied
from fieldwork.job_log import logged
with logged(sys.argv[1]):
    logging.getLogger("x").info("fields: 240")
    {}
print("after")
"""


def run_job(folder, body):
    (folder / "job.log").write_text("of the run before\n")
    done = subprocess.run(
        [sys.executable, "-c", JOB.format(body), folder / "job.log"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done, (folder / "job.log").read_text()


TIME = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S* "


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise InputError('plates.tsv, line 4: no such folder')", "plates.tsv, line 4: no such folder"),
        ("raise WorkerDied('ended by SIGKILL at a.tif')", "ended by SIGKILL at a.tif"),
        ("1 / 0", "ZeroDivisionError: division by zero (traceback in {log})"),
        ("raise KeyError('channel')", "KeyError: 'channel' (traceback in {log})"),
        (
            "raise OSError(28, 'No space left on device')",
            "no room on the disk of the results, or of {folder}: make room, and run the same command, which goes on "
            "from here: OSError: [Errno 28] No space left on device (traceback in {log})",
        ),
    ],
)
def test_an_error_is_one_message_for_the_user_and_a_traceback_for_the_log(tmp_path, body, message):
    done, log = run_job(tmp_path, body)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == message.format(log=tmp_path / "job.log", folder=tempfile.gettempdir()) + "\n"
    assert re.search(TIME + "INFO fields: 240$", log, re.MULTILINE)
    assert re.search(TIME + "CRITICAL ", log, re.MULTILINE)
    assert "Traceback (most recent call last)" in log and 'File "<string>", line 7' in log
    assert "of the run before" not in log


def test_a_good_job_says_nothing_to_the_user(tmp_path):
    done, log = run_job(tmp_path, "pass")
    assert (done.returncode, done.stdout, done.stderr) == (0, "after\n", "")
    assert re.fullmatch(TIME + "INFO fields: 240\n", log)


@pytest.mark.parametrize("body", ["logging.warning('B02 failed')", "warnings.warn('B02 failed')"])
def test_warnings_reach_the_user_and_the_log(tmp_path, body):
    done, log = run_job(tmp_path, body)
    assert done.returncode == 0
    assert re.search("WARNING .*B02 failed", done.stderr) and re.search(TIME + "WARNING .*B02 failed", log, re.M)


@pytest.mark.parametrize("log", ["/dev/full", "absent/job.log", "."])
def test_a_log_that_cannot_be_written_is_one_warning(tmp_path, log):
    body = "[logging.getLogger('x').info('field %d', number) for number in range(9)]"
    command = [sys.executable, "-c", JOB.format(body), log]
    done = subprocess.run(command, env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "after\n")
    assert re.fullmatch(
        r"WARNING \S+: the log cannot be written \(\w+: \[Errno \d+\] [^\n]+\); the job goes on\n", done.stderr
    )


def test_a_message_that_cannot_be_made_does_not_end_the_log(tmp_path):
    done, log = run_job(tmp_path, "logging.info('%d fields', 'a'); logging.info('the next message')")
    assert done.returncode == 0 and "the job goes on" not in done.stderr
    assert re.search(TIME + "INFO the next message$", log, re.M)


def test_the_secrets_of_urls_reach_neither_the_user_nor_the_log(tmp_path):
    done, log = run_job(tmp_path, "logging.warning('no http://me:S3CRET@h'); raise OSError('at http://h/?s=S3CRET')")
    assert "OSError: at http://h/?s=... (traceback" in done.stderr and "no http://...@h" in log
    assert "S3CRET" not in done.stderr + log.replace("raise OSError", "")


def test_an_exit_of_the_jobs_own_is_kept(tmp_path):
    done, _ = run_job(tmp_path, "sys.exit(3)")
    assert done.returncode == 3 and done.stderr == ""


@pytest.mark.parametrize(("arguments", "allowed"), [("", False), (", with_pandas=True", True)])
def test_pandas_is_kept_out_of_jobs_that_do_not_ask_for_it(tmp_path, arguments, allowed):
    job = JOB.replace("sys.argv[1]", f"sys.argv[1]{arguments}").format(
        "import pyarrow as pa; pa.array([1]); print('pandas' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", job, tmp_path / "job.log"], env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{allowed}\nafter\n", "")
