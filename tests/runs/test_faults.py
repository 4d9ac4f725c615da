"""What goes wrong in practice: bad images, killed workers, killed runs, two runs in one folder."""

import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import tifffile

from workspace import wait_for

WELLS = [f"{row}{column:02}" for row in "BCDEFG" for column in range(2, 12)]


def spoil(files):
    """Spoil five images in five ways; give the files' names and what must stand in their rows."""
    whole = files[1].read_bytes()
    files[0].write_bytes(b"")
    files[1].write_bytes(whole[: len(whole) // 2])
    files[2].write_text("not an image")
    colours = np.random.default_rng(0).integers(0, 4000, (3, 96, 128), np.uint16)  # equal ones would be grey
    tifffile.imwrite(files[3], colours, photometric="rgb")
    files[4].unlink()
    files[4].mkdir()
    reasons = ("empty", "truncated", "not a TIFF", "cannot be told", "folder")
    return {file.name: reason for file, reason in zip(files, reasons, strict=False)}


def job_of(process):
    """Find the process of a run's detection job."""
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):  # it may end while it is looked at
            if "detect_nuclei.py" in " ".join(child.cmdline()):
                return child
    return None


def workers_of(process):
    """Find the worker processes of a run's detection job."""
    with suppress(psutil.Error):
        job = job_of(process)
        return job.children() if job else []
    return []


def test_five_bad_images_of_240_are_five_failed_rows(workspace):
    bad = spoil(workspace.plant(wells=WELLS, sites=4)[7:240:50])
    assert len(bad) == 5
    output = workspace.run("tables")
    assert "Fields: 240, of which 5 failed" in output
    fields = pd.read_csv(workspace.path / "results/plates/P1/fields.csv").set_index("FileName_DNA")
    assert len(fields) == 240
    failed = fields[fields.Image_Status == "failed"]
    assert set(failed.index) == set(bad)
    for name, reason in bad.items():
        assert reason in failed.loc[name, "Image_Error"].lower() or reason in failed.loc[name, "Image_Error"]
    good = fields[fields.Image_Status == "ok"]
    assert len(good) == 235 and good.drop(columns=["Image_Error", "Image_Channels_Missing"]).notna().all(axis=None)
    nuclei = pd.read_parquet(workspace.path / "results/plates/P1/nuclei.parquet")
    assert len(nuclei) == good.Image_Count_Nuclei.sum() > 235
    wells = pd.read_csv(workspace.path / "results/plates/P1/wells.csv")
    assert wells.Fields_Total.sum() == 240 and wells.Fields_Failed.sum() == 5


@pytest.mark.parametrize("policy", ["on_bad_image=stop", "max_failed_fields=0.02"])
def test_policies_fail_the_run_with_a_message_that_names_the_image(workspace, policy):
    bad = spoil(workspace.plant(wells=WELLS, sites=1)[:5])
    output = workspace.run("--config", policy, status=1)
    assert policy.replace("=", ": ") in output
    assert next(iter(bad)) in output
    assert not (workspace.path / "results/plates/P1/nuclei.parquet").exists()


def test_another_shape_fails_too_when_the_run_is_to_stop_at_a_bad_image(workspace):
    files = workspace.plant()
    tifffile.imwrite(files[2], np.zeros((50, 60), np.uint16))
    output = workspace.run("--config", "on_bad_image=stop", status=1)
    assert files[2].name in output and "wrong shape or type: found 50 x 60 px" in output


@pytest.mark.parametrize("mode", ["paths", "fork"])
def test_a_killed_worker_ends_the_run_within_seconds_and_names_its_frame(workspace, mode):
    workspace.plant(wells=WELLS, sites=4, shape=(512, 512))
    process = workspace.start("--config", f"pool={{mode: {mode}}}")
    worker = wait_for(lambda: workers_of(process), process)[0]
    worker.send_signal(signal.SIGKILL)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "a worker process was ended by SIGKILL while it worked on images/P1/Week1_150607_" in output
    assert "Traceback" not in output
    assert "Traceback" in (workspace.path / "logs/plates/P1/units/all.log").read_text()


def test_a_run_killed_at_ten_random_moments_goes_on_to_the_same_tables(workspace):
    workspace.plant(wells=WELLS[:12], shape=(256, 256), count=20)
    arguments = ("tables", "--config", "fan_out=well")
    workspace.run(*arguments, "results=whole")
    moments, killed = random.Random(5), 0
    for _ in range(10):
        process = workspace.start(*arguments)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=moments.uniform(0.5, 3))
        killed += process.poll() is None
        process.kill()
        process.communicate()
    assert killed > 5
    workspace.run(*arguments)
    assert workspace.tables() == workspace.tables("whole")
    assert not [path for path in (workspace.path / "results").rglob("*.part")]


