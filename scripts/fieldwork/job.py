"""The road of every job: read its frames, measure each in a worker, note which of them failed."""

import functools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from fieldwork import DeviceFailed, InputError, NotReadError, WorkerDied, parallel
from fieldwork.frames import FrameError
from fieldwork.surroundings import memory, unread

ENOUGH_FRAMES = 8  # tell how much memory all will take
PIXEL_BYTES = 18  # that measuring takes for each pixel of a frame: quality, or outlines and what is measured in them

log = logging.getLogger(__name__)

_CRASHED = "crashed {}"  # begins the reason of a frame on which a worker crashed


class Frame(NamedTuple):
    """A frame of a job, and what was read of it ahead: its pixels, or the reason why there are none."""

    source: Any
    pixels: Any = None
    crash: str | None = None  # the signal that killed a worker which read it

    def __str__(self):
        return str(self.source)


def collect(
    measure: Callable,
    frames: Sequence,
    *,
    failed: Callable[[Any, str], Any],
    label: str,
    noun: str,
    read: Callable | None = None,
    suspects: str = "the reader",
    again: Callable[[Any, str], Any] | None = None,
    progress: str = "",
    on_bad_image: str = "record",
    all_may_fail: bool = False,
    engine: str = "pool",
    mode: str = "paths",
    dask: str = "processes",
    workers: int = 1,
) -> list:
    """Measure every frame of a job and return all results, those of failed frames too.

    Parameters
    ----------
    measure : callable
        Takes a frame, and what `read` returned for it. Returns its result, or a list of results: one for each plane of
        a file. A result has an attribute `error`, empty or None where it is good.
    frames : sequence
        Small records that say in messages what they are.
    failed : callable
        Takes a frame and a reason; returns in the form of `measure` what stands for a frame that could not be read, or
        on which a worker crashed.
    label, noun : str
        For messages, as in "plate P1" and "images".
    read : callable, optional
        Takes a frame, returns its pixels: an array, or a list of `frames.Plane`. Workers call it; where they are
        forked to share pixels, it is called for all frames ahead of `measure`. Left out where `measure` reads.
    suspects : str
        What may have crashed a worker.
    again : callable, optional
        Takes a frame on which a worker crashed, and the reason; returns the frame to be tried in its place, without
        what the job can do without, or None. Of jobs with a `read` that record bad images.
    progress : str
        Label of the progress bar; empty for none.
    on_bad_image : {'record', 'stop'}
    all_may_fail : bool
        Accept a job without a good result.
    engine, mode, dask, workers
        As for `parallel.map_frames`.

    Returns
    -------
    list
        Results in the order of the frames.

    Raises
    ------
    InputError
        A result failed and `on_bad_image` is 'stop', or all failed.
    """
    pool = {"engine": engine, "mode": mode if read else "paths", "dask": dask, "workers": workers}
    if read:
        frames = read_ahead(frames, read=read, **pool)
    work = {"failed": failed, "read": read, "suspects": suspects, **pool}
    if on_bad_image == "record":
        work["share"] = _share_of(frames, **pool)
    results = results_of(measure, frames, progress=progress, **work)
    if on_bad_image == "record":
        results = _tried_again(list(results), frames, measure, again, work)
    return note_failures(results, frames, label=label, noun=noun, on_bad_image=on_bad_image, all_may_fail=all_may_fail)


def read_ahead(
    frames: Sequence, *, read: Callable, engine: str, mode: str, dask: str = "processes", workers: int = 1
) -> list[Frame]:
    """Return the frames of a job, with their pixels where the workers of `results_of` will be forked and share them.

    Workers read: what crashes a reader must not take the job along.

    Parameters
    ----------
    frames, read, engine, mode, dask, workers
        As for `collect`.

    Raises
    ------
    InputError
        The frames do not fit into memory.
    """
    frames = [Frame(frame) for frame in frames]
    if not parallel.frames_are_forked(engine=engine, mode=mode, dask=dask):
        return frames
    load = functools.partial(_load, read=read)
    available, loaded, held = memory.left().bytes, [], 0
    results = parallel.map_frames(load, frames, workers=workers, on_crash=_with_crash)
    for frame in results:
        loaded.append(frame)
        held += _bytes_of(frame.pixels)
        expected = held if len(loaded) < ENOUGH_FRAMES else held / len(loaded) * len(frames)
        if expected > available:  # now: later the kernel kills the job, which cannot say why
            results.close()
            raise InputError(
                f"pool.mode: fork: {len(frames)} images take about {expected / 1e6:,.0f} MB, and "
                f"{available / 1e6:,.0f} MB of memory are left to this job; set pool.mode: paths, with which each "
                "worker holds one image, or give the job more memory"
            )
    log.info("mode fork: %d images hold %.0f MB, shared by %d workers", len(loaded), held / 1e6, workers)
    return loaded


def results_of(
    measure: Callable,
    frames: Sequence,
    *,
    failed: Callable[[Any, str], Any],
    read: Callable | None = None,
    suspects: str = "the reader",
    share: float = math.inf,
    **pool: Any,
) -> Iterator:
    """Yield the result of every frame, in order.

    Parameters
    ----------
    measure, failed, read, suspects, **pool
        As for `collect`.
    frames : sequence
        From `read_ahead`, where there is a `read`.
    share : float
        Bytes of memory that a worker may take for a frame.
    """
    crashed = functools.partial(_crashed, failed=failed, suspects=suspects)
    work = {"measure": measure, "read": read, "failed": failed, "crashed": crashed, "share": share}
    apply = functools.partial(_measure, **work) if read else measure
    return parallel.map_frames(apply, frames, on_crash=crashed, **pool)


