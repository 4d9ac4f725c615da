"""A stack is calibrated on a sample of its frames; its nuclei are outlined with that and measured; no Snakemake."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
import zarr

import calibrate_stack
import measure_frames
import plot_stack
import plot_stack_calibration
from fieldwork import InputError, objects, segmentation, synthetic
from fieldwork.detection import calibration as detection_calibration
from fieldwork.detection import measured_tables
from fieldwork.plates import nuclei_table as plate_nuclei
from fieldwork.stacks import nuclei_table as stack_nuclei

AUTO = {"method": "auto", "diameter": None, "contrast": None}
PEAKS = {"method": "peaks", "sigma": 4, "min_distance": 6, "threshold_abs": 1000}
SHAPE, COUNTS = (160, 200), (5, 0, 9, 12, 7)
POOL = {"engine": "serial", "mode": "paths", "dask": "processes"}
OUTLINES = {"Nuclei_AreaShape_Area", "Nuclei_TouchesBorder"}


@pytest.fixture
def film():
    return [planted(seed, count) for seed, count in enumerate(COUNTS)]


def planted(seed, count):
    return synthetic.plant_field(np.random.default_rng(seed), shape=SHAPE, count=count)[0]


def write_folder(folder, pictures):
    """Write the frames of a stack as a folder of images; return its path."""
    path = folder / "film"
    path.mkdir()
    for number, picture in enumerate(pictures):
        if isinstance(picture, bytes):
            (path / f"{number:03}.tif").write_bytes(picture)
        else:
            tifffile.imwrite(path / f"{number:03}.tif", picture)
    return path


def calibrate(folder, path, *, detection=AUTO, pool=POOL, workers=1, folders=()):
    """Calibrate as the rule does; return the record."""
    record, picture = folder / "calibration.json", folder / "calibration.png"
    work = {"function": "nuclei", "detection": detection, "with_quality": True, "folders": folders}
    common = {"stack": "film", "path": str(path), "copy": str(path), "selection": {}, "work": work}
    calibrate_stack.main(outcome=record, pool=pool, workers=workers, **common)
    plot_stack_calibration.main(record=record, picture=picture, pool=pool, workers=workers, **common)
    assert picture.read_bytes().startswith(b"\x89PNG")
    return json.loads(record.read_text())


def measure(
    folder,
    path,
    *,
    detection=AUTO,
    channels=("DNA",),
    images="zarr",
    pool=POOL,
    workers=1,
    folders=(),
    on_bad_image="record",
    **more,
):
    """Measure as the rule does; return the tables of frames and nuclei."""
    work = {"function": "nuclei", "detection": detection, "with_quality": False, "folders": folders}
    measure_frames.main(
        stack="film",
        path=str(path),
        copy=str(path),
        calibration=folder / "calibration.json" if "diameter" in detection else None,
        selection={},
        work={**work, "with_labels": True, **more} if detection is not PEAKS else work,
        channels=None if detection is PEAKS else channels,
        images=images,
        frames_table=folder / "frames.csv",
        nuclei_table=folder / "nuclei.parquet",
        on_bad_image=on_bad_image,
        pool=pool,
        workers=workers,
    )
    return pd.read_csv(folder / "frames.csv"), pd.read_parquet(folder / "nuclei.parquet")


def written(folder):
    """Return the bytes of the outputs."""
    paths = [path for path in folder.rglob("*") if path.is_file() and "film" not in path.parts[-2]]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_what_was_decided_on_channels_is_in_the_calibration_the_tables_metadata_and_the_summary(tmp_path, film):
    path = tmp_path / "film.tif"
    pair = np.stack([np.stack([picture, np.zeros_like(picture)]) for picture in film])
    tifffile.imwrite(path, pair, imagej=True, metadata={"axes": "TCYX"})
    doubt = "its 2 channels have no names; number 0, the first, is taken: stack.channel names another"
    assert doubt in calibrate(tmp_path, path)["warnings"]
    frames, _ = measure(tmp_path, path)
    assert frames["Image_Count_Nuclei"].tolist() == list(COUNTS)
    assert json.loads(pq.read_schema(tmp_path / "nuclei.parquet").metadata[b"decided"]) == [doubt]
    assert json.loads((tmp_path / "summary.json").read_text()) == {"notes": [doubt]}
    tifffile.imwrite(path, np.stack(film), imagej=True, metadata={"axes": "TYX"})
    measure(tmp_path, path)
    assert not (tmp_path / "summary.json").exists()
    assert b"decided" not in pq.read_schema(tmp_path / "nuclei.parquet").metadata


@pytest.mark.parametrize("method", ["network", "classical"])
def test_frames_are_outlined_with_the_calibration_of_their_stack(tmp_path, film, method):
    path, detection = write_folder(tmp_path, film), AUTO | {"method": method}
    record = calibrate(tmp_path, path, detection=detection)
    calibration = detection_calibration.read(tmp_path / "calibration.json")
    assert calibration == segmentation.calibrate(film) and not record["warnings"]
    assert sorted(frame["frame"] for frame in record["frames"]) == list(range(len(film)))
    assert {frame["frame"]: frame["nuclei"] for frame in record["frames"]} == dict(enumerate(COUNTS))
    assert record["frames"][0]["file"] == "000.tif" and record["settings"] == {"detection": detection}
    frames, nuclei = measure(tmp_path, path, detection=detection)
    assert frames["Image_Count_Nuclei"].tolist() == list(COUNTS)
    labels = zarr.open_array(tmp_path / "labels.zarr", mode="r")
    assert (labels.shape, labels.dtype, labels.chunks) == ((len(film), *SHAPE), "uint32", (1, *SHAPE))
    for number, image in enumerate(film):
        expected, threshold, *flags, _ = segmentation.segment_field(image, calibration, method=method)
        np.testing.assert_array_equal(labels[number], expected)
        row, of_frame = frames.loc[number], nuclei[nuclei["Metadata_Frame"] == number]
        assert row["Threshold_FinalThreshold_Nuclei"] == threshold
        assert row[["Flag_OutOfFocus", "Flag_Saturated", "Flag_UnlikePlate"]].tolist() == flags
        assert of_frame["ObjectNumber"].tolist() == list(range(1, COUNTS[number] + 1))
        for nucleus in of_frame.to_dict("records"):
            rows, columns = np.nonzero(expected == nucleus["ObjectNumber"])
            assert nucleus["Nuclei_AreaShape_Area"] == len(rows)
            assert nucleus["Nuclei_Location_Center_Y"] == pytest.approx(rows.mean())
            assert nucleus["Nuclei_Location_Center_X"] == pytest.approx(columns.mean())
            assert nucleus["Nuclei_TouchesBorder"] == (0 in rows or 0 in columns)
    assert "Nuclei_Intensity_Peak" not in nuclei


def test_every_engine_and_number_of_workers_writes_the_same_bytes(tmp_path, film, monkeypatch):
    monkeypatch.setattr(measured_tables, "ROW_GROUP_ROWS", 10)
    monkeypatch.setattr(stack_nuclei, "FRAMES_AT_ONCE", 2)
    path, made = write_folder(tmp_path, film), []
    for engine, workers in (("serial", 1), ("pool", 2), ("pool", 3)):
        pool = POOL | {"engine": engine}
        calibrate(tmp_path, path, pool=pool, workers=workers)
        measure(tmp_path, path, pool=pool, workers=workers)
        made.append(written(tmp_path))
    assert {"calibration.json", "calibration.png", "frames.csv", "nuclei.parquet", "labels.zarr/zarr.json"} < set(
        made[0]
    )
    assert made[0] == made[1] == made[2]
    metadata = pq.ParquetFile(tmp_path / "nuclei.parquet").metadata
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [10, 10, 10, 3]


def as_type(image, kind):
    """Return a planted frame as pixels of another type, on that type's scale."""
    if kind == "uint8":
        return (image // 256).astype(np.uint8)
    return image.astype(np.float32) / 1000 - 0.5 if kind == "float32" else image.astype(kind)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32", "float64"])
def test_nuclei_have_the_numbers_that_measure_objects_gives_for_their_outlines(tmp_path, film, kind):
    film = np.stack([as_type(image, kind) for image in film])
    np.save(tmp_path / "film.npy", film)
    calibrate(tmp_path, tmp_path / "film.npy")
    _, nuclei = measure(tmp_path, tmp_path / "film.npy")
    labels = zarr.open_array(tmp_path / "labels.zarr", mode="r")[:]
    assert set(nuclei["Metadata_Frame"]) == {0, 2, 3, 4} and 25 < len(nuclei) < 40  # none in frame 1
    for number, image in enumerate(film):
        expected = objects.measure_objects(labels[number], {"DNA": image})
        of_frame = nuclei[nuclei["Metadata_Frame"] == number].reset_index(drop=True)
        pd.testing.assert_frame_equal(of_frame[list(expected)], expected, check_exact=True)
        if not expected.empty:
            scale = np.iinfo(kind).max if kind.startswith("uint") else 1
            means = [image[labels[number] == label].mean(dtype=float) / scale for label in expected["ObjectNumber"]]
            np.testing.assert_allclose(of_frame["Nuclei_Intensity_MeanIntensity_DNA"], means)
    assert nuclei["Nuclei_Intensity_MeanIntensity_DNA"].nunique() > 20


def test_the_columns_are_those_of_a_plate_and_true_features_are_listed(tmp_path, film):
    np.save(tmp_path / "film.npy", film[3])  # one frame
    calibrate(tmp_path, tmp_path / "film.npy")
    _, nuclei = measure(tmp_path, tmp_path / "film.npy", channels=["GFP"])
    assert len(nuclei) == COUNTS[3] and not nuclei["Metadata_Frame"].any()
    schema = pq.read_schema(tmp_path / "nuclei.parquet")
    of_plate = plate_nuclei.nuclei_schema(outlined=True, peaks=False, channels=["GFP"])
    assert schema.names[:2] == ["Metadata_Stack", "Metadata_Frame"] and schema.types[:2] == [pa.string(), pa.int64()]
    of_plate = [field for field in of_plate if not field.name.startswith("Metadata_")]
    assert list(schema)[2:] == of_plate and len(of_plate) > 45
    assert set(schema.types) == {pa.string(), pa.int64(), pa.float64(), pa.bool_()}
    features = json.loads(schema.metadata[b"features"])
    assert features == objects.features_of(schema.names) and len(features) > 30
    assert "Nuclei_Intensity_MeanIntensity_GFP" in features and "Nuclei_AreaShape_Area" in features


def test_without_channels_only_the_shape_is_measured(tmp_path, film):
    np.save(tmp_path / "film.npy", np.stack(film))
    calibrate(tmp_path, tmp_path / "film.npy")
    _, with_intensities = measure(tmp_path, tmp_path / "film.npy")
    _, nuclei = measure(tmp_path, tmp_path / "film.npy", channels=[])
    assert not [column for column in nuclei if "Intensity" in column] and len(nuclei) == sum(COUNTS)
    pd.testing.assert_frame_equal(nuclei, with_intensities[list(nuclei)])
    assert "Nuclei_AreaShape_MedianRadius" in nuclei


def test_a_float_frame_with_nan_or_infinity_is_a_failed_row_with_the_reason(tmp_path, film):
    film = np.stack([image.astype(np.float32) for image in film])
    film[0, 3, 4], film[4, 5, 6:8] = np.nan, np.inf
    np.save(tmp_path / "film.npy", film)
    calibrate(tmp_path, tmp_path / "film.npy")
    frames, nuclei = measure(tmp_path, tmp_path / "film.npy", pool=POOL | {"engine": "pool"}, workers=2)
    assert frames["Image_Status"].tolist() == ["failed", "ok", "ok", "ok", "failed"]
    reasons = [f"{count} of 32000 pixels are NaN or infinite" for count in (1, 2)]
    assert frames["Image_Error"].dropna().tolist() == reasons
    assert set(nuclei["Metadata_Frame"]) == {2, 3} and nuclei.notna().all(axis=None)


def test_labels_are_a_tiff_or_left_out_where_that_is_asked_for_and_gone_where_peaks_are_found(tmp_path, film):
    path = write_folder(tmp_path, film)
    calibrate(tmp_path, path)
    measure(tmp_path, path)
    labels = zarr.open_array(tmp_path / "labels.zarr", mode="r")[:]
    measure(tmp_path, path, images="tiff")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "labels.tif"), labels)
    assert not (tmp_path / "labels.zarr").exists()
    _, nuclei = measure(tmp_path, path, with_labels=False)
    assert not (tmp_path / "labels.tif").exists() and set(nuclei) > OUTLINES
    measure(tmp_path, path)
    frames, nuclei = measure(tmp_path, path, detection=PEAKS)
    assert not (tmp_path / "labels.zarr").exists() and "Nuclei_Intensity_Peak" in nuclei
    assert not OUTLINES & set(nuclei) and not [column for column in frames if column.startswith(("Flag_", "Thres"))]


