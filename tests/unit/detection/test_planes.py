"""Of several z planes of a field, the one that is asked for counts."""

import cv2
import numpy as np
import pytest

from fieldwork import frames, quality, synthetic
from fieldwork.detection import planes
from fieldwork.plates.images import FieldPlane

RANDOM = np.random.default_rng(4)
SHARP = cv2.GaussianBlur(RANDOM.normal(size=(96, 128)), (0, 0), 1.5) * 1000 + 500


def plane(z, *, blur=0.0, timepoint=None, image=SHARP):
    noise = np.random.default_rng(z or 0).normal(0, 5, image.shape)
    image = (cv2.GaussianBlur(image, (0, 0), blur) if blur else image) + noise
    return FieldPlane(timepoint, z, image, "", (), source=None)


STACK = [plane(1, blur=6), plane(2, blur=3), plane(3), plane(4, blur=3), plane(5, blur=6)]


def test_best_is_the_sharpest_plane_of_every_time_point():
    assert [chosen.z for chosen in planes.choose(STACK, z="best")] == [3]
    times = [item._replace(timepoint=1) for item in STACK]
    times += [item._replace(timepoint=2, z=6 - item.z if item.z != 3 else 5) for item in STACK if item.z != 1]
    assert [(chosen.timepoint, chosen.z) for chosen in planes.choose(times, z="best")] == [(1, 3), (2, 5)]


def test_a_constant_plane_is_never_the_sharpest():
    flat = plane(1)._replace(image=np.full(SHARP.shape, 7.0))
    assert [chosen.z for chosen in planes.choose([flat, plane(2, blur=8)], z="best")] == [2]


@pytest.mark.parametrize("depth", [1.5, 1e9])
def test_a_plane_of_noise_is_never_the_sharpest(depth):
    nuclei, _ = synthetic.plant_field(np.random.default_rng(1), shape=(256, 320), count=25)
    ground, stack = np.median(nuclei), []
    for z in range(1, 10):
        signal = nuclei - ground
        if z != 4:
            signal = cv2.GaussianBlur(signal, (0, 0), 2 * abs(z - 4)) * np.exp(-(((z - 4) / depth) ** 2))
        noise = np.random.default_rng(z).normal(ground, 20, nuclei.shape)
        stack.append(plane(z)._replace(image=np.clip(signal + noise, 0, 65535).astype(np.uint16)))
    if depth < 9:  # a confocal microscope's
        assert max(stack, key=lambda plane: quality.sharpness(plane.image)).z != 4
    assert [chosen.z for chosen in planes.choose(stack, z="best")] == [4]


def test_all_are_all_and_a_number_is_one():
    assert planes.choose(STACK, z="all") == STACK
    assert [chosen.z for chosen in planes.choose(STACK, z=4)] == [4]
    alone = plane(None)
    assert planes.choose([alone], z=4) == planes.choose([alone], z="projection") == [alone]


@pytest.mark.parametrize(
    ("z", "message"),
    [(6, "holds the z planes 1, 2, 3, 4, 5; none is plane 6"), ("projection", "none is known to be a projection")],
)
def test_a_plane_that_is_not_there_is_a_reason(z, message):
    with pytest.raises(frames.FrameError, match=message):
        planes.choose(STACK, z=z)


def test_of_tiny_planes_none_is_the_sharpest():
    with pytest.raises(frames.FrameError, match="too small to tell the sharpest plane"):
        planes.choose([plane(z, image=SHARP[:20, :20]) for z in (1, 2)], z="best")
