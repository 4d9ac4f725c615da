"""Filter batches through the whole workflow."""

import re

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
import zarr
from skimage import io
from skimage.filters import gaussian, median
from test_measure_frames import ENGINES

CHAIN = [
    {"function": "median"},
    {"function": "skimage.filters.gaussian", "arguments": {"sigma": 2, "preserve_range": True}},
]


def configure(workspace, **config):
    (workspace.path / "config" / "config.yaml").write_text(yaml.safe_dump(config))


def folder_of(workspace):
    return workspace.path / "results" / "plates" / "P1" / "filtered"


def filtered(image):
    return gaussian(median(image), sigma=2, preserve_range=True)


@pytest.mark.parametrize("save", ["tiff", "png", "zarr", "none"])
def test_images_and_metrics_are_scikit_images_and_numpys(workspace, save):
    files = workspace.plant()
    configure(workspace, filters={"chain": CHAIN, "metrics": ["var", "median"], "save": save})
    workspace.run("tables")
    table = pd.read_csv(folder_of(workspace) / "filtered.csv")
    assert table["FileName_DNA"].tolist() == [path.name for path in files]
    for row, path in zip(table.itertuples(), files, strict=True):
        before, after = tifffile.imread(path), filtered(tifffile.imread(path))
        assert (row.Before_var, row.Before_median) == pytest.approx((before.var(), np.median(before)))
        assert (row.After_var, row.After_median) == pytest.approx((after.var(), np.median(after)))
        if save == "none":
            continue
        saved = folder_of(workspace) / row.FileName_Filtered
        assert saved.stem == path.stem
        if save == "png":
            steps = (after - row.PNG_Low) / (row.PNG_High - row.PNG_Low) * 255
            np.testing.assert_allclose(io.imread(saved), steps, atol=0.5 + 1e-9)
        else:
            np.testing.assert_array_equal(tifffile.imread(saved) if save == "tiff" else zarr.open(saved)[:], after)
    if save == "none":
        assert [path.name for path in folder_of(workspace).iterdir()] == ["filtered.csv"]


def test_every_engine_gives_the_same_bytes(workspace):
    workspace.plant()
    made = {}
    for name, pool in ENGINES.items():
        configure(workspace, filters={"chain": CHAIN}, pool=pool)
        workspace.run("tables", "--forceall")
        paths = [path for path in (workspace.path / "results").rglob("*") if path.is_file()]
        timed = ("fieldwork.lock", "settings.json")  # who runs, and when
        made[name] = {path.name: path.read_bytes() for path in paths if path.name not in timed}
    assert len(made["serial"]) > 8
    assert all(each == made["serial"] for each in made.values())


def test_a_bad_image_is_a_failed_row_without_a_file_and_old_files_go(workspace):
    files = workspace.plant()
    configure(workspace, filters={"chain": CHAIN}, max_failed_fields=1)
    workspace.run("tables")
    assert len(list(folder_of(workspace).glob("*.tif"))) == len(files)
    files[1].write_bytes(files[1].read_bytes()[:200])
    workspace.run("tables")
    table = pd.read_csv(folder_of(workspace) / "filtered.csv")
    assert table["Image_Status"].tolist() == ["ok", "failed", *["ok"] * (len(files) - 2)]
    assert "truncated" in table["Image_Error"][1]
    assert {path.name for path in folder_of(workspace).glob("*.tif")} == {path.name for path in files} - {files[1].name}


def test_a_wrong_chain_is_one_message_before_any_job(workspace):
    workspace.plant()
    configure(workspace, filters={"chain": [*CHAIN, {"function": "gausian"}]})
    printed = workspace.run(status=1)
    [line] = [line for line in printed.splitlines() if line.startswith("Error: ")]
    assert re.search("filters.chain.2: .*did you mean 'gaussian'", line)
    assert not (workspace.path / "results" / "plates").exists()


def test_a_plate_of_which_no_image_can_be_filtered_fails(workspace):
    workspace.plant()
    configure(workspace, filters={"chain": [{"function": "threshold_otsu"}]})
    printed = workspace.run("tables", status=1)
    assert "plate P1: not one good frame of 6" in printed and "gave a value" in printed
    assert not (folder_of(workspace) / "filtered.csv").exists()


def test_filtered_images_are_not_taken_for_the_plates(workspace):
    files = workspace.plant()
    (workspace.path / "images").rename(workspace.path / "zz")
    (workspace.path / "config" / "plates.tsv").write_text("plate\timages\nP1\t.\n")
    configure(workspace, filters={"chain": CHAIN})
    printed = workspace.run("tables")
    assert f"Filtered images: {len(files)}, of which 0 failed." in printed
    assert workspace.planned("tables") == {}
    assert len(list((workspace.path / "zz").rglob("*.tif"))) == len(files)
