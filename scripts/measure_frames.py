"""Apply a function to every frame of a stack, in order: find its nuclei, or whatever the configuration names.

Input: the stack. Outputs: frames.csv, one row per frame; nuclei.parquet, where nuclei are found; beside them, where the
function gives images, frames.zarr or frames.tif.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import functools
import itertools
import logging
from pathlib import Path

from fieldwork import InputError, outputs, parallel
from fieldwork.frames import FrameError
from fieldwork.job import note_failure, report
from fieldwork.job_log import logged
from fieldwork.stacks import frames as stack_frames
from fieldwork.stacks import series as stack_series
from fieldwork.stacks import sources

log = logging.getLogger(__name__)


def main(*, stack, path, copy, place, work, images, made, nuclei_table, on_bad_image, pool, workers):
    folder = Path(made).parent
    stack_series.clear(folder)
    Path(folder, "nuclei.parquet").unlink(missing_ok=True)  # of another function
    frames = open_frames(stack, path, copy, place)
    stack_frames.prepare(work["function"], folders=work["folders"], frames=frames)
    frames = parallel.read_ahead(stack_frames.load, frames, workers=workers, on_crash=stack_frames.unreadable, **pool)
    apply = functools.partial(
        parallel.map_frames, frames=frames, workers=workers, progress=stack, on_crash=stack_frames.crashed, **pool
    )
    measure = functools.partial(stack_frames.measure, **work)
    results = apply(measure)
    leading, series = [], None
    for each in results if work["function"] != stack_frames.NUCLEI else ():
        leading.append(each)
        if not each.error:  # it tells what the function gives
            break
    if leading and leading[-1].form:
        results.close()
        lay_out = functools.partial(stack_series.lay_out, kind=images, n_frames=len(frames), form=leading[-1].form)
        series = parallel.call_in_process(stack, lay_out, folder)
        leading, results = [], apply(functools.partial(measure, series=series))
    measured = []
    for each in itertools.chain(leading, results):
        if each.form and not series:
            each = each._replace(error=f"{work['function']} gave an image; it gave numbers for the first good frame")
        if each.error:
            note_failure(f"stack {stack}: {frames[each.index]}", each.error, on_bad_image=on_bad_image)
        measured.append(each)
    failed = [f"{frames[each.index]}: {each.error}" for each in measured if each.error]
    report(f"stack {stack}", "frames", failed, of=len(measured))
    good = len(measured) - len(failed)
    if nuclei_table and good and not any(len(each.coordinates) for each in measured):
        log.warning(
            "stack %s: no nucleus in any of %d frames; is the threshold (%s) too high for 8-bit or float images?",
            *(stack, good, work["arguments"]["threshold_abs"]),
        )
    if series:
        stack_series.finish(series)
    if nuclei_table:
        outputs.write_parquet(stack_frames.nuclei_table(stack, measured), nuclei_table)
    outputs.write_csv(*stack_frames.rows_of(stack, measured, count_nuclei=bool(nuclei_table)), made)


def open_frames(stack, path, copy, place):
    """List the frames of the stack, and log what was left out."""
    try:
        opened = parallel.call_in_process(
            stack, functools.partial(sources.open_stack, **place), copy, on_crash=unopened
        )
    except FrameError as error:
        raise InputError(f"stack {stack}: {path}: {error}") from None
    for note in opened.notes:
        log.warning("stack %s: %s", stack, note)
    for frame in opened.frames:
        if frame.kind == "image":
            log.info("%s", frame)
    return [stack_frames.Frame(frame) for frame in opened.frames]


def unopened(path, signal):
    raise FrameError(f"crashed the reader ({signal})")


if __name__ == "__main__":
    with logged(snakemake.log[0], with_pandas=True):
        main(
            stack=snakemake.wildcards.stack,
            path=snakemake.params.path,
            copy=next(iter(snakemake.input.fetched), snakemake.params.path),
            place=snakemake.params.place,
            work={**snakemake.params.work, "folders": snakemake.config["module_folders"]},
            images=snakemake.params.images,
            made=snakemake.output.frames,
            nuclei_table=snakemake.output.get("nuclei"),
            on_bad_image=snakemake.config["on_bad_image"],
            pool=snakemake.config["pool"],
            workers=snakemake.threads,
        )
