"""Shapes: planted rectangles and discs, and scikit-image and SciPy on objects of every kind."""

import numpy as np
import pytest
from label_cases import LABELS, crowd, drawn_rows
from scipy import ndimage
from skimage.measure import regionprops

from fieldwork.objects import measure_arrays

PROPERTIES = {
    "Area": lambda item: item.area,
    "BoundingBoxArea": lambda item: item.area_bbox,
    "BoundingBoxMinimum_X": lambda item: item.bbox[1],
    "BoundingBoxMaximum_X": lambda item: item.bbox[3],
    "BoundingBoxMinimum_Y": lambda item: item.bbox[0],
    "BoundingBoxMaximum_Y": lambda item: item.bbox[2],
    "Center_X": lambda item: item.centroid[1],
    "Center_Y": lambda item: item.centroid[0],
    "ConvexArea": lambda item: item.area_convex,
    "Eccentricity": lambda item: item.eccentricity,
    "EquivalentDiameter": lambda item: item.equivalent_diameter_area,
    "EulerNumber": lambda item: item.euler_number,
    "Extent": lambda item: item.extent,
    "MajorAxisLength": lambda item: item.axis_major_length,
    "Perimeter": lambda item: item.perimeter,
    "Solidity": lambda item: item.solidity,
}


def shapes_of(labels):
    return {name.removeprefix("Nuclei_AreaShape_"): values for name, values in measure_arrays(labels, {}).items()}


def distances_of(item):
    return ndimage.distance_transform_edt(np.pad(item.image, 1))[1:-1, 1:-1][item.image]


