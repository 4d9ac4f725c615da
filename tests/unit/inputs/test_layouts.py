"""Layouts: every name below is one that a real instrument wrote, or is planted here with a known answer."""

import os
import random
import re
import sys
import uuid
from pathlib import Path

import pytest

from fieldwork import InputError
from fieldwork.inputs import layouts
from fieldwork.inputs.layouts import Image
from workspace import DATA, REPOSITORY

PLATES = DATA / "plates"
real_plates = pytest.mark.skipif(not PLATES.is_dir(), reason=f"no real plates in {PLATES}")
GUID = "66923EBB-9960-4952-8955-D1721D112EE2"  # begins with digits, as one of faim-ipa's


def plant(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def places(scan):
    """Everything that a scan says of its images, but their paths."""
    return [image[1:6] for image in scan.images]


def faults(scan):
    """Well, site and fault of images that are not to be read."""
    return [(image.well, image.site, image.fault) for image in scan.images if image.fault]


# ---------------------------------------------------------------------------------------- names of real files

REAL_NAMES = [
    # bbbc021: the four families of BBBC021v1
    ("bbbc021", f"Week1_150607_B02_s4_w1{GUID}.tif", ("B02", 4, "w1", None, None)),
    ("bbbc021", f"G10_s1_w2{GUID}.tif", ("G10", 1, "w2", None, None)),
    ("bbbc021", f"Week7_7__G10_s1_w4{GUID}.tif", ("G10", 1, "w4", None, None)),
    ("bbbc021", f"Week8_4sites_F10_s1_w1{GUID}.tif", ("F10", 1, "w1", None, None)),
    # imagexpress: faim-ipa; CellProfiler#505 (single site, single channel); pharmbio/omero; MoBIE
    (
        "imagexpress",
        "2023-02-21/1334/ZStep_1/Projection-Mix_E07_s2_w2045200D6-DAE1-4224-AFDE-9EFD107D85EB.tif",
        ("E07", 2, "w2", None, 1),
    ),
    (
        "imagexpress",
        f"2023-02-21/1334/TimePoint_3/ZStep_12/Projection-Mix_E07_s2_w2{GUID}.tif",
        ("E07", 2, "w2", 3, 12),
    ),
    (
        "imagexpress",
        "2013-03-12/38030/ABCD_A01_w5b71ae91c-75e6-426c-8b41-71a5693784e3.tif",
        ("A01", 1, "w5", None, None),
    ),
    (
        "imagexpress",
        "2013-03-12/38030/ABCD_A01_s1b71ae91c-75e6-426c-8b41-71a5693784e3.tif",
        ("A01", 1, "w1", None, None),
    ),
    (
        "imagexpress",
        "ACHN-20X-P009041_B02_s1_w1836B5662-3526-47FE-A453-0D1775E08D17.tif",
        ("B02", 1, "w1", None, None),
    ),
    ("imagexpress", f"a plate_A01 of_May_AB13_s11_w3{GUID}.TIF", ("AB13", 11, "w3", None, None)),
    # metaxpress: faim-ipa, plateviewer, CellProfiler's manual
    ("metaxpress", "TimePoint_1/9987_B02.TIF", ("B02", 1, "w1", 1, None)),
    ("metaxpress", "TimePoint_1/ZStep_0/9987_B03_s2_w3.TIF", ("B03", 2, "w3", 1, 0)),
    ("metaxpress", "IM-Assays-EXP2_A02_s4_w1.TIF", ("A02", 4, "w1", None, None)),
    ("metaxpress", "TE12345_A05_w2.tif", ("A05", 1, "w2", None, None)),
    # cellvoyager: fractal-tasks-core, JUMP-CP source_10
    (
        "cellvoyager",
        "AssayPlate_Greiner_#655090_B02_T0001F004L01A01Z01C01.tif",
        ("B02", 4, "C01", 1, 1),
    ),
    (
        "cellvoyager",
        "20200812-CardiomyocyteDifferentiation14-Cycle1_B03_T0001F036L01A01Z18C01.png",
        ("B03", 36, "C01", 1, 18),
    ),
    (
        "cellvoyager",
        "images/Dest210809-141456/Dest210809-141456_K06_T0001F001L01A03Z01C04.tif",
        ("K06", 1, "C04", 1, 1),
    ),
    (
        "cellvoyager",
        "210305NAR005AAN_210416_164828_L06_T0277F004L277A04Z07C04.tif",
        ("L06", 4, "C04", 277, 7),
    ),
    # harmony: cellpainting-gallery cpg0000 source_4; Operetta with records
    ("harmony", "BR00116991/Images/r01c01f01p01-ch1sk1fk1fl1.tiff", ("A01", 1, "ch1", 1, 1)),
    ("harmony", "Images/r16c24f144p05-ch10sk3fk1fl1.tiff", ("P24", 144, "ch10", 3, 5)),
    ("harmony", "r02c07f01p01rc2-ch1sk1fk1fl1.tiff", ("B07", 1, "rc2-ch1", 1, 1)),
    # incell: CellProfiler#3725, MoBIE, forum.image.sc/t/16010, public analysis code
    ("incell", "A - 01(fld 2 wv Blue - FITC).tif", ("A01", 2, "Blue - FITC", None, None)),
    ("incell", "A - 01(fld 1 wv UV - DAPI z 3 time 2 - 2636ms).tif", ("A01", 1, "UV - DAPI", 2, 3)),
    (
        "incell",
        "B - 02(fld 01 wv Blue - FITC - time 01 - 0 ms).tif",
        ("B02", 1, "Blue - FITC", 1, None),
    ),
    (
        "incell",
        "C - 6(fld 1 wv TL - Bright field - open z 01).tif",
        ("C06", 1, "TL - Bright field - open", None, 1),
    ),
    ("incell", "A - 13(fld 2).tif", ("A13", 2, "w1", None, None)),
    ("incell", "D - 05(wv TL-Brightfield - Cy3).tif", ("D05", 1, "TL-Brightfield - Cy3", None, None)),
    ("incell", "F - 001(fld 01 wv TexasRed - TexasRed).tif", ("F01", 1, "TexasRed - TexasRed", None, None)),
    ("incell", "x_CORR_B - 2(fld 1 wv Cy3 - Cy3 wix 1).tif", ("B02", 1, "Cy3 - Cy3 wix 1", None, None)),
    ("incell", "Plate1_A01(fld 1 wv 390 - Blue).tif", ("A01", 1, "390 - Blue", None, None)),
    ("incell", "A_01_f2_c1_xUV_mDAPI_z3_t2.tif", ("A01", 2, "xUV_mDAPI", 2, 3)),
    # scanr: forum.image.sc/t/14872, fractal-uzh-converters, CellProfiler's examples
    ("scanr", "data/B2--W00014--P00001--Z00000--T00000--DAPi.tif", ("B02", 1, "DAPi", 0, 0)),
    ("scanr", "A1--W00001--P00003--Z00002--T00010--Alexa 488.tif", ("A01", 3, "Alexa 488", 10, 2)),
    ("scanr", "--W00001--P00001--Z00000--T00000--cherry.tif", ("A01", 1, "cherry", 0, 0)),
    (
        "scanr",
        "MCF_10--W00013--P00001--Z00000--T00000--Transmission-CSU.tif",
        ("B01", 1, "Transmission-CSU", 0, 0),
    ),
]


@pytest.mark.parametrize(("layout", "name", "place"), REAL_NAMES, ids=[name for _, name, _ in REAL_NAMES])
def test_a_real_name_says_where_its_image_is(tmp_path, layout, name, place):
    scan = layouts.scan_folder(plant(tmp_path, name), plate="p")
    assert scan.layout == layout
    assert scan.images == [Image(str(tmp_path / name), *place)]
    assert layouts.scan_folder(tmp_path, plate="p", layout=layout).images == scan.images
    assert scan.unmatched == scan.thumbnails == scan.duplicates == []


def test_all_layouts_are_tried_in_this_order():
    expected = ["bbbc021", "imagexpress", "metaxpress", "cellvoyager", "harmony", "incell", "scanr", "cellomics"]
    expected += ["gen5", "cq1", "columbus"]
    assert list(layouts.LAYOUTS) == expected


@pytest.mark.parametrize(
    "name",
    [
        "B02.txt.tif", "overview.png", "Week1_B02_notes.tif", "DC_sCMOS #1_CAM1.tif",
        "SC_BP445-45_40x_M10_CH01.tif", "img_channel000_position000_time000000000_z000.tif",
        f"plate_{GUID}.tif", "r01c01f01.tiff", "B02_s1_w1x.tif", "plate_B02_s1_w1_z3.tif",
        "AS_09_A01f00d0.TIF", "plate_A01.a1.tif", "001001001.tif",
    ],
)  # fmt: skip
def test_names_of_other_things_match_nothing(tmp_path, name):
    plant(tmp_path, name, "9987_B02_s1_w1.TIF")
    scan = layouts.scan_folder(tmp_path, plate="p")
    assert scan.unmatched == [str(tmp_path / name)]
    assert places(scan) == [("B02", 1, "w1", None, None)]


# ----------------------------------------------------------------------------------------------- whole plates


def test_the_13200_fields_of_bbbc021_in_four_families(tmp_path):
    rng = random.Random(21)
    family = ["Week1_150607_{}_s{}_{}{}.tif"] * 41 + ["{}_s{}_{}{}.tif"] * 6
    family += ["Week7_7__{}_s{}_{}{}.tif"] * 3 + ["Week8_4sites_{}_s{}_{}{}.tif"] * 5
    wells = [f"{row}{column:02d}" for row in "BCDEFG" for column in range(2, 12)]
    fields = 0
    for number, pattern in enumerate(family):
        folder = tmp_path / f"Week{number}"
        folder.mkdir()
        expected = []
        for well in wells:
            for site in range(1, 5):
                guid = str(uuid.UUID(int=rng.getrandbits(128))).upper()
                expected.append(
                    Image(str(folder / pattern.format(well, site, "w1", guid)), well, site, "w1", None, None)
                )
                open(expected[-1].path, "wb").close()
        scan = layouts.scan_folder(folder, plate=folder.name)
        assert scan.layout == "bbbc021"
        assert scan.images == expected
        assert scan.unmatched == scan.thumbnails == scan.duplicates == []
        assert scan.notes == ["layout auto: bbbc021 matches 240 of 240 image files."]
        fields += len(scan.images)
    assert fields == 13_200


@real_plates
def test_real_imagexpress_plate():
    folder = PLATES / "ImageXpress" / "Projection-Mix"
    scan = layouts.scan_folder(folder, plate="Projection-Mix")
    fields = [(well, site) for well in ("E07", "E08") for site in (1, 2)]
    projections = {(*field, channel, None, None) for field in fields for channel in ("w1", "w2", "w3")}
    steps = {(*field, channel, None, 1) for field in fields for channel in ("w1", "w2", "w4")}
    assert scan.layout == "imagexpress"
    assert set(places(scan)) == projections | steps and len(scan.images) == 24
    assert len(scan.thumbnails) == 24 and all("_thumb" in path for path in scan.thumbnails)
    assert scan.unmatched == scan.duplicates == []
    assert {image.path for image in scan.images} | set(scan.thumbnails) == set(map(str, folder.rglob("*.tif")))
    assert layouts.nuclei_channel(scan.images) == "w1"


EXPORTED = {
    "ImageXpress_exported/9987_Plate_3420": [("B02", 1, "w1", 1, None)],
    "ImageXpress_exported/9987_Plate_3434": [
        (well, site, channel, 1, z)
        for well in ("B02", "B03")
        for site in (1, 2)
        for z in (0, 1, 2)
        for channel in ("w1", "w2", "w3")
    ],
    "ImageXpress_exported/9987_Plate_3435": [
        (well, site, channel, time, None)
        for well in ("B02", "B03")
        for site in (1, 2)
        for time in (1, 2)
        for channel in ("w1", "w2")
    ],
    "MD-MULTISITE-TIF": [("A01", 1, channel, None, None) for channel in ("w1", "w3")]
    + [("A02", 4, channel, None, None) for channel in ("w1", "w3")],
}


@real_plates
@pytest.mark.parametrize("name", EXPORTED)
def test_real_exported_plate(name):
    scan = layouts.scan_folder(PLATES / name, plate="p")
    assert scan.layout == "metaxpress"
    assert places(scan) == EXPORTED[name]
    assert scan.unmatched == scan.thumbnails == scan.duplicates == []
    assert len(scan.images) == len(list((PLATES / name).rglob("*.TIF")))


# ------------------------------------------------------------------------------------------ choosing a layout


def test_auto_takes_the_majority_and_says_so(tmp_path):
    plant(
        tmp_path,
        *(f"x_B02_s{site}_w1.tif" for site in (1, 2, 3)),
        "r02c02f01p01-ch1sk1fk1fl1.tiff",
        "map.png",
    )
    scan = layouts.scan_folder(tmp_path, plate="p")
    assert scan.layout == "metaxpress"
    assert [Path(path).name for path in scan.unmatched] == ["map.png", "r02c02f01p01-ch1sk1fk1fl1.tiff"]
    assert scan.notes == ["layout auto: metaxpress matches 3 of 5 image files; others: harmony 1."]


def test_a_plate_with_w3_is_no_bbbc021(tmp_path):
    plant(tmp_path, *(f"B02_s1_w{channel}{GUID}.tif" for channel in (1, 2, 3, 4)))
    scan = layouts.scan_folder(tmp_path, plate="p")
    assert scan.layout == "imagexpress"
    assert [image.channel for image in scan.images] == ["w1", "w2", "w3", "w4"]


def test_time_points_without_prefix_stay_apart(tmp_path):
    plant(tmp_path, *(f"TimePoint_{time}/B02_s1_w1{GUID}.tif" for time in (1, 2, 10)))
    assert [image.timepoint for image in layouts.scan_folder(tmp_path, plate="p").images] == [1, 2, 10]


def test_a_layout_that_is_asked_for_is_used(tmp_path):
    plant(tmp_path, f"B02_s1_w1{GUID}.tif")
    scan = layouts.scan_folder(tmp_path, plate="p", layout="imagexpress")
    assert scan.layout == "imagexpress" and scan.notes == []
    with pytest.raises(InputError, match=r"(?s)1 image files .*none named as in layout harmony.*config key 'layouts'"):
        layouts.scan_folder(tmp_path, plate="p", layout="harmony")


def test_nothing_matches(tmp_path):
    plant(tmp_path, *(f"photo {number}.jpg" for number in (10, 2, 1, 30)))
    with pytest.raises(InputError) as error:
        layouts.scan_folder(tmp_path, plate="p")
    message = str(error.value)
    assert str(tmp_path) in message and "4 image files ('photo 1.jpg', 'photo 2.jpg', 'photo 10.jpg')" in message
    assert "bbbc021, imagexpress, metaxpress" in message
    assert "config key 'layouts'" in message and "image list" in message


WITHOUT_IMAGES = {
    "nothing": ([], "found no image; is a drive not mounted. Expected files that end in .tif"),
    "other files": (["notes.txt", "map.csv"], "found no image. Expected.*1 .csv, 1 .txt"),
    "other pictures": (["B02_s1_w1.gif", "B03_s1_w1.GIF"], "formats that are not read .2 .gif.. Export .* TIFF"),
    "thumbnails": ([f"B02_s1_w1_thumb{GUID}.tif", "notes.txt"], "only 1 thumbnails.*the folder of the images"),
    "other formats": (
        ["a.C01", "b.C01", "c.flex", "d.czi"],
        "formats that are not read .2 .c01, 1 .czi, 1 .flex.*TIFF",
    ),
    "a plate in OME-Zarr": ([".zattrs", "A/1/.zgroup", "A/1/0/0/0.0.0"], "a Zarr store.*the plate's own images"),
    "a store in OME-Zarr 0.5": (["x/p.zarr/zarr.json", "x/p.zarr/A/zarr.json"], "a Zarr store .*x/p.zarr"),
}


@pytest.mark.parametrize(("names", "message"), WITHOUT_IMAGES.values(), ids=WITHOUT_IMAGES)
def test_a_folder_without_an_image_that_is_read_is_refused_by_what_it_holds(tmp_path, names, message):
    plant(tmp_path, *names)
    with pytest.raises(InputError, match=f"(?s){message}"):
        layouts.scan_folder(tmp_path, plate="p")


def test_a_zarr_store_beside_images_is_left_out(tmp_path):
    plant(tmp_path, "x_B02_s1_w1.tif", "store.zarr/zarr.json", "store.zarr/x_B03_s1_w1.tif")
    scan = layouts.scan_folder(tmp_path, plate="p")
    assert [image.well for image in scan.images] == ["B02"] and "Zarr stores are not looked into" in scan.notes[-1]


def test_a_folder_that_cannot_be_read(tmp_path):
    plant(tmp_path, "notes.txt")
    with pytest.raises(InputError, match="nowhere.*No such file"):
        layouts.scan_folder(tmp_path / "nowhere", plate="p")
    with pytest.raises(InputError, match="notes.txt.*Not a directory"):
        layouts.scan_folder(tmp_path / "notes.txt", plate="p")


def test_an_unknown_layout_names_the_nearest(tmp_path):
    plant(tmp_path, "x_B02.tif")
    with pytest.raises(InputError, match=r"'bbc021' is unknown.*auto, mine, bbbc021.*Did you mean 'bbbc021'\?"):
        layouts.scan_folder(tmp_path, plate="p", layout="bbc021", layouts={"mine": "(?P<well>x)"})


# -------------------------------------------------------------------------------------- regexes of the config


def test_a_regex_of_the_config(tmp_path):
    regex = (
        r"(?P<plate>[^/]+)/(?P<well>[A-Ha-h]\d+)/t(?P<t>\d+)_z(?P<z>\d+)"
        r"(?:_f(?P<site>\d+))?(?:_(?P<channel>[A-Z]+))?\.png"
    )
    plant(
        tmp_path,
        "one/b2/t1_z02_f03_DAPI.png",
        "one/B2/t1_z2_f3_DAPI.png",
        "one/B10/t10_z1.png",
        "one/x/t1_z1.png",
    )
    for layout in ("auto", "mine"):
        scan = layouts.scan_folder(tmp_path, plate="one", layout=layout, layouts={"mine": regex})
        assert scan.layout == "mine"
        assert places(scan) == [("B02", 3, "DAPI", 1, 2), ("B10", 1, "w1", 10, 1)]
        assert scan.unmatched == [str(tmp_path / "one/x/t1_z1.png")]
        assert scan.duplicates == [str(tmp_path / "one/b2/t1_z02_f03_DAPI.png")]
        assert "'one/B2/t1_z2" in scan.images[0].fault.replace(str(tmp_path) + "/", "") and scan.images[1].fault is None


def test_a_regex_of_the_config_wins_a_tie(tmp_path):
    plant(tmp_path, "x_B02_s3_w2.tif")
    scan = layouts.scan_folder(tmp_path, plate="p", layouts={"mine": r"_(?P<well>...)_s3_w(?P<channel>\d)"})
    assert scan.layout == "mine" and places(scan) == [("B02", 1, "2", None, None)]


def test_a_match_that_is_no_well_is_unmatched(tmp_path):
    plant(tmp_path, "B02_1.tif", "ZZZ_1.tif", "_1.tif", "B03_x.tif")
    regex = {"mine": r"^(?P<well>[A-Z]+\d*)?_(?P<site>\w)"}
    with pytest.raises(
        InputError, match="of 4 image files, 1 are named as.*'B02_1.tif'.*and 3 are not.*column 'layout'"
    ):
        layouts.scan_folder(tmp_path, plate="p", layouts=regex)
    scan = layouts.scan_folder(tmp_path, plate="p", layout="mine", layouts=regex)
    assert places(scan) == [("B02", 1, "w1", None, None)]
    assert [Path(path).name for path in scan.unmatched] == ["_1.tif", "B03_x.tif", "ZZZ_1.tif"]
    assert any("3 files match but are of no use, first '_1.tif'" in note for note in scan.notes)


def test_the_regexes_of_the_page_read_the_names_beside_them(tmp_path):
    page = (REPOSITORY / "config/README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\nlayouts:\n(.*?)```", page, re.DOTALL)
    lines = re.findall(r'^  (\w+): "(.*?)" +# (.*)$', block, re.MULTILINE)
    assert len(lines) == len(block.splitlines()) == 5
    for name, regex, examples in lines:
        for number, path in enumerate(examples.split(", ")):
            folder = plant(tmp_path / f"{name} {number}", path)
            scan = layouts.scan_folder(folder, plate="p", layout=name, layouts={name: regex})
            assert places(scan) == [("B02", 1, "DAPI" if "DAPI" in path else "w1", None, None)]


@pytest.mark.parametrize("place", ["s{}_t1_z1", "s1_t{}_z1", "s1_t1_z{}"])
def test_a_site_time_or_z_that_no_table_can_hold_is_unmatched(tmp_path, place):
    texts = ["0", "007", "999999999", "1000000000", "0000000001", "9" * 30, "-1", "²"]
    for text in texts:
        plant(tmp_path, f"{place.format(text)}_B02.tif")
    regex = {"mine": r"s(?P<site>[^_]+)_t(?P<t>[^_]+)_z(?P<z>[^_]+)_(?P<well>B02)"}
    scan = layouts.scan_folder(tmp_path, plate="p", layout="mine", layouts=regex)
    changed = [(image.site, image.timepoint, image.z) for image in scan.images]
    assert sorted(sum(each) - 2 for each in changed) == [0, 7, 999_999_999]
    assert len(scan.unmatched) == 5 and any("5 files match but are of no use" in note for note in scan.notes)


@pytest.mark.parametrize(
    ("name", "regex", "message"),
    [
        ("mine", "(?P<well>[A-H", r"layouts\.mine: .*no regular expression \(unterminated"),
        ("mine", 3, r"layouts\.mine: 3 is no regular expression"),
        (
            "mine",
            r"(?P<Well>\w+)_(?P<site>\d)",
            r"layouts\.mine: found the named groups Well, site .*\(\?P<well>",
        ),
        ("mine", r"\w+", r"layouts\.mine: found the named groups \(none\)"),
        ("mine", r"(?P<well>\w+)_(?P<chanel>\d)", r"layouts\.mine: found the named groups well, chanel"),
        ("bbbc021", r"(?P<well>\w+)", r"layouts\.bbbc021: the name of a built-in layout"),
        ("auto", r"(?P<well>\w+)", r"layouts\.auto: the name of a built-in layout"),
    ],
)
def test_a_wrong_regex_is_named(tmp_path, name, regex, message):
    plant(tmp_path, "x_B02.tif")
    with pytest.raises(InputError, match=message):
        layouts.scan_folder(tmp_path, plate="p", layout="metaxpress", layouts={name: regex})


def test_the_plate_group_picks_the_sheets_plate(tmp_path):
    plant(tmp_path, "one_B02.tif", "one_B03.tif", "two_B02.tif")
    mine = {"mine": r"^(?P<plate>[a-z]+)_(?P<well>\w+)\."}
    scan = layouts.scan_folder(tmp_path, plate="one", layouts=mine)
    assert [image.well for image in scan.images] == ["B02", "B03"] and scan.duplicates == []
    assert any("1 images are not of plate 'one'" in note for note in scan.notes)
    with pytest.raises(InputError, match="layouts.mine: found the plates 'one', 'two', expected 'three'"):
        layouts.scan_folder(tmp_path, plate="three", layouts=mine)
    (tmp_path / "two_B02.tif").unlink()
    scan = layouts.scan_folder(tmp_path, plate="three", layouts=mine)
    assert [image.well for image in scan.images] == ["B02", "B03"]
    assert any("found 'one' alone; it is taken for 'three'" in warning for warning in scan.warnings)


# -------------------------------------------------------------------------------------------- scanr's numbers


NUMBERED = {"scanr": "--W{:05d}--P00001--Z00000--T00000--DAPI.tif", "cq1": "Image/W{:04d}F0001T0001Z000C1.tif"}


@pytest.mark.parametrize("layout", NUMBERED)
@pytest.mark.parametrize(
    ("numbers", "stated", "wells", "plate"),
    [
        ((1, 2, 6), None, ["A01", "A02", "A06"], 96),  # of 6 wells, perhaps
        ((1, 12, 13, 96), None, ["A01", "A12", "B01", "H12"], 96),
        ((1, 24, 25, 97, 384), None, ["A01", "A24", "B01", "E01", "P24"], 384),
        ((1, 13, 25, 96), "384", ["A01", "A13", "B01", "D24"], 384),
        ((1, 48, 49, 1536), "1536", ["A01", "A48", "B01", "AF48"], 1536),
    ],
)
def test_numbers_of_wells_count_row_by_row(tmp_path, layout, numbers, stated, wells, plate):
    plant(tmp_path, *(NUMBERED[layout].format(number) for number in numbers))
    scan = layouts.scan_folder(tmp_path, plate="p", plate_format=stated)
    assert [image.well for image in scan.images] == wells
    assert f"highest is {numbers[-1]}, so they are counted row by row on a plate of {plate} wells" in scan.notes[-1]
    assert [f"{plate} wells; the sheet's column 'plate_format'" in warning for warning in scan.warnings] == [True] * (
        stated is None
    )


@pytest.mark.parametrize(
    ("number", "stated", "message"),
    [(385, None, "number 385, expected numbers from 1 to 384"), (97, "96", "1 to 96"), (0, None, "number 0")],
)
def test_an_impossible_number_of_a_well_is_refused(tmp_path, number, stated, message):
    plant(tmp_path, NUMBERED["scanr"].format(1), NUMBERED["scanr"].format(number))
    with pytest.raises(InputError, match=f"layout scanr: a well has the.*{message}.*'plate_format'"):
        layouts.scan_folder(tmp_path, plate="p", plate_format=stated)


def test_one_well_with_the_number_1_is_certain(tmp_path):
    plant(tmp_path, NUMBERED["scanr"].format(1))
    assert layouts.scan_folder(tmp_path, plate="p").warnings == []


def test_scanr_trusts_a_well_name(tmp_path):
    plant(tmp_path, "B2--W00026--P00001--Z00000--T00000--DAPI.tif")
    scan = layouts.scan_folder(tmp_path, plate="p")
    assert [image.well for image in scan.images] == ["B02"] and scan.warnings == []
    assert not any("row by row" in note for note in scan.notes)


# --------------------------------------------------------------------------------------------------- scanning


def test_the_order_is_the_plates(tmp_path):
    names = ["AA01_s1", "B10_s1", "B02_s10", "B02_s2", "A12_s1"]
    plant(
        tmp_path,
        *(f"x_{name}_w{channel}.tif" for name in names for channel in (10, 2)),
        "y/ZStep_0/x_B02_s2_w2.tif",
    )
    scan = layouts.scan_folder(tmp_path, plate="p")
    assert [(image.well, image.site, image.z, image.channel) for image in scan.images] == [
        ("A12", 1, None, "w2"), ("A12", 1, None, "w10"),
        ("B02", 2, None, "w2"), ("B02", 2, None, "w10"), ("B02", 2, 0, "w2"),
        ("B02", 10, None, "w2"), ("B02", 10, None, "w10"),
        ("B10", 1, None, "w2"), ("B10", 1, None, "w10"),
        ("AA01", 1, None, "w2"), ("AA01", 1, None, "w10"),
    ]  # fmt: skip


def test_of_files_of_one_place_none_counts_and_all_are_named(tmp_path):
    names = ["day 10/x_B02_s1_w1.tif", "day 9/x_B02_s1_w1.tif", "day 9/x_B02_s01_w1.png"]
    plant(tmp_path, *names, "day 9/x_B03_s1_w1.tif")
    scan = layouts.scan_folder(tmp_path, plate="p")
    assert [image.path for image in scan.images] == [str(tmp_path / names[2]), str(tmp_path / "day 9/x_B03_s1_w1.tif")]
    assert scan.duplicates == [str(tmp_path / names[1]), str(tmp_path / names[0])]
    ((well, site, fault),) = faults(scan)
    assert (well, site) == ("B02", 1) and fault.startswith("3 files are named as this image, and none is known")
    assert str(tmp_path / names[2]) in fault and str(tmp_path / names[1]) in fault and fault.endswith("and 1 more")


def test_thumbnails_are_listed(tmp_path):
    names = [f"x_B02_s1_w1_thumb{GUID}.tif", "x_B02_s1_w1_thumb.TIF", "x_B02_s1_w1_Thumb.png"]
    plant(tmp_path, *names, f"my_thumbs_B02_s1_w1{GUID}.tif", f"a_thumb_B02_s2_w1{GUID}.tif")
    scan = layouts.scan_folder(tmp_path, plate="p")
    assert sorted(scan.thumbnails) == sorted(str(tmp_path / name) for name in names)
    assert [image.site for image in scan.images] == [1, 2]


def test_what_is_no_image_is_counted(tmp_path):
    plant(tmp_path, "x_B02.tif", "x.HTD", "y.htd", "a/Thumbs.db", "LICENSE", ".DS_Store", "._x_B03.tif")
    plant(tmp_path, ".snapshot/x_B04.tif", "@eaDir/x_B02.tif/SYNOPHOTO_THUMB_S.jpg")
    scan = layouts.scan_folder(tmp_path, plate="p")
    assert [image.well for image in scan.images] == ["B02"] and scan.unmatched == []
    assert scan.notes[1:] == ["8 files that are no images were not looked at: 1 .db, 2 .htd, 4 hidden, 1 no suffix."]


def test_folders_named_like_images(tmp_path):
    plant(tmp_path, "x_B02_s1_w1.tif", "x_B02_s2_w1.tif/inside_B05.tif", "export.tif/x_B03_s1_w1.tif")
    scan = layouts.scan_folder(tmp_path, plate="p")
    assert [(image.well, image.site) for image in scan.images] == [("B02", 1), ("B02", 2), ("B03", 1)]
    assert scan.images[1].path == str(tmp_path / "x_B02_s2_w1.tif") and scan.unmatched == []


def test_links(tmp_path):
    plant(tmp_path / "elsewhere", "x_C01.tif")
    folder = plant(tmp_path / "plate", "real/x_B02.tif")
    (folder / "all").symlink_to(tmp_path / "elsewhere")
    (folder / "a loop").symlink_to(folder)
    (folder / "real" / "loop").symlink_to(folder)
    (folder / "same").symlink_to(folder / "real")
    (folder / "x_B03.tif").symlink_to(tmp_path / "nowhere.tif")
    (folder / "x_B04.tif").symlink_to(folder / "x_B04.tif")
    scan = layouts.scan_folder(folder, plate="p")
    expected = ["real/x_B02.tif", "x_B03.tif", "x_B04.tif", "all/x_C01.tif"]
    assert [os.path.relpath(image.path, folder) for image in scan.images] == expected
    assert scan.duplicates == scan.unmatched == []
    assert scan.notes[-1].startswith("3 links lead to folders that were read already")


def test_crossed_links_between_many_folders_end(tmp_path):
    names = [f"folder{number}" for number in range(12)]  # 12! ways through them
    plant(tmp_path, *(f"{name}/x_B{number + 1:02d}.tif" for number, name in enumerate(names)))
    for here in names:
        for there in names:
            (tmp_path / here / f"to {there}").symlink_to(tmp_path / there)
    assert len(layouts.scan_folder(tmp_path, plate="p").images) == 12


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_text(tmp_path):
    (tmp_path / os.fsdecode(b"x\xff_B02_s1_w1.tif")).touch()
    (tmp_path / os.fsdecode(b"\xff\xb2.tif")).touch()
    scan = layouts.scan_folder(tmp_path, plate="p")
    assert places(scan) == [("B02", 1, "w1", None, None)] and len(scan.unmatched) == 1
    assert os.path.exists(scan.images[0].path)
    "".join(scan.notes).encode()


def test_a_relative_folder_gives_relative_paths(tmp_path, monkeypatch):
    plant(tmp_path, "plates/one/x_B02.tif")
    monkeypatch.chdir(tmp_path)
    assert layouts.scan_folder("plates/one", plate="p").images[0].path == "plates/one/x_B02.tif"
    assert layouts.scan_folder(Path("plates/one"), plate="p").images[0].path == "plates/one/x_B02.tif"


# --------------------------------------------------------------------------------------------- nuclei channels


def of_channels(*names):
    return [Image("x.tif", "B02", 1, name, None, None) for name in names]


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        (["w10", "w2", "w4"], "w2"),
        (["Actin", "Tubulin", "DAPI"], "DAPI"),
        (["FITC", "dapi"], "dapi"),
        (["Alexa 488", "Hoechst 33342"], "Hoechst 33342"),
        (["GFP", "Hoechst33342"], "Hoechst33342"),
        (["mark", "nuc"], "nuc"),
        (["Blue - FITC", "TL-Brightfield - DAPI", "UV - DAPI"], "UV - DAPI"),
        (["AGP", "IllumDNA", "OrigAGP", "OrigDNA"], "OrigDNA"),
        (["actin", "mtDNA", "nuclei"], "nuclei"),
        (["w1_Actin", "w2_DNA"], "w2_DNA"),
        (["actin", "mtDNA"], "actin"),
        (["xBlue_mFITC", "xUV_mDAPI"], "xUV_mDAPI"),
    ],
)
def test_the_nuclei_channel(channels, expected):
    assert layouts.nuclei_channel(of_channels(*channels)) == expected


