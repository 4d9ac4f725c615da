"""A plate of the sheet: its images dealt out to units, and a report on every file."""

import os
import re
import shutil

import pytest

from fieldwork import InputError
from fieldwork.inputs import plates
from fieldwork.inputs.remote import Remote
from fieldwork.planning.files import Files

TIMED = {"timed": r"(?P<well>[A-P]\d\d)_s(?P<site>\d+)_t(?P<t>\d+)z(?P<z>\d+)_(?P<channel>w\d)\.tif$"}
UNIT = r"all|[A-Z]+\d+(_s\d+)?"  # what rules/common.smk lets a unit be called


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def open_plate(images, *, fan_out="plate", regexes=None, generated=frozenset(), most_failed=1, **row):
    row = {None: "config/plates.tsv, line 4", "plate": "P1", "images": images, **row}
    return plates.open_plate(
        row,
        channel="auto",
        regexes=regexes or {},
        fan_out=fan_out,
        results="results",
        generated=generated,
        most_failed=most_failed,
    )


WELLS = ["B02", "B11", "H12"]
SITES = [1, 2, 9, 10, 11]
FRAMES = [(1, 1), (1, 2), (2, 1), (2, 10)]  # (time point, z)


@pytest.mark.parametrize(("fan_out", "units"), [("plate", 1), ("well", 3), ("field", 15)])
def test_units_hold_every_nuclei_image_once_and_in_the_order_of_the_tables(here, fan_out, units):
    expected = [
        (well, site, t, z, f"images/{well}_s{site}_t{t}z{z}_w1.tif")
        for well in WELLS
        for site in SITES
        for t, z in FRAMES
    ]
    for *_, path in expected[::-1]:
        touch(here, path, path.replace("w1", "w2"))
    plate = open_plate("images", fan_out=fan_out, regexes=TIMED, layout="timed")
    found = [(image.well, image.site, image.timepoint, image.z, image.path) for image in plate.images]
    assert found == expected and plate.channel == "w1"
    assert len(plate.units) == units and all(re.fullmatch(UNIT, unit) for unit in plate.units)
    for unit, images in plate.units.items():
        for image in images:
            assert unit == {"plate": "all", "well": image.well, "field": f"{image.well}_s{image.site}"}[fan_out]


@pytest.mark.parametrize("requested", ["w2", "W2"])
def test_the_sheets_channel_decides_for_its_plate(here, requested):
    touch(here, *(f"images/P_B02_s{site}_w{channel}.tif" for site in (1, 2) for channel in (1, 2)))
    plate = open_plate("images", nuclei_channel=requested)
    assert plate.channel == "w2"
    assert [image.path for image in plate.images] == ["images/P_B02_s1_w2.tif", "images/P_B02_s2_w2.tif"]


def test_an_absent_folder_is_named_with_the_nearest_one_there(here):
    touch(here, "images/Week1_22141/a.tif", "images/other/a.tif")
    with pytest.raises(InputError) as caught:
        open_plate("images/Week1_22124")
    message = str(caught.value)
    assert message.startswith("config/plates.tsv, line 4: plate 'P1'")
    assert "from 'images/Week1_22124', which does not exist." in message and "'images/Week1_22141'" in message
    assert str(here) in message and "images/other" not in message


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"platemap": "absent.csv"}, "absent.csv"),
        ({"layout": "imagexpres"}, "imagexpress"),
        ({"nuclei_channel": "w7"}, "w1, w2"),
        ({"regexes": {"mine": "("}, "layout": "mine"}, "layouts.mine"),
    ],
)
def test_what_a_row_names_wrongly_is_refused_at_its_line(here, row, found):
    touch(here, "images/P_B02_s1_w1.tif", "images/P_B02_s1_w2.tif")
    with pytest.raises(InputError, match=f"^config/plates.tsv, line 4: plate 'P1'(?s:.*){re.escape(found)}"):
        open_plate(**{"images": "images", **row})


def image_list(folder, names):
    lines = ["FileName_DNA,PathName_DNA,Metadata_Well,Metadata_Site"]
    lines += [f"{name},images,B02,{site}" for site, name in enumerate(names, 1)]
    (folder / "list.csv").write_text("\n".join(lines) + "\n")


