"""Apply one function to many frames: in this process, in a pool of workers, or in Dask."""

from fieldwork.parallel.mapping import ENGINES, MODES, apart, beside, map_frames, progress_bar, read_ahead, shares

__all__ = ["ENGINES", "MODES", "apart", "beside", "map_frames", "progress_bar", "read_ahead", "shares"]
