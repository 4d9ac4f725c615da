"""Calibrate a plate on a sample of its fields, and count the nuclei of some of them with that.

Inputs: the sample's images, in the order of reading; the calibration of another plate, if its values are to be taken;
the plate's illumination functions, if there are some.
Output: calibration.json.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import functools

from fieldwork import outputs
from fieldwork.detection import calibration as detection_calibration
from fieldwork.detection import illumination, planes
from fieldwork.job_log import logged
from fieldwork.plates import calibration as plate_calibration
from fieldwork.plates import fields
from fieldwork.plates import images as plate_images
from fieldwork.segmentation import sampling
from fieldwork.surroundings import tries
from fieldwork.surroundings.workers import within_bounds


def main(
    *,
    images,
    copies,
    other,
    outcome,
    plate,
    channel,
    settings,
    drop_border,
    folders,
    pool,
    workers,
    correction=illumination.NO_CORRECTION,
    z="all",
    tried=None,
):
    images = plate_images.of_fields(plate_images.images_of(images, copies), z)
    choose = functools.partial(planes.choose, z=z)
    detection, pool, label = settings["detection"], {**pool, "workers": workers}, f"plate {plate}"
    read = functools.partial(plate_images.chosen_planes, channel=channel, choose=choose)
    measure = functools.partial(plate_calibration.measure_image, correction=correction)
    sampled = detection_calibration.read_sample(images, read=read, measure=measure, **pool)
    if other:
        calibration = detection_calibration.read(other)
    else:
        calibration = sampling.calibrate(sampled.used, **detection_calibration.overrides(detection))
    warnings = plate_calibration.warnings_of(sampled, calibration, channel=channel, settings=settings)
    detection_calibration.log_decision(label, sampled, calibration, warnings, noun="fields")
    options = {"detection": detection, "calibration": calibration, "drop_border": drop_border, "with_labels": False}
    options |= {"with_quality": False, "plate": plate, "channel": channel, "folders": folders, "correction": correction}
    read_plane = functools.partial(plate_calibration.read_middle_plane, channel=channel, choose=choose)
    measured = detection_calibration.measure_counted(
        sampled,
        calibration,
        measure=functools.partial(fields.measure_field, **options),
        read=read_plane,
        failed=fields.failed_field,
        detection=detection,
        label=label,
        noun="fields",
        **pool,
    )
    tries.note(tried, detection_calibration.reasons_in(sampled, measured))
    record = plate_calibration.record_of(sampled, measured, calibration, warnings=warnings, settings=settings)
    outputs.write_json(record, outcome)


if __name__ == "__main__":
    with_pandas = "function" in snakemake.params.settings["detection"]
    with logged(snakemake.log[0], with_pandas=with_pandas):
        main(
            images=snakemake.params.images,
            copies=dict(zip(snakemake.params.urls, snakemake.input.fetched, strict=True)),
            other=next(iter(snakemake.input.other), None),
            outcome=snakemake.output[0],
            plate=snakemake.wildcards.plate,
            channel=snakemake.params.channel,
            z=snakemake.params.z,
            settings=snakemake.params.settings,
            drop_border=snakemake.params.border == "drop",
            folders=snakemake.config["module_folders"],
            pool=snakemake.config["pool"],
            workers=within_bounds(snakemake.threads, memory_mb=snakemake.resources.get("mem_mb")),
            tried=snakemake.params.tried,
            correction=illumination.correction_of(
                snakemake.params.nuclei_channel,
                snakemake.params.background,
                next(iter(snakemake.input.illumination), None),
            ),
        )