def test_an_image_list_that_names_an_absent_image_is_refused_with_the_nearest_one(here):
    touch(here, "images/field_1.tif")
    image_list(here, ["field_1.tif", "field_l.tif"])
    with pytest.raises(InputError) as caught:
        open_plate("list.csv")
    message = str(caught.value)
    assert message.startswith("list.csv: well B02, site 2")
    assert "'images/field_l.tif', which does not exist." in message and "'images/field_1.tif'" in message


def test_images_that_a_rule_makes_need_not_be_there_yet_but_all_others_do(here):
    touch(here, "images/a.tif")
    image_list(here, ["a.tif", "b.tif"])
    plate = open_plate("list.csv", generated={"images/b.tif"})
    assert [image.path for image in plate.images] == ["images/a.tif", "images/b.tif"]
    image_list(here, ["a.tif", "b.tif", "c.tif"])
    with pytest.raises(InputError, match="c.tif"):
        open_plate("list.csv", generated={"images/b.tif"})


def test_the_account_counts_and_lists_every_file(here):
    touch(here, *(f"images/P_B02_s{site}_w{channel}.tif" for site in (1, 2, 3) for channel in (1, 2)))
    touch(here, "images/P_B03_s1_w1.tif", "images/P_B10_s1_w1.tif")
    holes = ["images/P_C04_s1_w2.tif", "images/P_C04_s2_w2.tif"]
    thumbnails = ["images/P_B02_s1_w1_thumb.tif"]
    unmatched = ["images/overview.tif", "images/focus map.png", "images/montage.jpg"]
    duplicates = ["images/again/P_B02_s1_w1.tif"]
    touch(here, *holes, *thumbnails, *unmatched, *duplicates, "images/notes.txt")
    (here / "map.csv").write_text("well,dose\nD06,2\nB02,1\nD05,2\n")
    plate = open_plate("images", platemap="map.csv")
    headline, details = plates.file_report(plate)
    assert headline.startswith("plate P1, layout metaxpress: 4 image(s) of channel w1 in 4 well(s)")
    # w2 of three sites of B02 and two of C04; no count is without its images; B02 site 1 is there twice
    counted = ("5 of other channels", "1 thumbnail", "3 whose names match no layout", "1 dupl")
    for said in (*counted, "3 failed field(s), as the image is missing or there twice, first in well B02"):
        assert f", {said}" in headline
    assert "without that channel" not in headline  # C04's two are failed fields, and count once
    listed = "\n".join(details)
    skipped = thumbnails + unmatched
    assert sum(any(line.endswith(f": {path}") for line in details) for path in skipped) == len(skipped)
    assert len([line for line in details if line.startswith("duplicate, skipped: images/")]) == 1
    assert "in the platemap, without images: D05 D06" in details
    assert "with images, not in the platemap: B03 B10 C04" in details
    assert sum(line.startswith("failed: well C04") for line in details) == 2
    assert ".txt" in listed  # what is no image is counted too
    images = [*(image.path for image in plate.scan.images), *skipped, *plate.scan.duplicates]
    everything = [str(path) for path in (here / "images").rglob("*.*") if path.suffix != ".txt"]
    assert sorted(images) == sorted(path.removeprefix(f"{here}/") for path in everything)


def test_a_whole_plate_is_accounted_for_without_zeros(here):
    touch(here, "images/P_B02_s1_w1.tif", "images/P_B02_s2_w1.tif")
    headline, details = plates.file_report(open_plate("images", layout="metaxpress"))
    assert headline == "plate P1, layout metaxpress: 2 image(s) of channel w1 in 1 well(s)"
    assert details == []


@pytest.mark.parametrize("name", ["plate.czi", "plate.tif", "plate.ND2"])
def test_one_file_of_images_is_no_plate(here, name):
    touch(here, name)
    with pytest.raises(InputError, match=f"'{name}' is one file of images; expected a folder of TIFF files"):
        open_plate(name)


def test_a_plate_of_the_wrong_format_is_refused(here):
    touch(here, "images/P_B02_s1_w1.tif", "images/P_I03_s1_w1.tif")
    assert len(open_plate("images", plate_format="384").images) == 2
    with pytest.raises(InputError, match="a plate of 96 wells .column 'plate_format'. has no well I03; found 1 such"):
        open_plate("images", plate_format="96")


