"""Jobs that Slurm stops: those that it starts again by itself, and those that it does not."""

import functools
import logging
from types import ModuleType

# Slurm's plugin leaves jobs in these states to Slurm, and asks for them without end. Slurm shows a job that it starts
# again as PENDING.
STOPPED_STATES = ("PREEMPTED", "NODE_FAIL")


def follow_stopped_jobs(plugin: ModuleType | None, log: logging.Logger) -> None:
    """Bring Snakemake's Slurm plugin to report jobs that Slurm stops, and to fail those that end so.

    Slurm puts a job that may be requeued (the profile's `slurm-requeue`) back into its queue, under its number, when it
    is preempted or its node is lost. Where jobs are preempted by cancelling (``PreemptMode=CANCEL``), it does not; then
    Snakemake sends the job again, as often as `retries` allows.

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

    @functools.wraps(ask)
    async def query_job_status(command, logger):
        ask_queue = functools.partial(ask, plugin.query_job_status_squeue(command.split()[-1]), logger)
        states, seconds = await ask(command, logger)
        by_accounts = command.startswith("sacct")
        if states is None and by_accounts:  # Slurm may keep none
            (states, seconds), by_accounts = await ask_queue(), False
        if states is None:
            return None, None
        stopped = [job for job, state in states.items() if state in STOPPED_STATES]
        if stopped and by_accounts:  # which are behind the queue
            queue, _ = await ask_queue()
            stopped = [] if queue is None else [job for job in stopped if queue.get(job) in (None, *STOPPED_STATES)]
        for job, state in states.items():
            if state == "PENDING" and known.get(job, state) != state:  # no %s: Snakemake's log does not fill them in
                log.warning(f"Slurm stopped job {job} (preempted, or its node was lost) and will start it again")
            elif job in stopped and known.get(job) != state:
                log.warning(f"Slurm stopped job {job} ({state}) and will not start it again")
            known[job] = state
        return states | dict.fromkeys(stopped, "CANCELLED"), seconds

    plugin.query_job_status = query_job_status
