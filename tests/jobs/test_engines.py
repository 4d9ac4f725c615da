"""Every engine gives the same filtered images and nuclei, and the table says how fast each was."""

import functools
import os
from statistics import median

import numpy as np
import pandas as pd
import pytest
import tifffile
from skimage.filters import gaussian

import benchmark_frames
import plot_benchmarks
from fieldwork import figures, nuclei
from fieldwork.benchmarks import engines, measuring, plots
from fieldwork.benchmarks.engines import Batch, Case
from output_columns import check

COLUMNS = "Height Width Scaled_By Engine Workers Seconds Seconds_Min Seconds_Max Speedup Peak_Memory_MB"
TINY = Batch(5, 32, 32, 2)
STACK = Batch(4, 96, 128)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The folder of the tables of a small batch and a short stack; where a killed run left something."""
    folder = tmp_path_factory.mktemp("benchmarks")
    (folder / ".frames.killed" / "tmp1").mkdir(parents=True)
    (folder / ".frames.killed" / "tmp1" / "00001.tif").touch()
    tables = {f"{name}_table": folder / f"{name}.csv" for name in ("filters", "stack", "machine")}
    benchmark_frames.main(batches=[TINY], stack=STACK, workers=2, repeats=1, **tables)
    return folder


def test_the_tables_have_a_row_for_every_engine(measured):
    filtered, stack = (pd.read_csv(measured / f"{name}.csv") for name in ("filters", "stack"))
    assert list(filtered) == ["Images", *COLUMNS.split()] and list(stack) == ["Frames", *COLUMNS.split()]
    check("results/benchmarks/filters.csv", ["Images", *stack])
    for table, batch, names in (
        (filtered, TINY, [*engines.ENGINES, engines.NAIVE]),
        (stack, STACK, list(engines.STACK_ENGINES)),
    ):
        assert list(table.Engine) == names
        assert {tuple(row) for row in table.iloc[:, :4].itertuples(index=False)} == {tuple(batch)}
    for table in (filtered, stack):
        assert (table.Seconds_Min > 0).all() and (table.Seconds_Min <= table.Seconds_Max).all()
        assert (table.Peak_Memory_MB > 30).all()
        assert ((table.Workers == 1) == (table.Engine == "serial")).all()
    assert {"CPU", "Cores", "dask", "scikit-image"} <= set(pd.read_csv(measured / "machine.csv"))
    check("results/benchmarks/frames_machine.csv", pd.read_csv(measured / "machine.csv").columns)


def test_nothing_is_left_of_the_images_nor_of_a_killed_run(measured):
    assert {path.name for path in measured.iterdir()} >= {"filters.csv", "stack.csv", "machine.csv"}
    assert not list(measured.glob(".*"))


def test_a_speed_up_is_the_loops_median_by_the_engines():
    seconds = {"serial": [3, 1, 2], "pool": [1.5, 0.5, 1], "slow": [4, 4, 4]}
    answers = [("a",)] * 4
    measured = {Case(engine, TINY): measuring.Measured(times, 1e8, answers) for engine, times in seconds.items()}
    rows = engines._rows("Images", measured, 7)
    assert [(row["Engine"], row["Speedup"], row["Workers"]) for row in rows] == [
        ("serial", 1, 1),
        ("pool", 2, 7),
        ("slow", 0.5, 7),
    ]
    assert [row["Seconds"] for row in rows] == [median(times) for times in seconds.values()]


@pytest.fixture
def images(tmp_path):
    """Five images in files, and what scikit-image and NumPy make of them."""
    images = np.random.default_rng(1).integers(0, 4096, (5, 32, 40), np.uint16)
    paths = [str(tmp_path / f"{number}.tif") for number in range(5)]
    for path, image in zip(paths, images, strict=True):
        tifffile.imwrite(path, image)
    (tmp_path / "saved").mkdir()
    filtered = [gaussian(image, engines.SIGMA) for image in images]
    pairs = zip(images, filtered, strict=True)
    figures = [[float(number) for pixels in pair for number in (pixels.var(), pixels.mean())] for pair in pairs]
    return paths, filtered, figures


def test_naive_dask_filters_measures_and_saves_every_image(images, tmp_path):
    paths, filtered, figures = images
    naive = functools.partial(_naive, paths=paths, saved=tmp_path / "saved")
    assert measuring.run_in_process(naive, ()) == figures  # Dask starts threads
    saved = [tifffile.imread(path) for path in sorted((tmp_path / "saved").iterdir())]
    np.testing.assert_array_equal(saved, filtered)


def _naive(case, paths, saved):
    return engines.naive_dask(paths, saved, 2)


def test_every_engine_gives_what_naive_dask_gives(images, tmp_path):
    paths, _, figures = images
    run = functools.partial(engines.filter_images, paths=paths, workers=2, folder=tmp_path / "saved")
    batch = Batch(5, 32, 40)
    digests = {name: measuring.run_in_process(run, Case(name, batch))[1] for name in (*engines.ENGINES, engines.NAIVE)}
    assert {metrics for metrics, _ in digests.values()} == {engines._digest(figures)}
    assert digests.pop(engines.NAIVE)[1] is None
    assert len({results for _, results in digests.values()}) == 1 and None not in digests["pool"]
    assert not list((tmp_path / "saved").iterdir())


def other_from_the_second_run(image, *, sigma, folder):
    """Filter otherwise in all runs but the first; each is a process of its own."""
    (folder / f"run {os.getpid()}").touch()
    return image if len(list(folder.glob("run *"))) == 1 else image[::-1]


@pytest.mark.parametrize("engine", ["serial", engines.NAIVE])
def test_an_engine_that_gives_other_images_is_detected(images, tmp_path, monkeypatch, engine):
    monkeypatch.setattr(engines, "ENGINES", {"serial": {"engine": "serial"}})
    other = functools.partial(other_from_the_second_run, folder=tmp_path)
    monkeypatch.setattr(
        "skimage.filters.gaussian" if engine == "serial" else "fieldwork.benchmarks.engines.gaussian", other
    )
    with pytest.raises(RuntimeError, match="did not give the same results"):
        engines.measure_filters(Batch(3, 32, 32), workers=2, folder=tmp_path / "saved", repeats=1)


def test_every_way_through_a_stack_finds_the_nuclei_of_its_frames_in_order(tmp_path):
    path = engines._plant_stack((STACK,), tmp_path)
    stack = tifffile.imread(path)
    assert stack.shape == (4, 96, 128) and len({frame.tobytes() for frame in stack}) == 4
    detection = {key: value for key, value in engines.DETECTION.items() if key != "method"}
    expected = [nuclei.detect_nuclei(frame, **detection) for frame in stack]
    assert sum(map(len, expected)) > 2
    measure = functools.partial(
        engines.stack_frames.measure_frame, function="nuclei", detection=engines.DETECTION, folders=()
    )
    for run in engines.STACK_ENGINES.values():
        measured = run(measure, path, 2)
        assert [frame.index for frame in measured] == [0, 1, 2, 3]
        for frame, coordinates in zip(measured, expected, strict=True):
            np.testing.assert_array_equal(frame.coordinates, coordinates)


@pytest.mark.parametrize("cores", [1, 2, 7, 8, 64])
def test_batches_stand_for_those_of_the_tutorial(cores):
    filtered, stack = engines.choose_batches(cores)
    full = [(10, 2048), (50, 2048), (50, 512), (500, 512), (5000, 32), (50000, 32)]
    stood_for = [(round(batch.count * batch.scaled_by), batch.height) for batch in filtered]
    assert stood_for == (full if cores >= 8 else full[::2])
    assert all(batch.height == batch.width and batch.count >= 10 for batch in filtered)
    assert stack.count >= 10
    if cores >= 8:
        assert all(batch.scaled_by == 1 for batch in (*filtered[:4], stack))


def row(batch, engine, speed, what="Images"):
    times = {"Seconds": 2 / speed, "Seconds_Min": 1.6 / speed, "Seconds_Max": 2.5 / speed, "Speedup": speed}
    sizes = {what: batch.count, "Height": batch.height, "Width": batch.width, "Scaled_By": batch.scaled_by}
    return {**sizes, "Engine": engine, **times}


def test_the_chart_has_a_bar_a_row_from_1_to_its_speed_up():
    speeds = {"serial": (1, 1), "pool": (1.9, 0.8), "naive dask.delayed": (1.5, 0.05)}
    batches = [Batch(1000, 512, 640), Batch(2000, 32, 32, 25)]
    rows = [row(batch, name, speeds[name][number]) for number, batch in enumerate(batches) for name in speeds]
    axes = plots.speed_ups(rows, caption="a machine").axes[0]
    bars = {bar.get_label(): bar for bar in axes.containers if bar.get_label() in speeds}
    assert list(bars) == list(speeds)
    for name, container in bars.items():
        assert [bar.get_y() for bar in container] == [1, 1]
        np.testing.assert_allclose([bar.get_y() + bar.get_height() for bar in container], speeds[name])
    assert len({bar.get_facecolor() for container in bars.values() for bar in container}) == 3
    assert axes.get_yscale() == "log" and axes.get_ylim()[0] < 0.05 and axes.get_ylim()[1] > 1.9
    assert any(set(line.get_ydata()) == {1} for line in axes.lines)
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["1,000 images\n512 x 640 px", "2,000 of 50,000 images\n32 x 32 px"]
    assert {"1", "1.9", "0.05"} <= {text.get_text() for text in axes.texts}
    _, _, (thin,) = bars["pool"].errorbar
    ends = [segment[:, 1] for segment in thin.get_segments()]
    np.testing.assert_allclose(ends, [(1.9 * 0.8, 1.9 / 0.8), (0.8 * 0.8, 0.8 / 0.8)])
    assert axes.get_title() == "a machine"


def test_labels_of_speed_ups_stay_inside_the_frame():
    names = [*engines.ENGINES, engines.NAIVE]
    rows = [row(Batch(10, 32, 32), name, speed) for name, speed in zip(names, (1, 64, 0.02, 60, 0.01), strict=True)]
    figure = plots.speed_ups(rows, caption="")
    figure.canvas.draw()
    axes = figure.axes[0]
    extents = [text.get_window_extent() for text in axes.texts]
    assert min(extent.y0 for extent in extents) > axes.bbox.y0 and max(extent.y1 for extent in extents) < axes.bbox.y1


def test_charts_of_engines_are_drawn_from_the_tables_and_say_what_was_scaled(measured, monkeypatch):
    titles, save = [], figures.save
    monkeypatch.setattr(
        figures,
        "save",
        lambda figure, path, **form: titles.append(figure.axes[0].get_title()) or save(figure, path, **form),
    )
    tables = {name: measured / f"{name}.csv" for name in ("filters", "stack", "machine")}
    charts = {name: measured / f"{name}.png" for name in ("filters", "stack")}
    plot_benchmarks.main(measured=tables, charts=charts)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in charts.values())
    assert "filtered (gaussian)" in titles[0] and "scaled down" in titles[0] and "cores" in titles[0]
    assert "nuclei" in titles[1] and "scaled down" not in titles[1] and "cores" in titles[1]


def test_every_engine_has_a_colour_of_its_own_in_a_chart():
    for names in ([*engines.ENGINES, engines.NAIVE], engines.STACK_ENGINES):
        assert len({plots.ENGINE_COLOURS[name] for name in names}) == len(names)
