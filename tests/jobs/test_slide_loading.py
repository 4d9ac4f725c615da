"""Every way of loading a slide returns the same pixels, and a way that is too fast to be right is detected."""

import functools
import itertools
import os
import signal
import sys

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile

import benchmark_slides
import plot_benchmarks
from fieldwork import InputError
from fieldwork.benchmarks import measuring, plots, slide_loading, slide_tasks
from fieldwork.benchmarks.slide_tasks import Case, Region, Source
from fieldwork.slides import choice
from fieldwork.slides import readers as slide_readers
from output_columns import check

READERS = [reader for reader in slide_readers.READERS if reader != "cucim" or os.uname().sysname == "Linux"]
COLUMNS = (
    "Task Reader Level Workers_Kind Workers Shape Megapixels Seconds Seconds_Min Seconds_Max "
    "Megapixels_Per_Second Peak_Memory_MB Slide Width Height Piece_Size Error"
)


@pytest.fixture
def slide(tmp_path):
    """Write a lossless tiled TIFF of two levels with no two squares alike; return its path."""
    return write_slide(tmp_path / "slide.tif", shape=(333, 420), tile=64)


def write_slide(path, *, shape, tile):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    with tifffile.TiffWriter(path) as tif:
        for level, pixels in enumerate((image, image[::2, ::2])):
            options = {"tile": (tile, tile), "photometric": "rgb", "compression": "lzw", "metadata": None}
            tif.write(np.ascontiguousarray(pixels), subfiletype=int(level > 0), **options)
    return path


@pytest.fixture
def source(slide):
    regions = Region(0, 0, 333, 420), Region(0, 0, 167, 210)
    return Source(str(slide), regions, strip=64, block=128, folder=str(slide.parent))


def digest(pixels, step=1):
    """Return the expected answer: of squares of 64 pixels, from right to left."""
    squares = {}
    for x in reversed(range(0, pixels.shape[1], 64)):
        for y in range(0, len(pixels), 64):
            squares |= slide_tasks.check(pixels[y : y + 64, x : x + 64], y, x, side=64, step=step)
    return step, slide_tasks.digest(squares)


def answers_of(cases, source, step=1):
    """Return the answer of every case, run in a process of its own since it may start threads."""
    run = functools.partial(slide_tasks.run, source=source, step=step)
    return {case: measuring.run_in_process(run, case)[1] for case in cases}


@pytest.mark.parametrize("reader", READERS)
def test_every_way_gives_the_pixels_that_tifffile_reads(source, reader):
    cases = slide_loading.list_cases([reader], levels=2, workers=2)
    expected = [digest(tifffile.imread(source.path, key=level)) for level in (0, 1)]
    assert expected[0] != expected[1]
    assert answers_of(cases, source) == {case: expected[case.level] for case in cases}


def test_sampled_pixels_are_those_of_the_slide_in_every_way(source):
    cases = [case for case in slide_loading.list_cases(["tifffile"], levels=1, workers=2) if case.workers == 2]
    assert set(answers_of(cases, source, step=16).values()) == {digest(tifffile.imread(source.path), step=16)}


def test_a_region_amid_a_slide_is_what_is_loaded(source):
    amid = source._replace(regions=(Region(64, 130, 200, 150),))
    cases = [case for case in slide_loading.list_cases(["tifffile"], levels=1, workers=2) if case.workers == 2]
    assert set(answers_of(cases, amid).values()) == {digest(tifffile.imread(source.path)[64:264, 130:280])}