def test_a_channel_that_was_taken_at_fewer_planes_is_not_missing(here):
    touch(here, *(f"images/ZStep_{z}/P_B0{well}_s1_w2.tif" for z in (1, 2, 3) for well in (2, 3)))
    touch(here, *(f"images/ZStep_2/P_B0{well}_s1_w1.tif" for well in (2, 3)))
    plate = open_plate("images")
    assert plate.channel == "w1" and [image.z for image in plate.images] == [2, 2]
    (here / "images/ZStep_2/P_B03_s1_w1.tif").unlink()
    faults = [(image.well, image.z) for image in open_plate("images").images if image.fault]
    assert faults == [("B03", 2)]
    (here / "images/ZStep_2/P_B03_s1_w2.tif").unlink()
    faults = [(image.well, image.z) for image in open_plate("images").images if image.fault]
    assert faults == [("B03", 1), ("B03", 3)]


def test_a_plate_without_an_image_is_refused_at_its_line(here):
    touch(here, "images/P_B02_s1_w1_thumb.tif", "images/notes.txt")
    with pytest.raises(InputError, match="^config/plates.tsv, line 4: plate 'P1': 'images': found only 1 thumbnail"):
        open_plate("images")


LOST = {
    "unmatched": ["images/P_B02_s1_w1.tif", "images/overview.tif"],
    "duplicates": ["images/P_B02_s1_w1.tif", "images/again/P_B02_s1_w1.tif", "images/P_B03_s1_w1.tif"],
    "another channel alone": ["images/P_B02_s1_w1.tif", "images/P_B03_s1_w2.tif"],
}


@pytest.mark.parametrize("names", LOST.values(), ids=LOST)
def test_a_report_warns_of_files_that_are_lost_and_its_log_lists_them(here, capsys, names):
    touch(here, *names)
    plate = open_plate("images")
    log = here / "logs/plates/P1/images.log"
    plates.report(plate, log)
    plates.write_log(plate, log)
    headline, details = plates.file_report(plate)
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err == f"WARNING {headline} ({log})\n"
    assert details and log.read_text() == "\n".join([headline, *details]) + "\n"


def test_a_report_warns_of_a_platemap_without_any_well_of_the_images(here, capsys):
    touch(here, "images/P_B02_s1_w1.tif")
    for well, is_doubtful in (("C02", True), ("B02", False)):
        (here / "map.csv").write_text(f"well,dose\n{well},1\n")
        plate = open_plate("images", platemap="map.csv")
        plates.report(plate, here / "images.log")
        assert plate.scan.warnings == []  # nothing that is decided for the images: tables do not depend on it
        said = "WARNING plate P1: no well with images is in its platemap map.csv"
        assert (said in capsys.readouterr().err) == is_doubtful


def test_a_report_of_a_whole_plate_is_a_line_without_warning(here, capsys):
    touch(here, "images/P_B02_s1_w1.tif", "images/P_B02_s1_w2.tif")
    plate = open_plate("images", layout="metaxpress")
    plates.report(plate, here / "images.log")
    plates.write_log(plate, here / "images.log")
    headline, _ = plates.file_report(plate)
    assert capsys.readouterr().err.rstrip() == headline and (here / "images.log").read_text() == f"{headline}\n"


def test_a_log_takes_names_that_are_no_text(here):
    touch(here, "images/P_B02_s1_w1.tif", os.fsdecode(b"images/over\xffview.tif"))
    plates.write_log(open_plate("images"), here / "images.log")
    assert "over\\udcffview.tif" in (here / "images.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["P{1}", "P}", "P<1", "{unit}", "a\nb", "a\rb", "q\"'q", " a", "=1"])
def test_an_image_or_platemap_of_any_name_in_utf_8_is_taken_and_snakemake_is_told_of_those_that_it_takes(here, name):
    touch(here, f"images/{name}_B02_s1_w1.tif", "images/P_B02_s2_w1.tif")
    (here / f"{name.strip()}.csv").write_text("well,drug\nB02,x\n")
    plate = open_plate("images", platemap=f"{name.strip()}.csv")
    assert [image.path for image in plate.images] == [f"images/{name}_B02_s1_w1.tif", "images/P_B02_s2_w1.tif"]
    assert [image.fault for image in plate.images] == [None, None]
    told = Files(Remote(None, asks=False)).newest([image.path for image in plate.images[:1]])
    assert told == ([] if {*"{}<>\n"} & {*name} else [f"images/{name}_B02_s1_w1.tif"])


