"""The progress bar of a job. No table depends on this module, so `planning.provenance` leaves it out."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

REFRESH_S = 5  # s between two lines of a bar


class _Lines:
    """A stream that ends every state of a progress bar with a newline: readable in files, and with several jobs."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        if text := text.strip("\r\n "):
            self.stream.write(text + "\n")

    def flush(self):
        self.stream.flush()


def progress_bar(
    results: Iterable | None = None, *, total: int | None, progress: str | bool, unit: str = "frame", **options: Any
) -> tqdm:
    """Pass results on, and print their number on stderr every few seconds.

    Parameters
    ----------
    results : iterable, optional
        None for a bar that the caller moves on with its `update`.
    total : int or None
        How many results to expect.
    progress : str or True
        The bar's label.
    unit : str
        What is counted.
    **options
        Others of tqdm's arguments.

    Returns
    -------
    tqdm.tqdm
        An iterator of `results`.
    """
    tqdm.monitor_interval = 0  # its monitor is a thread, and no fork may follow a thread
    return tqdm(
        results,
        total=total,
        desc=progress if isinstance(progress, str) else None,
        unit=unit,
        file=_Lines(sys.stderr),
        mininterval=REFRESH_S,
        maxinterval=REFRESH_S,
        miniters=1,
        ncols=100,
        ascii=" #",
        **options,
    )
