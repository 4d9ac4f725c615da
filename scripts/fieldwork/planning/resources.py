"""Choose what jobs ask for, by the work in them: threads, memory, run time."""

import functools
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from fieldwork import InputError
from fieldwork.surroundings import memory, processors
from fieldwork.surroundings.workers import JOB_MB, WORKER_MB

JOB_START_S = 1.0  # a job costs before and after its fields: Snakemake, Python, imports (docs/performance.md)
FIELD_S = 0.025  # of one core for a field of 1024 x 1280 px, quality included
S_PER_MB = 0.01  # of one core for 1 MB of such fields as they are on disk; compressed files take longer
# Of detection by method, in times of that: outlines are slower than peaks; a network of the user's takes many seconds.
DETECTION_FACTORS = {"peaks": 1, "auto": 2, "own": 500}
ROOMY_FRAME_MB = 18  # a frame of 9 megapixels, whose copies a worker has room for
COPIES = 6  # of a larger frame, in a worker that measures it: as it is, in float32, labels of int32
GROUP_WORKER_MB, GROUP_MB_PER_MB = (
    60,
    70,
)  # of a worker that measures groups: libraries; copies of an image, by its size
FIELD_MB = 0.003  # of a job's memory for one column of a field with some 300 nuclei
SLIDE_S_PER_MB = 0.3  # the same for slides, whose JPEG tiles unpack to 10 to 20 times as much
MOST_CLUSTER_THREADS = 8  # of a job: more cores of one node are seldom free at once, and soon wait for the file system
S_PER_CLUSTER_THREAD = 5  # of work that is worth a core of a cluster: about what the start of a job costs
GPU_PROCESS_MB = 2000  # a guess: a process that holds a GPU has CUDA's libraries in its memory


class Group(NamedTuple):
    """What a further group of measurements takes; `objects.groups` measures it."""

    channels: int  # that it needs at once
    columns: int  # of these
    s_per_mb: float  # of one core for 1 MB of an image of each of these (docs/measurements.md)


GROUPS = {
    "zernike": Group(0, 30, 0.08),
    "texture": Group(1, 52, 0.25),
    "granularity": Group(1, 16, 0.2),
    "radial": Group(1, 72, 0.35),
    "correlation": Group(2, 10, 1.1),
}


@functools.cache
def threads_per_unit(units: int, *, fields: int, cores: int) -> int:
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
    work = FIELD_S * fields / max(units, 1)

    def seconds(threads):
        return math.ceil(units / (cores // threads)) * (JOB_START_S + work / threads)

    return min(range(1, cores + 1), key=lambda threads: (seconds(threads), threads))


def threads_on_cluster(seconds: float) -> int:
    """Choose the threads of a cluster's job for seconds of work of one core.

    Other jobs don't count: Snakemake asks again within the job, when their number has changed.
    """
    return min(MOST_CLUSTER_THREADS, max(1, math.ceil(seconds / S_PER_CLUSTER_THREAD)))


def time_limit_min(seconds: float, *, threads: int) -> int:
    """Choose the time limit of a job: ten times what it should take, since file systems of clusters can be slow."""
    return 5 + math.ceil(10 * seconds / threads / 60)


def memory_mb(threads: int, *, worker: float = WORKER_MB, held: float = 0) -> int:
    """Choose the memory of a job.

    Parameters
    ----------
    threads : int
    worker : float
        MB of each worker: an interpreter, and some copies of a frame of up to 9 megapixels.
    held : float
        MB of frames that the job holds for all workers.

    Returns
    -------
    int
        MB, with `JOB_MB` beside the workers.
    """
    return int(JOB_MB + threads * worker + held)


def frame_mb(largest: float) -> int:
    """Choose the memory, in MB, that a worker needs beside that of `memory_mb` for large frames.

    Parameters
    ----------
    largest : float
        MB of the largest file of a job.
    """
    return int(COPIES * max(0, largest - ROOMY_FRAME_MB))


def small_memory_mb(wildcards: object, attempt: int) -> int:
    """Return the memory of a job without workers, in MB."""
    return attempt * 1000


def small_time_limit_min(wildcards: object, attempt: int) -> int:
    """Return the time limit of a job without workers, in minutes."""
    return attempt * 15


def benchmark_time_limit_min(wildcards: object, attempt: int) -> int:
    """Return the time limit of a benchmark, in minutes: its work is as large as the plate or the slide."""
    return attempt * 240


def usable_cores(cores: int) -> int:
    """Return how many of the cores of a run on this machine it can use; print why where these are fewer."""
    usable = processors.usable()
    if usable.count < cores:
        print(f"WARNING of --cores {cores} the run uses {usable.count} ({usable.why})", file=sys.stderr)
    return min(cores, usable.count)


class Room:
    """The memory that all jobs of a run may take together.

    Parameters
    ----------
    given_mb : int, optional
        What the user gave the run, in MB.
    """

    def __init__(self, given_mb: int | None) -> None:
        left = memory.left()
        self.megabytes, self._why = left.megabytes, left.in_words
        if given_mb is not None and given_mb < left.megabytes:
            self.megabytes, self._why = given_mb, f"the run was given {given_mb:,} MB of memory"
        self._is_known = False  # to the user

    def threads(self, wanted: Callable[[object], int], memory_of: Callable[[object, int, int], int]) -> Callable:
        """Return an input function: as many of the threads that a job wants as there is memory for.

        Parameters
        ----------
        wanted : callable
            Returns the threads that a job wants, from its wildcards.
        memory_of : callable
            Returns the memory of a job in MB, from its wildcards, threads and attempt.
        """

        def fitting(wildcards):
            threads = wanted(wildcards)
            if threads == 1 or memory_of(wildcards, threads, 1) <= self.megabytes:
                return threads
            room = (count for count in range(threads - 1, 1, -1) if memory_of(wildcards, count, 1) <= self.megabytes)
            count = next(room, 1)
            if not self._is_known:
                print(
                    f"WARNING there is memory for {count} of the {threads} workers of a job: {self._why}",
                    file=sys.stderr,
                )
                self._is_known = True
            return count

        return fitting


def refuse_memory_per_cpu(default: Iterable[str], of_rules: Mapping[str, Iterable[str]]) -> None:
    """Raise an error where jobs would get memory by their threads, in place of that which their rules compute.

    Parameters
    ----------
    default : iterable of str
        Names of Snakemake's ``--default-resources``.
    of_rules : mapping of str to iterable of str
        Rule -> names of its ``--set-resources``.

    Raises
    ------
    InputError
    """
    options = ["--default-resources mem_mb_per_cpu"] * ("mem_mb_per_cpu" in default)
    options += [
        f"--set-resources {rule}:mem_mb_per_cpu" for rule, names in of_rules.items() if "mem_mb_per_cpu" in names
    ]
    if options:
        raise InputError(
            f"{options[0]}: Slurm would be asked for this in place of mem_mb, which each rule computes from its "
            "images; leave it out, and give a rule more with --set-resources, such as detect_nuclei:mem_mb=8000"
        )
