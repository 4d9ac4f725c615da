"""Nuclei are measured in every channel of a plate, from image files to its tables, without Snakemake."""

import csv
import faulthandler
import itertools
import json
import logging
import os
import signal
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import tifffile
from skimage.segmentation import expand_labels

import detect_nuclei
import merge_units
from accuracy.flagged import THRESHOLDS
from fieldwork import InputError, frames, objects
from fieldwork.detection import measured_tables
from fieldwork.planning.plate_reports import PlateReport
from fieldwork.plates import label_store, nuclei_table, tables
from fieldwork.plates import positive as positive_nuclei
from outlined import squares

OWN = {"method": "skimage.measure.label", "function": "skimage.measure.label", "arguments": {}}
PEAKS = {"method": "peaks", "sigma": 2, "min_distance": 3, "threshold_abs": 100}
CHANNELS = {"Actin": "w4", "DNA": "w1", "Tubulin": "w2"}
MADE_OF = {"settings": {"positive": {}, "cells": "none"}, "libraries": {"numpy": "2"}, "digest": "1f"}
COUNTS = {"B02": 7, "B03": 0, "C02": 12}
TYPES = {"w1": np.uint16, "w2": np.uint16, "w4": np.float32}


def planted(count, token, seed=0):
    """Return an image of squares, each of one intensity, and these."""
    labels = squares(count)
    levels = np.random.default_rng([seed, int(token[1])]).permutation(np.arange(1000, 1000 + count)) + 500 * seed
    if token == "w1":
        levels = np.full(count, 9000)
    background = 0 if token == "w1" else 50
    return np.append(background, levels).astype(TYPES[token])[labels], levels


def write_plate(folder, *, tokens=("w1", "w2", "w4")):
    """Write two sites of each well; return rows as the plan passes them."""
    folder.mkdir(exist_ok=True)
    rows = []
    for well, site in itertools.product(COUNTS, (1, 2)):
        paths = {}
        for token in tokens:
            paths[token] = str(folder / f"{well}_s{site}_{token}.tif")
            tifffile.imwrite(paths[token], planted(COUNTS[well], token, seed=site)[0], compression="zlib")
        measured = tuple(paths[CHANNELS[name]] for name in CHANNELS if CHANNELS[name] in tokens)
        rows.append((well, site, None, None, paths["w1"], measured))
    return rows


def run(
    folder,
    rows,
    *,
    units=None,
    channels=CHANNELS,
    columns=None,
    detection=OWN,
    nuclei="DNA",
    plate="P1",
    platemap=None,
    positive=None,
    cells=None,
    groups=(),
    **pool,
):
    """Detect units, `rows` in one by default, and merge them, as the rules do; return nuclei, fields and the paths."""
    folder.mkdir(exist_ok=True)
    nuclei_paths, fields_paths = [], []
    for number, unit in enumerate(units or [rows]):
        (folder / "units").mkdir(exist_ok=True)
        outcome = {
            name: folder / "units" / f"{number}.{name}.parquet" for name in ("nuclei", "fields", "labels", "cells")
        }
        detect_nuclei.main(
            images=unit,
            copies={},
            calibration=None,
            outcome=outcome,
            plate=plate,
            unit="all",
            channel="w1",
            nuclei_channel=nuclei,
            measured=list(channels.items()),
            detection=detection,
            drop_border=False,
            cells=cells,
            groups=groups,
            folders=[],
            with_quality=True,
            on_bad_image="record",
            device="cpu",
            pool={"engine": "serial", **pool},
            workers=2,
        )
        nuclei_paths.append(outcome["nuclei"])
        fields_paths.append(outcome["fields"])
    results = {name: folder / file for name, file in {"nuclei": "nuclei.parquet", "fields": "fields.csv"}.items()}
    results |= {"wells": folder / "wells.csv", "summary": folder / "summary.json", "settings": folder / "settings.json"}
    results |= {f"{table}_parquet": folder / f"{table}.parquet" for table in ("fields", "wells")}
    outlined = detection["method"] != "peaks"
    own = {"channels": list(channels), "nuclei_channels": [nuclei], "outlined": outlined, "peaks": not outlined}
    own |= {"position": [], "platemap": [], "controls": False, "positive": list(positive or {}), "cells": bool(cells)}
    own["groups"] = groups
    merge_units.main(
        plate=plate,
        units=SimpleNamespace(nuclei=nuclei_paths, fields=fields_paths),
        platemap=platemap,
        results=SimpleNamespace(**results),
        detection=detection,
        with_quality=True,
        on_bad_image="record",
        max_failed_fields=0.5,
        channel="w1",
        nuclei_channel=nuclei,
        channels=list(channels),
        cells_channel=(cells or {}).get("watershed"),
        positive=positive or {},
        columns=own | (columns or {}),
        controls={},
        flags=THRESHOLDS,
        exclude_flags=[],
        made_of=MADE_OF,
    )
    with open(results["fields"], newline="") as stream:
        fields = list(csv.DictReader(stream))
    return pd.read_parquet(results["nuclei"]), fields, results


def mean_of(nuclei, channel, well, site):
    rows = nuclei[(nuclei.Metadata_Well == well) & (nuclei.Metadata_Site == site)]
    return rows[f"Nuclei_Intensity_MeanIntensity_{channel}"].to_numpy()


