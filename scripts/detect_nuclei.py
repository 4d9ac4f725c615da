"""Find the nuclei in every field of one unit of a plate.

Inputs: the unit's images of the nuclei channel, and of the channels in which nuclei are measured; the plate's
calibration, but where peaks are looked for; its illumination functions, if there are some. Outputs: one row per
nucleus, one row per field; the outlines, where they are kept.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import functools
import logging
from pathlib import Path

from fieldwork import job, label_images, outputs
from fieldwork.detection import calibration as detection_calibration
from fieldwork.detection import illumination, outlines, planes
from fieldwork.gpu import client
from fieldwork.job_log import logged
from fieldwork.objects import groups as object_groups
from fieldwork.plates import fields, stale
from fieldwork.plates import images as plate_images
from fieldwork.surroundings import tries
from fieldwork.surroundings.workers import within_bounds

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
    nuclei_channel,
    measured,
    detection,
    drop_border,
    cells,
    folders,
    with_quality,
    on_bad_image,
    device,
    pool,
    workers,
    correction=illumination.NO_CORRECTION,
    groups=(),
    z="all",
    tried=None,
):
    label = f"plate {plate}" if unit == "all" else f"plate {plate}, unit {unit}"
    images = plate_images.of_fields(plate_images.images_of(images, copies), z)
    choose = functools.partial(planes.choose, z=z)
    channels = plate_images.Channels(nuclei_channel, measured)
    finds_peaks = detection["method"] == "peaks"
    outlines.import_functions(detection, cells, folders=folders, **pool)
    options = {
        "detection": detection,
        "calibration": detection_calibration.read(calibration) if calibration else None,
        "drop_border": drop_border,
        "with_labels": "labels" in outcome,
        "cells": cells,
        "groups": groups,
        "with_quality": with_quality,
        "plate": plate,
        "channel": channel,
        "folders": folders,
        "correction": correction,
    }
    if groups:
        object_groups.load()  # before workers are forked, which then share it
    with client.open_device(device if finds_peaks else "cpu", frames=len(images), workers=workers) as opened:
        measured_fields = job.collect(
            functools.partial(fields.measure_field, **options, device=opened),
            images,
            read=functools.partial(plate_images.read_channels, channel=channel, channels=channels, choose=choose),
            failed=fields.failed_field,
            suspects=outlines.suspects_of(detection, cells),
            again=plate_images.without_other_files,
            label=label,
            noun="fields",
            progress=f"{plate} {unit}",
            on_bad_image=on_bad_image,
            all_may_fail=True,  # merge_units decides
            workers=workers,
            **pool,
        )
    for field in measured_fields:
        for name, reason in field.channels_missing.items():
            log.info("missing: %s: channel %s of %s: %s", label, name, field.path, reason)
    tries.note(tried, reasons_in(measured_fields))
    warn_of_missing_groups(label, measured_fields)
    log.info("%s: %d nuclei", label, sum(len(field.coordinates) for field in measured_fields))
    # The plate's label images are of other nuclei from now on; `join_labels` writes new ones, where they are kept.
    stale.forget_labels(Path(outcome["nuclei"]).parents[1])
    if correction.functions is None:
        stale.forget_illumination(Path(outcome["nuclei"]).parents[1])
    form = {"outlined": not finds_peaks, "channels": [name for name, _ in measured]}
    write(plate, measured_fields, outcome, form | {"cells": bool(cells), "groups": groups})


def write(plate, measured_fields, outcome, form):
    """Write the tables of a unit, and its label images where they are kept; `form` says which columns there are."""
    from fieldwork.plates import nuclei_table, tables  # here: Arrow starts a thread, and no fork may follow a thread

    shapes = [field.shape for field in measured_fields]
    for kind in {"labels", "cells"} & outcome.keys():
        label_images.write_unit(outcome[kind], [getattr(field, kind) for field in measured_fields], shapes)
    outputs.write_row_groups(
        nuclei_table.parts_of(plate, measured_fields, **form),
        outcome["nuclei"],
        schema=nuclei_table.unit_nuclei_schema(**form),
    )
    outputs.write_parquet(tables.fields_of(plate, measured_fields, channels=form["channels"]), outcome["fields"])


def reasons_in(measured_fields):
    """Return why fields failed, and why some miss channels."""
    return [reason for field in measured_fields for reason in (field.error, *field.channels_missing.values())]


def warn_of_missing_groups(label, measured_fields):
    """Warn of groups of measurements that some fields cannot have."""
    missing = [(field, *reason) for field in measured_fields for reason in field.groups_missing.items()]
    for what in dict.fromkeys(what for _, what, _ in missing):
        fields_without = [(field, reason) for field, other, reason in missing if other == what]
        first, reason = fields_without[0]
        log.warning(
            "%s: %d of %d fields have no %s (measure.groups), whose columns are empty there. First %s: %s",
            *(label, len(fields_without), len(measured_fields), what, first.path, reason),
        )


if __name__ == "__main__":
    with_pandas = "function" in snakemake.params.detection or "function" in (snakemake.params.cells or {})
    with logged(snakemake.log[0], with_pandas=with_pandas):
        main(
            images=snakemake.params.images,
            copies=dict(zip(snakemake.params.urls, snakemake.input.fetched, strict=True)),
            calibration=next(iter(snakemake.input.calibration), None),
            outcome=dict(snakemake.output.items()),
            plate=snakemake.wildcards.plate,
            unit=snakemake.wildcards.unit,
            channel=snakemake.params.channel,
            z=snakemake.params.z,
            nuclei_channel=snakemake.params.nuclei_channel,
            measured=snakemake.params.channels,
            detection=snakemake.params.detection,
            drop_border=snakemake.params.border == "drop",
            cells=snakemake.params.cells,
            groups=snakemake.params.groups,
            folders=snakemake.config["module_folders"],
            with_quality=snakemake.params.quality,
            on_bad_image=snakemake.config["on_bad_image"],
            device=snakemake.config["device"],
            pool=snakemake.config["pool"],
            workers=within_bounds(snakemake.threads, memory_mb=snakemake.resources.get("mem_mb")),
            tried=snakemake.params.tried,
            correction=illumination.correction_of(
                snakemake.params.nuclei_channel,
                snakemake.params.background,
                next(iter(snakemake.input.illumination), None),
            ),
        )
