"""Write a plate as OME-Zarr.

Inputs: the plate's images of all channels, its tables, its label images, if it has some. Output: a summary of the
store, which appears beside it.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import logging
import os

from fieldwork import outputs
from fieldwork.inputs import layouts
from fieldwork.job_log import logged
from fieldwork.plates import store as plate_store
from fieldwork.surroundings import tries
from fieldwork.surroundings.workers import within_bounds

log = logging.getLogger(__name__)


def main(*, images, copies, store, summary, plate, tried=None, **arguments):
    images = [layouts.Image(*image) for image in images]
    images = [image._replace(copy=copies.get(image.path)) for image in images]
    facts = plate_store.write(images, store, plate=plate, progress=plate, **arguments)
    tries.note(tried, [entry["error"] for entry in facts["failed"]])
    for entry in facts["failed"]:
        log.info("failed: %s (well %s, site %d): %s", entry["path"], entry["well"], entry["site"], entry["error"])
    for entry in facts["missing"]:
        log.info("missing: %s", ", ".join(f"{key} {value}" for key, value in entry.items() if value is not None))
    for state in ("failed", "missing"):
        if facts[state]:
            log.warning("plate %s: %d images are 0 in the store as they are %s", plate, len(facts[state]), state)
    log.info("plate %s: %d fields, %d channels", plate, len(facts["fields"]), len(facts["channels"]))
    outputs.write_json(facts, summary)


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            images=snakemake.params.images,
            copies=dict(zip(snakemake.params.urls, snakemake.input.fetched, strict=True)),
            store=snakemake.params.store,
            summary=snakemake.output[0],
            plate=snakemake.wildcards.plate,
            channel=snakemake.params.channel,
            nuclei=snakemake.input.nuclei,
            fields=snakemake.input.fields,
            labels=next(map(os.path.dirname, snakemake.input.get("labels", [])), None),
            sigma=snakemake.params.sigma,
            settings=snakemake.params.settings,
            on_bad_image=snakemake.params.on_bad_image,
            workers=within_bounds(snakemake.threads, memory_mb=snakemake.resources.get("mem_mb"), worker_mb=200),
            tried=snakemake.params.tried,
        )