def test_unreadable_and_odd_frames_are_rows_with_a_reason_and_have_no_labels(tmp_path, film, caplog):
    odd = film[3][:100]
    path = write_folder(tmp_path, [film[0], b"", odd, film[2], film[4].astype(np.float32), film[3]])
    record = calibrate(tmp_path, path)
    assert sorted(frame["frame"] for frame in record["passed_over"]) == [1, 2, 4]
    caplog.clear()
    frames, nuclei = measure(tmp_path, path)
    assert frames["Image_Status"].tolist() == ["ok", "failed", "failed", "ok", "failed", "ok"]
    reasons = frames["Image_Error"]
    assert "empty" in reasons[1]
    usual = "the stack's frames are 160 x 200 px of uint16"
    assert reasons[2] == f"wrong shape or type: found 100 x 200 px of uint16, {usual}"
    assert reasons[4] == f"wrong shape or type: found 160 x 200 px of float32, {usual}"
    assert "stack film: 3 of 6 frames failed, first" in caplog.text
    assert set(nuclei["Metadata_Frame"]) == {0, 3, 5}
    labels = zarr.open_array(tmp_path / "labels.zarr", mode="r")[:]
    assert [image.max() for image in labels] == [5, 0, 0, 9, 0, 12]
    with pytest.raises(InputError, match=r"stack film: .*frame 1\) failed"):
        measure(tmp_path, path, on_bad_image="stop")


