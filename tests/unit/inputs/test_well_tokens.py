"""Names of which several parts look like a well: all names of the folder tell which it is, or they are refused."""

import re
from itertools import product

import pytest

from fieldwork import InputError
from fieldwork.inputs import layouts

GUID = "64FBEEF7-F77C-4892-86F5-72D0160D4FB2"


def scan(folder, *names, **options):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return layouts.scan_folder(folder, plate="p", **options)


def places(scan):
    """Return well, site, channel, time point and z plane of every image."""
    return [image[1:6] for image in scan.images]


WELLS = ("B02", "C03")
# What a part behind the well counts: names, and what they mean for wells B02 and C03.
READ = {
    "F": ([f"{w}_F{n:02d}.tif" for w, n in product(WELLS, (1, 2))], [(1, "w1", None, None), (2, "w1", None, None)]),
    "S": ([f"exp_{w}_S{n:02d}.tif" for w, n in product(WELLS, (1, 2))], [(1, "w1", None, None), (2, "w1", None, None)]),
    "T": ([f"{w}_T{n:02d}.tif" for w, n in product(WELLS, (0, 1))], [(1, "w1", 0, None), (1, "w1", 1, None)]),
    "Z": ([f"{w}_s3_Z{n:02d}.tif" for w, n in product(WELLS, (1, 2))], [(3, "w1", None, 1), (3, "w1", None, 2)]),
    "C": ([f"x_{w}_C{n:02d}.tif" for w, n in product(WELLS, (1, 2))], [(1, "C01", None, None), (1, "C02", None, None)]),
    "P": ([f"{w}_s1_w2_P07.tif" for w in WELLS], [(1, "w2", None, None)]),
    "R": ([f"{w}_DAPI_R01.tif" for w in WELLS], [(1, "DAPI", None, None)]),
    "channels as text": (
        [f"{w}_{c}_F01.tif" for w, c in product(WELLS, ("DAPI", "GFP"))],
        [(1, "DAPI", None, None), (1, "GFP", None, None)],
    ),
    "all of them": ([f"x_{w}_F0003_T0001_Z0004_C01.tif" for w in WELLS], [(3, "C01", 1, 4)]),
    "lower case": ([f"x_{w.lower()}_f02_w1.tif" for w in WELLS], [(2, "w1", None, None)]),
    "a folder": (
        [f"{w}/F{n:02d}.tif" for w, n in product(WELLS, (1, 2))],
        [(1, "w1", None, None), (2, "w1", None, None)],
    ),
    "a word and the well as a folder": ([f"well_{w}/F02.tif" for w in WELLS], [(2, "w1", None, None)]),
    "a folder and a name": ([f"{w}/x_{w}_F02.tif" for w in WELLS], [(2, "w1", None, None)]),
    "the wells of one row": ([f"B02_F{n:02d}.tif" for n in (1, 2)], [(1, "w1", None, None), (2, "w1", None, None)]),
}


@pytest.mark.parametrize("kind", READ)
def test_a_part_behind_the_well_counts_what_its_letter_says(tmp_path, kind):
    names, of_well = READ[kind]
    read = scan(tmp_path, *names)
    wells = WELLS if kind != "the wells of one row" else WELLS[:1]
    assert places(read) == [(well, *place) for well in wells for place in of_well]
    assert not any(image.fault for image in read.images) and read.unmatched == []
    assert ["is taken for the well" in warning for warning in read.warnings] == [True]


