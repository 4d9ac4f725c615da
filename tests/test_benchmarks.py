"""The benchmarks measure the same work in every case, and their charts show what was measured."""

import os
import signal

import numpy as np
import pandas as pd
import psutil
import pytest
import tifffile
from skimage.feature import peak_local_max
from skimage.filters import gaussian

from fieldwork import benchmarks, plots, synthetic
from fieldwork.nuclei import detect_nuclei as by

DETECTION = {"sigma": 4, "min_distance": 6, "threshold_abs": 1000}


@pytest.fixture
def images(tmp_path):
    """Six planted fields in files, and how many nuclei scikit-image finds in them."""
    sources, found = [], 0
    for number in range(6):
        image, _ = synthetic.plant_field(np.random.default_rng(number), shape=(120, 160), count=5)
        sources.append((str(tmp_path / f"{number}.tif"), "auto"))
        tifffile.imwrite(sources[-1][0], image)
        found += len(peak_local_max(gaussian(image, 4, preserve_range=True), min_distance=6, threshold_abs=1000))
    return sources, found


def test_every_method_and_detector_finds_the_same_nuclei(images):
    sources, found = images
    cases = [(method, detector, 2) for method in benchmarks.METHODS for detector in benchmarks.DETECTORS]
    rows = benchmarks.compare(cases, sources, detection=DETECTION, repeats=2)
    assert [(row["Method"], row["Detector"]) for row in rows] == [case[:2] for case in cases]
    assert {row["Nuclei"] for row in rows} == {found} and found > 20
    for row in rows:
        assert 0 < row["Seconds_Min"] <= row["Seconds"] <= row["Seconds_Max"]
        assert row["Images"] == 6 and row["Peak_Memory_MB"] > 30
        assert row["Images_per_Second"] == pytest.approx(6 / row["Seconds"], rel=0.1)


@pytest.mark.parametrize("detector", [lambda image, **_: [], lambda image, **options: by(image, **options)[::-1]])
def test_a_detector_that_finds_other_nuclei_or_another_order_is_found_out(images, monkeypatch, detector):
    monkeypatch.setitem(benchmarks.DETECTORS, "other", detector)
    cases = [("list comprehension, reading", name, 1) for name in ("Fieldwork", "other")]
    with pytest.raises(RuntimeError, match="did not find the same nuclei"):
        benchmarks.compare(cases, images[0], detection=DETECTION, repeats=1)


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
    monkeypatch.setitem(benchmarks.DETECTORS, "bad", detector)
    monkeypatch.setattr(benchmarks, "DEADLINE", 2)
    with pytest.raises(RuntimeError, match=f"{method}.*{message}"):
        benchmarks.compare([(method, "bad", 2)], images[0], detection=DETECTION, repeats=1)
    assert not psutil.Process().children()


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
        for detector, rate in zip(plots.COLOURS, (10, 70), strict=True)
    ]
    axes = plots.methods(rows, caption="a machine").axes[0]
    assert [bar.get_width() for bars in axes.containers[1::2] for bar in bars] == [10, 10, 70, 70]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert "70/s, 80 MB, 2 worker(s)" in {text.get_text() for text in axes.texts}
    assert axes.get_title() == "a machine"


def test_densities_are_drawn_in_order_with_their_nuclei():
    fields = [(f"B{n:02} site 1: {n}", np.full((40, 50), n), np.full((n, 2), 7)) for n in range(5)]
    figure = plots.densities(fields)
    drawn = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in drawn] == [title for title, _, _ in fields]
    assert [len(axes.lines[0].get_xdata()) for axes in drawn] == [0, 1, 2, 3, 4]
    assert len({axes.images[0].get_clim() for axes in drawn}) == 1


def test_a_plate_without_fields_has_a_picture_too(tmp_path):
    plots.save(plots.densities([]), tmp_path / "empty.png")
    assert (tmp_path / "empty.png").read_bytes().startswith(b"\x89PNG")


def test_the_target_benchmarks_makes_tables_and_charts(workspace):
    workspace.plant(wells=("B02", "B03"), sites=2)
    workspace.run("benchmarks")
    folder = workspace.path / "results/benchmarks"
    methods = pd.read_csv(folder / "methods.csv")
    assert len(methods) == 16 and methods.Nuclei.nunique() == 1
    assert list(pd.read_csv(folder / "scaling.csv").Workers) == [1, 2]
    fan_out = pd.read_csv(folder / "fan_out.csv")
    assert dict(zip(fan_out.Fan_Out, fan_out.Jobs, strict=True)) == {"plate": 1, "well": 2, "field": 4}
    assert {"CPU", "Cores", "Memory_GB", "Python", "scikit-image"} <= set(pd.read_csv(folder / "machine.csv"))
    assert {path.name for path in folder.glob("*.png")} == {"methods.png", "scaling.png", "fan_out.png"}
    assert (workspace.path / "results/plates").exists() is False
