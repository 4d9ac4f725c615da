"""What the jobs of all roads ask for: threads, memory and run time, by the work in them."""

from typing import NamedTuple

from fieldwork.planning import resources
from fieldwork.planning.files import Files


class Caller(NamedTuple):
    """The Snakemake process that asks for a plan."""

    main: bool  # the run itself, and not one of its jobs
    namespace: str | None  # what another workflow calls the module that this one is to it
    cores: int
    on_cluster: bool  # jobs run there, or this process is one


class Road:
    """Answers to the rules of one road, common part. Subclasses say how much work a job has.

    Parameters
    ----------
    caller : Caller
    files : fieldwork.planning.files.Files
    config : dict
        From `planning.configuration.read`.
    jobs : int
        Jobs of a rule that share this machine's cores.
    """

    def __init__(self, *, caller: Caller, files: Files, config: dict, jobs: int) -> None:
        self._caller = caller
        self._files = files
        self._config = config
        self._jobs = max(1, jobs)

    def _seconds(self, wildcards):
        """Return the seconds of one core that a job takes."""
        raise NotImplementedError

    def threads(self, wildcards: object) -> int:
        """Return the threads of a job: here its share of the cores; on a cluster, as many as it has work for."""
        if self._caller.on_cluster:
            return resources.threads_on_cluster(self._seconds(wildcards))
        return max(1, self._caller.cores // self._jobs)

    def minutes(self, wildcards: object, threads: int, attempt: int) -> int:
        """Return the time limit of a job, in minutes; more with each attempt."""
        return attempt * resources.time_limit_min(self._seconds(wildcards), threads=threads)

    def pool_memory(self, wildcards: object, threads: int, attempt: int) -> int:
        """Return the memory of a job with workers, in MB; in mode fork the job holds all frames, maybe unpacked."""
        held_s = self._seconds(wildcards) if self._config["pool"]["mode"] == "fork" else 0
        return attempt * resources.memory_mb(threads, held=3 * held_s / resources.S_PER_MB)
