"""The network finds the same nuclei, to the bit, in whatever blocks, windows, processes and threads."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from accuracy import agreement, generated
from fieldwork import InputError, label_images, parallel
from fieldwork.segmentation import Calibration, blocks, calibrate, detector, network, segment_field, segment_nuclei
from fieldwork.segmentation.working_copies import Extent, Levels
from workspace import SCRIPTS

FIELDS = {  # by what becomes of the image: enlarged by two, as it is, shrunk by two; and a block's side
    "small nuclei": {"shape": (300, 360), "diameter": 9, "count": 250, "side": 488},
    "medium nuclei": {"shape": (520, 610), "diameter": 15, "count": 350, "side": 410},
    "large nuclei": {"shape": (801, 903), "diameter": 28, "count": 240, "debris": 40, "side": 344},
}


@pytest.fixture(scope="module", params=FIELDS)
def field(request):
    """Return an image, its calibration, where its nuclei are, and the side of blocks that are small for it, in px."""
    arguments = dict(FIELDS[request.param])
    side = arguments.pop("side")
    image, labels = generated.planted_field(17, crowding=0.5, **arguments)
    return image, calibrate([image]), labels, side


@pytest.fixture(scope="module")
def small():
    image, _ = generated.planted_field(3, shape=(200, 220), diameter=14, count=30)
    return image, calibrate([image])


def test_the_network_finds_planted_nuclei_and_has_the_figures_of_the_classical_detector(field):
    image, calibration, planted, _ = field
    found = segment_field(image, calibration, method="network")
    classical = segment_field(image, calibration, method="classical")
    assert agreement.share_of_pairs(found.labels, planted, 0.5) > 0.8
    assert found.threshold == classical.threshold > 0
    assert found[2:-1] == classical[2:-1] == (False, False, False)
    for name in ("sharpness", "width", "height"):
        assert getattr(found.figures, name) == pytest.approx(getattr(classical.figures, name), rel=0.3)
    assert found.figures[4:] == classical.figures[4:]  # of the ground


def test_blocks_give_the_labels_of_one_block(field, monkeypatch):
    image, calibration, _, side = field
    expected = segment_field(image, calibration, method="network")
    numbers, divide = [], blocks.blocks_of

    def divided(*arguments, **options):
        parts = divide(*arguments, **options)
        numbers.append(len(parts))
        return parts

    monkeypatch.setattr(detector, "MOST_NETWORK_PX", side**2)
    monkeypatch.setattr(blocks, "blocks_of", divided)
    found = segment_field(image, calibration, method="network")
    assert min(numbers) >= 9
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found[1:-1] == expected[1:-1] and found.labels.max() > 100


@pytest.mark.parametrize("is_stained", [False, True])
def test_windows_on_the_grid_see_a_nucleus_as_the_whole_slide_does(field, is_stained):
    image, calibration, *_ = field
    levels = Levels(floor=0, with_median=False, is_stained=is_stained)
    find = {"calibration": calibration, "levels": levels, "method": "network"}
    shape = image.shape
    expected = detector.segment_window(image, extent=Extent((0, 0), shape), **find)
    multiple, halo = detector.grid_of(calibration, method="network")
    assert halo >= network.HALO_PX / 2 and multiple % 8 == 0
    compared = 0
    for top, left in ((0, 0), (multiple, 2 * multiple), (3 * multiple, multiple)):
        bottom, right = shape[0] - (top > multiple) * 7, shape[1] - 5
        found = detector.segment_window(image[top:bottom, left:right], extent=Extent((top, left), shape), **find)
        rows = slice(top + halo * (top > 0), bottom - halo * (bottom < shape[0]))
        columns = slice(left + halo, right - halo)
        inner, same = found[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left], expected
        same = same[rows, columns]
        np.testing.assert_array_equal(inner > 0, same > 0)
        pairs = {(int(a), int(b)) for a, b in zip(inner.ravel(), same.ravel(), strict=True)}
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})  # no nucleus is parted otherwise
        compared += len(pairs)
    assert compared > 60


@pytest.fixture
def seen(monkeypatch):
    """Return a function that outlines a window by the network, and returns what that sees."""

    def see(image, calibration, *, is_stained):
        noted, find = [], network.objects_of

        def objects_of(values, *others):
            noted.append(values.astype(float))
            return find(values, *others)

        monkeypatch.setattr(network, "objects_of", objects_of)
        levels = Levels(floor=0, with_median=False, is_stained=is_stained)
        detector.segment_window(image, calibration, levels, Extent((0, 0), image.shape), method="network")
        [answer] = noted
        return answer

    return see


@pytest.mark.parametrize(("is_stained", "shrunk", "variance"), [(False, 1, 0), (True, 1, 3), (True, 2, 0)])
def test_stained_tissue_that_is_not_shrunk_is_blurred(seen, is_stained, shrunk, variance):
    image = np.zeros((64 * shrunk, 64 * shrunk), np.uint16)
    image[32 * shrunk, 32 * shrunk] = 40_000
    values = seen(image, Calibration(14.0 * shrunk, 5000.0, 1.0), is_stained=is_stained)
    assert values.shape == (64, 64)
    for away in np.indices(values.shape) - 32:
        assert (values * away**2).sum() / values.sum() == pytest.approx(variance, abs=0.02)


class Found:
    """Labels of an image by the network, with the number of threads of the process; can be sent to workers."""

    def __init__(self, image, calibration):
        self.image, self.calibration = image, calibration

    def __call__(self, number):
        inherited = network._read.cache_info().currsize if number < 0 else 0
        labels = segment_nuclei(self.image, self.calibration, method="network")
        return inherited, labels.tobytes()


@pytest.mark.parametrize("mode", ["paths", "fork"])
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_give_the_bytes_of_this_process_and_load_a_model_of_their_own(small, mode, workers):
    find = Found(*small)
    _, expected = find(0)
    assert network._read.cache_info().currsize  # in this process; forked ones must not work with it
    results = list(parallel.map_frames(find, [-1, *range(4)], engine="pool", mode=mode, workers=workers))
    assert results[0][0] == 0 and {found for _, found in results} == {expected}
    assert np.frombuffer(expected, np.int32).max() > 20


def test_threads_give_the_bytes_of_one(small):
    find = Found(*small)
    _, expected = find(0)
    with ThreadPoolExecutor(4) as threads:
        assert {found for _, found in threads.map(find, range(8))} == {expected}


CODE = """
import os, sys
from fieldwork import processes
processes.prepare()
import numpy as np
from fieldwork import segmentation, synthetic
image, _ = synthetic.plant_field(np.random.default_rng(0), shape=(120, 160), count=8)
calibration = segmentation.calibrate([image])
segmentation.segment_field(image, calibration, method="classical")
print("onnxruntime" in sys.modules)
print(segmentation.segment_nuclei(image, calibration, method="network").max())
print(len(os.listdir("/proc/self/task")))
"""


def test_the_runtime_is_loaded_where_the_network_is_used_alone_and_has_no_thread_of_its_own():
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "8", "1"]


def test_an_image_without_nuclei_has_none(small):
    empty = np.full((120, 130), 100, np.uint16)
    assert segment_nuclei(empty, method="network").max() == 0
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.normal(300, 20, (200, 200)), (0, 0), 1).astype(np.uint16)
    assert segment_nuclei(noise, method="network").max() == 0
    labels = segment_nuclei(noise, small[1], method="network")
    assert label_images.properties(labels).areas.size == 0


def test_another_file_in_the_place_of_a_model_is_read_anew(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(network.BUILT_IN, "own.onnx")
    find = {"calibration": small[1], "method": "network", "model": "own.onnx"}
    np.testing.assert_array_equal(
        segment_nuclei(small[0], **find), segment_nuclei(small[0], small[1], method="network")
    )
    Path("own.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match=f"^{tmp_path}/own.onnx: no model of the network: "):
        segment_nuclei(small[0], **find)
    Path("own.onnx").unlink()
    with pytest.raises(InputError, match=f"^{tmp_path}/own.onnx: the network's model cannot be read: No such file"):
        segment_nuclei(small[0], **find)


def test_an_unknown_method_is_refused(small):
    with pytest.raises(ValueError, match="method is 'net'; expected one of auto, classical, network"):
        segment_nuclei(*small, method="net")


def test_a_model_that_a_method_does_not_use_is_refused(small):
    with pytest.raises(ValueError, match="model is 'own.onnx', which method 'classical' does not use"):
        segment_nuclei(*small, method="classical", model="own.onnx")
