"""Slides become OME-Zarr: every pixel, every level, damaged tiles, and conversions that are killed."""

import hashlib
import json
import os
import random
import subprocess
import sys
import time

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr

from fieldwork.omezarr import slides
from fieldwork.slides import conversion, examination
from slide_files import damage_tile, leave_out_tiles, picture, write_slide
from workspace import REPOSITORY

SETTINGS = {
    "reader": "tifffile",
    "version": "0.5",
    "chunk": 64,
    "shard": 256,
    "codec": "zstd",
    "level": 1,
    "on_bad_image": "record",
    "workers": 2,
    "made_by": "test",
}


PROGRAM = """
import json, logging, sys
sys.path.insert(0, {scripts!r})
from fieldwork.slides import conversion
{prelude}
if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    print(json.dumps(conversion.convert({slide!r}, {store!r}, **json.loads({settings!r}))))
"""


# A choice tries all readers, which takes longer than such small slides.
TRUST = 'conversion.examination.choice.choose_reader = lambda path, requested, *_: (requested, "as requested")'


def start(slide, store, *, prelude="", **changes):
    """Start a conversion in an interpreter of its own, like a job, where zarr has not started threads yet."""
    settings = json.dumps(SETTINGS | changes)
    if changes.get("reader") != "auto":
        prelude = f"{TRUST}\n{prelude}"
    program = PROGRAM.format(
        scripts=str(REPOSITORY / "scripts"), prelude=prelude, slide=str(slide), store=str(store), settings=settings
    )
    command = [sys.executable, "-c", program]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def convert(slide, store, **changes):
    process = start(slide, store, **changes)
    facts, log = process.communicate()
    assert process.returncode == 0, log
    return json.loads(facts)


def pixels_of(store):
    """Read every level as a (height, width, 3) array."""
    return [np.moveaxis(level[:], 0, 2) for level in slides.open_levels(store)]


def digest(folder):
    """Return name -> digest of the bytes of all files, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def means(image):
    """Return 2 x 2 means, rounded half up; an odd side's last pixel counts twice."""
    image = np.pad(image, [(0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)], mode="edge").astype(int)
    return (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2] + 2) // 4


@pytest.mark.parametrize(
    ("version", "codec", "chunk", "shard"),
    [
        ("0.5", "zstd", 64, 256),
        ("0.5", "lz4", 64, 64),
        ("0.5", "none", 128, 256),
        ("0.4", "zstd", 64, 256),
        ("0.4", "none", 32, 32),
    ],
)
def test_every_level_is_the_slide_or_the_mean_of_the_one_above(tmp_path, version, codec, chunk, shard):
    image = picture(701, 1013)
    slide = write_slide(tmp_path / "slide [1] (2).tif", image)
    facts = convert(slide, tmp_path / "s.ome.zarr", version=version, codec=codec, chunk=chunk, shard=shard)
    levels = pixels_of(tmp_path / "s.ome.zarr")
    np.testing.assert_array_equal(levels[0], image)
    for upper, lower in zip(levels, levels[1:], strict=False):
        np.testing.assert_array_equal(lower, means(upper))
    assert max(levels[-1].shape) <= chunk
    assert [level.shape[:2] for level in levels] == [tuple(shape) for shape in facts["levels"]]
    assert (facts["height"], facts["width"], facts["mpp"]) == (701, 1013, [0.5, 0.5])
    assert facts["failed_tiles"] == []
    assert sorted(os.listdir(tmp_path)) == ["s.ome.zarr", slide.name]


def test_long_strips_become_the_same_store_as_tiles(tmp_path):
    image = np.tile(picture(300, 1000), (1, 5, 1))
    layouts = {"tiles": {}, "raw": {"compression": None}, "lzw": {"compression": "lzw"}}
    for name, options in layouts.items():
        strips = {} if name == "tiles" else {"tile": None, "rowsperstrip": 300}
        slide = write_slide(tmp_path / "slide.tif", image, **options, **strips)
        convert(slide, tmp_path / name / "s.ome.zarr")
        assert os.listdir(tmp_path / name) == ["s.ome.zarr"]
    tiles, raw, lzw = (digest(tmp_path / name) for name in layouts)
    assert tiles == raw == lzw and len(tiles) > 10


