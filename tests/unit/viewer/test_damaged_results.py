"""What is damaged, or away for a moment, costs the viewer that alone."""

import json

import numpy as np
import pyarrow as pa
import pytest
import tifffile

from fieldwork import InputError, outputs
from fieldwork.viewer import content, fields, slides
from fieldwork.viewer.results import Results

DAMAGED = [
    b"",
    b"\0\xff",
    b"null",
    b"[]",
    b"{}",
    b"[" * 100_000,
    b'{"status": NaN}',
    b'{"status":' + b"9" * 5000 + b"}",
]


@pytest.mark.parametrize("damage", DAMAGED, ids=lambda damage: str(damage[:20]))
def test_a_damaged_record_costs_the_list_that_slide_alone(tmp_path, damage):
    for name in ("a", "b", "c"):
        (tmp_path / "slides" / name).mkdir(parents=True)
        outputs.write_json({"status": "failed" if name == "c" else "ok"}, tmp_path / "slides" / name / "slide.json")
    (tmp_path / "slides/b/slide.json").write_bytes(damage)
    results = Results(tmp_path, tmp_path)
    listed = content.contents(results)
    assert [(slide["name"], slide["status"]) for slide in listed["slides"]] == [
        ("a", "ok"),
        ("b", "damaged"),
        ("c", "failed"),
    ]
    json.dumps(listed, allow_nan=False)
    if damage != b"{}":
        with pytest.raises(InputError, match=r"slide.json is damaged \([^\n]+\); delete it, and run the same command"):
            slides.slide(results, "b")


def test_images_that_are_away_for_a_moment_are_in_the_contrast_when_they_are_back(tmp_path):
    plate = tmp_path / "results/plates/P"
    plate.mkdir(parents=True)
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images/a.tif", np.arange(4096, dtype=np.uint16).reshape(64, 64))
    row = {"FileName_DNA": "a.tif", "PathName_DNA": "images", "Image_Status": "ok"}
    outputs.write_csv([row], list(row), plate / "fields.csv")
    outputs.write_parquet(pa.table({"ObjectNumber": [1]}), plate / "nuclei.parquet")
    results = Results(tmp_path / "results", tmp_path)
    (tmp_path / "images").rename(tmp_path / "away")
    assert fields.contrast(results, "P") == {}
    (tmp_path / "away").rename(tmp_path / "images")
    assert fields.contrast(results, "P")["DNA"]["most"] == 4095
