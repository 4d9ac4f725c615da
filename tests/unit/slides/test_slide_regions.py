"""Regions of a slide: which points lie in them, and how large they are, as counted pixel by pixel."""

import json

import cv2
import numpy as np
import pytest

from fieldwork.slides import regions

SHAPE = (300, 400)


def write(tmp_path, *named):
    """Write (name, rings) as QuPath exports them."""
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": rings},
            "properties": {"objectType": "annotation", "name": name},
        }
        for name, rings in named
    ]
    path = tmp_path / "regions.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def square(left, top, width, height):
    right, bottom = left + width, top + height
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def read(path, shape=SHAPE, bounds=None):
    return regions.read(path, shape, bounds, where="slide S")


def names_of_all_pixels(found):
    rows, columns = np.indices(SHAPE)
    names = found.names_at(rows.ravel().astype(float), columns.ravel().astype(float))
    return np.array([name or "" for name in names]).reshape(SHAPE)


def test_pixels_of_a_region_with_a_hole_are_those_that_are_painted(tmp_path):
    found = read(write(tmp_path, ("Tumour", [square(20, 30, 200, 100), square(50, 60, 40, 10)])))
    expected = np.full(SHAPE, "", "<U6")
    expected[30:130, 20:220] = "Tumour"
    expected[60:70, 50:90] = ""
    np.testing.assert_array_equal(names_of_all_pixels(found), expected)
    assert found.areas == [(expected == "Tumour").sum()] and found.warnings == []


def test_a_drawn_outline_holds_the_pixels_that_opencv_fills(tmp_path):
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    points = np.stack([200 + 90 * np.cos(angles), 150 + 60 * np.sin(angles)], 1)
    found = read(write(tmp_path, ("A", [points.tolist()])))
    mask = cv2.fillPoly(np.zeros(SHAPE, np.uint8), [np.rint((points - 0.5) * 256).astype(np.int32)], 1, shift=8)
    inside = names_of_all_pixels(found) == "A"
    assert not (inside & (mask == 0)).any()  # OpenCV also fills the pixels of the outline
    assert found.areas[0] == pytest.approx(inside.sum(), rel=0.01)


def test_regions_that_overlap_are_joined_and_those_of_one_name_count_once(tmp_path):
    rings = [("A", [square(0, 0, 100, 100)]), ("B", [square(50, 50, 100, 100)]), ("A", [square(90, 0, 100, 100)])]
    found = read(write(tmp_path, *rings))
    assert found.names == ["A", "B"] and found.areas == [190 * 100, 100 * 100]
    names = names_of_all_pixels(found)
    assert [names[row, 60] for row in (10, 70, 120, 200)] == ["A", "A;B", "B", ""]


def test_what_lies_outside_of_the_slide_does_not_count_and_is_told(tmp_path):
    found = read(write(tmp_path, ("A", [square(350, 250, 100, 100)]), ("B", [square(500, 0, 10, 10)])))
    assert found.areas == [50 * 50, 0]
    assert found.warnings == [
        "75% of the region 'A' lie outside of the slide, and do not count",
        "100% of the region 'B' lie outside of the slide, and do not count",
    ]


