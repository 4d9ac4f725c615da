"""Large images, of which the calibration's coarse copy hides small nuclei, are calibrated as small ones."""

import numpy as np
import pytest

from accuracy import generated
from fieldwork.segmentation import measure_sample

SIDE = 512


@pytest.mark.parametrize("diameter", [9, 14, 25, 60])
def test_a_large_image_has_the_nuclei_of_its_parts(diameter):
    image, _ = generated.planted_field(1, shape=(SIDE, SIDE), diameter=diameter, count=SIDE**2 // (8 * diameter**2))
    expected = measure_sample(image)
    assert expected.diameter == pytest.approx(diameter, rel=0.12)
    for times in (5, 16):
        sample = measure_sample(np.tile(image, (times, times)))
        assert sample.has_nuclei and not sample.is_dark
        assert sample.diameter == pytest.approx(expected.diameter, rel=0.12)
        assert sample.contrast == pytest.approx(expected.contrast, rel=0.3)


def test_nuclei_in_one_corner_of_a_large_image_are_seen():
    image, _ = generated.planted_field(1, shape=(SIDE, SIDE), diameter=12, count=150)
    ground = np.random.default_rng(0).poisson(100, (6 * SIDE, 6 * SIDE)).astype(np.uint16)
    ground[-3 * SIDE :, -3 * SIDE :] = np.tile(image, (3, 3))
    assert measure_sample(ground).diameter == pytest.approx(measure_sample(image).diameter, rel=0.12)


def test_a_large_image_of_noise_has_no_nuclei():
    rng = np.random.default_rng(0)
    for image in (rng.poisson(30, (3000, 3100)), rng.normal(500, 20, (4100, 2500))):
        sample = measure_sample(np.rint(image).astype(np.uint16))
        assert not sample.has_nuclei and not sample.is_dark