def test_peaks_are_not_looked_for_in_frames_of_another_size_or_type(tmp_path, film):
    path = write_folder(tmp_path, [film[0], film[1] >> 8, film[2], film[3][:100], film[3]])
    frames, nuclei = measure(tmp_path, path, detection=PEAKS)
    assert frames["Image_Status"].tolist() == ["ok", "ok", "ok", "failed", "ok"]  # the second has zeros of 16 bits
    tifffile.imwrite(path / "001.tif", (film[1] >> 8).astype(np.uint8))
    frames, nuclei = measure(tmp_path, path, detection=PEAKS)
    assert frames["Image_Status"].tolist() == ["ok", "failed", "ok", "failed", "ok"]
    assert frames["Image_Error"][1].startswith("wrong shape or type: found 160 x 200 px of uint8, the stack's frames")
    assert set(nuclei["Metadata_Frame"]) == {0, 2, 4}


def test_without_a_type_that_most_frames_have_none_is_measured(tmp_path, film):
    path = write_folder(tmp_path, [film[0], film[2], *((film[n] >> 8).astype(np.uint8) for n in (3, 4))])
    calibrate(tmp_path, path)
    for detection in (PEAKS, AUTO):
        with pytest.raises(InputError, match="no type is that of most: 2 of uint16, 2 of uint8"):
            measure(tmp_path, path, detection=detection)