@pytest.mark.parametrize("case", [name for name in LABELS if name != "many"])
def test_every_kind_of_object_has_the_properties_of_scikit_image(case):
    measured, objects = shapes_of(LABELS[case]), regionprops(LABELS[case])
    assert measured["ObjectNumber"].tolist() == [item.label for item in objects]
    for name, of in PROPERTIES.items():
        np.testing.assert_allclose(measured[name], [of(item) for item in objects], rtol=1e-9, atol=1e-9, err_msg=name)
    # Of pixels in a line, scikit-image may have the root of its last digit.
    minor = [item.axis_minor_length for item in objects]
    np.testing.assert_allclose(measured["MinorAxisLength"], minor, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("case", [name for name in LABELS if name != "many"])
def test_radii_are_distances_to_the_nearest_pixel_that_is_not_of_the_object(case):
    measured = shapes_of(LABELS[case])
    distances = [distances_of(item) for item in regionprops(LABELS[case])]
    for name, of in (("MaximumRadius", np.max), ("MeanRadius", np.mean), ("MedianRadius", np.median)):
        np.testing.assert_allclose(measured[name], [of(values) for values in distances], rtol=1e-12, err_msg=name)


def test_an_orientation_is_that_of_scikit_image_in_degrees():
    labels = crowd(5, shape=(400, 400), count=150)
    objects = [item for item in regionprops(labels) if item.eccentricity > 0.3]
    measured = shapes_of(labels)
    kept = np.isin(measured["ObjectNumber"], [item.label for item in objects])
    expected = np.degrees([item.orientation for item in objects])
    apart_by = np.abs(measured["Orientation"][kept] - expected)
    assert len(objects) > 80 and np.minimum(apart_by, 180 - apart_by).max() < 1e-9


def test_a_rectangle_has_the_shape_it_was_drawn_with():
    labels = np.zeros((60, 80), np.uint16)
    labels[10:30, 5:65] = 4  # 20 rows, 60 columns
    expected = {
        "ObjectNumber": 4,
        "Area": 1200,
        "BoundingBoxArea": 1200,
        "ConvexArea": 1200,
        "Center_X": 34.5,
        "Center_Y": 19.5,
        "BoundingBoxMinimum_X": 5,
        "BoundingBoxMaximum_X": 65,
        "BoundingBoxMinimum_Y": 10,
        "BoundingBoxMaximum_Y": 30,
        "Perimeter": 2 * (19 + 59),
        "FormFactor": 4 * np.pi * 1200 / 156**2,
        "Compactness": 156**2 / (4 * np.pi * 1200),
        "EquivalentDiameter": np.sqrt(4 * 1200 / np.pi),
        "MajorAxisLength": 4 * np.sqrt((60**2 - 1) / 12),
        "MinorAxisLength": 4 * np.sqrt((20**2 - 1) / 12),
        "Eccentricity": np.sqrt(1 - (20**2 - 1) / (60**2 - 1)),
        "Orientation": 90,
        "Extent": 1,
        "Solidity": 1,
        "EulerNumber": 1,
        "MaximumRadius": 10,
        "MinFeretDiameter": 19,
        "MaxFeretDiameter": np.hypot(19, 59),
    }
    measured = shapes_of(labels)
    for name, value in expected.items():
        assert measured[name].tolist() == [pytest.approx(value, rel=1e-14)], name


def test_a_disc_is_as_wide_in_every_direction():
    rows, columns = np.mgrid[:201, :201] - 100
    measured = shapes_of((rows**2 + columns**2 <= 80**2).astype(np.int32))
    assert measured["MaxFeretDiameter"] == 160 and 159 < measured["MinFeretDiameter"] <= 160
    assert measured["Eccentricity"] == 0 and measured["MaximumRadius"] == pytest.approx(81, abs=1)
    assert measured["MajorAxisLength"] == pytest.approx(160, abs=1)
    assert measured["Solidity"] > 0.99 and measured["MeanRadius"] == pytest.approx(80 / 3, abs=0.5)


@pytest.mark.parametrize("case", ["a crowd", "scattered", "large among small", "corners that touch"])
def test_feret_diameters_are_those_of_all_directions_tried(case):
    measured = shapes_of(LABELS[case])
    for number, item in enumerate(regionprops(LABELS[case])):
        points = item.coords.astype(float)
        corners = points[ndimage.binary_erosion(np.pad(item.image, 1))[1:-1, 1:-1][item.image] == 0]
        across = corners[:, None] - corners[None]
        assert measured["MaxFeretDiameter"][number] == pytest.approx(np.sqrt((across**2).sum(2).max()), rel=1e-12)
        angles = np.linspace(0, np.pi, 2000)
        widths = np.ptp(corners @ np.array([np.sin(angles), np.cos(angles)]), axis=0)
        narrowest = measured["MinFeretDiameter"][number]
        assert widths.min() * 0.99 - 0.01 <= narrowest <= widths.min() + 1e-9


def test_a_hole_and_a_second_piece_count_in_the_euler_number():
    labels = drawn_rows("1110222000", "1010202011", "1110222001", "0000000000", "3030000000", "0300000001")
    assert shapes_of(labels)["EulerNumber"].tolist() == [0 + 2, 0, 1]


def test_one_pixel_has_no_perimeter_and_so_no_form_factor():
    measured = shapes_of(LABELS["one pixel"])
    assert measured["Perimeter"] == 0 and measured["Compactness"] == 0 and np.isnan(measured["FormFactor"]).all()
    assert not any(np.isinf(values).any() for values in measured.values())


def test_an_object_as_large_as_a_field_is_measured_exactly():
    rows, columns = np.mgrid[:1100, :1400]
    labels = (((rows - 550) / 540) ** 2 + ((columns - 700) / 690) ** 2 < 1).astype(np.int32)
    labels[200:300, 600:900] = 0
    (item,), measured = regionprops(labels), shapes_of(labels)
    distances = distances_of(item)
    for name, value in {
        "ConvexArea": item.area_convex,
        "Perimeter": item.perimeter,
        "EulerNumber": 0,
        "MaximumRadius": distances.max(),
        "MeanRadius": distances.mean(),
        "MedianRadius": np.median(distances),
        "MajorAxisLength": item.axis_major_length,
        "MinorAxisLength": item.axis_minor_length,
    }.items():
        assert measured[name].tolist() == [pytest.approx(value, rel=1e-11)], name
