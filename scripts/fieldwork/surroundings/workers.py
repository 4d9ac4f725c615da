"""How many workers of a job there is room for."""

import logging

from fieldwork.surroundings import memory, processors

# MB of a worker: an interpreter, and some copies of a frame of up to 9 megapixels; and of what else a job asks memory
# for: its own process, and the two Snakemakes that a cluster's job starts with. `planning.resources` asks for these.
WORKER_MB = 350
JOB_MB = 700

log = logging.getLogger(__name__)


def within_bounds(threads: int, *, memory_mb: int | None = None, worker_mb: int = WORKER_MB) -> int:
    """Return how many workers a job should have, and warn in one line where these are fewer than its threads.

    Parameters
    ----------
    threads : int
        Of the job.
    memory_mb : int, optional
        That the job was given.
    worker_mb : int
        The least that a worker of this job is given.

    Returns
    -------
    int
        From 1 to `threads`.
    """
    usable, left = processors.usable(), memory.left()
    bounds = [(threads, ""), usable, (left.megabytes // worker_mb, left.in_words)]
    if isinstance(memory_mb, int):  # not where Snakemake does not know it
        bounds.append(((memory_mb - JOB_MB) // worker_mb, f"the job was given {memory_mb:,} MB of memory"))
    count, why = min(bounds, key=lambda bound: bound[0])
    count = max(1, count)
    if count < threads:
        log.warning("there is room for %d of %d workers: %s", count, threads, why)
    return count
