"""The benchmarks measure the same work in every case, and their charts show what was measured."""

import functools
import os
import signal
import time

import numpy as np
import pandas as pd
import psutil
import pytest
import tifffile
from skimage.feature import peak_local_max
from skimage.filters import gaussian

import benchmark_methods
import plot_benchmarks
from fieldwork import InputError, figures, synthetic
from fieldwork.benchmarks import measuring, plots
from fieldwork.benchmarks import methods as ways
from fieldwork.nuclei import detect_nuclei as by

DETECTION = {"sigma": 4, "min_distance": 6, "threshold_abs": 1000}


@pytest.fixture
def images(tmp_path):
    """Write six planted fields; return their sources, and how many nuclei scikit-image finds in them."""
    sources, n_nuclei = [], 0
    for number in range(6):
        image, _ = synthetic.plant_field(np.random.default_rng(number), shape=(120, 160), count=5)
        sources.append((str(tmp_path / f"{number}.tif"), "auto"))
        tifffile.imwrite(sources[-1][0], image)
        n_nuclei += len(peak_local_max(gaussian(image, 4, preserve_range=True), min_distance=6, threshold_abs=1000))
    return sources, n_nuclei


def test_every_method_and_detector_finds_the_same_nuclei(images):
    sources, n_nuclei = images
    cases = [(method, detector, 2) for method in ways.METHODS for detector in ways.DETECTORS]
    rows = ways.compare(cases, sources, detection=DETECTION, repeats=2)
    assert [(row["Method"], row["Detector"]) for row in rows] == [case[:2] for case in cases]
    assert {row["Nuclei"] for row in rows} == {n_nuclei} and n_nuclei > 20
    for row in rows:
        assert 0 < row["Seconds_Min"] <= row["Seconds"] <= row["Seconds_Max"]
        assert row["Images"] == 6 and row["Peak_Memory_MB"] > 30
        assert row["Images_per_Second"] == pytest.approx(6 / row["Seconds"], rel=0.1)


def test_outlines_are_compared_with_outlines(images, monkeypatch):
    sources, n_nuclei = images
    cases = [("list comprehension, reading", "Fieldwork", 1)]
    cases += [("map_frames, paths", detector, workers) for detector in ways.OUTLINE_DETECTORS for workers in (1, 2)]
    rows = ways.compare(cases, sources, detection=DETECTION | {"threshold_abs": 4000}, repeats=1)
    assert [row["Detector"] for row in rows] == [case[1] for case in cases]
    assert rows[0]["Nuclei"] < rows[1]["Nuclei"] and {row["Nuclei"] for row in rows[1:]} == {n_nuclei}
    monkeypatch.setitem(ways.METHODS, "reversed", (reversed_images, False))
    cases = [(method, "Fieldwork, classical", 1) for method in ("list comprehension, reading", "reversed")]
    with pytest.raises(RuntimeError, match="did not find the same nuclei"):
        ways.compare(cases, sources, detection=DETECTION, repeats=1)


def reversed_images(detect, sources, workers):
    return ways.comprehension_reading(detect, sources, workers)[::-1]


@pytest.mark.parametrize("detector", [lambda image, **_: [], lambda image, **options: by(image, **options)[::-1]])
def test_a_detector_that_finds_other_nuclei_or_another_order_is_detected(images, monkeypatch, detector):
    monkeypatch.setitem(ways.DETECTORS, "other", detector)
    cases = [("list comprehension, reading", name, 1) for name in ("Fieldwork", "other")]
    with pytest.raises(RuntimeError, match="did not find the same nuclei"):
        ways.compare(cases, images[0], detection=DETECTION, repeats=1)


def other_in_one_run(image, *, folder, run, **options):
    """Find nothing in one run: a run is a process of its own, and a file counts it."""
    (folder / f"run {os.getpid()}").touch()
    centres = by(image, **options)
    return centres[:0] if len(list(folder.glob("run *"))) == run else centres