@pytest.mark.parametrize("pixel", [(0, 0), (100, 200), (332, 419)])
def test_one_other_pixel_is_another_checksum(pixel):
    image = np.zeros((333, 420, 3), np.uint8)
    before = slide_tasks.check(image, 0, 0, side=64, step=1)
    image[pixel] = 0, 0, 1
    after = slide_tasks.check(image, 0, 0, side=64, step=1)
    assert [key for key in before if before[key] != after[key]] == [tuple(index // 64 * 64 for index in pixel)]


@pytest.mark.parametrize("shape", ["rows", "columns", "blocks"])
def test_pieces_cover_every_pixel_once(shape):
    seen = np.zeros((333, 420), int)
    for y, x, height, width in slide_tasks.cut(Region(7, 9, 333, 420), shape, strip=64, block=128):
        seen[y : y + height, x : x + width] += 1
        assert y % 64 == x % 64 == 0
    assert (seen == 1).all()


def test_a_large_level_is_loaded_in_its_middle_and_cut_for_many_workers(slide, monkeypatch):
    assert slide_loading._middle_of((20000, 3000)) == (7680, 0, 4096, 3000)  # 7680: 15 strips
    monkeypatch.setattr(choice, "choose_reader", lambda path, reader: (reader, "it does not matter here"))
    monkeypatch.setattr(slide_readers, "READERS", ("tifffile",))
    for workers, strip, block in [(1, 512, 512), (2, 256, 256), (3, 128, 128), (5, 64, 128), (99, 64, 64)]:
        source, _ = slide_loading.open_source(slide, workers=workers, folder=slide.parent)
        assert (source.strip, source.block) == (strip, block), workers


def test_every_reader_is_measured_in_every_way_with_1_2_4_and_all_workers():
    cases = slide_loading.list_cases(["cucim", "tifffile", "openslide"], levels=2, workers=6)
    assert len(set(cases)) == len(cases)
    strips = [(kind, shape) for kind in ("thread", "process") for shape in ("rows", "columns")]
    ways = [(task, *way) for task in ("strips", "assemble", "zarr") for way in strips]
    ways += [("assemble", "process_shared", "rows"), ("assemble", "process_shared", "columns")]
    ways += [("zarr", "process", "blocks"), ("num_workers", "num_workers", "whole")]
    for reader in ("cucim", "tifffile", "openslide"):
        levels, rest = [], {}
        for case in cases:
            if case.reader == reader and case.task == "load level":
                levels.append(case[2:])
            elif case.reader == reader:
                rest.setdefault((case.task, case.kind, case.shape), []).append(case.workers)
        assert levels == [(0, "thread", 1, "whole"), (1, "thread", 1, "whole")]
        own = [way for way in ways if reader != "openslide" or way[0] != "num_workers"]
        assert rest == {way: [1, 2, 4, 6] for way in own}


def test_the_table_has_a_row_for_every_case_and_can_be_drawn(slide, monkeypatch):
    open_source, folder, wanted = slide_loading.open_source, slide.parent, []

    def open_for_tifffile(*given, with_gpu, **how):
        wanted.append(with_gpu)
        return open_source(*given, **how)[0], ["tifffile"]

    monkeypatch.setattr(slide_loading, "open_source", open_for_tifffile)
    made = {"ways_table": folder / "slides.csv", "machine_table": folder / "machine.csv"}
    benchmark_slides.main(paths=[slide], workers=1, with_gpu=1, repeats=1, **made)
    assert wanted == [1]
    table = pd.read_csv(folder / "slides.csv")
    assert list(table) == COLUMNS.split()
    check("results/benchmarks/slides.csv", table.columns)
    check("results/benchmarks/slides_machine.csv", pd.read_csv(folder / "machine.csv").columns)
    keys = table[["Task", "Reader", "Level", "Workers_Kind", "Workers", "Shape"]].itertuples(index=False)
    assert [tuple(key) for key in keys] == slide_loading.list_cases(["tifffile"], levels=2, workers=1)
    sizes = table[["Level", "Width", "Height", "Megapixels"]].drop_duplicates().values.tolist()
    assert sizes == [[0, 420, 333, 0.14], [1, 210, 167, 0.035]] and set(table.Slide) == {"slide.tif"}
    assert (table.Seconds_Min > 0).all() and (table.Seconds_Min <= table.Seconds_Max).all()
    assert (table.Peak_Memory_MB > 30).all()
    assert {"CPU", "Cores", "zarr", "imagecodecs"} <= set(pd.read_csv(folder / "machine.csv"))
    assert {path.name for path in folder.iterdir()} == {"slide.tif", "slides.csv", "machine.csv"}
    measured = {"slides": folder / "slides.csv", "machine": folder / "machine.csv"}
    plot_benchmarks.main(measured=measured, charts={"slides": folder / "slides.png"})
    assert (folder / "slides.png").read_bytes().startswith(b"\x89PNG")


def test_only_readers_that_are_right_for_the_file_are_measured(tmp_path, caplog):
    image = np.random.default_rng(0).integers(0, 256, (300, 430, 3), np.uint8)
    options = {"photometric": "rgb", "tile": (64, 64), "metadata": None}
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:  # only tifffile follows SubIFDs to the lower level
        tif.write(image, subifds=1, **options)
        tif.write(np.ascontiguousarray(image[::2, ::2]), subfiletype=1, **options)
    source, readers = slide_loading.open_source(tmp_path / "a.tif", workers=2, folder=tmp_path, with_gpu=True)
    assert "cupy" not in caplog.text  # where cuCIM is not right, it is not on a GPU either
    assert readers == ["tifffile"] and source.regions == ((0, 0, 300, 430), (0, 0, 150, 215))
    assert "reader 'openslide'" in caplog.text
    assert {case.reader for case in slide_loading.list_cases(readers, levels=1, workers=2)} == {"tifffile"}


class OnCpu(slide_tasks.OnGpu):
    """The GPU's code, which decodes on the processor."""

    device, _to_host = "cpu", staticmethod(np.asarray)


def by_cucim(case, path):
    level, region, workers = case
    pixels = OnCpu(path).read(level, *region, workers=workers)
    return 0, pixels.tobytes()


@pytest.mark.skipif("cucim" not in READERS, reason="cuCIM exists for Linux only")
def test_squares_that_cucim_decodes_in_batches_are_put_where_they_belong(tmp_path):
    path = write_slide(tmp_path / "slide.tif", shape=(2500, 1900), tile=256)
    run = functools.partial(by_cucim, path=str(path))
    whole, part, lower = Region(0, 0, 2500, 1900), Region(512, 30, 1030, 700), Region(0, 0, 1250, 950)
    for level, region, workers in [(0, whole, 1), (0, whole, 2), (0, part, 2), (1, lower, 2)]:
        y, x, height, width = region
        expected = tifffile.imread(path, key=level)[y : y + height, x : x + width]
        assert measuring.run_in_process(run, (level, region, workers))[1] == expected.tobytes()


@pytest.mark.skipif("cucim" not in READERS, reason="cuCIM exists for Linux only")
def test_a_slide_that_is_smaller_than_such_a_square_is_read_too(source):
    run = functools.partial(by_cucim, path=source.path)
    for level, region in enumerate(source.regions):
        expected = tifffile.imread(source.path, key=level).tobytes()
        assert measuring.run_in_process(run, (level, region, 1))[1] == expected


def on_gpu(region, path):
    return 0, slide_tasks.OnGpu(path).read(0, *region, workers=2)


@pytest.mark.gpu
def test_what_is_decoded_on_the_gpu_is_the_slide(tmp_path):
    image = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (1300, 900, 3), np.uint8), (0, 0), 3)
    options = {"tile": (256, 256), "photometric": "ycbcr", "compression": "jpeg", "metadata": None}
    tifffile.imwrite(tmp_path / "slide.tif", image, **options)
    run = functools.partial(on_gpu, path=str(tmp_path / "slide.tif"))
    _, pixels = measuring.run_in_process(run, Region(0, 0, 1300, 900))
    np.testing.assert_allclose(pixels, tifffile.imread(tmp_path / "slide.tif"), atol=8)  # decoders round


