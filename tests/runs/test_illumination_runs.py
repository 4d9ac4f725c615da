"""Uneven light through the whole workflow: corrected, and made again exactly where something changed."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import tifffile

from fieldwork import synthetic
from workspace import GUID

SHAPE = (240, 320)
# By the detector that measures the illumination: shares of corners depend on outlines.
CONFIG = ("tables", "--config", "fan_out=well", "quality=false", "nuclei={method: classical}")


def light():
    rows, columns = np.linspace(-1, 1, SHAPE[0])[:, None], np.linspace(-1, 1, SHAPE[1])
    return 1 - 0.2 * (rows**2 + columns**2)  # 60 % in the corners


def plant(workspace, wells, sites):
    """Write a plate of two channels with a vignette; return the nuclei channel's files."""
    folder, files = workspace.path / "images/P1", []
    folder.mkdir(parents=True)
    for well in wells:
        for site in range(1, sites + 1):
            image = synthetic.plant_field(np.random.default_rng(len(files)), shape=SHAPE, count=15)[0] * light()
            for channel, factor in (("w1", 1), ("w2", 0.5)):
                path = folder / f"Week1_150607_{well}_s{site}_{channel}{GUID}.tif"
                tifffile.imwrite(path, (image * factor).astype(np.uint16))
            files.append(folder / f"Week1_150607_{well}_s{site}_w1{GUID}.tif")
    workspace.add("P1", "images/P1")
    return files


def corner_share(workspace, channel):
    nuclei = pd.read_parquet(workspace.path / "results/plates/P1/nuclei.parquet")
    x, y = (nuclei[f"Nuclei_Location_Center_{name}"] / size - 0.5 for name, size in (("X", 320), ("Y", 240)))
    means = nuclei[f"Nuclei_Intensity_MeanIntensity_{channel}"]
    corner, centre = (x.abs() > 0.25) & (y.abs() > 0.25), (x.abs() < 0.25) & (y.abs() < 0.25)
    assert corner.sum() > 200 < centre.sum()
    return means[corner].mean() / means[centre].mean()


def test_a_vignette_is_corrected_and_only_what_changed_is_made_again(workspace):
    files = plant(workspace, [f"{row}{column:02}" for row in "BC" for column in range(2, 14)], 5)  # 120 fields
    workspace.run(*CONFIG)
    plain, before = corner_share(workspace, "DNA"), workspace.tables()
    assert plain < 0.87
    corrected = (*CONFIG, "illumination=auto")
    planned = workspace.planned(*corrected)
    assert {name: planned[name] for name in ("illuminate_plate", "calibrate_plate", "detect_nuclei")} == {
        "illuminate_plate": 1,
        "calibrate_plate": 1,
        "detect_nuclei": 24,
    }
    workspace.run(*corrected)
    assert all(0.97 < corner_share(workspace, channel) < 1.03 for channel in ("DNA", "w2"))
    folder = workspace.path / "results/plates/P1"
    names = sorted(path.name for path in (folder / "illumination").iterdir())
    assert names == ["DNA.npy", "functions.json", "w2.npy"] and (folder / "illumination.png").exists()
    record = json.loads((folder / "illumination/functions.json").read_text())
    assert record["channels"]["w2"]["fields"] == 96 and not record["warnings"]
    assert workspace.planned(*corrected) == {}

    of_the_plate = {"illuminate_plate": 1, "calibrate_plate": 1, "detect_nuclei": 24}
    kinds = []
    for file in files[::17]:
        other = file.with_name(file.name.replace("_w1", "_w2"))
        status = os.stat(other)
        os.utime(other, (0, 0))
        planned = workspace.planned(*corrected)
        kinds.append({name: planned.get(name) for name in of_the_plate})
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert of_the_plate in kinds, kinds
    one_unit = {"illuminate_plate": None, "calibrate_plate": None, "detect_nuclei": 1}
    assert one_unit in kinds and all(kind in (of_the_plate, one_unit) for kind in kinds), kinds
    assert workspace.planned(*corrected, "background=1")["illuminate_plate"] == 1

    functions, tables = {name: (folder / "illumination" / name).read_bytes() for name in names}, workspace.tables()
    (folder / "illumination/w2.npy").unlink()
    assert workspace.planned(*corrected)["illuminate_plate"] == 1
    shutil.rmtree(folder / "illumination")
    workspace.run(*corrected)
    assert functions == {name: (folder / "illumination" / name).read_bytes() for name in names}
    assert workspace.tables() == tables != before
    workspace.run(*CONFIG)
    assert workspace.tables() == before and not (folder / "illumination").exists()
