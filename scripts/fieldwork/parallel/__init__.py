"""Apply one function to many frames: in this process, in a pool of workers, or in Dask."""

from fieldwork.parallel.mapping import (
    ENGINES,
    MODES,
    background_process,
    call_in_process,
    frames_are_forked,
    map_frames,
)
from fieldwork.parallel.progress import progress_bar

__all__ = [
    "ENGINES",
    "MODES",
    "background_process",
    "call_in_process",
    "frames_are_forked",
    "map_frames",
    "progress_bar",
]
