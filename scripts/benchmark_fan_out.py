"""Run the workflow on a few fields with every fan-out, and measure the time per field.

Inputs: images of the nuclei channel. Output: a table with a row for every fan-out.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

from fieldwork import outputs
from fieldwork.inputs.paths import is_url
from fieldwork.job_log import logged
from fieldwork.parallel.progress import progress_bar
from fieldwork.surroundings import temporary

FAN_OUTS = ("plate", "well", "field")

log = logging.getLogger(__name__)


def main(*, plate, images, channel, settings, snakefile, cores, table):
    """Run every fan-out once in a temporary folder.

    `images`: (well, site, time point, z plane, path); `settings`: the configuration, without its sheets and folders.
    """
    rows = []
    with temporary.temporary_folder() as folder:
        listed = [
            {
                f"FileName_{channel}": os.path.basename(path),
                f"PathName_{channel}": os.path.dirname(path if is_url(path) else os.path.abspath(path)),
                "Metadata_Well": well,
                "Metadata_Site": site,
                "Metadata_Timepoint": timepoint,
                "Metadata_ZPlane": z,
            }
            for well, site, timepoint, z, path in images
        ]
        outputs.write_csv(listed, list(listed[0]), Path(folder, "images.csv"))
        Path(folder, "plates.tsv").write_text(
            f"plate\timages\tnuclei_channel\nbenchmark\timages.csv\t{channel}\n", encoding="utf-8"
        )
        # A bad image does not stop the runs: it takes time as any other.
        settings = {**settings, "plates": "plates.tsv", "on_bad_image": "record", "max_failed_fields": 1}
        outputs.write_json(settings, Path(folder, "config.json"))
        for fan_out in progress_bar(FAN_OUTS, total=len(FAN_OUTS), progress="fan-out", unit="run"):
            command = [sys.executable, "-m", "snakemake", "--snakefile", snakefile, "--directory", folder]
            command += ["--configfile", str(Path(folder, "config.json")), "--cores", str(cores)]
            start = time.perf_counter()
            done = subprocess.run(
                [*command, "--config", f"fan_out={fan_out}", f"results={fan_out}", "--", "tables"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                preexec_fn=processes.die_with_parent,  # no orphan works on where this run is killed
            )
            seconds = time.perf_counter() - start
            log.info("%s", done.stdout)
            done.check_returncode()
            jobs = len(list(Path(folder, fan_out, "plates/benchmark/units").glob("*.fields.parquet")))
            rows.append(
                {
                    "Metadata_Plate": plate,
                    "Fan_Out": fan_out,
                    "Jobs": jobs,
                    "Fields": len(images),
                    "Cores": cores,
                    "Seconds": round(seconds, 2),
                    "Seconds_per_Field": round(seconds / len(images), 4),
                }
            )
    outputs.write_csv(rows, list(rows[0]), table)


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            plate=snakemake.params.plate,
            images=snakemake.params.images,
            channel=snakemake.params.channel,
            settings=snakemake.params.settings,
            snakefile=snakemake.params.snakefile,
            cores=snakemake.threads,
            table=snakemake.output.fan_out,
        )
