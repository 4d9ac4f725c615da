"""Plates as OME-Zarr: valid for other tools, with the files' pixels and the nuclei, nothing lost in silence."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import dask
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
import zarr
from scipy import ndimage

from fieldwork import InputError, frames, outputs
from fieldwork.inputs import layouts
from fieldwork.inputs.names.images import in_order
from fieldwork.omezarr import metadata as omezarr_metadata
from fieldwork.pixel_sizes import pixel_sizes
from fieldwork.plates import store as plate_store
from fieldwork.plates import tables
from fieldwork.stains import colours_of
from workspace import REPOSITORY

SETTINGS = {"version": "0.5", "chunk": 32, "codec": "zstd", "level": 1}
SHAPE = (60, 90)
SIGMA = 3


class Planted(NamedTuple):
    """A plate: its images, and the nuclei in its tables: (well, site, t, z) -> (n, 2) rows and columns."""

    folder: Path
    images: list[layouts.Image]
    nuclei: dict

    def write(self, name="P.ome.zarr", *, labels=None, sigma=SIGMA, workers=1, on_bad_image="record", **settings):
        zarr.core.sync.cleanup_resources()  # threads, after which workers could not be forked
        return plate_store.write(
            self.images,
            self.folder / name,
            plate="P",
            channel="w1",
            nuclei=self.folder / "nuclei.parquet",
            fields=self.folder / "fields.csv",
            labels=labels,
            sigma=sigma,
            settings=SETTINGS | settings,
            on_bad_image=on_bad_image,
            workers=workers,
        )

    @property
    def store(self):
        return self.folder / "P.ome.zarr"

    def field(self, path="B/2/0"):
        return zarr.open_group(self.store / path, mode="r")


def plant(
    folder, fields, *, channels=("w1", "w2"), times=(None,), planes=(None,), shape=SHAPE, dtype="uint16", failed=None
):
    """Write a plate's images and tables; `fields`: (well, site) pairs; `failed`: (well, site) -> why w1 failed."""
    rng = np.random.default_rng(0)
    images, nuclei, rows, objects = [], {}, [], []
    (folder / "images").mkdir()
    for well, site in fields:
        for t in times:
            for z in planes:
                for channel in channels:
                    path = folder / "images" / f"{well}_{site}_{t}_{z}_{channel}.tif"
                    tifffile.imwrite(path, rng.integers(0, 250, shape).astype(dtype))
                    images.append(layouts.Image(str(path), well, site, channel, t, z))
                reason = (failed or {}).get((well, site))
                grid = [(y, x) for y in range(4, shape[0] - 3, 12) for x in range(4, shape[1] - 3, 12)]
                planted = [] if reason else rng.permutation(grid)[: rng.integers(3, 9)]
                nuclei[well, site, t, z] = planted
                objects += [(well, site, t, z, number, y, x) for number, (y, x) in enumerate(planted, start=1)]
                dna = Path(images[-len(channels)].path)
                size = [None, None] if reason else shape
                rows.append((well, site, t, z, dna.name, str(dna.parent), *size, "failed" if reason else "ok", reason))
    names = [*[name for name, _ in tables.METADATA[1:]], "ObjectNumber"]
    names += ["Nuclei_Location_Center_Y", "Nuclei_Location_Center_X"]
    table = pa.table({name: list(column) for name, column in zip(names, zip(*objects, strict=True), strict=True)})
    pq.write_table(table.drop_columns([name for name in names if table[name].null_count]), folder / "nuclei.parquet")
    columns = [*names[:4], "FileName_DNA", "PathName_DNA", "Image_Height", "Image_Width", "Image_Status", "Image_Error"]
    outputs.write_csv([dict(zip(columns, row, strict=True)) for row in rows], columns, folder / "fields.csv")
    return Planted(folder, in_order(images), nuclei)


