"""Polygons of objects: as shapely sees them, the very pixels of the label image."""

import cv2
import numpy as np
import pytest
import shapely

from fieldwork.objects import polygons


def shape_of(outline):
    return shapely.MultiPolygon([shapely.Polygon(polygon[0], polygon[1:]) for polygon in outline])


def check(labels):
    """Compare the polygons of a label image with its pixels."""
    outlines = polygons.polygons_of(labels)
    assert list(outlines) == [value for value in np.unique(labels) if value]
    rows, columns = np.indices(labels.shape)
    for label, outline in outlines.items():
        shape = shape_of(outline)
        assert shape.is_valid, shapely.is_valid_reason(shape)
        assert shape.area == (labels == label).sum()
        np.testing.assert_array_equal(shapely.contains_xy(shape, columns + 0.5, rows + 0.5), labels == label)
        for outer, *holes in outline:
            assert shapely.is_ccw(shapely.LinearRing(outer))
            assert not any(shapely.is_ccw(shapely.LinearRing(hole)) for hole in holes)
    return outlines


@pytest.mark.parametrize("dtype", ["int32", "uint32", "uint8"])
def test_any_pixels_are_valid_polygons_that_cover_them_alone(dtype):
    random = np.random.default_rng(1)
    several = holes = 0
    for _ in range(150):
        labels = random.integers(0, random.integers(2, 5), random.integers(1, 13, 2)).astype(dtype)
        for outline in check(labels).values():
            several += len(outline) > 1
            holes += any(len(polygon) > 1 for polygon in outline)
    assert several > 50 and holes > 10


def test_touching_nuclei_of_a_window_are_whole():
    random, labels = np.random.default_rng(2), np.zeros((300, 400), np.int32)
    for number in range(1, 120):
        centre, axes = (int(random.integers(400)), int(random.integers(300))), (int(random.integers(4, 20)), 9)
        cv2.ellipse(labels, centre, axes, int(random.integers(180)), 0, 360, number, -1)
    assert len(check(labels)) > 80


def test_a_ring_begins_at_the_first_corner_and_ends_there():
    labels = np.zeros((4, 6), np.int32)
    labels[1:3, 2:5] = 7
    ((ring,),) = check(labels)[7]
    assert ring.tolist() == [[2, 1], [5, 1], [5, 3], [2, 3], [2, 1]]


def test_pixels_that_touch_at_a_corner_are_two_polygons():
    assert len(check(np.eye(2, dtype=np.int32))[1]) == 2


def test_a_hole_that_touches_the_outline_at_a_corner_is_a_hole():
    labels = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], np.int32)
    (polygon,) = check(labels)[1]
    assert len(polygon) == 2


def test_an_island_in_a_hole_has_its_own_hole():
    labels = np.ones((9, 9), np.int32)
    labels[1:8, 1:8] = 0
    labels[2:7, 2:7] = 1
    labels[4, 4] = 0
    assert [len(polygon) for polygon in check(labels)[1]] == [2, 2]


def test_ground_alone_has_no_polygons():
    assert polygons.polygons_of(np.zeros((5, 5), np.int32)) == {}