def test_every_nucleus_has_the_planted_intensity_of_every_channel(tmp_path):
    nuclei, fields, _ = run(tmp_path / "out", write_plate(tmp_path / "images"))
    assert len(nuclei) == 2 * sum(COUNTS.values())
    for well, site in itertools.product(COUNTS, (1, 2)):
        levels = {name: planted(COUNTS[well], token, seed=site)[1] for name, token in CHANNELS.items()}
        np.testing.assert_allclose(mean_of(nuclei, "Tubulin", well, site), levels["Tubulin"] / 65535, rtol=1e-12)
        np.testing.assert_allclose(mean_of(nuclei, "DNA", well, site), levels["DNA"] / 65535, rtol=1e-12)
        np.testing.assert_allclose(
            mean_of(nuclei, "Actin", well, site), levels["Actin"], rtol=1e-6
        )  # floats as they are
    assert (nuclei.Nuclei_AreaShape_Area == 25).all() and not nuclei.Nuclei_TouchesBorder.any()
    np.testing.assert_array_equal(nuclei.Nuclei_AreaShape_Center_X, nuclei.Nuclei_Location_Center_X)
    np.testing.assert_array_equal(nuclei.Nuclei_AreaShape_Center_Y, nuclei.Nuclei_Location_Center_Y)
    assert [field["Image_Channels_Missing"] for field in fields] == [""] * 6
    assert [field["Metadata_ImageNumber"] for field in fields] == list("123456")
    assert nuclei.groupby("Metadata_ImageNumber").size().to_dict() == {1: 7, 2: 7, 5: 12, 6: 12}
    assert (nuclei.Metadata_ObjectNumber == nuclei.ObjectNumber).all()


def test_columns_have_one_order_and_fixed_types_and_no_name_twice(tmp_path):
    _, _, results = run(tmp_path / "out", write_plate(tmp_path / "images"))
    schema = pq.read_schema(results["nuclei"])
    assert schema.names == [
        *("Metadata_Plate", "Metadata_Well", "Metadata_Site"),
        *("ObjectNumber", "Metadata_ImageNumber", "Metadata_ObjectNumber"),
        *("Nuclei_Location_Center_X", "Nuclei_Location_Center_Y"),
        *objects.columns_of(["Actin", "DNA", "Tubulin"]),
        "Nuclei_TouchesBorder",
    ]
    assert len(set(schema.names)) == len(schema.names)
    assert set(schema.types) == {pa.string(), pa.int64(), pa.float64(), pa.bool_()}
    features = json.loads(schema.metadata[b"features"])
    assert features == objects.features_of(schema.names) and schema.metadata[b"channel"] == b"w1"
    assert schema.metadata.keys() == {b"channel", b"features", b"settings", b"libraries", b"digest"}
    assert schema.metadata[b"settings"] == b'{"cells": "none", "positive": {}}' and schema.metadata[b"digest"] == b"1f"
    assert json.loads(schema.metadata[b"libraries"]) == MADE_OF["libraries"]
    assert {"Nuclei_AreaShape_Area", "Nuclei_Intensity_MeanIntensity_Actin"} <= set(features)
    words = ("Location", "Center", "BoundingBox", "Orientation", "TouchesBorder", "Metadata", "ObjectNumber")
    left_out = set(schema.names) - set(features)
    assert len(left_out) > 10 and all(any(word in name for word in words) for name in left_out)
    assert not any(word in name for name in features for word in words)


@pytest.mark.parametrize("cells", [None, {"expand": 1.5}])
def test_bytes_are_equal_for_all_units_engines_and_modes(tmp_path, monkeypatch, cells):
    monkeypatch.setattr(measured_tables, "ROW_GROUP_ROWS", 10)
    monkeypatch.setattr(nuclei_table, "UNIT_FIELDS_AT_ONCE", 2)
    rows = write_plate(tmp_path / "images")
    (tmp_path / "images/B02_s2_w4.tif").write_bytes(b"II*\0")
    ways = {
        "plate": {},
        "field": {"units": [[row] for row in rows]},
        "well": {"units": [rows[:2], rows[2:4], rows[4:]], "engine": "pool"},
        "fork": {"engine": "pool", "mode": "fork"},
    }
    written = {way: run(tmp_path / way, rows, cells=cells, **options)[2] for way, options in ways.items()}
    names = ("nuclei", "fields", "fields_parquet", "wells", "wells_parquet", "summary")
    read = {way: [paths[name].read_bytes() for name in names] for way, paths in written.items()}
    assert read["plate"] == read["field"] == read["well"] == read["fork"]
    metadata = pq.ParquetFile(written["plate"]["nuclei"]).metadata
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [10, 10, 10, 8]


