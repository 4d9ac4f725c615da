"""Measure detection on a GPU against one core, on generated fields.

Output: a table with a row for each way.
"""

import logging

from fieldwork import devices, outputs
from fieldwork.journal import job_log

FIELDS = 2000
SHAPE = 1024, 1280  # of BBBC021
REPEATS = 3

log = logging.getLogger(__name__)


def main(*, detection, workers, table):
    rows = devices.measure(count=FIELDS, shape=SHAPE, detection=detection, workers=workers, repeats=REPEATS)
    for row in rows:
        log.info("%s", row)
    outputs.write_csv(rows, list(rows[0]), table)


if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        main(detection=snakemake.params.detection, workers=snakemake.threads, table=snakemake.output[0])
