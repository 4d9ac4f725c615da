"""Find the nuclei in every field of one unit of a plate.

Inputs: the unit's images of the nuclei channel. Outputs: one row per nucleus, one row per field.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import functools
import logging

from fieldwork import job, outputs
from fieldwork.gpu import client
from fieldwork.job_log import logged
from fieldwork.plates import fields
from fieldwork.plates import images as plate_images

log = logging.getLogger(__name__)


def main(
    *,
    images,
    copies,
    nuclei_table,
    fields_table,
    plate,
    unit,
    channel,
    detection,
    with_quality,
    on_bad_image,
    device,
    pool,
    workers,
):
    label = f"plate {plate}" if unit == "all" else f"plate {plate}, unit {unit}"
    images = plate_images.images_of(images, copies)
    options = {"detection": detection, "with_quality": with_quality}
    with client.open_device(device, frames=len(images), workers=workers) as opened:
        measured = job.collect(
            functools.partial(fields.measure_field, **options, device=opened),
            images,
            read=functools.partial(plate_images.read_planes, channel=channel),
            failed=fields.failed_field,
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
    outputs.write_parquet(tables.nuclei_of(plate, measured), nuclei_table)
    outputs.write_parquet(tables.fields_of(plate, measured), fields_table)


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            images=snakemake.params.images,
            copies=dict(zip(snakemake.params.urls, snakemake.input.fetched, strict=True)),
            nuclei_table=snakemake.output.nuclei,
            fields_table=snakemake.output.fields,
            plate=snakemake.wildcards.plate,
            unit=snakemake.wildcards.unit,
            channel=snakemake.params.channel,
            detection=snakemake.params.detection,
            with_quality=snakemake.params.quality,
            on_bad_image=snakemake.config["on_bad_image"],
            device=snakemake.config["device"],
            pool=snakemake.config["pool"],
            workers=snakemake.threads,
        )
