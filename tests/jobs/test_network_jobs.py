"""Jobs whose nuclei the network finds: plates, stacks and slides, on every engine, in every fan-out; no Snakemake."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile

import calibrate_plate
import calibrate_stack
import detect_nuclei
import measure_frames
import plot_calibration
from fieldwork import label_images, synthetic
from stained import AUTO, calibrate, convert, detect, grid, plant

NETWORK = {"method": "network", "diameter": None, "contrast": None, "model": None}
SHAPE, COUNTS = (200, 240), (12, 0, 9, 14)
SERIAL = {"engine": "serial", "mode": "paths", "dask": "processes"}
POOLS = {
    "pool, paths": {"engine": "pool", "mode": "paths"},
    "pool, fork": {"engine": "pool", "mode": "fork"},
    "dask, threads": {"engine": "dask", "mode": "paths", "dask": "threads"},
    "dask, processes": {"engine": "dask", "mode": "paths", "dask": "processes"},
}


def planted(seed, count):
    return synthetic.plant_field(np.random.default_rng(seed), shape=SHAPE, count=count)[0]


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    """Return the folder of a plate that is calibrated, and its images as rules pass them."""
    folder = tmp_path_factory.mktemp("plate")
    rows = []
    for number, count in enumerate(COUNTS, 1):
        rows.append((f"B{number:02}", 1, None, None, str(folder / f"{number}.tif")))
        tifffile.imwrite(rows[-1][4], planted(number, count))
    common = {"copies": {}, "plate": "P1", "channel": "w1", "drop_border": False, "folders": [], "workers": 1}
    settings, record = {"detection": NETWORK, "calibrate_with": None}, folder / "calibration.json"
    common["pool"] = SERIAL
    calibrate_plate.main(images=rows, other=None, outcome=record, settings=settings, **common)
    plot_calibration.main(record=record, picture=folder / "calibration.png", detection=NETWORK, **common)
    return folder, rows


def find(plate, folder, *, rows=None, pool=SERIAL, workers=2, detection=NETWORK):
    """Detect as the rule does; return the bytes of what it writes."""
    folder.mkdir(exist_ok=True)
    outcome = {name: folder / f"{name}.parquet" for name in ("nuclei", "fields", "labels")}
    detect_nuclei.main(
        **{"images": rows or plate[1], "copies": {}, "calibration": plate[0] / "calibration.json", "outcome": outcome},
        **{"plate": "P1", "unit": "all", "channel": "w1", "nuclei_channel": "DNA", "measured": []},
        **{"detection": detection, "drop_border": False, "cells": None, "folders": [], "with_quality": False},
        **{"on_bad_image": "record", "device": "cpu", "pool": pool, "workers": workers},
    )
    return {name: path.read_bytes() for name, path in outcome.items()}


def table_of(content):
    return pq.read_table(pa.BufferReader(content))


@pytest.fixture(scope="module")
def serially(plate):
    return find(plate, plate[0] / "serial", workers=1)


def test_the_network_counts_the_planted_nuclei_of_a_plate_and_has_a_threshold_all_the_same(plate, serially):
    record = json.loads((plate[0] / "calibration.json").read_text())
    assert record["settings"]["detection"] == NETWORK and not record["warnings"]
    assert [field["nuclei"] for field in record["fields"]] == list(COUNTS)
    fields = table_of(serially["fields"]).to_pydict()
    assert fields["Image_Count_Nuclei"] == list(COUNTS) and fields["Image_Status"] == ["ok"] * 4
    assert all(fields["Threshold_FinalThreshold_Nuclei"])
    for flag in ("Flag_OutOfFocus", "Flag_Saturated", "Flag_UnlikePlate"):
        assert fields[flag] == [False] * 4
    classical = find(plate, plate[0] / "classical", detection=NETWORK | {"method": "classical"})
    assert None not in table_of(classical["fields"])["Threshold_FinalThreshold_Nuclei"].to_pylist()
    nuclei = [table_of(content["nuclei"]) for content in (serially, classical)]
    assert nuclei[0].schema.equals(nuclei[1].schema) and len(nuclei[0]) == sum(COUNTS)


@pytest.mark.parametrize("pool", POOLS)
def test_every_engine_writes_the_same_bytes(plate, serially, tmp_path, pool):
    assert find(plate, tmp_path, pool=POOLS[pool]) == serially


def test_every_fan_out_finds_the_same_nuclei(plate, serially, tmp_path):
    units = [find(plate, tmp_path / row[0], rows=[row], workers=1) for row in plate[1]]
    without = "Metadata_ImageNumber", "Field"  # of the unit
    for name in ("nuclei", "fields"):
        tables = [table_of(unit[name]) for unit in units]
        joined, expected = pa.concat_tables(tables), table_of(serially[name])
        names = [column for column in expected.column_names if column not in without]
        assert joined.select(names).equals(expected.select(names)) and len(joined) >= 4
    (tmp_path / "labels.parquet").write_bytes(serially["labels"])
    read = [content for row in plate[1] for content in label_images.read_unit(tmp_path / row[0] / "labels.parquet")]
    assert read == list(label_images.read_unit(tmp_path / "labels.parquet")) and len(read) == 4


def test_a_stack_is_outlined_by_the_network(tmp_path):
    film = np.stack([planted(seed, count) for seed, count in enumerate(COUNTS)])
    tifffile.imwrite(tmp_path / "film.tif", film, photometric="minisblack")
    path, record = str(tmp_path / "film.tif"), tmp_path / "calibration.json"
    common = {"stack": "film", "path": path, "copy": path, "selection": {}, "pool": SERIAL, "workers": 1}
    work = {"function": "nuclei", "detection": NETWORK, "with_quality": False, "folders": []}
    calibrate_stack.main(outcome=record, work=work, **common)
    measure_frames.main(
        **common,
        work={**work, "drop_border": False, "with_labels": False},
        calibration=record,
        channels=["DNA"],
        images=None,
        frames_table=tmp_path / "frames.csv",
        nuclei_table=tmp_path / "nuclei.parquet",
        on_bad_image="stop",
    )
    assert len(pq.read_table(tmp_path / "nuclei.parquet")) == sum(COUNTS)


def test_a_slide_is_outlined_by_the_network_in_the_same_way_on_every_engine(tmp_path):
    shape = 360, 400
    centres = grid(shape, 41)
    convert(tmp_path, plant(shape, centres))
    settings = {**AUTO, "nuclei": {**AUTO["nuclei"], "method": "network", "model": None}}
    classical = calibrate(tmp_path, settings={**AUTO, "nuclei": {**AUTO["nuclei"], "method": "classical"}})
    record = calibrate(tmp_path, settings=settings, picture=True)
    assert record["settings"]["detection"] == {"method": "network", "model": None}
    assert record["levels"] == classical["levels"] and record["levels"]["threshold"] > 1 and not record["warnings"]
    written = []
    for pool, workers in ((SERIAL, 1), (POOLS["pool, paths"], 2)):
        nuclei, _ = detect(tmp_path, settings=settings, pool=pool, workers=workers)
        written.append((tmp_path / "nuclei.parquet").read_bytes())
        assert len(nuclei) == len(centres)
    assert written[0] == written[1]
