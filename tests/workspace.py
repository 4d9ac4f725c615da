"""Where tests find the repository and real data, and folders in which they run the workflow as a user would."""

import itertools
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile

from fieldwork import synthetic

REPOSITORY = Path(__file__).parents[1]
SCRIPTS = REPOSITORY / "scripts"
DATA = Path(os.environ.get("FIELDWORK_TEST_DATA", REPOSITORY.parent / "shared" / "data"))  # real images, where they are
GUID = "E94C24BD-45E4-450A-9919-257C714278F7"


class Workspace(NamedTuple):
    """A working directory with sheets and images, and ways to run the workflow in it."""

    path: Path

    def plant(self, plate="P1", *, wells=("B02", "B03", "C02"), sites=2, shape=(96, 128), count=5, seed=0):
        """Write one plate of planted nuclei under BBBC021's names and add it to the sheet; return its image files."""
        folder = self.path / "images" / plate
        folder.mkdir(parents=True)
        rng = np.random.default_rng(seed)
        files = []
        for well in wells:
            for site in range(1, sites + 1):
                files.append(folder / f"Week1_150607_{well}_s{site}_w1{GUID}.tif")
                tifffile.imwrite(files[-1], synthetic.plant_field(rng, shape=shape, count=count)[0])
        self.add(plate, f"images/{plate}")
        return files

    def add(self, plate, images):
        """Add a row to the sheet of plates."""
        sheet = self.path / "config" / "plates.tsv"
        sheet.parent.mkdir(exist_ok=True)
        rows = sheet.read_text() if sheet.exists() else "plate\timages\n"
        sheet.write_text(f"{rows}{plate}\t{images}\n")

    def command(self, *arguments, cores=2):
        """Return the command line of a run."""
        start = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
        return [*start, "--directory", str(self.path), "--cores", str(cores), *arguments]

    def start(self, *arguments, cores=2):
        """Start a run and return its process."""
        command = self.command(*arguments, cores=cores)
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, *arguments, cores=2, status=0):
        """Run to the end, check the exit status, and return what was printed."""
        process = self.start(*arguments, cores=cores)
        output, _ = process.communicate(timeout=600)
        assert process.returncode == status, output
        assert "Traceback" not in output
        return output

    def planned(self, *arguments, cores=2):
        """Dry-run, and return the number of jobs of each rule."""
        output = self.run("--dry-run", *arguments, cores=cores)
        table = output.rpartition("Job stats:")[2]
        return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}

    def tables(self, results="results"):
        """Return the bytes of the tables of every plate, and of those of all plates."""
        matches = [(self.path / results).glob(pattern) for pattern in ("plates/*/*", "screen/*")]
        paths = [path for path in itertools.chain(*matches) if path.suffix in (".parquet", ".csv")]
        return {path.relative_to(self.path / results).as_posix(): path.read_bytes() for path in paths}


def wait_for(condition, process, seconds=60):
    """Wait until the condition returns something true while the process lives, and return that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError("waited in vain")
