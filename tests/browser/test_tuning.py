"""Nuclei tuned on the page are those of a run with the same settings."""

import json
import multiprocessing
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
import viewed
import yaml
import zarr
from viewed import VIEWER

from browser import chromium
from fieldwork import label_images, synthetic
from fieldwork.inputs import config, methods
from fieldwork.segmentation import network
from fieldwork.viewer import fields, tuning
from fieldwork.viewer.results import NotFound, Results
from workspace import Workspace

SHAPE, WELLS, SITES = (240, 320), ("B02", "B03", "C02", "C03"), 2
AUTO = {"method": "auto", "diameter": "auto", "contrast": "auto"}
TRIED = {  # plate -> settings of its row of the sheet
    "base": AUTO,
    "wide": {"method": "auto", "diameter": "34", "contrast": "auto"},
    "both": {"method": "auto", "diameter": "12", "contrast": "9000"},
    "network": {"method": "network", "diameter": "30", "contrast": "auto"},
    "peaks": {"method": "peaks", "sigma": "3", "min_distance": "9", "threshold": "1200"},
}
COLUMNS = ("method", "diameter", "contrast", "sigma", "min_distance", "threshold")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of plates of the same pictures, each with settings of its own; light is uneven, and is corrected."""
    workspace = Workspace(tmp_path_factory.mktemp("tuned"))
    rng = np.random.default_rng(7)
    shade = np.linspace(1, 0.6, SHAPE[1])
    pictures = {
        (well, site): (synthetic.plant_field(rng, shape=SHAPE, count=25)[0] * shade).astype(np.uint16)
        for well in WELLS
        for site in range(1, SITES + 1)
    }
    lines = ["\t".join(["plate", "images", *COLUMNS])]
    for plate, settings in TRIED.items():
        folder = workspace.path / "images" / plate
        folder.mkdir(parents=True)
        for (well, site), picture in pictures.items():
            tifffile.imwrite(folder / f"{well}_s{site}_w1.tif", picture)
            if plate == "base":
                tifffile.imwrite(folder / f"{well}_s{site}_w2.tif", picture[::-1])
        lines.append("\t".join([plate, f"images/{plate}", *(settings.get(column, "") for column in COLUMNS)]))
    (workspace.path / "config").mkdir()
    (workspace.path / "config" / "plates.tsv").write_text("\n".join([*lines, ""]))
    targets = [f"results/plates/{plate}/fields.csv" for plate in TRIED]
    targets += [f"results/plates/{plate}/labels.zarr/zarr.json" for plate in TRIED if plate != "peaks"]
    workspace.run(*targets, "--config", "illumination=auto", "nuclei={border: drop}")
    return workspace


@pytest.fixture
def results(run, monkeypatch):
    monkeypatch.chdir(run.path)
    return Results(Path("results"), Path())


def labels_of(run, plate):
    return zarr.open_array(run.path / "results" / "plates" / plate / "labels.zarr", mode="r")[:]


@pytest.mark.parametrize("plate", ["base", "wide", "both", "network"])
def test_labels_are_those_of_a_run_with_the_same_settings(run, results, plate):
    labels = labels_of(run, plate)
    assert len(labels) == len(WELLS) * SITES and labels.any(axis=(1, 2)).sum() > 1
    if plate != "base":
        assert not np.array_equal(labels, labels_of(run, "base"))
    rows = fields.rows(results, plate)
    for number in range(len(labels)):
        field, calibration = tuning.tuned(results, "base", str(number), TRIED[plate])
        assert field.error is None
        np.testing.assert_array_equal(label_images.decode(field.labels, field.shape), labels[number])
        assert len(field.coordinates) == int(rows[number]["Image_Count_Nuclei"])
        assert field.threshold == float(rows[number]["Threshold_FinalThreshold_Nuclei"])
    record = json.loads((run.path / "results" / "plates" / plate / "calibration.json").read_text())
    assert calibration._asdict() == {name: record[name] for name in calibration._fields}


def test_the_model_of_the_run_is_taken_and_another_one_in_its_place_is_noticed(run, results, tmp_path, monkeypatch):
    made_of = json.loads((run.path / "results/plates/network/settings.json").read_text())
    assert made_of["settings"]["nuclei"]["model"] == "built-in" and made_of["libraries"]["onnxruntime"]
    assert tuning.tuned(results, "network", "0", TRIED["network"]).field.error is None
    (tmp_path / "other.onnx").write_bytes(network.BUILT_IN.read_bytes() + b"\0")
    monkeypatch.setattr(network, "BUILT_IN", tmp_path / "other.onnx")
    with pytest.raises(NotFound, match="the network's model is another one than when the run took it; run again"):
        tuning.tuned(results, "network", "0", TRIED["network"])


def test_other_channels_are_read_where_the_run_measured_them(run, results):
    assert [channel["name"] for channel in fields.channels(results, "base")] == ["DNA", "w2"]
    for number, row in enumerate(fields.rows(results, "base")):
        file = run.path / "images" / "base" / row["FileName_DNA"].replace("w1", "w2")
        np.testing.assert_array_equal(fields.plane(results, "base", str(number), "w2"), tifffile.imread(file))
        np.testing.assert_array_equal(
            fields.plane(results, "base", str(number)), fields.plane(results, "base", str(number), "w2")[::-1]
        )


def test_peaks_are_those_of_a_run_and_a_threshold_below_the_ground_fails_the_field(run, results):
    for number, row in enumerate(fields.rows(results, "peaks")):
        field, _ = tuning.tuned(results, "base", str(number), TRIED["peaks"])
        assert len(field.coordinates) == int(row["Image_Count_Nuclei"]) > 0
        found = fields.nuclei(results, "peaks", str(number))
        np.testing.assert_array_equal(field.coordinates, np.transpose([found[fields.Y], found[fields.X]]))
    answer = tuning.answer_of(tuning.tuned(results, "base", "0", {**TRIED["peaks"], "threshold": "1"}))
    assert answer["count"] == 0 and "lies above the threshold of peaks" in answer["error"]


def test_a_plate_of_peaks_without_a_calibration_says_what_makes_one(run, results):
    with pytest.raises(NotFound, match="plate peaks has no calibration: run Snakemake with the target preview"):
        tuning.tuned(results, "peaks", "0", AUTO)


def test_pictures_that_changed_since_the_run_are_noticed(run, results):
    paths = sorted((run.path / "images" / "base").glob("[BC]0[23]_s1_w1.tif"))
    before = [path.read_bytes() for path in paths]
    for path in paths:
        tifffile.imwrite(path, tifffile.imread(path) // 3)
    try:
        tuning._samples.clear()
        with pytest.raises(NotFound, match="images of its calibration's sample have changed since the run; run again"):
            tuning.tuned(results, "base", "0", TRIED["wide"])
        paths[0].unlink()
        with pytest.raises(NotFound, match="B02_s1_w1.tif"):
            tuning.tuned(results, "base", "0", TRIED["wide"])
    finally:
        for path, content in zip(paths, before, strict=True):
            path.write_bytes(content)
        tuning._samples.clear()


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"method": "auto"},
        {"method": "os.system", "arguments": "{}"},
        {"method": "peaks", "sigma": "4", "min_distance": "6", "threshold": "nan"},
        {**AUTO, "diameter": "2"},
        {**AUTO, "contrast": "-1"},
        {**AUTO, "diameter": "../../etc/passwd"},
        {**AUTO, "path": "/etc/passwd"},
    ],
)
def test_only_settings_are_taken(results, wanted):
    with pytest.raises(NotFound, match="expected"):
        tuning.tuned(results, "base", "0", wanted)


def test_one_computation_at_a_time_which_ends_at_the_limit(results):
    tuner, outcomes = tuning.Tuner(), []

    def tune():
        try:
            outcomes.append(tuner.tune(results, "base", "0", AUTO)["count"])
        except tuning.Busy:
            outcomes.append("busy")

    threads = [threading.Thread(target=tune) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tuner.close()
    busy, count = sorted(outcomes, key=str, reverse=True)
    assert busy == "busy" and count == int(fields.rows(results, "base")[0]["Image_Count_Nuclei"])
    hasty = tuning.Tuner(time_limit_s=0.001)
    with pytest.raises(tuning.TookTooLong, match="ended after 0.001 s, the time limit for a field"):
        hasty.tune(results, "base", "0", AUTO)
    assert hasty._process is None


def test_a_computation_whose_server_was_killed_ends_soon_after_the_limit(results):
    context = multiprocessing.get_context("spawn")
    connection, of_process = context.Pipe()
    process = context.Process(target=tuning._serve, args=(of_process, 0.001), daemon=True)
    process.start()
    connection.send((Results(results.folder.resolve(), results.directory.resolve()), "base", "0", AUTO))
    process.join(60)
    assert process.exitcode == -signal.SIGALRM


def test_the_page_shows_outlines_count_and_lines_to_paste(run, tmp_path):
    async def steps(browser):
        await browser.until("document.querySelectorAll('.nuclei path').length > 0")
        await browser.until(f"!!{VIEWER}?.world.getItemAt(0)")
        await browser.press("t")
        await browser.until("document.querySelector('.outcome')?.textContent.endsWith('as many as the run')")
        for name, value in (("Diameter of a nucleus", "34"), ("Its brightness above the ground", "400")):
            box = f"document.querySelector('input[type=number][aria-label=\"{name}\"]')"
            await browser.value(f"void ({box}.focus(), {box}.value = {value}, {box}.dispatchEvent(new Event('input')))")
        lines = "[...document.querySelectorAll('.tuning pre')].map((text) => text.textContent)"
        await browser.until(f"{lines}[0].includes('diameter: 34\\n  contrast: 400')")
        text = "document.querySelector('.tuning').textContent"
        await browser.until(f"{text}.includes('Typical nucleus: 34 px, 400 above the ground')")
        count = int((await browser.value("document.querySelector('.outcome').textContent")).split()[0])
        shown = await browser.value("document.querySelector('.tools [role=status]').textContent")
        assert shown == f"{count} nuclei"
        assert await browser.value("document.querySelectorAll('.nuclei path').length") >= count
        seen.update(zip(("config", "sheet"), await browser.value(lines), strict=True), count=count)
        await browser.press("Escape")
        await browser.until("document.querySelector('.tuning').hidden")

    seen = {}
    with viewed.served(run.path, "--directory", str(run.path)) as site, chromium(tmp_path / "profile") as open_page:
        page = open_page(f"http://127.0.0.1:{site.port}/#/plates/base/B02", steps)
        settings = "method=auto&diameter=34&contrast=400"
        answer = site.json(f"/api/plates/base/fields/0/tuning?{settings}")
        assert site.get("/api/plates/base/fields/0/tuning?method=os.system")[0] == 404
    assert page.complaints == []
    assert answer["count"] == seen["count"]
    expected = {"method": "auto", "diameter": 34.0, "contrast": 400.0, "model": None}
    checked = config.check_config(yaml.safe_load(seen["config"]), source="config.yaml")
    assert methods.detection_of(checked["nuclei"], {}, where="here") == expected
    names, values = (line.split("\t") for line in seen["sheet"].split("\n"))
    row = methods.place_of({None: "line 2", **dict(zip(names, values, strict=True))})
    assert methods.detection_of({"model": "built-in", **row}, row, where="here") == expected
