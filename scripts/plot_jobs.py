"""Draw the time and the memory of the jobs that made the tables, by rule.

Inputs: the tables, which must be complete first; Snakemake's benchmarks. Output: a picture.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import csv
from contextlib import suppress
from pathlib import Path

from fieldwork import figures, job_times
from fieldwork.job_log import logged

# The jobs of other rules may not be done yet.
TABLE_RULES = {
    "detect_nuclei",
    "merge_units",
    "filter_images",
    "convert_slide",
    "detect_slide_nuclei",
    "merge_slides",
    "measure_frames",
}


def main(*, benchmarks, picture):
    rows = [
        row for path in sorted(Path(benchmarks).rglob("*.tsv")) for row in jobs_in(path) if row["Rule"] in TABLE_RULES
    ]
    figures.write(lambda: job_times.jobs(rows), picture)


def jobs_in(path):
    """Yield what Snakemake measured of a job: nothing if it took no time or is still at work."""
    rule = "detect_nuclei" if path.parent.name == "units" else path.stem
    with open(path, encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            with suppress(TypeError, ValueError):
                yield {"Rule": rule, "Seconds": float(row["s"]), "Memory_MB": float(row["max_rss"])}


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(benchmarks=snakemake.params.benchmarks, picture=snakemake.output[0])