def _share_of(frames, *, engine, workers, **_):
    """Return the bytes of memory that each worker may take at once; Dask's may be on other machines."""
    count = min(workers, len(frames))
    return memory.left().bytes / count if count and engine == "pool" else math.inf


def note_failures(
    results: Iterable,
    frames: Iterable,
    *,
    label: str,
    noun: str,
    on_bad_image: str = "record",
    all_may_fail: bool = False,
) -> list:
    """Log which frames failed, and return all results, a list of them for each frame joined to one.

    Parameters
    ----------
    results : iterable
        From `results_of`.
    frames, label, noun, on_bad_image, all_may_fail
        As for `collect`.

    Raises
    ------
    InputError
        As for `collect`.
    """
    collected, failures = [], []
    for frame, result in zip(frames, results, strict=True):
        planes = result if isinstance(result, list) else [result]
        for plane in planes:
            if plane.error:
                failures.append(f"{frame}: {plane.error}")
                log.info("failed: %s: %s", label, failures[-1])
                if on_bad_image == "stop":
                    raise InputError(
                        f"{label}: {frame} failed: {plane.error}. "
                        "The run stops at a bad image because of on_bad_image: stop."
                    )
        collected += planes
    log.info("%s: %d %s, %d failed", label, len(collected), noun, len(failures))
    if failures and len(failures) == len(collected) and not all_may_fail:
        raise InputError(f"{label}: not one good frame of {len(collected)}; first {failures[0]}")
    if failures:
        log.warning("%s: %d of %d %s failed, first %s", label, len(failures), len(collected), noun, failures[0])
    return collected


def _tried_again(results, frames, measure, again, work):
    """Return the results of all frames; of some that failed, the results of what is tried in their place.

    These are frames on which a worker crashed, and those for which a worker's share of the memory was too small: fewer
    workers measure them, as many as there is memory for.
    """
    others, large = {}, {}
    for number, (frame, result) in enumerate(zip(frames, results, strict=True)):
        error = (result[0] if isinstance(result, list) else result).error or ""
        if again and error.startswith(_CRASHED.format(work["suspects"])):
            others[number] = again(frame.source, error)
        elif unread.is_of_memory(error) and work["read"] and work["workers"] > 1 and work["engine"] == "pool":
            large[number] = error
    others = {number: other for number, other in others.items() if other is not None}
    workers = min(work["workers"], _workers_for(large.values()))
    fewer = {"mode": "paths", "workers": workers, "share": memory.left().bytes / workers}
    large = {number: frames[number].source for number in large}
    for tried_frames, options in ((others, {}), (large, fewer)):
        if tried_frames:
            own_work = {**work, **options}
            pool = {name: value for name, value in own_work.items() if name not in ("failed", "suspects", "share")}
            tried = results_of(measure, read_ahead([*tried_frames.values()], **pool), **own_work)
            for number, result in zip(tried_frames, tried, strict=True):
                results[number] = result
    return results


def _workers_for(reasons):
    """Return how many workers there is memory for, by the reasons why frames were not measured."""
    needed_mb = [unread.needed_mb(reason) for reason in reasons]
    return 1 if not needed_mb or None in needed_mb else max(1, memory.left().megabytes // (max(needed_mb) + 1))


def _load(frame, *, read):
    """Return a frame with its pixels, or with the reason why there are none."""
    try:
        return frame._replace(pixels=read(frame.source))
    except FrameError as error:
        return frame._replace(pixels=error)


def _with_crash(frame, signal):
    """Return a frame that crashed a worker, in place of `_load`."""
    return frame._replace(crash=signal)


def _measure(frame, *, measure, read, failed, crashed, share):
    """Measure a frame, which is read first where it was not read ahead.

    One for which there is too little memory is a failed frame: the others lose nothing.
    """
    if frame.crash:  # the same words as where the worker that measures reads: tables are equal in all modes
        return crashed(frame, frame.crash)
    if frame.pixels is None:
        frame = _load(frame, read=read)
    if isinstance(frame.pixels, FrameError):
        return failed(frame.source, str(frame.pixels))
    try:
        unread.refuse_beyond_memory(PIXEL_BYTES * _most_pixels(frame.pixels), share)
        return measure(frame.source, frame.pixels)
    except NotReadError as error:
        return failed(frame.source, str(error))
    except (InputError, DeviceFailed, WorkerDied):  # a GPU may lack memory: no other frame has more
        raise
    except Exception as error:
        if not unread.lacks_memory(error):
            raise
        return failed(frame.source, unread.failure_of(error))


def _most_pixels(pixels):
    """Return the number of pixels of the largest plane of a frame."""
    planes = [plane.image for plane in pixels] if isinstance(pixels, list) else [pixels]
    return max((getattr(plane, "size", 0) for plane in planes), default=0)


def _crashed(frame, signal, *, failed, suspects):
    """Return the result of a frame on which a worker crashed."""
    return failed(frame.source if isinstance(frame, Frame) else frame, _CRASHED.format(suspects) + f" ({signal})")


def _bytes_of(pixels):
    planes = pixels if isinstance(pixels, list) else []
    images = [plane.image for plane in planes] or [pixels]
    images += [
        image
        for plane in planes
        for image in (getattr(plane, "channels", None) or {}).values()
        if image is not plane.image
    ]
    return sum(getattr(image, "nbytes", 0) for image in images)
