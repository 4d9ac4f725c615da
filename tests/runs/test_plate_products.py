"""Pictures and the OME-Zarr store of a plate through the whole workflow."""

import shutil

import numpy as np
import pandas as pd
import tifffile
import zarr
from ome_zarr_models import v05
from skimage.measure import regionprops

from fieldwork.inputs import platemaps
from fieldwork.plates import tables


def test_a_plate_with_controls_doses_and_time_points_has_its_pictures_and_scores(workspace):
    """Plant four wells at the time points 1 and 3, the second of which has site 1 only."""
    for file in workspace.plant(wells=("A01", "A02", "A03", "A04")):
        for timepoint in (1, 3) if "_s1_" in file.name else (1,):
            (file.parent / f"TimePoint_{timepoint}").mkdir(exist_ok=True)
            shutil.copy(file, file.parent / f"TimePoint_{timepoint}")
        file.unlink()
    sheet = workspace.path / "config/plates.tsv"
    sheet.write_text("plate\timages\tplatemap\nP1\timages/P1\tplatemap.csv\n")
    roles = "well,control,dose_uM\na1,negative,0\nA02,Negative,0\nA03,positive,1\nA04,,3\n"
    (workspace.path / "platemap.csv").write_text(roles)
    folder = workspace.path / "results/plates/P1"
    targets = [f"results/plates/P1/plots/{name}.png" for name in ("quality", "doses", "controls", "timepoints")]
    workspace.run(*targets, "results/plates/P1/densities.png")
    names = [*platemaps.pictures(["control", "dose_uM"], with_quality=True, timed=True), "../densities"]
    pictures = {name: (folder / f"plots/{name}.png").read_bytes() for name in names}
    assert all(picture.startswith(b"\x89PNG") for picture in pictures.values())
    assert [name for name in pd.read_csv(folder / "wells.csv") if name in tables.SCORES] == tables.SCORES
    counts = pd.read_csv(folder / "timepoints.csv").groupby("Metadata_Timepoint")[["Fields_Total", "Count_Nuclei"]]
    assert counts.sum().to_dict("index") == {  # 5 nuclei were planted in each field
        1: {"Fields_Total": 8, "Count_Nuclei": 40},
        3: {"Fields_Total": 4, "Count_Nuclei": 20},
    }
    assert "timepoints.csv has the counts" in (workspace.path / "logs/plates/P1/merge_units.log").read_text()
    assert "0 others" not in (workspace.path / "logs/plates/P1/merge_units.log").read_text()
    assert "Nothing to be done" in workspace.run(*targets)
    (workspace.path / "platemap.csv").write_text(roles.replace("a1,negative,0", "a1,,5"))
    assert workspace.planned(*targets) == {
        "merge_units": 1,
        "plot_plate": 1,
        "plot_doses": 1,
        "plot_controls": 1,
        "sum_timepoints": 1,
        "plot_timepoints": 1,
        "total": 6,
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
    assert workspace.planned() == {"write_summary": 1, "all": 1, "total": 2}  # its page has the configuration
    store.rename(store.with_name("elsewhere"))
    assert workspace.planned(*asked) == {"write_plate_store": 1, "all": 1, "total": 2}


def test_label_images_are_the_tables_objects_and_byte_equal_whatever_the_fan_out(workspace):
    files = workspace.plant()
    tifffile.imwrite(files[1], np.zeros((50, 60), np.uint16))  # another shape
    files[3].write_bytes(b"")
    nuclei = "nuclei={method: auto}"
    for number, (fan_out, cores) in enumerate([("plate", 2), ("field", 1)]):
        config = ("--config", nuclei, f"fan_out={fan_out}", f"results=run{number}", "max_failed_fields=0.5")
        workspace.run("tables", *config, cores=cores)
    stores = [workspace.path / f"run{number}/plates/P1/labels.zarr" for number in (0, 1)]
    one, other = (
        {path.relative_to(store): path.read_bytes() for path in store.rglob("*") if path.is_file()} for store in stores
    )
    assert one == other and len(one) == 2
    array = zarr.open_array(stores[0], mode="r")
    fields = pd.read_csv(stores[0].with_name("fields.csv"))
    assert list(fields.Image_Status) == ["ok", "failed", "ok", "failed", "ok", "ok"] and array.shape == (6, 96, 128)
    objects = pd.read_parquet(stores[0].with_name("nuclei.parquet")).groupby(["Metadata_Well", "Metadata_Site"])
    for number, row in fields.iterrows():
        drawn = regionprops(array[number].astype(int))
        if row.Image_Status == "failed":
            assert not drawn
            continue
        listed = objects.get_group((row.Metadata_Well, row.Metadata_Site))
        assert [item.label for item in drawn] == listed.ObjectNumber.tolist() and len(drawn) == 5
        centres = listed[["Nuclei_Location_Center_Y", "Nuclei_Location_Center_X"]]
        np.testing.assert_allclose([item.centroid for item in drawn], centres)


def test_label_images_of_other_fields_do_not_stay_beside_a_table_that_is_made_again(workspace):
    files = workspace.plant(wells=("B02", "B03"))
    (workspace.path / "config/bright.py").write_text(
        "from skimage.measure import label\n\n\ndef find(image):\n    return label(image > image.mean())\n"
    )
    options = ("--config", "nuclei={method: bright.find}", "fan_out=well")
    workspace.run("tables", *options)
    folder = workspace.path / "results/plates/P1"
    assert zarr.open_array(folder / "labels.zarr", mode="r").shape[0] == 4
    for file in files[:2]:
        file.unlink()  # a well: no other one is looked at again
    target = "results/plates/P1/fields.csv"
    assert workspace.planned(target, *options) == {"merge_units": 1, "total": 1}
    workspace.run(target, *options)
    assert len(pd.read_csv(folder / "fields.csv")) == 2 and not (folder / "labels.zarr/zarr.json").exists()
    workspace.run("tables", *options)
    assert zarr.open_array(folder / "labels.zarr", mode="r").attrs["well"] == ["B03", "B03"]


def test_label_images_are_missed_and_leave_with_their_tables(workspace):
    workspace.plant(wells=("B02",))
    target, store = "results/plates/P1/labels.zarr/zarr.json", workspace.path / "results/plates/P1/labels.zarr"
    auto, peaks = (("--config", f"nuclei={{method: {method}}}") for method in ("auto", "peaks"))
    workspace.run(target, *auto)
    assert "Nothing to be done" in workspace.run("--dry-run", target, *auto)
    store.rename(store.with_name("elsewhere"))
    assert workspace.planned(target, *auto) == {"join_labels": 1, "total": 1}
    store.with_name("elsewhere").rename(store)
    workspace.run("results/plates/P1/nuclei.parquet", *peaks)
    assert not store.exists()  # it would not fit the new table
    output = workspace.run("tables", *auto)
    assert "join_labels" in output and zarr.open_array(store, mode="r").shape == (2, 96, 128)
