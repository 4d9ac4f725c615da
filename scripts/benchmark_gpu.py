"""Measure detection on a GPU against one core, on generated fields of plates and tiles of slides.

Outputs: a table with a row for each way, and one of the machine.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import logging

from fieldwork import outputs
from fieldwork.benchmarks import gpu, measuring
from fieldwork.job_log import logged
from fieldwork.slides import tiles
from fieldwork.surroundings.workers import within_bounds

FIELDS = {"count": 2000, "shape": (1024, 1280)}  # of BBBC021
TILES = {"count": 64, "shape": (2048, 2048)}
MPP = 0.5, 0.5  # µm per pixel of such a tile
REPEATS = 3
USUAL_THRESHOLD = 0.05  # of peaks in slides, where the configuration has nuclei outlined

log = logging.getLogger(__name__)


def main(*, detection, slide_detection, workers, ways_table, machine_table):
    threshold = slide_detection["haematoxylin"]
    threshold = USUAL_THRESHOLD if threshold == "auto" else threshold
    in_slides = tiles.detection_px({**slide_detection, "threshold": threshold}, MPP)
    rows = [
        *gpu.compare_devices("fields", **FIELDS, detection=detection, workers=workers, repeats=REPEATS),
        *gpu.compare_devices("tiles", **TILES, detection=in_slides, workers=workers, repeats=REPEATS),
    ]
    for row in rows:
        log.info("%s", row)
    outputs.write_csv(rows, list(rows[0]), ways_table)
    machine = measuring.machine()
    outputs.write_csv([machine], list(machine), machine_table)


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            detection=snakemake.params.detection,
            slide_detection=snakemake.params.slide_detection,
            workers=within_bounds(snakemake.threads, memory_mb=snakemake.resources.get("mem_mb")),
            ways_table=snakemake.output.gpu,
            machine_table=snakemake.output.machine,
        )
