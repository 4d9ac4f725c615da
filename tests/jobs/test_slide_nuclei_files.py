"""What slides have beside the table of nuclei agrees with it: labels in the store, GeoJSON, regions."""

import csv
import json

import numpy as np
import pytest
import shapely
import zarr

import count_slide_regions
from fieldwork import outputs
from fieldwork.omezarr import metadata
from fieldwork.slides import tables
from slide_files import damage_tile
from stained import AUTO, calibrate, convert, detect, grid, plant

SHAPE = (2250, 700)  # two rows of blocks
CENTRES = grid(SHAPE, 41)


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    """Return the folder of a detected slide whose every other nucleus is brown, and its table."""
    folder = tmp_path_factory.mktemp("slide")
    convert(folder, plant(SHAPE, CENTRES, brown=range(0, len(CENTRES), 2)), modality="hdab")
    calibrate(folder)
    return folder, detect(folder)[0]


def features_of(folder):
    return json.loads((folder / "nuclei.geojson").read_text())["features"]


def labels_of(folder):
    group = zarr.open_group(folder / "S.ome.zarr/labels/nuclei", mode="r")
    return [group[key][:] for key in sorted(group.array_keys(), key=int)]


def listed(folder):
    return metadata.ome_of(zarr.open_group(folder / "S.ome.zarr/labels", mode="r"))["labels"]


def test_labels_are_the_tables_nuclei_at_every_level(slide):
    folder, nuclei = slide
    levels = labels_of(folder)
    assert levels[0].shape == SHAPE and len(levels) >= 3 and listed(folder) == ["tissue", "nuclei"]
    numbers, areas = np.unique(levels[0][levels[0] > 0], return_counts=True)
    assert numbers.tolist() == nuclei["ObjectNumber"].to_pylist() and len(numbers) == len(CENTRES)
    assert areas.tolist() == nuclei["Nuclei_AreaShape_Area"].to_pylist()
    for number, level in enumerate(levels):
        np.testing.assert_array_equal(level, levels[0][:: 2**number, :: 2**number])


def test_geojson_has_the_tables_nuclei(slide):
    folder, nuclei = slide
    features = features_of(folder)
    shapes = [shapely.geometry.shape(feature["geometry"]) for feature in features]
    assert all(shape.is_valid for shape in shapes)
    assert [shape.area for shape in shapes] == nuclei["Nuclei_AreaShape_Area"].to_pylist()
    for axis in "xy":
        centres = [getattr(shape.centroid, axis) - 0.5 for shape in shapes]
        np.testing.assert_allclose(centres, nuclei[f"Nuclei_Location_Center_{axis.upper()}"].to_numpy())
    measured = [feature["properties"]["measurements"] for feature in features]
    assert {"ObjectNumber", "Nuclei_AreaShape_Area", "Cytoplasm_Intensity_MeanIntensity_DAB"} <= measured[0].keys()
    for name in measured[0]:
        np.testing.assert_allclose([item[name] for item in measured], nuclei[name].to_numpy(), rtol=1e-6)
    classes = [feature["properties"]["classification"]["name"] for feature in features]
    positive = nuclei["Nuclei_Positive_DAB"].to_pylist()
    assert classes == ["Positive" if value else "Negative" for value in positive] and 0.4 < np.mean(positive) < 0.6


def test_coordinates_begin_at_the_bounds_of_the_slides_json(slide):
    folder, _ = slide
    first = features_of(folder)[0]["geometry"]["coordinates"][0]
    facts = outputs.read_json(folder / "slide.json")
    outputs.write_json(facts | {"bounds": [10, 20, 600, 2200]}, folder / "slide.json")
    detect(folder)
    outputs.write_json(facts, folder / "slide.json")
    moved = features_of(folder)[0]["geometry"]["coordinates"][0]
    assert moved == [[x - 10, y - 20] for x, y in first]
    detect(folder)


def test_labels_and_geojson_are_equal_for_every_chunk_version_and_number_of_workers(slide, tmp_path):
    folder, _ = slide
    convert(tmp_path, folder / "slide.tif", modality="hdab", version="0.4", chunk=128, shard=128, codec="lz4")
    calibrate(tmp_path)
    detect(tmp_path, pool={"engine": "pool", "mode": "paths", "dask": "processes"}, workers=2)
    assert (tmp_path / "nuclei.geojson").read_bytes() == (folder / "nuclei.geojson").read_bytes()
    for one, other in zip(labels_of(folder), labels_of(tmp_path), strict=False):
        np.testing.assert_array_equal(one, other)


def test_peaks_have_neither_and_those_of_an_earlier_job_go(slide):
    folder, _ = slide
    settings = AUTO | {"nuclei": AUTO["nuclei"] | {"haematoxylin": 0.03}}
    nuclei, _ = detect(folder, settings=settings)
    assert len(nuclei) and listed(folder) == ["tissue"]
    assert not list(folder.glob("nuclei.geojson*")) and not list(folder.glob("S.ome.zarr/labels/*nuclei*"))
    detect(folder)
    assert listed(folder) == ["tissue", "nuclei"]


REGIONS = {
    "Upper": [[[0, 0], [700, 0], [700, 1000], [0, 1000], [0, 0]]],
    "All": [[[-9, -9], [700, -9], [700, 2250], [-9, 2250]]],
}