def test_a_nuclei_channel_that_is_asked_for():
    images = of_channels("w1", "DAPI", "w10", "Dapi", "w2")
    assert layouts.nuclei_channel(images, "W10") == "w10"
    assert layouts.nuclei_channel(images, "Dapi") == "Dapi"
    with pytest.raises(InputError, match="'GFP': not found. Expected auto or .*: DAPI, Dapi, w1, w2, w10"):
        layouts.nuclei_channel(images, "GFP")
    with pytest.raises(InputError, match="no images"):
        layouts.nuclei_channel([])
    assert layouts.nuclei_channel(iter(images)) == "DAPI"


@pytest.mark.parametrize(
    ("requested", "names", "expected"),
    [
        ("auto", {"w2": "DNA"}, "w2"),
        ("auto", {"W2": "Hoechst", "w1": "Tubulin"}, "w2"),
        ("auto", {"w2": "Tubulin"}, "w1"),
        ("auto", {"DAPI": "mCherry", "w2": "DNA"}, "w2"),
        ("tubulin", {"w3": "Tubulin"}, "w3"),
        ("w2", {"w3": "w2"}, "w2"),
    ],
)
def test_names_of_the_configuration_choose_the_nuclei_channel_too(requested, names, expected):
    tokens = ("w1", "w2", "w3", *(["DAPI"] if "DAPI" in names else []))
    images = [layouts.Image(f"{token}.tif", "B02", 1, token, None, None) for token in tokens]
    assert layouts.nuclei_channel(images, requested, names) == expected