# What looks like a well before the well: the well is the last part, as before.
AS_BEFORE = [
    ["P01_B02_s1_w1.tif", "P01_C03_s1_w1.tif"],
    ["P01_C03_s1_w1.tif", "P01_C04_s1_w1.tif"],
    ["day D7 x_B02_s1_w1.tif", "day D7 x_C03_s1_w1.tif"],
    ["D10/x_B02_s1_w1.tif", "D10/x_C03_s1_w1.tif"],
    ["x-A01_B02.tif", "x-A01_C03.tif"],
    [f"A01_B02_s1_w1{GUID}.tif"],
    ["B02/x_B02_s1_w1.tif", "C03/x_C03_s1_w1.tif"],
    [f"{lead}_s1_w1{GUID}.tif" for lead in ("a B2 c_C03", "a_C04", "D1 E1 a_C05", "a_D05")],
    [f"E14_B02_s1_w1{GUID}.tif", f"H9_B03_s1_w1{GUID}.tif"],
    [f"B02/E14_s1_w1{GUID}.tif", f"B03/H09_s1_w1{GUID}.tif"],
    ["E14_B02_s1_w1.tif", "E14_C03_s1_w1.tif", "H9_B04_s1_w1.tif", "H9_C05_s1_w1.tif"],
    ["H9/B02_s1_w1.tif", "H9/C03_s1_w1.tif", "HeLa/B04_s1_w1.tif", "HeLa/C05_s1_w1.tif"],
    ["P1_B02_s1_w1.tif", "P1_C02_s1_w1.tif", "P2_B03_s1_w1.tif", "P2_C03_s1_w1.tif"],
    ["S01_B02_s1_w1.tif", "S02_B03_s1_w1.tif", "S03_C02_s1_w1.tif"],
    ["SP-A8_B02_s1_w1.tif", "SP-A8_H12_s1_w1.tif"],
    ["9987_C03.tif", "9987_C04.tif"],
]


@pytest.mark.parametrize("names", AS_BEFORE, ids=[names[0] for names in AS_BEFORE])
def test_what_looks_like_a_well_before_the_well_does_not_matter(tmp_path, names):
    read = scan(tmp_path, *names)
    wells = [name.removesuffix(f"{GUID}.tif").removesuffix(".tif").split("_s1")[0][-3:] for name in names]
    assert [image.well for image in read.images] == sorted(wells) and read.unmatched == []


