"""Which images of a sample count, and what is doubtful about a calibration by them."""

import numpy as np
import pytest

from fieldwork import segmentation, synthetic
from fieldwork.frames import usual_form
from fieldwork.segmentation import sampling

PLANTED = segmentation.measure_sample(synthetic.plant_field(np.random.default_rng(0), shape=(200, 200), count=12)[0])
NOTHING = segmentation.measure_sample(np.random.default_rng(0).normal(500, 5, (200, 200)).astype(np.uint16))
DARK = NOTHING._replace(is_dark=True)
OTHER_SIZE = PLANTED._replace(diameter=PLANTED.diameter * 2.5)


def readings(*samples, form="a"):
    """Return readings of samples; of a text, one that could not be read for that reason."""
    return [
        sampling.Reading(f"image {number}", error=sample)
        if isinstance(sample, str)
        else sampling.Reading(f"image {number}", form=form, sample=sample)
        for number, sample in enumerate(samples)
    ]


def take(read):
    return sampling.take(iter(read), usual_form=usual_form)


def test_the_samples_of_this_test_are_what_they_are_called():
    assert PLANTED.has_nuclei and not NOTHING.has_nuclei and not PLANTED.is_dark


def test_reading_stops_at_the_24th_image_with_nuclei():
    read = iter(readings(*[NOTHING, PLANTED, "broken", PLANTED] * 20))
    sampled = sampling.take(read, usual_form=usual_form)
    assert len(list(read)) == 80 - 48  # not read
    assert [reading.sample.has_nuclei for reading in sampled.used].count(True) == 24 and len(sampled.used) == 36
    assert [reason for _, reason in sampled.passed_over] == ["broken"] * 12


def test_where_forms_are_mixed_all_are_read_and_the_majority_counts():
    read = readings(*[PLANTED] * 20, form="b") + readings(*[PLANTED] * 40, form="a")
    sampled = take(read)
    assert {reading.form for reading in sampled.used} == {"a"} and len(sampled.used) == 24
    assert len(sampled.passed_over) == 20
    assert sampled.passed_over[0][1] == "found b, the sample's images are a"
    no_majority = take(readings(PLANTED, form="b") + readings(PLANTED, form="a"))
    assert len(no_majority.used) == 2


def test_a_calibration_is_that_of_the_images_and_what_the_user_set_replaces_it():
    used = take(readings(PLANTED, NOTHING, PLANTED)).used
    calibration = sampling.calibrate(used)
    assert calibration == segmentation.calibration_of([PLANTED, NOTHING, PLANTED])
    assert calibration.diameter and calibration.contrast
    larger = sampling.calibrate(used, diameter=calibration.diameter * 1.5)
    assert larger.diameter == pytest.approx(calibration.diameter * 1.5, rel=0.01) and larger.contrast
    brighter = sampling.calibrate(used, contrast=4560)
    assert brighter == calibration._replace(contrast=4560)
    both = sampling.calibrate(take(readings(NOTHING)).used, diameter=20, contrast=300)
    assert (both.diameter, both.contrast) == (20, 300)
    assert sampling.calibrate([]) is None


def test_dark_images_do_not_count_and_where_most_are_dark_nothing_does():
    few = take(readings(DARK, PLANTED, PLANTED)).used
    assert sampling.calibrate(few) == segmentation.calibration_of([PLANTED, PLANTED])
    most = take(readings(DARK, DARK, PLANTED)).used
    for calibration in (sampling.calibrate(most), sampling.calibrate(most, diameter=9, contrast=100)):
        assert calibration.diameter is calibration.contrast is None


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([PLANTED] * 8, None),
        ([PLANTED, NOTHING, NOTHING], None),
        (["broken", "cut"], "none of the 2 fields of its sample can be read; first image 0: broken"),
        ([NOTHING, NOTHING], "no nucleus stands out from the noise"),
        ([PLANTED, DARK, DARK], "2 of the 3 fields of its sample show dark nuclei on a bright ground, first image 1"),
        ([PLANTED] * 6 + [OTHER_SIZE] * 2, "2 of the 8 fields of its sample do not fit its calibration"),
        ([PLANTED] * 7 + [OTHER_SIZE], None),
        ([PLANTED] * 2 + [DARK], "first image 2: dark nuclei on a bright ground"),
    ],
)
def test_one_line_says_what_was_seen_where_a_calibration_is_doubtful(samples, expected):
    sampled = take(readings(*samples))
    bright = [reading for reading in sampled.used if reading.sample == PLANTED] or sampled.used
    warning = sampling.warning_of(sampled, sampling.calibrate(bright), noun="fields", method="auto", channel="w1")
    assert warning is None if expected is None else expected in warning and "\n" not in warning


def test_images_of_several_types_are_the_reason_where_they_have_no_nucleus_in_common():
    used = [sampling.Reading(number, form=form, sample=PLANTED) for number, form in enumerate(["uint8", "uint16"] * 2)]
    nothing = sampling.calibrate(take(readings(NOTHING)).used)
    warning = sampling.warning_of(sampling.Sampled(used, []), nothing, noun="fields", method="auto")
    assert "of several sizes or types, and none is that of most (2 of uint16; 2 of uint8)" in warning
    warning = sampling.warning_of(sampling.Sampled(used[::2], []), nothing, noun="fields", method="auto")
    assert "no typical nucleus, so that none are found" in warning


@pytest.mark.parametrize("samples", [[PLANTED] * 3, [PLANTED, PLANTED, DARK]])
def test_a_calibration_that_finds_nothing_where_images_show_nuclei_is_doubtful(samples):
    sampled, nothing = take(readings(*samples)), sampling.calibrate(take(readings(NOTHING)).used)
    warning = sampling.warning_of(sampled, nothing, noun="fields", method="auto")
    assert "no typical nucleus, so that none are found, although " in warning and "first image 0; set" in warning
    for calibration in (nothing, None):
        warning = sampling.warning_of(sampled, calibration, noun="fields", method="auto", other="P2")
        assert warning.startswith("plate P2, whose calibration it takes, shows no nuclei") and "\n" not in warning


def test_doubts_are_those_of_the_method():
    nothing, dark, broken = (take(readings(*samples)) for samples in ([NOTHING], [DARK, DARK], ["broken"]))
    calibration = sampling.calibrate(nothing.used)
    for method, doubts in {"peaks": [False, True, True], "own.segment": [False, False, True]}.items():
        warnings = [
            sampling.warning_of(sampled, calibration, noun="fields", method=method)
            for sampled in (nothing, dark, broken)
        ]
        assert [bool(warning) for warning in warnings] == doubts
        assert not any("method auto" in warning for warning in warnings if warning)


def test_an_image_does_not_fit_by_a_factor_of_two_in_size_or_four_in_contrast():
    calibration = segmentation.calibration_of([PLANTED])
    for name, factor in (("diameter", 2), ("contrast", 4)):
        for scale in (factor * 1.01, 1 / factor / 1.01):
            other = PLANTED._replace(**{name: getattr(calibration, name) * scale})
            assert sampling.misfit(other, calibration) > 1
            assert sampling.misfit(other._replace(**{name: getattr(calibration, name) * scale**0.9}), calibration) < 1
    assert sampling.misfit(NOTHING, calibration) == 0
