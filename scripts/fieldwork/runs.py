"""A whole run: one at a time in a folder, how its cores are shared out, what it did in the end."""

import csv
import fcntl
import functools
import math
import os
import sys
import threading
from pathlib import Path

from fieldwork import InputError

JOB_START = 1.0  # s a job costs before and after its fields: Snakemake, Python, imports (docs/performance.md)
FIELD_TIME = 0.025  # s of one core for a field of 1024 x 1280 px, quality included


def hold_folder(path):
    """Keep a second run out of a folder for as long as this process lives, and have its jobs die with it.

    Snakemake's own lock outlasts a killed run and must then be lifted by hand; the kernel lifts this one.

    Parameters
    ----------
    path : path-like
        The lock file; its folder is made.

    Returns
    -------
    file object
        Keep it: the lock goes with it.

    Raises
    ------
    InputError
        Another run holds the folder.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    stream = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - it stays open on purpose
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.seek(0)
        holder = stream.read().strip() or "unknown"
        raise InputError(
            f"another run (process {holder}) is at work in {Path(path).absolute().parent}; "
            "wait for it to end, or stop it"
        ) from None
    except OSError as error:
        print(f"{path}: no lock on this file system ({error}): see to it that no second run starts", file=sys.stderr)
    os.environ["FIELDWORK_RUN"] = f"{os.getpid()}@{os.uname().nodename}"  # fieldwork/__init__.py
    stream.truncate(0)
    stream.write(f"{os.getpid()}\n")
    stream.flush()
    return stream


def clear_leftovers(results):
    """Delete what jobs of a killed run were writing; to be called while `results` is held."""
    for part in Path(results).glob("plates/**/.*.part"):
        part.unlink(missing_ok=True)


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


def end_timers():
    """Let Snakemake exit at once; to be called when all jobs are done.

    The timer of its ``--max-jobs-per-timespan`` looks for jobs to start a second after the last one was started, and
    is waited for even if the run is over. (A shorter time span is not to be had: 300ms is taken for 300 minutes.)
    """
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()


def summary(plates, results):
    """Say in a few lines what there is now: plates, fields, failed fields, nuclei, where.

    Parameters
    ----------
    plates : iterable of str
        The plates of the sheet.
    results : path-like

    Returns
    -------
    str
    """
    fields = failed = nuclei = done = 0
    plates = list(plates)
    for plate in plates:
        try:
            with open(Path(results) / "plates" / plate / "wells.csv", encoding="utf-8", newline="") as stream:
                rows = list(csv.DictReader(stream))
        except FileNotFoundError:
            continue
        done += 1
        fields += sum(int(row["Fields_Total"]) for row in rows)
        failed += sum(int(row["Fields_Failed"]) for row in rows)
        nuclei += sum(int(row["Count_Nuclei"] or 0) for row in rows)
    return (
        f"Plates: {done} of {len(plates)} done. Fields: {fields:,}, of which {failed:,} failed. Nuclei: {nuclei:,}.\n"
        f"Tables: {Path(results) / 'plates'}/*/nuclei.parquet, fields.csv, wells.csv. Logs: logs/plates/."
    )