def validate(store, version="0.5"):
    """Check a plate with all its wells, images and labels; return the plate's metadata."""
    from ome_zarr_models import v04, v05

    group = zarr.open_group(store, mode="r")
    models = v04 if version == "0.4" else v05
    plate = models.HCS.from_zarr(group)
    attributes = plate.attributes if version == "0.4" else plate.ome_attributes
    for well in plate.well_groups:
        images = (well.attributes if version == "0.4" else well.ome_attributes).well.images
        assert len(images) == len(set(well.members)) > 0
    for field in sorted(store.glob("*/*/*/labels")):
        models.Image.from_zarr(zarr.open_group(field.parent, mode="r"))
        models.ImageLabel.from_zarr(zarr.open_group(field / "nuclei", mode="r"))
    return attributes.plate


def attributes(group):
    attrs = group.attrs.asdict()
    return attrs.get("ome", attrs) | {"fieldwork": attrs.get("fieldwork")}


def levels_of(group):
    (multiscale,) = attributes(group)["multiscales"]
    return [group[dataset["path"]] for dataset in multiscale["datasets"]]


def bytes_of(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in Path(folder).rglob("*") if file.is_file()}


def halved(pixels):
    """Return means of 2 x 2 pixels, computed in another way than by the library."""
    pixels = np.pad(pixels, [(0, side % 2) for side in pixels.shape], mode="edge").astype(float)
    means = pixels.reshape(pixels.shape[0] // 2, 2, pixels.shape[1] // 2, 2).mean(axis=(1, 3))
    return np.floor(means + 0.5)


@pytest.mark.parametrize(
    ("version", "codec"), [("0.5", "zstd"), ("0.5", "lz4"), ("0.5", "none"), ("0.4", "lz4"), ("0.4", "keep")]
)
def test_sparse_plate_with_mixed_fields_is_valid_and_has_the_pixels_of_the_files(tmp_path, version, codec):
    fields = [("B02", 1), ("B02", 2), ("B02", 7), ("C11", 3), ("H12", 1), ("H12", 2)]
    planted = plant(tmp_path, fields)
    facts = planted.write(version=version, codec=codec)
    plate = validate(planted.store, version)
    assert [(well.path, well.rowIndex, well.columnIndex) for well in plate.wells] == [
        ("B/2", 1, 1), ("C/11", 2, 10), ("H/12", 7, 11)
    ]  # fmt: skip
    assert [row.name for row in plate.rows] == list("ABCDEFGH")
    assert [column.name for column in plate.columns] == [str(number) for number in range(1, 13)]
    assert (plate.field_count, plate.name) == (3, "P")
    paths = ["B/2/0", "B/2/1", "B/2/2", "C/11/0", "H/12/0", "H/12/1"]
    assert [(field["path"], field["well"], field["site"]) for field in facts["fields"]] == [
        (path, *field) for path, field in zip(paths, fields, strict=True)
    ]
    assert facts["failed"] == facts["missing"] == []
    for path, (well, site) in zip(paths, fields, strict=True):
        group = planted.field(path)
        assert attributes(group)["fieldwork"]["site"] == site
        for c, channel in enumerate(["w1", "w2"]):
            expected = tifffile.imread(tmp_path / "images" / f"{well}_{site}_None_None_{channel}.tif")
            for array, shape in zip(levels_of(group), [(60, 90), (30, 45), (15, 23)], strict=True):
                assert (array.shape, array.dtype) == ((1, 2, 1, *shape), np.uint16)
                np.testing.assert_array_equal(array[0, c, 0], expected)
                expected = halved(expected)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_py_shows_the_first_fields_of_the_wells_in_their_places(tmp_path, version):
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    planted = plant(tmp_path, [("B02", 4), ("H12", 1), ("H12", 2)])
    planted.write(version=version)
    with dask.config.set(scheduler="synchronous"):
        (node, *_) = Reader(parse_url(str(planted.store)))()
        plate = np.asarray(node.data[0])
        (well, *_) = Reader(parse_url(str(planted.store / "H/12")))()
        assert np.asarray(well.data[0]).shape == (1, 2, 1, 60, 180)
        label = [node for node in Reader(parse_url(str(planted.store / "B/2/0")))() if node.data][-1]
        assert np.asarray(label.data[0]).max() == len(planted.nuclei["B02", 4, None, None])
    assert plate.shape == (1, 2, 1, 8 * 60, 12 * 90)
    for well, site, row, column in (("B02", 4, 1, 1), ("H12", 1, 7, 11)):
        expected = tifffile.imread(tmp_path / "images" / f"{well}_{site}_None_None_w2.tif")
        np.testing.assert_array_equal(plate[0, 1, 0, row * 60 : row * 60 + 60, column * 90 :][:, :90], expected)
    assert np.count_nonzero(plate.any(axis=(0, 1, 2))) <= 2 * 60 * 90


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_discs_lie_on_the_nuclei_and_have_their_numbers(tmp_path, version):
    planted = plant(tmp_path, [("B02", 1), ("B02", 2)])
    planted.write(version=version)
    for number in (0, 1):
        label = planted.field(f"B/2/{number}/labels/nuclei")
        nuclei = planted.nuclei["B02", number + 1, None, None]
        levels = [level[0, 0] for level in levels_of(label)]
        centres = ndimage.center_of_mass(levels[0] > 0, levels[0], range(1, len(nuclei) + 1))
        np.testing.assert_array_equal(centres, nuclei)
        assert (np.bincount(levels[0].ravel())[1:] == 29).all()  # pixels within 3 px: 1 + 4 * 7
        np.testing.assert_array_equal(levels[1], levels[0][::2, ::2])
        image = attributes(planted.field(f"B/2/{number}"))["multiscales"][0]
        transformations = [level["coordinateTransformations"] for level in image["datasets"]]
        assert [translation["translation"][-1] for _, translation in transformations] == [0, 0.5, 1.5]
        assert len(levels) == 3
        datasets = attributes(label)["multiscales"][0]["datasets"]
        transformations = [level["coordinateTransformations"] for level in datasets]
        assert [scale["scale"] for scale, _ in transformations] == [[1, 1, 2**n, 2**n] for n in range(3)]
        assert not any(any(shift["translation"]) for _, shift in transformations)  # first pixels are first pixels


def test_discs_of_nuclei_whose_outlines_were_not_kept_have_their_usual_size(tmp_path):
    planted = plant(tmp_path, [("B02", 1)])
    table = pq.read_table(tmp_path / "nuclei.parquet")
    areas = pa.array([50] * (len(table) - 1) + [900])  # of radius 4, and of one much larger
    pq.write_table(table.append_column("Nuclei_AreaShape_Area", areas), tmp_path / "nuclei.parquet")
    planted.write(sigma=None)
    (level, *_) = levels_of(planted.field("B/2/0/labels/nuclei"))
    sizes = np.bincount(level[:].ravel())[1:]
    assert len(sizes) == len(table) and set(sizes) == {49}  # pixels within 4 px


def test_where_discs_overlap_the_nearest_centre_wins():
    nuclei = np.array([[0, 0, 5, 0, 0], [0, 0, 6, 2, 4], [1, 0, 7, 9, 9]])
    image = plate_store.discs(nuclei, (2, 1, 10, 10), radius=4)
    y, x = np.mgrid[:10, :10]
    distances = np.stack([np.hypot(y - row, x - column) for row, column in nuclei[:, 3:]])
    first = np.where(distances[0] < distances[1], 5, 6)
    tied = distances[0] == distances[1]
    assert (tied & (distances[0] <= 4)).any()
    expected = np.where(distances[:2].min(axis=0) <= 4, first, 0)
    np.testing.assert_array_equal(image[0, 0][~tied], expected[~tied])
    np.testing.assert_array_equal(image[1, 0], np.where(distances[2] <= 4, 7, 0))


def plant_labels(planted, *, shape=SHAPE):
    """Write a plate's labels.zarr, larger than its fields; return (well, site, t, z) -> labels."""
    labels = {}
    for number, (position, nuclei) in enumerate(planted.nuclei.items()):
        labels[position] = np.zeros(shape, np.uint32)
        for value, (y, x) in enumerate(nuclei, start=1):
            labels[position][y - 4 : y + 5, x - 4 : x + 3 + number % 3] = value
    padded = [np.pad(image, ((0, 7), (0, 5))) for image in labels.values()]
    array = zarr.create_array(
        planted.folder / "labels.zarr",
        shape=(len(padded), *padded[0].shape),
        dtype="uint32",
        chunks=(1, *padded[0].shape),
        shards=(len(padded), *padded[0].shape),
    )
    array[:] = np.array(padded)
    return labels


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_outlines_are_those_of_the_plates_labels_in_every_field_and_plane(tmp_path, version):
    failed = {("C03", 1): "truncated"}
    planted = plant(tmp_path, [("B02", 1), ("B02", 5), ("C03", 1)], times=(0, 1), planes=(2, 3, 9), failed=failed)
    expected = plant_labels(planted)
    planted.write(labels=tmp_path / "labels.zarr", workers=2, version=version)
    validate(planted.store, version)
    for path, (well, site) in {"B/2/0": ("B02", 1), "B/2/1": ("B02", 5), "C/3/0": ("C03", 1)}.items():
        levels = levels_of(planted.field(f"{path}/labels/nuclei"))
        assert (levels[0].shape, levels[0].dtype) == ((2, 3, *SHAPE), np.uint32)
        for t, timepoint in enumerate((0, 1)):
            for plane, z in enumerate((2, 3, 9)):
                image = expected[well, site, timepoint, z]
                assert image.any() != (well == "C03")
                np.testing.assert_array_equal(levels[0][t, plane], image)
                np.testing.assert_array_equal(levels[1][t, plane], image[::2, ::2])


def test_outlines_of_a_field_without_time_points_beside_some_with_them_are_its_first(tmp_path):
    planted = plant(tmp_path, [("B02", 1), ("B02", 2)])
    expected = plant_labels(planted)
    planted.images[:] = [
        image._replace(timepoint=4) if (image.site, image.channel) == (2, "w2") else image for image in planted.images
    ]
    planted.write(labels=tmp_path / "labels.zarr")
    for number in (0, 1):
        (level, *_) = levels_of(planted.field(f"B/2/{number}/labels/nuclei"))
        np.testing.assert_array_equal(level[:], expected["B02", number + 1, None, None][None, None])


@pytest.mark.parametrize("channels", [["w1"], ["w10", "w9", "w1", "w2", "w4"]])
def test_channels_are_in_natural_order_and_shown_as_what_they_are(tmp_path, channels):
    planted = plant(tmp_path, [("B02", 1)], channels=channels)
    facts = planted.write()
    drawn = attributes(planted.field())["omero"]["channels"]
    assert [channel["label"] for channel in drawn] == sorted(channels, key=lambda name: int(name[1:]))
    assert drawn[0]["color"] == "0000FF"
    assert len({channel["color"] for channel in drawn}) == len(channels)
    for channel, summary in zip(drawn, facts["channels"], strict=True):
        assert {key: channel[key] for key in summary} == summary
        pixels = tifffile.imread(tmp_path / "images" / f"B02_1_None_None_{channel['label']}.tif")
        start, end = np.percentile(pixels, (1, 99.9))
        assert channel["window"] == {"min": 0, "max": 65535, "start": round(start), "end": round(end)}


def test_stains_have_their_colours():
    channels = ["w1", "Alexa 488", "mCherry", "far-red", "Hoechst33342", "mito", "brightfield", "w5"]
    expected = ["FFFF00", "00FF00", "FF0000", "FF00FF", "0000FF", "FF00FF", "FFFFFF", "00FFFF"]
    for nuclei in ("w1", "mCherry", "Hoechst33342"):
        assert list(colours_of(channels, nuclei).items()) == list(zip(channels, expected, strict=True))
    assert colours_of(["w1", "w2"], "w2") == {"w1": "00FF00", "w2": "0000FF"}
    many = colours_of([f"c{n}" for n in range(9)], "c0")
    assert len(many) == 9 and len(set(many.values())) == 7


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_time_points_and_z_planes_of_names_are_axes(tmp_path, version):
    planted = plant(tmp_path, [("B02", 1), ("B03", 1)], times=(0, 1, 12), planes=(3, 4))
    facts = planted.write(version=version)
    assert facts["failed"] == facts["missing"] == []
    validate(planted.store, version)
    group = planted.field("B/3/0")
    labels = levels_of(group["labels/nuclei"])[0]
    pixels = levels_of(group)[0]
    assert (pixels.shape, labels.shape) == ((3, 2, 2, 60, 90), (3, 2, 60, 90))
    assert (
        attributes(group)["fieldwork"] | {"timepoints": [0, 1, 12], "z_planes": [3, 4]}
        == attributes(group)["fieldwork"]
    )
    for t, timepoint in enumerate((0, 1, 12)):
        for z, plane in enumerate((3, 4)):
            expected = tifffile.imread(tmp_path / "images" / f"B03_1_{timepoint}_{plane}_w2.tif")
            np.testing.assert_array_equal(pixels[t, 1, z], expected)
            nuclei = planted.nuclei["B03", 1, timepoint, plane]
            assert [labels[t, z, y, x] for y, x in nuclei] == list(range(1, len(nuclei) + 1))
    if version == "0.5":  # a shard for each time point
        assert len(list((planted.store / "B/3/0/0/c").rglob("*"))) == 3 * 5


def test_pages_are_axes_too(tmp_path):
    planted = plant(tmp_path, [("B02", 1), ("B02", 2)])
    pixels = np.random.default_rng(1).integers(0, 250, (2, 3, *SHAPE)).astype(np.uint16)
    for path in (tmp_path / "images").glob("*_w2.tif"):
        tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "TZYX"})
    facts = planted.write()
    level = levels_of(planted.field())[0]
    np.testing.assert_array_equal(level[:, 1], pixels)
    np.testing.assert_array_equal(level[0, 0, 0], tifffile.imread(tmp_path / "images/B02_1_None_None_w1.tif"))
    assert len(facts["missing"]) == 2 * (2 * 3 - 1)
    assert {entry["channel"] for entry in facts["missing"]} == {"w1"}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_what_is_bad_or_missing_is_zero_and_said(tmp_path, version):
    failed = {("C03", 1): "cannot be decoded: planted", ("D04", 1): "wrong shape: planted"}
    planted = plant(tmp_path, [("B02", 1), ("B02", 2), ("C03", 1), ("D04", 1)], failed=failed)
    name = str(tmp_path / "images" / "B02_{}_None_None_w{}.tif").format
    Path(name(1, 2)).write_bytes(b"II*\0 and no more")
    tifffile.imwrite(name(2, 2), np.ones((30, 45), np.uint16))
    images = [image for image in planted.images if (image.well, image.channel) != ("C03", "w2")]
    planted = planted._replace(images=images)
    facts = planted.write(version=version)
    validate(planted.store, version)
    errors = {(entry["field"], entry["channel"]): entry["error"] for entry in facts["failed"]}
    assert errors.pop(("B/2/0", "w2")).startswith("truncated")
    assert errors == {
        ("B/2/1", "w2"): "wrong shape: found 30 x 45 px, the field's images are 60 x 90 px",
        ("C/3/0", "w1"): "cannot be decoded: planted",
        ("D/4/0", "w1"): "wrong shape: planted",
    }
    assert [(entry["field"], entry["channel"]) for entry in facts["missing"]] == [("C/3/0", "w2")]
    for path, filled in (("B/2/0", [1, 0]), ("B/2/1", [1, 0]), ("C/3/0", [0, 0]), ("D/4/0", [0, 1])):
        group = planted.field(path)
        level = levels_of(group)[0]
        assert level.shape == (1, 2, 1, *SHAPE)
        assert level[:].any(axis=(0, 2, 3, 4)).tolist() == filled
        listed = attributes(group)["fieldwork"]
        for what in ("failed", "missing"):
            assert listed[what] == [
                {key: value for key, value in entry.items() if key in listed[what][0]}
                for entry in facts[what]
                if entry["field"] == path
            ]
    with pytest.raises(InputError, match=r"B02_1_None_None_w2.tif failed: truncated.* because of on_bad_image: stop"):
        planted.write("stopped.zarr", on_bad_image="stop")
    assert not list(tmp_path.glob("*stopped*")) and not list(tmp_path.glob(".*"))


