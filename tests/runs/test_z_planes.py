"""Plates with z planes: the plane that `nuclei.z` asks for is measured, in every channel, whatever the fan-out."""

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import tifffile

from fieldwork import synthetic

COUNTS = {"B02": 20, "C03": 12}
BLURS_PX = (8, 4, 0, 4, 8)  # of the planes 1 to 5


def write_planes(folder):
    """Write a field of each well in five planes, of which the third is sharp; the second channel has 100 z."""
    random = np.random.default_rng(5)
    for well, count in COUNTS.items():
        sharp, _ = synthetic.plant_field(random, shape=(256, 320), count=count)
        for z, blur in enumerate(BLURS_PX, 1):
            image = cv2.GaussianBlur(sharp.astype(float), (0, 0), blur) if blur else sharp.astype(float)
            noisy = np.clip(image + random.normal(0, 5, image.shape), 0, 65535).astype(np.uint16)
            for channel, pixels in (("w1", noisy), ("w2", np.full_like(noisy, 100 * z))):
                path = folder / f"ZStep_{z}/x_{well}_s1_{channel}.tif"
                path.parent.mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(path, pixels)


def test_the_sharpest_plane_of_every_field_is_measured_or_all(workspace):
    write_planes(workspace.path / "images/P1")
    (workspace.path / "config").mkdir()
    (workspace.path / "config/plates.tsv").write_text("plate\timages\nP1\timages/P1\n")
    workspace.run("tables", "--config", "nuclei={z: best}", "results=best")
    workspace.run("tables", "--config", "nuclei={z: best}", "results=by_field", "fan_out=field")
    workspace.run("tables", "--config", "nuclei={z: 3}", "results=third")
    workspace.run("tables", "--config", "results=all")
    tables = {name: workspace.path / name / "plates/P1" for name in ("best", "by_field", "third", "all")}
    fields = {name: pd.read_csv(folder / "fields.csv") for name, folder in tables.items()}
    for name in ("best", "by_field", "third"):
        assert fields[name].Metadata_ZPlane.tolist() == [3, 3]
        assert fields[name].Image_Count_Nuclei.tolist() == list(COUNTS.values())
        nuclei = pd.read_parquet(tables[name] / "nuclei.parquet")
        assert set(nuclei.Nuclei_Intensity_MeanIntensity_w2) == {300 / 65535}
    assert fields["all"].Metadata_ZPlane.tolist() == [1, 2, 3, 4, 5] * 2
    for file in ("nuclei.parquet", "fields.csv", "wells.csv"):
        assert (tables["best"] / file).read_bytes() == (tables["by_field"] / file).read_bytes()
    assert pq.read_table(tables["best"] / "nuclei.parquet").equals(pq.read_table(tables["third"] / "nuclei.parquet"))
