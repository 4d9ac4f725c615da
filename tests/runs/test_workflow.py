"""The workflow as a whole: what it plans, what it makes, when it makes it again."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tifffile
import zarr

from fieldwork.planning.plates import PROFILES, SCREEN
from fieldwork.surroundings.checkout import commit_of
from workspace import GUID, REPOSITORY

WELLS = [f"{row}{column:02}" for row in "BCDEFG" for column in range(2, 12)]
FAMILIES = ("Week1_150607_{}_s{}_w1", "{}_s{}_w1", "Week7_7__{}_s{}_w1", "Week8_4sites_{}_s{}_w1")


@pytest.fixture
def clone(workspace):
    """A copy of the project as a user gets it, without what runs left here."""
    ignore = shutil.ignore_patterns(".git", ".venv", "results", "resources", "logs", "benchmarks", ".snakemake")
    shutil.copytree(REPOSITORY, workspace.path / "clone", ignore=ignore)
    return workspace.path / "clone"


def snakemake(clone, *arguments):
    """Run Snakemake in a clone, and return what was printed."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    done = subprocess.run(command, cwd=clone, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_in_a_fresh_clone_the_default_is_the_demo_which_finds_what_was_planted(clone):
    assert re.search(r"^synthesize_demo +1$", snakemake(clone, "--dry-run"), re.MULTILINE)
    assert "Plates: 1 of 1 done. Fields: 64, of which 0 failed" in snakemake(clone)
    assert "Nothing to be done" in snakemake(clone, "--dry-run")
    scores = {
        "results/demo/score.txt": 97,
        "results/demo/cells_score.txt": 91,
    }  # the second: real fields, people's outlines
    snakemake(clone, "--configfile", "config/demo/config.yaml", "--", *scores)
    for score, least in scores.items():
        precision, recall = (float(share) for share in re.findall(r"([\d.]+)%", (clone / score).read_text()))
        assert precision > least and recall > least
    wells = pd.read_csv(clone / "results/plates/demo/wells.csv")
    response = wells.groupby("Metadata_concentration_um").Count_Nuclei.mean()
    assert response.iloc[-1] < 0.1 * response.iloc[0]


def test_configuration_files_and_the_command_line_are_merged(workspace):
    workspace.plant()
    (workspace.path / "config/config.yaml").write_text("fan_out: well\nnuclei:\n  sigma: 3\n")
    mine = workspace.path / "mine.yaml"
    mine.write_text("nuclei: {threshold: 500}\n")
    assert workspace.planned("--configfile", str(mine))["detect_nuclei"] == 3
    assert workspace.planned("--configfile", str(mine), "--config", "fan_out=field")["detect_nuclei"] == 6
    mine.write_text("nuclei: {threshhold: 500}\n")
    output = workspace.run("--configfile", str(mine), status=1)
    assert "mine.yaml: unknown key 'nuclei.threshhold'. Did you mean 'threshold'?" in output
    (workspace.path / "config/config.yaml").write_text('fan_out: well\nlayouts:\n  mine: "\\d"\n')
    assert "config/config.yaml, line 3: not valid YAML" in workspace.run(status=1)


def test_fan_out_plans_one_job_a_unit(workspace):
    workspace.plant("P1")
    workspace.plant("P2")
    detected = {"detect_nuclei": 6, "merge_units": 2, "profile_wells": 2, "screen_plates": 1}
    pictures = {"plot_calibration": 2, "plot_plate": 2, "plot_jobs": 1, "plot_screen": 1, "write_summary": 1, "all": 1}
    outlined = {**detected, "calibrate_plate": 2, "join_labels": 2}
    arguments = ("--config", "fan_out=well")
    assert workspace.planned("tables", *arguments) == {**outlined, "tables": 1, "total": 16}
    assert workspace.planned(*arguments) == {**outlined, **pictures, "total": 23}
    assert workspace.planned("preview", *arguments) == {
        **{"calibrate_plate": 2, "plot_calibration": 2, "preview": 1},
        "total": 5,
    }
    arguments = (*arguments, "nuclei={method: peaks}")
    assert workspace.planned("tables", *arguments) == {**detected, "tables": 1, "total": 12}
    assert workspace.planned(*arguments) == {**detected, **pictures, "calibrate_plate": 2, "total": 21}


