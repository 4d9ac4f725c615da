"""Label images of a plate in one Zarr array: every field in its row, for every fan-out, as other readers see them."""

import json
from collections import Counter

import cv2
import numpy as np
import pytest
import zarr
from skimage.measure import label

from fieldwork import InputError, label_images, outputs
from fieldwork.plates import fields as plate_fields
from fieldwork.plates import label_store, tables
from workspace import DATA

SHAPE = (40, 50)
ANNOTATED = DATA / "annotated" / "labels"


class Planted:
    """A plate with labels: what detection jobs and `merge_units` write, for one unit or for many.

    Parameters
    ----------
    folder : pathlib.Path
    unit_sizes : list of int
        Fields in each unit.
    truth : list of (rows, columns) array or None
        Labels of the plate's fields, in order; None: failed.
    planes : int
        Fields in a file: time points.
    """

    def __init__(self, folder, unit_sizes, truth, *, planes=1):
        self.folder, self.labels, self.fields = folder, [], []
        folder.mkdir(exist_ok=True)
        fields = [field_of(number, labels, planes) for number, labels in enumerate(truth)]
        assert sum(unit_sizes) == len(truth)
        start = 0
        for number, size in enumerate(unit_sizes):
            self.labels.append(folder / f"{number}.labels.parquet")
            self.fields.append(folder / f"{number}.fields.parquet")
            part, start = slice(start, start + size), start + size
            encoded = [None if labels is None else label_images.encode(labels) for labels in truth[part]]
            label_images.write_unit(self.labels[-1], encoded, [field.shape for field in fields[part]])
            outputs.write_parquet(tables.fields_of("P", fields[part]), self.fields[-1])

    def write(self):
        store = self.folder / "labels.zarr"
        shape = label_store.write(store, plate="P", labels=self.labels, fields=self.fields)
        assert shape == zarr.open_array(store, mode="r").shape
        return store


def field_of(number, labels, planes):
    """Return a measured field; the wells are B02, B03, .. with two files each."""
    file, plane = divmod(number, planes)
    well, site, time = f"B{file // 2 + 2:02d}", file % 2 + 1, plane + 1 if planes > 1 else None
    if labels is None:
        return plate_fields.Field(well, site, time, None, f"/images/{file}.tif", error="truncated")
    centres = np.zeros((labels.max(), 2))
    form = f"{labels.shape[0]} x {labels.shape[1]} px of uint16"
    position = well, site, time, None, f"/images/{file}.tif"
    return plate_fields.Field(*position, shape=labels.shape, form=form, coordinates=centres)


