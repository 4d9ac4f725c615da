"""Find the nuclei in every field of one unit of a plate.

Inputs: the unit's images of the nuclei channel; the plate's calibration, but where peaks are looked for. Outputs: one
row per nucleus, one row per field; the outlines, where they are kept.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import functools
import logging
from pathlib import Path

from fieldwork import job, label_images, outputs
from fieldwork.detection import calibration as detection_calibration
from fieldwork.detection import outlines
from fieldwork.gpu import client
from fieldwork.job_log import logged
from fieldwork.plates import fields, stale
from fieldwork.plates import images as plate_images

log = logging.getLogger(__name__)


def main(
    *,
    images,
    copies,
    calibration,
    outcome,
    plate,
    unit,
    channel,
    detection,
    drop_border,
    folders,
    with_quality,
    on_bad_image,
    device,
    pool,
    workers,
):
    label = f"plate {plate}" if unit == "all" else f"plate {plate}, unit {unit}"
    images = plate_images.images_of(images, copies)
    finds_peaks = detection["method"] == "peaks"
    options = {
        "detection": detection,
        "calibration": detection_calibration.read(calibration) if calibration else None,
        "drop_border": drop_border,
        "with_labels": "labels" in outcome,
        "with_quality": with_quality,
        "channel": channel,
        "folders": folders,
    }
    with client.open_device(device if finds_peaks else "cpu", frames=len(images), workers=workers) as opened:
        measured = job.collect(
            functools.partial(fields.measure_field, **options, device=opened),
            images,
            read=functools.partial(plate_images.read_planes, channel=channel),
            failed=fields.failed_field,
            suspects=outlines.suspects_of(detection),
            label=label,
            noun="fields",
            progress=f"{plate} {unit}",
            on_bad_image=on_bad_image,
            all_may_fail=True,  # merge_units decides
            workers=workers,
            **pool,
        )
    from fieldwork.plates import tables  # here: Arrow starts a thread, and no fork may follow a thread

    log.info("%s: %d nuclei", label, sum(len(field.coordinates) for field in measured))
    # The plate's label images are of other nuclei from now on; `join_labels` writes new ones, where they are kept.
    stale.forget_labels(Path(outcome["nuclei"]).parents[1])
    if "labels" in outcome:
        encoded, shapes = [field.labels for field in measured], [field.shape for field in measured]
        label_images.write_unit(outcome["labels"], encoded, shapes)
    outputs.write_parquet(tables.nuclei_of(plate, measured, outlined=not finds_peaks), outcome["nuclei"])
    outputs.write_parquet(tables.fields_of(plate, measured), outcome["fields"])


if __name__ == "__main__":
    with_pandas = "function" in snakemake.params.detection
    with logged(snakemake.log[0], with_pandas=with_pandas):
        main(
            images=snakemake.params.images,
            copies=dict(zip(snakemake.params.urls, snakemake.input.fetched, strict=True)),
            calibration=next(iter(snakemake.input.calibration), None),
            outcome=dict(snakemake.output.items()),
            plate=snakemake.wildcards.plate,
            unit=snakemake.wildcards.unit,
            channel=snakemake.params.channel,
            detection=snakemake.params.detection,
            drop_border=snakemake.params.border == "drop",
            folders=snakemake.config["module_folders"],
            with_quality=snakemake.params.quality,
            on_bad_image=snakemake.config["on_bad_image"],
            device=snakemake.config["device"],
            pool=snakemake.config["pool"],
            workers=snakemake.threads,
        )