def test_55_plates_of_all_name_families_give_60_wells_of_4_sites_each(workspace):
    image = np.full((24, 32), 100, np.uint16)
    for number in range(55):
        plate = f"Week{number % 10 + 1}_{22100 + number}"
        folder = workspace.path / "images" / plate
        folder.mkdir(parents=True)
        source = folder / f"{FAMILIES[number % 4].format(WELLS[0], 1)}{GUID}.tif"
        tifffile.imwrite(source, image)
        for well in WELLS:
            for site in range(1, 5):
                path = folder / f"{FAMILIES[number % 4].format(well, site)}{GUID}.tif"
                if path != source:
                    os.link(source, path)
        workspace.add(plate, f"images/{plate}")
    assert workspace.planned()["detect_nuclei"] == 55
    output = workspace.run("tables", "--config", "quality=false", "nuclei={method: peaks}")
    assert "Plates: 55 of 55 done. Fields: 13,200, of which 0 failed. Nuclei: 0." in output
    for folder in (workspace.path / "results" / "plates").iterdir():
        fields = pd.read_csv(folder / "fields.csv")
        assert sorted(fields.Metadata_Well.unique()) == WELLS
        assert fields.groupby("Metadata_Well").Metadata_Site.apply(list).map(lambda sites: sites == [1, 2, 3, 4]).all()
        assert len(pd.read_csv(folder / "wells.csv")) == 60


def test_tables_are_byte_equal_whatever_the_mode_the_fan_out_and_the_cores(workspace):
    files = workspace.plant(wells=("B02", "AA01", "C10"), sites=2)
    tifffile.imwrite(files[0], np.stack([tifffile.imread(files[1])] * 2))  # a file of two planes: of another shape
    files[3].write_bytes(b"")
    runs = [
        (2, "engine=pool", "mode=paths", "plate"),
        (1, "engine=serial", "mode=paths", "plate"),
        (2, "engine=pool", "mode=fork", "well"),
        (1, "engine=pool", "mode=fork", "plate"),
        (2, "engine=pool", "mode=paths", "field"),
    ]
    made, moments = [], []
    for number, (cores, engine, mode, fan_out) in enumerate(runs):
        pool = "{" + engine.replace("=", ": ") + ", " + mode.replace("=", ": ") + "}"
        config = (f"pool={pool}", f"fan_out={fan_out}", f"results=run{number}", "max_failed_fields=0.5")
        workspace.run("tables", "--config", *config, cores=cores)
        folder = workspace.path / f"run{number}/plates/P1"
        others = [*folder.glob("*.json"), *(folder / "labels.zarr").rglob("*")]
        others = {path.relative_to(folder).as_posix(): path.read_bytes() for path in others if path.is_file()}
        settings = json.loads(others.pop("settings.json"))
        moments.append((settings.pop("machine"), settings.pop("time")))
        others["settings.json"] = settings
        made.append(workspace.tables(f"run{number}") | others)
    tables = ("nuclei.parquet", "fields.csv", "fields.parquet", "wells.csv", "wells.parquet", *PROFILES)
    assert set(made[0]) == {f"plates/P1/{name}" for name in tables} | {f"screen/{name}" for name in SCREEN} | {
        *("calibration.json", "settings.json", "summary.json"),
        *("labels.zarr/zarr.json", "labels.zarr/c/0/0/0"),
    }
    assert all(tables == made[0] for tables in made)
    metadata = pq.read_schema(workspace.path / "run0/plates/P1/nuclei.parquet").metadata
    assert metadata[b"channel"] == b"w1"
    assert metadata.keys() == {b"channel", b"features", b"settings", b"libraries", b"digest"}
    assert json.loads(metadata[b"settings"])["nuclei"]["method"] == "auto"
    assert json.loads(metadata[b"libraries"])["numpy"] == np.__version__
    settings = made[0]["settings.json"]
    assert settings.pop("commit") == commit_of(REPOSITORY)
    assert settings == {
        **{name: json.loads(metadata[name.encode()]) for name in ("settings", "libraries")},
        "digest": metadata[b"digest"].decode(),
    }
    (machine, first), (_, last) = moments[0], moments[-1]
    assert machine["python"] == platform.python_version() and machine["cores"] == os.cpu_count()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", first) and first < last
    assert not any(word in value for value in metadata.values() for word in (b"/", b"pool", b"fork", b"fan_out"))
    fields = pd.read_csv(workspace.path / "run0/plates/P1/fields.csv")
    assert list(fields.Metadata_Well) == ["B02", "B02", "C10", "C10", "AA01", "AA01"]
    assert list(fields.Image_Status) == ["failed", "ok", "ok", "ok", "ok", "failed"]


