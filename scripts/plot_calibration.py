"""Draw what is found in some fields of a plate's sample.

Inputs: calibration.json; the images of the sample; the plate's illumination functions, if there are some. Output:
calibration.png.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import functools

from fieldwork import figures, outputs
from fieldwork.detection import calibration as detection_calibration
from fieldwork.detection import illumination, planes, plots
from fieldwork.job_log import logged
from fieldwork.plates import calibration as plate_calibration
from fieldwork.plates import fields
from fieldwork.surroundings.workers import within_bounds


def main(
    *,
    record,
    copies,
    picture,
    plate,
    channel,
    detection,
    drop_border,
    folders,
    pool,
    workers,
    correction=illumination.NO_CORRECTION,
    z="all",
):
    record, choose = outputs.read_json(record), functools.partial(planes.choose, z=z)
    read = functools.partial(plate_calibration.read_middle_plane, channel=channel, choose=choose)
    options = {"detection": detection, "calibration": detection_calibration.of_record(record), "channel": channel}
    options |= {"drop_border": drop_border, "with_labels": True, "with_quality": False, "folders": folders}
    options |= {"correction": correction, "plate": plate}
    measure = functools.partial(
        detection_calibration.measure_images,
        measure=functools.partial(fields.measure_field, **options),
        read=read,
        failed=fields.failed_field,
        detection=detection,
        label=f"plate {plate}",
        noun="fields",
        **{**pool, "workers": workers},
    )
    draw = functools.partial(
        plots.draw_calibration,
        record,
        plate_calibration.images_of(record, copies),
        measure=measure,
        read=lambda image: read(image)[0].image,
        title_of=plate_calibration.title_of,
        title=f"plate {plate}: what is found in its sample",
    )
    figures.write(draw, picture, colours=64)


if __name__ == "__main__":
    with logged(snakemake.log[0], with_pandas=True):
        main(
            record=snakemake.input.record,
            copies=dict(zip(snakemake.params.urls, snakemake.input.fetched, strict=True)),
            picture=snakemake.output[0],
            plate=snakemake.wildcards.plate,
            channel=snakemake.params.channel,
            z=snakemake.params.z,
            detection=snakemake.params.settings["detection"],
            drop_border=snakemake.params.border == "drop",
            folders=snakemake.config["module_folders"],
            pool=snakemake.config["pool"],
            workers=within_bounds(snakemake.threads, memory_mb=snakemake.resources.get("mem_mb")),
            correction=illumination.correction_of(
                snakemake.params.nuclei_channel,
                snakemake.params.background,
                next(iter(snakemake.input.illumination), None),
            ),
        )
