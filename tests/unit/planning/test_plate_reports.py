"""What the last lines of a run say of a plate: where the threshold of peaks lies, and what was previewed."""

import math
import os

import pytest

from fieldwork import outputs
from fieldwork.planning import runs
from fieldwork.planning.plate_reports import PlateReport, StackReport

LEVELS = {"ground": 300.0, "brightest": 5000.0, "fields": 64, "nuclei": 2400, "threshold": 1000.0, "sigma": 4.0}
CALIBRATION = {"diameter": 14.0, "contrast": 2500.0, "noise": 12.0, "fields": [], "levels": None, "warnings": []}
DETECTIONS = {
    "auto": {"method": "auto", "diameter": None, "contrast": None},
    "peaks": {"method": "peaks", "sigma": 4.0, "min_distance": 6, "threshold_abs": 1000.0},
    "own": {"method": "own.segment", "function": "own.segment", "arguments": {}},
}
SMOOTHED = 1 - math.exp(-(14**2) / (8 * 4**2))  # of a disc's height, at its centre


def report_of(folder, *, method="peaks", threshold=1000.0, levels=None, calibration=None, flagged=None):
    detection = DETECTIONS[method] | ({"threshold_abs": threshold} if method == "peaks" else {})
    plate = folder / "plates" / "P1"
    plate.mkdir(parents=True, exist_ok=True)
    if levels or flagged:
        outputs.write_json({"levels": levels, "flagged": flagged or {}}, plate / "summary.json")
    if calibration:
        outputs.write_json({"settings": {"detection": detection}, **calibration}, plate / "calibration.json")
    return PlateReport(folder, "P1", detection)


def test_a_threshold_between_ground_and_nuclei_is_no_matter(tmp_path):
    assert report_of(tmp_path, levels=LEVELS).warnings() == []
    assert report_of(tmp_path, levels=LEVELS, calibration=CALIBRATION).warnings() == []
    assert PlateReport(tmp_path, "not yet done", DETECTIONS["peaks"]).warnings() == []


def test_a_damaged_file_is_a_warning_and_ends_no_run(tmp_path):
    report_of(tmp_path, levels=LEVELS, calibration=CALIBRATION)
    for name in ("summary.json", "calibration.json"):
        path = tmp_path / "plates/P1" / name
        path.write_bytes(path.read_bytes()[:40])
    warnings = report_of(tmp_path).warnings()
    assert [warning.partition(" is damaged (")[0] for warning in warnings] == [
        f"plate P1: {tmp_path}/plates/P1/{name}" for name in ("summary.json", "calibration.json")
    ]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ({"ground": 1001.0}, "its background (1001) lies above the threshold of peaks (1000)"),
        ({"brightest": 1000.0, "nuclei": 0}, "its brightest peaks (1000) lie below the threshold of peaks (1000)"),
    ],
)
def test_a_threshold_that_is_too_low_or_too_high_is_one_line_with_what_to_do(tmp_path, levels, expected):
    (warning,) = report_of(tmp_path, levels=LEVELS | levels).warnings()
    assert warning.startswith(f"plate P1: {expected}") and "\n" not in warning
    assert "`snakemake --cores N preview` measures the threshold that would fit" in warning
    (warning,) = report_of(tmp_path, levels=LEVELS | levels, calibration=CALIBRATION).warnings()
    ground = levels.get("ground", 300)
    assert warning.startswith(f"plate P1: {expected}") and "preview" not in warning
    assert "its typical nucleus is 2500 above the background (calibration.json)" in warning
    fitting = float(warning.partition("a threshold of ")[2].partition(" would fit")[0])
    assert ground < fitting < ground + 2500 * SMOOTHED


def test_typical_nuclei_below_the_threshold_are_known_by_the_calibration_alone(tmp_path):
    levels = LEVELS | {"threshold": 3000.0, "nuclei": 38}  # a few of many
    assert report_of(tmp_path, threshold=3000.0, levels=levels).warnings() == []
    (warning,) = report_of(tmp_path, threshold=3000.0, levels=levels, calibration=CALIBRATION).warnings()
    assert f"its typical nuclei ({300 + 2500 * SMOOTHED:.4g}) lie below the threshold of peaks (3000): 38" in warning


