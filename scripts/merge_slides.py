"""Join the facts and tables of a batch's slides into one row each.

Inputs: slide.json and the tables of every slide. Output: slides.csv.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import logging

from fieldwork import InputError, outputs
from fieldwork.job_log import logged
from fieldwork.slides import tables

log = logging.getLogger(__name__)


def main(*, plate, slides, tiles, nuclei, table, on_bad_image, max_failed):
    rows = [
        tables.slide_row(plate, outputs.read_json(facts), *of_slide, max_failed=max_failed)
        for facts, *of_slide in zip(slides, tiles, nuclei, strict=True)
    ]
    bad = [row for row in rows if row["Slide_Status"] == "failed" or row["Tiles_Failed"]]
    if bad and on_bad_image == "stop":
        raise InputError(
            f"plate {plate}: {len(bad)} of {len(rows)} slides failed or have failed tiles, "
            f"first {bad[0]['Metadata_Slide']}: {bad[0]['Slide_Error'] or 'see its slide.json and tiles.parquet'}. "
            "The run stops at a bad slide because of on_bad_image: stop."
        )
    outputs.write_csv(rows, tables.SLIDE_COLUMNS, table)
    failed = [row for row in rows if row["Slide_Status"] == "failed"]
    for row in failed:
        log.info("failed: %s: %s", row["Metadata_Slide"], row["Slide_Error"])
    if failed:
        log.warning(
            "plate %s: %d of %d slides failed, first %s: %s",
            *(plate, len(failed), len(rows), failed[0]["Metadata_Slide"], failed[0]["Slide_Error"]),
        )
    uncounted = [row["Metadata_Slide"] for row in rows if row["Slide_Status"] == "ok" and row["Count_Nuclei"] is None]
    if uncounted:
        log.warning(
            "plate %s: nuclei of %d of %d slides are not counted, first %s: they could not be measured in more of the "
            "tissue than max_failed_fields allows, %.3g %%; tiles.parquet has the reasons",
            *(plate, len(uncounted), len(rows), uncounted[0], 100 * max_failed),
        )
    log.info("plate %s: %d slides, %d nuclei", plate, len(rows), sum(row["Count_Nuclei"] or 0 for row in rows))


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            plate=snakemake.wildcards.plate,
            slides=snakemake.input.slides,
            tiles=snakemake.input.tiles,
            nuclei=snakemake.input.nuclei,
            table=snakemake.output[0],
            on_bad_image=snakemake.params.on_bad_image,
            max_failed=snakemake.params.max_failed,
        )