def write_regions(folder):
    features = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": rings}, "properties": {"name": name}}
        for name, rings in REGIONS.items()
    ]
    path = folder / "regions.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def count(folder, annotations):
    options = {"facts": folder / "slide.json", "nuclei_table": folder / "nuclei.parquet", "max_failed": 0.05}
    options |= {"tiles_table": folder / "tiles.parquet", "annotations": annotations, "table": folder / "regions.csv"}
    count_slide_regions.main(plate="P", slide="S", **options)
    with open(folder / "regions.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("method", ["auto", 0.03])
def test_nuclei_carry_the_names_of_their_regions_and_are_counted_in_each(slide, method):
    folder, _ = slide
    annotations = write_regions(folder)
    nuclei, _ = detect(
        folder, settings=AUTO | {"nuclei": AUTO["nuclei"] | {"haematoxylin": method}}, annotations=annotations
    )
    upper = nuclei["Nuclei_Location_Center_Y"].to_numpy() + 0.5 <= 1000
    assert nuclei["Region"].to_pylist() == ["Upper;All" if value else "All" for value in upper]
    assert 0 < upper.sum() < len(upper)
    first, second = count(folder, annotations)
    assert (first["Metadata_Plate"], first["Metadata_Slide"], first["Region"], second["Region"]) == (
        "P",
        "S",
        "Upper",
        "All",
    )
    assert (int(first["Count_Nuclei"]), int(second["Count_Nuclei"])) == (upper.sum(), len(CENTRES))
    assert (float(first["Region_Area_px"]), float(second["Region_Area_px"])) == (700 * 1000, 700 * 2250)
    assert float(first["Region_Area_mm2"]) == pytest.approx(0.35 * 0.5)
    assert float(first["Nuclei_Per_mm2"]) == pytest.approx(upper.sum() / 0.175, rel=1e-3)
    positive = nuclei["Nuclei_Positive_DAB"].to_numpy() if method == "auto" else None
    share = "" if positive is None else str(positive[upper].mean())
    assert first["Share_Positive"] == share


def test_a_region_whose_tiles_failed_says_so(slide, tmp_path, caplog):
    """Tiles that cannot be decoded when the slide is converted, and a block that cannot be read in the store."""
    folder, _ = slide
    (tmp_path / "slide.tif").write_bytes((folder / "slide.tif").read_bytes())
    damage_tile(tmp_path / "slide.tif", "zeros", number=3 * 11 + 4)
    convert(tmp_path, tmp_path / "slide.tif", modality="hdab")
    calibrate(tmp_path)
    annotations = write_regions(tmp_path)
    good, _ = detect(tmp_path, annotations=annotations)
    first, second = count(tmp_path, annotations)
    assert float(first["Region_FailedShare"]) == pytest.approx(64 * 64 / (700 * 1000))
    assert int(first["Count_Nuclei"]) == sum("Upper" in name for name in good["Region"].to_pylist())
    assert float(first["Nuclei_Per_mm2"]) == pytest.approx(
        int(first["Count_Nuclei"]) / 0.25e-6 / (700 * 1000 - 64 * 64), rel=1e-3
    )
    assert "of the region 'Upper' could not be measured; max_failed_fields allows 5 %" in caplog.text
    for path in (tmp_path / "S.ome.zarr/0/c/0").glob("[34]/*"):  # rows 1536 to 2250, of the second block, and its halo
        path.write_bytes(path.read_bytes()[:100])
    detect(tmp_path, annotations=annotations)
    first, second = count(tmp_path, annotations)
    assert float(second["Region_FailedShare"]) > 0.05 and second["Region_Area_mm2"]
    assert second["Count_Nuclei"] == second["Nuclei_Per_mm2"] == second["Share_Positive"] == ""


@pytest.mark.parametrize("method", ["auto", 0.03])
def test_regions_of_another_slide_are_warned_of_and_cost_the_slide_nothing(slide, method, tmp_path):
    folder, _ = slide
    settings = AUTO | {"nuclei": AUTO["nuclei"] | {"haematoxylin": method}}
    plain, _ = detect(folder, settings=settings)
    annotations = tmp_path / "regions.geojson"
    annotations.write_text('{"type": "Polygon", "coordinates": [[[9000, 0], [9100, 0], [9100, 99], [9000, 0]]]}')
    nuclei, _ = detect(folder, settings=settings, annotations=annotations)
    assert nuclei.drop_columns("Region").equals(plain) and set(nuclei["Region"].to_pylist()) == {None}
    [row] = count(folder, annotations)
    assert row["Region_Area_px"] == "0.0" and row["Count_Nuclei"] == row["Nuclei_Per_mm2"] == ""
    facts = outputs.read_json(folder / "slide.json")
    of_slide = folder / "tiles.parquet", folder / "nuclei.parquet"
    row = tables.slide_row("P", facts, *of_slide, max_failed=0.05)
    assert (row["Slide_Status"], row["Count_Nuclei"]) == ("ok", len(plain))
    assert "none of the regions" in row["Slide_Warnings"]


def test_without_regions_in_the_sheet_there_is_neither_column_nor_table(slide):
    folder, _ = slide
    (folder / "regions.csv").write_text("of an earlier run")
    nuclei, _ = detect(folder)
    assert "Region" not in nuclei.column_names and not (folder / "regions.csv").exists()


def test_a_failed_slide_has_no_rows_of_regions(tmp_path):
    outputs.write_json({"slide": "S", "path": "s.tif", "status": "failed", "error": "damaged"}, tmp_path / "slide.json")
    annotations = write_regions(tmp_path)
    detect(tmp_path, annotations=annotations)
    assert count(tmp_path, annotations) == []
