"""Pictures of slides, stacks and jobs: what is drawn, not how it looks."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import plot_jobs
from fieldwork import job_times
from fieldwork.slides import plots
from fieldwork.stacks import plots as stack_plots


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


NUCLEI = 2500 * ((100, 200), (100, 210), (900, 3000))


def overview(mpp=(0.5, 0.25), nuclei=NUCLEI):
    """Draw a slide of 1000 x 4000 px whose left half is tissue."""
    tissue = np.zeros((10, 40), bool)
    tissue[:, :20] = True
    nuclei = np.array(nuclei, float).reshape(-1, 2)
    thumbnail = np.full((100, 400, 3), 200, np.uint8)
    return plots.overview(thumbnail, tissue, nuclei, shape=(1000, 4000), mpp=mpp, title="slide S")


def test_a_slide_is_drawn_in_millimetres_with_its_nuclei_per_square_millimetre():
    figure = overview()
    left, right = figure.axes[:2]
    assert left.images[0].get_extent() == [0, 1, 0.5, 0]  # 4000 px of 0.25 um, 1000 px of 0.5 um
    assert (right.get_xlabel(), right.get_ylabel()) == ("mm", "mm")
    assert right.get_title() == "7,500 nuclei"
    density = right.images[0].get_array()
    area = (1 / plots.MOST_SQUARES) ** 2
    assert density.sum() * area == pytest.approx(7500)
    assert density.max() * area == pytest.approx(5000)
    row, column = np.argwhere(density.filled(0) * area > 3000)[0]
    assert (row, column) == (int(0.05 * plots.MOST_SQUARES), int(0.0525 * plots.MOST_SQUARES))
    assert density.mask.sum() == density.size - 2  # without nuclei nothing is drawn
    assert [text.get_text() for text in left.texts] == ["200 µm"]
    [bar] = left.lines
    assert np.ptp(bar.get_xdata()) == pytest.approx(0.2)
    for black in (bar, *left.texts):  # and seen on black, too
        [rim] = black.get_path_effects()
        assert rim._gc == {"linewidth": 6, "foreground": "white"}


def test_the_outline_of_tissue_is_where_the_mask_ends():
    [outline] = overview().axes[0].collections
    [path] = [path for path in outline.get_paths() if len(path.vertices)]
    np.testing.assert_allclose(path.vertices[:, 0], 0.5, atol=0.02)


def test_a_slide_without_pixel_size_is_drawn_in_pixels_and_one_without_nuclei_too():
    figure = overview(mpp=None)
    assert figure.axes[1].get_xlabel() == "px"
    assert not figure.axes[0].texts
    assert figure.axes[-1].get_ylabel() == "nuclei per megapixel"
    assert overview(nuclei=()).axes[1].get_title() == "0 nuclei"


def test_squares_are_large_enough_for_few_nuclei():
    right = overview(nuclei=NUCLEI[:20]).axes[1]  # 7 times the three places but one: 14 and 6 of 20
    density = right.images[0].get_array()
    side = (0.5 * plots.LEAST_NUCLEI / 20) ** 0.5  # mm
    assert density.shape == (-(-0.5 // side), -(-1 // side)) == (2, 4)
    heights, widths = np.array([side, 0.5 - side]), np.array([side, side, side, 1 - 3 * side])
    assert (density * np.outer(heights, widths)).filled(0).tolist() == [
        [pytest.approx(14), 0, 0, 0],
        [0, 0, pytest.approx(6), 0],
    ]


def test_a_failed_slide_says_why():
    figure = plots.failed("slide S", "no reader can read it")
    assert [text.get_text() for text in figure.texts] == ["slide S", "no reader can read it"]


def frames(counts):
    status = ["ok" if count is not None else "failed" for count in counts]
    return pd.DataFrame({"Metadata_Frame": range(len(counts)), "Image_Status": status, "n": counts})


def test_a_stack_shows_every_count_a_gap_for_a_failed_frame_and_the_nuclei_of_the_frames():
    image = np.zeros((8, 9))
    shown = [(0, image, np.array([[1, 2], [3, 4]])), (3, image, np.empty((0, 2)))]
    figure = stack_plots.over_time(frames([5, None, 7, 9]), {"n": "nuclei"}, shown, title="stack T")
    charts = [axes for part in figure.subfigs for axes in part.axes]
    assert [axes.get_title() for axes in charts] == ["1 of 4 frames failed", "frame 0", "frame 3"]
    np.testing.assert_array_equal(charts[0].lines[0].get_ydata(), [5, np.nan, 7, 9])
    assert charts[0].lines[1].get_xdata() == [1, 1]
    assert charts[1].lines[0].get_xydata().tolist() == [[2, 1], [4, 3]]
    assert len(charts[2].lines[0].get_xydata()) == 0


def test_a_stack_of_which_only_images_were_made_shows_its_frames():
    figure = stack_plots.over_time(frames([1, 2]), {}, [(0, np.eye(4), np.empty((0, 2)))], title="stack T")
    assert [axes.get_title() for part in figure.subfigs for axes in part.axes] == ["frame 0"]


def test_every_job_is_a_point_in_the_row_of_its_rule():
    rows = [{"Rule": rule, "Seconds": s, "Memory_MB": 100 * s} for rule, s in [("b", 1), ("a", 2), ("b", 4), ("b", 5)]]
    seconds, memory = job_times.jobs(rows).axes
    assert [label.get_text() for label in seconds.get_yticklabels()] == ["b (3)", "a (1)"]
    points = [line.get_xydata().tolist() for line in memory.lines]
    assert points == [[[100, 0], [400, 0], [500, 0]], [[400, 0]], [[200, 1]], [[200, 1]]]


def test_the_picture_of_jobs_has_those_that_made_tables(tmp_path, monkeypatch):
    for path in ("plates/P1/units/all", "plates/P1/merge_units", "plates/P1/plot_plate", "benchmark_frames"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{path}.tsv").write_text("s\tmax_rss\n2.5\t70\n")
    (tmp_path / "plates/P1/filter_images.tsv").write_text("s\tmax_rss\n-\t-\n")  # it took no time
    drawn = []
    monkeypatch.setattr(job_times, "jobs", lambda rows: drawn.extend(rows) or plt.figure())
    plot_jobs.main(benchmarks=tmp_path, picture=tmp_path / "jobs.png")
    figures = {"Seconds": 2.5, "Memory_MB": 70}
    assert drawn == [{"Rule": "merge_units", **figures}, {"Rule": "detect_nuclei", **figures}]
