"""A function of the user's finds the nuclei of a plate; it is checked once, and its files count by content."""

import os

import cv2
import pandas as pd
import pyarrow.parquet as pq
import tifffile
import yaml
from skimage.measure import label, regionprops

from segmenters_page import module_of

OWN = """
import os

from skimage.measure import label

with open(os.path.join(os.path.dirname(__file__), "imports.txt"), "a") as stream:
    stream.write("x")


def segment(image, threshold_file, *, well, channel, path, calibration=None):
    assert os.path.exists(path) and channel == "w1" and calibration is not None
    if well == "C02":
        raise RuntimeError("no\\nlight")
    return label(image > int(open(threshold_file).read()))
"""


def test_an_own_function_finds_what_it_finds_outside_and_its_files_count_by_content(workspace):
    files = workspace.plant()
    folder = workspace.path / "config"
    (folder / "own.py").write_text(OWN)
    weights = workspace.path / "threshold.txt"
    weights.write_text("2000")
    nuclei = {"method": "own.segment", "arguments": {"threshold_file": "threshold.txt"}}
    (folder / "config.yaml").write_text(yaml.safe_dump({"nuclei": nuclei, "max_failed_fields": 0.5}))

    for _ in range(2):  # the second one imports nothing
        assert workspace.planned("tables")["detect_nuclei"] == 1
    assert (folder / "imports.txt").read_text() == "x"
    workspace.run("tables")
    fields = pd.read_csv(workspace.path / "results/plates/P1/fields.csv")
    assert fields.Image_Status.tolist() == ["ok"] * 4 + ["failed"] * 2
    assert fields.Image_Error[4] == "own.segment failed: RuntimeError: no light"
    found = pq.read_table(workspace.path / "results/plates/P1/nuclei.parquet").to_pandas()
    for file, well, site in zip(files, ["B02", "B02", "B03", "B03"], [1, 2, 1, 2], strict=False):
        regions = regionprops(label(tifffile.imread(file) > 2000))
        of_field = found[(found.Metadata_Well == well) & (found.Metadata_Site == site)]
        assert len(regions) > 2 and sorted(of_field.Nuclei_AreaShape_Area) == sorted(region.area for region in regions)

    os.utime(weights)
    os.utime(folder / "own.py")
    assert workspace.planned("tables") == {}
    weights.write_text("3000")
    assert workspace.planned("tables")["detect_nuclei"] == 1
    weights.write_text("2000")
    (folder / "own.py").write_text(f"{OWN}# changed\n")
    assert workspace.planned("tables")["detect_nuclei"] == 1


def test_masks_that_lie_beside_the_images_become_the_plates_nuclei(workspace):
    files = workspace.plant()
    for file in files[:-1]:
        labels = label(tifffile.imread(file) > 2000).astype("uint16")
        cv2.imwrite(str(file.with_name(f"{file.stem}_cp_masks.png")), labels)
    (workspace.path / "config/masks.py").write_text(module_of("masks.py"))
    settings = {"nuclei": {"method": "masks.read"}, "max_failed_fields": 0.2}
    (workspace.path / "config/config.yaml").write_text(yaml.safe_dump(settings))

    workspace.run("tables")
    fields = pd.read_csv(workspace.path / "results/plates/P1/fields.csv")
    assert fields.Image_Status.tolist() == ["ok"] * 5 + ["failed"]
    assert f"no file images/P1/{files[-1].stem}_cp_masks.png" in fields.Image_Error[5]
    found = pq.read_table(workspace.path / "results/plates/P1/nuclei.parquet").to_pandas()
    planted = [region.area for file in files[:-1] for region in regionprops(label(tifffile.imread(file) > 2000))]
    assert found.Nuclei_AreaShape_Area.tolist() == planted and len(planted) > 12