def test_every_reader_has_a_colour_and_a_package():
    assert (
        set(slide_loading.READER_PACKAGES)
        == set(plots.READER_COLOURS)
        == {*slide_readers.READERS, slide_tasks.GPU_READER}
    )


def test_a_gpu_is_one_more_reader_that_is_never_forked_and_left_out_where_it_fails(slide, monkeypatch, caplog):
    cases = slide_loading.list_cases(["cucim", slide_tasks.GPU_READER], levels=2, workers=2)
    on_gpu = {(case.task, case.kind) for case in cases if case.reader == slide_tasks.GPU_READER}
    assert on_gpu == {("load level", "thread"), ("num_workers", "num_workers")}
    monkeypatch.setitem(sys.modules, "cupy", None)  # cannot be imported
    _, readers = slide_loading.open_source(slide, workers=2, folder=slide.parent, with_gpu=True)
    assert readers == READERS and ("left out: " in caplog.text and "cupy" in caplog.text) == ("cucim" in READERS)


def crash(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)  # SIGSEGV would have pytest print where


def test_a_reader_that_crashes_does_not_take_the_others_along(slide, monkeypatch, caplog):
    monkeypatch.setattr(slide_readers._OpenSlide, "_region", crash)
    _, readers = slide_loading.open_source(slide, workers=2, folder=slide.parent)
    assert readers == [reader for reader in READERS if reader != "openslide"]
    assert "'openslide'" in caplog.text and "status -9" in caplog.text