def test_only_what_changed_is_made_again(workspace):
    files = workspace.plant()
    (workspace.path / "config/config.yaml").write_text("nuclei: {method: peaks}\n")
    arguments = ("--config", "fan_out=well")
    workspace.run(*arguments)
    nothing = workspace.planned(*arguments)
    assert nothing == {}
    files[0].touch()
    assert workspace.planned(*arguments) == {
        **{"detect_nuclei": 1, "merge_units": 1, "calibrate_plate": 1, "plot_calibration": 1},
        **{"profile_wells": 1, "screen_plates": 1, "plot_plate": 1, "plot_jobs": 1, "all": 1},
        **{"plot_screen": 1, "write_summary": 1, "total": 11},
    }
    arguments = ("tables", *arguments)
    workspace.run(*arguments)
    assert workspace.planned(*arguments) == {}
    assert workspace.planned(*arguments, "nuclei={method: peaks, sigma: 3}")["detect_nuclei"] == 3
    assert workspace.planned(*arguments, "pool={engine: serial}") == {}
    os.utime(files[2], (0, 0))  # as if an older file had been copied there with its time
    assert workspace.planned(*arguments)["detect_nuclei"] == 1
    workspace.run(*arguments)
    files[1].unlink()
    assert workspace.planned(*arguments)["detect_nuclei"] == 1
    assert workspace.planned(*arguments, "on_bad_image=stop")["merge_units"] == 1


def test_a_byte_in_the_library_makes_tables_again_and_a_touch_or_a_clone_does_not(workspace, clone):
    workspace.plant()
    arguments = ("--directory", str(workspace.path), "--dry-run", "tables")
    workspace.run("tables")
    assert "Nothing to be done" in snakemake(clone, *arguments)
    for path in clone.rglob("*.py"):
        path.touch()
    for module in ("synthetic", "inputs/layouts"):
        path = clone / f"scripts/fieldwork/{module}.py"
        path.write_text(path.read_text() + "# a comment\n")
    assert "Nothing to be done" in snakemake(clone, *arguments)
    with open(clone / "scripts/fieldwork/nuclei.py", "a") as stream:
        stream.write("# a comment\n")
    assert "detect_nuclei" in snakemake(clone, *arguments)


def test_a_plate_without_nuclei_has_tables_with_the_same_columns(workspace):
    workspace.plant("full")
    workspace.plant("dark", count=0)
    output = workspace.run()
    results = workspace.path / "results/plates"
    full, dark = (pd.read_parquet(results / plate / "nuclei.parquet") for plate in ("full", "dark"))
    assert len(full) and not len(dark)
    schemas = {pq.read_schema(results / plate / "nuclei.parquet").remove_metadata() for plate in ("full", "dark")}
    assert len(schemas) == 1
    headers = {
        (results / plate / name).read_text().split("\n")[0]
        for plate in ("full", "dark")
        for name in ("fields.csv", "wells.csv")
    }
    assert len(headers) == 2
    assert list(pd.read_csv(workspace.path / "results/plates/dark/wells.csv").Count_Nuclei) == [0, 0, 0]
    assert "Nothing to be done" in workspace.run()
    (warning,) = [line for line in output.splitlines() if line.startswith("WARNING plate dark")]
    assert "no nucleus stands out from the noise" in warning


def test_an_image_folder_that_became_empty_does_not_replace_tables(workspace):
    files = workspace.plant()
    workspace.run("tables")
    before = workspace.tables()
    for file in files:
        file.unlink()
    assert "is a drive not mounted?" in workspace.run(status=1)
    assert workspace.tables() == before


def test_a_platemap_is_joined_to_the_wells(workspace):
    workspace.plant()
    (workspace.path / "map.csv").write_text("well,compound\nb2,DMSO\nB3,taxol\nH12,nothing here\n")
    sheet = workspace.path / "config/plates.tsv"
    sheet.write_text("plate\timages\tplatemap\nP1\timages/P1\tmap.csv\n")
    workspace.run("tables")
    wells = pd.read_csv(workspace.path / "results/plates/P1/wells.csv", keep_default_na=False)
    assert dict(zip(wells.Metadata_Well, wells.Metadata_compound, strict=True)) == {
        "B02": "DMSO",
        "B03": "taxol",
        "C02": "",
    }
    log = (workspace.path / "logs/plates/P1/images.log").read_text()
    assert "in the platemap, without images: H12" in log and "with images, not in the platemap: C02" in log


