"""Regions of slides: what QuPath exports is read, and anything else is refused in one line."""

import json

import pytest

from fieldwork import InputError
from fieldwork.inputs.inside import regions

SQUARE = [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]
HOLE = [[1, 1], [1, 2], [2, 2], [2, 1], [1, 1]]


def polygon(*rings):
    return {"type": "Polygon", "coordinates": list(rings or [SQUARE])}


def feature(geometry=None, **properties):
    properties = {"objectType": "annotation", **properties}
    return {"type": "Feature", "id": "3b0e", "geometry": geometry or polygon(), "properties": properties}


def read(tmp_path, content):
    path = tmp_path / "regions.geojson"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return regions.read_annotations(path, where="slides.tsv, line 2: slide 'S'")


def names(tmp_path, *features):
    found = read(tmp_path, {"type": "FeatureCollection", "features": list(features)})
    return [region.name for region in found.regions]


@pytest.mark.parametrize(
    "content",
    [
        {"type": "FeatureCollection", "features": [feature(name="Tumour"), feature(name="Stroma")]},
        [feature(name="Tumour"), feature(name="Stroma")],
        feature(name="Tumour", childObjects=[feature(name="Stroma")]),
        [{"type": "FeatureCollection", "features": [feature(name="Tumour")]}, feature(name="Stroma")],
    ],
    ids=["collection", "list", "hierarchy", "mixed"],
)
def test_every_form_of_qupaths_files_is_read(tmp_path, content):
    found = read(tmp_path, content)
    assert [region.name for region in found.regions] == ["Tumour", "Stroma"] and found.left_out == {}
    assert found.regions[0].polygons == [[SQUARE]]


def test_a_geometry_alone_and_a_byte_order_mark_are_read(tmp_path):
    found = read(tmp_path, "\ufeff" + json.dumps(polygon(SQUARE, HOLE)))
    assert found.regions == [regions.Region("Region 1", [[SQUARE, HOLE]])]


def test_the_name_is_the_annotations_else_its_class_else_a_number(tmp_path):
    named = feature(name="  Edge\n of it ", classification={"name": "Tumour"})
    classified = feature(classification={"name": "Tumour", "colorRGB": -3670016})
    derived = feature(classification={"names": ["Tumour", "Positive"]})
    assert names(tmp_path, named, classified, derived) == ["Edge of it", "Tumour", "Tumour: Positive"]
    assert names(tmp_path, feature(classification="Tumour"), feature(name=7)) == ["Tumour", "7"]
    assert names(tmp_path, feature(), feature(name="Region 1"), feature(name=None, classification=None)) == [
        "Region 2",
        "Region 1",
        "Region 3",
    ]


def test_annotations_of_one_name_are_one_region(tmp_path):
    several = {"type": "MultiPolygon", "coordinates": [[SQUARE], [HOLE]]}
    together = {"type": "GeometryCollection", "geometries": [several, polygon()]}
    found = read(
        tmp_path, [feature(name="A"), feature(name="B"), feature(several, name="A"), feature(together, name="A")]
    )
    assert [(region.name, len(region.polygons)) for region in found.regions] == [("A", 6), ("B", 1)]


def test_what_is_no_region_is_counted(tmp_path):
    point = feature({"type": "Point", "coordinates": [1, 1]})
    line = feature({"type": "LineString", "coordinates": [[1, 1], [2, 2]]})
    nuclei = [feature(objectType="detection")] * 3
    old = {"type": "Feature", "id": "PathDetectionObject", "geometry": polygon(), "properties": {}}
    found = read(tmp_path, [*nuclei, old, point, line, feature(name="A"), {"type": "Feature", "geometry": None}])
    assert [region.name for region in found.regions] == ["A"]
    assert found.left_out == {
        "objects of type detection": 3,
        "objects of type PathDetectionObject": 1,
        "geometries of type Point": 1,
        "geometries of type LineString": 1,
        "objects without a geometry": 1,
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not JSON", r"are no JSON \(Expecting value: line 1 column 1"),
        ("", "are no JSON"),
        ("[" * 100_000, "are no JSON"),
        ("null", "found 'None'; expected a FeatureCollection"),
        ('{"type": "Topology"}', "found 'Topology'; expected a FeatureCollection"),
        ('{"type": "FeatureCollection"}', "no GeoJSON"),
        ('{"type": "FeatureCollection", "features": 3}', "no GeoJSON"),
        ({"type": "FeatureCollection", "features": []}, "have no area: found nothing"),
        (
            [feature(objectType="detection")] * 2,
            r"have no area: found objects of type detection \(2\); expected annotations",
        ),
        (feature(polygon(SQUARE[:2])), "a ring of 3 positions; expected at least 4"),
        (feature(polygon([["a", 1]] * 5)), "an unexpected value"),
        (feature(polygon([1, 2, 3, 4])), "an unexpected value"),
        (
            '{"type": "Polygon", "coordinates": [[[0, 0], [1, NaN], [1, 1], [0, 0]]]}',
            "found the coordinate (nan|inf); expected pixels",
        ),
        (
            '{"type": "Polygon", "coordinates": [[[0, 0], [1, 1e999], [1, 1], [0, 0]]]}',
            "found the coordinate (nan|inf); expected pixels",
        ),
        (feature(polygon([[10**400, 1]] * 5)), "an unexpected value"),
        (feature(polygon([[1e300, 1]] * 5)), "found the coordinate 1e.300; expected pixels"),
        (feature(objectType=["annotation"]), "an unexpected value"),
        (feature({"type": "Polygon"}), "no GeoJSON"),
        (feature(name="A; B"), "have the name 'A; B'; expected names without a ;"),
    ],
)
def test_anything_else_is_refused_in_one_line(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, content)
    text = str(caught.value)
    assert text.startswith("slides.tsv, line 2: slide 'S': the regions '") and "\n" not in text and len(text) < 300


def test_files_that_are_no_text_or_no_file_are_refused(tmp_path):
    (tmp_path / "bytes.geojson").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "bytes.geojson", tmp_path, tmp_path / "absent.geojson"):
        with pytest.raises(InputError, match="the regions '.*(are no JSON|cannot be read)"):
            regions.read_annotations(path, where="here")
