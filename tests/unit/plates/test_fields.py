"""What is measured in image files that hold planted nuclei."""

import faulthandler
import functools
import logging
import os
import signal

import numpy as np
import pytest
import tifffile

import detect_nuclei
from fieldwork import job, synthetic
from fieldwork.plates import fields, nuclei_table, tables
from fieldwork.plates.images import FieldImage, chosen_planes, images_of

DETECTION = {"method": "peaks", "sigma": 4, "min_distance": 6, "threshold_abs": 1000}
COUNTS = {(1, 1): 3, (1, 2): 5, (1, 3): 7, (2, 1): 4, (2, 2): 0, (2, 3): 9}  # (time point, z): nuclei planted there


def plane(count, seed=0):
    image, centres = synthetic.plant_field(np.random.default_rng(seed), shape=(160, 200), count=count)
    assert len(centres) == count
    return image, centres


def measure(path, *, timepoint=None, z=None, with_quality=False, ahead=False):
    image = FieldImage("C07", 3, timepoint, z, str(path))
    return collect([image], with_quality=with_quality, ahead=ahead)


def collect(images, *, with_quality=True, ahead=False):
    """Measure images as the script does; `ahead`: by workers that share what others have read."""
    return job.collect(
        functools.partial(fields.measure_field, detection=DETECTION, with_quality=with_quality),
        images,
        read=functools.partial(chosen_planes, channel="auto"),
        failed=fields.failed_field,
        label="plate p",
        noun="fields",
        all_may_fail=True,
        **{"mode": "fork"} if ahead else {"engine": "serial"},
    )


def write_stack(path, axes):
    """Write a page for each of COUNTS along the axes TZ, T or Z; return the (time point, z) of the pages."""
    places = [place for place in COUNTS if ("T" in axes or place[0] == 1) and ("Z" in axes or place[1] == 3)]
    pages = np.stack([plane(COUNTS[place])[0] for place in places])
    lengths = [len({place["TZ".index(axis)] for place in places}) for axis in axes]
    tifffile.imwrite(path, pages.reshape(*lengths, 160, 200), imagej=True, metadata={"axes": f"{axes}YX"})
    return places


@pytest.mark.parametrize("ahead", [False, True])
def test_planted_nuclei_are_found_where_they_were_planted(tmp_path, ahead):
    image, centres = plane(20)
    tifffile.imwrite(tmp_path / "field.tif", image, compression="zlib")
    (field,) = measure(tmp_path / "field.tif", with_quality=True, ahead=ahead)
    assert (field.well, field.site, field.timepoint, field.z) == ("C07", 3, None, None)
    assert field.error is None and field.shape == (160, 200)
    assert len(field.coordinates) == len(field.intensities) == 20
    assert synthetic.match(field.coordinates, centres, within=2) == 20
    assert (np.diff(field.intensities) <= 0).all() and field.intensities.min() > 1000
    assert field.quality["MeanIntensity"] == pytest.approx(image.mean())
    assert field.quality["MaxIntensity"] == image.max()


def test_quality_is_left_out_where_it_is_not_asked_for(tmp_path):
    tifffile.imwrite(tmp_path / "field.tif", plane(2)[0])
    assert measure(tmp_path / "field.tif", with_quality=False)[0].quality == {}


def test_an_empty_field_is_a_good_one_without_nuclei(tmp_path):
    tifffile.imwrite(tmp_path / "field.tif", plane(0)[0])
    (field,) = measure(tmp_path / "field.tif", with_quality=True)
    assert field.error is None and field.coordinates.shape == (0, 2) and field.shape == (160, 200)