def test_the_store_is_the_same_for_any_number_of_workers(tmp_path):
    slide = write_slide(tmp_path / "slide.tif", picture(500, 700))
    convert(slide, tmp_path / "1" / "s.ome.zarr", workers=1, reader="auto")
    convert(slide, tmp_path / "3" / "s.ome.zarr", workers=3)
    assert digest(tmp_path / "1") == digest(tmp_path / "3")


def on_glass():
    """Draw a rectangle of eosin, and a darker one on it, on glass."""
    image = np.full((400, 600, 3), 245, np.uint8)
    image[100:300, 200:500] = 190, 60, 120
    image[150:200, 250:300] = 90, 50, 120
    return np.clip(image + np.random.default_rng(0).normal(0, 2, image.shape), 0, 255).astype(np.uint8)


def test_tissue_is_measured_and_stored(tmp_path):
    facts = convert(write_slide(tmp_path / "slide.tif", on_glass()), tmp_path / "s.ome.zarr")
    assert facts["tissue_area_px"] == pytest.approx(200 * 300, rel=0.05)
    assert facts["tissue_area_mm2"] == pytest.approx(facts["tissue_area_px"] * 0.25e-6)
    mask = slides.read_label(tmp_path / "s.ome.zarr", "tissue")
    factor = facts["tissue_factor"]
    assert (factor, facts["tissue_um"]) == (16, 8) and mask.shape == (25, 38)
    assert mask.sum() * factor**2 == facts["tissue_area_px"]
    assert mask[200 // factor, 350 // factor] and not mask[50 // factor, 50 // factor]
    assert facts["glass"] == pytest.approx([245, 245, 245], abs=1)
    assert (facts["modality"], facts["fluorescence"], facts["warnings"]) == ("he", False, [])


@pytest.mark.parametrize(
    "changes",
    [
        {"chunk": 128, "shard": 128},
        {"chunk": 16, "shard": 64},
        {"version": "0.4", "codec": "lz4"},
        {"version": "0.4", "codec": "keep"},
    ],
)
def test_tissue_is_the_same_for_every_chunk_codec_and_version(tmp_path, changes):
    slide = write_slide(tmp_path / "slide.tif", on_glass(), compression="jpeg", tile=(80, 80))
    first = convert(slide, tmp_path / "a.ome.zarr")
    second = convert(slide, tmp_path / "b.ome.zarr", **changes)
    masks = [slides.read_label(tmp_path / name, "tissue") for name in ("a.ome.zarr", "b.ome.zarr")]
    assert masks[0].any() and len(first["levels"]) > 1
    np.testing.assert_array_equal(*masks)
    for key in ("tissue_area_px", "glass", "modality_reason"):
        assert first[key] == second[key]


def test_the_modality_that_is_stated_decides(tmp_path):
    slide = write_slide(tmp_path / "slide.tif", on_glass())
    facts = convert(slide, tmp_path / "s.ome.zarr", modality="fluorescence", nuclei_channel="Blue")
    assert (facts["modality"], facts["fluorescence"], facts["glass"]) == ("fluorescence", True, None)
    assert convert(slide, tmp_path / "s.ome.zarr", modality="hdab")["modality"] == "hdab"


@pytest.mark.parametrize(("modality", "ground"), [("fluorescence", 0), ("he", 255)])
def test_gaps_and_damaged_tiles_are_filled_in_by_the_modality_that_is_stated(tmp_path, modality, ground):
    slide = write_slide(tmp_path / "slide.tif", on_glass() if ground == 0 else on_glass() // 8)
    leave_out_tiles(slide, [0])
    damage_tile(slide, "zeros", 2)
    channel = {"nuclei_channel": "Blue"} if modality == "fluorescence" else {}  # of several colours
    facts = convert(slide, tmp_path / "s.ome.zarr", modality=modality, **channel)
    assert [tile[:4] for tile in facts["failed_tiles"]] == [[0, 128, 64, 64]]
    assert (facts["modality"], facts["fluorescence"], facts["warnings"]) == (modality, ground == 0, [])
    shown = pixels_of(tmp_path / "s.ome.zarr")[0]
    assert (shown[:64, :64] == ground).all() and (shown[:64, 128:192] == ground).all()
    assert (shown[:64, 64:128] != ground).all()


@pytest.mark.parametrize("photometric", ["ycbcr", "rgb"])
def test_kept_jpeg_tiles_are_the_slides_own_bytes(tmp_path, photometric):
    image = picture(300, 420)
    slide = write_slide(tmp_path / "slide.tif", image, compression="jpeg")
    if photometric == "rgb":  # as Aperio's
        with tifffile.TiffWriter(slide) as writer:
            writer.write(
                image, tile=(64, 64), photometric="rgb", compression="jpeg", compressionargs={"outcolorspace": "rgb"}
            )
    facts = convert(slide, tmp_path / "s.ome.zarr", codec="keep", version="0.4")
    assert facts["codec"] == "keep"
    levels = pixels_of(tmp_path / "s.ome.zarr")
    decoded = tifffile.imread(slide)
    np.testing.assert_allclose(levels[0].astype(int), decoded, atol=1)
    for upper, lower in zip(levels, levels[1:], strict=False):  # new JPEGs
        assert np.abs(lower.astype(int) - means(upper)).mean() < 10  # the picture is of noisy colours
    with tifffile.TiffFile(slide) as tif:
        page = tif.pages[0]
        offset, length = page.dataoffsets[8], page.databytecounts[8]
    scan = slide.read_bytes()[offset : offset + length].partition(b"\xff\xda")[2]
    assert scan in (tmp_path / "s.ome.zarr/0/0/1/1").read_bytes()  # the ninth of seven a row
    assert zarr.open_group(tmp_path / "s.ome.zarr")["0"].chunks == (3, 64, 64)


@pytest.mark.parametrize(
    ("options", "version", "reason"),
    [
        ({"compression": "jpeg"}, "0.5", "Zarr 3"),
        ({}, "0.4", "JPEG"),
        ({"tile": (64, 128), "compression": "jpeg"}, "0.4", "square"),
    ],
)
def test_where_tiles_cannot_be_kept_the_reason_is_stated_and_nothing_is_lost(tmp_path, options, version, reason):
    slide = write_slide(tmp_path / "slide.tif", picture(200, 300), **options)
    facts = convert(slide, tmp_path / "s.ome.zarr", codec="keep", version=version)
    assert facts["codec"] == "zstd" and reason in facts["codec_reason"]
    np.testing.assert_array_equal(pixels_of(tmp_path / "s.ome.zarr")[0], tifffile.imread(slide))


def damaged_slide(path):
    """Write a slide with a damaged tile at row 320, column 448, and return the intact picture."""
    image = picture(600, 800)
    write_slide(path, image)
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        number = (320 // 64) * 13 + 448 // 64
        offset, length = page.dataoffsets[number], page.databytecounts[number]
    content = bytearray(path.read_bytes())
    content[offset : offset + length] = bytes(length)
    path.write_bytes(content)
    return image


def test_a_damaged_tile_is_white_and_listed_and_no_other_is_touched(tmp_path):
    image = damaged_slide(tmp_path / "slide.tif")
    facts = convert(tmp_path / "slide.tif", tmp_path / "s.ome.zarr", chunk=256, shard=256)
    [(y, x, height, width, reason)] = facts["failed_tiles"]
    assert (y, x, height, width) == (320, 448, 64, 64) and reason
    image[320:384, 448:512] = 255
    np.testing.assert_array_equal(pixels_of(tmp_path / "s.ome.zarr")[0], image)


def test_a_damaged_tile_can_stop_the_conversion(tmp_path):
    damaged_slide(tmp_path / "slide.tif")
    _, log = start(tmp_path / "slide.tif", tmp_path / "s.ome.zarr", on_bad_image="stop").communicate()
    assert "slide.tif: 64 x 64 px at row 320, column 448 of level 0 cannot be decoded" in log
    assert not (tmp_path / "s.ome.zarr").exists()


CRASH = """
import os, signal
read = conversion._read
def crash(plan, y, x, height, width):
    if plan.reader and x == 256:
        os.kill(os.getpid(), signal.SIGSEGV)
    return read(plan, y, x, height, width)
conversion._read = crash
"""


def test_blocks_on_which_the_reader_crashes_are_white_and_listed(tmp_path):
    image = picture(300, 600)
    slide = write_slide(tmp_path / "slide.tif", image)
    facts = convert(slide, tmp_path / "s.ome.zarr", prelude=CRASH)
    crashed = "its decoder crashed"
    assert facts["failed_tiles"] == [[0, 256, 256, 256, crashed], [256, 256, 44, 256, crashed]]
    image[:, 256:512] = 255
    np.testing.assert_array_equal(pixels_of(tmp_path / "s.ome.zarr")[0], image)


def test_what_is_no_slide_is_refused_with_every_readers_reason(tmp_path):
    (tmp_path / "slide.tif").write_bytes(b"no slide" * 100)
    _, log = start(tmp_path / "slide.tif", tmp_path / "s.ome.zarr", reader="auto").communicate()
    assert "SlideError: no reader can read it: cucim, tifffile: " in log and "openslide: " in log
    assert os.listdir(tmp_path) == ["slide.tif"]


def blocks(ledger):
    """Count the complete lines of the ledger: the first, and one for each block."""
    return ledger.read_text().count("\n") if ledger.exists() else 0


def test_killed_at_ten_random_moments_a_conversion_resumes_to_the_same_store(tmp_path):
    slide = write_slide(tmp_path / "slide.tif", picture(2000, 3000), compression="jpeg")
    settings = {"chunk": 32, "shard": 64, "reader": "tifffile"}
    convert(slide, tmp_path / "unbroken" / "s.ome.zarr", **settings)
    store, ledger = tmp_path / "killed" / "s.ome.zarr", tmp_path / "killed" / ".s.ome.zarr.blocks"
    store.parent.mkdir()
    moments, lines = random.Random(3), [1]
    for _ in range(10):
        process = start(slide, store, **settings)
        while process.poll() is None and blocks(ledger) <= lines[-1]:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        process.communicate()
        assert not store.exists()
        lines.append(blocks(ledger))
    assert lines == sorted(set(lines))  # each resumed, and none began again
    _, log = start(slide, store, **settings).communicate()
    assert f"resumes after {lines[-1] - 1} blocks" in log
    assert digest(store.parent) == digest(tmp_path / "unbroken")


KILL = """
import os, signal
def end(*_):
    os.kill(os.getpid(), signal.SIGKILL)
conversion.{function} = end
"""


def begin(slide, store, **changes):
    """Start a conversion that is killed when all blocks are done; return its store so far and its ledger."""
    start(slide, store, prelude=KILL.format(function="_finish"), **changes).communicate()
    assert not store.exists()
    return store.with_name(f".{store.name}.part"), store.with_name(f".{store.name}.blocks")


@pytest.mark.parametrize("changed", ["slide", "settings", "code", "pixel size", "properties"])
def test_another_slide_configuration_or_code_does_not_resume_a_conversion(tmp_path, changed):
    slide, store = write_slide(tmp_path / "slide.tif", picture(600, 800)), tmp_path / "s.ome.zarr"
    begin(slide, store)
    changes = {"settings": {"level": 3}, "code": {"made_by": "other"}, "pixel size": {"mpp": 0.25}}
    changes = (changes | {"properties": {"keep_properties": False}}).get(changed, {})
    if changed == "slide":
        write_slide(slide, picture(600, 800, seed=1))
    _, log = start(slide, store, **changes).communicate()
    assert "resumes after" not in log
    np.testing.assert_array_equal(pixels_of(store)[0], tifffile.imread(slide))


@pytest.mark.parametrize("version", ["0.5", "0.4"])
@pytest.mark.parametrize("left", [0, 0.3, 0.9])
def test_half_written_files_are_written_again(tmp_path, version, left):
    slide, store = write_slide(tmp_path / "slide.tif", picture(300, 420)), tmp_path / "cut" / "s.ome.zarr"
    convert(slide, tmp_path / "unbroken" / "s.ome.zarr", version=version)
    store.parent.mkdir()
    part, ledger = begin(slide, store, version=version)
    for file in part.rglob("*"):
        if file.is_file() and not file.name.startswith((".z", "zarr.json")):
            os.truncate(file, int(left * file.stat().st_size))
    with ledger.open("r+") as stream:  # as after a kill in the first block's line
        stream.readline()
        stream.seek(stream.tell())
        stream.truncate()
        stream.write("[[0, 0, 0], ")
    convert(slide, store, version=version)
    assert digest(store.parent) == digest(tmp_path / "unbroken")


def test_a_ledger_does_not_outlive_its_store(tmp_path):
    image = picture(300, 420)
    slide, store = write_slide(tmp_path / "slide.tif", image), tmp_path / "s.ome.zarr"
    begin(slide, store)
    start(slide, store, prelude=KILL.format(function="_lay_out"), level=3).communicate()
    convert(slide, store)
    np.testing.assert_array_equal(pixels_of(store)[0], image)


@pytest.mark.parametrize("level", [0, 2])
def test_a_worker_that_crashes_for_another_reason_ends_the_conversion(tmp_path, level):
    slide = write_slide(tmp_path / "slide.tif", picture(600, 800))
    crash = KILL.replace("SIGKILL", "SIGSEGV").format(function="slides.read_block" if level else "slides.write_block")
    process = start(slide, tmp_path / "s.ome.zarr", prelude=crash)
    _, log = process.communicate()
    assert process.returncode == 1
    assert "WorkerDied: a worker crashed on the block at row 0, column 0 of level" in log
    assert not (tmp_path / "s.ome.zarr").exists()


def test_a_damaged_tile_that_would_be_kept_is_white_and_listed_once(tmp_path):
    slide = write_slide(tmp_path / "slide.tif", picture(300, 420), compression="jpeg")
    expected = tifffile.imread(slide)
    with tifffile.TiffFile(slide) as tif:
        offset, length = tif.pages[0].dataoffsets[16], tif.pages[0].databytecounts[16]
    content = bytearray(slide.read_bytes())
    scan = content.index(b"\xff\xda", offset, offset + length)
    content[scan + 5] = 7  # there is no such component
    slide.write_bytes(content)
    facts = convert(slide, tmp_path / "s.ome.zarr", codec="keep", version="0.4")
    assert facts["codec"] == "keep"
    assert [tile[:4] for tile in facts["failed_tiles"]] == [[128, 128, 64, 64]]
    expected[128:192, 128:192] = 255
    np.testing.assert_allclose(pixels_of(tmp_path / "s.ome.zarr")[0].astype(int), expected, atol=1)


def test_tiles_that_cannot_be_kept_become_new_ones_and_the_others_stay(tmp_path):
    image, slide, streams = picture(300, 420), tmp_path / "slide.tif", []
    for y in range(0, 300, 64):
        for x in range(0, 420, 64):  # clipped to the picture
            part = np.ascontiguousarray(image[y : y + 64, x : x + 64])
            streams.append(imagecodecs.jpeg8_encode(part, level=90, subsampling="444"))
    streams[8] = cv2.imencode(".jpg", image[64:128, 64:128], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    options = {"compression": "jpeg", "photometric": "ycbcr", "subsampling": (1, 1), "tile": (64, 64)}
    tifffile.imwrite(slide, iter(streams), shape=image.shape, dtype=np.uint8, metadata=None, **options)
    leave_out_tiles(slide, [0, 16, 20])
    expected = np.full((320, 448, 3), 255, np.uint8)
    for number, stream in enumerate(streams):
        if number not in (0, 16, 20):
            part, (y, x) = imagecodecs.jpeg8_decode(stream), np.multiply(divmod(number, 7), 64)
            expected[y : y + part.shape[0], x : x + part.shape[1]] = part
    expected = expected[:300, :420]
    for codec, tolerance in (("zstd", 0), ("keep", 1)):
        store = tmp_path / f"{codec}.ome.zarr"
        facts = convert(slide, store, codec=codec, version="0.4")
        assert facts["codec"] == codec and facts["failed_tiles"] == []
        np.testing.assert_allclose(pixels_of(store)[0].astype(int), expected, atol=tolerance)
    kept = (tmp_path / "keep.ome.zarr/0/0/1/2").read_bytes()
    assert streams[9].partition(b"\xff\xda")[2] in kept


def test_tiles_that_overlap_are_not_kept(tmp_path, monkeypatch):
    slide = write_slide(tmp_path / "slide.tif", picture(300, 420), compression="jpeg")
    assert examination._kept_tile(slide, "0.4", shape=(300, 420))[0] == 64
    tile, reason = examination._kept_tile(slide, "0.4", shape=(280, 400))
    assert tile is None and "side by side" in reason


def test_kept_tiles_of_another_size_than_the_chunk_do_not_make_huge_blocks(tmp_path):
    slide = write_slide(tmp_path / "slide.tif", picture(600, 800), compression="jpeg", tile=(240, 240))
    convert(slide, tmp_path / "s.ome.zarr", codec="keep", version="0.4", chunk=16, shard=512)
    np.testing.assert_allclose(pixels_of(tmp_path / "s.ome.zarr")[0].astype(int), tifffile.imread(slide), atol=1)


def test_a_chunk_may_be_larger_than_the_slide(tmp_path):
    image = picture(2100, 60)
    convert(write_slide(tmp_path / "slide.tif", image), tmp_path / "s.ome.zarr", chunk=4096, shard=4096)
    np.testing.assert_array_equal(pixels_of(tmp_path / "s.ome.zarr")[0], image)


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_channels_of_fluorescence_are_stored_as_they_are_with_names_and_windows(tmp_path, version):
    image = np.random.default_rng(0).integers(0, 60000, (5, 301, 203), dtype=np.uint16)
    names = ["Hoechst", "CD3", "CD8", "CD20", "AF"]
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tif:
        about = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "Channel": {"Name": names}}
        tif.write(image, photometric="minisblack", tile=(64, 64), metadata=about)
    facts = convert(tmp_path / "a.ome.tif", tmp_path / "s.ome.zarr", version=version)
    levels = pixels_of(tmp_path / "s.ome.zarr")
    np.testing.assert_array_equal(levels[0], image.transpose(1, 2, 0))
    for upper, lower in zip(levels, levels[1:], strict=False):
        np.testing.assert_array_equal(lower, means(upper))
    assert (facts["channels"], facts["nuclei_channel"], facts["fluorescence"]) == (names, "Hoechst", True)
    group = zarr.open_group(tmp_path / "s.ome.zarr", mode="r")
    assert (group["0"].dtype, group["0"].fill_value) == (np.uint16, 0)
    shown = group.attrs.get("ome", group.attrs)["omero"]["channels"]
    assert [channel["label"] for channel in shown] == names
    assert shown[0]["color"] == "0000FF" and shown[0]["window"]["max"] == 65535
    rgb = slides.read_rgb(tmp_path / "s.ome.zarr", slides.open_levels(tmp_path / "s.ome.zarr")[0], 0, 0, 9, 9)
    assert rgb.shape == (9, 9, 3) and rgb.dtype == np.uint8


@pytest.mark.parametrize(("count", "chunk"), [(4, 512), (40, 256)])
def test_a_block_of_many_channels_is_no_larger_than_of_few(tmp_path, count, chunk):
    facts = {"reader": "tifffile", "tissue_factor": 16, "fluorescence": True}
    examined = examination.Examined(facts, {}, [None] * count, "uint16", None)
    plan = conversion._plan("a.tif", tmp_path / "a.ome.zarr", examined, chunk=512, shard=2048, picture=None)
    assert plan.chunk == chunk and plan.shard % chunk == 0
    assert plan.blank(plan.size, plan.size).nbytes <= conversion.LARGEST_BLOCK_BYTES


def test_a_fluorescence_slide_without_a_dna_channel_is_refused_with_its_channels(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tif:
        about = {"axes": "CYX", "Channel": {"Name": ["CD3", "CD8"]}}
        tif.write(np.zeros((2, 90, 90), np.uint16), photometric="minisblack", metadata=about)
    _, log = start(tmp_path / "a.ome.tif", tmp_path / "s.ome.zarr").communicate()
    assert "its channels are 'CD3', 'CD8'" in log and "column nuclei_channel" in log
    assert convert(tmp_path / "a.ome.tif", tmp_path / "s.ome.zarr", nuclei_channel="cd8")["nuclei_channel"] == "CD8"


def test_grey_of_16_bits_on_a_bright_ground_is_no_fluorescence(tmp_path):
    image = picture(300, 400)[..., 0].astype(np.uint16) * 100
    image[:200] = 40000
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack", metadata=None)
    _, log = start(tmp_path / "a.tif", tmp_path / "s.ome.zarr").communicate()
    assert "has a bright ground" in log and "column modality" in log
    facts = convert(tmp_path / "a.tif", tmp_path / "s.ome.zarr", modality="fluorescence")
    assert facts["channels"] == ["1"] and "not named like a DNA stain" in " ".join(facts["warnings"])
    _, log = start(tmp_path / "a.tif", tmp_path / "t.ome.zarr", modality="he").communicate()
    assert "column modality says he, but it has channels of fluorescence: 1" in log


def test_the_colour_profile_is_kept_in_the_store(tmp_path):
    profile = b"a profile of a scanner"
    convert(write_slide(tmp_path / "a.tif", picture(90, 90), iccprofile=profile), tmp_path / "s.ome.zarr")
    assert (tmp_path / "s.ome.zarr" / "profile.icc").read_bytes() == profile
    assert zarr.open_group(tmp_path / "s.ome.zarr", mode="r").attrs["fieldwork"]["icc_profile"] == "profile.icc"


def test_another_picture_of_the_file_is_converted_by_its_number(tmp_path):
    images = [picture(300, 400, seed=seed) for seed in (1, 2)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for image in images:
            tif.write(image, photometric="rgb", tile=(64, 64), metadata=None)
    for number, image in enumerate(images):
        facts = convert(tmp_path / "a.tif", tmp_path / f"{number}.ome.zarr", series=number, reader="auto")
        np.testing.assert_array_equal(pixels_of(tmp_path / f"{number}.ome.zarr")[0], image)
        assert facts["other_series"] == [f"{1 - number}: page {1 - number} (400 x 300 px)"]


AWAY = """
import os
from fieldwork.surroundings import unread
unread.WAITS_S = (0, 0, 0)
fill = conversion._fill
def without_the_file(plan, *arguments, **options):
    os.rename(plan.path, plan.path + ".away")
    fill(plan, *arguments, **options)
conversion._fill = without_the_file
"""


def test_a_slide_that_is_away_in_the_middle_has_no_store_with_blanks_in_its_place(tmp_path):
    image = picture(300, 200)
    write_slide(tmp_path / "a.tif", image)
    process = start(tmp_path / "a.tif", tmp_path / "a.zarr", prelude=AWAY)
    _, log = process.communicate()
    assert process.returncode
    assert "SlideNotReadError: not read: No such file or directory" in log
    assert not (tmp_path / "a.zarr").exists()
    (tmp_path / "a.tif.away").rename(tmp_path / "a.tif")
    assert convert(tmp_path / "a.tif", tmp_path / "a.zarr")["failed_tiles"] == []
    np.testing.assert_array_equal(pixels_of(tmp_path / "a.zarr")[0], image)
