"""No damaged image of a plate or stack is taken for good where the decoder of its format notices; others are read."""

import os
import re
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from fieldwork import FrameError, frames
from fieldwork.decoding import jpegxr, png, segments
from fieldwork.stacks import sources

HOLES, HOLE_BYTES = 60, 512
CUT = "truncated|no end|Premature end|premature end|is damaged|cannot be decoded"


def field(dtype=np.uint16, side=160):
    """Draw bright spots on a noisy ground."""
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:side, :side]
    image = rng.normal(300, 12, (side, side))
    for y, x in rng.uniform(14, side - 14, (12, 2)):
        image += 4000 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 40)
    return (image / 20 if dtype == np.uint8 else image).astype(dtype)


def pixels(path):
    [plane] = frames.read(path)
    return plane.image


def reason(path, read=pixels):
    with pytest.raises(FrameError) as caught:
        read(path)
    return str(caught.value)


def libtiff(path):
    return imagecodecs.tiff_decode(path.read_bytes())


def write_jpeg(path):
    Image.fromarray(field(np.uint8)).save(path, quality=95)


def write_png(path):
    Image.fromarray(field()).save(path)


def tiff_writer(dtype=np.uint16, **options):
    return lambda path: tifffile.imwrite(path, field(dtype), rowsperstrip=64, **options)


WRITERS = {
    "a.jpg": write_jpeg,
    "a.png": write_png,
    "jpeg.tif": tiff_writer(np.uint8, compression="jpeg"),
    "lzw.tif": tiff_writer(compression="lzw"),
    "lzw_predictor.tif": tiff_writer(compression="lzw", predictor=True),
    "deflate.tif": tiff_writer(compression="zlib", predictor=True),
    "zstd.tif": tiff_writer(compression="zstd"),
    "packbits.tif": tiff_writer(compression="packbits"),
    "lzma.tif": tiff_writer(compression="lzma"),
    "png.tif": tiff_writer(compression="png"),
    "jpegxl.tif": tiff_writer(compression="jpegxl"),
}


def hole_range(path):
    """Return where compressed pixels begin and end."""
    if path.suffix != ".tif":
        return (200, path.stat().st_size - HOLE_BYTES)
    with tifffile.TiffFile(path) as tif:
        page = tif.pages.first
        return page.dataoffsets[0], page.dataoffsets[-1] + page.databytecounts[-1] - HOLE_BYTES


@pytest.mark.parametrize("name", WRITERS)
def test_60_holes_are_noticed_as_the_formats_own_decoder_notices_them(tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path)
    expected, content, noticed = pixels(path), path.read_bytes(), 0
    start, stop = hole_range(path)
    for position in np.random.default_rng(7).integers(start, stop, HOLES):
        path.write_bytes(content[:position] + bytes(HOLE_BYTES) + content[position + HOLE_BYTES :])
        try:
            image = pixels(path)
        except FrameError:
            noticed += 1
            continue
        if not np.array_equal(image, expected):
            assert name == "zstd.tif"  # has no check sum
            np.testing.assert_array_equal(libtiff(path), image)
    assert noticed > (0.3 if name == "zstd.tif" else 0.9) * HOLES


def test_a_damaged_strip_fails_its_frame_of_a_stack_alone(tmp_path):
    path = tmp_path / "a.tif"
    images = np.stack([field(np.uint8)] * 3)
    tifffile.imwrite(path, images, photometric="minisblack", compression="jpeg", rowsperstrip=64)
    with tifffile.TiffFile(path) as tif:
        start, count = tif.pages[1].dataoffsets[1], tif.pages[1].databytecounts[1]
    content = bytearray(path.read_bytes())
    content[start + count // 2 : start + count] = bytes(count - count // 2)
    path.write_bytes(content)
    listed = sources.open_stack(path).frames
    assert reason(listed[1], sources.read) == "strip 1 (row 1, column 0) cannot be decoded: its JPEG stream has no end"
    for number in (0, 2):
        np.testing.assert_array_equal(sources.read(listed[number]), tifffile.imread(path, key=number))


def chunk(name, content, wrong=0):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content) ^ wrong)


GREYS = chunk(b"PLTE", np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes())


def png_file(*before, rows=160, cut=None, wrong=0, adler=True, after=(), colour=png.GREY, bits=16):
    """Return the bytes of a PNG file of `field`."""
    image = field()[:rows] if bits == 16 else field(np.uint8)[:rows]
    lines = b"".join(b"\0" + line.astype(">u2" if bits == 16 else "u1").tobytes() for line in image)
    stream = zlib.compress(lines)
    stream = stream if adler else stream[:-4] + bytes(4)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 160, 160, bits, colour, 0, 0, 0))
    return b"".join([png.START, header, *before, chunk(b"IDAT", stream, wrong), *after, png.END])[:cut]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (png_file(rows=80), "Not enough image data"),
        (png_file(rows=159), "Not enough image data"),
        (png_file(adler=False), "incorrect data check"),
        (png_file(wrong=1), "CRC error"),
        (png_file(cut=-12), "it is truncated: its PNG stream has no end"),
        (png_file(cut=-3), "it is truncated: its PNG stream has no end"),
        (png_file(cut=9000), "it is truncated"),
        (png_file(cut=20), "its PNG stream is damaged: it starts with"),
        (png_file(chunk(b"acTL", b"\0\0\0\2\0\0\0\0")), "found 2 images"),
        (png_file(GREYS, rows=80, colour=png.PALETTE, bits=8), "Not enough image data"),
    ],
)
def test_a_png_file_that_is_not_complete_is_refused(tmp_path, content, why):
    (tmp_path / "a.png").write_bytes(content)
    assert why in reason(tmp_path / "a.png")


