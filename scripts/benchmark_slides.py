"""Measure ways to load a slide: the first slide that can be read.

Inputs: slides. Outputs: a table of ways, and one of the machine.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import logging
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fieldwork import InputError, outputs
from fieldwork.benchmarks import measuring, slide_loading
from fieldwork.job_log import logged
from fieldwork.surroundings.workers import within_bounds

N_REPEATS = 3

log = logging.getLogger(__name__)


def main(*, paths, workers, with_gpu, ways_table, machine_table, repeats=N_REPEATS):
    parent = Path(ways_table).parent  # on the disk that conversions write to
    for leftover in parent.glob(".slides.*"):  # of a run that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".slides.", dir=parent) as folder:
        for path in paths:
            source, readers = slide_loading.open_source(path, workers=workers, folder=folder, with_gpu=with_gpu)
            if readers:
                break
        else:
            raise InputError(f"of {len(paths)} slides none can be read: there is nothing to measure")
        cases = slide_loading.list_cases(readers, levels=len(source.regions), workers=workers)
        log.info("%s: %s, %d cases", path, " ".join(readers), len(cases))
        ways = slide_loading.measure(cases, source, repeats=repeats)
    if all(row["Error"] for row in ways):
        raise InputError(f"{path}: every way of loading failed; first: {ways[0]['Error']}")
    packages = ["zarr", "zarrs", *(slide_loading.READER_PACKAGES[reader] for reader in readers)]
    machine = measuring.machine() | versions(packages)
    outputs.write_csv(ways, list(ways[0]), ways_table)
    outputs.write_csv([machine], list(machine), machine_table)


def versions(packages):
    """Return package -> version."""
    known = {}
    for package in packages:
        try:
            known[package] = version(package)
        except PackageNotFoundError:  # a cuCIM for another CUDA, or a system's OpenSlide
            known[package] = "unknown"
    return known


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            paths=list(snakemake.input),
            workers=within_bounds(snakemake.threads, memory_mb=snakemake.resources.get("mem_mb")),
            with_gpu=snakemake.resources.gpu,
            ways_table=snakemake.output.slides,
            machine_table=snakemake.output.machine,
        )
