"""Detection on slides resumes after a kill: finished blocks are not outlined again, and all files are the same."""

import hashlib
import json
import logging
import random
import subprocess
import sys
import time
from pathlib import Path

import imagecodecs
import pytest

import detect_slide_nuclei
from fieldwork.slides import blocks
from stained import AUTO, SERIAL, calibrate, convert, grid, plant

REPOSITORY = Path(__file__).parents[2]
BLOCK_PX = 128
SHAPE = (450, 600)
BLOCKS = 4 * 5
DAMAGES = {  # of finished blocks; the second has sound compression around what is none of its files
    "cut": lambda data: data[:-10],
    "damaged": lambda data: imagecodecs.zstd_encode(imagecodecs.zstd_decode(data).replace(b"NUMPY", b"NUMPI")),
    "empty": lambda data: b"",
}
PROGRAM = """
import json, logging, sys
sys.path.insert(0, {scripts!r})
import detect_slide_nuclei
from fieldwork.slides import blocks
blocks.BLOCK_PX = {block_px}
logging.basicConfig(level=logging.INFO, format="%(message)s")
detect_slide_nuclei.main(**json.loads({arguments!r}))
"""


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    """Return the folder of a converted and calibrated slide with nuclei in most blocks."""
    folder = tmp_path_factory.mktemp("slide")
    convert(folder, plant(SHAPE, grid(SHAPE, 37)))
    calibrate(folder)
    return folder


def arguments(slide, folder, **changes):
    """Return the arguments of a detection job whose tables are in another folder than the slide."""
    return {
        "slide": "S",
        "facts": str(slide / "slide.json"),
        "record": str(slide / "calibration.json"),
        "store": str(slide / "S.ome.zarr"),
        "nuclei_table": str(folder / "nuclei.parquet"),
        "tiles_table": str(folder / "tiles.parquet"),
        "tile": 512,
        "settings": AUTO,
        "made_of": {"digest": "test"},
        "device": "cpu",
        "pool": SERIAL,
        "workers": 1,
        "annotations": None,
    } | changes


def start(slide, folder):
    pool = {"engine": "pool", "mode": "paths", "dask": "processes"}
    program = PROGRAM.format(
        scripts=str(REPOSITORY / "scripts"),
        block_px=BLOCK_PX,
        arguments=json.dumps(arguments(slide, folder, pool=pool, workers=2)),
    )
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(folder):
    """Return the names of the files of finished blocks, and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob(".nuclei.parquet.*.blocks/[!.]*")}


def digest(slide, folder):
    files = [*folder.iterdir(), *slide.joinpath("S.ome.zarr", "labels").rglob("*")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()}


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_PX", BLOCK_PX)


@pytest.fixture
def measured(monkeypatch):
    """Return the list of blocks that are measured from now on; they are measured as ever."""
    measured, measure = [], blocks.measure_block
    monkeypatch.setattr(
        blocks, "measure_block", lambda block, **options: measured.append(block) or measure(block, **options)
    )
    return measured


def test_killed_at_random_moments_a_detection_resumes_to_the_same_files(
    slide, tmp_path, small_blocks, measured, caplog
):
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    unbroken.mkdir()
    killed.mkdir()
    detect_slide_nuclei.main(**arguments(slide, unbroken))
    assert len(measured) == BLOCKS
    expected = digest(slide, unbroken)
    assert {"nuclei.parquet", "nuclei.geojson", "tiles.parquet"} <= expected.keys()
    moments, earlier = random.Random(1), {}
    for _ in range(3):
        process = start(slide, killed)
        while process.poll() is None and len(finished(killed)) <= len(earlier):
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.05))  # less than the rest takes, on a fast machine too
        process.kill()
        process.communicate()
        assert not (killed / "nuclei.parquet").exists()
        kept = finished(killed)
        assert earlier.items() < kept.items()  # none was done again
        earlier = kept
    measured.clear()
    with caplog.at_level(logging.INFO):
        detect_slide_nuclei.main(**arguments(slide, killed))
    assert f"resumes after {len(earlier)} of {BLOCKS} blocks" in caplog.text
    assert 0 < len(measured) == BLOCKS - len(earlier)
    assert digest(slide, killed) == expected  # and no other file is left


def stop_after(monkeypatch, count):
    """End a job, as a full disk does, once it has kept some blocks."""
    pack, packed = blocks._packed, []

    def full(result):
        if len(packed) == count:
            raise OSError("no space left")
        packed.append(result)
        return pack(result)

    monkeypatch.setattr(blocks, "_packed", full)


@pytest.mark.parametrize("change", ["none", "settings", "code", "store", *DAMAGES])
def test_blocks_of_another_making_are_not_taken(slide, tmp_path, small_blocks, measured, monkeypatch, change):
    with monkeypatch.context() as patch:
        stop_after(patch, 7)
        with pytest.raises(OSError, match="no space"):
            detect_slide_nuclei.main(**arguments(slide, tmp_path))
    assert len(finished(tmp_path)) == 7
    measured.clear()
    changes = {}
    if change == "settings":
        changes = {"settings": AUTO | {"ring_um": 3}}
    elif change == "code":
        changes = {"made_of": {"digest": "of other code"}}
    elif change == "store":
        slide.joinpath("S.ome.zarr", "0").touch()
    elif change in DAMAGES:
        for path in tmp_path.glob(".nuclei.parquet.*.blocks/*"):
            path.write_bytes(DAMAGES[change](path.read_bytes()))
    detect_slide_nuclei.main(**arguments(slide, tmp_path, **changes))
    assert len(measured) == (BLOCKS - 7 if change == "none" else BLOCKS)
    assert not list(tmp_path.glob(".*"))