REFUSED = {
    "two parts that differ": ["A01_B02.tif", "A03_B04.tif"],
    "two parts, one name": ["A01_B02.tif"],
    "one well on several days": ["B02_D01.tif", "B02_D02.tif"],
    "two wells of one row": ["A01_D01_s1.tif", "A02_D02_s1.tif"],
    "two wells and a day": [f"{w}_D01.tif" for w in WELLS],
    "a cell line behind the well": [f"{name}_s1_w1.tif" for name in ("B02_E14", "B03_H9", "C02_D3", "C03_A1")],
    "two cell lines": [f"{name}_s1_w1.tif" for name in ("B02_E14", "B03_E14", "C02_H9", "C03_H9")],
    "a cell line in some names": [f"{name}_s1_w1.tif" for name in ("B02", "B04", "B03_E14", "C03_E14", "C02_H9")],
    "days behind the well": [f"{name}_s1_w1.tif" for name in ("B02_D1", "B03_D3", "C02_D10", "C03_D30")],
    "days behind wells of one row": [f"{name}_s1_w1.tif" for name in ("C02_D1", "C03_D3")],
    "several days behind every well": [f"{w}_D{n}_s1_w1.tif" for w, n in product(WELLS, (1, 3))],
    "days of one well": [f"B02_D{n}_s1_w1.tif" for n in (1, 3, 10)],
    "a dose that is no well": [f"{name}_s1_w1.tif" for name in ("B02_X80", "C03_X90")],
    "a dose behind wells of row C": [f"{name}_s1_w1.tif" for name in ("C02_X80", "C03_X80")],
    "clones behind the well": [f"{name}_s1_w1.tif" for name in ("B02_G1", "B03_G2", "C02_G3")],
    "clones behind wells of row C": [f"{name}_s1_w1.tif" for name in ("C02_C1", "C03_C2")],
    "a cell line behind a well of row C": [f"{name}_s1_w1.tif" for name in ("C02_E14", "C03_H9", "C04_D3")],
    "the same, without a site": ["C02_E14.tif", "C03_H9.tif"],
    "a cell line before wells of row C": ["E14_C02_s1_w1.tif", "H9_C03_s1_w1.tif"],
    "the same, without a channel": ["E14_C02.tif", "H9_C03.tif"],
    "a prefix of one well": ["SP-A8_C03_s1_w1.tif", "SP-A8_C04_s2_w1.tif"],
    "the well as a folder": [f"{name}_s1_w1.tif" for name in ("B02/E14", "B03/H9", "C02/D3")],
    "the well as a folder above one": [f"{name}_s1_w1.tif" for name in ("B02/x/E14", "B03/x/H9", "C02/x/D3")],
    "the well as a word of a folder": [f"{name}_s1_w1.tif" for name in ("wellB02/E14", "wellB03/H9", "wellC02/D3")],
    "row and column by numbers": [f"{name}_s1_w1.tif" for name in ("r02c02_E14", "r02c03_H9", "r03_c02_D3")],
    "row and column by words": [f"{name}_s1_w1.tif" for name in ("row2_col2_E14", "row2_col3_H9")],
    "row and column with a blank": [f"{name}_s1_w1.tif" for name in ("B_02_E14", "B 03_H9", "C_02_D3")],
    "a site and the line behind": ["B02_s1_w1_E14.tif", "B03_s1_w1_H9.tif"],
    "two kinds of fields": [f"{w}_F01_S01.tif" for w in WELLS],
    "several plates": [f"B02_P{n:02d}.tif" for n in (1, 2)],
    "a row that could count plates": ["F01_P02_s1_w1.tif", "F01_P03_s1_w1.tif"],
    "several runs": [f"B02_R{n:02d}.tif" for n in (1, 2)],
    "two letters that could count": ["C01_F01.tif", "C02_F02.tif"],
    "a field in a folder of a channel": ["C01/F01.tif", "C01/F02.tif"],
    "a day in lower case": ["x_d1_c1.tif", "x_d2_c1.tif"],
    "texts of which several differ": ["B02_x_y_F01.tif", "B02_z_a_F01.tif"],
    "names of different forms": ["B02_F01.tif", "B02_F01_C01.tif"],
    "time points alone": ["movie_T01.tif", "movie_T02.tif"],
    "scenes alone": ["x_S01.tif", "x_S02.tif"],
    "plates alone": ["x_P01.tif", "x_P02.tif"],
    "a plate in lower case": ["x_p1_s1_w1.tif", "x_p1_s2_w1.tif"],
    "a field in lower case": ["x_f1_w1.tif", "x_f2_w1.tif"],
    "time points before the site": ["x_T01_s1_w1.tif", "x_T02_s1_w1.tif"],
    "numbers of wells": ["x_W01_s1_w1.tif", "x_W02_s1_w1.tif"],
    "numbers of wells alone": ["x_W01.tif", "x_W02.tif"],
    "slides": ["x_S01_s1_w1.tif", "x_S02_s1_w1.tif"],
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_well_that_is_not_certain_is_refused(tmp_path, kind):
    with pytest.raises(InputError, match="named as in layout metaxpress: it is not certain that .* is the well"):
        scan(tmp_path, *REFUSED[kind])


@pytest.mark.parametrize("names", [["x_d1.tif", "x_d2.tif"], ["x_C1.tif", "x_F2.tif"], ["x_h1.tif"]])
def test_a_letter_and_a_digit_alone_are_no_wells(tmp_path, names):
    with pytest.raises(InputError, match="none named as in a known layout|less than|not certain|are not"):
        scan(tmp_path, *names)


def test_a_single_letter_that_could_count_is_a_well_with_a_warning_or_by_the_sheet(tmp_path):
    read = scan(tmp_path, "x_C01.tif", "x_C02.tif")
    assert [image.well for image in read.images] == ["C01", "C02"]
    assert "'C01' could be a well or count something" in read.warnings[0]
    named = scan(tmp_path / "P", "x_P01.tif", layout="metaxpress")
    assert [image.well for image in named.images] == ["P01"] and named.warnings == []


# What is taken for the well with a warning: another part could be it, or it could count something.
WARNED = {
    "fields before the channel": (
        ["x_F01_w1.tif", "x_F02_w1.tif"],
        ["F01", "F02"],
        "'F01' could be .* count something",
    ),
    "channels before the site": (["x_C01_s1.tif", "x_C02_s1.tif"], ["C01", "C02"], "'C01' could be .* count something"),
    "a cell line before the well": (
        [f"E14_{w}_s1.tif" for w in WELLS] + [f"H9_{w}_s1.tif" for w in ("B04", "D04")],
        ["B02", "B04", "C03", "D04"],
        "C03 is taken .*, and not H9: several wells have the same|B02 is taken .* not E14: several wells",
    ),
    "a folder of a day": (
        [f"D10/x_{w}_s1.tif" for w in WELLS],
        ["B02", "C03"],
        "B02 is taken .* not D10: the other is",
    ),
}


@pytest.mark.parametrize("kind", WARNED)
def test_a_well_that_is_doubtful_is_told_of(tmp_path, kind):
    names, wells, warning = WARNED[kind]
    read = scan(tmp_path, *names)
    assert [image.well for image in read.images] == wells
    assert re.search(warning, read.warnings[0])


def test_one_row_of_metaxpress_own_names_is_certain(tmp_path):
    read = scan(tmp_path, *(f"x_T{column:02d}_s1_w1{GUID}.tif" for column in (1, 2)))
    assert [image.well for image in read.images] == ["T01", "T02"] and read.warnings == []


COUNTED_FROM_0 = {
    "columns": ([f"x_{row}{column:02d}_s1_w1.tif" for row, column in product("AB", range(3))], {}),
    "columns of one digit": ([f"x_{row}{column}_s1_w1.tif" for row, column in product("AB", range(3))], {}),
    "rows and columns": (
        [f"r{row:02d}c{column:02d}f01p01-ch1sk1fk1fl1.tiff" for row, column in product((0, 1, 2), (1,))],
        {},
    ),
    "a regex of one's own": (
        [f"{row}-{column}.tif" for row, column in product(range(2), range(1, 4))],
        {"layout": "own", "layouts": {"own": r"(?P<row>\d)-(?P<column>\d)"}},
    ),
}


@pytest.mark.parametrize("kind", COUNTED_FROM_0)
def test_wells_that_are_counted_from_0_are_refused(tmp_path, kind):
    names, options = COUNTED_FROM_0[kind]
    with pytest.raises(InputError, match="found row or column 0, expected numbers from 1"):
        scan(tmp_path, *names, **options)


def test_one_row_of_wells_of_one_and_two_digits_is_whole(tmp_path):
    read = scan(tmp_path, *(f"x_A{column}.tif" for column in range(1, 25)))
    assert [image.well for image in read.images] == [f"A{column:02d}" for column in range(1, 25)]
    assert read.unmatched == []


def test_a_part_that_is_the_plates_name_is_no_well(tmp_path):
    names = [f"{plate}/{w}_s1_w1.tif" for plate, w in product(("E14", "H9"), WELLS)] + ["E14/D3_s1_w1.tif"]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    wells = {
        plate: [image.well for image in layouts.scan_folder(tmp_path, plate=plate).images] for plate in ("E14", "H9")
    }
    assert wells == {"E14": ["B02", "C03", "D03"], "H9": ["B02", "C03"]}
    with pytest.raises(InputError, match="'E14' or 'B02' is the well: several of them differ"):
        scan(tmp_path)
    behind = tmp_path / "behind"
    behind.mkdir()
    for well in WELLS:
        (behind / f"{well}_E14_s1_w1.tif").touch()
    assert [image.well for image in layouts.scan_folder(behind, plate="E14").images] == list(WELLS)
