"""Apply a function to every frame of a stack, in order: find its nuclei, or whatever the configuration names.

Inputs: the stack; its calibration, if nuclei are found with one. Outputs: frames.csv, one row per frame; where nuclei
are found, nuclei.parquet, and their outlines if these are kept, labels.zarr or labels.tif; beside them stack.json,
which says where the frames are, for the viewer; where the function returns images, frames.zarr or frames.tif; where the
stack leaves open which channel is wanted, summary.json, for the last lines of a run.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import functools
import itertools
import logging
from pathlib import Path

from fieldwork import FrameError, job, outputs, parallel
from fieldwork.detection import calibration as detection_calibration
from fieldwork.inputs.paths import is_url
from fieldwork.job_log import logged
from fieldwork.stacks import frames as stack_frames
from fieldwork.stacks import series as stack_series
from fieldwork.stacks import sources
from fieldwork.surroundings import tries
from fieldwork.surroundings.workers import within_bounds

log = logging.getLogger(__name__)


def main(
    *,
    stack,
    path,
    copy,
    calibration,
    selection,
    work,
    channels,
    images,
    frames_table,
    nuclei_table,
    on_bad_image,
    pool,
    workers,
    tried=None,
    planned=None,
):
    folder = Path(frames_table).parent
    stack_series.clear(folder)
    summary, source = folder / "summary.json", folder / "stack.json"
    for stale in (folder / "nuclei.parquet", summary, source):  # of another function or stack
        stale.unlink(missing_ok=True)
    opened = list_frames(stack, path, copy, selection, planned)
    listed = frames = opened.frames
    detection = work.get("detection", {})
    stack_frames.import_functions(work, stack=frames)
    road = {"read": stack_frames.read_image, "workers": workers, **pool}
    frames = job.read_ahead(frames, **road)
    road |= {"failed": stack_frames.failed_frame, "suspects": "the reader or the function"}
    if not nuclei_table and any(frame.kind == "image" for frame in listed):
        frames = without_odd(frames, road)
    road["progress"] = stack
    if calibration:
        work = {**work, "calibration": detection_calibration.read(calibration)}
    measure = functools.partial(stack_frames.measure_frame, **work, stack=stack, channels=channels)
    results, series = job.results_of(measure, frames, **road), None
    if not nuclei_table:
        results, series = own_results(stack, measure, results, frames, road, images=images, folder=folder)
    else:
        results = stack_frames.fail_odd(list(results))
    outlined = channels is not None
    if outlined:
        log.info("stack %s: nuclei are measured in: %s", stack, ", ".join(channels) or "no channel, only their shape")
    measured = job.note_failures(results, frames, label=f"stack {stack}", noun="frames", on_bad_image=on_bad_image)
    tries.note(tried, [frame.error for frame in measured])
    good = sum(not frame.error for frame in measured)
    if nuclei_table and good and not any(len(frame.coordinates) for frame in measured):
        threshold = detection.get("threshold_abs")
        doubt = "" if outlined else f"; is the threshold ({threshold}) too high for 8-bit or float images?"
        log.warning("stack %s: no nucleus in any of %d frames%s", stack, good, doubt)
    if work.get("with_labels"):
        series = write_labels(measured, images=images, folder=folder)
    if series:
        stack_series.finish(series)
    if nuclei_table:
        write_nuclei(stack, measured, channels, opened.decided, nuclei_table)
    if opened.decided:
        outputs.write_json({"notes": opened.decided}, summary)
    if not is_url(path):
        outputs.write_json({"path": path, "selection": selection}, source)
    rows = stack_frames.rows_of(stack, measured, count_nuclei=bool(nuclei_table), outlined=outlined)
    outputs.write_csv(*sources.with_file_names(*rows, listed), frames_table)


def list_frames(stack, path, copy, selection, planned):
    """Open the stack, and log its frames, and what was left out."""
    opened = stack_frames.open_frames(stack, path, copy, selection, planned=planned)
    for note in opened.notes:
        log.warning("stack %s: %s", stack, note)
    for frame in opened.frames:
        if frame.kind == "image":
            log.info("%s", frame)
    return opened


def without_odd(frames, road):
    """Return the frames of a folder; those of another size or type than most have the reason in place of pixels.

    Before a function of the user's is called: what it returns for the first good frame counts for all.
    """
    looked_at = stack_frames.fail_odd(list(job.results_of(stack_frames.look_at, frames, **road)))
    return [
        frame._replace(pixels=FrameError(looked.error)) if looked.error else frame
        for frame, looked in zip(frames, looked_at, strict=True)
    ]


def own_results(stack, measure, results, frames, road, *, images, folder):
    """Return what a function of the user's gives for all frames, and the series that it is written to, if images."""
    leading, series = [], None
    for result in results:
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
        error = f"{measure.keywords['function']} gave an image; it gave numbers for the first good frame"
        results = (result._replace(error=error) if result.form else result for result in results)
    return results, series


def write_nuclei(stack, measured, channels, decided, path):
    """Write the table of nuclei."""
    from fieldwork.stacks import nuclei_table  # here: Arrow starts a thread, and no fork may follow a thread

    schema = nuclei_table.nuclei_schema(channels, decided)
    groups = nuclei_table.nuclei_of(stack, measured, channels, schema)
    outputs.write_row_groups(groups, path, schema=schema)


def write_labels(measured, *, images, folder):
    """Write the label images of all good frames, and return their series; others stay 0."""
    good = [frame for frame in measured if frame.labels]
    height, width = (max(lengths) for lengths in zip(*(frame.shape for frame in good), strict=True))
    form = (height, width), stack_series.LABEL_DTYPE
    series = stack_series.lay_out(folder, kind=images, n_frames=len(measured), form=form, name=stack_series.LABELS)
    for frame in good:
        stack_series.write_labels(series, frame.index, frame.labels, frame.shape)
    return series


if __name__ == "__main__":
    with logged(snakemake.log[0], with_pandas=True):
        main(
            stack=snakemake.wildcards.stack,
            path=snakemake.params.path,
            copy=next(iter(snakemake.input.fetched), snakemake.params.path),
            calibration=snakemake.input.get("calibration"),
            selection=snakemake.params.selection,
            work={**snakemake.params.work, "folders": snakemake.config["module_folders"]},
            channels=snakemake.params.channels,
            images=snakemake.params.images,
            frames_table=snakemake.output.frames,
            nuclei_table=snakemake.output.get("nuclei"),
            on_bad_image=snakemake.config["on_bad_image"],
            pool=snakemake.config["pool"],
            workers=within_bounds(snakemake.threads, memory_mb=snakemake.resources.get("mem_mb")),
            tried=snakemake.params.tried,
            planned=len(snakemake.params.stamps),
        )
