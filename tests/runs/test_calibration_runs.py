"""Calibrations through the whole workflow: what waits for them, what makes them again, what a run says of them."""

import json
import os
import shutil

import pandas as pd
import tifffile

WARNING = "its brightest peaks"


def sheet(workspace, *rows, columns=("plate", "images")):
    lines = ["\t".join(row) for row in (columns, *rows)]
    (workspace.path / "config/plates.tsv").write_text("\n".join([*lines, ""]))


def calibration(workspace, plate="P1"):
    return json.loads((workspace.path / f"results/plates/{plate}/calibration.json").read_text())


def test_a_preview_calibrates_every_plate_by_its_sample_and_runs_none(workspace):
    workspace.plant("P1")
    workspace.plant("P2", count=7, seed=3)
    sheet(
        workspace,
        ("P1", "images/P1", "", ""),
        ("P2", "images/P2", "peaks", "9000"),
        columns=("plate", "images", "method", "threshold"),
    )
    output = workspace.run("preview")
    results = workspace.path / "results/plates"
    assert sorted(path.relative_to(results).as_posix() for path in results.rglob("*.*")) == [
        f"{plate}/calibration.{kind}" for plate in ("P1", "P2") for kind in ("json", "png")
    ]
    assert "plate P1: median 5 nuclei a field (5 to 5 in 6 fields of its sample), typically" in output
    assert "plate P2: median 0 nuclei a field" in output and "set threshold, sigma or min_distance" in output
    (warning,) = [line for line in output.splitlines() if line.startswith("WARNING plate P2")]
    assert f"{WARNING} (" in warning and "a threshold of " in warning
    again = workspace.run("preview")
    assert "Nothing to be done" in again and warning in again and "plate P1: median 5 nuclei a field" in again


def test_tables_of_peaks_need_no_calibration_and_say_when_one_would_help(workspace):
    workspace.plant()
    (workspace.path / "config/config.yaml").write_text("nuclei: {threshold: 50000}\n")
    output = workspace.run("tables")
    assert not (workspace.path / "results/plates/P1/calibration.json").exists()
    (warning,) = [line for line in output.splitlines() if line.startswith("WARNING")]
    assert WARNING in warning and "`snakemake --cores N preview` measures the threshold that would fit" in warning
    assert warning in workspace.run("tables")
    assert workspace.run("tables", "--dag").rstrip().endswith("}"), "more than the graph, which dot reads"
    before = workspace.tables()
    pictures = {"plot_calibration": 1, "plot_plate": 1, "plot_jobs": 1, "plot_screen": 1, "write_summary": 1}
    assert workspace.planned() == {"calibrate_plate": 1, **pictures, "all": 1, "total": 7}
    output = workspace.run("preview")
    contrast = calibration(workspace)["contrast"]
    assert f"its typical nucleus is {contrast:g} above the background (calibration.json)" in output
    assert workspace.planned("tables") == {} and workspace.tables() == before


def test_a_changed_image_of_the_sample_makes_its_plate_again_and_another_one_its_unit(workspace):
    wells = [f"{row}{column:02}" for row in "BC" for column in range(1, 12)]
    files = workspace.plant(wells=wells, sites=5, shape=(48, 64), count=1)  # 110 images
    for file in files[4:]:
        shutil.copyfile(files[0], file)
    arguments = ("tables", "--config", "fan_out=well", "quality=false")
    workspace.run(*arguments)
    record = calibration(workspace)
    assert len(record["fields"]) == 24 and len({field["well"] for field in record["fields"]}) == 22
    assert workspace.planned(*arguments) == {}
    units = {"merge_units": 1, "join_labels": 1, "profile_wells": 1, "screen_plates": 1, "tables": 1}
    planned = []
    for file in files:
        status = os.stat(file)
        os.utime(file, (0, 0))
        planned.append(workspace.planned(*arguments) if file in (files[0], *files[-3:]) else None)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    kinds = [jobs for jobs in planned if jobs]
    assert {**units, "calibrate_plate": 1, "detect_nuclei": 22, "total": 28} in kinds
    assert all(jobs.get("detect_nuclei") in (1, 22) for jobs in kinds)
    assert workspace.planned(*arguments, "nuclei={contrast: 900}")["calibrate_plate"] == 1


def test_a_plate_takes_the_values_of_another_one_and_follows_them(workspace):
    workspace.plant("P1")
    for file in workspace.plant("P2", seed=4):
        tifffile.imwrite(file, tifffile.imread(file) // 3)
    sheet(workspace, ("P1", "images/P1", ""), ("P2", "images/P2", "P1"), columns=("plate", "images", "calibrate_with"))
    workspace.run("tables")
    own, taken = calibration(workspace), calibration(workspace, "P2")
    assert all(own[name] == taken[name] for name in ("diameter", "contrast", "noise"))
    assert taken["settings"]["calibrate_with"] == "P1"
    assert max(field["contrast"] for field in taken["fields"]) < own["contrast"] / 2
    workspace.run("tables", "--config", "nuclei={diameter: 20}")
    assert calibration(workspace, "P2")["diameter"] == 20


def test_where_no_image_can_be_read_every_field_has_its_row_and_the_run_says_so(workspace):
    for file in workspace.plant():
        file.write_bytes(b"no image")
    arguments = ("tables", "--config", "max_failed_fields=1")
    output = workspace.run(*arguments)
    (warning,) = [line for line in output.splitlines() if line.startswith("WARNING plate P1")]
    assert "none of the 6 fields of its sample can be read; first images/P1/" in warning
    assert warning in workspace.run(*arguments)
    wells = pd.read_csv(workspace.path / "results/plates/P1/wells.csv")
    assert list(wells.Fields_Failed) == [2, 2, 2] and wells.Count_Nuclei.isna().all()
