"""What jobs ask for: threads, memory, run time; by the work that they have."""

import functools
import math

JOB_START = 1.0  # s a job costs before and after its fields: Snakemake, Python, imports (docs/performance.md)
FIELD_TIME = 0.025  # s of one core for a field of 1024 x 1280 px, quality included
SECONDS_PER_MB = 0.01  # of one core for 1 MB of such fields as they are on disk; what is compressed takes longer
SLIDE_SECONDS_PER_MB = 0.3  # the same for slides, whose JPEG tiles unpack to 10 to 20 times as much
MOST_THREADS = 8  # of a cluster's job: more of one node are seldom free at once, and soon wait for the file system
WORTH_A_THREAD = 5  # s of work that each of a cluster's cores is asked for: about what the start of its job costs


@functools.cache
def threads_per_unit(units, *, fields, cores):
    """Choose the workers of each detection job so that all jobs together end soonest.

    Few units: all cores to each in turn. Many: one core each, as a job's start-up keeps one core busy only.

    Parameters
    ----------
    units, fields : int
        Detection jobs still to do, and the fields in them.
    cores : int

    Returns
    -------
    int
        From 1 to `cores`.
    """
    work = FIELD_TIME * fields / max(units, 1)

    def seconds(threads):
        return math.ceil(units / (cores // threads)) * (JOB_START + work / threads)

    return min(range(1, cores + 1), key=lambda threads: (seconds(threads), threads))


def threads_on_cluster(seconds):
    """Choose the threads of a cluster's job for so many seconds of work of one core.

    By the work alone, and not by what else there is to do: Snakemake asks again within the job, when that has changed.
    """
    return min(MOST_THREADS, max(1, math.ceil(seconds / WORTH_A_THREAD)))


def minutes(seconds, *, threads):
    """Choose the time limit of a job: ten times what it should take, since file systems of clusters can be slow."""
    return 5 + math.ceil(10 * seconds / threads / 60)


def memory(threads, *, worker=350, held=0):
    """Choose the memory of a job, in MB.

    Parameters
    ----------
    threads : int
    worker : float
        MB of each worker: an interpreter, and some copies of a frame of up to 9 megapixels.
    held : float
        MB of frames that the job holds for all of them.

    Returns
    -------
    int
        With 300 MB of the job's own process, and 400 MB of the two Snakemakes that a cluster's job starts with.
    """
    return int(700 + threads * worker + held)