@pytest.mark.parametrize(("function", "images"), [("numpy.max", False), ("numpy.square", True)])
def test_functions_of_the_users_are_not_given_odd_frames(tmp_path, film, function, images):
    first, odd = (film[0] >> 8).astype(np.uint8), film[3][:100]
    path = write_folder(tmp_path, [first, film[1], b"", odd, film[3], film[4]])
    measure_frames.main(
        stack="film",
        path=str(path),
        copy=str(path),
        calibration=None,
        selection={},
        work={"function": function, "arguments": {}, "folders": []},
        channels=None,
        images="tiff",
        frames_table=tmp_path / "frames.csv",
        nuclei_table=None,
        on_bad_image="record",
        pool=POOL,
        workers=1,
    )
    frames = pd.read_csv(tmp_path / "frames.csv")
    assert frames["Image_Status"].tolist() == ["failed", "ok", "failed", "failed", "ok", "ok"]
    assert frames["Image_Error"][0] == (
        "wrong shape or type: found 160 x 200 px of uint8, the stack's frames are 160 x 200 px of uint16"
    )
    if not images:
        assert frames["amax" if "amax" in frames else "max"].dropna().tolist() == [film[n].max() for n in (1, 3, 4)]
        return
    written_images = tifffile.imread(tmp_path / "frames.tif")
    assert not written_images[[0, 2, 3]].any()
    np.testing.assert_array_equal(written_images[[1, 4, 5]], np.square([film[n] for n in (1, 3, 4)]))


def test_frames_of_many_sizes_are_all_outlined_and_padded(tmp_path):
    film = [
        synthetic.plant_field(np.random.default_rng(0), shape=(100 + 20 * n, 160 - 10 * n), count=6)[0]
        for n in range(4)
    ]
    path = write_folder(tmp_path, film)
    calibrate(tmp_path, path)
    frames, _ = measure(tmp_path, path)
    assert frames["Image_Count_Nuclei"].tolist() == [6] * 4
    labels = zarr.open_array(tmp_path / "labels.zarr", mode="r")[:]
    assert labels.shape == (4, 160, 160)
    for image, padded in zip(film, labels, strict=True):
        height, width = image.shape
        assert padded.max() == 6 == padded[:height, :width].max()
        assert not padded[height:].any() and not padded[:, width:].any()


