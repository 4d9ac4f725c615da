"""The pictures of a plate show the values of its tables, at the wells' positions."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from PIL import Image

import plot_plate
from fieldwork import figures, label_images, outputs
from fieldwork.detection import plate_flags
from fieldwork.inputs import platemaps
from fieldwork.plates import plate_maps, plots, tables
from fieldwork.wells import row_and_column
from outlined import squares, traced
from workspace import REPOSITORY

LETTERS = [chr(65 + number) for number in range(26)] + ["A" + chr(65 + number) for number in range(22)]
ALL = ("nuclei", "fields", "edge", "quality", "doses", "controls", "timepoints")


def counted(well, site, count, **others):
    """Return a row of fields.csv; without a count it failed."""
    failed = count is None
    return {
        **{"Metadata_Plate": "P1", "Metadata_Well": well, "Metadata_Site": site},
        **{"FileName_DNA": f"{well}_{site}.tif", "PathName_DNA": "007", "Image_Count_Nuclei": count},
        **{"Image_Status": "failed" if failed else "ok", "Image_Error": "empty file" if failed else None},
        **dict.fromkeys(tables.QUALITY, None if failed else -2.0),
        **dict.fromkeys(plate_flags.FIELD_FLAGS, None if failed else False),
        **others,
    }


def read(folder, rows, platemap=None):
    """Write the tables of a plate as merge_units does, and read them as plot_plate does: wells, fields."""
    wells, columns = tables.wells_of(rows, platemap or {})
    absent = [name for name in tables.OPTIONAL if not any(name in row for row in rows)]
    names = [name for name in tables.FIELDS.names if name not in absent]
    outputs.write_csv(rows, names, folder / "fields.csv")
    outputs.write_csv(wells, columns, folder / "wells.csv")
    outputs.write_csv(*tables.timepoints_of(rows), folder / "timepoints.csv")
    return plot_plate.read_table(folder / "wells.csv"), plot_plate.read_table(folder / "fields.csv")


def draw(picture, wells, fields, folder):
    """Draw one picture of a plate, whose time points are in a folder."""
    if picture == "timepoints":
        return plate_maps.timepoints(wells, plot_plate.read_table(folder / "timepoints.csv"), plate="P1")
    if picture == "quality":
        return plate_maps.quality(wells, fields, plate="P1")
    if picture == "fields":
        return plots.fields_by_treatment(wells, fields, plate="P1")
    return getattr(plots if picture in ("edge", "doses") else plate_maps, picture)(wells, plate="P1")


def shown(axes):
    """Return the values that a heatmap shows, by (row, column)."""
    values = axes.images[0].get_array().filled(np.nan)
    return {position: value for position, value in np.ndenumerate(values) if value == value}


def marked(axes):
    """Return the marks of a heatmap: label without its count -> positions; check the count in the label."""
    marks = {}
    for collection in axes.collections:
        label, _, number = collection.get_label().partition(" (")
        if number:
            positions = {(round(y), round(x)) for x, y in collection.get_offsets()}
            assert len(positions) == len(collection.get_offsets()) == int(number.split()[0])
            marks[label] = positions
    return marks


def outlines(axes):
    """Return the outlined wells of a heatmap: label -> positions."""
    return {
        collection.get_label(): {tuple(path.vertices[:4].mean(axis=0)[::-1].round().astype(int)) for path in paths}
        for collection in axes.collections
        if (paths := collection.get_paths()) and "(" not in collection.get_label()
    }


def boxes(axes):
    """Return the groups of a chart of boxes: label -> sorted values."""
    points = [line for line in axes.lines if line.get_marker() == "o"]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    heights = list(axes.get_yticks())
    for line, height in zip(points, heights, strict=True):
        assert np.all(np.abs(line.get_ydata() - height) < 0.35)
    return {label: sorted(line.get_xdata()) for label, line in zip(labels, points, strict=True)}


@pytest.fixture(autouse=True)
def without_figures():
    """Close what a test draws and does not save."""
    yield
    figures.plt.close("all")


def test_each_well_shows_its_numbers_where_it_is_and_what_has_none_is_marked(tmp_path):
    rows = [counted("B02", 1, 4), counted("B02", 2, 7), counted("B11", 1, 0), counted("G03", 1, 120_000)]
    rows += [counted("G03", 2, None), counted("G11", 1, None), counted("G11", 2, None)]
    wells, _ = read(tmp_path, rows)
    figure = plate_maps.nuclei(wells, plate="007")
    assert "007" in figure.get_suptitle()
    means, sums = (axes for axes in figure.axes if axes.images)
    assert shown(means) == {(1, 1): 5.5, (1, 10): 0, (6, 2): 120_000}
    assert shown(sums) == {(1, 1): 11, (1, 10): 0, (6, 2): 120_000}
    for axes, written in ((means, ["5.5", "0", "120k"]), (sums, ["11", "0", "120k"])):
        assert axes.images[0].get_array().shape == (8, 12)
        assert [(text.get_position(), text.get_text()) for text in axes.texts] == [
            *zip([(1, 1), (10, 1), (2, 6)], written, strict=True)
        ]
        marks = marked(axes)
        assert marks["every field failed"] == {(6, 10)} and marks["some fields failed"] == {(6, 2)}
        assert marks["no image"] == set(np.ndindex(8, 12)) - {(1, 1), (1, 10), (6, 2), (6, 10)}
        assert [label.get_text() for label in axes.get_yticklabels()] == list("ABCDEFGH")
        assert [label.get_text() for label in axes.get_xticklabels()] == [str(number) for number in range(1, 13)]
        assert axes.yaxis_inverted()
    assert [bar.get_ylabel() for bar in figure.axes if not bar.images] == ["nuclei per field", "nuclei per well"]
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {
        "no image (92 wells)",
        "every field failed (1 well)",
        "some fields failed (1 well)",
    }


@pytest.mark.parametrize("size", [(16, 24), (32, 48)])
def test_a_full_plate_of_384_or_1536_wells_has_every_number_in_its_place(tmp_path, size):
    places = [*np.ndindex(size)]
    rows = [counted(f"{LETTERS[row]}{column + 1:02}", 1, 100 * row + column) for row, column in places]
    wells, _ = read(tmp_path, rows)
    figure = plate_maps.nuclei(wells, plate="P1")
    axes = figure.axes[0]
    assert shown(axes) == {(row, column): 100 * row + column for row, column in places}
    assert len(axes.texts) == (384 if size == (16, 24) else 0)  # in 1536 wells nobody could read them
    assert marked(axes) == {} and not figure.legends
    ticks = dict(zip(axes.get_yticks(), [label.get_text() for label in axes.get_yticklabels()], strict=True))
    assert all(ticks[row] == LETTERS[row] for row in ticks) and len(ticks) == size[0]
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(upper.y0 > lower.y1 - 1 for upper, lower in itertools.pairwise(boxes))
    for text in axes.texts:
        extent = text.get_window_extent().transformed(axes.transData.inverted())
        assert abs(extent.width) < 0.95 and abs(extent.height) < 0.95


def test_quality_is_the_median_of_the_good_fields_with_its_unit(tmp_path):
    def measured(well, site, count, value):
        return counted(
            well, site, count, **{name: value + number for number, name in enumerate(tables.QUALITY) if count}
        )

    rows = [measured("A01", site, 5, value) for site, value in enumerate((1.0, 2.0, 9.0))]
    rows += [measured("B03", 1, 5, 4.0), measured("B03", 2, None, 0), measured("B02", 1, None, 0)]
    wells, fields = read(tmp_path, rows)
    figure = plate_maps.quality(wells, fields, plate="P1")
    drawn = [axes for axes in figure.axes if axes.images]
    assert len(drawn) == len(tables.QUALITY) == len(plate_maps.QUALITY_LABELS)
    for number, (axes, name) in enumerate(zip(drawn, tables.QUALITY.values(), strict=True)):
        assert shown(axes) == {(0, 0): 2 + number, (1, 2): 4 + number}
        assert axes.get_title() == plate_maps.QUALITY_LABELS[name][0]
        assert marked(axes).keys() == {"no image", "every field failed", "some fields failed"}
    units = [axes.get_ylabel() for axes in figure.axes if not axes.images]
    assert units == [unit for _, unit in plate_maps.QUALITY_LABELS.values()]


def test_few_treatments_are_outlined_or_else_controls(tmp_path):
    rows = [counted(well, 1, 5) for well in ("A01", "A02", "B01", "B02", "B03")]
    platemap = {
        "A01": {"Metadata_compound": "NA", "Metadata_control": "Negative "},
        "A02": {"Metadata_compound": "toxin", "Metadata_control": "POSITIVE"},
        "B01": {"Metadata_compound": "toxin", "Metadata_control": "empty"},
        "B02": {"Metadata_compound": "toxin", "Metadata_control": ""},
    }
    wells, _ = read(tmp_path, rows, platemap)
    axes = plate_maps.nuclei(wells, plate="P1").axes[0]
    assert outlines(axes) == {"NA": {(0, 0)}, "toxin": {(0, 1), (1, 0), (1, 1)}}
    for other in (wells.drop(columns="Metadata_compound"), wells.replace({"Metadata_compound": {"toxin": ""}})):
        axes = plate_maps.nuclei(other, plate="P1").axes[0]
        assert outlines(axes) == {"positive control": {(0, 1)}, "negative control": {(0, 0)}}
    many = [counted(f"A{column:02}", 1, 5) for column in range(1, 10)]
    wells, _ = read(tmp_path, many, {row["Metadata_Well"]: {"Metadata_compound": row["Metadata_Well"]} for row in many})
    assert outlines(plate_maps.nuclei(wells, plate="P1").axes[0]) == {}


def test_fields_are_grouped_by_treatment_sorted_by_their_medians(tmp_path):
    rows = [counted("B02", 1, 4), counted("B02", 2, 8), counted("B03", 1, 9), counted("C02", 1, 3)]
    rows += [counted("B03", 2, None), counted("D02", 1, None)]
    platemap = {"B02": {"Metadata_Compound": "a"}, "B03": {"Metadata_Compound": "b"}, "D02": {"Metadata_Compound": "b"}}
    wells, fields = read(tmp_path, rows, platemap)
    axes = plots.fields_by_treatment(wells, fields, plate="P1").axes[0]
    assert boxes(axes) == {"b  (n = 1)": [9], "a  (n = 2)": [4, 8], "(not in the platemap)  (n = 1)": [3]}
    assert axes.get_ylabel() == "Compound" and axes.yaxis_inverted()
    medians = [line.get_xdata()[0] for line in axes.lines if line.get_linewidth() == 1.5 and line.get_marker() != "o"]
    assert medians == [9, 6, 3]


def test_without_treatments_fields_are_grouped_by_control_or_row_or_column(tmp_path):
    rows = [counted(f"{row}{column:02}", 1, 10 * column) for row in "BC" for column in (2, 10)]
    roles = {"B02": {"Metadata_control": "negative"}, "C02": {"Metadata_control": "positive"}}
    cases = [
        (rows, roles, "control", {"negative  (n = 1)": [20], "positive  (n = 1)": [20], "sample  (n = 2)": [100, 100]}),
        (rows, {}, "row", {"B  (n = 2)": [20, 100], "C  (n = 2)": [20, 100]}),
        (rows[:2], {}, "column", {"2  (n = 1)": [20], "10  (n = 1)": [100]}),
    ]
    library = {"B02": {"Metadata_compound": "x"}}
    many = [counted(f"{row}{column:02}", 1, 1) for row in "AB" for column in range(1, 25)]
    library = {row["Metadata_Well"]: {"Metadata_compound": row["Metadata_Well"]} for row in many}
    cases.append((many, library, "row", {"A  (n = 24)": [1] * 24, "B  (n = 24)": [1] * 24}))
    for rows, platemap, what, groups in cases:
        axes = draw("fields", *read(tmp_path, rows, platemap), tmp_path).axes[0]
        assert axes.get_ylabel() == what
        assert {label: [round(x) for x in values] for label, values in boxes(axes).items()} == groups


def test_the_rim_is_compared_with_the_inside(tmp_path):
    inner = {(row, column) for row in range(1, 7) for column in range(1, 11)}
    rows = [
        counted(f"{LETTERS[row]}{column + 1:02}", 1, 100 if (row, column) in inner else 80)
        for row, column in np.ndindex(8, 12)
    ]
    wells, _ = read(tmp_path, rows, {"A01": {"Metadata_control": "negative"}, "B02": {"Metadata_control": "negative"}})
    axes = plots.edge(wells, plate="P1").axes[0]
    assert boxes(axes) == {
        "rim  (n = 36, median 80)": [80] * 36,
        "inside  (n = 60, median 100)": [100] * 60,
        "rim, negative controls  (n = 1, median 80)": [80],
        "inside, negative controls  (n = 1, median 100)": [100],
    }
    title = axes.get_title()
    assert "median of the rim: \N{MINUS SIGN}20.0% against inside\n" in title and "of the plate" in title
    left_empty = wells[[row_and_column(well) in inner for well in wells.Metadata_Well]]
    axes = plots.edge(left_empty, plate="P1").axes[0]
    assert [len(values) for values in boxes(axes).values()] == [28, 32, 1]
    assert "+0.0%" in axes.get_title() and "block of wells with images" in axes.get_title()


def test_a_plate_of_24_wells_has_a_rim_of_its_own():
    wells = [f"{row}{column:02}" for row in "ABCD" for column in range(1, 7)]
    where, rim = plots.rim_of(wells)
    assert "block" in where
    assert [well for well, at_rim in zip(wells, rim, strict=True) if not at_rim] == [
        f"{row}{column:02}" for row in "BC" for column in range(2, 6)
    ]


DOSES = {
    "B02": ("DMSO", "0", (100, 104)),
    "B03": ("DMSO", "0", (90, 90)),
    "C02": ("a", "0.1", (80, 80)),
    "C03": ("a", "0.1", (60, 60)),
    "C04": ("a", "10", (20, 30)),
    "D02": ("b", "1e0", (50, 50)),
    "D03": ("b", "", (70, 70)),
    "D04": ("b", "-3", (70, 70)),
    "D05": ("b", "inf", (70, 70)),
    "D06": ("b", "10", (None, None)),
}


def test_nuclei_are_drawn_against_the_dose_by_compound_with_dose_0_apart(tmp_path):
    rows = [counted(well, site, count) for well, (*_, counts) in DOSES.items() for site, count in enumerate(counts, 1)]
    platemap = {well: {"Metadata_compound": name, "Metadata_dose_uM": dose} for well, (name, dose, _) in DOSES.items()}
    wells, _ = read(tmp_path, rows, platemap)
    figure = plots.doses(wells, plate="P1")
    assert figure.get_supxlabel() == "dose, µM" and "left out: 4 wells" in figure.get_suptitle()
    assert [axes.get_title() for axes in figure.axes] == ["a", "b"]  # DMSO has no dose of its own
    expected = {"a": {0.1: (80, 60), 10: (25,)}, "b": {1: (50,)}}
    for axes in figure.axes:
        assert axes.get_xscale() == "log" and axes.get_ylim()[0] == 0
        zero, treated = (line for line in axes.lines if line.get_marker() == "o")
        zero_doses = set(zero.get_xdata())
        assert sorted(zero.get_ydata()) == [90, 102] and len(zero_doses) == 1 and max(zero_doses) < 0.1 / 2
        ticks = [(at, label.get_text()) for at, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)]
        assert ticks == [(*zero_doses, "0"), (0.1, "0.1"), (1, "1"), (10, "10")]
        groups = expected[axes.get_title()]
        points = sorted(zip(treated.get_xdata(), treated.get_ydata(), strict=True))
        assert points == sorted((dose, mean) for dose, means in groups.items() for mean in means)
        bars = axes.containers[1]
        assert [*zip(*bars.lines[0].get_data(), strict=True)] == [(dose, np.mean(m)) for dose, m in groups.items()]
        ends = [np.ptp(segment[:, 1]) / 2 for segment in bars.lines[2][0].get_segments()]
        assert ends == pytest.approx([np.std(m, ddof=1) if len(m) > 1 else 0 for m in groups.values()])
    (line,) = axes.containers[0].lines[0].get_ydata()
    assert line == 96
    wells["Metadata_control"] = np.where(wells.Metadata_Well == "B02", "positive", "")
    zero, *_ = (line for line in plots.doses(wells, plate="P1").axes[0].lines if line.get_marker() == "o")
    assert list(zero.get_ydata()) == [90]  # no vehicle in a positive control
    assert "positive controls of dose 0, left out: 1 well" in plots.doses(wells, plate="P1").get_suptitle()


def test_one_compound_or_none_or_too_many(tmp_path):
    rows = [counted(f"{row}{column:02}", 1, 5) for row in "ABCDE" for column in range(1, 11)]
    platemap = {
        row["Metadata_Well"]: {"Metadata_concentration": str(number % 3 + 1), "Metadata_drug": f"c{number // 2:02}"}
        for number, row in enumerate(rows)
    }
    wells, _ = read(tmp_path, rows, platemap)
    figure = plots.doses(wells.drop(columns="Metadata_drug"), plate="P1")
    assert [axes.get_title() for axes in figure.axes] == ["all wells"]
    assert figure.get_supxlabel() == "dose (concentration)"
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["1", "2"]
    titles = [axes.get_title() for axes in plots.doses(wells, plate="P1").axes]
    assert titles == [f"c{number:02}" for number in range(24)]
    assert "24 of 25 compounds" in plots.doses(wells, plate="P1").get_suptitle()


def test_robust_z_and_z_prime_are_drawn_with_the_controls(tmp_path):
    counts = {"A01": 10, "A02": 12, "B01": 100, "B02": 104, "B03": 102, "A03": None}
    roles = {"A01": "positive", "A02": "positive", "B01": "negative", "B02": "negative", "B03": "", "A03": "negative"}
    rows = [counted(well, 1, count) for well, count in sorted(counts.items())]
    wells, _ = read(tmp_path, rows, {well: {"Metadata_control": role} for well, role in roles.items()})
    figure = plate_maps.controls(wells, plate="P1")
    assert shown(figure.axes[0]) == {
        row_and_column(well): pytest.approx((count - 102) / (1.4826 * 2)) for well, count in counts.items() if count
    }
    assert f"Z' = {1 - 3 * (2**0.5 + 8**0.5) / 91:.2f} (2 positive and 2 negative" in figure.get_suptitle()
    low, high = figure.axes[0].images[0].get_clim()
    assert low == -high == pytest.approx(-92 / (1.4826 * 2))  # zero is the middle of the colours
    assert "undefined" not in figure.get_suptitle()
    compounds = wells.assign(Metadata_compound=["DMSO", "tox"] * 3)
    expected = {"positive control": {(0, 0), (0, 1)}, "negative control": {(0, 2), (1, 0), (1, 1)}}
    assert outlines(plate_maps.controls(compounds, plate="P1").axes[0]) == expected
    wells["RobustZ_Count_Nuclei"] = np.nan
    assert "robust z undefined" in plate_maps.controls(wells, plate="P1").get_suptitle()
    (below,) = (axes for axes in figure.axes if not axes.images and axes.get_xlabel())
    assert boxes(below) == {"positive  (n = 2)": [10, 12], "negative  (n = 2)": [100, 104], "sample  (n = 1)": [102]}


def curves(axes):
    """Return the lines of a picture of curves, and the points that stand alone, as lists of (row, column)."""
    _, lines = axes.collections[:2]
    return [line[:, ::-1].tolist() for line in lines.get_segments()], axes.lines[0].get_xydata()[:, ::-1].tolist()


def test_every_well_has_a_curve_at_its_place_with_the_scale_of_all_and_gaps(tmp_path):
    counts = {("B02", 1): [0, 40, 100], ("B02", 2): [20, 60, 100], ("C05", 1): [50, None, 25], ("H12", 1): [None] * 3}
    rows = [
        counted(well, site, count, Metadata_Timepoint=timepoint)
        for (well, site), of_site in counts.items()
        for timepoint, count in zip((0, 5, 10), of_site, strict=True)
    ]
    rows += [counted("C05", 2, 10**6, Metadata_Timepoint=None), counted("D01", 1, 80, Metadata_Timepoint=5)]
    wells, _ = read(tmp_path, rows)
    figure = plate_maps.timepoints(wells, plot_plate.read_table(tmp_path / "timepoints.csv"), plate="007")
    (axes,) = figure.axes
    lines, points = curves(axes)
    side = plate_maps.CURVE_SIDE
    at = {  # a well, the share of the time from 0 to 10, and that of 100 nuclei -> row and column
        (well, time, height): (row + side * (0.5 - height), column + side * (time - 0.5))
        for well, time, height in [
            *[("B02", 0, 0.1), ("B02", 0.5, 0.5), ("B02", 1, 1)],
            *[("C05", 0, 0.5), ("C05", 1, 0.25), ("D01", 0.5, 0.8)],
        ]
        for row, column in [row_and_column(well)]
    }
    drawn = {well: [place for (name, *_), place in at.items() if name == well] for well in ("B02", "C05", "D01")}
    expected = [drawn["B02"], *([place] for place in drawn["C05"]), drawn["D01"]]
    assert len(lines) == 4
    for line, places in zip(lines, expected, strict=True):
        np.testing.assert_allclose(line, places)
    np.testing.assert_allclose(points, [*drawn["C05"], *drawn["D01"]])
    marks = marked(axes)
    assert marks["every field failed"] == {(7, 11)} and len(marks["no image"]) == 92
    assert axes.get_ylim() == (7.5, -0.5) and axes.get_xlim() == (-0.5, 11.5)
    scale, unknown = axes.get_title().split("\n")
    assert "time points 0 to 10 from left to right, 0 to 100 nuclei per field from bottom to top" in scale
    assert unknown.endswith("1 well") and "007" in figure.get_suptitle()


@pytest.mark.parametrize(
    ("timepoints", "counts", "said", "curves_drawn"),
    [
        ([3], [0], "time point 3, 0 to 1 nuclei", 1),
        ([0, 999_999_999], [10**9, 0], "time points 0 to 999999999 from left to right, 0 to 1000000k nuclei", 1),
        ([1, 2], [None, None], "time points 1 to 2 from left to right", 0),
        ([1, None], [None, 7], "not drawn: 1 well", 0),
    ],
    ids=["one time point", "extreme", "all failed", "the good ones unknown"],
)
def test_odd_time_points_are_drawn_or_said(tmp_path, timepoints, counts, said, curves_drawn):
    rows = [counted("B02", 1, count, Metadata_Timepoint=t) for t, count in zip(timepoints, counts, strict=True)]
    wells, _ = read(tmp_path, rows)
    figure = plate_maps.timepoints(wells, plot_plate.read_table(tmp_path / "timepoints.csv"), plate="P1")
    assert said in figure.axes[0].get_title() and len(curves(figure.axes[0])[0]) == curves_drawn
    figures.save(figure, tmp_path / "picture.png")


@pytest.mark.parametrize(
    ("rows", "columns", "timepoints"), [(16, 24, 24), (32, 48, 3)], ids=["384 wells", "1536 wells"]
)
def test_every_curve_of_a_large_plate_lies_in_its_well(tmp_path, rows, columns, timepoints):
    rng = np.random.default_rng(0)
    names = [f"{letters}{column:02}" for letters in LETTERS[:rows] for column in range(1, columns + 1)]
    fields = [
        counted(well, 1, int(rng.poisson(50)), Metadata_Timepoint=number)
        for well in names
        for number in range(timepoints)
    ]
    wells, _ = read(tmp_path, fields)
    figure = plate_maps.timepoints(wells, plot_plate.read_table(tmp_path / "timepoints.csv"), plate="P1")
    lines, points = curves(figure.axes[0])
    assert points == [] and {len(line) for line in lines} == {timepoints}
    places = [tuple(np.unique(np.rint(line), axis=0)[0].astype(int)) for line in lines]
    assert sorted(places) == sorted(map(row_and_column, names))
    assert all(len(np.unique(np.rint(line), axis=0)) == 1 for line in lines)
    figures.save(figure, tmp_path / "picture.png", colours=256)
    assert max(Image.open(tmp_path / "picture.png").size) < 2100


PLATEMAP = ["well", "compound", "concentration_um", "Control"]


@pytest.mark.parametrize(
    ("columns", "with_quality", "names"),
    [
        ([], False, ["nuclei", "fields", "edge"]),
        ([], True, ["nuclei", "fields", "edge", "quality", "focus"]),
        (PLATEMAP, True, ["nuclei", "fields", "edge", "quality", "focus", "doses", "controls"]),
        (["Metadata_dose"], False, ["nuclei", "fields", "edge", "doses"]),
        (["Metadata_CONTROL"], False, ["nuclei", "fields", "edge", "controls"]),
        (["controls", "dosed", "dose_units", "Metadata_concentration_unit"], False, ["nuclei", "fields", "edge"]),
    ],
)
def test_the_platemap_and_quality_decide_which_pictures_there_are(columns, with_quality, names):
    assert platemaps.pictures(iter(columns), with_quality=with_quality) == names
    assert platemaps.pictures(columns, with_quality=with_quality, timed=True) == [*names, "timepoints"]


def test_columns_are_found_by_their_names():
    assert platemaps.treatment_column(["Metadata_drug", "Metadata_Compound_ID"]) == "Metadata_Compound_ID"
    assert platemaps.treatment_column(["compound_dose", "gene"]) == "gene"
    assert platemaps.treatment_column(["well", "batch"]) is None
    assert (
        platemaps.dose_column(["Metadata_compound", "Metadata_Concentration_uM", "dose"]) == "Metadata_Concentration_uM"
    )
    units = {"concentration_um": "µM", "Metadata_dose_nM": "nM", "dose (µM)": "µM", "dose_ug_ml": "µg/mL", "dose": ""}
    assert {name: platemaps.unit_of(name) for name in units} == units
    assert [platemaps.control_of(text) for text in (" Positive", "NEGATIVE", "negligible", "", None)] == [
        *("positive", "negative", "sample", "sample", "sample")
    ]


def odd_plates():
    failed = [counted(well, 1, None) for well in ("B02", "C03")]
    moments = [counted("B02", 1, 10 * t + z, Metadata_Timepoint=t, Metadata_ZPlane=z) for t in (1, 2) for z in (1, 2)]
    return {
        "no image": [],
        "all failed": failed,
        "one well": [counted("B02", site, 5) for site in (1, 2)],
        "one field": [counted("B02", 1, 0)],
        "time points and planes": moments + [counted("C02", 1, None, Metadata_Timepoint=None)],
    }


@pytest.mark.parametrize("rows", odd_plates().values(), ids=odd_plates())
@pytest.mark.parametrize("controlled", [True, False], ids=["controls", "none"])
def test_odd_plates_have_every_picture(tmp_path, rows, controlled):
    described = {"Metadata_control": "negative", "Metadata_dose": "1", "Metadata_compound": "a"}
    nothing = dict.fromkeys(described, "")
    platemap = {well: described if controlled else nothing for well in ("A01", "B02")}
    wells, fields = read(tmp_path, rows, platemap)
    for picture in ALL if controlled else ("nuclei", "fields", "doses", "controls"):
        figure = draw(picture, wells, fields, tmp_path)
        assert "P1" in figure.get_suptitle() + figure.axes[0].get_title()
        if controlled:  # the others are of the same size
            figures.save(figure, tmp_path / "picture.png")
            width, height = Image.open(tmp_path / "picture.png").size
            assert 300 < width < 2100 and 100 < height < 2100
        figures.plt.close(figure)
    if len(rows) > 3:
        axes = draw("fields", wells, fields, tmp_path).axes[0]
        assert sum(map(len, boxes(axes).values())) == 4 and axes.get_xlabel().startswith("nuclei per image")


def draw_gallery(picture, monkeypatch, *, labels=None, sigma=4):
    """Draw a gallery from the tables in this folder; return its titles, images and nuclei."""
    drawn, gallery = [], plots.gallery
    monkeypatch.setattr(plots, "gallery", lambda fields, **options: drawn.extend(fields) or gallery(fields, **options))
    plot_plate.main(
        nuclei_table="nuclei.parquet",
        fields_table="fields.csv",
        wells_table="wells.csv",
        labels=labels,
        copies={},
        pictures={picture: "picture.png"},
        plate="plate 1",
        channel="auto",
        sigma=sigma,
    )
    assert Image.open("picture.png").size > (300, 200)
    return drawn


def test_densities_are_drawn_in_order_with_their_nuclei():
    fields = [
        (f"B{n:02} site 1: {n}", np.full((40, 50), n), np.array([(3 + k, 20 + 5 * k) for k in range(n)]).reshape(n, 2))
        for n in range(5)
    ]
    figure = plots.gallery(fields, title="plate 1", radius=6)
    assert figure.get_suptitle() == "plate 1"
    drawn = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in drawn] == [title for title, _, _ in fields]
    for axes, (_, image, coordinates) in zip(drawn, fields, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), image)
        assert [*zip(axes.lines[0].get_ydata(), axes.lines[0].get_xdata(), strict=True)] == [*map(tuple, coordinates)]
    assert len({axes.images[0].get_clim() for axes in drawn}) == 1


def test_a_gallery_shows_outlines_where_a_plate_has_labels():
    labels = squares(3)
    figure = plots.gallery(
        [("B02", np.zeros((60, 80)), label_images.outlines(labels)), ("B03", np.zeros((60, 80)), [])],
        title="plate 1",
        radius=6,
    )
    drawn = [axes for axes in figure.axes if axes.images]
    assert traced(drawn[0]) == [(2, 2, 6, 6), (10, 2, 14, 6), (18, 2, 22, 6)] and traced(drawn[1]) == []
    assert not drawn[0].lines and drawn[0].get_xlim() == (-0.5, 79.5)


def test_outlines_are_drawn_on_the_field_of_their_row(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    counts = [4, None, 1, 3]  # in the order of fields.csv; the second failed
    rows = [counted("B02", site, count) for site, count in enumerate(counts, 1)]
    read(tmp_path, rows)
    (tmp_path / "007").mkdir()
    array = zarr.create_array("labels.zarr", shape=(4, 60, 80), dtype="uint32", chunks=(1, 60, 80), shards=(4, 60, 80))
    for number, count in enumerate(counts):
        array[number] = squares(count or 0)
        tifffile.imwrite(f"007/B02_{number + 1}.tif", np.full((50, 80), number, np.uint16))
    zarr.core.sync.cleanup_resources()
    drawn = draw_gallery("densities", monkeypatch, labels="labels.zarr")
    assert [title for title, _, _ in drawn] == [
        "B02 site 3: 1 nucleus",
        "B02 site 4: 3 nuclei",
        "B02 site 1: 4 nuclei",
    ]
    assert [(int(image[0, 0]), len(nuclei)) for _, image, nuclei in drawn] == [(2, 1), (3, 3), (0, 4)]


def test_rings_of_nuclei_whose_outlines_were_not_kept_have_their_usual_size(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    read(tmp_path, [counted("B02", 1, 3)])
    (tmp_path / "007").mkdir()
    tifffile.imwrite("007/B02_1.tif", np.zeros((60, 80), np.uint16))
    centres = {"Nuclei_Location_Center_Y": [9.0, 30, 50], "Nuclei_Location_Center_X": [9.0, 30, 50]}
    nuclei = pd.DataFrame({"Metadata_Well": "B02", "Metadata_Site": 1, **centres, plot_plate.AREA: [314, 1, 999]})
    nuclei.to_parquet("nuclei.parquet")
    radii, gallery = [], plots.gallery
    monkeypatch.setattr(
        plots, "gallery", lambda fields, **options: radii.append(options["radius"]) or gallery(fields, **options)
    )
    ((_, _, drawn),) = draw_gallery("densities", monkeypatch, sigma=None)
    assert len(drawn) == 3 and radii == [pytest.approx(10, abs=0.01)]


def test_the_fields_of_a_plate_are_drawn_from_few_to_many_nuclei_each_with_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "007").mkdir()
    counts = {  # well, site, time point, z -> nuclei; B02 is a stack, of C02 one field could not be read
        ("B02", 1, 1, 1): 5,
        ("B02", 1, 1, 2): 0,
        ("B02", 1, 2, 1): 3,
        ("B02", 1, 2, 2): 1,
        ("C02", 1, None, None): 4,
        ("C02", 2, None, None): 2,
    }
    images = {field: np.full((30, 40), number, np.uint16) for number, field in enumerate(counts)}
    stack = np.array([images["B02", 1, t, z] for t in (1, 2) for z in (1, 2)]).reshape(2, 2, 30, 40)
    tifffile.imwrite("007/B02_1.tif", stack, imagej=True, metadata={"axes": "TZYX"})
    for site in (1, 2):
        tifffile.imwrite(f"007/C02_{site}.tif", images["C02", site, None, None])
    names = ["Metadata_Well", "Metadata_Site", "Metadata_Timepoint", "Metadata_ZPlane"]
    files = ["PathName_DNA", "FileName_DNA", "Image_Count_Nuclei", "Image_Status"]
    rows = [(*field, "007", f"{field[0]}_{field[1]}.tif", count, "ok") for field, count in counts.items()]
    rows.append(("C02", 3, None, None, "007", "C02_3.tif", None, "failed"))
    wells = pd.DataFrame({"Metadata_Well": ["B02", "C02"]})
    wells.to_csv("wells.csv", index=False)
    pd.DataFrame(rows, columns=[*names, *files]).astype(dict.fromkeys(names[2:], "Int64")).to_csv("fields.csv")
    expected = {
        field: [(number + k, 10 + 3 * number + k) for k in range(count)]
        for number, (field, count) in enumerate(counts.items())
    }
    nuclei = [(*field, *centre) for field, centres in expected.items() for centre in centres]
    columns = [*names, "Nuclei_Location_Center_Y", "Nuclei_Location_Center_X"]
    pd.DataFrame(nuclei, columns=columns).sample(frac=1, random_state=0).to_parquet("nuclei.parquet")

    drawn = draw_gallery("densities", monkeypatch)
    assert [title for title, _, _ in drawn] == [
        "B02 site 1 t1 z2: 0 nuclei",
        "B02 site 1 t2 z2: 1 nucleus",
        "C02 site 2: 2 nuclei",
        "B02 site 1 t2 z1: 3 nuclei",
        "C02 site 1: 4 nuclei",
        "B02 site 1 t1 z1: 5 nuclei",
    ]
    for (_, image, coordinates), field in zip(drawn, sorted(counts, key=counts.get), strict=True):
        np.testing.assert_array_equal(image, images[field])
        assert sorted(map(tuple, coordinates)) == expected[field]


def test_a_plate_without_fields_has_a_picture_too(tmp_path):
    figures.save(plots.gallery([], title="plate 1", radius=6), tmp_path / "empty.png", colours=64)
    assert (tmp_path / "empty.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("count", "ranks"),
    [(20, [1, 2, 3, 10, 11, 12, 18, 19, 20]), (9, [*range(1, 10)]), (4, [1, 2, 3, 4]), (1, [1]), (0, [])],
)
def test_the_sharpest_middle_and_most_blurred_fields_are_drawn(tmp_path, monkeypatch, count, ranks):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "007").mkdir()
    slopes = [-1.5 - 0.1 * rank for rank in range(count)]
    rows = [counted("B02", 1, None), counted("B02", 2, 0, **{plot_plate.FOCUS: 0.9}), counted("B02", 3, 0)]
    rows[2][plot_plate.FOCUS] = 0.0  # noise and nothing: neither sharp nor blurred
    for rank in np.random.default_rng(1).permutation(count):
        rows.append(counted("C02", rank + 1, 1, **{plot_plate.FOCUS: slopes[rank]}))
        tifffile.imwrite(f"007/C02_{rank + 1}.tif", np.full((30, 40), rank, np.uint16))
    read(tmp_path, rows)
    nuclei = pd.DataFrame(
        {"Metadata_Well": "C02", "Metadata_Site": range(1, count + 1)},
    ).assign(Nuclei_Location_Center_Y=lambda table: table.Metadata_Site, Nuclei_Location_Center_X=2.0)
    nuclei.to_parquet("nuclei.parquet")
    drawn = draw_gallery("focus", monkeypatch)
    assert [title for title, _, _ in drawn] == [
        f"{rank} of {count}: C02 site {rank}\nslope {slopes[rank - 1]:.2f}, 1 nucleus" for rank in ranks
    ]
    for (_, image, centres), rank in zip(drawn, ranks, strict=True):
        assert (image == rank - 1).all() and centres.tolist() == [[rank, 2]]


def test_the_same_tables_give_the_same_bytes(tmp_path):
    rng = np.random.default_rng(0)
    rows = [counted(f"{row}{column:02}", 1, int(rng.poisson(90))) for row in "ABCD" for column in range(1, 7)]
    roles = {
        row["Metadata_Well"]: {"Metadata_control": "negative" if number % 2 else "positive", "Metadata_dose": "3"}
        for number, row in enumerate(rows)
    }
    read(tmp_path, rows, roles)
    tables_of = {f"{name}_table": tmp_path / f"{name}.csv" for name in ("fields", "wells", "timepoints")}
    written = []
    for turn in range(2):
        pictures = {picture: tmp_path / f"{picture}{turn}.png" for picture in ALL}
        plot_plate.main(
            **tables_of,
            **{"nuclei_table": None, "labels": None, "copies": {}, "pictures": pictures},
            **{"plate": "P1", "channel": "auto", "sigma": 4},
        )
        written.append([path.read_bytes() for path in pictures.values()])
    assert written[0] == written[1] and all(len(picture) < 300_000 for picture in written[0])
    assert figures.plt.get_fignums() == []


def test_controls_that_the_configuration_names_are_drawn(tmp_path):
    rows = [counted(well, 1, number) for number, well in enumerate(("B02", "B03", "B04", "B05"))]
    compounds = {"B02": "dmso", "B03": "dmso", "B04": "taxol", "B05": "x"}
    controls = {"negative": ["DMSO"], "positive": ["taxol"]}
    wells, _ = read(tmp_path, rows, {well: {"Metadata_compound": name} for well, name in compounds.items()})
    named = plot_plate.with_named_controls(wells, controls)
    assert named.Metadata_control.tolist() == ["negative", "negative", "positive", ""]
    assert plot_plate.with_named_controls(named.drop(columns="Metadata_compound"), {"negative": ["x"]}).equals(
        named.drop(columns="Metadata_compound")
    )
    assert plot_plate.with_named_controls(wells, {}) is wells


def test_every_picture_has_a_rule_and_a_caption():
    rules = (REPOSITORY / "rules/plates.smk").read_text()
    reported = re.findall(r'"?(\w+)"?(?:=|: )report\(\s*"<results>/plates/{plate}/(?:plots/)?(\w+)[.]png"', rules)
    assert sorted(reported) == sorted(
        (name, name)
        for name in [
            *platemaps.pictures(PLATEMAP, with_quality=True, timed=True),
            "densities",
            "calibration",
            "illumination",
        ]
    )
    for name, _ in reported:
        assert f'caption="report/plate_{name}.rst"' in rules
        caption = (REPOSITORY / f"rules/report/plate_{name}.rst").read_text()
        assert caption.startswith("Plate {{ snakemake.wildcards.plate }}: ")
