"""Jobs that Slurm stops: those that it starts again by itself, and those that it does not."""

import functools
import logging
from types import ModuleType

# Slurm's plugin leaves jobs in these states to Slurm, and asks for them without end. Slurm shows a job that it starts
# again as PENDING.
STOPPED_STATES = ("PREEMPTED", "NODE_FAIL")
LIVE_STATES = ("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING")
# How often Slurm has put each job of a run back into its queue. States do not show it: a job may run, be stopped and
# run again between two questions.
_RESTARTS = "squeue --states=all --noheader --Format=jobid:|,restartcnt:| --name"


def follow_stopped_jobs(plugin: ModuleType | None, log: logging.Logger) -> None:
    """Bring Snakemake's Slurm plugin to report jobs that Slurm stops, and to fail those that end so.

    Slurm puts a job that may be requeued (the profile's `slurm-requeue`) back into its queue, under its number, when it
    is preempted or its node is lost. Where jobs are preempted by cancelling (``PreemptMode=CANCEL``), it does not; then
    Snakemake sends the job again, as often as `retries` allows. So it does with a job that the queue no longer has,
    although nobody heard how it ended.

    Where accounts have no answer, the queue is asked. Without an answer of its controller the plugin asks accounts, for
    hours, and many clusters keep none.

    Parameters
    ----------
    plugin : module or None
        ``snakemake_executor_plugin_slurm``, where it is loaded.
    log : logging.Logger
        Snakemake's.
    """
    ask = getattr(plugin, "query_job_status", None)
    if ask is None or hasattr(ask, "__wrapped__"):  # two modules of a workflow
        return
    known: dict[str, str] = {}
    restarts: dict[str, str] = {}

    @functools.wraps(ask)
    async def query_job_status(command, logger):
        run = command.split()[-1]
        ask_queue = functools.partial(ask, plugin.query_job_status_squeue(run), logger)
        states, seconds = await ask(command, logger)
        by_accounts = command.startswith("sacct")
        if states is None and by_accounts:  # Slurm may keep none
            (states, seconds), by_accounts = await ask_queue(), False
        if states is None:
            return None, None
        counts, _ = await ask(f"{_RESTARTS} {run}", logger)
        for job, count in (counts or {}).items():  # no %s: Snakemake's log does not fill them in
            if count != restarts.setdefault(job, "0"):
                log.warning(f"Slurm stopped job {job} (preempted, or its node was lost) and starts it again")
                restarts[job] = count
        stopped = [job for job, state in states.items() if state in STOPPED_STATES]
        if stopped and by_accounts:  # which are behind the queue
            queue, _ = await ask_queue()
            stopped = [] if queue is None else [job for job in stopped if queue.get(job) in (None, *STOPPED_STATES)]
        for job in stopped:
            if known.get(job) != states[job]:
                log.warning(f"Slurm stopped job {job} ({states[job]}) and will not start it again")
        missing = [] if by_accounts else known.keys() - states.keys()
        forgotten = [job for job in missing if known[job] in LIVE_STATES]
        for job in forgotten:
            log.warning(f"Slurm no longer has job {job}, nor how it ended: it is taken for cancelled")
        states |= dict.fromkeys(forgotten, "CANCELLED")
        known.update(states)
        return states | dict.fromkeys(stopped, "CANCELLED"), seconds

    plugin.query_job_status = query_job_status