def test_names_that_begin_in_a_few_ways_are_one_plates_with_a_warning(tmp_path):
    plant(tmp_path, "PlateA_B02_s1_w1.tif", "PlateB_B03_s1_w1.tif")
    assert (
        "('PlateA_', 'PlateB_'); they are taken for images of one plate"
        in layouts.scan_folder(tmp_path, plate="p").warnings[0]
    )
    plant(tmp_path, *(f"2024{number}_C{number:02d}_s1_w1.tif" for number in range(1, 9)))  # each has a time
    assert layouts.scan_folder(tmp_path, plate="p").warnings == []


# -------------------------------------------------------------------------------------------- what the run tells of


@pytest.mark.parametrize(
    "pattern",
    [
        "{}_{}_T0001F001L01A01Z01C01.tif",
        "{}_150211220001_{}f00d0.tif",
        "{}_{}_s1_w1.tif",
        "images/{}_{}_s1.tif",
    ],
)
def test_names_that_begin_in_a_few_ways_are_told_of(tmp_path, pattern):
    plant(tmp_path, pattern.format("one", "B02"), pattern.format("one", "B03"))
    assert layouts.scan_folder(tmp_path, plate="p").warnings == []
    plant(tmp_path, pattern.format("two", "C02"))
    (warning,) = layouts.scan_folder(tmp_path, plate="p").warnings
    assert "the names begin in 2 ways ('one_" in warning and "taken for images of one plate" in warning


