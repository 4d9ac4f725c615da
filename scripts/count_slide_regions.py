"""Count the nuclei in the regions of a slide.

Inputs: slide.json, the tables of nuclei and tiles, QuPath's annotations. Output: regions.csv, one row per region.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import logging

from fieldwork import outputs
from fieldwork.job_log import logged
from fieldwork.slides import regions, tables

log = logging.getLogger(__name__)


def main(*, plate, slide, facts, nuclei_table, tiles_table, annotations, table, max_failed):
    facts, rows = outputs.read_json(facts), []
    if facts["status"] == "ok":
        drawn = regions.read(
            annotations, (facts["height"], facts["width"]), facts.get("bounds"), where=f"slide {slide}"
        )
        lost = regions.lost_part(tables.lost_rectangles(facts, tiles_table))
        nuclei = tables.counts_by_region(nuclei_table, lost)
        rows = regions.rows_of(plate, facts, drawn, nuclei, lost=lost, max_failed=max_failed)
    outputs.write_csv(rows, regions.COLUMNS, table)
    for row in rows:
        log.info("region %s: %s nuclei, %s mm2", row["Region"], row["Count_Nuclei"], row["Region_Area_mm2"])
        if row["Region_FailedShare"]:
            outcome = "they are not counted: max_failed_fields" if row["Count_Nuclei"] is None else "max_failed_fields"
            log.warning(
                "slide %s: nuclei in %.3g %% of the region '%s' could not be measured; %s allows %.3g %%",
                *(slide, 100 * row["Region_FailedShare"], row["Region"], outcome, 100 * max_failed),
            )


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            plate=snakemake.params.plate,
            slide=snakemake.wildcards.slide,
            facts=snakemake.input.facts,
            nuclei_table=snakemake.input.nuclei,
            tiles_table=snakemake.input.tiles,
            annotations=snakemake.params.regions,
            table=snakemake.output[0],
            max_failed=snakemake.params.max_failed,
        )
