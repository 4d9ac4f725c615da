"""Long strips and tiles are decoded once, and uncompressed strips are read by rows."""

import numpy as np
import pytest
import tifffile

from fieldwork.inputs.inside import headers
from fieldwork.slides import SlideError, choice, conversion, readers
from fieldwork.slides.inside.copies import copied
from slide_files import REAL_SLIDES, real, texture

WIDE = (300, headers.LONGEST_PX + 4, 3)
ONE_STRIP = {"rowsperstrip": WIDE[0]}
LAYOUTS = {
    "one strip of LZW": {"compression": "lzw", **ONE_STRIP},
    "differences": {"compression": "lzw", "predictor": True, **ONE_STRIP},
    "strips": {"compression": "zlib", "rowsperstrip": 7},
    "planes": {"compression": "zlib", "rowsperstrip": 70, "planarconfig": "separate"},
    "a tile": {"compression": "zlib", "tile": (304, 4112)},
    "JPEG": {"compression": "jpeg", **ONE_STRIP},
}


def write(path, image, **options):
    tifffile.imwrite(path, image, photometric="rgb", metadata=None, **options)
    return str(path)


def clear(path, numbers=(0,)):
    """Overwrite the stored bytes of tiles or strips by zeros."""
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        places = [(page.dataoffsets[number], page.databytecounts[number]) for number in numbers or range(10**6)]
    with open(path, "r+b") as file:
        for offset, count in places:
            file.seek(offset)
            file.write(bytes(count))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_long_strips_and_tiles_are_decoded_once(tmp_path, layout):
    image, options = texture(WIDE), LAYOUTS[layout]
    path = write(
        tmp_path / "a.tif", image if options.get("planarconfig") is None else np.moveaxis(image, 2, 0), **options
    )
    expected = tifffile.imread(path)
    expected = np.moveaxis(expected, 0, 2) if expected.shape[0] == 3 else expected
    with copied(path, None, tmp_path / "copies", workers=2) as folder:
        clear(path, range(len(tifffile.TiffFile(path).pages[0].dataoffsets)))
        slide = readers.open_slide(path, "tifffile", copies=folder)
        for y, x, height, width in [(0, 0, *WIDE[:2]), (17, 2000, 100, 2100), (299, 0, 1, 4)]:
            np.testing.assert_array_equal(slide.read(0, y, x, height, width), expected[y : y + height, x : x + width])
    assert not (tmp_path / "copies").exists()
    with pytest.raises(SlideError):  # without the copies: the file has no pixels any more
        readers.open_slide(path, "tifffile").read(0, 0, 0, 10, 10)


def test_all_readers_are_chosen_by_the_copies(tmp_path):
    path = write(tmp_path / "a.tif", texture(WIDE), compression="lzw", **ONE_STRIP)
    with copied(path, None, tmp_path / "copies", workers=1) as folder:
        clear(path)
        assert choice.choose_reader(path, copies=folder)[0] == "tifffile"
    with pytest.raises(SlideError, match="no reader can read it"):
        choice.choose_reader(path)


def test_a_damaged_strip_costs_its_rows_alone(tmp_path):
    image = texture(WIDE)
    path = write(tmp_path / "a.tif", image, compression="zlib", rowsperstrip=100)
    clear(path, [1])
    with copied(path, None, tmp_path / "copies", workers=1) as folder:
        slide = readers.open_slide(path, "tifffile", copies=folder)
        for top in (0, 200):
            np.testing.assert_array_equal(slide.read(0, top, 9, 100, 4000), image[top : top + 100, 9:4009])
        with pytest.raises(SlideError, match=r"strip 1 \(row 1, column 0\) cannot be decoded"):
            slide.read(0, 99, 9, 100, 4000)


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("rows", [1, 16, 300])
def test_uncompressed_strips_are_read_by_rows_of_any_type(tmp_path, byteorder, rows):
    image = np.random.default_rng(3).integers(0, 2**16, WIDE[:2], dtype=np.uint16)
    path = str(tmp_path / "a.tif")
    tifffile.imwrite(path, image, byteorder=byteorder, rowsperstrip=rows, photometric="minisblack")
    slide = readers.open_slide(path, "tifffile", copies=str(tmp_path / "none"))
    for y, x, height, width in [(0, 0, *WIDE[:2]), (17, 2000, 100, 2100), (299, 0, 1, 4)]:
        part = slide.read(0, y, x, height, width)
        assert part.dtype == np.uint16 and part.dtype.isnative
        np.testing.assert_array_equal(part[..., 0], image[y : y + height, x : x + width])


