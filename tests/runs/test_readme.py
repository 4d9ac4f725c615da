"""README.md: length and pictures; its commands and its snippet as they stand there, on a plate with known answers."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from fieldwork import synthetic
from workspace import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
TREATMENTS = {"DMSO": ("0", "negative", 20), "taxol": ("0.1", "", 10)}  # dose, control, nuclei of a field
WELLS = {f"{row}{column:02}": treatment for row in "BCDE" for column, treatment in enumerate(TREATMENTS, 2)}
FAILED = "C03"


def blocks(title, language):
    """Return the code of a section of README.md."""
    (section,) = (text for text in re.split("^## ", README, flags=re.MULTILINE) if text.startswith(f"{title}\n"))
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def test_no_line_is_longer_than_120_characters_and_the_page_is_short():
    lines = README.splitlines()
    assert [line for line in lines if len(line) > 120] == []
    assert 80 < len(lines) <= 125


def test_its_pictures_are_there_and_small_and_all_are_shown():
    paths = [REPOSITORY / path for path in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)]
    assert len(paths) >= 4 and sorted(paths) == sorted((REPOSITORY / "docs/pictures").iterdir())
    for path in paths:
        assert path.stat().st_size < 300_000
        with Image.open(path) as picture:
            picture.load()
            assert min(picture.size) >= 300


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    """A folder as README.md's /data/screen, after the commands of its five steps."""
    folder = tmp_path_factory.mktemp("screen")
    (folder / "myplate").mkdir()
    rng = np.random.default_rng(3)
    lines = ["well,compound,concentration_um,control"]
    for well, treatment in WELLS.items():
        dose, control, count = TREATMENTS[treatment]
        lines.append(f"{well},{treatment},{dose},{control}")
        for site in (1, 2, 3):
            image, centres = synthetic.plant_field(rng, shape=(256, 320), count=count)
            assert len(centres) == count
            tifffile.imwrite(folder / f"myplate/p_{well}_s{site}_w1.tif", image)
    (folder / f"myplate/p_{FAILED}_s2_w1.tif").write_bytes(b"")
    (folder / "myplate.csv").write_text("\n".join([*lines, ""]))
    (commands,) = blocks("Your own plate, in five steps", "console")
    printed = [run(line.removeprefix("$ "), folder) for line in commands.splitlines() if line.startswith("$ ")]
    return folder, printed


def run(command, folder):
    """Run a command of README.md with a folder in place of /data/screen; return what it printed."""
    if "view.py" in command:
        command += " --help"  # it would serve until Ctrl-C; tests/browser looks at the page
    command = command.replace("/data/screen", str(folder)).replace("--cores all", "--cores 2")
    command = command.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    options = {"cwd": REPOSITORY, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, shell=True, text=True, **options)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_five_steps_run_as_they_stand_there(screen):
    folder, printed = screen
    assert len(printed) == 6 and "detect_nuclei" in printed[3] and "layout metaxpress" in printed[3]
    assert "Plates: 1 of 1 done. Fields: 24, of which 1 failed. Nuclei: 350." in printed[4]
    assert printed[2].splitlines()[0] == "well,compound,concentration_um,control"


def test_the_preview_command_runs(screen):
    folder, _ = screen
    (command,) = re.findall(r"`(\S*snakemake [^`]* preview)`", README)
    (values,) = re.findall(r"`preview (--config [^`]*)`", README)
    run(f"{command} {values}", folder)
    assert (folder / "results/plates/myplate/calibration.png").stat().st_size > 10_000


def test_the_report_is_one_page_in_the_folder(screen):
    folder, _ = screen
    (command,) = re.findall(r"`(\S*snakemake [^`]* --report results/report.html)`", README)
    run(command, folder)
    assert b"myplate" in (folder / "results/report.html").read_bytes()


def test_the_snippet_answers_its_three_questions(screen, monkeypatch):
    folder, _ = screen
    monkeypatch.chdir(folder)
    (code,) = blocks("What you get", "python")
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["left"].to_dict() == {("DMSO", 0.0): 100.0, ("taxol", 0.1): 50.0}
    assert names["doubtful"].Metadata_Well.tolist() == [FAILED]
    areas = {treatment: [] for treatment in TREATMENTS}
    for well, area in zip(names["nuclei"].Metadata_Well, names["nuclei"].Nuclei_AreaShape_Area, strict=True):
        areas[WELLS[well]].append(area)
    assert names["sizes"].to_dict() == {treatment: np.median(values) for treatment, values in areas.items()}
    assert len(areas["DMSO"]) == 240 and isinstance(names["sizes"], pd.Series)
