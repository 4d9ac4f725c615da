"""Calibrate a plate on a sample of its fields, and draw what is found with that.

Inputs: the sample's images, in the order of reading; the calibration of another plate, if its values are to be taken.
Outputs: calibration.json, calibration.png.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import functools
import logging

from fieldwork import figures, job, outputs
from fieldwork.job_log import logged
from fieldwork.plates import calibration as plate_calibration
from fieldwork.plates import fields, plots
from fieldwork.plates import images as plate_images
from fieldwork.segmentation import sampling

log = logging.getLogger(__name__)


def main(*, images, copies, other, outcome, plate, channel, settings, drop_border, folders, pool, workers):
    images = plate_images.images_of(images, copies)
    detection = settings["detection"]
    pool = {**pool, "mode": "paths", "workers": workers}  # in mode fork all images would be read, not as few as needed
    sampled = read_sample(images, channel=channel, pool=pool)
    for reading, reason in sampled.passed_over:
        log.info("passed over: %s: %s", reading.source, reason)
    calibration = plate_calibration.read(other) if other else sampling.calibrate(sampled.used, **overrides(detection))
    warnings = plate_calibration.warnings_of(sampled, calibration, channel=channel, settings=settings)
    log.info("plate %s: %s by %d fields", plate, calibration, len(sampled.used))
    for warning in warnings:
        log.warning("plate %s: %s", plate, warning)
    options = {"detection": detection, "calibration": calibration, "drop_border": drop_border, "with_labels": True}
    options |= {"with_quality": False, "channel": channel, "folders": folders}
    counted = plate_calibration.choose_counted(sampled.used, calibration)
    measured = job.collect(
        functools.partial(fields.measure_field, **options),
        [sampled.used[index].source for index in counted],
        read=functools.partial(plate_calibration.read_middle_plane, channel=channel),
        failed=fields.failed_field,
        suspects=fields.suspects_of(detection),
        label=f"plate {plate}, sample",
        noun="fields",
        all_may_fail=True,
        **pool,
    )
    measured = dict(zip(counted, measured, strict=True))
    with outputs.atomic_file(outcome.calibration) as part:
        notes = [plate_calibration.note_of(calibration), *warnings]
        picture = draw(sampled.used, measured, calibration, plate=plate, channel=channel, notes=notes)
        figures.save(picture, part, colours=64)
    record = plate_calibration.record_of(sampled, measured, calibration, warnings=warnings, settings=settings)
    outputs.write_json(record, outcome.record)


def read_sample(images, *, channel, pool):
    """Read the images of a sample in their order, until enough of them have nuclei."""
    read = functools.partial(plate_images.read_planes, channel=channel)
    frames = job.read_ahead(images, read=read, **pool)
    failed = plate_calibration.failed_reading
    readings = job.results_of(plate_calibration.measure_image, frames, read=read, failed=failed, **pool)
    sampled = plate_calibration.take(readings)
    readings.close()  # and the workers, which read ahead
    return sampled


def overrides(detection):
    """Return the values that the user set in place of measured ones."""
    return {key: detection[key] for key in ("diameter", "contrast") if detection.get(key) is not None}


def draw(used, measured, calibration, *, plate, channel, notes):
    """Draw fields of the sample with what was found in them."""
    chosen = plate_calibration.choose_drawn(used, measured, calibration)

    def drawn(index):
        image, field = used[index].source, measured[index]
        (plane,) = plate_calibration.read_middle_plane(image, channel=channel)
        labels = plate_calibration.labels_of(field, plane.image.shape)
        return plate_calibration.title_of(field), plane.image, labels

    return plots.calibration_picture(
        [drawn(index) for index in chosen.fields],
        None if chosen.worst is None else drawn(chosen.worst),
        title=f"plate {plate}: what is found in its sample",
        notes=notes,
    )


if __name__ == "__main__":
    with_pandas = snakemake.params.settings["detection"]["method"] not in ("auto", "peaks")
    with logged(snakemake.log[0], with_pandas=with_pandas):
        main(
            images=snakemake.params.images,
            copies=dict(zip(snakemake.params.urls, snakemake.input.fetched, strict=True)),
            other=next(iter(snakemake.input.other), None),
            outcome=snakemake.output,
            plate=snakemake.wildcards.plate,
            channel=snakemake.params.channel,
            settings=snakemake.params.settings,
            drop_border=snakemake.params.border == "drop",
            folders=snakemake.config["module_folders"],
            pool=snakemake.config["pool"],
            workers=snakemake.threads,
        )
