"""Faulty fields are flagged, and none for how many nuclei it has; wells by their fields; and which are left out."""

import numpy as np
import pytest
import tifffile

import planted_screen
from accuracy import annotated, flagged, generated
from fieldwork.detection import plate_flags
from fieldwork.inputs.schemas import read_schema
from fieldwork.plates import tables
from fieldwork.segmentation import calibrate, segment_field
from workspace import DATA


def row_of(well, site=1, **values):
    """Return the row of a field that nothing is known of but these values."""
    named = {"Metadata_Plate": "P1", "Metadata_Well": well, "Metadata_Site": site, "Metadata_Timepoint": None}
    return dict.fromkeys(plate_flags.JUDGED) | named | values


FLAGGED = {  # good fields with the flag, without it, and without a judgement; and the well's flag
    "half": (1, 1, 0, True),
    "less than half": (1, 2, 0, False),
    "less than half of the good ones, as one was not judged": (1, 1, 1, False),
    "none judged": (0, 0, 2, None),
    "no good field": (0, 0, 0, None),
}


@pytest.mark.parametrize("case", FLAGGED)
def test_a_well_has_a_flag_where_half_of_its_good_fields_have_it(case):
    with_flag, without, unjudged, expected = FLAGGED[case]
    flags = [True] * with_flag + [False] * without + [None] * unjudged
    rows = [{"Flag_Saturated": flag, "Image_Status": "ok", "Image_Count_Nuclei": 5} for flag in flags]
    rows += [{"Flag_Saturated": None, "Image_Status": "failed", "Image_Count_Nuclei": None}] * 3
    rows = [row_of("B02", site, **row) for site, row in enumerate(rows, 1)]
    for exclude, is_excluded in (([], False), (["OutOfFocus"], False), (["OutOfFocus", "Saturated"], bool(expected))):
        (well,), _ = tables.wells_of(rows, {}, excluded=plate_flags.excluded_wells(rows, {}, exclude))
        assert (well["Flag_Saturated"], well["Flag_OutOfFocus"], well["Excluded"]) == (expected, None, is_excluded)


def test_an_excluded_control_stays_in_the_table_and_out_of_every_comparison():
    rows = [
        row_of(f"B{number:02}", Image_Status="ok", Image_Count_Nuclei=count)
        for number, count in enumerate([100, 104, 96, 5, 10, 12], 1)
    ]
    roles = ["negative"] * 4 + ["positive"] * 2
    platemap = {
        row["Metadata_Well"]: {
            "Metadata_control": role,
            "Metadata_Exclude": "X" if row["Image_Count_Nuclei"] == 5 else "",
        }
        for row, role in zip(rows, roles, strict=True)
    }
    wells, _ = tables.wells_of(rows, platemap, excluded=plate_flags.excluded_wells(rows, platemap, []))
    without = [row for row in rows if row["Image_Count_Nuclei"] != 5]
    expected, _ = tables.wells_of(without, platemap)
    assert [row["Excluded"] for row in wells] == [False] * 3 + [True] + [False] * 2
    assert [row["Count_Nuclei"] for row in wells] == [100, 104, 96, 5, 10, 12]
    kept = [row for row in wells if not row["Excluded"]]
    assert [row[name] for row in kept for name in tables.SCORES] == [
        row[name] for row in expected for name in tables.SCORES
    ]
    assert None not in [row["ZPrime_Count_Nuclei"] for row in wells]


BEADS = DATA / "plates" / "ImageXpress"
FLAGGING = ("OutOfFocus", "Background", "Debris", "Saturated")
PLATE = 48  # wells, a field each
COUNTS = (0, 1, 2, 5, 20, 60, 80, 75)  # dead to confluent wells


def plate_of_fields(seed=1, *, exposure=1.0, wells=PLATE):
    """Draw the DNA images of a plate, with few and many nuclei side by side."""
    random = np.random.default_rng(seed)
    return [
        planted_screen.draw(random, COUNTS[number % len(COUNTS)], 0.1, exposure=exposure)[0][0]
        for number in range(wells)
    ]


