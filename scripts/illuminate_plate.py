"""Find the illumination of every measured channel of a plate, in a sample of its fields.

Inputs: the sample's images, of the nuclei channel and of all measured ones. Outputs: a folder with a function for each
channel, {channel}.npy, and functions.json, which says what they do to nuclei; illumination.png.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import functools
import logging
from pathlib import Path

from fieldwork import figures, outputs
from fieldwork.detection import planes
from fieldwork.job_log import logged
from fieldwork.plates import illumination as plate_illumination
from fieldwork.plates import images as plate_images
from fieldwork.surroundings import tries
from fieldwork.surroundings.workers import within_bounds

log = logging.getLogger(__name__)


def main(
    *, images, copies, outcome, plate, channel, nuclei_channel, measured, background, pool, workers, z="all", tried=None
):
    images = plate_images.of_fields(plate_images.images_of(images, copies), z)
    choose = functools.partial(planes.choose, z=z)
    label, pool = f"plate {plate}", {**pool, "workers": workers}
    channels = plate_images.Channels(nuclei_channel, measured)
    read = functools.partial(plate_images.read_channels, channel=channel, channels=channels, choose=choose)
    measure = functools.partial(plate_illumination.measure_field, nuclei=nuclei_channel, background=background)
    sample = functools.partial(plate_illumination.read_sample, images, read=read, **pool)
    readings = list(sample(measure=measure, failed=plate_illumination.failed_reading))
    reasons = [reason for reading in readings for reason in (reading.error, *reading.missing.values())]
    names = sorted({nuclei_channel, *(name for name, _ in measured)})
    illuminations = {name: plate_illumination.find(name, readings, label=label) for name in names}
    if calibration := plate_illumination.calibration_of(readings):
        measure = functools.partial(
            plate_illumination.measure_nuclei,
            nuclei=nuclei_channel,
            background=background,
            calibration=calibration,
            forms={name: own.form for name, own in illuminations.items()},
        )
        nuclei = list(sample(measure=measure, failed=plate_illumination.failed_nuclei))
        reasons += [reading.error for reading in nuclei]
        illuminations = {
            name: plate_illumination.confronted(name, by_fields, nuclei, ground_is_lit=background is None)
            for name, by_fields in illuminations.items()
        }
    tries.note(tried, reasons)
    folder = Path(outcome["functions"]).parent
    with outputs.atomic_folder(folder) as part:
        channels_record = plate_illumination.write_functions(illuminations, part)
        record = {
            "channels": channels_record,
            "background": background,
            "warnings": plate_illumination.warnings_of(channels_record),
            "version": plate_illumination.VERSION,
        }
        for name, values in record["channels"].items():
            log.info("%s: channel %s: %s", label, name, plate_illumination.describe(values).replace("\n", "; "))
        for warning in record["warnings"]:
            log.warning("%s: %s", label, warning)
        draw = functools.partial(plate_illumination.draw, record, part, title=f"plate {plate}: illumination")
        figures.write(draw, outcome["illumination"], colours=64)
        outputs.write_json(record, part / "functions.json")


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            images=snakemake.params.images,
            copies=dict(zip(snakemake.params.urls, snakemake.input.fetched, strict=True)),
            outcome=dict(snakemake.output.items()),
            plate=snakemake.wildcards.plate,
            channel=snakemake.params.channel,
            z=snakemake.params.z,
            nuclei_channel=snakemake.params.nuclei_channel,
            measured=snakemake.params.channels,
            background=snakemake.params.background,
            pool=snakemake.config["pool"],
            workers=within_bounds(snakemake.threads, memory_mb=snakemake.resources.get("mem_mb")),
            tried=snakemake.params.tried,
        )
