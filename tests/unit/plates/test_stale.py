"""Label images and time points that are no longer those of the plate's tables."""

import json

import pytest

from fieldwork.plates import stale

FIELDS = [
    {"Metadata_Well": "B02", "Metadata_Site": 1, "Metadata_Timepoint": None, "Metadata_ZPlane": None, "Other": 1},
    {"Metadata_Well": "B03", "Metadata_Site": 2, "Metadata_Timepoint": None, "Metadata_ZPlane": 7, "Other": 2},
]


@pytest.fixture
def metadata(tmp_path):
    """The metadata of label images of `FIELDS`."""
    (tmp_path / "labels.zarr" / "c").mkdir(parents=True)
    path = tmp_path / "labels.zarr" / "zarr.json"
    of_fields = {"plate": "P", "well": ["B02", "B03"], "site": [1, 2], "timepoint": [None, None], "z": [None, 7]}
    path.write_text(json.dumps({"attributes": of_fields}))
    return path


@pytest.mark.parametrize(
    ("fields", "stay"),
    [(FIELDS, True), (FIELDS[:1], False), (FIELDS[::-1], False), ([*FIELDS, FIELDS[0]], False), ([], False)],
    ids=["the same", "fewer", "another order", "more", "none"],
)
def test_labels_stay_with_the_same_fields_alone(tmp_path, metadata, fields, stay):
    stale.forget_labels_of_others(tmp_path, fields)
    assert metadata.exists() == stay and metadata.parent.is_dir()


def test_a_store_that_comes_in_place_of_an_older_one_meanwhile_stays(tmp_path, metadata, monkeypatch):
    load = json.load

    def replace(file):
        metadata.parent.rename(tmp_path / "older")
        (tmp_path / "labels.zarr").mkdir()
        metadata.write_text("new")
        return load(file)

    monkeypatch.setattr(stale.json, "load", replace)
    stale.forget_labels_of_others(tmp_path, FIELDS[:1])
    assert metadata.read_text() == "new" and not (tmp_path / "older" / "zarr.json").exists()


def test_plates_without_labels_have_none_to_forget(tmp_path):
    stale.forget_labels_of_others(tmp_path, FIELDS)
    stale.forget_labels(tmp_path)
    (tmp_path / "labels.zarr").mkdir()
    stale.forget_labels_of_others(tmp_path, FIELDS)
    stale.forget_labels(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_table_of_time_points_of_older_fields_does_not_stay(tmp_path):
    (tmp_path / "timepoints.csv").write_text("older")
    for _ in range(2):
        stale.forget_timepoints(tmp_path)
        assert not list(tmp_path.iterdir())


def test_labels_that_cannot_be_deleted_are_told(tmp_path, metadata, monkeypatch, caplog):
    monkeypatch.setattr(stale.shutil, "rmtree", lambda path, ignore_errors: None)
    stale.forget_labels(tmp_path)
    assert f"{metadata.parent}: cannot be deleted" in caplog.text
