"""Draw what is found in some frames of a stack's sample.

Inputs: calibration.json; the stack. Output: calibration.png.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import functools

from fieldwork import figures, outputs
from fieldwork.detection import calibration as detection_calibration
from fieldwork.detection import plots
from fieldwork.job_log import logged
from fieldwork.stacks import calibration as stack_calibration
from fieldwork.stacks import frames as stack_frames
from fieldwork.surroundings.workers import within_bounds


def main(*, record, stack, path, copy, selection, work, picture, pool, workers):
    record = outputs.read_json(record)
    frames = stack_frames.open_frames(stack, path, copy, selection).frames
    stack_frames.import_functions(work, stack=frames)
    calibration = detection_calibration.of_record(record)
    options = {**work, "stack": stack, "calibration": calibration, "with_labels": True, "with_quality": False}
    measure = functools.partial(
        detection_calibration.measure_images,
        measure=functools.partial(stack_frames.measure_frame, **options),
        read=stack_frames.read_image,
        failed=stack_frames.failed_frame,
        detection=work["detection"],
        label=f"stack {stack}",
        noun="frames",
        **{**pool, "workers": workers},
    )
    draw = functools.partial(
        plots.draw_calibration,
        record,
        [frames[frame["frame"]] for frame in record["frames"]],
        measure=measure,
        read=stack_frames.read_image,
        title_of=stack_calibration.title_of,
        title=f"stack {stack}: what is found in its sample",
    )
    figures.write(draw, picture, colours=64)


if __name__ == "__main__":
    with logged(snakemake.log[0], with_pandas=True):
        main(
            record=snakemake.input.record,
            stack=snakemake.wildcards.stack,
            path=snakemake.params.path,
            copy=next(iter(snakemake.input.fetched), snakemake.params.path),
            selection=snakemake.params.selection,
            work={**snakemake.params.work, "folders": snakemake.config["module_folders"]},
            picture=snakemake.output[0],
            pool=snakemake.config["pool"],
            workers=within_bounds(snakemake.threads, memory_mb=snakemake.resources.get("mem_mb")),
        )