def test_an_image_whose_name_is_no_utf_8_fails_alone_and_its_row_can_be_written(here):
    touch(here, "images/P_B02_s1_w1.tif", "images/P_B02_s2_w1.tif", os.fsdecode(b"images/P\xff_B03_s1_w1.tif"))
    *good, bad = open_plate("images", most_failed=0.05).images
    assert not any(image.fault for image in good) and bad.path == "images/P\\xff_B03_s1_w1.tif"
    assert bad.fault.startswith("the name 'images/P\\\\xff_B03_s1_w1.tif' has bytes that are no UTF-8 text")


def test_names_of_files_that_are_not_read_do_not_matter(here):
    touch(here, "images/P_B02_s1_w1.tif", "images/{P}_B02_s1_w2.tif", "images/<overview>.tif", "images/{}_thumb.tif")
    assert [image.path for image in open_plate("images").images] == ["images/P_B02_s1_w1.tif"]


@pytest.mark.parametrize(("steps", "projection"), [((1, 2), 0), ((0, 1), -1)])
def test_images_without_a_plane_beside_images_with_one_are_projections(here, steps, projection):
    touch(here, "images/x_B02_s1_w1.tif", *(f"images/ZStep_{step}/x_B02_s1_w1.tif" for step in steps))
    plate = open_plate("images")
    assert [(image.z, "ZStep" in image.path) for image in plate.images] == [
        (projection, False),
        *((step, True) for step in steps),
    ]
    _, details = plates.file_report(plate)
    assert f"1 images without a z plane beside images with one: taken for projections, plane {projection}" in details


def test_images_of_which_none_has_a_plane_have_none(here):
    touch(here, "images/x_B02_s1_w1.tif", "images/x_B02_s2_w1.tif")
    assert {image.z for image in open_plate("images").images} == {None}


@pytest.mark.parametrize(
    ("channels", "row", "warned"),
    [
        (("GFP", "mCherry"), {}, True),
        (("GFP", "DAPI"), {}, False),
        (("w1", "w2"), {}, False),
        (("GFP", "mCherry"), {"nuclei_channel": "GFP"}, False),
        (("GFP",), {}, False),
    ],
)
def test_stains_of_which_none_is_of_dna_are_a_doubt_unless_the_sheet_chooses(here, channels, row, warned):
    touch(here / "images", *(f"B02_s1_{channel}.tif" for channel in channels))
    regexes = {"own": r"(?P<well>B\d\d)_s(?P<site>\d)_(?P<channel>\w+)\.tif$"}
    warnings = open_plate("images", regexes=regexes, **row).scan.warnings
    assert any("no channel is named like a DNA stain (GFP, mCherry)" in warning for warning in warnings) == warned


@pytest.mark.parametrize("given", [{}, {"nuclei_channel": "DAPI"}])
def test_several_channels_that_are_named_like_a_dna_stain_are_a_doubt_unless_the_sheet_chooses(here, given):
    touch(here / "images", *(f"A{column}_1_1_1_{name}_001.tif" for column in (1, 2) for name in ("DAPI", "Tsf[DAPI]")))
    plate = open_plate("images", **given)
    assert plate.channel == "DAPI"
    expected = "several channels are named like a DNA stain (DAPI, Tsf[DAPI]); nuclei are looked for in DAPI"
    assert [warning.split(":")[0] for warning in plate.scan.warnings] == ([] if given else [expected])


def test_an_image_without_a_time_point_beside_others_with_one_is_told_of(here):
    touch(here / "images", *(f"TimePoint_{time}/x_B02_s1_w1.tif" for time in (1, 2)), "x_B03_s1_w1.tif")
    assert open_plate("images").scan.warnings == []
    touch(here / "images", "x_B02_s1_w1.tif")
    (warning,) = open_plate("images").scan.warnings
    assert warning.startswith(
        "1 fields have an image without a time point beside those with one, first well B02, site 1"
    )


def test_a_line_without_a_plane_beside_others_with_one_is_told_of(here):
    touch(here, "a.tif", "b.tif", "c.tif")
    lines = [
        "FileName_DNA,Metadata_Well,Metadata_Site,Metadata_ZPlane",
        "a.tif,B02,1,1",
        "b.tif,B02,1,",
        "c.tif,B03,1,",
    ]
    (here / "list.csv").write_text("\n".join([*lines, ""]))
    (warning,) = open_plate("list.csv").scan.warnings
    assert warning.startswith("1 fields have an image without a z plane beside those with one, first well B02, site 1")


