"""GeoJSON of nuclei, read back by geojson and shapely."""

import json
import zipfile

import cv2
import geojson
import numpy as np
import pytest
import shapely

from fieldwork import label_images
from fieldwork.slides import geojson as slide_geojson


def window(seed, shape=(200, 300), count=40):
    """Draw a window of nuclei 1..n, some of them in two pieces or with a hole, and measure them."""
    random, labels = np.random.default_rng(seed), np.zeros(shape, np.int32)
    for number in range(1, count + 1):
        centre = int(random.integers(shape[1])), int(random.integers(shape[0]))
        cv2.ellipse(labels, centre, (int(random.integers(3, 20)), 8), int(random.integers(180)), 0, 360, number, -1)
    labels = label_images.renumber(labels)
    return labels, {"Nuclei_AreaShape_Area": label_images.properties(labels).areas}


def write(path, blocks, **options):
    """Write blocks of (labels, origin, measurements, classes); return the number of nuclei."""
    count = 0
    with slide_geojson.writer(path, **options) as add:
        for labels, origin, measurements, classes in blocks:
            numbers = np.arange(count + 1, count + 1 + labels.max())
            add(numbers, labels, origin, measurements, classes)
            count += len(numbers)
    return count


def read(text):
    """Read a feature collection, and check that it is one."""
    collection = geojson.loads(text)
    assert isinstance(collection, geojson.FeatureCollection) and collection.is_valid, collection.errors()
    assert all("id" not in feature for feature in collection["features"])
    return collection["features"]


def test_counts_areas_and_places_are_the_tables(tmp_path):
    path = tmp_path / "nuclei.geojson"
    blocks = [(*window(seed), (2048 * seed, 700)) for seed in range(3)]
    count = write(path, [(labels, origin, measured, None) for labels, measured, origin in blocks])
    features = read(path.read_text())
    assert len(features) == count > 80
    areas = np.concatenate([measured["Nuclei_AreaShape_Area"] for _, measured, _ in blocks])
    shapes = [shapely.geometry.shape(feature["geometry"]) for feature in features]
    assert all(shape.is_valid for shape in shapes)
    np.testing.assert_array_equal([shape.area for shape in shapes], areas)
    measurements = [feature["properties"]["measurements"] for feature in features]
    assert [item["ObjectNumber"] for item in measurements] == list(range(1, count + 1))
    assert [item["Nuclei_AreaShape_Area"] for item in measurements] == areas.tolist()
    assert all(feature["properties"].keys() == {"objectType", "measurements"} for feature in features)
    assert {feature["properties"]["objectType"] for feature in features} == {"detection"}
    # QuPath's pixel (0, 0) begins at 0, 0; the table's has its centre there.
    nuclei = [(label_images.properties(labels), origin) for labels, _, origin in blocks]
    rows = np.concatenate([found.rows + origin[0] for found, origin in nuclei])
    columns = np.concatenate([found.columns + origin[1] for found, origin in nuclei])
    np.testing.assert_allclose([shape.centroid.x for shape in shapes], columns + 0.5)
    np.testing.assert_allclose([shape.centroid.y for shape in shapes], rows + 0.5)


def test_coordinates_begin_where_the_slide_states_bounds(tmp_path):
    labels = np.zeros((3, 3), np.int32)
    labels[1, 1] = 1
    write(tmp_path / "n.geojson", [(labels, (100, 2000), {}, None)], bounds=[400, 30, 5000, 6000])
    (feature,) = read((tmp_path / "n.geojson").read_text())
    assert shapely.geometry.shape(feature["geometry"]).bounds == (1601, 71, 1602, 72)
    assert feature["geometry"]["coordinates"] == [[[1601, 71], [1602, 71], [1602, 72], [1601, 72], [1601, 71]]]


def test_classes_and_measurements_are_those_of_qupath(tmp_path):
    labels = np.array([[1, 0, 2, 0, 3]], np.int32)
    measured = {
        'Mean of 5 % "µ"': np.array([0.125, np.nan, 1e-9]),
        "Count": np.array([3, 123_456_789, 0]),
        "Long": np.array([123456.75, -np.inf, 2.0], np.float32),
    }
    write(tmp_path / "n.geojson", [(labels, (0, 0), measured, ["Positive", "Negative", "Positive"])])
    features = read((tmp_path / "n.geojson").read_text())
    assert [feature["properties"]["classification"] for feature in features] == [
        {"name": "Positive"}, {"name": "Negative"}, {"name": "Positive"}
    ]  # fmt: skip
    assert [feature["properties"]["measurements"] for feature in features] == [
        {"ObjectNumber": 1, 'Mean of 5 % "µ"': 0.125, "Count": 3, "Long": 123456.8},
        {"ObjectNumber": 2, "Count": 123_456_789},
        {"ObjectNumber": 3, 'Mean of 5 % "µ"': 1e-9, "Count": 0, "Long": 2.0},
    ]


def test_no_nuclei_are_an_empty_collection(tmp_path):
    write(tmp_path / "n.geojson", [])
    assert read((tmp_path / "n.geojson").read_text()) == []


@pytest.mark.parametrize(("count", "is_zipped"), [(1000, False), (1001, True)])
def test_many_nuclei_are_zipped_and_the_other_form_goes(tmp_path, monkeypatch, count, is_zipped):
    assert slide_geojson.MOST_PLAIN_NUCLEI == 100_000
    monkeypatch.setattr(slide_geojson, "MOST_PLAIN_NUCLEI", 1000)
    path, rows = tmp_path / "nuclei.geojson", 50
    archive = tmp_path / "nuclei.geojson.zip"
    for file in (path, archive, tmp_path / ".nuclei.geojson.0.part"):
        file.write_text("of an earlier job")
    labels = np.zeros((2 * rows, 2 * -(-count // rows)), np.int32)
    labels[::2, ::2].flat[:count] = np.arange(1, count + 1)
    assert write(path, [(labels, (0, 0), {}, None)]) == count
    assert [file.name for file in tmp_path.iterdir()] == [archive.name if is_zipped else path.name]
    if not is_zipped:
        assert len(json.loads(path.read_text())["features"]) == count
        return
    with zipfile.ZipFile(archive) as file:
        (entry,) = file.infolist()
        assert (entry.filename, entry.date_time[0], file.testzip()) == ("nuclei.geojson", 1980, None)
        assert len(json.loads(file.read(entry))["features"]) == count
    first = archive.read_bytes()
    write(path, [(labels, (0, 0), {}, None)])
    assert archive.read_bytes() == first


def test_nothing_stays_of_a_job_that_fails(tmp_path):
    (tmp_path / "n.geojson").write_text("of an earlier job")
    with pytest.raises(ZeroDivisionError), slide_geojson.writer(tmp_path / "n.geojson") as add:
        add([1], np.ones((2, 2), np.int32), (0, 0), {})
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