@pytest.mark.parametrize("name", ["{}/W0001F0001T0001Z00{}C1.tif", "{}/r01c01f01p0{}-ch1sk1fk1fl1.tiff"])
def test_folders_are_no_beginnings_of_names(tmp_path, name):
    plant(tmp_path, name.format("one", 1), name.format("two", 2))
    assert layouts.scan_folder(tmp_path, plate="p").warnings == []


def test_images_of_other_formats_beside_those_that_are_read_are_told_of(tmp_path):
    plant(tmp_path, "x_B02_s1_w1.tif", "plate.xdce", "MeasurementData.mea")
    assert layouts.scan_folder(tmp_path, plate="p").warnings == []
    plant(tmp_path, "x_B03.czi", "x_B04.CZI", "x.flex")
    (warning,) = layouts.scan_folder(tmp_path, plate="p").warnings
    assert warning == "files of formats that are not read lie beside the images, and do not count: 2 .czi, 1 .flex"


def test_a_part_of_a_well_is_refused_by_its_name(tmp_path):
    plant(tmp_path, "x_B02.a1_w1.tif", "x_B02.a2_w1.tif")
    with pytest.raises(
        InputError, match="If 'B02' of 'B02.a1' is the well, a regex says what 'a1' is. For other names"
    ):
        layouts.scan_folder(tmp_path, plate="p")
    own = {"own": "(?P<well>[A-P][0-9]{2})[.]a(?P<site>[0-9])"}
    assert [image.site for image in layouts.scan_folder(tmp_path, plate="p", layouts=own).images] == [1, 2]