@pytest.mark.parametrize("delay", [0, 0.1, 0.3, 1])
def test_a_job_does_not_outlive_its_run_and_write_into_the_next_one(workspace, delay):
    workspace.plant(wells=WELLS, sites=4, shape=(512, 512))  # some 4 s of work
    process = workspace.start("--config", "nuclei={sigma: 25}", "pool={engine: serial}", cores=1)
    job = wait_for(lambda: job_of(process), process)
    time.sleep(delay)
    assert process.poll() is None
    process.kill()
    process.communicate()
    job.wait(timeout=4)  # of which its interpreter may take two to come to Fieldwork's first line
    assert not list((workspace.path / "results").rglob("*.parquet"))


def test_a_second_run_in_the_same_folder_is_refused(workspace):
    workspace.plant()
    process = workspace.start("tables")
    wait_for(lambda: job_of(process), process)
    process.send_signal(signal.SIGSTOP)  # so that it is at work for as long as it takes to start others
    for other in ([], ["--config", "results=other"]):
        output = workspace.run(*other, status=1)
        assert f"another run (process {process.pid}) is at work" in output
    process.send_signal(signal.SIGCONT)
    assert process.wait(timeout=120) == 0, process.communicate()[0]


def test_a_broken_link_is_a_failed_row(workspace):
    files = workspace.plant(wells=WELLS[:30], sites=1)
    files[3].unlink()
    files[3].symlink_to(Path("nowhere"))
    workspace.run("tables")
    fields = pd.read_csv(workspace.path / "results/plates/P1/fields.csv").set_index("FileName_DNA")
    assert fields.loc[files[3].name, "Image_Status"] == "failed" and len(fields) == 30


OWN = """
from pathlib import Path

from skimage.measure import label


def find(image, *, path):
    for line in Path("away.txt").read_text().splitlines():
        measured, gone = line.split()
        if Path(measured) == Path(path).absolute():
            Path(gone).rename(f"{gone}.away")
    return label(image > 2000)
"""


def test_images_that_are_away_in_the_middle_are_rows_that_the_next_run_tries_again(workspace):
    files = workspace.plant()
    folder = workspace.path / "frames"
    folder.mkdir()
    frames = [folder / f"{number}.tif" for number in range(3)]
    for file, frame in zip(files, frames, strict=False):
        frame.write_bytes(file.read_bytes())
    (workspace.path / "config/stacks.tsv").write_text("stack\tpath\nS\tframes\n")
    (workspace.path / "config/own.py").write_text(OWN)
    settings = ["nuclei: {method: own.find}", "pool: {engine: serial}", "fan_out: well", "max_failed_fields: 1.0"]
    (workspace.path / "config/config.yaml").write_text("\n".join(settings))
    results = workspace.path / "results"
    units = {well: results / f"plates/P1/units/{well}.parquet" for well in ("B02", "C02")}
    away = [files[-1], frames[-1]]  # gone while the image before is measured
    (workspace.path / "away.txt").write_text(f"{files[-2]} {files[-1]}\n{frames[0]} {frames[-1]}\n")
    workspace.run("tables", cores=1)
    fields, measured = pd.read_csv(results / "plates/P1/fields.csv"), pd.read_csv(results / "stacks/S/frames.csv")
    assert fields.Image_Status.tolist() == ["ok"] * 5 + ["failed"]
    assert fields.Image_Error[5] == "not read: No such file or directory"
    assert measured.Image_Error.dropna().tolist() == ["not read: 2.tif: No such file or directory"]
    before = {well: table.stat().st_mtime_ns for well, table in units.items()}

    (workspace.path / "away.txt").write_text("")
    for file in away:
        Path(f"{file}.away").rename(file)
    workspace.run("tables", cores=1)
    fields, measured = pd.read_csv(results / "plates/P1/fields.csv"), pd.read_csv(results / "stacks/S/frames.csv")
    assert {*fields.Image_Status, *measured.Image_Status} == {"ok"}
    assert (fields.Image_Count_Nuclei > 0).all() and len(measured) == 3
    assert {well for well, table in units.items() if table.stat().st_mtime_ns != before[well]} == {"C02"}
    assert workspace.planned("tables", cores=1) == {}
