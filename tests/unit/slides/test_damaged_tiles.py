"""No damaged tile is taken for good, whichever reader; a tile that was left out is no damage."""

import random
import sys

import imagecodecs
import numpy as np
import pytest
import tifffile

from fieldwork.slides import SlideError, choice, conversion, readers
from slide_files import REAL_SLIDES, damage_tile, leave_out_tiles, picture, read_level_0, real, texture, write_pyramid

CUCIM = pytest.param("cucim", marks=pytest.mark.skipif(sys.platform != "linux", reason="cuCIM is for Linux"))
EVERY = [CUCIM, "tifffile", "openslide"]


def jpeg_slide(path, subsampling):
    """Write a slide of JPEG tiles of 240 px, half of it nearly empty, as glass is."""
    image = picture(1200, 1440)
    image[:, 720:] = 240 + texture((1200, 720, 3)) % 3
    arguments = {"level": 80, "subsampling": subsampling}
    return write_pyramid(path, image, tile=(240, 240), compression="jpeg", compressionargs=arguments)


def damaged(data, page, how, rng):
    """Return the bytes of a slide with one damage inside of the tiles of a page."""
    ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
    if how == "zeros":
        start = rng.randrange(min(page.dataoffsets), max(ends) - 600)
        stop = start + 600
    else:
        number = rng.randrange(len(ends))
        start, stop = page.dataoffsets[number] + rng.randrange(page.databytecounts[number]), ends[number]
    return data[:start] + bytes(stop - start) + data[stop:]


def assert_damages_are_listed(path, spoilt, how, count, reader="tifffile"):
    """Damage a slide many times: pixels that differ by more than 10 must lie in tiles that fail."""
    data, expected = path.read_bytes(), read_level_0(path, "tifffile").astype(np.int16)
    with tifffile.TiffFile(path) as tif:
        page = tif.pages.first
    rng, noticed = random.Random(how), 0
    for _ in range(count):
        spoilt.write_bytes(damaged(data, page, how, rng))
        conversion._slide.cache_clear()
        plan = conversion.Plan(str(spoilt), reader, "", size=0, chunk=0, shard=0, keep=False, factor=1)
        pixels, failed = conversion._read(plan, 0, 0, *expected.shape[:2])
        wrong = np.abs(pixels - expected).max(axis=2) > 10
        for y, x, height, width, _ in failed:
            wrong[y : y + height, x : x + width] = False
        assert not wrong.any()
        noticed += bool(failed)
    assert noticed > 0.9 * count


@pytest.mark.parametrize("how", ["zeros", "cut"])
@pytest.mark.parametrize("subsampling", ["420", "444"])
def test_40_damages_of_jpeg_tiles_are_all_listed(tmp_path, subsampling, how):
    jpeg_slide(tmp_path / "a.tif", subsampling)
    assert_damages_are_listed(tmp_path / "a.tif", tmp_path / "b.tif", how, 20)


@pytest.mark.parametrize("reader", [CUCIM, "openslide"])
def test_damages_are_listed_by_the_other_readers_too(tmp_path, reader):
    jpeg_slide(tmp_path / "a.tif", "420")
    for how in ("zeros", "cut"):
        assert_damages_are_listed(tmp_path / "a.tif", tmp_path / "b.tif", how, 5, reader)


@real
@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "test3-DAPI-2-(387).ndpi"])
def test_damages_of_real_slides_are_listed(tmp_path, name):
    for how in ("zeros", "cut"):
        assert_damages_are_listed(REAL_SLIDES / name, tmp_path / f"a{name[-5:]}", how, 2)


