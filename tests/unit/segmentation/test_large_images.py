"""Large images have the nuclei that their parts have, and take little memory."""

import subprocess
import sys

import numpy as np
import pytest

from accuracy import generated
from fieldwork.segmentation import calibrate, segment_nuclei
from workspace import REPOSITORY, SCRIPTS

PART_PX = 512
LARGEST_BYTES_PER_PX = 14  # 16,000 x 16,000 px stay under 4 GB, with the image and the interpreter
either = pytest.mark.parametrize("method", ["network", "classical"])


def tiled(side, diameter, seed=1):
    """Return a square image of one field over and over, and the field."""
    part, _ = generated.planted_field(seed, shape=(PART_PX, PART_PX), count=60, diameter=diameter, contrast=1500)
    times = -(-side // PART_PX)
    return np.tile(part, (times, times))[:side, :side], part


@pytest.mark.parametrize("side, diameter", [(1300, 8), (2048, 7), (2048, 12), (4096, 9), (4096, 24), (8192, 20)])
def test_small_nuclei_of_a_large_image_are_measured_as_in_a_small_one(side, diameter):
    large, part = tiled(side, diameter)
    calibration, expected = calibrate([large]), calibrate([part])
    assert calibration.diameter == pytest.approx(expected.diameter, rel=0.25)
    assert calibration.contrast == pytest.approx(expected.contrast, rel=0.4)


@either
def test_a_large_image_has_the_nuclei_of_its_parts(method):
    large, part = tiled(2048, 12)
    count = segment_nuclei(part, calibrate([part]), method=method).max()
    assert segment_nuclei(large, method=method).max() == pytest.approx(count * 16, rel=0.03)


def test_a_large_image_without_nuclei_has_none():
    large, _ = generated.planted_field(2, shape=(2000, 2000), count=0)
    assert calibrate([large]).diameter is None
    assert segment_nuclei(large).max() == 0


@either
def test_large_nuclei_of_a_large_image_are_measured_in_the_whole(method):
    image, truth = generated.planted_field(3, shape=(1500, 1800), count=20, diameter=180)
    assert calibrate([image]).diameter == pytest.approx(180, rel=0.3)
    assert segment_nuclei(image, method=method).max() == pytest.approx(truth.max(), rel=0.1)


PROGRAM = """
import resource, sys
import numpy as np
from fieldwork.segmentation import Calibration, segment_nuclei
side = 4000
rng = np.random.default_rng(0)
rows, columns = np.mgrid[:100, :100]
part = 100 + 1500 * (np.hypot(rows - 50, columns - 50) < 10) + rng.integers(0, 20, (100, 100))
image = np.tile(part.astype(np.uint16), (side // 100, side // 100))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
labels = segment_nuclei(image, Calibration(20.0, 1500.0, 10.0), method=sys.argv[1])
assert labels.max() == (side // 100) ** 2, labels.max()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / side**2)
"""


@either
def test_segmentation_takes_little_memory(method):
    command = [sys.executable, "-c", PROGRAM, method]
    environment = {"PYTHONPATH": f"{SCRIPTS}:{REPOSITORY / 'tests'}"}
    result = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert float(result.stdout) < LARGEST_BYTES_PER_PX