@pytest.mark.parametrize(
    ("first", "second", "is_told"),
    [
        ("M1/Images/r02c02f01p01-ch1sk1fk1fl1.tiff", "M2/Images/r03c05f01p01-ch1sk1fk1fl1.tiff", True),
        ("M1/r02c02f01p01-ch1sk1fk1fl1.tiff", "M2/r02c02f02p01-ch1sk1fk1fl1.tiff", False),
        ("B/p_B02_s1_w1.tif B/p_B03_s1_w1.tif", "C/p_C02_s1_w1.tif C/p_C03_s1_w1.tif", False),
        ("x/p_B02_s1_w1.tif x/p_C03_s1_w1.tif", "y/p_D02_s1_w1.tif y/p_E03_s1_w1.tif", True),
        ("B02/p_B02_s1_w1.tif", "C03/p_C03_s1_w1.tif", False),
    ],
)
def test_folders_with_other_wells_each_are_told_of_where_they_may_be_measurements(tmp_path, first, second, is_told):
    plant(tmp_path, *first.split(), *second.split())
    warnings = layouts.scan_folder(tmp_path, plate="p").warnings
    assert len(warnings) == is_told
    assert not is_told or ("2 folders hold images of other wells each" in warnings[0] and "measurements" in warnings[0])


def test_numbers_of_any_length_have_their_order():
    names = ["a9", "a10", "a" + "9" * 5000, "a1" + "0" * 5000, "a1" + "0" * 5000 + "b2", "b1"]
    assert sorted(reversed(names), key=layouts.natural) == names
