"""Measure ways of finding nuclei on one plate's images.

Inputs: images of the nuclei channel. Outputs: a table of methods, one of numbers of workers, and one of the machine.
"""

from fieldwork import benchmarks, tables
from fieldwork.journal import job_log

REPEATS = 3


def main(*, images, workers, methods_table, scaling_table, machine_table):
    cases = [
        (method, detector, workers if "Pool" in method or "s, p" in method or "fork" in method else 1)
        for method in benchmarks.METHODS
        for detector in benchmarks.DETECTORS
    ]
    methods = benchmarks.compare(cases, images, repeats=REPEATS)
    counts = sorted({2**power for power in range(workers.bit_length())} | {workers})
    scaling = benchmarks.compare(
        [("map_frames, paths", "Fieldwork", count) for count in counts], images, repeats=REPEATS
    )
    machine = benchmarks.machine()
    tables.write_csv(methods, list(methods[0]), methods_table)
    tables.write_csv(scaling, list(scaling[0]), scaling_table)
    tables.write_csv([machine], list(machine), machine_table)


if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        main(
            images=list(snakemake.input),
            workers=snakemake.threads,
            methods_table=snakemake.output.methods,
            scaling_table=snakemake.output.scaling,
            machine_table=snakemake.output.machine,
        )
