"""The pages of the site: their commands run as they stand there, in a clone and in folders that have what they name."""

import re
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from fieldwork import synthetic
from pages import COMMANDS, is_command, of_page, pages_to_run
from slide_files import picture, write_slide
from workspace import GUID, REPOSITORY

SHEET = "plate\timages\nmyplate\t/data/screen/myplate\n"
WELLS = ("B02", "B03", "C02", "C03")
# Of each page, what its commands make, below /data or the clone.
MADE = {
    "config/README.md": [],
    "docs/api.md": [],
    "docs/filters.md": ["data/screen/results/plates/myplate/filtered/filtered.csv"],
    "docs/getting_started.md": [
        "data/screen/results/report.html",
        "data/screen/results/plates/myplate/calibration.png",
    ],
    "docs/module.md": ["data/workflow/treated.csv", "data/workflow/nuclei/results/plates/myplate/wells.csv"],
    "docs/nuclei.md": ["clone/B07.png", "data/screen/results/plates/myplate/calibration.png"],
    "docs/plates.md": ["data/archives/myplate/plate.tif", "data/screen/results/plates/myplate/calibration.png"],
    "docs/screen.md": ["data/campaign/results/screen/hits.csv", "data/campaign/results/screen/plots/doses.png"],
    "docs/slides.md": ["data/slides/results/slides/biopsy 1/biopsy 1.ome.zarr/zarr.json"],
    "docs/stacks.md": ["data/films/results/stacks/film 1/frames.csv"],
    "docs/upgrading.md": [],
}


def name_of(page):
    """Return the path of a page in the repository."""
    return page.relative_to(REPOSITORY).as_posix()


def plant(folder, channels=("w1",)):
    """Write a field of nuclei for every well and channel; the second channel is blurred."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    for well in WELLS:
        image = synthetic.plant_field(rng, shape=(128, 160), count=8)[0]
        for number, channel in enumerate(channels):
            pixels = gaussian_filter(image, 3 * number) + number * 100
            tifffile.imwrite(folder / f"Week1_150607_{well}_s1_{channel}{GUID}.tif", pixels.astype(np.uint16))
    return folder


def write(path, text):
    """Write a text, and the folders above its file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def data(tmp_path):
    """Return the folder that stands for /data, with what the pages say that users have."""
    data = tmp_path / "data"
    plant(data / "screen/myplate")
    write(data / "screen/config/plates.tsv", SHEET.replace("/data/", f"{data}/"))
    for plate in ("P1", "P2"):
        plant(data / "campaign" / plate, ("w1", "w2"))
    (data / "films").mkdir()
    film = [synthetic.plant_field(np.random.default_rng(seed), shape=(96, 128), count=5)[0] for seed in range(3)]
    tifffile.imwrite(data / "films/film1.tif", np.stack(film), photometric="minisblack")
    (data / "slides").mkdir()
    write_slide(data / "slides/biopsy1.svs", picture(300, 400))
    write(data / "workflow/config/plates.tsv", f"plate\timages\tplatemap\nmyplate\t{data}/screen/myplate\tmap.csv\n")
    write(data / "workflow/map.csv", "well,compound\nB02,DMSO\nB03,taxol\nC02,taxol\nC03,taxol\n")
    archive = data / "archives/plate.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(next((data / "screen/myplate").iterdir()), "plate.tif")
    write(data / "archives/config/plates.tsv", f"plate\timages\turl\nmyplate\tmyplate\tfile://{archive}\n")
    return data


@pytest.fixture
def clone(tmp_path):
    """Return a clone whose results are its own; it has the files of the repository, and the packages of the test."""
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("Snakefile", "config", "envs", "profiles", "rules", "scripts"):
        (clone / name).symlink_to(REPOSITORY / name)
    (clone / ".venv").symlink_to(sys.prefix)
    return clone


def run(text, language, folder):
    """Run a block in a folder, check that it ends well, and return what it printed."""
    if language in COMMANDS:
        lines = [line.removeprefix("$ ") for line in text.splitlines()]
        command = ["bash", "-euo", "pipefail", "-c", "\n".join(lines)]
    else:
        command = [sys.executable, "-c", text]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert process.returncode == 0, f"{text}\n{process.stdout}\n{process.stderr}"
    return process.stdout + process.stderr


def directory_of(blocks, number):
    """Return the working directory of the command that follows a file, or else of the last one before it."""
    after, before = ("\n".join(block.text for block in part) for part in (blocks[number:], blocks[:number]))
    named = re.findall(r"(?:--directory |cd )(/data/\w+)", after) or re.findall(r"--directory (/data/\w+)", before)[-1:]
    return named[0]


@pytest.mark.parametrize("page", pages_to_run(), ids=name_of)
def test_the_commands_of_a_page_run_as_they_stand_there(page, data, clone):
    def here(text):
        text = text.replace("--cores all", "--cores 2").replace("/opt/fieldwork", str(clone))
        return text.replace("/data/", f"{data}/")

    if name_of(page) == "docs/nuclei.md":  # its code reads the demo's plate
        demo = ".venv/bin/snakemake --cores 2 --configfile config/demo/config.yaml -- "
        run(f"{demo} results/plates/demo/fields.csv results/plates/demo/labels.zarr/zarr.json", "bash", clone)
    blocks, count = of_page(page), 0
    for number, block in enumerate(blocks):
        if block.is_run and block.file:
            write(data.parent / f"{directory_of(blocks, number)[1:]}/{block.file}", here(block.text))
        elif is_command(block):
            printed = run(here(block.text), block.language, clone)
            assert "Traceback" not in printed
            count += 1
    assert count > 0 and [path for path in MADE[name_of(page)] if not (data.parent / path).exists()] == []
    if name_of(page) == "docs/stacks.md":
        assert "level" in pd.read_csv(data / "films/results/stacks/film 1/frames.csv")  # of the page's own function


def test_pages_with_commands_are_found():
    assert {name_of(page) for page in pages_to_run()} == MADE.keys()