def test_a_plate_without_any_good_image_is_a_store_too(tmp_path):
    planted = plant(tmp_path, [("B02", 1), ("B02", 2)], failed={("B02", 2): "planted"})
    (tmp_path / "fields.csv").write_text((tmp_path / "fields.csv").read_text().replace(",60,90,ok", ",,,failed"))
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"")
    facts = planted.write()
    assert len(facts["failed"]) == 4
    validate(planted.store)


def test_an_image_that_crashes_its_reader_costs_itself_alone(tmp_path, monkeypatch):
    planted = plant(tmp_path, [("B02", 1), ("B02", 2)])
    read = frames.read

    def crash(path, **options):
        if path.endswith("B02_2_None_None_w2.tif"):
            os.kill(os.getpid(), signal.SIGSEGV)
        return read(path, **options)

    monkeypatch.setattr(frames, "read", crash)
    facts = planted.write(workers=2)
    assert [(entry["path"], entry["error"]) for entry in facts["failed"]] == [
        (str(tmp_path / "images/B02_2_None_None_w2.tif"), "crashed the reader (SIGSEGV)")
    ]
    assert levels_of(planted.field("B/2/1"))[0][:].any(axis=(0, 2, 3, 4)).tolist() == [True, False]


def test_dtypes_are_kept_or_promoted_together(tmp_path):
    planted = plant(tmp_path, [("B02", 1)], dtype="uint8")
    planted.write()
    assert levels_of(planted.field())[2].dtype == np.uint8
    assert attributes(planted.field())["omero"]["channels"][0]["window"]["max"] == 255
    pixels = np.linspace(0, 1, 60 * 90, dtype=np.float32).reshape(SHAPE)
    tifffile.imwrite(tmp_path / "images/B02_1_None_None_w2.tif", pixels)
    planted.write()
    level = levels_of(planted.field())[0]
    assert level.dtype == np.float32
    np.testing.assert_array_equal(level[0, 1, 0], pixels)
    np.testing.assert_array_equal(level[0, 0, 0], tifffile.imread(tmp_path / "images/B02_1_None_None_w1.tif"))
    start, end = np.percentile(pixels, plate_store.WINDOW_PERCENTILES).tolist()
    window = {"min": 0, "max": 1, "start": pytest.approx(start, abs=0.01), "end": pytest.approx(end, abs=0.01)}
    assert attributes(planted.field())["omero"]["channels"][1]["window"] == window