def test_levels_are_those_of_the_tables_or_else_of_the_sample_and_of_peaks_alone(tmp_path):
    low = LEVELS | {"ground": 1001.0}
    sampled = CALIBRATION | {"levels": low}
    assert len(report_of(tmp_path, calibration=sampled).warnings()) == 1
    assert PlateReport(tmp_path, "P1", DETECTIONS["auto"]).warnings() == []
    assert report_of(tmp_path, levels=LEVELS).warnings() == []


def test_tables_by_another_threshold_raise_no_doubts_about_the_present_one(tmp_path):
    low = LEVELS | {"ground": 1001.0}
    report = report_of(tmp_path, threshold=1500.0, levels=low)
    assert report.warnings() == []
    previewed = CALIBRATION | {"levels": low | {"threshold": 1500.0, "ground": 1501.0}}
    (warning,) = report_of(tmp_path, threshold=1500.0, levels=low, calibration=previewed).warnings()
    assert "its background (1501) lies above the threshold of peaks (1500)" in warning


def test_a_calibration_without_nuclei_is_no_reason_to_preview_again(tmp_path):
    nothing = CALIBRATION | {"diameter": None, "contrast": None}
    levels = LEVELS | {"brightest": 400.0, "nuclei": 0}
    (warning,) = report_of(tmp_path, levels=levels, calibration=nothing).warnings()
    assert warning.endswith("no nucleus stands out in its sample (calibration.png)")


def test_a_calibration_of_another_method_says_nothing(tmp_path):
    doubted = CALIBRATION | {"warnings": ["no nucleus stands out"]}
    assert len(report_of(tmp_path, method="auto", calibration=doubted).warnings()) == 1
    for method in ("peaks", "own"):
        report = PlateReport(tmp_path, "P1", DETECTIONS[method])
        assert report.warnings() == [] and report.preview() == ""


def test_warnings_of_a_calibration_stand_in_the_summary_of_every_run(tmp_path):
    report = report_of(tmp_path, method="auto", calibration=CALIBRATION | {"warnings": ["no nucleus stands out"]})
    for _ in range(2):
        said = runs.summary(["P1"], [], [], tmp_path, "logs", reports=[report])
        assert said.splitlines()[-1] == "WARNING plate P1: no nucleus stands out"


def test_flagged_fields_are_counted_over_all_plates(tmp_path):
    flagged = {"out_of_focus": 2, "saturated": 0, "unlike_plate": 1}
    report = report_of(tmp_path, method="auto", flagged=flagged)
    said = runs.summary(["P1", "P2"], [], [], tmp_path, "logs", reports=[report, report])
    assert "Fields with a doubtful count: 4 out of focus, 2 unlike their plate" in said
    none = report_of(tmp_path, method="auto", flagged=dict.fromkeys(flagged, 0))
    assert "doubtful" not in runs.summary(["P1"], [], [], tmp_path, "logs", reports=[none])


@pytest.mark.parametrize(
    ("method", "remedy"),
    [
        ("auto", "set diameter (px) or contrast"),
        ("peaks", "set threshold, sigma or min_distance"),
        ("own", "arguments"),
    ],
)
def test_a_preview_is_one_line_on_the_nuclei_of_a_field_and_what_to_set(tmp_path, method, remedy):
    sampled = CALIBRATION | {"fields": [{"nuclei": count} for count in (41, 12, None, 88)]}
    report = report_of(tmp_path, method=method, calibration=sampled)
    (line,) = report.preview().splitlines()
    assert line.startswith(
        "plate P1: median 41 nuclei a field (12 to 88 in 3 fields of its sample), typically 14 px wide"
    )
    assert f"{tmp_path}/plates/P1/calibration.png" in line and remedy in line
    said = runs.summary(["P1"], [], [], tmp_path, "logs", reports=[report], preview=True)
    assert line in said.splitlines() and line not in runs.summary(["P1"], [], [], tmp_path, "logs", reports=[report])
    assert PlateReport(tmp_path, "not yet done", DETECTIONS[method]).preview() == ""


def test_a_preview_without_a_typical_nucleus_says_no_size(tmp_path):
    nothing = CALIBRATION | {"diameter": None, "contrast": None, "fields": [{"nuclei": 0}]}
    line = report_of(tmp_path, method="auto", calibration=nothing).preview()
    assert line.startswith("plate P1: median 0 nuclei a field (0 to 0 in 1 fields of its sample). If")
    unread = report_of(tmp_path, method="auto", calibration=nothing | {"fields": []})
    assert unread.preview().startswith("plate P1: no good field")