@pytest.mark.parametrize("reader", EVERY)
def test_a_tile_that_libjpeg_only_warns_of_fails(tmp_path, reader):
    path = tmp_path / "a.tif"
    jpeg_slide(path, "420")
    with tifffile.TiffFile(path) as tif:
        offset, count = (table[8] for table in (tif.pages.first.dataoffsets, tif.pages.first.databytecounts))
    data = bytearray(path.read_bytes())
    data[offset + count // 2 : offset + count - 2] = b"\x11" * (count - 2 - count // 2)
    path.write_bytes(data)
    slide = readers.open_slide(path, reader)
    with pytest.raises(
        SlideError, match=r"tile 8 \(row 1, column 2\) cannot be decoded: its JPEG stream is damaged: Corrupt JPEG data"
    ):
        slide.read(0, 240, 480, 240, 240)
    slide.close()


@pytest.mark.parametrize("compression", ["jpeg", "zlib"])
@pytest.mark.parametrize("reader", EVERY)
def test_tiles_that_were_left_out_are_white(tmp_path, reader, compression):
    write_pyramid(tmp_path / "a.tif", texture(), compression=compression)
    expected = read_level_0(tmp_path / "a.tif", "tifffile")
    leave_out_tiles(tmp_path / "a.tif", [0, 9, 34])
    expected[:64, :64] = expected[64:128, 128:192] = expected[256:, 384:] = 255
    image = read_level_0(tmp_path / "a.tif", reader)
    assert np.abs(image.astype(int) - expected).max() <= (2 if compression == "jpeg" else 0)


@pytest.mark.parametrize("numbers", [[0, 9], [35, 80], range(35)])
def test_gaps_in_planes_of_colours_leave_the_other_planes(tmp_path, numbers):
    stored = np.ascontiguousarray(np.moveaxis(texture(), 2, 0))
    options = {"photometric": "rgb", "planarconfig": "separate", "compression": "zlib", "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", stored // 8 + 200, tile=(64, 64), **options)
    expected = read_level_0(tmp_path / "a.tif", "tifffile")
    leave_out_tiles(tmp_path / "a.tif", numbers)
    for number in numbers:
        plane, row, column = np.unravel_index(number, (3, 5, 7))
        expected[64 * row : 64 * row + 64, 64 * column : 64 * column + 64, plane] = 255
    slide = readers.open_slide(tmp_path / "a.tif", "tifffile")
    assert not slide.fluorescence
    slide.close()
    np.testing.assert_array_equal(read_level_0(tmp_path / "a.tif", "tifffile"), expected)


def test_readers_agree_on_a_slide_of_which_all_samples_lie_in_gaps(tmp_path):
    write_pyramid(tmp_path / "a.tif", texture((1280, 1280, 3)), tile=(128, 128), compression="jpeg")
    centre = [row * 10 + column for row in range(1, 8) for column in range(1, 8)]
    leave_out_tiles(tmp_path / "a.tif", [0, 99, *centre])
    reader, why = choice.choose_reader(tmp_path / "a.tif")
    assert reader == "tifffile" and "agree" in why


@pytest.mark.parametrize("photometric", ["rgb", "minisblack", "miniswhite"])
def test_tiles_that_were_left_out_of_a_fluorescence_slide_are_black(tmp_path, photometric):
    image = texture() // 8
    image = image if photometric == "rgb" else image[..., 0]
    stored = 255 - image if photometric == "miniswhite" else image
    write_pyramid(tmp_path / "a.tif", stored, compression="zlib", photometric=photometric)
    leave_out_tiles(tmp_path / "a.tif", range(30))  # also where brightness is sampled
    slide = readers.open_slide(tmp_path / "a.tif", "tifffile")
    assert slide.fluorescence
    shown = slide.read(0, 0, 0, 300, 420)
    slide.close()
    assert not shown[:256, :128].any()
    expected = image[256:, 128:] if image.ndim == 3 else np.stack([image[256:, 128:]] * 3, axis=2)
    np.testing.assert_array_equal(shown[256:, 128:], expected)


def test_a_lost_rest_of_aperios_ycbcr_in_jpeg_2000_is_an_error(tmp_path):
    image, path = texture((256, 256, 3)), tmp_path / "a.svs"
    tiles = (image[y : y + 128, x : x + 128] for y in (0, 128) for x in (0, 128))
    streams = [imagecodecs.jpeg2k_encode(np.ascontiguousarray(tile), codecformat="j2k", mct=False) for tile in tiles]
    options = {"tile": (128, 128), "compression": 33005, "photometric": "rgb", "metadata": None}
    about = "Aperio Image Library v11.2.1\r\n256x256 [0,0 256x256] (128x128) J2K/YUV16 Q=70|AppMag = 20|MPP = 0.5"
    tifffile.imwrite(path, iter(streams), shape=image.shape, dtype=np.uint8, description=about, **options)
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages[0].tags[259].overwrite(33003)
        tif.pages[0].tags[262].overwrite(6)
    damage_tile(path, "half", 3)
    slide = readers.open_slide(path, "openslide")
    assert slide.read(0, 0, 0, 128, 256).any()
    with pytest.raises(SlideError, match="tile 3 .* has no end mark"):
        slide.read(0, 128, 128, 128, 128)
    slide.close()


def test_a_transparent_pixel_is_not_what_a_gap_shows(tmp_path):
    stored = np.concatenate([texture(), np.full((300, 420, 1), 255, np.uint8)], axis=2)
    write_pyramid(tmp_path / "a.tif", stored, compression="zlib", extrasamples=["unassalpha"])
    leave_out_tiles(tmp_path / "a.tif", [1])
    image = read_level_0(tmp_path / "a.tif", "tifffile")
    assert (image[:64, 64:128] == 255).all()
    np.testing.assert_array_equal(image[:, 128:], texture()[:, 128:])
