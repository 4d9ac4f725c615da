"""Count the nuclei in the regions of a slide.

Inputs: slide.json, the table of nuclei, QuPath's annotations. Output: regions.csv, one row per region.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import logging

from fieldwork import outputs
from fieldwork.job_log import logged
from fieldwork.slides import regions, tables

log = logging.getLogger(__name__)


def main(*, plate, slide, facts, nuclei_table, annotations, table):
    facts, rows = outputs.read_json(facts), []
    if facts["status"] == "ok":
        drawn = regions.read(
            annotations, (facts["height"], facts["width"]), facts.get("bounds"), where=f"slide {slide}"
        )
        rows = regions.rows_of(plate, facts, drawn, tables.counts_by_region(nuclei_table))
    outputs.write_csv(rows, regions.COLUMNS, table)
    for row in rows:
        log.info("region %s: %d nuclei, %s mm2", row["Region"], row["Count_Nuclei"], row["Region_Area_mm2"])


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            plate=snakemake.params.plate,
            slide=snakemake.wildcards.slide,
            facts=snakemake.input.facts,
            nuclei_table=snakemake.input.nuclei,
            annotations=snakemake.params.regions,
            table=snakemake.output[0],
        )