def crowd(seed, shape=SHAPE):
    """Draw touching squares, numbered in reading order."""
    squares = np.random.default_rng(seed).integers(0, 4, [side // 5 for side in shape]).repeat(5, 0).repeat(5, 1)
    return label_images.renumber(label(squares, background=0, connectivity=1))


def read_by_two(store):
    """Read a store with zarr's own codecs and with zarrs, which is written in Rust; return both arrays."""
    arrays = [zarr.open_array(store, mode="r")[:]]
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        arrays.append(zarr.open_array(store, mode="r")[:])
    return arrays


def bytes_of(store):
    return {str(file.relative_to(store)): file.read_bytes() for file in store.rglob("*") if file.is_file()}


TRUTH = [crowd(seed) for seed in range(11)]
TRUTH[4] = None
TRUTH[6] = crowd(6, shape=(30, 45))  # odd: fails
TRUTH[7] = np.zeros(SHAPE, np.int32)
STORED = [np.zeros(SHAPE, int) if labels is None or labels.shape != SHAPE else labels for labels in TRUTH]


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(label_store, "LARGEST_SHARD_BYTES", 4 * 4 * SHAPE[0] * SHAPE[1])


def test_every_field_is_in_its_row_for_two_readers(tmp_path, small_shards):
    store = Planted(tmp_path, [11], TRUTH).write()
    array = zarr.open_array(store, mode="r")
    assert (array.shape, array.dtype, array.chunks, array.shards) == ((11, *SHAPE), "uint32", (1, *SHAPE), (4, *SHAPE))
    assert (array.metadata.dimension_names, array.fill_value) == (("field", "row", "column"), 0)
    for fields in read_by_two(store):
        np.testing.assert_array_equal(fields, STORED)
    for number in range(11):
        np.testing.assert_array_equal(array[number], STORED[number])


def test_a_store_has_the_layout_of_one_that_zarr_wrote_and_official_codecs_alone(tmp_path, small_shards):
    store = Planted(tmp_path, [11], TRUTH).write()
    array = zarr.open_array(store, mode="r")
    facts = json.loads((store / "zarr.json").read_text())
    (sharding,) = facts["codecs"]
    assert (facts["zarr_format"], facts["data_type"], sharding["name"]) == (3, "uint32", "sharding_indexed")
    assert [codec["name"] for codec in sharding["configuration"]["codecs"]] == ["bytes", "zstd"]
    copy = zarr.create_array(
        tmp_path / "copy.zarr",
        shape=array.shape,
        dtype="uint32",
        chunks=array.chunks,
        shards=array.shards,
        fill_value=0,
    )
    copy[:] = np.array(STORED)
    assert (
        set(bytes_of(store)) == set(bytes_of(tmp_path / "copy.zarr")) == {"zarr.json", "c/0/0/0", "c/1/0/0", "c/2/0/0"}
    )


def test_attributes_name_each_field(tmp_path):
    attributes = dict(zarr.open_array(Planted(tmp_path, [11], TRUTH).write(), mode="r").attrs)
    assert attributes == {
        "plate": "P",
        "well": ["B02", "B02", "B03", "B03", "B04", "B04", "B05", "B05", "B06", "B06", "B07"],
        "site": [1, 2] * 5 + [1],
        "timepoint": [None] * 11,
        "z": [None] * 11,
    }


def test_bytes_are_equal_for_every_fan_out(tmp_path, small_shards):
    expected = bytes_of(Planted(tmp_path / "plate", [11], TRUTH).write())
    assert len(expected) == 4
    for name, unit_sizes in {"well": [2, 2, 2, 2, 2, 1], "field": [1] * 11, "uneven": [0, 7, 4, 0]}.items():
        assert bytes_of(Planted(tmp_path / name, unit_sizes, TRUTH).write()) == expected


def test_a_shard_without_nuclei_is_no_file(tmp_path, small_shards):
    truth = [None] * 4 + [crowd(0)] + [None] * 6
    store = Planted(tmp_path, [11], truth).write()
    assert set(bytes_of(store)) == {"zarr.json", "c/1/0/0"}
    for fields in read_by_two(store):
        assert np.flatnonzero(fields.any(axis=(1, 2))).tolist() == [4]


def test_rows_follow_fields_csv_where_a_file_of_several_planes_is_odd(tmp_path):
    truth = [crowd(seed) for seed in range(12)]
    truth[3:6] = [crowd(seed, shape=(20, 20)) for seed in range(3)]  # the second file: one failed row
    store = Planted(tmp_path, [6, 6], truth, planes=3).write()
    array = zarr.open_array(store, mode="r")
    expected = [*truth[:3], np.zeros(SHAPE), *truth[6:]]
    np.testing.assert_array_equal(array[:], expected)
    assert array.attrs["timepoint"] == [1, 2, 3, None, 1, 2, 3, 1, 2, 3]


def test_a_plate_of_which_no_shape_has_the_majority_has_no_labels(tmp_path):
    truth = [crowd(0), crowd(1, shape=(30, 65)), crowd(2, shape=(55, 20)), crowd(3)]
    array = zarr.open_array(Planted(tmp_path, [4], truth).write(), mode="r")
    assert array.shape[0] == 4 and not array[:].any()


def test_a_plate_without_good_fields_or_without_fields_has_a_store(tmp_path):
    store = Planted(tmp_path / "failed", [2], [None, None]).write()
    assert zarr.open_array(store, mode="r")[:].tolist() == [[[0]], [[0]]]
    assert zarr.open_array(Planted(tmp_path / "empty", [0], []).write(), mode="r").shape == (0, 1, 1)


def test_a_new_store_takes_the_place_of_an_older_one(tmp_path):
    Planted(tmp_path, [11], TRUTH).write()
    store = Planted(tmp_path, [2], TRUTH[:2]).write()
    np.testing.assert_array_equal(zarr.open_array(store, mode="r")[:], STORED[:2])
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()


@pytest.mark.parametrize("change", ["another shape", "a failed field", "too few", "too many"])
def test_label_images_of_another_run_are_refused_and_leave_no_store(tmp_path, change):
    other = {"another shape": crowd(9, shape=(50, 40)), "a failed field": None}
    truth = (
        TRUTH[:10] if change == "too few" else [*TRUTH, None] if change == "too many" else [*TRUTH[:10], other[change]]
    )
    plate, others = Planted(tmp_path, [11, 0], TRUTH), Planted(tmp_path / "other", [len(truth)], truth)
    plate.labels[0] = others.labels[0]
    with pytest.raises(InputError, match="other/0.labels.parquet: is not of the run that wrote .* Delete it"):
        plate.write()
    assert not (tmp_path / "labels.zarr").exists() and not list(tmp_path.glob(".*"))


def size_of(store):
    return sum(map(len, bytes_of(store).values()))


def test_a_store_of_crowded_8_bit_fields_takes_less_than_a_20th_of_their_pixels(tmp_path):
    rng, truth = np.random.default_rng(0), []
    for _ in range(4):
        drawn = np.zeros((1024, 1280), np.int32)
        for number in range(1, 901):
            centre, axes = rng.integers(0, (1280, 1024)).tolist(), rng.integers(9, 18, 2).tolist()
            cv2.ellipse(drawn, centre, axes, float(rng.uniform(0, 180)), 0, 360, number, -1)
        truth.append(label_images.renumber(drawn))
    assert min(labels.max() for labels in truth) > 700 and np.mean(np.array(truth) > 0) > 0.3
    assert size_of(Planted(tmp_path, [4], truth).write()) < 0.05 * sum(labels.size for labels in truth)


@pytest.mark.skipif(not ANNOTATED.is_dir(), reason="needs the annotated images")
def test_a_store_of_annotated_8_bit_fields_takes_less_than_a_20th_of_their_pixels(tmp_path):
    truth = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted(ANNOTATED.iterdir())]
    [(usual, number)] = Counter(labels.shape for labels in truth).most_common(1)
    truth = [label_images.renumber(labels) for labels in truth if labels.shape == usual]
    assert number > 50 and sum(labels.max() for labels in truth) > 1000
    assert size_of(Planted(tmp_path, [number], truth).write()) < 0.05 * sum(labels.size for labels in truth)