RUBBISH = {
    "eXIf": b"MM\0*\xff\xff\xff\xffrubbish",
    "iCCP": b"name\0\7rubbish",
    "iCCP ": b"",
    "iTXt": b"x\0\1\0\0\0rubbish",
    "pHYs": b"x",
    "gAMA": b"",
    "cHRM": b"12",
    "tIME": b"",
}


@pytest.mark.parametrize("name", RUBBISH)
def test_rubbish_in_what_is_no_pixel_harms_no_png_file(tmp_path, name):
    extra = chunk(name[:4].encode(), RUBBISH[name])
    (tmp_path / "a.png").write_bytes(png_file(extra))
    (tmp_path / "b.png").write_bytes(png_file(extra, GREYS, colour=png.PALETTE, bits=8))
    (tmp_path / "c.png").write_bytes(png_file(after=[chunk(b"tEXt", b"a\0b", wrong=1)]))
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), field())
    np.testing.assert_array_equal(pixels(tmp_path / "b.png"), field(np.uint8))
    np.testing.assert_array_equal(pixels(tmp_path / "c.png"), field())


def test_rubbish_in_the_exif_and_icc_of_a_jpeg_file_harms_nobody(tmp_path):
    write_jpeg(tmp_path / "a.jpg")
    expected, content = pixels(tmp_path / "a.jpg"), (tmp_path / "a.jpg").read_bytes()
    np.testing.assert_array_equal(expected, np.asarray(Image.open(tmp_path / "a.jpg")))
    for marker, text in (
        (0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff"),
        (0xE2, b"ICC_PROFILE\0\7\1"),
        (0xED, b"Photoshop 3.0\0x"),
    ):
        extra = bytes([0xFF, marker]) + struct.pack(">H", 2 + len(text) + 40) + text + bytes(range(40))
        (tmp_path / "b.jpg").write_bytes(content[:2] + extra + content[2:])
        np.testing.assert_array_equal(pixels(tmp_path / "b.jpg"), expected)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.gif"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95, 0.999])
def test_a_picture_that_was_cut_is_refused(tmp_path, name, share):
    Image.fromarray(field(np.uint8)).save(tmp_path / name)
    os.truncate(tmp_path / name, int(share * (tmp_path / name).stat().st_size))
    reason(tmp_path / name)


def test_a_jpeg_file_without_its_end_is_refused(tmp_path):
    write_jpeg(tmp_path / "a.jpg")
    os.truncate(tmp_path / "a.jpg", (tmp_path / "a.jpg").stat().st_size - 2)
    assert reason(tmp_path / "a.jpg") == "its JPEG stream is truncated: Premature end of JPEG file"


def test_a_jpeg_xr_that_is_shorter_than_it_states_is_refused(tmp_path):
    path, image = tmp_path / "a.tif", field()
    tifffile.imwrite(path, image, compression="jpegxr", metadata=None)
    np.testing.assert_array_equal(pixels(path), imagecodecs.jpegxr_decode(imagecodecs.jpegxr_encode(image)))
    with tifffile.TiffFile(path, mode="r+") as tif:
        count = tif.pages.first.databytecounts[0]
        tif.pages.first.tags[279].overwrite(count - 2000)
    assert f"it is truncated: its JPEG XR file goes on to byte {count} of {count - 2000}" in reason(path)
    for stream in (b"", b"II\xbc\1", b"II\xbc\1\xff\xff\xff\xff", bytes(100)):
        with pytest.raises(FrameError, match="not a JPEG XR file|no complete directory"):
            jpegxr.check(stream)


@pytest.mark.parametrize("compression", [None, "packbits", "png", "jpeg"])
@pytest.mark.parametrize("layout", [{}, {"rowsperstrip": 60}, {"tile": (64, 64)}])
def test_a_predictor_counts_only_where_libtiff_applies_it(tmp_path, compression, layout):
    image, path = field(np.uint8), tmp_path / "a.tif"
    tifffile.imwrite(path, image, compression=compression, metadata=None, extratags=[(316, 3, 1, 2, True)], **layout)
    expected = pixels(path)
    entry = struct.pack("<HHI", 316, 3, 1)  # tifffile writes no Predictor where it does not count
    path.write_bytes(path.read_bytes().replace(entry, struct.pack("<HHI", 317, 3, 1)))
    assert tifffile.TiffFile(path).pages.first.predictor == 2
    np.testing.assert_array_equal(pixels(path), expected)
    np.testing.assert_array_equal(sources.read(sources.open_stack(path).frames[0]), expected)
    if compression != "png":
        np.testing.assert_array_equal(libtiff(path), expected)


@pytest.mark.parametrize("compression", ["lzw", None])
def test_the_strips_that_are_left_are_counted(tmp_path, compression):
    path, image = tmp_path / "a.tif", field()
    tifffile.imwrite(path, image, rowsperstrip=4, compression=compression, metadata=None)
    with tifffile.TiffFile(path) as tif:
        ends = [sum(pair) for pair in zip(tif.pages.first.dataoffsets, tif.pages.first.databytecounts, strict=True)]
    os.truncate(path, ends[11] + 3)
    assert reason(path).startswith("truncated after 12 of 40 strips: its pixels go on to byte")
    tifffile.imwrite(path, image, rowsperstrip=4, compression="lzw", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tif:
        for code in (273, 279):
            tif.pages.first.tags[code].overwrite(tif.pages.first.tags[code].value[:12])
    assert reason(path) == "damaged: its directory lists 12 of 40 strips"


@pytest.mark.parametrize("compression", ["lzw", None])
@pytest.mark.parametrize("layout", [{"rowsperstrip": 16}, {"tile": (16, 32)}])
def test_strips_and_tiles_too_many_are_a_damaged_size(tmp_path, compression, layout):
    path, image = tmp_path / "a.tif", field()
    tifffile.imwrite(path, image, compression=compression, metadata=None, **layout)
    with tifffile.TiffFile(path, mode="r+") as tif:
        listed = len(tif.pages.first.dataoffsets)
        tif.pages.first.tags[257].overwrite(32)
    kind = "tiles" if "tile" in layout else "strips"
    assert reason(path) == f"damaged: its directory lists {listed} {kind}, and a size that needs {listed // 5} of them"


@pytest.mark.parametrize(
    ("rows", "why"),
    [(8, "its directory lists 10 of 20 strips"), (17, "its first strip has 5120 bytes; its 17 rows need 5440")],
)
def test_strips_of_other_rows_than_stated_are_refused_though_they_lie_side_by_side(tmp_path, rows, why):
    tifffile.imwrite(tmp_path / "a.tif", field(), metadata=None, rowsperstrip=16)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tif:
        assert tif.pages.first.is_contiguous
        tif.pages.first.tags[278].overwrite(rows)
    assert reason(tmp_path / "a.tif") == f"damaged: {why}"


def test_images_that_an_imagej_description_states_are_missed(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", field(), description="ImageJ=1.53t\nimages=5\n", metadata=None)
    assert reason(tmp_path / "a.tif") == "truncated: its ImageJ description states 5 images, and 1 are there"


def test_a_tag_of_no_type_is_a_damaged_directory(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", field(), metadata=None)
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content.replace(struct.pack("<HHI", 258, 3, 1), struct.pack("<HHI", 258, 75, 1)))
    assert reason(tmp_path / "a.tif") == "damaged: tag 258 of page 1 is of no type that TIFF has"


@pytest.mark.parametrize("compression", ["jpeg", "webp", "jpegxl", "jpegxr", "png", "jpeg2000"])
def test_a_stream_of_another_size_or_type_than_its_tags_say_is_refused(tmp_path, compression):
    path, image = tmp_path / "a.tif", np.dstack([field(np.uint8)] * 3)
    options = {"photometric": "rgb", "compression": compression, "metadata": None}
    tifffile.imwrite(path, image, **options)
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages.first.tags[256].overwrite(80)
        tif.pages.first.tags[257].overwrite(320)  # as many pixels, which tifffile takes
        tif.pages.first.tags[278].overwrite(320)
    assert "320 x 80" in reason(path)


def test_a_number_of_bytes_beyond_the_file_takes_no_memory(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, field(np.uint8), compression="jpeg", bigtiff=True, metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages.first.tags[279].overwrite(2**62, dtype=16)
    assert "truncated" in reason(path)
    with tifffile.TiffFile(path) as tif, pytest.raises(FrameError, match="strip 0 .* is truncated"):
        segments.read_page(tif.pages.first)


@pytest.mark.parametrize("name", ["a.bmp", "a.gif"])
def test_what_pillow_calls_truncated_is_about_the_file(tmp_path, name):
    Image.fromarray(field(np.uint8)).save(tmp_path / name)
    os.truncate(tmp_path / name, (tmp_path / name).stat().st_size // 2)
    assert reason(tmp_path / name).startswith("cannot be decoded: image file is truncated")


def test_a_directory_behind_the_end_is_cut_off(tmp_path):
    Image.fromarray(field()).save(tmp_path / "a.tif", compression="tiff_lzw")  # its directory comes last
    size = (tmp_path / "a.tif").stat().st_size
    os.truncate(tmp_path / "a.tif", size // 2)
    assert re.fullmatch(rf"truncated: page 1 begins at byte \d+ of {size // 2}", reason(tmp_path / "a.tif"))