def bad_files(folder):
    image = plane(5)[0]
    tifffile.imwrite(folder / "whole.tif", image)
    (folder / "truncated.tif").write_bytes((folder / "whole.tif").read_bytes()[:5000])
    (folder / "empty.tif").touch()
    (folder / "text.tif").write_text("no image\n")
    (folder / "folder.tif").mkdir()
    tifffile.imwrite(folder / "nan.tif", np.where(image > 4000, np.nan, image).astype("float32"))
    (folder / "link.tif").symlink_to("nowhere.tif")


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("truncated", "truncated"),
        ("empty", "empty"),
        ("text", "not a TIFF"),
        ("folder", "folder"),
        ("nan", "NaN"),
        ("link", "link"),
        ("absent", "no such file"),
    ],
)
def test_a_bad_image_is_one_failed_field_with_its_reason(tmp_path, name, reason, ahead):
    bad_files(tmp_path)
    (field,) = measure(tmp_path / f"{name}.tif", timepoint=2, z=4, with_quality=True, ahead=ahead)
    assert reason.lower() in field.error.lower()
    assert (field.well, field.site, field.timepoint, field.z) == ("C07", 3, 2, 4)
    assert field.path == str(tmp_path / f"{name}.tif")
    assert len(field.coordinates) == len(field.intensities) == 0 and not field.quality
    assert measure(tmp_path / "whole.tif")[0].error is None  # so it is the file, not the folder


@pytest.mark.parametrize("axes", ["TZ", "T", "Z"])
def test_every_page_is_a_field_at_its_place_on_the_files_axes(tmp_path, axes):
    places = write_stack(tmp_path / "stack.tif", axes)
    found = measure(tmp_path / "stack.tif")
    assert [len(field.coordinates) for field in found] == [COUNTS[place] for place in places]
    assert len({len(field.coordinates) for field in found}) == len(found)
    expected = [(t if "T" in axes else None, z if "Z" in axes else None) for t, z in places]
    assert [(field.timepoint, field.z) for field in found] == expected


@pytest.mark.parametrize(
    ("axes", "place", "expected"),
    [
        ("Z", {"timepoint": 8}, [(8, 1), (8, 2), (8, 3)]),
        ("T", {"z": 8}, [(1, 8), (2, 8)]),
        ("Z", {"z": 2}, None),
        ("T", {"timepoint": 2, "z": 1}, None),
        ("TZ", {"z": 2}, None),
        ("TZ", {"timepoint": 2}, None),
    ],
)
def test_the_names_place_joins_the_files_axes_or_contradicts_them(tmp_path, axes, place, expected):
    pages = write_stack(tmp_path / "stack.tif", axes)
    found = measure(tmp_path / "stack.tif", **place)
    if expected:
        assert [(field.timepoint, field.z) for field in found] == expected
        assert [field.error for field in found] == [None] * len(pages)
    else:
        (field,) = found
        assert f"{len(pages)} planes" in field.error and "1 is expected" in field.error
        assert (field.timepoint, field.z) == (place.get("timepoint"), place.get("z"))


def test_the_form_says_planes_size_type_and_colours(tmp_path):
    image = plane(5)[0]
    tifffile.imwrite(tmp_path / "grey.tif", image)
    tifffile.imwrite(tmp_path / "blue.tif", np.stack([image * 0, image * 0, image], axis=-1), photometric="rgb")
    write_stack(tmp_path / "stack.tif", "Z")
    forms = {name: {field.form for field in measure(tmp_path / f"{name}.tif")} for name in ("grey", "blue", "stack")}
    assert forms == {
        "grey": {"160 x 200 px of uint16"},
        "blue": {"160 x 200 px of uint16 in 3 colours, of which blue alone shows signal"},
        "stack": {"3 planes of 160 x 200 px of uint16"},
    }
    assert len(measure(tmp_path / "blue.tif")[0].coordinates) == 5  # the channel with the signal was taken


