"""Apply a function to every frame of a stack, in order: find its nuclei, or whatever the configuration names.

Input: the stack. Outputs: frames.csv, one row per frame; nuclei.parquet, where nuclei are found; beside them, where the
function returns images, frames.zarr or frames.tif.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import functools
import itertools
import logging
from pathlib import Path

from fieldwork import InputError, job, outputs, parallel
from fieldwork.frames import FrameError
from fieldwork.job_log import logged
from fieldwork.stacks import frames as stack_frames
from fieldwork.stacks import series as stack_series
from fieldwork.stacks import sources

log = logging.getLogger(__name__)


def main(*, stack, path, copy, selection, work, images, frames_table, nuclei_table, on_bad_image, pool, workers):
    folder = Path(frames_table).parent
    stack_series.clear(folder)
    Path(folder, "nuclei.parquet").unlink(missing_ok=True)  # of another function
    frames = open_frames(stack, path, copy, selection)
    stack_frames.import_function(work["function"], folders=work["folders"], stack=frames)
    road = {"read": stack_frames.read_image, "workers": workers, **pool}
    frames = job.read_ahead(frames, **road)
    road |= {"failed": stack_frames.failed_frame, "suspects": "the reader or the function", "progress": stack}
    measure = functools.partial(stack_frames.measure_frame, **work)
    results, series = job.results_of(measure, frames, **road), None
    leading = []
    for result in results if work["function"] != stack_frames.NUCLEI else ():
        leading.append(result)
        if not result.error:  # the first good frame decides whether the function returns images or numbers
            break
    if leading and leading[-1].form:
        results.close()
        lay_out = functools.partial(stack_series.lay_out, kind=images, n_frames=len(frames), form=leading[-1].form)
        series = parallel.call_in_process(stack, lay_out, folder)
        leading, results = [], job.results_of(functools.partial(measure, series=series), frames, **road)
    results = itertools.chain(leading, results)
    if not series:
        error = f"{work['function']} gave an image; it gave numbers for the first good frame"
        results = (result._replace(error=error) if result.form else result for result in results)
    measured = job.note_failures(results, frames, label=f"stack {stack}", noun="frames", on_bad_image=on_bad_image)
    good = sum(not frame.error for frame in measured)
    if nuclei_table and good and not any(len(frame.coordinates) for frame in measured):
        log.warning(
            "stack %s: no nucleus in any of %d frames; is the threshold (%s) too high for 8-bit or float images?",
            *(stack, good, work["detection"]["threshold_abs"]),
        )
    if series:
        stack_series.finish(series)
    if nuclei_table:
        outputs.write_parquet(stack_frames.nuclei_table(stack, measured), nuclei_table)
    outputs.write_csv(*stack_frames.rows_of(stack, measured, count_nuclei=bool(nuclei_table)), frames_table)


def open_frames(stack, path, copy, selection):
    """List the frames of the stack, and log what was left out."""
    try:
        opened = parallel.call_in_process(
            stack, functools.partial(sources.open_stack, **selection), copy, on_crash=unopened
        )
    except FrameError as error:
        raise InputError(f"stack {stack}: {path}: {error}") from None
    for note in opened.notes:
        log.warning("stack %s: %s", stack, note)
    for frame in opened.frames:
        if frame.kind == "image":
            log.info("%s", frame)
    return opened.frames


def unopened(path, signal):
    """Raise FrameError for a stack that crashed the reader."""
    raise FrameError(f"crashed the reader ({signal})")


if __name__ == "__main__":
    with logged(snakemake.log[0], with_pandas=True):
        main(
            stack=snakemake.wildcards.stack,
            path=snakemake.params.path,
            copy=next(iter(snakemake.input.fetched), snakemake.params.path),
            selection=snakemake.params.selection,
            work={**snakemake.params.work, "folders": snakemake.config["module_folders"]},
            images=snakemake.params.images,
            frames_table=snakemake.output.frames,
            nuclei_table=snakemake.output.get("nuclei"),
            on_bad_image=snakemake.config["on_bad_image"],
            pool=snakemake.config["pool"],
            workers=snakemake.threads,
        )