@pytest.mark.parametrize(("value", "dtype"), [(7, "uint16"), (255, "uint8"), (0, "uint8"), (1e20, "f4"), (-0.5, "f8")])
def test_a_window_is_never_empty(value, dtype):
    pixels = np.full(9, value, dtype)
    window = plate_store._window(pixels)
    assert window["start"] <= pixels[0] <= window["end"] and np.float32(window["start"]) < np.float32(window["end"])
    if dtype.startswith("u"):
        assert window["min"] <= window["start"] and window["end"] <= window["max"]


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", "uint32", "float32", "float64"])
@pytest.mark.parametrize("shape", [(7, 5), (1, 1), (8, 6)])
def test_levels_are_means_of_any_dtype(dtype, shape):
    pixels = np.random.default_rng(0).integers(0, 120, shape).astype(dtype)
    level = omezarr_metadata.halved(pixels)
    assert level.dtype == dtype
    if np.dtype(dtype).kind == "f":
        assert abs(level - halved(pixels)).max() <= 0.5
    else:
        np.testing.assert_array_equal(level, halved(pixels))


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({}, {}),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, {}),
        ({"resolution": (20000, 40000), "resolutionunit": "CENTIMETER"}, {"x": 0.5, "y": 0.25}),
        (
            {"imagej": True, "resolution": (2, 4), "metadata": {"unit": "micron", "spacing": 3}},
            {"x": 0.5, "y": 0.25, "z": 3},
        ),
        (
            {"ome": True, "metadata": {"PhysicalSizeX": 500, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.25}},
            {"x": 0.5, "y": 0.25},
        ),
    ],
)
def test_pixel_sizes_are_those_that_files_state(tmp_path, options, sizes):
    planted = plant(tmp_path, [("B02", 1)])
    for image in planted.images:
        tifffile.imwrite(image.path, np.ones(SHAPE, np.uint16), **options)
    assert pixel_sizes(planted.images[0].path) == pytest.approx(sizes)
    planted.write()
    validate(planted.store)
    (image,) = attributes(planted.field())["multiscales"]
    units = {axis["name"]: axis.get("unit") for axis in image["axes"]}
    assert {axis for axis, unit in units.items() if unit} == sizes.keys()
    scales = [dataset["coordinateTransformations"][0]["scale"] for dataset in image["datasets"]]
    y, x, z = (sizes.get(axis, 1) for axis in "yxz")
    assert scales[0] == pytest.approx([1, 1, z, y, x])
    assert scales[1] == pytest.approx([1, 1, z, 2 * y, 2 * x])


