"""Faulty fields of a plate are flagged, and their wells excluded, from image files to tables, without Snakemake."""

import logging
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tifffile

import calibrate_plate
import detect_nuclei
import merge_units
import planted_screen
from accuracy.flagged import THRESHOLDS

AUTO = {"method": "auto", "diameter": None, "contrast": None}
WELLS = {  # nuclei of a field, and which of its two fields are blurred
    **{"B02": (60, ()), "B03": (60, (1, 2)), "B04": (60, (2,)), "B05": (60, ()), "B06": (0, ()), "B07": (2, ())},
    **{"B08": (80, ()), "B09": (5, ()), "B10": (40, ()), "B11": (60, ())},
}
MAP = "well,control,exclude\nB02,negative,\nB03,negative,\nB05,negative,x\nB06,positive,no\n"


def measured_plate(folder, *, with_quality):
    """Draw, calibrate, detect and merge a plate as the rules do; return its tables of fields and wells."""
    (folder / "units").mkdir(parents=True)
    random, images = np.random.default_rng(1), []
    for well, (count, blurred) in WELLS.items():
        for site in (1, 2):
            path = str(folder / f"{well}_s{site}_w1.tif")
            blur_px = 4 if site in blurred else 0
            tifffile.imwrite(path, planted_screen.draw(random, count, 0.1, blur_px=blur_px)[0][0])
            images.append((well, site, None, None, path, (path,)))
    calibration, pool = folder / "calibration.json", {"engine": "serial", "mode": "paths", "dask": "processes"}
    common = {"copies": {}, "plate": "P1", "channel": "w1", "drop_border": False, "folders": [], "workers": 1}
    settings = {"detection": AUTO, "calibrate_with": None}
    sample = [row[:5] for row in images]
    calibrate_plate.main(images=sample, other=None, outcome=calibration, settings=settings, pool=pool, **common)
    unit = {name: folder / f"units/all.{name}.parquet" for name in ("nuclei", "fields", "labels")}
    detect_nuclei.main(
        **{"images": images, "calibration": calibration, "outcome": unit, "unit": "all", "detection": AUTO},
        **{"nuclei_channel": "DNA", "measured": [("DNA", "w1")], "cells": None, "with_quality": with_quality},
        **{"on_bad_image": "record", "device": "cpu", "pool": {"engine": "serial"}, **common},
    )
    (folder / "map.csv").write_text(MAP)
    results = {name: folder / f"{name.replace('_', '.')}" for name in ("fields_parquet", "wells_parquet")}
    results |= {"nuclei": folder / "nuclei.parquet", "fields": folder / "fields.csv", "wells": folder / "wells.csv"}
    columns = {"channels": ["DNA"], "nuclei_channels": ["DNA"], "outlined": True, "peaks": False, "groups": []}
    columns |= {"position": [], "platemap": ["Metadata_control", "Metadata_exclude"], "positive": [], "cells": False}
    merge_units.main(
        **{"plate": "P1", "units": SimpleNamespace(nuclei=[unit["nuclei"]], fields=[unit["fields"]])},
        **{
            "platemap": folder / "map.csv",
            "results": SimpleNamespace(**results, summary=folder / "summary.json", settings=folder / "settings.json"),
        },
        **{"detection": AUTO, "with_quality": with_quality, "on_bad_image": "record", "max_failed_fields": 0.05},
        **{"channel": "w1", "nuclei_channel": "DNA", "channels": ["DNA"], "cells_channel": None, "positive": {}},
        **{"columns": columns | {"controls": True}, "controls": {}, "flags": THRESHOLDS, "made_of": {}},
        exclude_flags=["OutOfFocus", "Saturated"],
    )
    return pd.read_parquet(results["fields_parquet"]), pd.read_parquet(results["wells_parquet"])


@pytest.mark.parametrize("with_quality", [True, False])
def test_blurred_wells_and_those_of_the_platemap_are_excluded_and_say_so(tmp_path, caplog, with_quality):
    caplog.set_level(logging.INFO)
    fields, wells = measured_plate(tmp_path / "plate", with_quality=with_quality)
    blurred = [site in WELLS[well][1] for well, site in zip(fields.Metadata_Well, fields.Metadata_Site, strict=True)]
    assert sum(blurred) == 3 and fields.Flag_OutOfFocus.tolist() == blurred
    assert fields.Flag_Empty.tolist() == [well == "B06" for well in fields.Metadata_Well]
    for flag in ("Flag_Saturated", "Flag_Background", "Flag_Debris"):
        assert fields[flag].tolist() == [False] * 20 and wells[flag].tolist() == [False] * 10
    wells = wells.set_index("Metadata_Well")
    assert wells.index[wells.Flag_OutOfFocus.astype(bool)].tolist() == ["B03", "B04"]
    assert wells.index[wells.Excluded].tolist() == ["B03", "B04", "B05"]
    assert wells.Count_Nuclei.min() == 0 and wells.Count_Nuclei["B05"] > 100  # they stay in the table
    assert "Flag_Empty" not in wells.columns
    assert "3 of 10 wells are excluded: 1 by the platemap, 2 by screen.exclude_flags alone" in caplog.text
    assert "Flag_OutOfFocus: edges of nuclei less steep than" in caplog.text
