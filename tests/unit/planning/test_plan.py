"""What rules ask a plan, asked without Snakemake, on folders of files without pixels."""

import os
import time
from importlib.metadata import version

import numpy as np
import pytest
import tifffile

from fieldwork import InputError
from fieldwork.gpu import choice
from fieldwork.inputs import methods
from fieldwork.planning import function_checks
from fieldwork.planning import plan as planning
from plans import PlateFolder, Wildcards, plan_in, write_sheets
from workspace import GUID

THREE_WELLS = PlateFolder("P1", wells=("B02", "B03", "C02"))


@pytest.fixture(autouse=True)
def in_the_folder(tmp_path, monkeypatch):
    """Work in the plan's folder, as Snakemake does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FIELDWORK_PLAN_", "")  # what `keep_to_plan` sets is undone
    monkeypatch.delenv("FIELDWORK_PLAN_")


@pytest.mark.parametrize(
    ("fan_out", "units"),
    [
        ("plate", ["all"]),
        ("well", ["B02", "B03", "C02"]),
        ("field", ["B02_s1", "B02_s2", "B03_s1", "B03_s2", "C02_s1", "C02_s2"]),
    ],
)
def test_units_follow_the_fan_out_and_share_out_all_images(tmp_path, fan_out, units):
    write_sheets(tmp_path, plates=[THREE_WELLS])
    plates = plan_in(tmp_path, fan_out=fan_out).plates
    assert plates.units("P1") == units
    rows = [row for unit in units for row in plates.image_rows(Wildcards(plate="P1", unit=unit))]
    assert rows == plates.image_rows(Wildcards(plate="P1"))
    assert [row[:4] for row in rows] == [(well, site, None, None) for well in THREE_WELLS.wells for site in (1, 2)]
    assert all("_w1" in row[4] for row in rows) and plates.channel(Wildcards(plate="P1")) == "w1"


def test_all_images_are_those_of_every_channel(tmp_path):
    write_sheets(tmp_path, plates=[THREE_WELLS])
    plates = plan_in(tmp_path).plates
    assert [image[3] for image in plates.all_images(Wildcards(plate="P1"))] == ["w1", "w2"] * 6
    assert len(plates.all_image_stamps(Wildcards(plate="P1"))) == 12


def test_one_unit_gets_all_cores_and_done_units_do_not_count(tmp_path):
    write_sheets(tmp_path, plates=[THREE_WELLS])
    unit = Wildcards(plate="P1", unit="all")
    assert plan_in(tmp_path, cores=8).plates.unit_threads(unit) == 8
    wells = Wildcards(plate="P1", unit="C02")
    assert plan_in(tmp_path, cores=8, fan_out="well").plates.unit_threads(wells) == 2
    done = tmp_path / "results/plates/P1/units"
    done.mkdir(parents=True)
    for well in ("B02", "B03"):
        (done / f"{well}.parquet").touch()
    assert plan_in(tmp_path, cores=8, fan_out="well").plates.unit_threads(wells) == 8


def test_jobs_of_a_cluster_ask_by_their_work_alone(tmp_path):
    write_sheets(tmp_path, plates=[THREE_WELLS], slides=[("S1", "")], stacks=["T1"])
    plan = plan_in(tmp_path, cores=64, on_cluster=True)
    assert plan.plates.unit_threads(Wildcards(plate="P1", unit="all")) == 1  # 6 MB: 0.06 s
    for name in ("S1.tif", "T1.tif"):
        os.truncate(tmp_path / name, 2_000_000_000)
    plan = plan_in(tmp_path, cores=64, on_cluster=True)
    assert plan.slides.threads(Wildcards(slide="S1")) == 8  # 600 s of work, and no more than 8
    assert plan.stacks.threads(Wildcards(stack="T1")) == 8  # 40 s
    assert plan.stacks.minutes(Wildcards(stack="T1"), 8, 1) == 6
    by_peaks = plan_in(tmp_path, cores=64, on_cluster=True, nuclei={"method": "peaks"})
    assert by_peaks.stacks.threads(Wildcards(stack="T1")) == 4  # 20 s


def test_jobs_share_the_cores_of_this_machine(tmp_path):
    write_sheets(tmp_path, plates=[PlateFolder(f"P{n}") for n in range(3)], slides=[("S1", "")], stacks=["T1", "T2"])
    plan = plan_in(tmp_path, cores=8)
    assert plan.plates.threads(Wildcards(plate="P1")) == 2
    assert plan.slides.threads(Wildcards(slide="S1")) == 8
    assert plan.stacks.threads(Wildcards(stack="T1")) == 4


def test_memory_and_time_grow_with_attempts_and_mode_fork_holds_the_images(tmp_path):
    write_sheets(tmp_path, plates=[THREE_WELLS])
    unit = Wildcards(plate="P1", unit="all")
    plates = plan_in(tmp_path).plates
    assert plates.unit_memory(unit, 2, 1) == 1400 and plates.unit_memory(unit, 2, 3) == 4200
    assert plates.minutes(unit, 2, 1) == 6 and plates.minutes(unit, 2, 2) == 12
    fork = plan_in(tmp_path, pool={"mode": "fork"}).plates
    assert fork.unit_memory(unit, 2, 1) == 1418  # and three times 6 MB
    assert plates.store_memory(Wildcards(plate="P1"), 1, 1) == 924  # 700 + 200 + 4 x 3 x 2 MB of a field


def test_what_is_not_in_a_sheet_is_refused_in_one_line(tmp_path):
    write_sheets(tmp_path, plates=[THREE_WELLS], slides=[("S1", "")], stacks=["T1"])
    plan = plan_in(tmp_path, fan_out="well")
    for ask, message in {
        (lambda: plan.plates.image_rows(Wildcards(plate="P9", unit="B02"))): "plate 'P9' is not in the sheet",
        (lambda: plan.plates.image_rows(Wildcards(plate="P1", unit="D04"))): "plate 'P1' has no unit 'D04'",
        (lambda: plan.slides.newest_file(Wildcards(slide="S9"))): "slide 'S9' is not in the sheet",
        (
            lambda: plan.slides.batch(Wildcards(plate="B9"))
        ): "no slide in the sheet 'config/slides.tsv' is of plate 'B9'",
        (lambda: plan.stacks.newest_file(Wildcards(stack="T9"))): "stack 'T9' is not in the sheet",
        (lambda: plan.plates.archive(Wildcards(plate="P1"))): "plate 'P1' has no url in the sheet",
    }.items():
        with pytest.raises(InputError, match=f"^{message}[^\n]*$"):
            ask()


def test_a_file_in_place_of_the_results_is_refused(tmp_path):
    write_sheets(tmp_path, plates=[THREE_WELLS])
    (tmp_path / "out").touch()
    with pytest.raises(InputError, match="'results' is 'out', but .*out' is no folder; expected a folder"):
        plan_in(tmp_path, results="out")


def test_a_plate_without_images_is_refused(tmp_path):
    write_sheets(tmp_path, plates=[THREE_WELLS, PlateFolder("P2", wells=())])
    with pytest.raises(InputError, match="plates.tsv, line 3: plate 'P2': 'images/P2': found no image; is a drive"):
        plan_in(tmp_path)


def test_what_names_leave_open_and_how_it_was_decided_is_told_and_kept_with_the_table(tmp_path):
    write_sheets(tmp_path, plates=[THREE_WELLS, PlateFolder("P2", wells=())])
    for well in ("B02", "C03"):
        (tmp_path / f"images/P2/{well}_F01.tif").write_bytes(b"image")
    plan = plan_in(tmp_path)
    assert "decided" not in plan.made_of(Wildcards(plate="P1"))
    (decided,) = plan.made_of(Wildcards(plate="P2"))["decided"]
    assert decided.startswith("in names such as 'B02_F01.tif', B02 is taken for the well and F01 for numbers")


def test_fields_without_a_usable_image_are_rows_and_no_inputs(tmp_path):
    """Of 4 fields, one has no image of w1, another has two."""
    write_sheets(tmp_path, plates=[PlateFolder("P1", wells=("B02", "B03"))])
    images = tmp_path / "images/P1"
    (images / f"Week1_150607_B02_s1_w1{GUID}.tif").unlink()
    (images / "again").mkdir()
    (images / f"again/Week1_150607_B03_s2_w1{GUID}.tif").write_bytes(bytes(10**6))
    with pytest.raises(InputError, match="2 of 4 images of channel w1 are missing or .*max_failed_fields: 0.4"):
        plan_in(tmp_path, max_failed_fields=0.4)
    with pytest.raises(InputError, match="max_failed_fields: 0 "):
        plan_in(tmp_path, max_failed_fields=1, on_bad_image="stop")
    plan = plan_in(tmp_path, max_failed_fields=0.5)
    missing, good, other, twice = plan.measurements.image_rows(Wildcards(plate="P1", unit="all"))
    assert missing[:6] == ("B02", 1, None, None, "", "no image of channel w1; there are images of w2")
    assert twice[:2] == ("B03", 2) and "again/" in twice[5] and len(good) == len(other) == 6
    named = [row[4] for row in plan.plates.sample_rows(Wildcards(plate="P1"))]
    assert sorted(named) == sorted([good[4], other[4]])
    assert len(plan.plates.image_stamps(Wildcards(plate="P1", unit="all"))) == 2
    assert all(plan.plates.image_stamps(Wildcards(plate="P1", unit="all")))


def test_snakemake_is_told_of_the_newest_image_and_of_none_from_the_future(tmp_path):
    write_sheets(tmp_path, plates=[THREE_WELLS])
    images = [row[4] for row in plan_in(tmp_path).plates.image_rows(Wildcards(plate="P1"))]
    now = time.time()
    for age, image in enumerate(images):
        os.utime(image, (now - 100 - age,) * 2)
    os.utime(images[3], (now - 50,) * 2)
    os.utime(images[4], (now + 1000,) * 2)
    plates = plan_in(tmp_path).plates
    assert plates.newest_image(Wildcards(plate="P1")) == [images[3]]
    before = plates.image_stamps(Wildcards(plate="P1"))
    assert len(before) == 6 and before[3] == (10**6, os.stat(images[3]).st_mtime_ns)
    os.utime(images[0], (now - 9000,) * 2)  # an older file in its place is another one
    assert plan_in(tmp_path).plates.image_stamps(Wildcards(plate="P1")) != before


def test_further_products_are_what_other_jobs_draw_and_what_was_deleted(tmp_path):
    doses = PlateFolder("P2", platemap="well,concentration_um,control\nB02,1,negative\n")
    write_sheets(tmp_path, plates=[THREE_WELLS, doses])
    plates = plan_in(tmp_path, nuclei={"method": "auto"}).plates
    drawn = ["calibration.png", "plots/doses.png", "plots/controls.png"]
    assert plates.further_products("P1") == ["labels.zarr/zarr.json", "calibration.png"]
    assert plates.further_products("P2") == ["labels.zarr/zarr.json", *drawn]
    folder = tmp_path / "results/plates/P1"
    for name in (
        "densities.png",
        "nuclei.parquet",
        "fields.csv",
        "fields.parquet",
        "plots/nuclei.png",
        "plots/quality.png",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    deleted = ["plots/fields.png", "plots/edge.png", "plots/focus.png"]
    labels, calibration = ["labels.zarr/zarr.json"], ["calibration.json", "calibration.png"]
    tables = ["wells.csv", "wells.parquet", "profiles.parquet", "profiles.csv"]
    assert plates.further_products("P1") == [*tables, *labels, *calibration, *deleted]
    peaks = plan_in(tmp_path, nuclei={"method": "peaks"}).plates
    assert peaks.further_products("P2") == drawn
    for of_method in (plates, peaks):
        assert list(of_method.ready) == ["P1", "P2"] and of_method.timed == []


def test_a_plate_with_time_points_has_a_table_and_a_picture_of_them(tmp_path):
    write_sheets(tmp_path, plates=[THREE_WELLS, PlateFolder("P2")])
    images = tmp_path / "images/P2"
    for number in (1, 2):
        (images / f"TimePoint_{number}").mkdir()
    for path in images.glob("*.tif"):
        (images / f"TimePoint_2/{path.name}").write_bytes(b"image")
        path.rename(images / f"TimePoint_1/{path.name}")
    plates = plan_in(tmp_path).plates
    assert plates.timed == ["P2"]
    assert plates.further_products("P2") == ["labels.zarr/zarr.json", "calibration.png", "plots/timepoints.png"]
    folder = tmp_path / "results/plates/P2"
    for name in ("densities.png", "plots/timepoints.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    assert "timepoints.csv" in plates.further_products("P2")
    assert not any("timepoints" in name for name in plates.further_products("P1"))


def test_units_wait_for_a_calibration_and_keep_labels_only_where_nuclei_have_outlines(tmp_path):
    write_sheets(tmp_path, plates=[THREE_WELLS])
    unit = Wildcards(plate="P1", unit="all")
    for nuclei, calibrated, labelled in (
        ({"method": "auto"}, ["P1"], ["P1"]),
        ({"method": "auto", "keep_labels": False}, ["P1"], []),
        ({"method": "skimage.measure.label"}, [], ["P1"]),
        ({"method": "peaks"}, [], []),
    ):
        plates = plan_in(tmp_path, nuclei=nuclei).plates
        assert (plates.calibrated(unit), plates.labelled) == (calibrated, labelled)
        assert plates.labels(unit) == labelled
        assert plates.sigma(unit) == (4 if nuclei["method"] == "peaks" else None)


def test_the_sample_of_a_plate_is_the_same_whatever_the_fan_out(tmp_path):
    write_sheets(
        tmp_path, plates=[PlateFolder("P1", wells=[f"{row}{column:02}" for row in "BCD" for column in range(1, 21)])]
    )
    samples = [plan_in(tmp_path, fan_out=fan_out).plates for fan_out in ("plate", "well", "field")]
    rows = [plates.sample_rows(Wildcards(plate="P1")) for plates in samples]
    assert rows[0] == rows[1] == rows[2] and len(rows[0]) == 96
    assert len(samples[0].sample_stamps(Wildcards(plate="P1"))) == 96
    assert samples[0].newest_of_sample(Wildcards(plate="P1"))[0] in [row[4] for row in rows[0]]


def test_large_images_have_room_in_every_worker(tmp_path):
    write_sheets(tmp_path, plates=[THREE_WELLS])
    unit = Wildcards(plate="P1", unit="all")
    (image,) = [row[4] for row in plan_in(tmp_path).plates.image_rows(unit)][:1]
    os.truncate(tmp_path / image, 2 * 16_000**2)
    plates = plan_in(tmp_path).plates
    assert plates.unit_memory(unit, 1, 1) == 1050 + 6 * (512 - 18)
    assert plates.unit_memory(unit, 2, 1) == 2 * plates.unit_memory(unit, 1, 1) - 700
    assert plates.calibration_memory(Wildcards(plate="P1"), 1, 1) == plates.unit_memory(unit, 1, 1)


def test_slides_are_reported_by_batch_and_convert_as_their_row_says(tmp_path):
    write_sheets(tmp_path, slides=[("S1", "B1"), ("S2", "B1"), ("S3", "")])
    slides = plan_in(tmp_path, slide={"codec": "lz4"}).slides
    assert slides.batches == {"B1": ["S1", "S2"], "slides": ["S3"]}
    assert slides.batch(Wildcards(plate="B1")) == ["S1", "S2"]
    settings = slides.settings(Wildcards(slide="S1"))
    assert (settings["reader"], settings["codec"], settings["version"]) == ("auto", "lz4", "0.5")
    assert slides.store(Wildcards(slide="S1")) == "results/slides/S1/S1.ome.zarr"
    rows = ["slide path mpp magnification modality", "S1 S1.tif .25 40 hdab", "S2 S2.tif 5e-1  ", "S3 S3.tif   "]
    sheet = "".join(row.replace(" ", "\t") + "\n" for row in rows)
    (tmp_path / "config/slides.tsv").write_text(sheet)
    slides = plan_in(tmp_path, slide={"keep_properties": False}).slides
    stated = [slides.settings(Wildcards(slide=name)) for name in slides.rows]
    assert [(row["mpp"], row["magnification"]) for row in stated] == [(0.25, 40), (0.5, None), (None, None)]
    assert [row["modality"] for row in stated] == ["hdab", None, None]
    assert (stated[0]["keep_properties"], stated[0]["keep_associated"]) == (False, True)


def test_a_conversion_asks_for_the_memory_of_a_slides_largest_strip(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_sheets(tmp_path, slides=[("S1", ""), ("S2", "")])
    image = np.zeros((7000, 7000, 3), np.uint8)
    for name, compression in (("S1", None), ("S2", "lzw")):
        tifffile.imwrite(f"{name}.tif", image, rowsperstrip=7000, compression=compression, photometric="rgb")
    slides = plan_in(tmp_path).slides
    usual, more = (slides.conversion_memory(Wildcards(slide=name), 2, 1) for name in ("S1", "S2"))
    assert more > 3 * image.nbytes / 1e6 + 700 > usual > 1000


def test_regions_are_counted_of_the_slides_that_have_some_and_a_change_of_theirs_counts(tmp_path):
    write_sheets(tmp_path, slides=[("S1", ""), ("S2", "")])
    regions = tmp_path / "r.geojson"
    regions.write_text('{"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 0]]]}')
    (tmp_path / "config/slides.tsv").write_text("slide\tpath\tregions\nS1\tS1.tif\t./r.geojson\nS2\tS2.tif\t\n")
    slides = plan_in(tmp_path).slides
    first, second = Wildcards(slide="S1"), Wildcards(slide="S2")
    assert slides.with_regions == ["S1"]
    assert [slides.regions(first), slides.regions(second)] == ["r.geojson", None]
    assert slides.regions_stamps(second) == [] == slides.newest_regions(second)
    (stamp,) = slides.regions_stamps(first)
    os.utime(regions, ns=(0, 10**18))
    assert plan_in(tmp_path).slides.regions_stamps(first) == [(stamp[0], 10**18)]


def test_the_work_on_a_stack_is_detection_or_a_function(tmp_path):
    write_sheets(tmp_path, stacks=["T1"])
    stacks = plan_in(tmp_path, nuclei={"sigma": 3}, stack={"arguments": {"threshold": 7}}).stacks
    assert stacks.tables == ["frames.csv", "nuclei.parquet"] and stacks.images is None
    peaks = {"method": "peaks", "sigma": 3, "min_distance": 6, "threshold_abs": 7}
    assert stacks.frame_work["detection"] == peaks and stacks.method == "peaks" and not stacks.takes_calibration
    assert stacks.labels is None and stacks.with_nuclei == ["T1"]
    stacks = plan_in(tmp_path, nuclei={"border": "drop"}).stacks
    assert stacks.tables == ["frames.csv", "nuclei.parquet", "labels.zarr/zarr.json"] and stacks.takes_calibration
    assert stacks.frame_work["drop_border"] and stacks.frame_work["with_labels"]
    stacks = plan_in(tmp_path, nuclei={"keep_labels": False}).stacks
    assert stacks.tables == ["frames.csv", "nuclei.parquet"] and not stacks.frame_work["with_labels"]
    assert plan_in(tmp_path, stack={"images": "tiff"}).stacks.labels == "labels.tif"
    stack = {"function": "skimage.filters.sobel", "images": "tiff"}
    stacks = plan_in(tmp_path, stack=stack).stacks
    assert stacks.with_nuclei == [] and not stacks.takes_calibration and stacks.labels is None
    assert stacks.tables == ["frames.csv"] and stacks.images == "tiff" and stacks.method is None
    assert stacks.frame_work == {"function": "skimage.filters.sobel", "arguments": {}}


def test_nuclei_of_stacks_are_measured_where_they_have_outlines(tmp_path):
    write_sheets(tmp_path, stacks=["T1"])
    stack = Wildcards(stack="T1")
    assert plan_in(tmp_path).stacks.channels(stack) == ["DNA"]
    assert plan_in(tmp_path, measure={"channels": "none"}).stacks.channels(stack) == []
    assert plan_in(tmp_path, nuclei={"method": "peaks"}).stacks.channels(stack) is None
    assert plan_in(tmp_path, stack={"function": "skimage.filters.sobel"}).stacks.channels(stack) is None
    metadata = {"axes": "CYX", "Channel": {"Name": ["Actin", "H2B"]}}
    tifffile.imwrite(tmp_path / "T1.tif", np.zeros((2, 8, 9), "uint8"), ome=True, metadata=metadata)
    assert plan_in(tmp_path, stack={"channel": 1}).stacks.channels(stack) == ["H2B"]


def test_a_function_that_is_not_there_is_refused_before_any_job_and_not_in_jobs(tmp_path):
    write_sheets(tmp_path, stacks=["T1"])
    with pytest.raises(InputError, match=r"--config: stack.function: .*sobell.*did you mean 'sobel'"):
        plan_in(tmp_path, stack={"function": "skimage.filters.sobell"})
    plan_in(tmp_path, main=False, stack={"function": "skimage.filters.sobell"})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"nuclei": {"channel": "DAPI"}}, r"nuclei.channel is DAPI; config/plates.tsv, line 2: .*'DAPI': not found"),
        ({"layouts": {"mine": "("}}, r"layouts.mine: '\(' is no regular expression"),
    ],
)
def test_what_the_configuration_has_wrong_for_a_plate_is_said_of_the_configuration(tmp_path, config, message):
    write_sheets(tmp_path, plates=[PlateFolder("P1")])
    with pytest.raises(InputError, match=f"^--config: {message}"):
        plan_in(tmp_path, **config)


def test_a_gpu_that_is_asked_for_and_absent_is_refused_here_and_asked_for_on_a_cluster(tmp_path, monkeypatch):
    monkeypatch.setattr(choice, "missing", lambda: "CuPy is not installed")
    write_sheets(tmp_path, plates=[THREE_WELLS])
    peaks = {"method": "peaks"}
    with pytest.raises(InputError, match="device: gpu, but CuPy is not installed"):
        plan_in(tmp_path, nuclei=peaks, device="gpu")
    plan = plan_in(tmp_path, nuclei=peaks, device="gpu", on_cluster=True)
    unit = Wildcards(plate="P1", unit="all")
    assert plan.has_gpu and plan.plates.unit_gpus(unit, 1) == 1
    assert plan.plates.unit_memory(unit, 1, 1) == 1050 + 2000
    assert plan_in(tmp_path, nuclei=peaks).plates.unit_gpus(unit, 1) == 0


def write_plate_columns(folder, **columns):
    """Add columns, if any, to the sheet of plates; each has a cell for every plate."""
    if not columns:
        return
    sheet = folder / "config/plates.tsv"
    head, *rows = sheet.read_text().splitlines()
    cells = zip(*columns.values(), strict=True)
    lines = ["\t".join([row, *more]) for row, more in zip(rows, cells, strict=True)]
    sheet.write_text("\n".join(["\t".join([head, *columns]), *lines, ""]))


def test_each_plate_has_its_method(tmp_path):
    write_sheets(tmp_path, plates=[PlateFolder(f"P{n}") for n in range(1, 5)])
    write_plate_columns(tmp_path, method=["", "auto", "own.f", ""], threshold=["", "", "", "30"])
    (tmp_path / "config/own.py").write_text("def f(image): pass\n")
    plates = plan_in(tmp_path, nuclei={"method": "peaks", "sigma": 3}).plates
    assert [plates.method(name) for name in plates.names] == ["peaks", "auto", "own", "peaks"]
    peaks = {"method": "peaks", "sigma": 3, "min_distance": 6, "threshold_abs": 1000}
    expected = [
        peaks,
        {"method": "auto", "diameter": None, "contrast": None, **methods.model_of({"model": "built-in"}, "auto")},
        {"method": "own.f", "function": "own.f", "arguments": {}},
        peaks | {"threshold_abs": 30},
    ]
    assert [plates.detection(Wildcards(plate=name)) for name in plates.names] == expected


def test_peaks_by_a_key_alone_is_noted_once_for_all_plates(tmp_path, capsys):
    write_sheets(tmp_path, plates=[PlateFolder(f"P{n}") for n in range(1, 8)], stacks=["T1"])
    write_plate_columns(tmp_path, sigma=["3"] * 6 + [""])
    plan = plan_in(tmp_path, nuclei={"sigma": 2, "threshold": 9}, stack={"arguments": {"sigma": 5}})
    assert plan.notes == [
        "--config: nuclei.sigma and nuclei.threshold without a method: nuclei are found by peaks",
        "--config: stack.arguments.sigma without a method: nuclei of stacks are found by peaks",
        "P1, P2, P3, P4, P5, ...: rows with sigma or min_distance or threshold and without a method: "
        "nuclei are found by peaks",
    ]
    plan.report_plates()
    assert capsys.readouterr().err.splitlines()[:3] == plan.notes
    write_plate_columns(tmp_path, method=["peaks"] * 6 + ["auto"])
    stack = {"function": "skimage.filters.sobel"}
    assert plan_in(tmp_path, nuclei={"method": "peaks", "sigma": 2}, stack=stack).notes == []


def test_benchmarks_compare_ways_to_find_peaks_whatever_the_method(tmp_path):
    write_sheets(tmp_path, plates=[THREE_WELLS])
    by_default = {"sigma": 4, "min_distance": 6, "threshold_abs": 1000}
    assert plan_in(tmp_path, nuclei={"method": "auto"}).benchmarks.detection == by_default
    benchmarks = plan_in(tmp_path, nuclei={"sigma": 3}).benchmarks
    assert benchmarks.detection == by_default | {"sigma": 3}
    assert benchmarks.nuclei_settings == {"method": "peaks", "sigma": 3, "min_distance": 6, "threshold": 1000}


@pytest.mark.parametrize(
    ("method", "gpus", "threads"), [("auto", None, 2), ("peaks", 1, 2), ("own.f", 1, 1)]
)  # gpus: of a job with device: gpu
def test_a_gpu_is_for_peaks_and_own_functions_and_refused_where_nothing_uses_it(
    tmp_path, monkeypatch, method, gpus, threads
):
    monkeypatch.setattr(choice, "missing", lambda: "" if method != "own.f" else "CuPy is not installed")
    write_sheets(tmp_path, plates=[THREE_WELLS], stacks=["T1"])
    (tmp_path / "config/own.py").write_text("def f(image): pass\n")
    unit, settings = Wildcards(plate="P1", unit="all"), {"nuclei": {"method": method}, "device": "gpu"}
    for on_cluster in (False, True):
        if gpus is None:
            with pytest.raises(InputError, match="^--config: device: gpu, but nothing would use it: only"):
                plan_in(tmp_path, on_cluster=on_cluster, **settings)
            continue
        plan = plan_in(tmp_path, on_cluster=on_cluster, **settings)
        assert plan.plates.unit_gpus(unit, 1) == gpus
        assert plan.plates.unit_threads(unit) == (1 if on_cluster else threads)
    for device in ("auto", "cpu"):
        plan = plan_in(tmp_path, nuclei={"method": method}, device=device)
        assert (plan.plates.unit_gpus(unit, 1), plan.plates.unit_threads(unit)) == (0, 2)


def test_every_file_of_a_slide_of_several_counts(tmp_path):
    write_sheets(tmp_path, slides=[("S1", "")])
    for name in ("S1.tif", "other.dcm"):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM")
    os.utime(tmp_path / "S1.tif", (10**9, 10**9))
    sheet = tmp_path / "config/slides.tsv"
    sheet.write_text("slide\tpath\tseries\tnuclei_channel\nS1\tS1.tif\t2\tDAPI\n")
    one = Wildcards(slide="S1")
    slides = plan_in(tmp_path).slides
    assert slides.newest_file(one) == ["other.dcm"]
    assert (slides.settings(one)["series"], slides.settings(one)["nuclei_channel"]) == (2, "DAPI")
    before = slides.stamps(one)
    (tmp_path / "other.dcm").write_bytes(bytes(128) + b"DICM and more")
    assert len(before) == 2 and plan_in(tmp_path).slides.stamps(one) != before


def test_slides_use_a_gpu_beside_plates_that_do_not(tmp_path, monkeypatch):
    monkeypatch.setattr(choice, "missing", lambda: "")
    write_sheets(tmp_path, plates=[THREE_WELLS], slides=[("S1", "")])
    plan = plan_in(tmp_path, nuclei={"method": "auto"}, device="gpu")
    assert plan.has_gpu and plan.plates.unit_gpus(Wildcards(plate="P1", unit="all"), 1) == 0


def test_own_functions_of_plates_and_stacks_are_checked_before_any_job(tmp_path):
    write_sheets(tmp_path, plates=[PlateFolder("P1"), PlateFolder("P2")], stacks=["T1"])
    (tmp_path / "config/own.py").write_text("def f(image, calibration, least=1): pass\ndef g(image): pass\n")
    for nuclei, columns, message in [
        ({"method": "own.h"}, {}, r"^--config: nuclei.method: own.h: own \(.*own.py\) has no 'h'"),
        (
            {"method": "own.g", "arguments": {"least": 1}},
            {},
            "^--config: nuclei.method: own.g takes no argument 'least'",
        ),
        ({}, {"method": ["own.f", "own.x"]}, r"^config/plates.tsv, line 3: method: own.x: own \(.*own.py\) has no 'x'"),
    ]:
        sheet = (tmp_path / "config/plates.tsv").read_text()
        write_plate_columns(tmp_path, **columns)
        with pytest.raises(InputError, match=message):
            plan_in(tmp_path, nuclei=nuclei)
        (tmp_path / "config/plates.tsv").write_text(sheet)
    write_plate_columns(tmp_path, method=["own.f", "own.g"])
    for main in (True, False):
        plan = plan_in(tmp_path, main=main, nuclei={"method": "auto"})
        assert [plan.plates.takes_calibration(name) for name in ("P1", "P2")] == [True, False]
        assert plan.stacks.takes_calibration
    plan = plan_in(tmp_path, nuclei={"method": "own.g"})
    assert plan.stacks.method == "own" and not plan.stacks.takes_calibration


def test_own_modules_and_files_that_arguments_name_count_by_content(tmp_path):
    write_sheets(tmp_path, plates=[PlateFolder("P1"), PlateFolder("P2")], stacks=["T1"])
    write_plate_columns(tmp_path, method=["", "classical"])
    module, weights = tmp_path / "config/own.py", tmp_path / "model.pt"
    module.write_text("def f(image, model): pass\n")
    weights.write_bytes(b"one")

    def codes():
        plan = plan_in(tmp_path, nuclei={"method": "own.f", "arguments": {"model": "model.pt"}})
        assert plan.detection_code(Wildcards(plate="P2")) == ""
        assert plan.stack_code == plan.detection_code(Wildcards(plate="P1"))
        return plan.stack_code

    before = codes()
    os.utime(weights, (1, 1))
    assert codes() == before
    weights.write_bytes(b"two")
    other_weights = codes()
    assert other_weights != before
    module.write_text("def f(image, model): return 0\n")
    assert codes() not in (before, other_weights)
    module.write_text("import numpy\ndef f(image, model): return 0\n")
    assert f" numpy {version('numpy')} " in codes()
    plan = plan_in(tmp_path, nuclei={"method": "peaks"})
    assert plan.stack_code == plan.detection_code(Wildcards(plate="P1")) == ""


PLATEMAP = "well,control\nB02,negative\n"
KEYS = {"illumination": "auto", "background": 1, "cells": {"expand": 4}, "positive": {"w2": "auto"}}


def test_what_decides_a_table_is_its_keys_the_libraries_and_the_code(tmp_path):
    write_sheets(tmp_path, plates=[PlateFolder("P1", platemap=PLATEMAP), PlateFolder("P2"), PlateFolder("P3")])
    write_plate_columns(tmp_path, method=["auto"] * 2 + ["peaks"], calibrate_with=["P2", "", ""])
    plan = plan_in(tmp_path, **KEYS | {"positive": {"w2": 0.5}, "nuclei": {"diameter": 30, "border": "drop"}})
    calibrated, own, peaks = (plan.made_of(Wildcards(plate=name)) for name in ("P1", "P2", "P3"))
    nuclei = {"channel": "w1", "method": "auto", "diameter": 30, "contrast": "auto", "border": "drop"}
    nuclei |= function_checks.outlined_by({"method": "auto", "model": None})
    assert calibrated["settings"] == {
        "nuclei": nuclei | {"calibrate_with": "P2"},
        "measure": {"channels": {"DNA": "w1", "w2": "w2"}},
        **{"illumination": "auto", "background": 1, "cells": {"expand": 4}, "positive": {"w2": 0.5}},
    }
    assert own["settings"] == calibrated["settings"] | {"nuclei": nuclei}
    assert peaks["settings"] == {
        "nuclei": {"channel": "w1", "method": "peaks", "sigma": 4, "min_distance": 6, "threshold": 1000},
        "measure": {"channels": {}},
        **{"illumination": "none", "background": "none", "cells": "none", "positive": {}},
    }
    assert own["libraries"]["numpy"] == version("numpy") and own["libraries"]["scipy"] == version("scipy")
    assert own["digest"] == calibrated["digest"] != peaks["digest"]
    assert plan_in(tmp_path).made_of(Wildcards(plate="P1"))["digest"] != own["digest"]  # without illumination


def test_what_decides_a_table_does_not_depend_on_how_and_where_it_is_made(tmp_path, monkeypatch):
    made = []
    pool = {"engine": "serial", "mode": "fork"}
    for name, others in {
        "here": {},
        "elsewhere": {"cores": 7, "fan_out": "field", "pool": pool, "results": "out", "quality": False},
    }.items():
        folder = tmp_path / name
        write_sheets(folder, plates=[PlateFolder("P1", platemap=PLATEMAP)])
        monkeypatch.chdir(folder)
        (folder / "config/own.py").write_text("import numpy\ndef f(image, model, other): pass\n")
        (folder / "config/cells_by.py").write_text("def g(nuclei, channels): pass\n")
        (folder / "model.pt").write_bytes(b"one")
        nuclei = {"method": "own.f", "arguments": {"model": str(folder / "model.pt"), "other": [1, str(folder)]}}
        keys = KEYS | {"nuclei": nuclei, "cells": "cells_by.g"}
        monkeypatch.setenv("FIELDWORK_PLAN_", "")
        monkeypatch.delenv("FIELDWORK_PLAN_")
        made.append(plan_in(folder, **keys, **others).made_of(Wildcards(plate="P1")))
        own = made[-1]["settings"]["nuclei"]
        assert own["arguments"] == {"model": "model.pt", "other": [1, name]} and "numpy" in own["code"]
        own["arguments"]["other"] = []  # the name of a folder is that of the test here
    assert made[0] == made[1] and str(tmp_path) not in repr(made)
    assert made[0]["settings"]["cells"].keys() == {"function", "code"}
    (folder / "model.pt").write_bytes(b"two")
    changed = plan_in(folder, **keys, **others).made_of(Wildcards(plate="P1"))["settings"]
    changed["nuclei"]["arguments"]["other"] = []
    assert changed["nuclei"].pop("code") != made[0]["settings"]["nuclei"].pop("code")
    assert changed == made[0]["settings"]


def test_a_plate_takes_the_calibration_of_another(tmp_path):
    write_sheets(tmp_path, plates=[PlateFolder("P1"), PlateFolder("P2")])
    write_plate_columns(tmp_path, method=["auto", "auto"], diameter=["30", ""], calibrate_with=["", "P1"])
    plates = plan_in(tmp_path).plates
    assert plates.detection(Wildcards(plate="P2"))["diameter"] == 30


def test_a_plan_of_empty_sheets_is_empty(tmp_path, capsys):
    write_sheets(tmp_path)
    plan = plan_in(tmp_path)
    plan.report_plates()
    assert "WARNING config/plates.tsv, config/slides.tsv, config/stacks.tsv: no plate, slide" in capsys.readouterr().err
    assert plan.is_empty and plan.benchmarks.plate is None and plan.benchmarks.channel(None) == "auto"
    write_sheets(tmp_path, stacks=["T1"])
    assert not plan_in(tmp_path).is_empty


def test_benchmarks_take_the_first_plate_that_exists(tmp_path):
    write_sheets(tmp_path, plates=[PlateFolder("P2", wells=("B02",)), THREE_WELLS])
    benchmarks = plan_in(tmp_path).benchmarks
    assert benchmarks.plate == "P2" and benchmarks.channel(None) == "w1"
    assert len(benchmarks.images(None)) == 2 and len(benchmarks.fields(None)) == 2


def test_jobs_refuse_another_configuration_than_their_run_had(tmp_path):
    write_sheets(tmp_path, plates=[THREE_WELLS])
    plan_in(tmp_path)
    plan_in(tmp_path, main=False)
    with pytest.raises(InputError, match="changed while the run was at work"):
        plan_in(tmp_path, main=False, nuclei={"sigma": 5})


def test_a_module_reads_no_file_and_its_messages_say_so(tmp_path):
    write_sheets(tmp_path, plates=[THREE_WELLS])
    (tmp_path / "config/config.yaml").write_text("fan_out: well\n")
    assert plan_in(tmp_path).config["fan_out"] == "well"
    assert plan_in(tmp_path, namespace="cells").config["fan_out"] == "plate"
    with pytest.raises(InputError, match="^config of module cells: 'fan_out' is 'all'"):
        plan_in(tmp_path, namespace="cells", fan_out="all")


@pytest.mark.parametrize(
    ("prefix", "path", "expected"),
    [
        ("", "results", "results"),
        ("cells/", "results", "cells/results"),
        ("", "../out", "../out"),
        ("a/", "../out", None),
    ],
)
def test_folders_stand_behind_a_modules_prefix_or_are_refused(prefix, path, expected):
    def prefixed(text):
        return text if text.startswith(("/", "../")) else prefix + text

    def ask():
        return planning.locate(
            "<results>",
            prefixed=prefixed,
            filled=lambda text: text.replace("<results>", path),
            source="config of module cells",
        )

    if expected:
        assert ask() == expected
    else:
        with pytest.raises(InputError, match="^config of module cells: the folder '../out' cannot stand behind"):
            ask()


def test_plates_with_the_same_images_are_told_of(tmp_path, capsys):
    write_sheets(tmp_path, plates=[PlateFolder("one"), PlateFolder("two")])
    plan_in(tmp_path).report_plates()
    assert "count in both" not in capsys.readouterr().err
    sheet = tmp_path / "config" / "plates.tsv"
    sheet.write_text(sheet.read_text().replace("images/two", "images/one"))
    plan_in(tmp_path).report_plates()
    lines = [line for line in capsys.readouterr().err.splitlines() if "count in both" in line]
    assert [line.split(", too")[0] for line in lines] == ["WARNING plate two: 2 of its images are those of plate one"]


def test_all_plates_are_one_screen_with_the_batches_of_the_sheet(tmp_path):
    write_sheets(tmp_path, plates=[THREE_WELLS, PlateFolder("P2"), PlateFolder("P3")])
    sheet = tmp_path / "config/plates.tsv"
    lines = sheet.read_text().splitlines()
    batches = ["batch", "007", "", "b"]
    sheet.write_text("".join(f"{line}\t{batch}\n" for line, batch in zip(lines, batches, strict=True)))
    plates = plan_in(tmp_path).plates
    assert plates.screened(Wildcards()) == ["P1", "P2", "P3"]
    assert plates.batches(Wildcards()) == {"P1": "007", "P3": "b"}


def test_doses_that_contradict_each_other_are_refused_before_any_job(tmp_path):
    write_sheets(tmp_path, plates=[PlateFolder("P1", platemap="well,drug,dose_um\nB02,x,10 nM\n")])
    with pytest.raises(InputError, match=r"P1.csv, line 2, column dose_um: found '10 nM', but the name of column"):
        plan_in(tmp_path).measurements.table_columns(Wildcards())