def of_planes(here, folders, **options):
    """Open a plate of MetaXpress's folders of z steps; return z, and plane and path of the images of a well."""
    touch(here / "images", *(f"{folder}x_{well}_s1_w1.tif" for folder in folders for well in ("B02", "B03")))
    row = {None: "config/plates.tsv, line 4", "plate": "P1", "images": "images"}
    opened = plates.open_plate(row, channel="auto", regexes={}, fan_out="plate", results="results", **options)
    return opened.z, [(image.z, image.fault or image.path) for image in opened.images if image.well == "B02"]


STEPS = ["ZStep_0/", "ZStep_1/", "ZStep_2/"]


def test_a_projection_is_metaxpress_step_0_or_the_image_without_a_plane(here):
    assert of_planes(here, STEPS, z="projection") == (0, [(0, "images/ZStep_0/x_B02_s1_w1.tif")])
    for folder in (here / "images").iterdir():
        folder.rename(here / folder.name)
    assert of_planes(here, ["", "ZStep_1/", "ZStep_2/"], z="projection") == (0, [(0, "images/x_B02_s1_w1.tif")])


def test_a_plane_by_its_number_leaves_out_others_and_a_field_without_it_fails(here):
    assert of_planes(here, STEPS, z=2) == (2, [(2, "images/ZStep_2/x_B02_s1_w1.tif")])
    (here / "images/ZStep_2/x_B02_s1_w1.tif").unlink()
    touch(here, "images/ZStep_2/x_B04_s1_w1.tif", "images/ZStep_1/x_B03_s1_w2.tif")
    row = {None: "config/plates.tsv, line 4", "plate": "P1", "images": "images"}
    opened = plates.open_plate(row, channel="auto", regexes={}, fan_out="plate", results="results", z=2, most_failed=1)
    assert [(image.well, image.fault) for image in opened.images] == [
        ("B02", "no image of z plane 2; there are planes 0, 1 (nuclei.z)"),
        ("B03", None),
        ("B04", None),
    ]
    headline, details = plates.file_report(opened)
    others = [
        line for line in details if line.startswith("of another z plane than 2, skipped (nuclei.z): images/ZStep_")
    ]
    assert len(others) == 4 and "4 of other z planes than 2 (nuclei.z), 1 of other channels" in headline
    assert "without that channel" not in headline and not any("no image of channel" in line for line in details)


def test_without_a_projection_by_the_names_one_is_refused(here):
    with pytest.raises(InputError, match=r"nuclei.z is projection, but by the names no image is one; .* planes 1, 2"):
        of_planes(here, STEPS[1:], z="projection")
    shutil.rmtree(here / "images")
    assert of_planes(here, [""], z="projection")[0] == "projection"  # none has a plane by its name


def test_rows_with_one_folder_take_the_images_with_their_names(here):
    touch(here / "in", "P1_B02_s1_w1.tif", "P1_B03_s1_w1.tif", "P2_B04_s1_w1.tif")
    row = {None: "config/plates.tsv, line 2"}
    rows = [{**row, "plate": "P1", "images": "in"}, {**row, "plate": "P2", "images": "in/"}]
    opened = plates.Plates(rows, channel="auto", regexes={}, fan_out="plate", results="results")
    assert {name: [image.well for image in plate.images] for name, plate in opened.items()} == {
        "P1": ["B02", "B03"],
        "P2": ["B04"],
    }
    assert ["1 images were left out" in opened["P1"].scan.warnings[0], len(opened["P1"].scan.warnings)] == [True, 1]


def test_rows_with_one_folder_whose_names_are_not_there_take_all_images(here):
    touch(here / "in", "P1_B02_s1_w1.tif", "P1_B03_s1_w1.tif")
    row = {None: "config/plates.tsv, line 2", "images": "in"}
    rows = [{**row, "plate": name} for name in ("P1", "P1 by peaks", "other")]
    opened = plates.Plates(rows, channel="auto", regexes={}, fan_out="plate", results="results")
    assert [len(plate.images) for plate in opened.values()] == [2, 2, 2]
    assert not any(plate.scan.warnings for plate in opened.values())
