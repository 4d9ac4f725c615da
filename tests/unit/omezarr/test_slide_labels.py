"""Label images of slides: the pixels that windows hold, at every level, in every store."""

import functools
import json
import tracemalloc

import cv2
import numpy as np
import pytest
import zarr
from ome_zarr_models import v04, v05

from fieldwork import label_images
from fieldwork.omezarr import slide_labels, slides

STORES = [("0.5", 512, "zstd"), ("0.5", 500, "lz4"), ("0.4", 256, "zstd"), ("0.4", 4096, "none"), ("0.4", 240, "keep")]


def empty_store(path, shape, *, version="0.5", chunk=512, codec="zstd"):
    slides.create_slide(
        path, shape=shape, version=version, chunk=chunk, shard=chunk, codec=codec, level=1, mpp=(0.5, 0.25), name="A"
    )
    return path


@functools.cache
def nuclei(shape, *, side=200):
    """Draw a slide's label image with nuclei across the borders of blocks, and cut it into windows of blocks.

    Return the label image, and numbers, labels and origin of each window: of the nuclei whose first pixels are in the
    block. Numbers go on from block to block.
    """
    random, painted = np.random.default_rng(0), np.zeros(shape, np.int32)
    for number, (y, x) in enumerate(np.argwhere(np.ones((shape[0] // side, shape[1] // side))) * side, 1):
        axes, angle = (int(random.integers(40, 110)), 30), int(random.integers(180))
        cv2.ellipse(painted, (int(x + random.integers(side)), int(y)), axes, angle, 0, 360, number, -1)
    painted = label_images.renumber(painted)
    runs = label_images.runs_of(painted)
    _, first = np.unique(runs.labels, return_index=True)
    rows, columns = np.divmod(runs.starts[first], shape[1])
    block = np.append(-1, rows // 2048 * 100 + columns // 2048)
    image, windows = np.zeros(shape, np.uint32), []
    for number in np.unique(block[1:]):
        inside = (block == number)[painted]
        spans = [np.flatnonzero(inside.any(axis)) for axis in (1, 0)]
        window = tuple(slice(span[0], span[-1] + 1) for span in spans)
        labels = label_images.renumber(np.where(inside[window], painted[window], 0))
        numbers = np.arange(1, labels.max() + 1) + image.max()
        image[window] = np.where(labels, numbers[labels - 1], image[window])
        windows.append((numbers, labels, (window[0].start, window[1].start)))
    return image, windows


def write(path, windows):
    with slide_labels.label_writer(path, "nuclei", mpp=(0.5, 0.25)) as add:
        for window in windows:
            add(*window)


def levels_of(path, name="nuclei"):
    group = zarr.open_group(path / "labels" / name, mode="r")
    return [group[key][:] for key in sorted(group.array_keys(), key=int)]


def listed(path):
    attributes = zarr.open_group(path / "labels", mode="r").attrs.asdict()
    return attributes.get("ome", attributes)["labels"]


@pytest.mark.parametrize(("version", "chunk", "codec"), STORES)
def test_every_level_holds_the_windows_pixels(tmp_path, version, chunk, codec):
    image, windows = nuclei((4400, 4301))
    path = empty_store(tmp_path / "slide.zarr", image.shape, version=version, chunk=chunk, codec=codec)
    levels = len(slides.open_levels(path))
    write(path, windows)
    assert len(windows) >= 6
    written = levels_of(path)
    assert len(written) == levels >= 2
    for n, labels in enumerate(written):
        assert labels.dtype == np.uint32
        np.testing.assert_array_equal(labels, image[:: 2**n, :: 2**n])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_metadata_are_valid_and_place_the_pixels(tmp_path, version):
    image, windows = nuclei((2100, 1000))
    path = empty_store(tmp_path / "slide.zarr", image.shape, version=version)
    slides.add_label(path, "tissue", np.ones((66, 32), np.uint8), factor=32, mpp=(0.5, 0.25))
    write(path, windows)
    assert listed(path) == ["tissue", "nuclei"]
    group = zarr.open_group(path / "labels/nuclei", mode="r")
    if version == "0.5":
        label = v05.image_label.ImageLabel.from_zarr(group).ome_attributes
    else:
        label = v04.image_label.ImageLabel.from_zarr(group).attributes
    for n, dataset in enumerate(label.multiscales[0].datasets):
        scale, translation = dataset.coordinateTransformations
        assert (tuple(scale.scale), tuple(translation.translation)) == ((0.5 * 2**n, 0.25 * 2**n), (0, 0))
    metadata = json.loads((path / "labels/nuclei/0" / ("zarr.json" if version == "0.5" else ".zarray")).read_text())
    if version == "0.5":
        assert [codec["name"] for codec in metadata["codecs"]] == ["sharding_indexed"]
        assert metadata["chunk_grid"]["configuration"]["chunk_shape"] == [2048, 2048]
    else:
        assert metadata["chunks"] == [512, 512]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_what_is_empty_has_no_file(tmp_path, version):
    path = empty_store(tmp_path / "slide.zarr", (6000, 6000), version=version)
    write(path, [([1], np.ones((10, 10), np.int32), (5000, 5000))])
    chunks = [file for file in path.glob("labels/nuclei/*/**/*") if file.is_file() and file.name.isdigit()]
    assert len(chunks) == len(slides.open_levels(path)) == 5


def test_the_same_windows_are_the_same_bytes_and_an_older_label_goes(tmp_path):
    image, windows = nuclei((2500, 2500))
    path = empty_store(tmp_path / "slide.zarr", image.shape)

    def bytes_of():
        return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}

    write(path, windows)
    first = bytes_of()
    write(path, [([7], np.ones((10, 10), np.int32), (2400, 2400))])
    assert bytes_of() != first
    write(path, windows)
    assert bytes_of() == first


def test_nothing_stays_of_a_job_that_fails_or_is_undone(tmp_path):
    image, windows = nuclei((2500, 2500))
    path = empty_store(tmp_path / "slide.zarr", image.shape)
    write(path, windows)
    with pytest.raises(ZeroDivisionError), slide_labels.label_writer(path, "nuclei", mpp=None) as add:
        add(*windows[0])
        assert listed(path) == [] and not (path / "labels/nuclei").exists()
        raise ZeroDivisionError
    assert listed(path) == [] and not list(path.glob("labels/*nuclei*"))
    write(path, windows)
    (path / "labels/.nuclei.0.part").mkdir()  # of a job that was killed
    slide_labels.discard_label(path, "nuclei")
    slide_labels.discard_label(path, "nuclei")
    assert listed(path) == [] and not list(path.glob("labels/*nuclei*"))


def test_a_slide_without_nuclei_has_an_empty_label(tmp_path):
    path = empty_store(tmp_path / "slide.zarr", (700, 600))
    write(path, [])
    assert [labels.any() for labels in levels_of(path)] == [False, False] and listed(path) == ["nuclei"]


def test_a_wide_slide_needs_little_memory(tmp_path):
    path, side = empty_store(tmp_path / "slide.zarr", (2048, 24_000)), 32
    labels = np.repeat(np.repeat(np.arange(1, 64**2 + 1, dtype=np.int32).reshape(64, 64), side, 0), side, 1)
    tracemalloc.start()
    try:
        with slide_labels.label_writer(path, "nuclei", mpp=None) as add:
            for column in range(0, 24_000 - 2048, 2048):
                add(np.arange(1, 64**2 + 1), labels, (0, column))
        assert tracemalloc.get_traced_memory()[1] < 120e6  # a row of blocks has 197 MB
    finally:
        tracemalloc.stop()
