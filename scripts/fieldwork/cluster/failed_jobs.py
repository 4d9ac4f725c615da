"""Why a job on a cluster failed: what the cluster says of it, and what its log says last."""

import functools
import os
import re
import time
from typing import Any

LOG_TAIL_BYTES = 16_384
CLOCK_DIFFERENCE_S = 60  # at most, between this machine and the file server: older logs are of an earlier run
MOST_LOGS = 3  # of a group of jobs

# Of Snakemake's Slurm plugin: command lines of a thousand characters, and that it knows no more.
_NOISE = re.compile(r"\s*(sbatch (call|script):|Detailed failure reason unavailable).*", re.DOTALL)
# Of Slurm's log of a job: what Fieldwork and Slurm say, and which of it is why. The rest is Snakemake's.
_REASONS = re.compile(r"^Error: |slurmstepd|\bkilled\b|\boom\b|out of memory", re.IGNORECASE)
_CAUSES = re.compile(r"^Error: |memory|\boom|due to", re.IGNORECASE)


def show_failed_jobs(executor: type) -> None:
    """Bring Snakemake to show why a job on a cluster failed, as a local job shows it by itself.

    Snakemake's own message about a job is hidden where rules are (`--quiet rules`), has no reason for groups of jobs,
    and never what the log says.

    Parameters
    ----------
    executor : type
        Snakemake's ``RemoteExecutor``, of which all that send jobs to clusters are.
    """
    print_error, start_s = executor.print_job_error, time.time()
    if hasattr(print_error, "__wrapped__"):  # two modules of a workflow
        return

    @functools.wraps(print_error)
    def print_job_error(self, job_info, msg=None, **named):
        self.logger.error(
            describe(
                job_info.job,
                msg,
                number=job_info.external_jobid,
                cluster_log=(job_info.aux or {}).get("slurm_logfile"),
                since_s=start_s - CLOCK_DIFFERENCE_S,
            )
        )
        print_error(self, job_info, msg, **named)

    executor.print_job_error = print_job_error


def describe(
    job: Any,
    reason: str | None,
    *,
    number: str | None = None,
    cluster_log: str | os.PathLike | None = None,
    since_s: float = 0,
) -> str:
    """Return a few lines on a failed job.

    Parameters
    ----------
    job : snakemake.jobs.Job or snakemake.jobs.GroupJob
    reason : str, optional
        What Snakemake's plugin says.
    number : str, optional
        The cluster's; a job that the cluster did not take has none.
    cluster_log : path-like, optional
        Where the cluster writes what the job prints.
    since_s : float
        Logs from before this time, in seconds since 1970, are not of this job.

    Returns
    -------
    str
        The job, the reason, and then the last words of its logs, indented.
    """
    jobs = sorted(job.jobs, key=lambda part: part.rule.name) if job.is_group() else [job]
    names = ", ".join(dict.fromkeys(part.rule.name for part in jobs))
    about = f"group of {names}" if job.is_group() else names
    if wildcards := "" if job.is_group() else ", ".join(f"{key}={value}" for key, value in job.wildcards_dict.items()):
        about += f" ({wildcards})"
    reason = " ".join(_NOISE.sub("", reason or "").split()) or "the cluster names no reason"
    lines = [f"Error in {about}{f', job {number} of the cluster' if number else ''}: {reason}"]
    if number is None:  # it did not start
        return lines[0]
    ends = {str(path): _last_words(path, since_s) for part in jobs for path in part.log}
    messages = {path: words for path, (words, is_message) in ends.items() if is_message}
    if not messages and not job.is_group():
        messages = {path: words for path, (words, _) in ends.items() if words}
    lines += [f"    {path} ends: {words}" for path, words in list(messages.items())[:MOST_LOGS]]
    if cluster_log:
        words = _words_of_cluster(cluster_log, any_line=not messages)
        lines += [f"    {os.path.relpath(cluster_log)}: {line}" for line in words]
    return "\n".join(lines)


def _last_words(path, since_s):
    """Return what ended a job, as `job_log.logged` writes it, and True; or else its log's last line, and False."""
    lines = _tail(path, since_s)
    for number in reversed(range(len(lines))):
        _, is_message, words = lines[number].partition(" CRITICAL ")
        if is_message:
            for line in lines[number + 1 :]:
                if line.startswith("Traceback "):
                    break
                words += f" {line}"
            return words, True
    return (lines[-1] if lines else ""), False


def _words_of_cluster(path, *, any_line):
    """Return the reasons that stand in the cluster's log of a job; where none do, and any line will do, the last."""
    lines = _tail(path, 0)  # its name has the number of the job
    reasons = list(dict.fromkeys(filter(_REASONS.search, lines)))
    causes = list(filter(_CAUSES.search, reasons))
    return (causes or reasons)[-2:] or (lines[-3:] if any_line else [])


def _tail(path, since_s):
    """Return the last lines of a text file that are not empty; none of a missing or an older file."""
    try:
        with open(path, "rb") as stream:
            status = os.stat(stream.fileno())
            if status.st_mtime < since_s:
                return []
            stream.seek(max(0, status.st_size - LOG_TAIL_BYTES))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()]