def blurred(count):
    """Return a function that draws a field of so many nuclei, out of focus."""
    return lambda image, random: planted_screen.draw(random, count, 0.1, blur_px=3)[0][0]


def blurred_beyond_finding(image, random):
    return planted_screen.draw(random, 80, 0.1, blur_px=13)[0][0]


def with_bright_ground(image, random):
    return image + random.poisson(800, image.shape).astype(np.uint16)


def with_debris(image, random):
    return generated.as_type(image + generated.speck(image.shape, (100, 140), 45, 20000), np.uint16)


def saturated(image, random):
    bright = planted_screen.draw(random, 60, 0.1)[0][0]
    return generated.as_type(100 + 30 * (bright - 100.0), np.uint16)


FAULTY = {
    "blurred": (blurred(60), "OutOfFocus"),
    "blurred, with two nuclei": (blurred(2), "OutOfFocus"),
    "blurred until no nucleus is found": (blurred_beyond_finding, "OutOfFocus"),
    "bright ground": (with_bright_ground, "Background"),
    "debris": (with_debris, "Debris"),
    "saturated": (saturated, "Saturated"),
}


@pytest.mark.parametrize("exposure", [1.0, 0.5])
@pytest.mark.parametrize("share", [1, 3])
def test_faults_are_flagged_in_any_share_of_a_plate_and_few_or_many_nuclei_are_none(share, exposure):
    images = plate_of_fields(exposure=exposure)
    random = np.random.default_rng(2)
    faults = {}
    for number in range(0, PLATE, 10 // share):  # a tenth of the plate, or a third
        fault = list(FAULTY)[len(faults) % len(FAULTY)]
        images[number] = FAULTY[fault][0](images[number], random)
        faults[number] = FAULTY[fault][1]
    flags = [flagged.flags_of(row) & set(FLAGGING) for row in flagged.judged(images)]
    assert len(faults) == (16 if share == 3 else 5)
    assert [number for number, fault in faults.items() if fault not in flags[number]] == []
    assert {number: flag for number, flag in enumerate(flags) if flag and number not in faults} == {}


@pytest.mark.parametrize("fault", FAULTY)
def test_a_fault_has_its_flag_and_no_other_one(fault):
    images = plate_of_fields(3, wells=24)
    change, flag = FAULTY[fault]
    images[5] = change(images[5], np.random.default_rng(4))
    flags = [flagged.flags_of(row) & set(FLAGGING) for row in flagged.judged(images)]
    assert flags[5] == {flag}
    assert not any(flags[:5] + flags[6:])


def test_a_field_without_nuclei_is_empty_and_only_that():
    rows = flagged.judged(plate_of_fields(5, wells=16))
    assert [row["Flag_Empty"] for row in rows] == [count == 0 for count in COUNTS] * 2
    assert not any(flagged.flags_of(row) for row in rows)


def test_a_plate_of_few_fields_compares_none_and_says_so():
    images = plate_of_fields(6, wells=6)
    images[4] = with_bright_ground(images[4], np.random.default_rng(7))
    images[5] = planted_screen.draw(np.random.default_rng(8), 60, 0.1, blur_px=6)[0][0]
    rows = flagged.judged(images)
    assert {row["Flag_Background"] for row in rows} == {None}
    assert [row["Flag_OutOfFocus"] for row in rows] == [False] * 5 + [True]  # by itself
    said = plate_flags.judge_fields(rows, flagged.THRESHOLDS)
    assert [line.partition(";")[0] for line in said] == [
        "only 6 fields can be compared, fewer than flags.least_fields: 8",
        "only 5 fields can be compared, fewer than flags.least_fields: 8",
    ]


def test_a_plate_that_is_out_of_focus_as_a_whole_keeps_its_flags():
    random = np.random.default_rng(9)
    images = plate_of_fields(9, wells=24)
    calibration = calibrate(images)
    images = [planted_screen.draw(random, 60, 0.1, blur_px=6 if number > 6 else 0)[0][0] for number in range(24)]
    assert [row["Flag_OutOfFocus"] for row in flagged.judged(images, calibration)] == [False] * 7 + [True] * 17


def test_half_of_a_plate_out_of_focus_is_told_from_the_other_half():
    random = np.random.default_rng(10)
    images = [planted_screen.draw(random, 60, 0.1, blur_px=3 * (number % 2))[0][0] for number in range(24)]
    assert [row["Flag_OutOfFocus"] for row in flagged.judged(images)] == [False, True] * 12


@pytest.mark.skipif(not BEADS.is_dir(), reason=f"{BEADS} is not here")
def test_real_planes_out_of_focus_are_flagged_and_projections_are_not():
    paths = sorted(path for path in BEADS.rglob("*_w1*.tif") if "thumb" not in path.name)
    is_plane = ["ZStep_" in path.parent.name for path in paths]
    assert sum(is_plane) == 4 and len(paths) == 8
    rows = flagged.judged([tifffile.imread(path) for path in paths])
    assert [row["Flag_OutOfFocus"] for row in rows] == is_plane


def test_the_sharpest_plane_of_a_field_decides_on_the_focus_of_its_well():
    planes = [row_of("B02", 1, Image_Status="ok", Flag_OutOfFocus=flag) for flag in (True, True, False)]
    assert plate_flags.flags_of_well(planes)["Flag_OutOfFocus"] is False
    blurred_planes = [row_of("B02", 2, Image_Status="ok", Flag_OutOfFocus=True)] * 3
    assert plate_flags.flags_of_well(planes + blurred_planes)["Flag_OutOfFocus"] is True


def test_the_ground_of_peaks_is_compared_in_heights_of_their_nuclei():
    fields = [(200, 5200, 20), (210, 6200, 30), (190, 195, 0), (1400, 6400, 20), *[(205, 5000, 10)] * 6]
    rows = [
        {"Image_Status": "ok", "Image_Ground": ground, "Image_Brightest": brightest, "Image_Count_Nuclei": count}
        | dict.fromkeys(plate_flags.FIGURES)
        | dict.fromkeys(["Flag_OutOfFocus", "Flag_Saturated", "Flag_UnlikePlate"])
        for ground, brightest, count in fields
    ]
    plate_flags.judge_fields(rows, flagged.THRESHOLDS)
    assert [row["Flag_Background"] for row in rows] == [False] * 3 + [True] + [False] * 6
    assert [row["Flag_Empty"] for row in rows] == [False] * 2 + [True] + [False] * 7
    assert {row["Flag_OutOfFocus"] for row in rows} == {row["Flag_Debris"] for row in rows} == {None}


def test_a_failed_field_has_no_flags():
    failed = {"Image_Status": "failed", **dict.fromkeys([*plate_flags.FIGURES, *plate_flags.FIELD_FLAGS])}
    assert plate_flags.judge_fields([failed], flagged.THRESHOLDS) == []
    assert {failed[column] for column in plate_flags.FIELD_FLAGS} == {None}


def test_the_thresholds_tested_are_the_configurations_defaults():
    properties = read_schema("config")["properties"]["flags"]["properties"]
    assert {name: part["default"] for name, part in properties.items()} == flagged.THRESHOLDS


@pytest.mark.skipif(not annotated.is_here(), reason=f"{annotated.FOLDER} is not here")
def test_a_fibre_in_a_real_field_is_debris_and_dividing_nuclei_are_none():
    images = {name[:8]: image for name, image, _ in annotated.annotated_fields()}
    with_fibre = images["193ffaa5"]
    without = with_fibre[:, :560]
    both = [segment_field(image, calibrate([without])).figures.debris for image in (with_fibre, without)]
    assert both[0] > 2 * flagged.THRESHOLDS["debris"] and both[1] < flagged.THRESHOLDS["debris"] / 2