@pytest.mark.parametrize("run", [1, 2, 3])  # 3: that in which the memory is measured
def test_a_detector_that_finds_other_nuclei_in_one_run_only_is_detected(images, monkeypatch, tmp_path, run):
    detector = functools.partial(other_in_one_run, folder=tmp_path, run=run)
    monkeypatch.setitem(ways.DETECTORS, "other", detector)
    cases = [("list comprehension, reading", name, 1) for name in ("Fieldwork", "other")]
    with pytest.raises(RuntimeError, match="did not find the same nuclei"):
        ways.compare(cases, images[0], detection=DETECTION, repeats=2)
    assert len(list(tmp_path.glob("run *"))) == 3


def test_a_method_that_gives_nuclei_to_another_image_is_detected(images, monkeypatch):
    def shifted(detect, sources, workers):
        nuclei = ways.comprehension_reading(detect, sources, workers)
        return [np.concatenate(nuclei[:2]), nuclei[0][:0], *nuclei[2:]]

    monkeypatch.setitem(ways.METHODS, "shifted", (shifted, False))
    cases = [(method, "Fieldwork", 1) for method in ("list comprehension, reading", "shifted")]
    with pytest.raises(RuntimeError, match="did not find the same nuclei"):
        ways.compare(cases, images[0], detection=DETECTION, repeats=1)


def test_a_method_that_takes_less_than_a_millisecond_can_be_drawn(images, monkeypatch):
    monkeypatch.setitem(ways.METHODS, "nothing", (lambda detect, sources, workers: [], False))
    rows = ways.compare([("nothing", "Fieldwork", 1)], images[0], detection=DETECTION, repeats=1)
    assert 0 < rows[0]["Seconds_Min"] < 0.0005
    figures.save(plots.methods(rows, caption=""), os.devnull)


@pytest.mark.parametrize("count", [0, 2])
def test_images_of_which_none_can_be_read_are_refused(tmp_path, count):
    images = [tmp_path / f"{number}.tif" for number in range(count)]
    for path in images:
        path.touch()
    tables = dict.fromkeys(["methods_table", "scaling_table", "machine_table"], tmp_path / "table.csv")
    with pytest.raises(InputError, match=f"of the first plate's {count} images none can be read"):
        benchmark_methods.main(
            plate="plate", images=images, channel="auto", detection=DETECTION, workers=2, with_gpu=0, **tables
        )


def killed(image, **_):
    os.kill(os.getpid(), signal.SIGKILL)


def broken(image, **_):
    raise KeyError("broken")


@pytest.mark.parametrize(
    ("detector", "method", "message"),
    [
        (killed, "list comprehension, reading", "ended with status -9"),
        (killed, "Pool, reading", "not done after 2 s"),
        (killed, "map_frames, paths", "WorkerDied"),
        (broken, "Pool, reading", "KeyError: 'broken'"),
    ],
)
def test_a_case_that_fails_or_hangs_ends_the_benchmark_and_is_named(images, monkeypatch, detector, method, message):
    monkeypatch.setitem(ways.DETECTORS, "bad", detector)
    monkeypatch.setattr(measuring, "RUN_TOO_LONG_S", 2)
    before = psutil.Process().children()
    with pytest.raises(RuntimeError, match=f"{method}.*{message}"):
        ways.compare([(method, "bad", 2)], images[0], detection=DETECTION, repeats=1)
    assert set(psutil.Process().children()) <= set(before)


def kills_the_case(image, *, folder, **_):
    (folder / f"worker {os.getpid()}").touch()
    if len(list(folder.glob("worker *"))) == 2:
        os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(30)


def is_running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_case_that_is_killed_is_noticed_at_once_and_leaves_no_worker(images, monkeypatch, tmp_path):
    monkeypatch.setitem(ways.DETECTORS, "bad", functools.partial(kills_the_case, folder=tmp_path))
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="ended with status -9"):
        ways.compare([("Pool, reading", "bad", 2)], images[0], detection=DETECTION, repeats=1)
    assert time.monotonic() - start < 10
    workers = [int(path.name.split()[1]) for path in tmp_path.glob("worker *")]
    assert len(workers) == 2
    while any(map(is_running, workers)):  # a signal takes a moment
        assert time.monotonic() - start < 10
        time.sleep(0.05)


