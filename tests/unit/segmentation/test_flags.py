"""A field that is out of focus, saturated or unlike its plate keeps its count and gets a flag; others get none."""

import numpy as np
import pytest

from accuracy import generated, sets
from fieldwork.segmentation import calibrate, measure_sample, network, segment_field

pytestmark = pytest.mark.usefixtures("detector")  # both, one after the other
SEEDS = (7, 8)
FLAGS = ("out_of_focus", "saturated", "unlike_plate")
FIELD = {"shape": (260, 348), "count": 20}


def flags(plate, **changes):
    """Return the flags of two fields that differ from their plate, and how many nuclei each has."""
    arguments = FIELD | sets.PLATES[plate]
    calibration = calibrate([generated.planted_field(seed, **arguments)[0] for seed in (1, 2, 3)])
    results = [segment_field(generated.planted_field(seed, **arguments | changes)[0], calibration) for seed in SEEDS]
    return [{flag for flag in FLAGS if getattr(r, flag)} for r in results], [int(r.labels.max()) for r in results]


USUAL = {
    "as the others": {},
    "crowded": {"count": 30, "crowding": 0.9},
    "a few nuclei": {"count": 4},
    "no nuclei": {"count": 0},
    "somewhat soft": {"blur": 0.12},
    "uneven light": {"uneven": 0.5},
    "sizes that vary": {"size_spread": 0.25},
}


@pytest.mark.parametrize("plate", sets.PLATES)
@pytest.mark.parametrize("change", USUAL)
def test_fields_of_a_plate_have_no_flags(plate, change):
    assert flags(plate, **USUAL[change])[0] == [set(), set()]


@pytest.mark.parametrize("plate", sets.PLATES)
def test_blurred_fields_are_out_of_focus_and_keep_their_nuclei(plate):
    found, counts = flags(plate, blur=0.3)
    assert found == [{"out_of_focus"}, {"out_of_focus"}]
    assert min(counts) >= 15
    assert all("out_of_focus" in flag for flag in flags(plate, blur=0.6)[0])  # of these the network finds none


@pytest.mark.parametrize(("count", "is_unlike"), [(20, True), (4, False)])
def test_fields_in_which_the_other_detector_alone_sees_five_objects_are_unlike_their_plate(
    monkeypatch, detector, count, is_unlike
):
    monkeypatch.setattr(network, "SURE", 256)  # it is sure of none
    (plate, *_) = sets.PLATES
    expected = {"unlike_plate"} if is_unlike and detector == "network" else set()
    found, counts = flags(plate, count=count)
    assert found == [expected, expected]
    assert counts == [0 if detector == "network" else count] * 2


@pytest.mark.parametrize("plate", sets.PLATES)
def test_nuclei_of_another_size_or_brightness_are_unlike_their_plate(plate):
    arguments = {"diameter": generated.DIAMETER, "contrast": generated.CONTRAST} | sets.PLATES[plate]
    for change in ({"diameter": arguments["diameter"] / 2}, {"contrast": arguments["contrast"] / 8}):
        found, counts = flags(plate, **change)
        assert all("unlike_plate" in flag for flag in found), change
        assert min(counts) > 4
    assert all(flags(plate, diameter=2 * arguments["diameter"], count=8)[0])  # or as out of focus: their edges are soft


@pytest.mark.parametrize("top, offset", [(255, 10), (4095, 200), (65535, 1000)])
def test_nuclei_at_the_limit_of_the_camera_are_saturated(top, offset):
    arguments = FIELD | {"offset": offset, "ground": top / 50, "noise": top / 400}
    plate = [generated.planted_field(seed, contrast=top / 4, **arguments)[0] for seed in (1, 2, 3)]
    calibration = calibrate(plate)
    assert [segment_field(image, calibration).saturated for image in plate] == [False] * 3
    image, _ = generated.planted_field(7, contrast=top, dtype="float64", **arguments)
    clipped = np.minimum(image, top).astype(np.uint16 if top > 255 else np.uint8)
    assert segment_field(clipped, calibration).saturated


def test_a_frame_at_the_limit_of_the_camera_is_saturated():
    calibration = calibrate([generated.planted_field(1, **FIELD)[0]])
    result = segment_field(np.full((200, 300), 65535, np.uint16), calibration)
    assert result.saturated
    assert result.labels.max() == 0


def test_dark_nuclei_on_a_bright_ground_are_told_from_bright_ones():
    for seed in SEEDS:
        image, _ = generated.planted_field(seed, contrast=1500, **FIELD)
        assert not measure_sample(image).is_dark
        assert measure_sample(4000 - np.minimum(image, 3999)).is_dark


@pytest.mark.parametrize("plate", sets.PLATES)
def test_fields_without_nuclei_are_not_dark_ones(plate):
    empty = list(generated.empty_fields(3, shape=FIELD["shape"], **sets.PLATES[plate]))
    assert [name for _, name, image in empty if measure_sample(image).is_dark] == []


@pytest.mark.parametrize("value", [0, 500, 65535])
def test_a_field_of_one_value_is_unlike_its_plate(value):
    calibration = calibrate([generated.planted_field(1, **FIELD)[0]])
    for known in (calibration, calibration._replace(diameter=None, contrast=None)):
        field = segment_field(np.full(FIELD["shape"], value, np.uint16), known)
        assert field.unlike_plate and not field.labels.any()
