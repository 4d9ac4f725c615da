"""A plate is calibrated on a sample of its fields, and detected with that, without Snakemake."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile

import calibrate_plate
import detect_nuclei
import plot_calibration
from fieldwork import label_images, segmentation, synthetic
from fieldwork.detection import calibration as detection_calibration
from fieldwork.surroundings import tries

AUTO = {"method": "auto", "diameter": None, "contrast": None}
PEAKS = {"method": "peaks", "sigma": 4, "min_distance": 6, "threshold_abs": 1000}
SHAPE, COUNT = (240, 320), 15


def planted(seed, count=COUNT):
    return synthetic.plant_field(np.random.default_rng(seed), shape=SHAPE, count=count)[0]


def write_plate(folder, pictures):
    """Write images, one of each well of a row; return them as rules pass them."""
    rows = []
    for number, picture in enumerate(pictures, 1):
        path = folder / f"{number}.tif"
        if isinstance(picture, bytes):
            path.write_bytes(picture)
        else:
            tifffile.imwrite(path, picture)
        rows.append((f"B{number:02}", 1, None, None, str(path)))
    return rows


def calibrate(folder, rows, *, detection=AUTO, other=None, workers=1, engine="serial", tried=None):
    record, picture = folder / "calibration.json", folder / "calibration.png"
    common = {"copies": {}, "plate": "P1", "channel": "w1", "drop_border": False, "folders": [], "workers": workers}
    common["pool"] = {"engine": engine, "mode": "paths", "dask": "processes"}
    settings = {"detection": detection, "calibrate_with": "P2" if other else None}
    calibrate_plate.main(images=rows, other=other, outcome=record, settings=settings, tried=tried, **common)
    plot_calibration.main(record=record, picture=picture, detection=detection, **common)
    assert picture.read_bytes().startswith(b"\x89PNG")
    return json.loads(record.read_text())


def detect(folder, rows, *, detection=AUTO, drop_border=False, folders=(), with_labels=True):
    """Detect as the rule does; return the tables of nuclei and fields, and the label images."""
    names = ["nuclei", "fields", *["labels"] * with_labels]
    outcome = {name: folder / f"{name}.parquet" for name in names}
    detect_nuclei.main(
        images=rows,
        copies={},
        calibration=None if detection is PEAKS else folder / "calibration.json",
        outcome=outcome,
        plate="P1",
        unit="all",
        channel="w1",
        nuclei_channel="DNA",
        measured=[],
        detection=detection,
        drop_border=drop_border,
        cells=None,
        folders=folders,
        with_quality=False,
        on_bad_image="record",
        device="cpu",
        pool={"engine": "serial"},
        workers=1,
    )
    tables = [pq.read_table(outcome[name]) for name in ("nuclei", "fields")]
    if not with_labels:
        return *tables, None
    encoded = label_images.read_unit(outcome["labels"])
    return *tables, [content and label_images.decode(content, shape) for content, shape in encoded]


def test_a_calibration_says_what_was_decided_by_which_fields(tmp_path):
    rows = write_plate(tmp_path, [planted(1), planted(2), planted(3, 0)])
    record = calibrate(tmp_path, rows)
    expected = segmentation.calibrate([tifffile.imread(row[4]) for row in rows])
    assert detection_calibration.read(tmp_path / "calibration.json") == expected
    assert (record["diameter"], record["contrast"], record["noise"]) == expected[:3]
    assert [field["well"] for field in record["fields"]] == ["B01", "B02", "B03"]
    assert [field["nuclei"] for field in record["fields"]] == pytest.approx([COUNT, COUNT, 0], abs=1)
    assert [field["has_nuclei"] for field in record["fields"]] == [True, True, False]
    assert record["settings"] == {"detection": AUTO, "calibrate_with": None}
    assert not record["warnings"] and not record["passed_over"] and record["version"]


def test_a_calibration_has_the_same_bytes_whatever_the_engine_and_the_workers(tmp_path):
    rows = write_plate(tmp_path, [planted(seed, seed % 3 * 8) for seed in range(60)])
    written = []
    for engine, workers in (("serial", 1), ("pool", 2), ("pool", 5)):
        record = calibrate(tmp_path, rows, engine=engine, workers=workers)
        written.append([(tmp_path / f"calibration.{kind}").read_bytes() for kind in ("json", "png")])
        assert [field["has_nuclei"] for field in record["fields"]].count(True) == 24 < len(record["fields"]) < 60
    assert written[0] == written[1] == written[2]


def test_a_sample_with_an_image_that_is_away_is_tried_again_by_the_next_run(tmp_path):
    rows = write_plate(tmp_path, [planted(1), planted(2)])
    (tmp_path / "1.tif").rename(tmp_path / "away.tif")
    first = tries.Tries(tmp_path).of("calibration")({})
    record = calibrate(tmp_path, rows, tried=first)
    assert [image["reason"] for image in record["passed_over"]] == ["not read: No such file or directory"]
    second = tries.Tries(tmp_path).of("calibration")({})
    assert (first.count, second.count) == (0, 1)
    (tmp_path / "away.tif").rename(tmp_path / "1.tif")
    assert not calibrate(tmp_path, rows, tried=second)["passed_over"]
    assert tries.Tries(tmp_path).of("calibration")({}) == second


def test_unreadable_and_odd_images_are_passed_over(tmp_path):
    odd = planted(5)[:100]
    rows = write_plate(tmp_path, [b"", planted(1), odd, planted(2), b"no image"])
    record = calibrate(tmp_path, rows)
    assert [field["well"] for field in record["fields"]] == ["B02", "B04"]
    assert [image["well"] for image in record["passed_over"]] == ["B01", "B03", "B05"]
    reasons = {image["well"]: image["reason"] for image in record["passed_over"]}
    assert "empty" in reasons["B01"] and "100 x 320 px" in reasons["B03"]
    assert record["diameter"] == calibrate(tmp_path, [rows[1], rows[3]])["diameter"]


def test_where_no_image_can_be_read_every_field_has_its_own_failed_row(tmp_path, caplog):
    rows = write_plate(tmp_path, [b"", b"no image", planted(1)])
    record = calibrate(tmp_path, rows[:2])
    assert record["noise"] is record["diameter"] is None and not record["fields"]
    (warning,) = record["warnings"]
    assert warning.startswith("none of the 2 fields of its sample can be read; first ")
    assert f"plate P1: {warning}" in caplog.messages
    nuclei, fields, labels = detect(tmp_path, rows)
    assert fields["Image_Status"].to_pylist() == ["failed"] * 3 and nuclei.num_rows == 0 and labels == [None] * 3
    first, second, third = fields["Image_Error"].to_pylist()
    assert "empty" in first and "not a TIFF" in second and "no image of the plate's sample could be read" in third


def test_values_of_another_plate_count_as_they_are_and_the_fit_is_judged_by_them(tmp_path):
    rows = write_plate(tmp_path, [planted(1), planted(2)])
    record = calibrate(tmp_path, rows)
    other = tmp_path / "other.json"
    other.write_text(json.dumps(record | {"contrast": record["contrast"] * 20}))
    taken = calibrate(tmp_path, rows, other=other)
    assert [taken[name] for name in ("diameter", "contrast")] == [record["diameter"], record["contrast"] * 20]
    assert [field["contrast"] for field in taken["fields"]] == [field["contrast"] for field in record["fields"]]
    assert "2 of the 2 fields of its sample do not fit its calibration" in taken["warnings"][0]
    other.write_text(json.dumps(record | dict.fromkeys(segmentation.Calibration._fields)))
    (warning,) = calibrate(tmp_path, rows, other=other)["warnings"]
    assert warning.startswith("plate P2, whose calibration it takes, shows no nuclei")


def test_what_the_user_set_counts(tmp_path):
    rows = write_plate(tmp_path, [planted(1), planted(2)])
    measured = calibrate(tmp_path, rows)
    record = calibrate(tmp_path, rows, detection=AUTO | {"contrast": 1230.0})
    assert record["contrast"] == 1230 and record["diameter"] == measured["diameter"]


@pytest.mark.parametrize("method", ["network", "classical"])
def test_outlines_are_tables_and_labels_alike(tmp_path, method):
    rows = write_plate(tmp_path, [planted(1), b"", planted(2)])
    calibrate(tmp_path, rows)
    nuclei, fields, labels = detect(tmp_path, rows, detection=AUTO | {"method": method})
    assert labels[1] is None and "Nuclei_Intensity_Peak" not in nuclei.column_names
    assert fields["Image_Count_Nuclei"].to_pylist() == [labels[0].max(), None, labels[2].max()]
    assert fields["Threshold_FinalThreshold_Nuclei"].null_count == 1
    for flag in ("OutOfFocus", "Saturated", "UnlikePlate"):
        assert fields[f"Flag_{flag}"].to_pylist() == [False, None, False]
    table = nuclei.to_pandas()
    for number in (0, 2):
        of_field = table[table.Field == number]
        assert list(of_field.ObjectNumber) == list(range(1, labels[number].max() + 1))
        for nucleus in of_field.to_dict("records"):
            found = np.argwhere(labels[number] == nucleus["ObjectNumber"])
            assert nucleus["Nuclei_AreaShape_Area"] == len(found)
            centre = nucleus["Nuclei_Location_Center_Y"], nucleus["Nuclei_Location_Center_X"]
            assert centre == pytest.approx(tuple(found.mean(axis=0)))
            on_border = (found == 0) | (found == np.array(SHAPE) - 1)
            assert nucleus["Nuclei_TouchesBorder"] == on_border.any()


def test_nuclei_at_the_border_are_dropped_before_numbering(tmp_path):
    image = planted(1)
    rows = write_plate(tmp_path, [np.roll(image, 40 - int(np.argmax(image.max(axis=1))), axis=0)[40:]])
    calibrate(tmp_path, rows)
    kept, *_ = detect(tmp_path, rows)
    dropped, _, (labels,) = detect(tmp_path, rows, drop_border=True)
    cut = sum(kept["Nuclei_TouchesBorder"].to_pylist())
    assert cut > 0 and dropped.num_rows == kept.num_rows - cut
    assert not any(dropped["Nuclei_TouchesBorder"].to_pylist())
    assert dropped["ObjectNumber"].to_pylist() == list(range(1, labels.max() + 1))


def test_peaks_have_no_outlines_and_their_unit_has_an_empty_label_for_each_field(tmp_path):
    rows = write_plate(tmp_path, [planted(1), b""])
    nuclei, fields, labels = detect(tmp_path, rows, detection=PEAKS)
    assert labels == [None, None] and {"Nuclei_Intensity_Peak"} == {
        name for name in nuclei.column_names if name.startswith("Nuclei_") and "Location" not in name
    }
    assert fields["Threshold_FinalThreshold_Nuclei"].null_count == fields["Flag_OutOfFocus"].null_count == 2
    ground, brightest = (fields[f"Image_{name}"].to_pylist() for name in ("Ground", "Brightest"))
    assert ground == [pytest.approx(np.percentile(tifffile.imread(rows[0][4]), 40), rel=0.1), None]
    assert brightest[0] == max(nuclei["Nuclei_Intensity_Peak"].to_pylist())