@pytest.mark.parametrize(
    ("sheet", "configuration", "message"),
    [
        ("plate\timages\nP1\timages/Pl\n", [], "line 2: plate 'P1' takes its images from 'images/Pl'"),
        ("plate\timages\nP1\timages/P1\n", ["fan_outt=well"], "unknown key 'fan_outt'. Did you mean 'fan_out'?"),
        ("plate\timages\tnuclei_channel\nP1\timages/P1\tw7\n", [], "w7"),
    ],
)
def test_bad_input_is_one_message_before_any_job(workspace, sheet, configuration, message):
    workspace.plant()
    (workspace.path / "config/plates.tsv").write_text(sheet)
    output = workspace.run(*(["--config", *configuration] if configuration else []), status=1)
    assert message in output
    assert "Select jobs" not in output and not (workspace.path / "results").exists()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("plates/P2/plots/nuclei.png", "plate 'P2' is not in the sheet 'config/plates.tsv'"),
        ("slides/S1/overview.png", "slide 'S1' is not in the sheet 'config/slides.tsv'"),
    ],
)
def test_a_target_of_what_is_not_there_is_one_line(workspace, target, message):
    workspace.plant("P1")
    output = workspace.run(f"results/{target}", status=1)
    assert output.splitlines()[-1] == f"Error: {message}" and "Traceback" not in output


def test_odd_names_of_plates_and_folders_work(workspace):
    folder = workspace.path / "my images (ä) [b]"
    folder.mkdir()
    for source in workspace.plant("Plate 7 (repeat) #2"):
        shutil.copy(source, folder / source.name)
    workspace.add("Zürich+1", folder.name)
    workspace.run()
    one, two = (
        pd.read_parquet(workspace.path / "results/plates" / plate / "nuclei.parquet").drop(columns="Metadata_Plate")
        for plate in ("Plate 7 (repeat) #2", "Zürich+1")
    )
    assert len(one)
    pd.testing.assert_frame_equal(one, two)


def write_slide(path, *, size=600, seed=0):
    """Write a slide of violet blobs on pink tissue on glass, with a pixel size."""
    rng = np.random.default_rng(seed)
    image = np.full((size, size, 3), 244, np.uint8)
    image[100:500, 100:500] = 225, 170, 200
    rows, columns = np.indices((9, 9)) - 4
    for row, column in rng.integers(120, 470, (60, 2)):
        image[row : row + 9, column : column + 9][rows**2 + columns**2 <= 16] = 90, 60, 140
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(
        path,
        image,
        tile=(64, 64),
        photometric="rgb",
        compression="deflate",
        resolution=(20000, 20000),
        resolutionunit=3,
    )


def slide_sheet(workspace, *rows):
    sheet = workspace.path / "config/slides.tsv"
    sheet.parent.mkdir(exist_ok=True)
    sheet.write_text("slide\tpath\tplate\n" + "".join("\t".join(row) + "\n" for row in rows))
    (workspace.path / "config/plates.tsv").write_text("plate\timages\n")


def test_slides_become_stores_and_tables_and_a_broken_one_is_a_failed_row(workspace):
    slides = workspace.path / "slides"
    write_slide(slides / "a b (1) [2] 😐.tif")
    write_slide(slides / "other.tif", seed=1)
    (slides / "broken.svs").write_bytes(b"broken" * 100)
    slide_sheet(
        workspace,
        ("first", "slides/a b (1) [2] 😐.tif", "batch"),
        ("broken", "slides/broken.svs", "batch"),
        ("alone", "slides/other.tif", ""),
    )
    output = workspace.run("tables")
    assert "WARNING plate batch: 1 of 2 slides failed, first broken: no reader can read it" in output
    assert "Slides: 2 of 3 converted" in output
    results = workspace.path / "results"
    batch = pd.read_csv(results / "plates/batch/slides.csv", index_col="Metadata_Slide")
    assert list(batch.index) == ["first", "broken"]
    assert list(batch.Slide_Status) == ["ok", "failed"]
    first = batch.loc["first"]
    nuclei = pd.read_parquet(results / "slides/first/nuclei.parquet")
    tiles = pd.read_parquet(results / "slides/first/tiles.parquet")
    assert first.Count_Nuclei == len(nuclei) == tiles.Tile_Count_Nuclei.sum() > 40
    assert first.Slide_TissueArea_mm2 == pytest.approx(400 * 400 * 0.25e-6, rel=0.05)
    assert first.Nuclei_Per_mm2 == pytest.approx(len(nuclei) / first.Slide_TissueArea_mm2, rel=1e-3)
    assert (nuclei.Nuclei_Location_Center_X_um == nuclei.Nuclei_Location_Center_X * 0.5).all()
    assert pd.isna(batch.loc["broken"].Count_Nuclei)
    assert not (results / "slides/broken/broken.ome.zarr").exists()
    assert not list(results.rglob(".*"))  # neither Snakemake's timestamp nor leftovers
    assert len(pd.read_csv(results / "plates/slides/slides.csv")) == 1
    assert "Nothing to be done" in workspace.run("tables")
    assert workspace.planned("tables", "--config", "slide={nuclei: {sigma_um: 2}}") == {
        "calibrate_slide": 3,
        "detect_slide_nuclei": 3,
        "merge_slides": 2,
        "tables": 1,
        "total": 9,
    }
    assert workspace.planned("tables", "--config", "slide={codec: lz4}")["convert_slide"] == 3
    shutil.rmtree(results / "slides/first/first.ome.zarr")
    assert workspace.planned("tables")["convert_slide"] == 1
    write_slide(slides / "other.tif", seed=2)
    assert workspace.planned("tables")["convert_slide"] == 2
    output = workspace.run("tables", "--config", "on_bad_image=stop", status=1)
    assert "plate batch: 1 of 2 slides failed or have failed tiles, first broken: no reader can read it" in output


