"""Calibrate a stack on a sample of its frames, and count the nuclei of some of them with that.

Input: the stack. Output: calibration.json.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import functools

from fieldwork import outputs
from fieldwork.detection import calibration as detection_calibration
from fieldwork.job_log import logged
from fieldwork.planning import samples
from fieldwork.segmentation import sampling
from fieldwork.stacks import calibration as stack_calibration
from fieldwork.stacks import frames as stack_frames
from fieldwork.surroundings import tries
from fieldwork.surroundings.workers import within_bounds


def main(*, stack, path, copy, selection, work, outcome, pool, workers, tried=None, planned=None):
    frames, _, _, decided = stack_frames.open_frames(stack, path, copy, selection, planned=planned)
    detection, pool, label = work["detection"], {**pool, "workers": workers}, f"stack {stack}"
    stack_frames.import_functions(work, stack=frames)
    sample = samples.spread(frames)[: samples.MOST_SAMPLE_IMAGES]
    read = stack_frames.read_image
    sampled = detection_calibration.read_sample(sample, read=read, measure=stack_calibration.measure_image, **pool)
    calibration = sampling.calibrate(sampled.used, **detection_calibration.overrides(detection))
    warning = sampling.warning_of(sampled, calibration, noun="frames", method=detection["method"])
    warnings = [*decided, *filter(None, [warning])]
    detection_calibration.log_decision(label, sampled, calibration, warnings, noun="frames")
    options = {**work, "stack": stack, "calibration": calibration, "with_labels": False, "with_quality": False}
    measured = detection_calibration.measure_counted(
        sampled,
        calibration,
        measure=functools.partial(stack_frames.measure_frame, **options),
        read=read,
        failed=stack_frames.failed_frame,
        detection=detection,
        label=label,
        noun="frames",
        **pool,
    )
    tries.note(tried, detection_calibration.reasons_in(sampled, measured))
    record = detection_calibration.record_of(
        sampled,
        measured,
        calibration,
        noun="frames",
        position_of=stack_calibration.position_of,
        warnings=warnings,
        settings={"detection": detection},
    )
    outputs.write_json(record, outcome)


if __name__ == "__main__":
    with_pandas = "function" in snakemake.params.work["detection"]
    with logged(snakemake.log[0], with_pandas=with_pandas):
        main(
            stack=snakemake.wildcards.stack,
            path=snakemake.params.path,
            copy=next(iter(snakemake.input.fetched), snakemake.params.path),
            selection=snakemake.params.selection,
            work={**snakemake.params.work, "folders": snakemake.config["module_folders"]},
            outcome=snakemake.output[0],
            pool=snakemake.config["pool"],
            workers=within_bounds(snakemake.threads, memory_mb=snakemake.resources.get("mem_mb")),
            tried=snakemake.params.tried,
            planned=len(snakemake.params.stamps),
        )