def test_a_preview_says_which_fields_failed(tmp_path):
    fields = [{"nuclei": 9}, {"nuclei": None, "error": "own.segment failed: no light"}, {"nuclei": None}]
    line = report_of(tmp_path, method="own", calibration=CALIBRATION | {"fields": fields}).preview()
    assert (
        "(9 to 9 in 1 fields of its sample); 1 of its fields failed, first: own.segment failed: no light, typ" in line
    )


def test_a_stack_is_reported_as_a_plate_is_and_its_flagged_frames_are_counted(tmp_path):
    folder = tmp_path / "stacks" / "film"
    folder.mkdir(parents=True)
    frames = [{"nuclei": 3}, {"nuclei": None}, {"nuclei": 9}]
    calibration = {key: value for key, value in CALIBRATION.items() if key != "fields"}
    calibration |= {"frames": frames, "warnings": ["no nucleus"], "settings": {"detection": DETECTIONS["auto"]}}
    outputs.write_json(calibration, folder / "calibration.json")
    report = StackReport(tmp_path, "film", DETECTIONS["auto"])
    assert report.warnings() == ["stack film: no nucleus"]
    assert report.preview().startswith(
        "stack film: median 6 nuclei a frame (3 to 9 in 2 frames of its sample), typically 14 px"
    )
    flags = {
        "Flag_OutOfFocus": [True, True, None],
        "Flag_Saturated": [False] * 3,
        "Flag_UnlikePlate": [False, True, None],
    }
    rows = [
        {"Image_Status": "ok", "Image_Count_Nuclei": 4, **{name: values[index] for name, values in flags.items()}}
        for index in range(3)
    ]
    outputs.write_csv(rows, list(rows[0]), folder / "frames.csv")
    summary = runs.summary([], [], ["film"], tmp_path, "logs", stack_reports=[report]).splitlines()
    assert "Frames with a doubtful count: 2 out of focus, 1 unlike their stack" in summary
    assert summary[-2] == "WARNING stack film: no nucleus" and "view.py" in summary[-1]


def test_what_was_decided_for_a_stack_is_told_once_in_the_end_whatever_is_done_with_its_frames(tmp_path):
    folder = tmp_path / "stacks" / "film"
    folder.mkdir(parents=True)
    outputs.write_json({"notes": ["GFP, the first, is taken"]}, folder / "summary.json")
    expected = ["stack film: GFP, the first, is taken"]
    assert StackReport(tmp_path, "film", None).warnings() == expected
    calibration = CALIBRATION | {"frames": [], "settings": {"detection": DETECTIONS["auto"]}}
    outputs.write_json(calibration | {"warnings": ["GFP, the first, is taken"]}, folder / "calibration.json")
    assert StackReport(tmp_path, "film", None).warnings() == expected
    assert StackReport(tmp_path, "film", DETECTIONS["auto"]).warnings() == expected
    assert StackReport(tmp_path, "film", None).preview() == ""


@pytest.mark.parametrize(("calibrated", "is_told"), [(99, True), (101, False)])
def test_a_preview_with_a_newer_calibration_does_not_tell_what_was_decided_for_older_tables(
    tmp_path, calibrated, is_told
):
    folder = tmp_path / "stacks" / "film"
    folder.mkdir(parents=True)
    outputs.write_json({"notes": ["number 0, the first, is taken"]}, folder / "summary.json")
    calibration = CALIBRATION | {"frames": [], "settings": {"detection": DETECTIONS["auto"]}}
    outputs.write_json(calibration, folder / "calibration.json")
    os.utime(folder / "summary.json", (100, 100))
    os.utime(folder / "calibration.json", (calibrated, calibrated))
    report = StackReport(tmp_path, "film", DETECTIONS["auto"])
    told = "stack film: number 0, the first, is taken"
    assert (told in report.warnings(preview=True)) == is_told and told in report.warnings()
    said = runs.summary([], [], ["film"], tmp_path, "logs", stack_reports=[report], preview=True)
    assert (told in said) == is_told


def test_doubts_about_the_light_of_a_plate_are_told_in_the_end(tmp_path):
    folder = tmp_path / "plates" / "P1" / "illumination"
    folder.mkdir(parents=True)
    outputs.write_json({"warnings": ["channel DNA: its light is not corrected"]}, folder / "functions.json")
    assert report_of(tmp_path).warnings() == ["plate P1: channel DNA: its light is not corrected"]
