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
    ["a B2 c_C03_s1.tif", "a_C04_s1.tif", "D1 E1 a_C05_s1.tif", "a_D05_s1.tif"],
    ["9987_C03.tif", "9987_C04.tif"],
]


@pytest.mark.parametrize("names", AS_BEFORE, ids=[names[0] for names in AS_BEFORE])
def test_what_looks_like_a_well_before_the_well_does_not_matter(tmp_path, names):
    read = scan(tmp_path, *names)
    wells = [name.removesuffix(f"{GUID}.tif").removesuffix(".tif").split("_s1")[0][-3:] for name in names]
    assert [image.well for image in read.images] == wells and read.unmatched == []


REFUSED = {
    "two parts that differ": ["A01_B02.tif", "A03_B04.tif"],
    "two parts, one name": ["A01_B02.tif"],
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
    "one well on several days": (
        ["B02_D01.tif", "B02_D02.tif"],
        ["D01", "D02"],
        "D01 is taken .*, and not B02: the ot",
    ),
    "two wells": (["A01_D01_s1.tif", "A02_D02_s1.tif"], ["D01", "D02"], "D01 is taken .* not A01: site or channel fol"),
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
