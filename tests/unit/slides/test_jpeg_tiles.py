"""JPEG tiles are kept only where their streams, by themselves, show what the slide shows."""

import imagecodecs
import numpy as np
import pytest
import tifffile

from fieldwork.slides import SlideError, jpeg
from slide_files import damage_tile, read_level_0, texture, write_pyramid


@pytest.mark.parametrize("subsampling", ["444", "422", "420"])
@pytest.mark.parametrize("colours", ["RGB", "YCBCR"])
def test_a_jpeg_tile_by_itself_shows_what_the_slide_does(tmp_path, subsampling, colours):
    image = texture()
    arguments = {"level": 90, "subsampling": subsampling, "outcolorspace": colours}
    write_pyramid(tmp_path / "a.tif", image, compression="jpeg", compressionargs=arguments)
    tiles = jpeg.jpeg_tiles(tmp_path / "a.tif")
    assert (tiles.tile, tiles.shape, tiles.grid) == (64, (300, 420), (5, 7))
    expected = np.zeros((320, 448, 3), np.uint8)
    expected[:300, :420] = tifffile.imread(tmp_path / "a.tif")
    assert np.abs(expected[:300, :420] - image.astype(int)).mean() < 12  # the right colours, not their mistaken names
    for row in range(5):
        for column in range(7):
            decoded = imagecodecs.jpeg8_decode(tiles.read(row, column))
            height, width = min(64, 300 - row * 64), min(64, 420 - column * 64)
            shown = expected[row * 64 : row * 64 + height, column * 64 : column * 64 + width]
            np.testing.assert_array_equal(decoded[:height, :width], shown)
    tiles.close()


@pytest.mark.parametrize("how", ["zeros", "half", "marker", "short", "no offset", "no bytes", "cut"])
def test_a_damaged_jpeg_tile_is_not_kept(tmp_path, how):
    write_pyramid(tmp_path / "a.tif", texture(), compression="jpeg")
    last = 34
    damage_tile(tmp_path / "a.tif", how, number=last)
    tiles = jpeg.jpeg_tiles(tmp_path / "a.tif")
    tiles.read(4, 5)
    with pytest.raises(SlideError, match=r"tile 34 \(row 4, column 6\)"):
        tiles.read(4, 6)
    tiles.close()


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "lzw"},
        {"compression": "jpeg", "tile": (64, 32)},
        {"compression": "jpeg", "tile": None},
        {"compression": "jpeg", "extratags": [(274, "H", 1, 3, True)]},
        {"compression": "jpeg2000"},
    ],
    ids=str,
)
def test_other_slides_have_no_jpeg_tiles_to_keep(tmp_path, options):
    write_pyramid(tmp_path / "a.tif", texture(), **options)
    assert jpeg.jpeg_tiles(tmp_path / "a.tif") is None


@pytest.mark.parametrize(("photometric", "jfif"), [(6, b"none"), (2, b"JFIF")])  # 2: as Bio-Formats writes it
def test_a_jpeg_tile_is_ycbcr_if_the_tiff_or_its_own_marker_says_so(tmp_path, photometric, jfif):
    write_pyramid(tmp_path / "a.tif", texture(), compression="jpeg", compressionargs={"level": 90})
    expected = read_level_0(tmp_path / "a.tif", "tifffile")
    assert np.abs(expected - texture().astype(int)).mean() < 12
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes().replace(b"JFIF", jfif))
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tif:
        tif.pages.first.tags[262].overwrite(photometric)
    np.testing.assert_array_equal(read_level_0(tmp_path / "a.tif", "tifffile"), expected)
    tiles = jpeg.jpeg_tiles(tmp_path / "a.tif")
    np.testing.assert_array_equal(imagecodecs.jpeg8_decode(tiles.read(1, 1)), expected[64:128, 64:128])
    tiles.close()


def test_a_tiles_own_adobe_marker_does_not_overrule_the_tiff(tmp_path):
    arguments = {"level": 90, "outcolorspace": "RGB"}
    write_pyramid(tmp_path / "a.tif", texture(), compression="jpeg", compressionargs=arguments)
    tiles = jpeg.jpeg_tiles(tmp_path / "a.tif")
    stream = tiles.read(0, 0)
    assert stream.count(b"Adobe") == 1
    np.testing.assert_array_equal(
        imagecodecs.jpeg8_decode(stream), read_level_0(tmp_path / "a.tif", "tifffile")[:64, :64]
    )
    tiles.close()


def test_grey_and_unreadable_files_have_no_jpeg_tiles_to_keep(tmp_path):
    write_pyramid(tmp_path / "a.tif", texture()[..., 0], compression="jpeg", photometric="minisblack")
    (tmp_path / "b.tif").write_text("not a slide")
    assert jpeg.jpeg_tiles(tmp_path / "a.tif") is None
    assert jpeg.jpeg_tiles(tmp_path / "b.tif") is None
