"""Measure ways to work through many frames: batches of images to filter, and a stack in which to find nuclei.

Inputs: none; images are generated. Outputs: a table of batches, one of the stack, and one of the machine.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import logging
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

from fieldwork import outputs
from fieldwork.benchmarks import engines, measuring
from fieldwork.job_log import logged
from fieldwork.surroundings.workers import within_bounds

N_REPEATS = 3

log = logging.getLogger(__name__)


def main(*, batches, stack, workers, filters_table, stack_table, machine_table, repeats=N_REPEATS):
    parent = Path(filters_table).parent  # on the disk that filtered images are written to
    for leftover in parent.glob(".frames.*"):  # of a run that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    filtered = []
    with tempfile.TemporaryDirectory(prefix=".frames.", dir=parent) as folder:
        for batch in batches:
            log.info("%d images of %d x %d", *batch[:3])
            filtered += engines.measure_filters(batch, workers=workers, folder=folder, repeats=repeats)
        log.info("a stack of %d frames of %d x %d", *stack[:3])
        measured = engines.measure_stack(stack, workers=workers, folder=folder, repeats=repeats)
    machine = measuring.machine() | {package: version(package) for package in ("dask", "distributed")}
    outputs.write_csv(filtered, list(filtered[0]), filters_table)
    outputs.write_csv(measured, list(measured[0]), stack_table)
    outputs.write_csv([machine], list(machine), machine_table)


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        batches, stack = engines.choose_batches(os.cpu_count())
        main(
            batches=batches,
            stack=stack,
            workers=within_bounds(snakemake.threads, memory_mb=snakemake.resources.get("mem_mb")),
            filters_table=snakemake.output.filters,
            stack_table=snakemake.output.stack,
            machine_table=snakemake.output.machine,
        )