def test_a_stack_without_nuclei_is_said_so_once_and_counts_none(tmp_path, caplog):
    rng = np.random.default_rng(0)
    path = write_folder(tmp_path, [rng.normal(300, 20, SHAPE).astype(np.uint16) for _ in range(4)])
    (warning,) = calibrate(tmp_path, path)["warnings"]
    assert warning.startswith("no nucleus stands out from the noise") and "4 frames" in warning
    frames, nuclei = measure(tmp_path, path)
    assert frames["Image_Count_Nuclei"].tolist() == [0] * 4 and not len(nuclei)
    schema = pq.read_schema(tmp_path / "nuclei.parquet")
    assert schema == stack_nuclei.nuclei_schema(["DNA"]) and pa.null() not in schema.types
    assert {"Nuclei_Intensity_MeanIntensity_DNA", *OUTLINES} < set(nuclei)
    assert not zarr.open_array(tmp_path / "labels.zarr", mode="r")[:].any()
    assert "stack film: no nucleus in any of 4 frames" in caplog.text and "threshold" not in caplog.text


def test_of_a_long_stack_frames_from_its_beginning_to_its_end_are_read_until_enough_have_nuclei(tmp_path):
    np.save(tmp_path / "long.npy", np.stack([planted(seed % 7, 8) for seed in range(150)]))
    record = calibrate(tmp_path, tmp_path / "long.npy", pool=POOL | {"engine": "pool"}, workers=2)
    numbers = [frame["frame"] for frame in record["frames"]]
    assert len(numbers) == len(set(numbers)) == 24 and "file" not in record["frames"][0]
    assert {number // 25 for number in numbers} == set(range(6))  # of each sixth
    np.save(tmp_path / "long.npy", np.full((150, 40, 50), 7, np.uint8))
    record = calibrate(tmp_path, tmp_path / "long.npy")
    assert len({frame["frame"] for frame in record["frames"]}) == 96


def test_a_function_of_the_users_finds_the_nuclei_of_frames(tmp_path, film):
    path = write_folder(tmp_path, film)
    (tmp_path / "level.py").write_text(
        "from scipy import ndimage\n\n\ndef label(image, path, calibration, *, level):\n"
        "    if path.endswith('003.tif'):\n        return image / 2\n    return ndimage.label(image > level)[0] * 3\n"
    )
    detection = {"method": "level.label", "function": "level.label", "arguments": {"level": 2000}}
    calibrate(tmp_path, path, detection=detection, folders=[str(tmp_path)])
    frames, nuclei = measure(tmp_path, path, detection=detection, folders=[str(tmp_path)], drop_border=True)
    assert frames["Image_Count_Nuclei"].fillna(-1).tolist() == [5, 0, 9, -1, 7]
    assert (
        "level.label failed: ValueError: gave an array of shape (160, 200) and type float64" in frames["Image_Error"][3]
    )
    assert frames["Flag_Saturated"].isna().all() and frames["Threshold_FinalThreshold_Nuclei"].isna().all()
    assert set(nuclei) > OUTLINES
    labels = zarr.open_array(tmp_path / "labels.zarr", mode="r")
    np.testing.assert_array_equal(labels[0] > 0, film[0] > 2000)


def test_the_picture_shows_the_outlines_of_its_frames(tmp_path, film, monkeypatch):
    path = write_folder(tmp_path, film)
    calibrate(tmp_path, path)
    drawn, over_time = [], plot_stack.plots.over_time
    monkeypatch.setattr(
        plot_stack.plots, "over_time", lambda *given, **more: drawn.append(given) or over_time(*given, **more)
    )
    for images, name in (("zarr", "labels.zarr"), ("tiff", "labels.tif")):
        measure(tmp_path, path, images=images)
        plot_stack.main(
            stack="film",
            path=str(path),
            selection={},
            frames_table=tmp_path / "frames.csv",
            nuclei_table=tmp_path / "nuclei.parquet",
            labels=str(tmp_path / name),
            picture=tmp_path / "frames.png",
        )
        _, columns, shown = drawn.pop()
        assert columns == {"Image_Count_Nuclei": "nuclei"}
        assert [(number, len(outlines)) for number, _, outlines in shown] == list(enumerate(COUNTS))
        assert (tmp_path / "frames.png").read_bytes().startswith(b"\x89PNG")
