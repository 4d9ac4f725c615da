"""The demo's real plate: its files, their licence, and how outlines are compared with those that people drew."""

import re

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import zarr

import score_demo_cells
from workspace import DATA, REPOSITORY

CELLS = REPOSITORY / "config/demo/bbbc038"
NAMES = [f"bbbc038_{well}_s{site}_w1.png" for well in ("B02", "B03", "B04") for site in (1, 2)]


def label_of(name):
    return imagecodecs.imread(CELLS / "labels" / name)


def test_six_fields_and_their_labels_take_at_most_400_kb():
    files = [path for path in CELLS.rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == sorted([*NAMES, *NAMES, "README.md"])
    assert sum(path.stat().st_size for path in files) <= 400_000
    for name in NAMES:
        image = imagecodecs.imread(CELLS / "images" / name)
        assert image.shape == label_of(name).shape == (360, 360) and image.dtype == np.uint8
        inside = label_of(name) > 0
        assert image[inside].mean() > 2 * image[~inside].mean()  # labels of this image


def test_their_page_names_source_licence_and_every_file_with_its_nuclei():
    text = (CELLS / "README.md").read_text()
    assert "BBBC038" in text and "CC0" in text and "10.1038/s41592-019-0612-7" in text
    rows = re.findall(r"^\| `(.*?)` \| `(\w{16})` \| (\d+) \|$", text, re.MULTILINE)
    assert [name for name, _, _ in rows] == NAMES
    assert [int(count) for _, _, count in rows] == [len(np.unique(label_of(name))) - 1 for name in NAMES]


@pytest.mark.skipif(not (DATA / "annotated").is_dir(), reason="the annotated images are not on this machine")
def test_their_pixels_are_those_of_the_source():
    text = (CELLS / "README.md").read_text()
    for name, identifier in re.findall(r"^\| `(.*?)` \| `(\w{16})`", text, re.MULTILINE):
        for kind in ("images", "labels"):
            source = (DATA / "annotated" / kind / f"{identifier}.png").read_bytes()
            assert (CELLS / kind / name).read_bytes() == source


def compare(folder, detected):
    """Score label images, (6, rows, columns), against those that people drew; return the line."""
    store = folder / "labels.zarr"
    zarr.create_array(store, data=detected, chunks=(1, *detected.shape[1:]))
    pd.DataFrame({"FileName_DNA": NAMES}).to_csv(folder / "fields.csv")
    score_demo_cells.main(
        annotated=[CELLS / "labels" / name for name in NAMES],
        labels=store / "zarr.json",
        fields=folder / "fields.csv",
        score=folder / "score.txt",
    )
    return (folder / "score.txt").read_text()


def test_outlines_of_people_agree_with_themselves_also_in_a_larger_store(tmp_path):
    detected = np.zeros((6, 400, 384), np.uint32)
    for row, name in enumerate(NAMES):
        detected[row, :360, :360] = label_of(name)
    line = compare(tmp_path, detected)
    assert "150 nuclei outlined by people, 150 found, 150 of them" in line
    assert "precision 100.0%, recall 100.0%" in line


def test_outlines_that_miss_more_than_a_tenth_of_the_nuclei_fail(tmp_path):
    detected = np.stack([label_of(name) for name in NAMES]).astype(np.uint32)
    detected[0] = 0  # 22 of 150
    with pytest.raises(
        RuntimeError, match="150 nuclei outlined by people, 128 found, 128 .*recall 85.3%.*At least 90%"
    ):
        compare(tmp_path, detected)
    assert not (tmp_path / "score.txt").exists()


@pytest.mark.parametrize(("shift", "pairs"), [(0, 1), (3, 1), (4, 0)])  # px: 100, 54 and 43 % of their union
def test_half_of_the_union_decides(shift, pairs):
    truth, detected = np.zeros((2, 30, 30), int)
    truth[10:20, 10:20], detected[10:20, 10 + shift : 20 + shift] = 7, 2
    assert score_demo_cells.count_overlapping(detected, truth) == pairs
