"""Outputs of which not all files could be read, for reasons outside the files: the next run makes them again.

A job leaves a small file in the results for such an output: how often it was made so. This number is a parameter of
the output's rule, so that Snakemake makes it again when it has grown. It stays when all files were read in the end.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from fieldwork import NOT_READ, outputs
from fieldwork.surroundings import memory
from fieldwork.surroundings.unread import needed_mb as needed_mb_of

FOLDER = ".not_read"  # in the results


class Try(NamedTuple):
    """A job's try to make an output from all of its files: what the plan hands to it."""

    path: str  # of the file in which the job notes that it had to do without some
    count: int  # how often that has happened


class Tries:
    """How often outputs were made without some of their files.

    Parameters
    ----------
    results : path-like
        The folder of the results. It is looked through once.
    on_cluster : bool
        Jobs run on other machines: what lacked memory there is tried again whatever is left here.
    """

    def __init__(self, results: str | os.PathLike, *, on_cluster: bool = False) -> None:
        folder = Path(results, FOLDER)  # as in the paths that it lists
        self._folder = os.fspath(folder)
        self._counts = {os.fspath(path): _count(path, on_cluster) for path in folder.rglob("*.json")}

    def of(self, output: str) -> Callable[[object], Try]:
        """Return an input function: the next try to make an output, named by its path in the results."""

        def next_try(wildcards):
            path = os.path.join(self._folder, f"{output.format(**dict(wildcards.items()))}.json")
            return Try(path, self._counts.get(path, 0))

        return next_try


def _count(path, on_cluster):
    """Return the number in a file; the one before it where only memory was missing here, and as little is there now."""
    try:
        noted = outputs.read_json(path)
        count, needed_mb = int(noted["count"]), noted["needed_mb"]
    except (OSError, ValueError, KeyError, TypeError):  # it is damaged: the output is made again
        return -1
    return count - 1 if needed_mb and not on_cluster and memory.left_to_process().megabytes < needed_mb else count


def note(tried: Try | None, reasons: Iterable[str | None]) -> None:
    """Note for the next run whether an output was made without some of its files.

    Parameters
    ----------
    tried : Try or None
        What the plan handed to the job; None outside a run.
    reasons : iterable of str
        Why files were not used; those that have `NOT_READ` in them count.
    """
    unread = [reason for reason in reasons if reason and NOT_READ in reason]
    if tried is None or not (unread or os.path.exists(tried[0])):
        return
    path, count = tried
    needed_mb = [needed_mb_of(reason) for reason in unread]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    outputs.write_json(
        {
            "count": count + bool(unread),
            "needed_mb": min(needed_mb) if needed_mb and None not in needed_mb else None,
        },
        path,
    )