def row(method, detector, rate):
    return {
        "Method": method,
        "Detector": detector,
        "Workers": 2,
        "Images": 100,
        "Seconds": 100 / rate,
        "Seconds_Min": 90 / rate,
        "Seconds_Max": 110 / rate,
        "Images_per_Second": rate,
        "Peak_Memory_MB": 80,
    }


def test_the_chart_of_methods_has_a_bar_a_row_and_names_them():
    rows = [
        row(method, detector, rate)
        for method in ("a", "b")
        for detector, rate in zip(plots.DETECTOR_COLOURS, (10, 70, 90, 40, 30), strict=True)
    ]
    axes = plots.methods(rows, caption="a machine").axes[0]
    assert [bar.get_width() for bars in axes.containers[1::2] for bar in bars] == [*np.repeat([10, 70, 90, 40, 30], 2)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert "70/s, 80 MB, 2 workers" in {text.get_text() for text in axes.texts}
    assert axes.get_title() == "a machine"


def test_labels_of_methods_stay_inside_the_frame():
    rows = [row(method, detector, 12345) for method in ways.METHODS for detector in plots.DETECTOR_COLOURS]
    figure = plots.methods([{**row, "Peak_Memory_MB": 123456, "Workers": 128} for row in rows], caption="")
    figure.canvas.draw()
    axes = figure.axes[0]
    assert max(text.get_window_extent().x1 for text in axes.texts) < axes.bbox.x1


def test_the_chart_of_workers_has_the_slowest_and_the_fastest_run():
    rows = [{**row("a", "Fieldwork", 10 * workers), "Workers": workers} for workers in (1, 2)]
    _, _, (bars,) = plots.scaling(rows, caption="").axes[0].containers[0]
    ends = [list(segment[:, 1]) for segment in bars.get_segments()]
    np.testing.assert_allclose(ends, [[100 / 11, 100 / 9], [200 / 11, 200 / 9]])


@pytest.mark.parametrize(("width", "sizes"), [(640, "640 x 512 px"), (None, "several sizes")])
def test_charts_say_what_was_measured(tmp_path, monkeypatch, width, sizes):
    plate = {"Metadata_Plate": "007"}
    tables = {
        "methods": {**plate, "Image_Width": width, "Image_Height": width and 512, **row("a", "Fieldwork", 10)},
        "scaling": {**plate, **row("map_frames, paths", "Fieldwork", 10)},
        "fan_out": {**plate, "Fan_Out": "plate", "Jobs": 1, "Fields": 5, "Cores": 2, "Seconds_per_Field": 1},
        "machine": {"CPU": "a CPU", "Cores": 4, "Memory_GB": 8, "Python": "3.11"},
    }
    measured = {name: tmp_path / f"{name}.csv" for name in tables}
    for name, path in measured.items():
        pd.DataFrame([tables[name]]).to_csv(path, index=False)
    titles, save = {}, figures.save
    monkeypatch.setattr(
        figures,
        "save",
        lambda figure, path, **form: titles.update({path: figure.axes[0].get_title()}) or save(figure, path, **form),
    )
    charts = {name: tmp_path / f"{name}.png" for name in ("methods", "scaling", "fan_out")}
    plot_benchmarks.main(measured=measured, charts=charts)
    methods, scaling, fan_out = titles.values()
    assert methods.startswith(f"plate 007: 100 images of {sizes}\n")
    sentence, _, caption = scaling.partition("\n")
    assert sentence == "Choose --cores 2: 1.0 times as fast as 2 cores."
    assert caption.startswith(f"map_frames, paths, Fieldwork's detection\nplate 007: 100 images of {sizes}\n")
    sentence, _, caption = fan_out.partition("\n")
    assert sentence == "Choose fan_out: plate, the default: 1.00 s per field."
    assert caption.startswith(f"plate 007: whole runs on 5 fields (16 at most) of {sizes}, 2 cores\n")
    assert all(path.exists() for path in charts.values())