def test_a_field_is_few_files(tmp_path):
    planted = plant(tmp_path, [("B02", 1)], shape=(300, 400))
    planted.write()
    data = [name for name in bytes_of(planted.store) if not name.endswith("zarr.json")]
    assert len([name for name in data if "labels" not in name]) == 5  # of 400, 200, 100, 50 and 25 px
    assert len(data) <= 2 * 5  # a level of the label without nuclei is no file


PROGRAM = """
import json, sys
sys.path.insert(0, {scripts!r})
from fieldwork.inputs import layouts
from fieldwork.plates import store as plate_store
if __name__ == "__main__":
    images, arguments = json.loads({arguments!r})
    images = [layouts.Image(*image) for image in images]
    plate_store.write([image._replace(inside=tuple(image.inside)) for image in images], **arguments)
"""


def start(planted, name, workers):
    """Start to write a store in an interpreter of its own."""
    arguments = {"store": str(planted.folder / name), "nuclei": str(planted.folder / "nuclei.parquet")}
    arguments |= {"fields": str(planted.folder / "fields.csv"), "plate": "P", "channel": "w1", "sigma": SIGMA}
    arguments |= {"labels": None, "settings": SETTINGS, "on_bad_image": "record", "workers": workers}
    arguments = json.dumps([planted.images, arguments])
    program = PROGRAM.format(scripts=str(REPOSITORY / "scripts"), arguments=arguments)
    return subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)


def test_killed_and_started_again_the_store_is_the_same_for_any_number_of_workers(tmp_path):
    fields = [(well, site) for well in ("B02", "B03", "C04") for site in range(1, 7)]
    planted = plant(tmp_path, fields)
    planted.write(workers=1)
    expected = bytes_of(planted.store)
    assert len(expected) > 200
    rng = random.Random(0)
    planted.write("killed.zarr", version="0.4")  # an older store, which is replaced
    older = bytes_of(tmp_path / "killed.zarr")
    for _ in range(2):
        process = start(planted, "killed.zarr", workers=2)
        while not list(tmp_path.glob(".killed.zarr.*.part/B/2/0")):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.wait()
        assert process.returncode == -signal.SIGKILL
        assert bytes_of(tmp_path / "killed.zarr") == older  # whole, or not at all
    process = start(planted, "killed.zarr", workers=2)
    assert process.wait() == 0, process.stderr.read()
    assert bytes_of(tmp_path / "killed.zarr") == expected
    assert not list(tmp_path.glob(".*"))
