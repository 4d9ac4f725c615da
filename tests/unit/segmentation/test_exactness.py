"""Labels and calibrations are equal to the bit on other processors, and with any number of threads."""

import os
import subprocess
import sys

import pytest
from numpy._core._multiarray_umath import __cpu_dispatch__ as NUMPY_INSTRUCTIONS

from workspace import REPOSITORY, SCRIPTS

PROGRAM = """
import hashlib, sys
import cv2
import numpy as np
from accuracy import generated, sets
from fieldwork.segmentation import calibrate, segment_nuclei
cv2.setNumThreads(int(sys.argv[1]))
digest = hashlib.sha256()
sizes = [{"diameter": 8}, {"diameter": 45}]  # working copies that are enlarged, and shrunk
for seed, arguments in enumerate([*sets.PLATES.values(), *sizes]):
    image, _ = generated.planted_field(seed, count=60, crowding=0.8, **arguments)
    calibration = calibrate([image])
    digest.update(repr(calibration).encode())
    for method in ("network", "classical"):
        labels = segment_nuclei(image, calibration, method=method)
        assert labels.max() > 30
        digest.update(labels.tobytes())
        for _, _, empty in list(generated.empty_fields(seed, shape=(120, 160), **arguments))[::6]:
            digest.update(segment_nuclei(empty, calibration, method=method).tobytes())
print(digest.hexdigest())
"""
OPENCV_INSTRUCTIONS = ("AVX512_SKX", "AVX2", "FP16", "AVX", "SSE4_2", "SSE4_1")
NUMPY = {"NPY_DISABLE_CPU_FEATURES": ",".join(NUMPY_INSTRUCTIONS)}
OPENCV = {"OPENCV_CPU_DISABLE": ",".join(OPENCV_INSTRUCTIONS), "OPENCV_IPP": "disabled"}


def digest(threads, **environment):
    """Return the digest of labels that a process of its own finds."""
    paths = os.pathsep.join([str(SCRIPTS), str(REPOSITORY / "tests")])
    command = [sys.executable, "-c", PROGRAM, str(threads)]
    environment = os.environ | {"PYTHONPATH": paths} | environment
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def expected():
    return digest(1)


@pytest.mark.parametrize("threads, environment", [(2, {}), (1, NUMPY), (1, OPENCV), (2, NUMPY | OPENCV)])
def test_labels_are_equal_on_other_processors_and_with_more_threads(expected, threads, environment):
    assert len(expected) > 60
    assert digest(threads, **environment) == expected