def test_a_truncated_uncompressed_strip_is_damaged_as_a_whole(tmp_path):
    path = write(tmp_path / "a.tif", texture(WIDE), **ONE_STRIP)
    with open(path, "r+b") as file:
        file.truncate(2_000_000)
    with pytest.raises(SlideError, match="strip 0 .* is truncated"):
        readers.open_slide(path, "tifffile").read(0, 0, 0, 10, 10)


def test_short_and_uncompressed_strips_are_not_copied_and_need_no_memory(tmp_path):
    layouts = {"raw": ONE_STRIP, "tiled": {"compression": "lzw", "tile": (256, 256)}}
    for name, options in layouts.items():
        path = write(tmp_path / f"{name}.tif", texture(WIDE), **options)
        assert headers.decoding_mb(path) == 0
        with copied(path, None, tmp_path / "copies", workers=1) as folder:
            assert folder == str(tmp_path / "copies") and not (tmp_path / "copies").exists()
    assert headers.decoding_mb(tmp_path / "none.tif") == 0
    for options in ({}, {"bigtiff": True}, {"byteorder": ">"}):  # forms of a file's numbers
        path = write(tmp_path / "a.tif", texture(WIDE), compression="lzw", **ONE_STRIP, **options)
        assert headers.decoding_mb(path) == pytest.approx(3 * texture(WIDE).size / 1e6)


def test_what_is_never_decoded_as_a_whole_needs_no_memory(tmp_path):
    path = write(tmp_path / "a.tif", texture(WIDE), compression="lzw", **ONE_STRIP)
    with tifffile.TiffFile(path) as tif:
        places = [tif.pages[0].tags[name].valueoffset for name in ("ImageWidth", "ImageLength", "RowsPerStrip")]
        kinds = {tif.pages[0].tags[name].dtype for name in ("ImageWidth", "ImageLength", "RowsPerStrip")}
    assert kinds == {tifffile.DATATYPE.LONG}
    with open(path, "r+b") as file:  # a damaged header
        for place in places:
            file.seek(place)
            file.write((2**31).to_bytes(4, "little"))
    assert headers.decoding_mb(path) == 0
    with pytest.raises(SlideError, match=f"expected some, and at most {headers.LARGEST_SEGMENT_PX} in one"):
        readers.open_slide(path, "tifffile")


@pytest.mark.parametrize("width, copies", [(4000, False), (8000, True)])
def test_the_one_strip_of_an_ndpi_slide_is_decoded_in_pieces(tmp_path, width, copies):
    pieces = 100  # of 8 rows, as wide as the slide
    path = tmp_path / "a.ndpi"
    tifffile.imwrite(
        path,
        np.zeros((8 * pieces, width, 3), np.uint8),
        photometric="rgb",
        compression="lzw",
        rowsperstrip=8 * pieces,
        extratags=[(65426, 4, pieces, tuple(range(pieces)), True)],
        metadata=None,
    )
    assert headers.decoding_mb(path) == pytest.approx(3 * 8 * width * 3 / 1e6 * copies)


@pytest.mark.parametrize("compression", ["zlib", None])
@pytest.mark.parametrize(
    ("size", "layout", "why"),
    [
        ((10**6, 10**6), {"tile": (256, 256)}, "lists 1 of 15264649 tiles: its 1000000 x 1000000 px need all of them"),
        ((700, 256), {"rowsperstrip": 128}, "lists 2 of 6 strips: its 256 x 700 px need all of them"),
        ((10**6, 10**6), {"rowsperstrip": 256}, "says that it has 1000000 x 1000000 px, and is .* bytes large"),
    ],
)
def test_a_slide_that_cannot_hold_its_pixels_is_refused_at_once(tmp_path, compression, size, layout, why):
    path = write(tmp_path / "a.tif", texture((256, 256, 3)), compression=compression, **layout)
    assert not headers.lost_pixels(path)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        for code, value in zip((257, 256), size, strict=True):
            tif.pages.first.tags[code].overwrite(value)
        if "says" in why:
            tif.pages.first.tags[278].overwrite(size[0])
    with pytest.raises(SlideError, match=why):
        conversion.convert(
            path,
            tmp_path / "a.ome.zarr",
            reader="auto",
            version="0.5",
            chunk=128,
            shard=256,
            codec="zstd",
            level=1,
            on_bad_image="record",
            workers=1,
            made_by="a test",
        )
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]


@real
def test_every_real_slide_holds_its_pixels():
    assert [headers.lost_pixels(path) for path in REAL_SLIDES.iterdir()] == [""] * len(list(REAL_SLIDES.iterdir()))