def test_a_sheet_of_which_no_slide_is_converted_fails_and_its_table_has_the_reasons(workspace):
    slides = workspace.path / "slides"
    slides.mkdir()
    (slides / "broken.svs").write_bytes(b"broken" * 100)
    slide_sheet(workspace, ("broken", "slides/broken.svs", ""))
    for _ in range(2):  # also where nothing is to be done
        output = workspace.run("tables", status=1)
        assert output.splitlines()[-1].startswith("Error: no slide of the sheet was converted: all 1 failed; ")
        assert "Slides: 0 of 1 converted, 1 failed." in output and "Traceback" not in output
        table = pd.read_csv(workspace.path / "results/plates/slides/slides.csv")
        assert table.Slide_Error[0].startswith("no reader can read it: ")
    assert "Nothing to be done" in output
    write_slide(slides / "good.tif")
    slide_sheet(workspace, ("broken", "slides/broken.svs", ""), ("good", "slides/good.tif", ""))
    assert "Slides: 1 of 2 converted, 1 failed." in workspace.run("tables")


def test_nuclei_of_slides_do_not_depend_on_tiles_and_workers(workspace):
    write_slide(workspace.path / "slides/a.tif")
    slide_sheet(workspace, ("a", "slides/a.tif", "batch"))
    found = set()
    for tile, cores in [(64, 2), (256, 1), (512, 2), (2048, 1)]:
        workspace.run("tables", "--config", f"slide={{tile: {tile}}}", cores=cores)
        found.add((workspace.path / "results/slides/a/nuclei.parquet").read_bytes())
    assert len(found) == 1


def test_a_wrong_slide_is_refused_before_any_job(workspace):
    slide_sheet(workspace, ("a", "slides/nowhere.svs", ""))
    message = "line 2: slide 'a' has the path 'slides/nowhere.svs', which does not exist"
    assert message in workspace.run("--dry-run", status=1)


def test_an_image_of_a_microscope_whose_clock_is_ahead_is_as_good_as_the_others(workspace):
    ahead, platemap = workspace.plant()[0], workspace.path / "map.csv"
    platemap.write_text("well,compound\nB02,DMSO\n")
    (workspace.path / "config/plates.tsv").write_text("plate\timages\tplatemap\nP1\timages/P1\tmap.csv\n")
    (workspace.path / "config/stacks.tsv").write_text("stack\tpath\nS1\tframes.zarr\n")
    zarr.save_array(workspace.path / "frames.zarr", np.ones((3, 20, 30), np.uint8))
    for path in (ahead, platemap, workspace.path / "frames.zarr"):
        os.utime(path, (time.time() + 86_400,) * 2)
    workspace.run("tables")
    assert workspace.planned("tables") == {}
    for path, rule in ((ahead, "detect_nuclei"), (platemap, "merge_units")):
        os.utime(path, (time.time() + 90_000,) * 2)
        assert workspace.planned("tables")[rule] == 1
    assert "DMSO" in (workspace.path / "results/plates/P1/wells.csv").read_text()


def test_a_deleted_table_or_picture_is_made_again(workspace):
    workspace.plant()
    workspace.run()
    for table in ("nuclei.parquet", "fields.csv", "wells.csv", "profiles.csv"):
        path = workspace.path / "results/plates/P1" / table
        before = path.read_bytes()
        path.unlink()
        workspace.run("tables")
        assert path.read_bytes() == before
    workspace.run()
    picture = workspace.path / "results/plates/P1/plots/quality.png"
    before = picture.read_bytes()
    picture.unlink()
    assert workspace.planned() == {"plot_plate": 1, "all": 1, "total": 2}
    workspace.run()
    assert picture.read_bytes() == before
