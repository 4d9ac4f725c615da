"""Time and memory of runs on this machine, each in a process of its own."""

import functools
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from statistics import median
from typing import Any, NamedTuple

import psutil

from fieldwork.parallel.progress import progress_bar
from fieldwork.surroundings.machine import facts as machine_facts

# All rounds of timed runs take no longer, but for the first: the target `benchmarks` is to answer soon.
FURTHER_ROUNDS_S = 20
RUN_TOO_LONG_S = 900  # a Pool waits forever if a worker is killed (python/cpython#96062)


class Measured(NamedTuple):
    """The runs of one case."""

    seconds: list[float]  # of the timed runs
    peak_memory: int  # bytes
    answers: list  # of the timed runs, then of the run whose memory was measured

    def spread(self) -> dict[str, float]:
        """Return the columns of the median, least and most seconds."""
        columns = {"Seconds": median, "Seconds_Min": min, "Seconds_Max": max}
        return {column: round(summary(self.seconds), 6) for column, summary in columns.items()}


def measure(
    cases: Sequence[tuple],
    run: Callable[[tuple], tuple[float, Any]],
    *,
    repeats: int,
    progress: str = "benchmark",
    untimed: Callable[[tuple], tuple[float, Any]] | None = None,
    failures: dict[tuple, str] | None = None,
) -> dict[tuple, Measured]:
    """Run cases in processes of their own, interleaved, so that a disturbance of the machine affects all of them.

    Parameters
    ----------
    cases : list of tuple
    run : callable
        Takes a case; returns the seconds that its work took, and an answer that can be compared.
    repeats : int
        Timed runs of a case at most; there are fewer where they would take longer than `FURTHER_ROUNDS_S`. One more run
        follows, in which the case's memory is measured; with 0, its seconds are those of this run.
    progress : str
        Label of the progress bar.
    untimed : callable, optional
        Called instead of `run` in the run whose memory is measured.
    failures : dict, optional
        Receives the cases that fail, and why; the other cases are measured.

    Returns
    -------
    dict of tuple to Measured

    Raises
    ------
    RuntimeError
        A run failed or took too long, and `failures` is None.
    """
    seconds, memory, answers = ({case: [] for case in cases} for _ in range(3))
    failed = {} if failures is None else failures

    def time_runs(case):
        taken, answer = run_in_process(run, case)
        seconds[case].append(taken)
        return answer

    def look_at_memory(case):
        look = functools.partial(_look, memory[case])
        (taken, answer), peak = run_in_process(functools.partial(_with_peak, untimed or run), case, look)
        memory[case].append(peak)  # a run may end before `look` is called
        if not repeats:  # only then: looking takes time
            seconds[case].append(taken)
        return answer

    with progress_bar(total=len(cases) * (repeats + 1), progress=progress, unit="run") as bar:
        for look_or_time in _rounds(time_runs, look_at_memory, repeats):
            if look_or_time is look_at_memory:  # the last round; there was no time for some of the others
                bar.total = bar.n + len(cases)
            for case in cases:
                if case not in failed:
                    try:
                        answers[case].append(look_or_time(case))
                    except RuntimeError as error:
                        if failures is None:
                            raise
                        failures[case] = str(error)
                bar.update()
    return {case: Measured(seconds[case], max(memory[case]), answers[case]) for case in cases if case not in failed}


def _rounds(time_runs, look_at_memory, repeats):
    """Yield what is done with every case, round by round, as long as there is time."""
    start = time.monotonic()
    for number in range(1, repeats + 1):
        yield time_runs
        taken = time.monotonic() - start
        if taken * (number + 1) / number > FURTHER_ROUNDS_S:
            break
    yield look_at_memory


def _look(seen, pid):
    seen.append(_memory(pid))


def _with_peak(run, case):
    """Return the result of a run, and the peak memory of this process, without its workers, in bytes."""
    result = run(case)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2)
    return result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def run_in_process(run: Callable[[tuple], Any], case: tuple, look: Callable[[int], None] | None = None) -> Any:
    """Return the result of a function for a case, called in a process of its own.

    Parameters
    ----------
    run : callable
        Takes the case; may start processes, which end with it.
    case : tuple
    look : callable, optional
        Takes the process's id; called every 20 ms while it runs.

    Raises
    ------
    RuntimeError
        The function raised, was killed or took longer than `RUN_TOO_LONG_S`; the message names the case.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, run, case))
    process.start()
    sender.close()
    start = time.monotonic()
    try:
        while True:
            if look:
                look(process.pid)
            if receiver.poll(0.02 if look else 0.2):
                break
            # Its workers inherit its ends of the pipe and of its sentinel: neither closes while a worker lives.
            if not process.is_alive() and not receiver.poll():
                raise EOFError
            if time.monotonic() - start > RUN_TOO_LONG_S:
                raise RuntimeError(f"{case}: not done after {RUN_TOO_LONG_S} s")
        good, answer = receiver.recv()
        process.join(timeout=5)  # it has nothing left to do
    except EOFError:
        process.join()
        raise RuntimeError(f"{case}: its process ended with status {process.exitcode}") from None
    finally:
        _end(process)
    if not good:
        raise RuntimeError(f"{case}: {answer}")
    return answer


def _run(pipe, run, case):
    os.setpgid(0, 0)  # with its workers, for `_end`
    try:
        pipe.send((True, run(case)))
    except Exception as error:
        pipe.send((False, f"{type(error).__name__}: {error}"))
    pipe.close()


def _end(process):
    """Kill a process and its workers if they still run: workers outlive a killed process."""
    with suppress(OSError):  # no such group: all have ended, or it has not begun yet
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _memory(pid):
    """Return the memory of a process and the unshared memory of its children, in bytes: shared pages count once."""
    total = 0
    with suppress(psutil.Error):  # a process may end meanwhile: the next call counts
        root = psutil.Process(pid)
        total += root.memory_info().rss
        for child in root.children(recursive=True):
            total += child.memory_full_info().uss
    return total


def machine() -> dict:
    """Describe this machine and the versions of the software that is measured."""
    packages = ("snakemake", "numpy", "scipy", "scikit-image", "opencv-python-headless", "tifffile")
    facts = machine_facts()
    columns = {"CPU": "processor", "Cores": "cores", "Memory_GB": "memory_gb", "System": "system", "Python": "python"}
    return {column: facts[name] for column, name in columns.items()} | {name: version(name) for name in packages}
