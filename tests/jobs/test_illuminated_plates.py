"""The illumination of a plate is found and corrected, from image files to tables, without Snakemake."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tifffile

import calibrate_plate
import detect_nuclei
import illuminate_plate
import plot_calibration
from fieldwork import InputError, label_images, objects, synthetic
from fieldwork.detection import illumination
from fieldwork.plates import illumination as plate_illumination
from fieldwork.quality import measure_image

CLASSICAL = {"method": "classical", "diameter": None, "contrast": None}  # as for the figures of the illumination
SHAPE, COUNT = (240, 320), 15
CHANNELS = [("DNA", "w1"), ("Tubulin", "w2")]
POOL = {"engine": "serial", "mode": "paths", "dask": "processes"}


def vignette(shape=SHAPE):
    rows, columns = np.linspace(-1, 1, shape[0])[:, None], np.linspace(-1, 1, shape[1])
    return 1 - 0.2 * (rows**2 + columns**2)


def planted(seed, *, light=True, count=COUNT):
    image = synthetic.plant_field(np.random.default_rng(seed), shape=SHAPE, count=count)[0]
    return (image * vignette()).astype(np.uint16) if light else image


def write_plate(folder, count=24, *, light=True, nuclei=COUNT):
    """Write fields of two channels, the second a third of the first; return them as rules pass them."""
    folder.mkdir()
    rows = []
    for number in range(1, count + 1):
        paths = tuple(str(folder / f"{number}_{token}.tif") for _, token in CHANNELS)
        image = planted(number, light=light, count=nuclei)
        for path, pixels in zip(paths, (image, image // 3), strict=True):
            tifffile.imwrite(path, pixels)
        rows.append((f"B{number:02}", 1, None, None, paths[0], paths))
    return rows


def illuminate(folder, rows, *, background=None, channels=CHANNELS, workers=1, **pool):
    folder.mkdir(exist_ok=True)
    outcome = {"functions": folder / "illumination/functions.json", "illumination": folder / "illumination.png"}
    illuminate_plate.main(
        images=[(*row[:5], row[5][: len(channels)]) for row in rows],
        copies={},
        outcome=outcome,
        plate="P1",
        channel="w1",
        nuclei_channel="DNA",
        measured=channels,
        background=background,
        pool=POOL | pool,
        workers=workers,
    )
    assert outcome["illumination"].read_bytes().startswith(b"\x89PNG")
    return json.loads(outcome["functions"].read_text())


def detect(folder, rows, *, background=None, corrected=True, channels=CHANNELS, sample=None):
    """Calibrate and detect as the rules do; return the tables of nuclei and fields, and the calibration."""
    (folder / "units").mkdir(parents=True, exist_ok=True)
    record = folder / "illumination/functions.json" if corrected else None
    common = {"copies": {}, "plate": "P1", "channel": "w1", "drop_border": False, "folders": [], "workers": 1}
    common["correction"] = illumination.correction_of("DNA", background, record)
    settings, calibration = {"detection": CLASSICAL, "calibrate_with": None}, folder / "calibration.json"
    sample = [row[:5] for row in sample or rows]
    calibrate_plate.main(images=sample, other=None, outcome=calibration, settings=settings, pool=POOL, **common)
    picture = folder / "calibration.png"
    plot_calibration.main(record=calibration, picture=picture, detection=CLASSICAL, pool=POOL, **common)
    outcome = {name: folder / f"units/all.{name}.parquet" for name in ("nuclei", "fields", "labels")}
    detect_nuclei.main(
        images=[(*row[:5], row[5][: len(channels)]) for row in rows],
        calibration=calibration,
        outcome=outcome,
        unit="all",
        nuclei_channel="DNA",
        measured=channels,
        detection=CLASSICAL,
        cells=None,
        with_quality=True,
        on_bad_image="record",
        device="cpu",
        pool={"engine": "serial"},
        **common,
    )
    nuclei, fields = (pd.read_parquet(outcome[name]) for name in ("nuclei", "fields"))
    return nuclei, fields, json.loads(calibration.read_text())


def corner_share(nuclei, column):
    """Return the mean of nuclei in the corners as a share of that in the centre."""
    x = nuclei.Nuclei_Location_Center_X / SHAPE[1]
    y = nuclei.Nuclei_Location_Center_Y / SHAPE[0]
    corner = ((x - 0.5).abs() > 0.25) & ((y - 0.5).abs() > 0.25)
    centre = ((x - 0.5).abs() < 0.25) & ((y - 0.5).abs() < 0.25)
    assert corner.sum() > 50 and centre.sum() > 50
    return nuclei.loc[corner, column].mean() / nuclei.loc[centre, column].mean()


MEAN = "Nuclei_Intensity_MeanIntensity_DNA"


def test_nuclei_are_as_bright_in_the_corners_as_without_a_vignette(tmp_path):
    rows = write_plate(tmp_path / "images", 48)
    even, _, _ = detect(tmp_path / "even", write_plate(tmp_path / "planted", 48, light=False), corrected=False)
    before, _, _ = detect(tmp_path / "before", rows, corrected=False)
    record = illuminate(tmp_path / "after", rows)
    after, _, _ = detect(tmp_path / "after", rows)
    truth = corner_share(even, MEAN)  # chance: few nuclei, of different brightness
    assert corner_share(before, MEAN) / truth < 0.85
    for name in ("DNA", "Tubulin"):
        assert 0.97 < corner_share(after, f"Nuclei_Intensity_MeanIntensity_{name}") / truth < 1.03
        values = record["channels"][name]
        assert values["fields"] == 48 and values["uncertainty"] < 0.02 and 1.6 < values["largest"] < 1.75
        assert values["corner_to_centre"]["before"] / truth < 0.85 and min(values["nuclei"].values()) > 50
        assert 0.97 < values["corner_to_centre"]["after"] / truth < 1.03
    assert not record["warnings"]


def test_measurements_are_those_of_the_divided_image_and_quality_that_of_the_image_as_it_is(tmp_path):
    rows = write_plate(tmp_path / "images")
    illuminate(tmp_path / "out", rows)
    nuclei, fields, calibration = detect(tmp_path / "out", rows)
    (encoded, shape), *_ = label_images.read_unit(tmp_path / "out/units/all.labels.parquet")
    labels = label_images.decode(encoded, shape)
    own = nuclei[nuclei.Metadata_Well == "B01"]
    for name, path in zip(("DNA", "Tubulin"), rows[0][5], strict=True):
        function = np.load(tmp_path / f"out/illumination/{name}.npy").astype(float)
        expected = objects.measure_objects(labels, {name: tifffile.imread(path) / function / 65535})
        assert len(own) == len(expected) > 5
        for column in ("MeanIntensity", "MaxIntensity", "IntegratedIntensity"):
            column = f"Nuclei_Intensity_{column}_{name}"
            np.testing.assert_allclose(own[column], expected[column], rtol=1e-6)
    raw = measure_image(tifffile.imread(rows[0][4]))
    assert fields.loc[0, "ImageQuality_MeanIntensity_DNA"] == raw["MeanIntensity"]
    bare = detect(tmp_path / "bare", rows, corrected=False)[2]
    assert 0.55 < calibration["contrast"] / bare["contrast"] < 0.9  # the unit is that of the darkest place


def test_bytes_are_equal_for_every_engine_and_number_of_workers(tmp_path):
    rows = write_plate(tmp_path / "images", 9)
    ways = {"serial": {}, "pool": {"engine": "pool", "workers": 2}, "fork": {"engine": "pool", "mode": "fork"}}
    for way, options in ways.items():
        illuminate(tmp_path / way, rows, **options)
    names = ("illumination/functions.json", "illumination/DNA.npy", "illumination/Tubulin.npy", "illumination.png")
    written = [[(tmp_path / way / name).read_bytes() for name in names] for way in ways]
    assert written[0] == written[1] == written[2]
    assert sorted(path.name for path in (tmp_path / "pool").rglob("*.*")) == sorted(
        ["DNA.npy", "Tubulin.npy", "functions.json", "illumination.png"]
    )


def test_images_of_another_size_unreadable_and_absent_ones_are_passed_over_with_the_reason(tmp_path):
    rows = write_plate(tmp_path / "images", 12)
    expected = illuminate(tmp_path / "without", rows[3:])
    tifffile.imwrite(rows[0][4], planted(1)[:200])
    (tmp_path / "images/2_w1.tif").write_bytes(b"no image")
    rows[2] = (*rows[2][:5], (rows[2][5][0], None))
    tifffile.imwrite(rows[2][4], (planted(3) // 256).astype(np.uint8))
    record = illuminate(tmp_path / "out", rows)
    dna, tubulin = (record["channels"][name] for name in ("DNA", "Tubulin"))
    assert dna["digest"] == expected["channels"]["DNA"]["digest"] and dna["fields"] == 9
    reasons = {entry["path"].rsplit("/")[-1]: entry["reason"] for entry in dna["passed_over"]}
    assert "not a TIFF" in reasons.pop("2_w1.tif")
    assert reasons == {
        "1_w1.tif": "found 200 x 320 px of uint16, the sample's images are 240 x 320 px of uint16",
        "3_w1.tif": "found 240 x 320 px of uint8, the sample's images are 240 x 320 px of uint16",
    }
    assert tubulin["digest"] == expected["channels"]["Tubulin"]["digest"]
    assert len(tubulin["passed_over"]) == 3


def test_pixels_that_are_no_numbers_count_for_nothing(tmp_path):
    rows = write_plate(tmp_path / "images", 12)
    expected = illuminate(tmp_path / "without", rows[2:])
    for row in rows:
        for path in row[5]:
            tifffile.imwrite(path, tifffile.imread(path).astype(np.float32))
    for path in (rows[0][4], rows[1][5][1]):
        image = tifffile.imread(path)
        image[3, 4] = np.nan
        tifffile.imwrite(path, image)
    text = json.dumps(record := illuminate(tmp_path / "out", rows))
    assert "NaN" not in text.replace("pixels are NaN or infinite", "")
    assert "pixels are NaN or infinite" in text
    assert [record["channels"][name]["fields"] for name in ("DNA", "Tubulin")] == [11, 10]
    assert record["channels"]["DNA"]["largest"] == pytest.approx(expected["channels"]["DNA"]["largest"], rel=0.05)


def test_a_field_or_a_channel_that_no_function_fits_is_failed_or_missing_and_never_measured_as_it_is(tmp_path):
    rows = write_plate(tmp_path / "images", 12)
    for row in rows:
        row_path = row[5][1]
        (tmp_path / row_path).unlink()
    record = illuminate(tmp_path / "out", rows)
    assert record["channels"]["Tubulin"]["file"] is None
    assert "channel Tubulin: no image of its sample could be read" in record["warnings"][-1]
    tifffile.imwrite(rows[0][4], planted(1)[:200])
    tifffile.imwrite(rows[1][5][1], planted(2))  # there is one now, but no function of it
    nuclei, fields, _ = detect(tmp_path / "out", rows)
    assert fields.Image_Status.tolist() == ["failed"] + ["ok"] * 11
    assert "found 200 x 320 px, the plate's illumination function has 240 x 320 px" in fields.Image_Error[0]
    assert nuclei.Nuclei_Intensity_MeanIntensity_Tubulin.isna().all() and nuclei[MEAN].notna().all()


def test_a_background_is_subtracted_first_and_keeps_integers(tmp_path):
    rows = write_plate(tmp_path / "images", 6, light=False)
    for row in rows:
        tifffile.imwrite(row[4], tifffile.imread(row[4]) + np.uint16(2000))
    plain, _, high = detect(tmp_path / "plain", rows, corrected=False)
    nuclei, _, calibration = detect(tmp_path / "out", rows, corrected=False, background=1)
    levels = {row[0]: np.percentile(tifffile.imread(row[4]), 1, method="inverted_cdf") for row in rows}
    assert len(nuclei) == len(plain) and min(levels.values()) > 2100
    np.testing.assert_allclose(nuclei[MEAN], plain[MEAN] - plain.Metadata_Well.map(levels) / 65535, rtol=1e-9)
    assert calibration["contrast"] == high["contrast"] and calibration["background"] < 300 < high["background"]


def test_a_saturated_field_is_flagged_although_division_spreads_its_highest_value(tmp_path):
    rows = write_plate(tmp_path / "images", 12)
    illuminate(tmp_path / "out", rows)
    tifffile.imwrite(rows[0][4], np.minimum(planted(1).astype(int) * 30, 65535).astype(np.uint16))
    _, fields, _ = detect(tmp_path / "out", rows, sample=rows[1:])
    assert fields.Flag_Saturated.tolist() == [True] + [False] * 11


def test_functions_are_forgotten_where_nuclei_are_measured_without_them(tmp_path):
    rows = write_plate(tmp_path / "images", 3)
    illuminate(tmp_path / "out", rows)
    detect(tmp_path / "out", rows)
    assert (tmp_path / "out/illumination.png").exists() and (tmp_path / "out/illumination/DNA.npy").exists()
    detect(tmp_path / "out", rows, corrected=False)
    assert not (tmp_path / "out/illumination.png").exists() and not (tmp_path / "out/illumination").exists()


@pytest.mark.parametrize("background", [None, 1])
def test_where_the_ground_is_the_cameras_own_nuclei_tell_the_light(tmp_path, background):
    rows = write_plate(tmp_path / "images", 48)
    for number, row in enumerate(rows, 1):
        light = planted(number, light=False).astype(float) - 300
        tifffile.imwrite(row[4], (1000 + light.clip(0) * vignette()).astype(np.uint16))
    record = illuminate(tmp_path / "out", rows, channels=[], background=background)
    values = record["channels"]["DNA"]
    assert background or (values["by"] == "nuclei" and not record["warnings"])
    assert values["corner_to_centre"]["before"] < 0.9 and 0.95 < values["corner_to_centre"]["after"] < 1.05
    assert 1.2 < values["largest"] < 2.3


@pytest.mark.parametrize("ground", [300, 30])
def test_the_figures_of_a_strong_vignette_are_those_of_the_nuclei_without_it(tmp_path, ground):
    rows = write_plate(tmp_path / "images", 24, light=False)
    light = 1.5 * vignette() - 0.5  # 0.4 in the corners
    for number, row in enumerate(rows, 1):
        image = planted(number, light=False).astype(float) - 300 + ground
        tifffile.imwrite(row[4], image.clip(0).astype(np.uint16))
    even = illuminate(tmp_path / "even", rows, channels=[])["channels"]["DNA"]["corner_to_centre"]
    for number, row in enumerate(rows, 1):
        image = planted(number, light=False).astype(float) - 300 + ground
        tifffile.imwrite(row[4], (image.clip(0) * light).astype(np.uint16))
    record = illuminate(tmp_path / "out", rows, channels=[])
    values = record["channels"]["DNA"]
    assert "not_corrected" not in values
    function = np.load(tmp_path / "out/illumination/DNA.npy").astype(float)
    ratio = function / light
    assert np.percentile(np.abs(ratio / np.median(ratio) - 1), 95) < (0.04 if ground == 300 else 0.1)
    assert values["corner_to_centre"]["after"] == pytest.approx(even["before"], abs=0.012)
    nuclei, *_ = detect(tmp_path / "out", rows, channels=CHANNELS[:1])
    assert corner_share(nuclei, MEAN) == pytest.approx(values["corner_to_centre"]["after"], abs=0.02)
    assert values["corner_to_centre"]["before"] < 0.85


@pytest.mark.parametrize(
    ("count", "corners", "deviation", "why"),
    [
        (150, 0.7, 0.01, "they are too few to tell the light (150; 200 are needed): more fields help"),
        (900, 0.2, 0.01, "no smooth light leaves them even"),
        (900, 0.2, 0.8, "they differ too much to tell the light: more fields help"),
    ],
)
def test_why_the_light_is_not_corrected_is_true(count, corners, deviation, why):
    random = np.random.default_rng(0)
    rows, columns = random.uniform(0, SHAPE[0] - 1, count), random.uniform(0, SHAPE[1] - 1, count)
    zones = plate_illumination._zones(rows, columns, SHAPE)
    means = 1000 * random.lognormal(0, deviation, count) * np.where((zones >= 0) & (zones < 4), corners, 1)
    form = SHAPE, "uint16"
    field = plate_illumination.Nuclei(None, None, rows, columns, {"DNA": means})
    by_fields = plate_illumination.Illumination((1 / vignette() ** 2).astype(np.float32), {"fields": 9}, form)
    confronted = plate_illumination.confronted("DNA", by_fields, [field], ground_is_lit=True)
    assert (confronted.function == 1).all() and why in confronted.values["not_corrected"]
    shares = confronted.values["corner_to_centre"]
    assert shares["after"] == shares["before"]


def test_few_nuclei_that_contradict_their_ground_are_warned_of_and_nothing_is_corrected(tmp_path, caplog):
    rows = write_plate(tmp_path / "images", 12)
    for number, row in enumerate(rows, 1):
        light = planted(number, light=False).astype(float) - 300
        tifffile.imwrite(row[4], (1000 + np.minimum(light.clip(0), 2000) * vignette() ** 2).astype(np.uint16))
    record = illuminate(tmp_path / "out", rows, channels=[])
    (warning,) = record["warnings"]
    values = record["channels"]["DNA"]
    assert values["largest"] == 1 and values["by"] == "nothing: it is not corrected"
    assert values["corner_to_centre"]["after"] == values["corner_to_centre"]["before"]
    assert "DNA: its light is not corrected" in warning and "they are too few to tell the light (" in warning
    assert f"plate P1: {warning}" in caplog.messages


def test_images_that_are_too_small_or_of_no_usual_size_are_refused_in_one_line(tmp_path):
    rows = write_plate(tmp_path / "images", 2)
    tifffile.imwrite(rows[0][4], planted(1)[:100])
    with pytest.raises(InputError, match="plate P1: channel DNA: .* most have no common size and type"):
        illuminate(tmp_path / "out", rows)
    for row in rows:
        tifffile.imwrite(row[4], planted(1)[:20])
    with pytest.raises(InputError, match="20 x 320 px of uint16, are too small for illumination: auto"):
        illuminate(tmp_path / "out", rows)
    assert not (tmp_path / "out/illumination").exists()


def test_a_sample_of_which_nothing_can_be_read_fails_every_field(tmp_path):
    rows = write_plate(tmp_path / "images", 2)
    for row in rows:
        (tmp_path / row[4]).write_bytes(b"")
    record = illuminate(tmp_path / "out", rows)
    assert [values["file"] for values in record["channels"].values()] == [None, None]
    _, fields, _ = detect(tmp_path / "out", rows)
    assert fields.Image_Status.tolist() == ["failed"] * 2
    assert pq.read_metadata(tmp_path / "out/units/all.nuclei.parquet").num_rows == 0
