"""Find the nuclei in every field of one unit of a plate.

Inputs: the unit's images of the nuclei channel. Outputs: one row per nucleus, one row per field.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import functools
import logging

from fieldwork import parallel
from fieldwork.gpu import client
from fieldwork.job import note_failure
from fieldwork.job_log import logged
from fieldwork.plates import fields, tables

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
    images = fields.images_of(images, copies)
    load = functools.partial(fields.load, channel=channel)
    images = parallel.read_ahead(load, images, workers=workers, on_crash=fields.unreadable, **pool)
    if parallel.frames_are_forked(**pool):
        held = sum(plane.image.nbytes for image in images if isinstance(image.planes, list) for plane in image.planes)
        log.info("mode fork: %d images hold %.0f MB, shared by %d workers", len(images), held / 1e6, workers)
    options = {"channel": channel, "detection": detection, "with_quality": with_quality}
    measured = []
    with client.processor(device, frames=len(images), workers=workers) as processor:
        measure = functools.partial(fields.measure, **options, find=processor.candidates)
        for found in parallel.map_frames(
            measure, images, workers=workers, progress=f"{plate} {unit}", on_crash=fields.crashed, **pool
        ):
            for field in found:
                if field.error:
                    place = f"plate {plate}: {field.path} (well {field.well}, site {field.site})"
                    note_failure(place, field.error, on_bad_image=on_bad_image)
            measured += found
    from fieldwork import outputs

    outputs.write_parquet(tables.nuclei_of(plate, measured), nuclei_table)
    outputs.write_parquet(tables.fields_of(plate, measured), fields_table)
    failed = [field for field in measured if field.error]
    count = sum(len(field.coordinates) for field in measured)
    log.info("%s %s: %d fields, %d failed, %d nuclei", plate, unit, len(measured), len(failed), count)
    if failed:
        counts = plate, unit, len(failed), len(measured)
        log.warning("%s %s: %d of %d fields failed, first %s: %s", *counts, failed[0].path, failed[0].error)


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
