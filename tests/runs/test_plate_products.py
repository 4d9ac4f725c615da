"""Pictures and the OME-Zarr store of a plate through the whole workflow."""

import pandas as pd
import zarr
from ome_zarr_models import v05

from fieldwork.inputs import platemaps
from fieldwork.plates import tables


def test_a_plate_with_controls_and_doses_has_its_pictures_and_scores(workspace):
    workspace.plant(wells=("A01", "A02", "A03", "A04"))
    sheet = workspace.path / "config/plates.tsv"
    sheet.write_text("plate\timages\tplatemap\nP1\timages/P1\tplatemap.csv\n")
    roles = "well,control,dose_uM\na1,negative,0\nA02,Negative,0\nA03,positive,1\nA04,,3\n"
    (workspace.path / "platemap.csv").write_text(roles)
    folder = workspace.path / "results/plates/P1"
    targets = [f"results/plates/P1/plots/{name}.png" for name in ("quality", "doses", "controls")]
    workspace.run(*targets, "results/plates/P1/densities.png")
    names = [*platemaps.pictures(["control", "dose_uM"], with_quality=True), "../densities"]
    pictures = {name: (folder / f"plots/{name}.png").read_bytes() for name in names}
    assert all(picture.startswith(b"\x89PNG") for picture in pictures.values())
    assert list(pd.read_csv(folder / "wells.csv"))[-2:] == tables.SCORES
    assert "0 others" not in (workspace.path / "logs/plates/P1/merge_units.log").read_text()
    assert "Nothing to be done" in workspace.run(*targets)
    (workspace.path / "platemap.csv").write_text(roles.replace("a1,negative,0", "a1,,5"))
    assert workspace.planned(*targets) == {
        "merge_units": 1,
        "plot_plate": 1,
        "plot_doses": 1,
        "plot_controls": 1,
        "total": 4,
    }


def test_the_workflow_writes_stores_and_misses_deleted_ones(workspace):
    workspace.plant("P1")
    asked = ["--config", "ome_zarr_plate=true"]
    workspace.run(*asked)
    store = workspace.path / "results/plates/P1/P1.ome.zarr"
    assert v05.HCS.from_zarr(zarr.open_group(store, mode="r")).ome_attributes.plate.field_count == 2
    labels = [zarr.open_array(label, mode="r") for label in store.glob("*/*/*/labels/nuclei/0")]
    assert [label[:].max() for label in labels] == [5] * 6  # nuclei planted in each field
    assert "Nothing to be done" in workspace.run("--dry-run", *asked)
    assert "Nothing to be done" in workspace.run("--dry-run")
    store.rename(store.with_name("elsewhere"))
    assert workspace.planned(*asked) == {"write_plate_store": 1, "all": 1, "total": 2}