def test_an_image_with_a_fault_is_a_failed_field_and_its_file_is_not_opened(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", plane(3)[0])
    path = str(tmp_path / "a.tif")
    rows = [
        ("B02", 1, None, None, path),
        ("B02", 2, None, None, path, "2 files"),
        ("B03", 1, 4, 5, "", "no image of channel w1"),
        ("B03", 2, None, None, "", "no image of channel w1", ("b.tif", None)),
        ("B03", 3, None, None, path, ("b.tif", None)),
    ]
    images = images_of(rows, {path: "copy.tif"})
    assert [image.fault for image in images] == [None, "2 files", *["no image of channel w1"] * 2, None]
    assert [image.measured for image in images] == [(), (), (), ("b.tif", None), ("b.tif", None)]
    assert images[0].copy == images[4].copy == "copy.tif" and str(images[2]) == "well B03, site 1"
    good, *failed = collect(images_of(rows[:4], {}))
    assert good.error is None and [field.error for field in failed] == ["2 files", *["no image of channel w1"] * 2]
    table = tables.fields_of("p", failed).to_pylist()
    assert [(row["Metadata_Well"], row["Image_Status"], row["FileName_DNA"]) for row in table] == [
        ("B02", "failed", "a.tif"), ("B03", "failed", ""), ("B03", "failed", ""),
    ]  # fmt: skip
    assert (table[1]["Metadata_Timepoint"], table[1]["Metadata_ZPlane"]) == (4, 5)


def crash(*arguments, **options):
    faulthandler.disable()  # pytest's
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.parametrize("ahead", [False, True])
def test_an_image_that_crashed_the_reader_is_one_failed_field(ahead):
    images = [FieldImage("C07", 3, 2, 4, "images/a.tif")]
    options = {"failed": fields.failed_field, "label": "plate p", "noun": "fields", "all_may_fail": True}
    found = job.collect(fields.measure_field, images, read=crash, mode="fork" if ahead else "paths", **options)
    expected = fields.Field("C07", 3, 2, 4, "images/a.tif", error="crashed the reader (SIGSEGV)")
    assert tables.fields_of("p", found).equals(tables.fields_of("p", [expected]))
    assert nuclei_table.nuclei_of("p", found).num_rows == 0


@pytest.mark.parametrize(
    ("unit", "label"), [("all", "plate P"), ("B02", "plate P, unit B02"), ("B02_s4", "plate P, unit B02_s4")]
)
def test_messages_name_the_unit_where_a_plate_has_several(tmp_path, caplog, unit, label):
    tifffile.imwrite(tmp_path / "good.tif", plane(3)[0])
    with caplog.at_level(logging.INFO):
        detect_nuclei.main(
            images=[("B02", 4, None, None, str(tmp_path / f"{name}.tif")) for name in ("good", "absent")],
            copies={},
            calibration=None,
            outcome={name: tmp_path / f"{name}.parquet" for name in ("nuclei", "fields")},
            plate="P",
            unit=unit,
            channel="auto",
            nuclei_channel="DNA",
            measured=[],
            detection=DETECTION,
            drop_border=False,
            cells=None,
            folders=[],
            with_quality=False,
            on_bad_image="record",
            device="cpu",
            pool={"engine": "serial"},
            workers=1,
        )
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith(f"{label}: 1 of 2 fields failed, first {tmp_path}/absent.tif (well B02, site 4): ")
    assert f"{label}: 3 nuclei" in caplog.messages


def test_images_that_are_read_ahead_give_the_same_rows(tmp_path):
    write_stack(tmp_path / "stack.tif", "TZ")
    bad_files(tmp_path)
    names = ["stack", "whole", "truncated", "folder"]
    images = [FieldImage("B02", site, None, None, str(tmp_path / f"{n}.tif")) for site, n in enumerate(names)]
    direct, ahead = collect(images), collect(images, ahead=True)
    assert len(direct) == 6 + 3 and nuclei_table.nuclei_of("p", direct).num_rows == sum(COUNTS.values()) + 5
    assert nuclei_table.nuclei_of("p", ahead).equals(nuclei_table.nuclei_of("p", direct))
    assert tables.fields_of("p", ahead).equals(tables.fields_of("p", direct))