def test_what_is_no_region_is_told(tmp_path):
    path = write(tmp_path, ("A", [square(0, 0, 9, 9)]))
    content = json.loads(path.read_text())
    content["features"] += [{"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}}] * 3
    path.write_text(json.dumps(content))
    assert read(path).warnings == [f"what is no region in '{path}' is left out: geometries of type Point (3)"]


def test_regions_that_all_lie_elsewhere_are_of_another_slide(tmp_path):
    found = read(write(tmp_path, ("A", [square(500, 0, 10, 10)]), ("B", [square(0, 300, 10, 10)])))
    [warning] = found.warnings
    assert "none of the regions in" in warning and "lies on the slide (400 x 300 px)" in warning
    assert "those of another slide? The column regions" in warning
    names = found.names_at(*(values.ravel().astype(float) for values in np.indices(SHAPE)))
    assert set(names) <= {None}


def test_a_region_that_does_not_lie_on_the_slide_has_no_nuclei(tmp_path):
    found = read(write(tmp_path, ("A", [square(500, 0, 10, 10)]), ("B", [square(0, 0, 10, 10)])))
    first, second = rows_of({"slide": "S", "mpp": [1, 1]}, found, {kind(None, None): 3})
    assert [first[name] for name in regions.COLUMNS[3:]] == [0, 0, None, None, None, None]
    assert [second[name] for name in regions.COLUMNS[3:]] == [100, 1e-4, 0, 0, 0, None]


def test_coordinates_begin_at_the_slides_bounds(tmp_path):
    found = read(write(tmp_path, ("A", [square(0, 0, 10, 10)])), bounds=[30, 40, 300, 200])
    rows, columns = np.nonzero(names_of_all_pixels(found) == "A")
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (40, 49, 30, 39)


def test_an_outline_that_crosses_itself_holds_both_of_its_loops(tmp_path):
    found = read(write(tmp_path, ("A", [[[0, 0], [100, 100], [100, 0], [0, 100], [0, 0]]])))
    names = names_of_all_pixels(found)
    assert found.areas == [5000]
    assert [names[50, 10], names[50, 90], names[10, 50], names[90, 50]] == ["A", "A", "", ""]


def kind(names, is_positive, is_lost=False):
    return regions.Nuclei(names, is_positive, is_lost)


def rows_of(facts, found, nuclei, *, lost=(), max_failed=0.05):
    return regions.rows_of("P", facts, found, nuclei, lost=regions.lost_part(lost), max_failed=max_failed)


def test_rows_count_nuclei_in_each_of_their_regions(tmp_path):
    found = read(write(tmp_path, ("A", [square(0, 0, 200, 100)]), ("AB", [square(0, 0, 10, 10)])))
    nuclei = {kind("A", True): 3, kind("A", False): 1, kind("A;AB", True): 2, kind(None, True): 50}
    facts = {"slide": "S", "mpp": [0.5, 0.25]}
    first, second = rows_of(facts, found, nuclei)
    assert list(first) == regions.COLUMNS
    assert first == {
        "Metadata_Plate": "P",
        "Metadata_Slide": "S",
        "Region": "A",
        "Region_Area_px": 20_000,
        "Region_Area_mm2": 20_000 * 0.125e-6,
        "Region_FailedShare": 0,
        "Count_Nuclei": 6,
        "Nuclei_Per_mm2": 2400,
        "Share_Positive": 5 / 6,
    }
    assert (second["Region"], second["Count_Nuclei"], second["Share_Positive"]) == ("AB", 2, 1)
    first, second = rows_of(facts | {"mpp": None}, found, {kind("A", None): 4})
    assert (first["Count_Nuclei"], first["Region_Area_mm2"], first["Nuclei_Per_mm2"], first["Share_Positive"]) == (
        4,
        None,
        None,
        None,
    )
    assert (second["Count_Nuclei"], second["Share_Positive"]) == (0, None)


LOST = [(0, 150, 100, 50), (0, 160, 50, 400), (250, 0, 50, 50)]  # a quarter of A, two overlap; and one beside B


@pytest.mark.parametrize(("max_failed", "is_counted"), [(0.25, True), (0.24, False)])
def test_a_region_of_which_more_is_lost_than_allowed_has_no_numbers_and_others_keep_theirs(
    tmp_path, max_failed, is_counted
):
    found = read(write(tmp_path, ("A", [square(0, 0, 200, 100)]), ("B", [square(0, 100, 200, 100)])))
    nuclei = {kind("A", True): 30, kind("A", False): 10, kind("A", True, True): 2, kind("B", False): 40}
    facts = {"slide": "S", "mpp": [1, 1]}
    first, second = rows_of(facts, found, nuclei, lost=LOST, max_failed=max_failed)
    assert (first["Region_FailedShare"], first["Region_Area_px"], first["Region_Area_mm2"]) == (0.25, 20_000, 0.02)
    expected = (42, 40 / 0.015, 32 / 42) if is_counted else (None,) * 3
    counted = [first[name] for name in ("Count_Nuclei", "Nuclei_Per_mm2", "Share_Positive")]
    assert counted == [pytest.approx(value, rel=1e-3) if is_counted else None for value in expected]
    assert (second["Region_FailedShare"], second["Count_Nuclei"], second["Nuclei_Per_mm2"]) == (0, 40, 2000)


def test_a_region_that_is_lost_has_no_numbers_even_if_all_may_fail(tmp_path):
    found = read(write(tmp_path, ("A", [square(0, 0, 20, 10)])))
    [row] = rows_of({"slide": "S", "mpp": None}, found, {}, lost=[(0, 0, 100, 100)], max_failed=1)
    assert (row["Region_FailedShare"], row["Count_Nuclei"]) == (1, None)