def test_the_first_slide_that_can_be_read_is_measured(slide, monkeypatch):
    (slide.parent / "empty.svs").touch()
    measured = []
    monkeypatch.setattr(slide_readers, "READERS", ("tifffile",))
    monkeypatch.setattr(
        slide_loading, "measure", lambda cases, source, repeats: measured.append(source.path) or [{"Error": None}]
    )
    tables = {"ways_table": slide.parent / "slides.csv", "machine_table": slide.parent / "machine.csv"}
    benchmark_slides.main(paths=[slide.parent / "empty.svs", slide], workers=2, with_gpu=0, **tables)
    assert measured == [str(slide)]
    with pytest.raises(InputError, match="of 1 slides none can be read"):
        benchmark_slides.main(paths=[slide.parent / "empty.svs"], workers=2, with_gpu=0, **tables)


def test_a_way_that_gives_other_pixels_is_detected(source, monkeypatch):
    copy = slide_tasks._copy
    monkeypatch.setattr(slide_tasks, "_copy", lambda image, pixels, y, x: copy(image, pixels[:, ::-1], y, x))
    cases = [
        Case("load level", "tifffile", 0, "thread", 1, "whole"),
        Case("assemble", "tifffile", 0, "thread", 1, "rows"),
    ]
    rows = slide_loading.measure(cases, source, repeats=1)
    assert rows[0]["Error"] is None and rows[0]["Seconds"] > 0
    assert "other pixels than tifffile" in rows[1]["Error"] and rows[1]["Seconds"] is None


def test_a_way_that_crashes_does_not_take_the_others_along(source, monkeypatch):
    monkeypatch.setattr(slide_tasks, "_copy", crash)
    cases = [
        Case("assemble", "tifffile", 0, "thread", 2, "rows"),
        Case("strips", "tifffile", 0, "process", 2, "columns"),
    ]
    rows = slide_loading.measure(cases, source, repeats=2)
    assert "ended with status -9" in rows[0]["Error"] and rows[0]["Peak_Memory_MB"] is None
    assert rows[1]["Error"] is None and rows[1]["Megapixels_Per_Second"] > 0
    assert list(rows[0]) == list(rows[1]) == COLUMNS.split()


def test_a_short_run_has_a_peak_of_memory_too(monkeypatch):
    monkeypatch.setattr(measuring, "_memory", lambda pid: 0)  # it has ended before the first look
    [measured] = measuring.measure([("short",)], lambda case: (0.1, "answer"), repeats=1).values()
    assert measured.peak_memory > 30e6 and measured.answers == ["answer", "answer"]


def test_the_chart_shows_every_way_of_every_reader():
    rows = []
    for number, case in enumerate(slide_loading.list_cases(list(plots.READER_COLOURS), levels=3, workers=4)):
        seconds = 1 + number / 10
        rows.append(dict(zip(["Task", "Reader", "Level", "Workers_Kind", "Workers", "Shape"], case, strict=True)))
        rows[-1] |= {"Megapixels": 2, "Seconds": seconds, "Seconds_Min": 0.9 * seconds, "Seconds_Max": 2 * seconds}
        rows[-1] |= {"Megapixels_Per_Second": 2 / seconds, "Width": 2000, "Height": 1000}
    count = len(rows)
    rows[-1]["Seconds"] = None  # it failed
    figure = plots.loading(rows, caption="a slide")
    assert "a slide" in figure.get_suptitle() and f"1 of {count} ways failed" in figure.get_suptitle()
    levels, *ways = figure.axes
    del rows[-1]
    heights = [bar.get_height() for bars in levels.containers[1::2] for bar in bars]
    loaded = [row for row in rows if row["Task"] == "load level"]
    assert (
        sorted(heights) == pytest.approx(sorted(row["Megapixels_Per_Second"] for row in loaded)) and len(heights) == 12
    )
    bars = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in levels.patches)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(bars))
    drawn = [value for axes in ways for bars in axes.containers for value in bars.lines[0].get_ydata()]
    rest = [row["Megapixels_Per_Second"] for row in rows if row["Task"] != "load level"]
    assert len(ways) == 9 and sorted(drawn) == pytest.approx(sorted(rest))
    for axes in ways:
        assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "4"]
        assert axes.get_xlabel() == "workers" and axes.get_ylabel() == "megapixels per second"
