"""Tiles and strips of TIFF files have tifffile's pixels, or are refused."""

import numpy as np
import pytest
import tifffile

from fieldwork.decoding import DecodeError
from fieldwork.decoding.segments import Segments
from slide_files import REAL_SLIDES, damage_tile, leave_out_tiles, real, texture, write_pyramid


def with_segments(path, check):
    """Call a function with each page of a TIFF file and its segments."""
    with open(path, "rb") as file, tifffile.TiffFile(file) as tif:
        for page in tif.pages:
            check(page.aspage(), Segments(page.aspage(), file))


def assert_equal_to_tifffile(page, segments):
    expected = page.asarray().reshape(page.imagelength, page.imagewidth, -1)
    if page.planarconfig == 2:
        expected = page.asarray().transpose(1, 2, 0)
    for number in range(segments.count):
        plane, top, left = segments.position(number)
        part = expected[top : top + segments.shape[0], left : left + segments.shape[1]]
        part = part if page.planarconfig == 1 else part[..., plane : plane + 1]
        decoded = segments.decode(number)
        np.testing.assert_array_equal(decoded[: part.shape[0], : part.shape[1]], part)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "lzw", "predictor": True},
        {"compression": "zlib", "planarconfig": "separate", "tile": (16, 48)},
        {"compression": "jpeg", "compressionargs": {"subsampling": "420"}},
        {"compression": "jpeg", "compressionargs": {"outcolorspace": "RGB"}},
        {"compression": "jpeg", "tile": None, "rowsperstrip": 16},
        {"compression": "jpeg2000"},
        {"compression": "webp"},
        {"compression": "png"},
        {"tile": None, "rowsperstrip": 7},
        {"tile": None},
    ],
    ids=str,
)
def test_every_tile_and_strip_has_tifffiles_pixels(tmp_path, options):
    image = texture()
    image = image.transpose(2, 0, 1) if options.get("planarconfig") else image
    tifffile.imwrite(tmp_path / "a.tif", image, **{"photometric": "rgb", "metadata": None, "tile": (64, 64)} | options)
    with_segments(tmp_path / "a.tif", assert_equal_to_tifffile)


@real
@pytest.mark.parametrize(
    "name",
    [
        "CMU-1-Small-Region.svs",
        "OS-2-vsi.ome.tif",
        "boxes.tiff",
        "tcga-cr-7395-01a-01-ts1.svs",
        "test3-DAPI-2-(387).ndpi",
        "test3-TRITC 2 (560).ndpi",
        "test_orient3.tif",
    ],
)
def test_nothing_of_a_real_slide_is_refused_and_its_pixels_are_tifffiles(name):
    pages = []
    with_segments(REAL_SLIDES / name, lambda page, segments: pages.append(assert_equal_to_tifffile(page, segments)))
    assert pages


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "webp", "png"])
@pytest.mark.parametrize(
    "swapped",
    [(64, 64, 64, 128), (64, 64, 32, 128)],  # the second has as many pixels, which tifffile takes
)
def test_a_tile_of_another_size_than_its_tags_say_is_refused(tmp_path, compression, swapped):
    *size, height, width = swapped
    write_pyramid(
        tmp_path / "a.tif", texture((height * 3, width * 3, 3)), compression=compression, tile=(height, width)
    )
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tif:
        for code, value in zip((323, 322, 257, 256), (*size, 192, 192), strict=True):
            tif.pages.first.tags[code].overwrite(value)

    def check(page, segments):
        size = rf"it holds {height} x {width} pixels|does not hold 64 x 64 pixels .* shape=\({height}, {width}, 3\)"
        with pytest.raises(DecodeError, match=rf"tile 4 \(row 1, column 1\) .*({size})"):
            segments.decode(4)

    with_segments(tmp_path / "a.tif", check)


def test_a_lerc_strip_that_states_more_samples_than_memory_holds_is_damaged(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.arange(3500, dtype=np.uint16).reshape(70, 50), compression="lerc")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    at = content.index(b"Lerc2 ") + 22  # values per pixel, behind version, sum, rows and columns
    content[at : at + 4] = (2**30).to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(content)

    def check(page, segments):
        with pytest.raises(DecodeError, match="strip 0 .* it does not hold 70 x 50 pixels of 1 x uint16"):
            segments.decode(0)

    with_segments(tmp_path / "a.tif", check)


def test_an_absent_tile_is_neither_missing_nor_truncated(tmp_path):
    write_pyramid(tmp_path / "a.tif", texture(), compression="jpeg")
    leave_out_tiles(tmp_path / "a.tif", [0, 9])
    damage_tile(tmp_path / "a.tif", "no bytes", number=3)
    damage_tile(tmp_path / "a.tif", "no offset", number=4)

    def check(_, segments):
        assert [segments.is_absent(number) for number in (0, 3, 4, 5, 9, 34, 35)] == [
            True,
            *[False] * 3,
            True,
            *[False] * 2,
        ]
        assert segments.count == 35 and len(segments.present()) == 33
        for number in (3, 4):
            with pytest.raises(DecodeError, match=f"tile {number} .* is missing"):
                segments.decode(number)

    with_segments(tmp_path / "a.tif", check)


@pytest.mark.parametrize("first", ["absent", "zeros"])
def test_colours_do_not_depend_on_the_first_tile(tmp_path, first):
    path = tmp_path / "a.tif"
    write_pyramid(path, texture(), compression="jpeg", compressionargs={"level": 90})
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages.first.tags[262].overwrite(2)  # as Bio-Formats calls YCbCr
    expected = tifffile.imread(path)[128:192, 128:192]
    assert np.abs(expected.astype(int) - texture()[128:192, 128:192]).mean() < 12
    if first == "absent":
        leave_out_tiles(path, [0])
    else:
        damage_tile(path, first, number=0)
    with_segments(path, lambda _, segments: np.testing.assert_array_equal(segments.decode(16), expected))
