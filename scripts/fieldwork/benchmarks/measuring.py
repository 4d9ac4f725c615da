"""Measure the time and the memory of runs, each in a process of its own, on the machine at hand."""

import functools
import multiprocessing
import os
import platform
import resource
import signal
import sys
import time
from contextlib import suppress
from importlib.metadata import version
from statistics import median
from typing import NamedTuple

import psutil

DEADLINE = 900  # s for one run: a Pool waits for ever where a worker is killed (python/cpython#96062)


class Measured(NamedTuple):
    """What was measured of one case."""

    seconds: list  # of each timed run
    peak_memory: int  # bytes
    answers: list  # of each timed run, and of the one whose memory was looked at

    def spread(self):
        """Give the columns of median, least and most seconds."""
        columns = {"Seconds": median, "Seconds_Min": min, "Seconds_Max": max}
        return {column: round(of(self.seconds), 6) for column, of in columns.items()}


def measure(cases, run, *, repeats, untimed=None, failures=None):
    """Run cases in processes of their own, interleaved, so that what disturbs the machine disturbs all of them.

    Parameters
    ----------
    cases : list of tuple
    run : callable
        Takes a case; gives the seconds that its work took, and an answer that can be compared.
    repeats : int
    untimed : callable, optional
        What to call instead of `run` in the last run, that in which the memory is looked at.
    failures : dict, optional
        Gets the cases that fail, and why; the others are measured.

    Returns
    -------
    dict of tuple to Measured

    Raises
    ------
    RuntimeError
        A run failed or took too long, and there is no `failures`.
    """
    seconds, memory, answers = ({case: [] for case in cases} for _ in range(3))
    failed = {} if failures is None else failures
    for number in range(repeats + 1):
        for case in cases:
            if case in failed:
                continue
            try:
                if number < repeats:
                    taken, answer = run_apart(run, case)
                    seconds[case].append(taken)
                else:  # not timed: looking takes time
                    look = functools.partial(_look, memory[case])
                    (_, answer), peak = run_apart(functools.partial(_with_peak, untimed or run), case, look)
                    memory[case].append(peak)  # a run may end before it is looked at
                answers[case].append(answer)
            except RuntimeError as error:
                if failures is None:
                    raise
                failures[case] = str(error)
    return {case: Measured(seconds[case], max(memory[case]), answers[case]) for case in cases if case not in failed}


def _look(seen, pid):
    seen.append(_memory(pid))


def _with_peak(run, case):
    """Give what a run gives, and the most memory that this process has had, without its workers, in bytes."""
    result = run(case)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2)
    return result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def run_apart(run, case, look=None):
    """Give what a function gives for a case, called in a process of its own.

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
        It raised, was killed or took longer than `DEADLINE`; names the case.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, run, case))
    process.start()
    theirs.close()
    start = time.monotonic()
    try:
        while True:
            if look:
                look(process.pid)
            if ours.poll(0.02 if look else 0.2):
                break
            # Its workers inherit its end of the pipe, and of its sentinel: neither closes while one of them lives.
            if not process.is_alive() and not ours.poll():
                raise EOFError
            if time.monotonic() - start > DEADLINE:
                raise RuntimeError(f"{case}: not done after {DEADLINE} s")
        good, answer = ours.recv()
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
    """End a process and its workers, if they are still there; they outlive it where it was killed."""
    with suppress(OSError):  # no such group: all have ended, or it was not there yet
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _memory(pid):
    """Memory of a process, and what its children have for themselves, in bytes: shared pages count once."""
    total = 0
    with suppress(psutil.Error):  # one may end while it is looked at: the next look counts
        root = psutil.Process(pid)
        total += root.memory_info().rss
        for child in root.children(recursive=True):
            total += child.memory_full_info().uss
    return total


def machine():
    """Describe the machine and the software that figures were measured with.

    Returns
    -------
    dict
    """
    packages = ("snakemake", "numpy", "scipy", "scikit-image", "opencv-python-headless", "tifffile")
    return {
        "CPU": _cpu(),
        "Cores": os.cpu_count(),
        "Memory_GB": round(psutil.virtual_memory().total / 2**30, 1),
        "System": platform.platform(),
        "Python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def _cpu():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            return next(line.split(":")[1].strip() for line in stream if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