def spoil(path, how):
    image = tifffile.imread(path)
    if how == "absent":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:-10])
    elif how == "another size":
        tifffile.imwrite(path, image[:-1])
    elif how == "NaN":
        tifffile.imwrite(path, np.where(image == image.max(), np.float32(np.nan), image.astype(np.float32)))
    elif how == "another type":
        tifffile.imwrite(path, (image // 256).astype(np.uint8))
    elif how == "a picture for people":
        tifffile.imwrite(path, np.stack([image * 0, image, image * 0], axis=-1), photometric="rgb")
    elif how == "several planes":
        tifffile.imwrite(path, np.stack([image, image]), photometric="minisblack", metadata={"axes": "ZYX"})
    elif how == "pages":
        tifffile.imwrite(path, np.stack([image, image]), photometric="minisblack")


REASONS = {
    "absent": "not read: No such file or directory",
    "not listed": "there is no image of it",
    "truncated": "truncated",
    "another size": "found 59 x 80 px, the nuclei channel has 60 x 80 px",
    "NaN": "pixels are NaN or infinite",
    "another type": "Tubulin: found uint8, the plate's images are uint16",
    "a picture for people": "Tubulin: found uint16 in 3 colours, of which green alone shows signal, the",
    "several planes": "has no plane of this time point and z plane, but 2 others",
    "pages": "holds 2 pages (uint16 QYX (2, 60, 80)), and does not say what they are",
}


@pytest.mark.parametrize("how", REASONS)
def test_a_channel_that_is_missing_or_bad_in_a_field_costs_its_own_cells_there_alone(tmp_path, caplog, how):
    rows = write_plate(tmp_path / "images")
    before, _, _ = run(tmp_path / "before", rows)
    spoil(tmp_path / "images/C02_s1_w2.tif", how)
    if how == "not listed":
        rows[4] = (*rows[4][:5], (*rows[4][5][:2], None))
    caplog.clear()
    nuclei, fields, results = run(tmp_path / "after", rows)
    hit = (nuclei.Metadata_Well == "C02") & (nuclei.Metadata_Site == 1)
    assert hit.sum() == 12
    of_channel = [name for name in nuclei if name.endswith("_Tubulin")]
    assert len(of_channel) == 19 and nuclei.loc[hit, of_channel].isna().all(axis=None)
    pd.testing.assert_frame_equal(nuclei[~hit], before[~hit])
    pd.testing.assert_frame_equal(nuclei.drop(columns=of_channel), before.drop(columns=of_channel))
    assert pq.read_table(results["nuclei"])[of_channel[0]].null_count == 12
    assert [field["Image_Channels_Missing"] for field in fields] == ["", "", "", "", "Tubulin", ""]
    assert {(field["Image_Status"], field["Image_Error"]) for field in fields} == {("ok", "")}
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning.startswith("plate P1: 1 of 6 fields miss channels, ") and "(Tubulin in 1)" in warning
    assert "First well C02, site 1: " in warning and REASONS[how] in warning


@pytest.mark.parametrize("mode", ["paths", "fork"])
def test_a_decoder_that_crashes_on_another_channel_costs_other_channels_of_its_field_alone(
    tmp_path, monkeypatch, caplog, mode
):
    rows, real = write_plate(tmp_path / "images"), frames.read
    expected, _, _ = run(tmp_path / "expected", rows)

    def read(path, **options):
        if path.endswith(("B02_s2_w2.tif", "C02_s1_w1.tif")):
            faulthandler.disable()  # pytest's
            os.kill(os.getpid(), signal.SIGSEGV)
        return real(path, **options)

    monkeypatch.setattr(frames, "read", read)
    nuclei, fields, _ = run(tmp_path / "out", rows, engine="pool", mode=mode)
    reason = "crashed the reader or skimage.measure.label (SIGSEGV)"
    assert f"First well B02, site 2: not read, as the field {reason}" in caplog.text
    assert [field["Image_Channels_Missing"] for field in fields] == ["", "Actin;Tubulin", "", "", "", ""]
    assert [field["Image_Error"] for field in fields] == ["", "", "", "", reason, ""]
    kept = expected[~((expected.Metadata_Well == "C02") & (expected.Metadata_Site == 1))].reset_index(drop=True)
    lost = (nuclei.Metadata_Well == "B02") & (nuclei.Metadata_Site == 2)
    others = [name for name in nuclei if name.endswith(("_Actin", "_Tubulin"))]
    assert lost.sum() == 7 and nuclei.loc[lost, others].isna().all(axis=None)
    pd.testing.assert_frame_equal(nuclei[~lost], kept[~lost])
    pd.testing.assert_frame_equal(nuclei.drop(columns=others), kept.drop(columns=others))


def test_a_channel_of_two_types_of_which_none_is_that_of_most_is_measured_with_a_warning(tmp_path, caplog):
    rows = write_plate(tmp_path / "images")
    for name in ("B02_s1", "B03_s2", "C02_s2"):
        spoil(tmp_path / f"images/{name}_w2.tif", "another type")
    nuclei, fields, _ = run(tmp_path / "out", rows)
    assert {field["Image_Channels_Missing"] for field in fields} == {""} and nuclei.notna().all(axis=None)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning == (
        "plate P1: images of channel Tubulin are of different types (uint16 in 3, uint8 in 3), and none is that of "
        "most: intensities may not be comparable between fields"
    )


def test_a_failed_field_has_a_number_and_no_channel_is_called_missing_there(tmp_path):
    rows = write_plate(tmp_path / "images")
    (tmp_path / "images/B02_s1_w1.tif").write_bytes(b"")
    nuclei, fields, _ = run(tmp_path / "out", rows)
    assert (fields[0]["Image_Status"], fields[0]["Image_Channels_Missing"]) == ("failed", "")
    assert [field["Metadata_ImageNumber"] for field in fields] == list("123456")
    assert set(nuclei.Metadata_ImageNumber) == {2, 5, 6}


def test_channels_inside_of_one_file_are_measured_by_their_names(tmp_path):
    images = {token: planted(7, token, seed=1)[0].astype(np.uint16) for token in ("w1", "w2", "w4")}
    path = tmp_path / "field.ome.tif"
    metadata = {"axes": "CYX", "Channel": {"Name": ["Tubulin", "DAPI", "Phalloidin"]}}
    stacked = np.stack([images["w2"], images["w1"], images["w4"]])
    tifffile.imwrite(path, stacked, photometric="minisblack", metadata=metadata, ome=True)
    channels = {"Actin": "Phalloidin", "DNA": "DAPI", "Tubulin": "Tubulin"}
    nuclei, _, _ = run(tmp_path / "out", [("B02", 1, None, None, str(path), (str(path),) * 3)], channels=channels)
    for name, token in CHANNELS.items():
        levels = planted(7, token, seed=1)[1]
        np.testing.assert_allclose(mean_of(nuclei, name, "B02", 1), levels / 65535, rtol=1e-12)


@pytest.mark.parametrize("names", [None, ["DAPI"], ["DAPI", "GFP"]])
def test_a_channel_that_the_file_does_not_have_is_never_another_one(tmp_path, names):
    image, path = planted(7, "w1")[0], tmp_path / "field.ome.tif"
    pixels = np.stack([image, image // 2]) if names and len(names) == 2 else image
    metadata = (
        {"axes": "CYX"[-pixels.ndim :], "Channel": {"Name": names if pixels.ndim == 3 else names[0]}} if names else {}
    )
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata=metadata, ome=bool(names))
    row = ("B02", 1, None, None, str(path), (str(path),) * 2)
    nuclei, (field,), _ = run(tmp_path / "out", [row], channels={"DNA": "DAPI", "Tubulin": "Tubulin"})
    assert len(nuclei) == 7 and nuclei.Nuclei_Intensity_MeanIntensity_Tubulin.isna().all()
    assert nuclei.Nuclei_Intensity_MeanIntensity_DNA.notna().all() and field["Image_Channels_Missing"] == "Tubulin"


def test_a_file_that_holds_another_channel_alone_is_no_image_of_the_nuclei(tmp_path):
    image, rows = planted(7, "w1")[0], []
    for site, names in enumerate((["DAPI", "Tubulin"], ["tubulin", "DAPI"], ["Tubulin"], ["DAPI"]), 1):
        path, pixels = tmp_path / f"s{site}.ome.tif", np.stack([image, image // 2][: len(names)])
        metadata = {"axes": "CYX", "Channel": {"Name": names}}
        tifffile.imwrite(path, pixels, photometric="minisblack", metadata=metadata, ome=True)
        rows.append(("B02", site, None, None, str(path), (str(path),) * 2))
    nuclei, fields, _ = run(tmp_path / "out", rows, channels={"DNA": "DAPI", "Tubulin": "Tubulin"})
    assert [field["Image_Error"] for field in fields] == [
        *("", "", "holds the channel 'Tubulin' alone, and not that of the nuclei", "")
    ]
    assert [field["Image_Channels_Missing"] for field in fields] == ["", "", "", "Tubulin"]
    levels = {1: 9000, 2: 4500, 4: 9000}
    assert nuclei.groupby("Metadata_Site").size().to_dict() == dict.fromkeys(levels, 7)
    for site, level in levels.items():
        np.testing.assert_allclose(mean_of(nuclei, "DNA", "B02", site), level / 65535, rtol=1e-12)


def test_every_plane_is_measured_in_the_same_plane_of_other_channels(tmp_path):
    paths = [str(tmp_path / f"{token}.tif") for token in ("w1", "w2")]
    stacks = {token: np.stack([planted(5, token, seed=z)[0] for z in (0, 1, 2)]) for token in ("w1", "w2")}
    for path, token in zip(paths, stacks, strict=True):
        tifffile.imwrite(path, stacks[token], imagej=True, metadata={"axes": "ZYX"})
    row = ("B02", 1, None, None, paths[0], tuple(paths))
    nuclei, fields, _ = run(tmp_path / "out", [row], channels={"DNA": "w1", "Tubulin": "w2"})
    assert [field["Metadata_ZPlane"] for field in fields] == ["1", "2", "3"] and "Metadata_ZPlane" in nuclei
    for z in (0, 1, 2):
        of_plane = nuclei[nuclei.Metadata_ZPlane == z + 1].Nuclei_Intensity_MeanIntensity_Tubulin
        np.testing.assert_allclose(of_plane, planted(5, "w2", seed=z)[1] / 65535, rtol=1e-12)


def test_sixteen_channels_of_which_none_is_the_nuclei(tmp_path):
    images, paths = tmp_path / "images", {}
    images.mkdir()
    base = planted(7, "w2")
    for number in range(16):
        paths[f"C{number:02}"] = str(images / f"{number}.tif")
        tifffile.imwrite(paths[f"C{number:02}"], base[0] + np.uint16(number))
    tifffile.imwrite(images / "dna.tif", planted(7, "w1")[0])
    row = ("B02", 1, None, None, str(images / "dna.tif"), tuple(paths.values()))
    nuclei, _, _ = run(tmp_path / "out", [row], channels={name: name for name in paths})
    for number in range(16):
        np.testing.assert_allclose(mean_of(nuclei, f"C{number:02}", "B02", 1), (base[1] + number) / 65535, rtol=1e-12)
    assert not any(name.endswith("_DNA") for name in nuclei)


def test_without_channels_the_shape_is_measured_alone(tmp_path):
    rows = [(*row[:5], ()) for row in write_plate(tmp_path / "images", tokens=("w1",))]
    nuclei, _, _ = run(tmp_path / "out", rows, channels={})
    assert [name for name in nuclei if "AreaShape" in name] == objects.columns_of([])
    assert not any("_Intensity_" in name for name in nuclei)


def test_the_name_of_the_nuclei_channel_is_in_the_columns_of_fields(tmp_path):
    rows = [(*row[:5], row[4:5]) for row in write_plate(tmp_path / "images", tokens=("w1",))]
    _, fields, _ = run(tmp_path / "out", rows, channels={"Hoechst": "w1"}, nuclei="Hoechst")
    assert fields[0]["FileName_Hoechst"] == "B02_s1_w1.tif" and fields[0]["PathName_Hoechst"] == str(
        tmp_path / "images"
    )
    assert float(fields[0]["ImageQuality_MaxIntensity_Hoechst"]) == 9000
    assert not any(name.endswith("_DNA") for name in fields[0])


def test_channels_of_other_plates_of_the_run_are_empty_columns_of_their_type(tmp_path):
    rows = write_plate(tmp_path / "images")
    _, _, alone = run(tmp_path / "alone", rows)
    nuclei, _, results = run(tmp_path / "out", rows, columns={"channels": ["Actin", "DNA", "ER", "Tubulin"]})
    added = [name for name in nuclei if name.endswith("_ER")]
    assert len(added) == 19 and nuclei[added].isna().all(axis=None)
    assert {pq.read_schema(results["nuclei"]).field(name).type for name in added} == {pa.float64()}
    pd.testing.assert_frame_equal(nuclei.drop(columns=added), pd.read_parquet(alone["nuclei"]))


ALL = {
    "channels": ["Actin", "DNA", "ER", "Hoechst", "Tubulin"],
    "nuclei_channels": ["DNA", "Hoechst"],
    **{"outlined": True, "peaks": True, "controls": True, "cells": True},
    **{
        "position": ["Metadata_Timepoint"],
        "platemap": ["Metadata_dose", "Metadata_name"],
        "positive": ["ER", "Tubulin"],
    },
}


def test_tables_of_different_plates_of_a_run_are_one_data_set(tmp_path):
    rows = write_plate(tmp_path / "images")
    (tmp_path / "map.csv").write_text("well,dose,name\nB02,007,NA\nB03,1e5,b\n")
    common = {"columns": ALL, "detection": OWN, "positive": {"Tubulin": 0.01}, "cells": {"expand": 2}}
    run(tmp_path / "P1", rows, platemap=tmp_path / "map.csv", plate="007", **common)
    dna = [(*row[:2], 4, *row[3:5], row[4:5]) for row in rows]
    run(tmp_path / "P2", dna, channels={"Hoechst": "w1"}, nuclei="Hoechst", plate="P2", **common | {"positive": {}})
    failed = [(*row[:4], str(tmp_path / "absent.tif"), ()) for row in rows[:1]]
    peaks = [(*row[:5], ()) for row in rows]
    run(tmp_path / "P3", [*failed, *peaks], channels={}, plate="P3", columns=ALL, detection=PEAKS)
    for table, count in {"nuclei": 3 * 38, "fields": 19, "wells": 9}.items():
        files = sorted(tmp_path.glob(f"P*/{table}.parquet"))
        schemas = [pq.read_schema(file) for file in files]
        assert len(files) == 3 and schemas[0].equals(schemas[1]) and schemas[0].equals(schemas[2])
        assert set(schemas[0].types) <= {pa.string(), pa.int64(), pa.float64(), pa.bool_()}
        joined = ds.dataset(files).to_table().to_pandas()
        assert len(joined) == count and set(joined.Metadata_Plate) == {"007", "P2", "P3"}
    marks = {
        name: pq.read_table(tmp_path / name / "nuclei.parquet")["Nuclei_Positive_Tubulin"] for name in ("P1", "P2")
    }
    assert marks["P1"].null_count == 0 and marks["P2"].null_count == 38
    wells = pq.read_table(tmp_path / "P1/wells.parquet").to_pylist()
    assert [row["Share_Positive_Tubulin"] is None for row in wells] == [False, True, False]  # B03 has no nucleus
    assert {row["Share_Positive_ER"] for row in wells} == {None}
    assert [(row["Metadata_dose"], row["Metadata_name"]) for row in wells] == [
        ("007", "NA"),
        ("1e5", "b"),
        (None, None),
    ]
    fields = pq.read_table(tmp_path / "P2/fields.parquet").to_pylist()
    assert {row["FileName_DNA"] for row in fields} == {None} and fields[0]["FileName_Hoechst"] == "B02_s1_w1.tif"
    assert {row["Metadata_Timepoint"] for row in fields} == {4}


def test_pycytominer_takes_the_table_with_the_list_of_features_in_its_metadata(tmp_path):
    from pycytominer import aggregate, feature_select, normalize

    rows = write_plate(tmp_path / "images")
    nuclei, _, results = run(tmp_path / "out", rows)
    features = json.loads(pq.read_schema(results["nuclei"]).metadata[b"features"])
    wells = aggregate(
        nuclei, strata=["Metadata_Plate", "Metadata_Well"], features=features, compute_object_count=True
    ).set_index("Metadata_Well")
    assert wells.Metadata_Object_Count.to_dict() == {"B02": 14, "C02": 24}
    for well in ("B02", "C02"):
        levels = np.concatenate([planted(COUNTS[well], "w2", seed=site)[1] for site in (1, 2)])
        assert wells.Nuclei_Intensity_MeanIntensity_Tubulin[well] == pytest.approx(np.median(levels) / 65535)
    normalized = normalize(nuclei, features=features, meta_features=["Metadata_Plate", "Metadata_Well"])
    assert normalized.Nuclei_Intensity_MeanIntensity_Actin.mean() == pytest.approx(0, abs=1e-9)
    selected = feature_select(nuclei, features=features, operation=["variance_threshold", "drop_na_columns"])
    kept = [name for name in selected if name in features]
    assert "Nuclei_Intensity_MeanIntensity_Tubulin" in kept and "Nuclei_AreaShape_Area" not in kept  # all are 25 px


def expected_share(nuclei, well, channel, threshold):
    means = nuclei[nuclei.Metadata_Well == well][f"Nuclei_Intensity_MeanIntensity_{channel}"].dropna()
    return (means > threshold).mean()


@pytest.mark.parametrize("units", ["plate", "field"])
def test_nuclei_above_a_value_are_positive_and_wells_have_their_share(tmp_path, units):
    rows = write_plate(tmp_path / "images")
    (tmp_path / "images/C02_s1_w4.tif").unlink()
    units = None if units == "plate" else [[row] for row in rows]
    nuclei, _, results = run(tmp_path / "out", rows, units=units, positive={"Actin": 2005, "Tubulin": 1508 / 65535})
    missing = (nuclei.Metadata_Well == "C02") & (nuclei.Metadata_Site == 1)
    assert nuclei.Nuclei_Positive_Actin[missing].isna().all() and nuclei.Nuclei_Positive_Actin[~missing].notna().all()
    for channel, threshold in {"Actin": 2005, "Tubulin": 1508 / 65535}.items():
        means, marks = (nuclei[f"Nuclei_{name}_{channel}"] for name in ("Intensity_MeanIntensity", "Positive"))
        known = means.notna()
        np.testing.assert_array_equal(marks[known].astype(bool), means[known] > threshold)
        assert 0 < marks[known].mean() < 1
        wells = pd.read_csv(results["wells"], index_col="Metadata_Well")[f"Share_Positive_{channel}"]
        assert wells["B02"] == expected_share(nuclei, "B02", channel, threshold) and np.isnan(wells["B03"])
        assert wells["C02"] == expected_share(nuclei, "C02", channel, threshold)
        stored = pd.read_parquet(results["wells_parquet"])[f"Share_Positive_{channel}"]
        np.testing.assert_array_equal(stored, wells)
    schema = pq.read_schema(results["nuclei"])
    assert schema.names[-3:] == ["Nuclei_TouchesBorder", "Nuclei_Positive_Actin", "Nuclei_Positive_Tubulin"]
    assert json.loads(schema.metadata[b"positive"]) == {"Actin": 2005, "Tubulin": 1508 / 65535}
    assert not any("Positive" in name for name in objects.features_of(schema.names))


def test_a_nucleus_exactly_at_the_value_is_not_positive(tmp_path):
    nuclei, _, _ = run(tmp_path / "out", write_plate(tmp_path / "images"), positive={"Actin": 1503})
    at_value = nuclei.Nuclei_Intensity_MeanIntensity_Actin == 1503
    assert at_value.any() and not nuclei.Nuclei_Positive_Actin[at_value].any() and nuclei.Nuclei_Positive_Actin.any()


def test_auto_is_the_99th_percentile_of_good_nuclei_in_negative_controls(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(measured_tables, "ROW_GROUP_ROWS", 5)
    rows = write_plate(tmp_path / "images")
    (tmp_path / "images/C02_s1_w2.tif").unlink()
    (tmp_path / "map.csv").write_text("well,control\nB02,sample\nC02, Negative\nC03,negative\n")
    options = {"positive": {"Actin": "auto", "Tubulin": "auto"}, "platemap": tmp_path / "map.csv"}
    nuclei, _, results = run(tmp_path / "out", rows, **options)
    thresholds = json.loads(pq.read_schema(results["nuclei"]).metadata[b"positive"])
    for channel, count in {"Actin": 24, "Tubulin": 12}.items():
        means = nuclei[nuclei.Metadata_Well == "C02"][f"Nuclei_Intensity_MeanIntensity_{channel}"].dropna()
        assert len(means) == count and thresholds[channel] == np.percentile(means, 99)
        assert f"positive.{channel} is auto, but only {count} nuclei of negative controls" in caplog.text
    wells = pd.read_csv(results["wells"], index_col="Metadata_Well")
    assert 0 < wells.Share_Positive_Actin["C02"] == 1 / 24 and wells.Share_Positive_Tubulin["C02"] == 1 / 12
    _, _, again = run(tmp_path / "again", rows, units=[[row] for row in rows[:4]] + [rows[4:]], **options)
    tables = results.keys() - {"settings"}  # which has the time
    assert len(tables) > 4 and all(again[name].read_bytes() == results[name].read_bytes() for name in tables)


@pytest.mark.parametrize(("share", "warned"), [(0, False), (0.05, True), (0.6, True)])
def test_controls_that_hold_positive_nuclei_are_warned_of(tmp_path, share, warned):
    random = np.random.default_rng(3)
    intensities = np.where(random.random(1000) < share, 0.09, np.exp(random.normal(np.log(0.015), 0.4, 1000)))
    table = pa.table({"Nuclei_Intensity_MeanIntensity_w2": intensities, "Field": np.zeros(1000, np.int64)})
    pq.write_table(table, tmp_path / "all.parquet")
    field = {"Image_Status": "ok", "Metadata_Well": "B02", "Field": 0, tables.MISSING_CHANNELS: None}
    thresholds, doubts = positive_nuclei.thresholds_of(
        *("P1", {"w2": "auto"}, [tmp_path / "all.parquet"], [0, 1], [field]), channels=["w2"], negative=["B02"]
    )
    assert thresholds == {"w2": pytest.approx(np.percentile(intensities, 99))}
    assert len(doubts) == warned
    for _, doubt in doubts:
        assert "the negative controls have bright nuclei themselves" in doubt and "\n" not in doubt
        number = float(doubt.rpartition("try positive.w2: ")[2])
        assert ((intensities > number) == (intensities == 0.09)).mean() > 0.99


@pytest.mark.parametrize(("value", "said"), [(-1, "all"), (5000, "none")])
def test_a_value_that_parts_no_nuclei_is_warned_of(tmp_path, value, said, caplog):
    (tmp_path / "plates").mkdir()
    run(tmp_path / "plates/P1", write_plate(tmp_path / "images"), positive={"Actin": value})
    (warning,) = PlateReport(tmp_path, "P1", OWN).warnings()
    assert warning.startswith(f"plate P1: {said} of 38 nuclei are positive in Actin") and warning in caplog.text
    assert "is positive in the unit of nuclei.parquet?" in warning
    assert json.loads((tmp_path / "plates/P1/summary.json").read_text())["doubted"] == ["Share_Positive_Actin"]


def test_without_a_measured_nucleus_in_the_controls_nothing_is_called_positive_nor_negative(tmp_path, caplog):
    rows = write_plate(tmp_path / "images")
    (tmp_path / "map.csv").write_text("well,control\nB03,negative\n")  # it has no nuclei
    folder = tmp_path / "plates/P1"
    folder.mkdir(parents=True)
    nuclei, _, results = run(folder, rows, positive={"Actin": "auto"}, platemap=tmp_path / "map.csv")
    assert nuclei.Nuclei_Positive_Actin.isna().all() and len(nuclei) == 38
    assert pd.read_csv(results["wells"]).Share_Positive_Actin.isna().all()
    assert json.loads(pq.read_schema(results["nuclei"]).metadata[b"positive"]) == {"Actin": None}
    (warning,) = PlateReport(tmp_path, "P1", OWN).warnings()
    assert "only 0 nuclei of negative controls are measured: which nuclei are positive is left empty" in warning
    assert warning in caplog.text


def test_a_value_in_the_unit_of_integer_images_is_refused_as_nothing_would_be_positive(tmp_path):
    rows = write_plate(tmp_path / "images")
    with pytest.raises(InputError) as caught:
        run(tmp_path / "out", rows, positive={"Tubulin": 1508.0})
    assert str(caught.value) == (
        "plate P1: positive.Tubulin is 1508, which no nucleus is above: uint16 images are divided by 65535 before "
        "they are measured, so that 1508 in them is 0.02301 here"
    )
    assert not (tmp_path / "out/nuclei.parquet").exists()
    # A field of floats, in which the channel is missing as it is another export, changes nothing.
    path = tmp_path / "images/C02_s2_w2.tif"
    tifffile.imwrite(path, tifffile.imread(path).astype(np.float32))
    with pytest.raises(InputError, match="which no nucleus is above: uint16 images are divided by 65535"):
        run(tmp_path / "again", rows, positive={"Tubulin": 1508.0})


def test_a_row_is_a_cell_with_its_nucleus_and_its_cytoplasm(tmp_path):
    rows = write_plate(tmp_path / "images")
    (tmp_path / "images/C02_s1_w2.tif").unlink()
    before, _, _ = run(tmp_path / "before", rows)
    nuclei, _, results = run(tmp_path / "out", rows, cells={"expand": 1.0})
    parts = {prefix: objects.columns_of(CHANNELS, prefix=prefix) for prefix in ("Cells", "Cytoplasm")}
    assert list(nuclei) == [*before, *parts["Cells"], *parts["Cytoplasm"]]
    pd.testing.assert_frame_equal(nuclei[list(before)], before)
    assert (nuclei.Cells_AreaShape_Area == 45).all() and (nuclei.Cytoplasm_AreaShape_Area == 20).all()
    missing = (nuclei.Metadata_Well == "C02") & (nuclei.Metadata_Site == 1)
    for channel, background in {"Tubulin": 50 / 65535, "Actin": 50, "DNA": 0}.items():
        means = {part: nuclei[f"{part}_Intensity_MeanIntensity_{channel}"] for part in ("Nuclei", *parts)}
        known = ~missing if channel == "Tubulin" else missing | True
        np.testing.assert_allclose(means["Cytoplasm"][known], background, rtol=1e-6)
        np.testing.assert_allclose(
            means["Cells"][known], (25 * means["Nuclei"] + 20 * background)[known] / 45, rtol=1e-6
        )
        assert means["Cells"].isna().equals(~known) and means["Cytoplasm"].isna().equals(~known)
    features = set(objects.features_of(nuclei))
    assert {"Cells_AreaShape_Area", "Cytoplasm_Intensity_MeanIntensity_Actin"} <= features
    assert "Cells_AreaShape_Center_X" not in features
    schema = pq.read_schema(results["nuclei"])
    assert {schema.field(f"{part}_AreaShape_Area").type for part in parts} == {pa.int64()}


def test_a_cell_that_is_all_nucleus_has_empty_cells_for_its_cytoplasm(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    labels = np.zeros((20, 30), np.uint16)
    labels[5:8, 5:8], labels[5:8, 8:20], labels[12:15, 12:15] = 3000, 3000, 5000
    path = str(folder / "B02_s1_w1.tif")
    tifffile.imwrite(path, np.where(labels == 5000, np.uint16(5000), np.uint16(9000)))  # all but a square is nucleus
    own = {"method": "skimage.measure.label", "function": "skimage.measure.label", "arguments": {"background": 5000}}
    row = ("B02", 1, None, None, path, (path,))
    nuclei, _, results = run(tmp_path / "out", [row], channels={"DNA": "w1"}, detection=own, cells={"expand": 0.5})
    assert nuclei.Cells_AreaShape_Area.tolist() == [600 - 9]
    cytoplasm = [name for name in nuclei if name.startswith("Cytoplasm_")]
    assert len(cytoplasm) > 40 and nuclei[cytoplasm].isna().all(axis=None)
    assert pq.read_table(results["nuclei"])["Cytoplasm_AreaShape_Area"].type == pa.int64()


def test_cells_are_stored_with_the_numbers_of_their_nuclei(tmp_path):
    rows = write_plate(tmp_path / "images")
    run(tmp_path / "out", rows, units=[rows[:2], rows[2:]], cells={"expand": 1.5})
    units = {
        name: [tmp_path / f"out/units/{number}.{name}.parquet" for number in (0, 1)] for name in ("labels", "cells")
    }
    fields = [tmp_path / f"out/units/{number}.fields.parquet" for number in (0, 1)]
    stored = {}
    for name, paths in units.items():
        label_store.write(tmp_path / f"{name}.zarr", plate="P1", labels=paths, fields=fields)
        stored[name] = label_store.open_labels(tmp_path / f"{name}.zarr")
    assert stored["cells"].shape == stored["labels"].shape and stored["labels"][:].max() == 12
    assert dict(stored["cells"].attrs) == dict(stored["labels"].attrs)
    for nuclei, of_cells in zip(stored["labels"][:], stored["cells"][:], strict=True):
        np.testing.assert_array_equal(of_cells, expand_labels(nuclei, 1.5))


def test_without_the_channel_of_the_cells_a_field_has_nuclei_and_no_cells(tmp_path):
    rows = write_plate(tmp_path / "images")
    (tmp_path / "images/C02_s1_w4.tif").unlink()
    nuclei, fields, _ = run(tmp_path / "out", rows, cells={"watershed": "Actin"})
    missing = (nuclei.Metadata_Well == "C02") & (nuclei.Metadata_Site == 1)
    of_cells = [name for name in nuclei if name.startswith("Cells_")]
    assert missing.sum() == 12 and nuclei.loc[missing, of_cells].isna().all(axis=None)
    assert nuclei.Cells_AreaShape_Area[~missing].notna().all() and nuclei.Nuclei_AreaShape_Area.notna().all()
    assert [field["Image_Channels_Missing"] for field in fields] == ["", "", "", "", "Actin", ""]
    units = {name: [tmp_path / f"out/units/0.{name}.parquet"] for name in ("cells", "fields")}
    label_store.write(tmp_path / "cells.zarr", plate="P1", labels=units["cells"], fields=units["fields"])
    counts = [len(np.unique(labels)) - 1 for labels in label_store.open_labels(tmp_path / "cells.zarr")[:]]
    assert counts == [7, 7, 0, 0, 0, 12]


def test_cells_that_were_found_in_an_image_of_another_type_than_most_are_not_measured(tmp_path):
    rows = write_plate(tmp_path / "images")
    before, _, _ = run(tmp_path / "before", rows, cells={"watershed": "Actin"})
    path = tmp_path / "images/C02_s1_w4.tif"
    tifffile.imwrite(path, tifffile.imread(path).astype(np.uint16))
    nuclei, fields, _ = run(tmp_path / "out", rows, cells={"watershed": "Actin"})
    odd = (nuclei.Metadata_Well == "C02") & (nuclei.Metadata_Site == 1)
    of_cells = [name for name in nuclei if name.startswith(("Cells_", "Cytoplasm_")) or name.endswith("_Actin")]
    assert odd.sum() == 12 and nuclei.loc[odd, of_cells].isna().all(axis=None)
    assert [field["Image_Channels_Missing"] for field in fields] == ["", "", "", "", "Actin", ""]
    pd.testing.assert_frame_equal(nuclei.drop(columns=of_cells), before.drop(columns=of_cells))
    pd.testing.assert_frame_equal(nuclei[~odd], before[~odd], check_dtype=False)  # areas are with nulls
    expanded, _, _ = run(tmp_path / "expanded", rows, cells={"expand": 2})
    assert expanded.loc[odd, "Cells_AreaShape_Area"].notna().all()


def test_a_function_of_the_users_for_cells_that_fails_fails_its_field_alone(tmp_path, monkeypatch):
    rows = write_plate(tmp_path / "images")
    (tmp_path / "own_cells_job.py").write_text(
        "def cells(nuclei, channels):\n"
        "    assert nuclei.max() < 12 or channels['Actin'].max() < 2000\n"
        "    return nuclei\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    nuclei, fields, _ = run(tmp_path / "out", rows, cells={"function": "own_cells_job.cells"})
    failed = [field for field in fields if field["Image_Status"] == "failed"]
    assert [(field["Metadata_Well"], field["Metadata_Site"]) for field in failed] == [("C02", "2")]
    assert failed[0]["Image_Error"].startswith("own_cells_job.cells failed: AssertionError")
    assert (
        len(nuclei) == 26 and (nuclei.Cells_AreaShape_Area == 25).all() and nuclei.Cytoplasm_AreaShape_Area.isna().all()
    )
