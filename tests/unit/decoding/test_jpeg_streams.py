"""What libjpeg warns of is an error; whole JPEG streams have imagecodecs' pixels."""

import re

import imagecodecs
import numpy as np
import pytest
import simplejpeg

from fieldwork.decoding import DecodeError, Form, jpeg
from slide_files import texture

SIDE = 64
IMAGE = texture((SIDE, SIDE, 3))
TILE = Form(range(SIDE, SIDE + 1), range(SIDE, SIDE + 1), 3, np.dtype(np.uint8))


def encoded(**options):
    return imagecodecs.jpeg8_encode(IMAGE, **{"level": 90, "subsampling": "420"} | options)


def split(stream):
    """Return the tables of a stream as TIFF stores them, and the stream without them."""
    tables, rest = [], []
    for marker, start, stop in jpeg.parts_of(stream):
        if marker == jpeg.SCAN_MARKER:
            rest.append(stream[start:])
            break
        (tables if marker in (0xC4, 0xDB) else rest).append(stream[start:stop])
    return b"".join([jpeg.START, *tables, jpeg.END]), b"".join([jpeg.START, *rest])


def reason(stream, form=TILE, **options):
    with pytest.raises(DecodeError) as caught:
        jpeg.decode(stream, form, **options)
    return str(caught.value)


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("subsampling", ["444", "422", "420", "440", "411"])
def test_pixels_are_imagecodecs(subsampling, optimize):
    stream = encoded(subsampling=subsampling, optimize=optimize)
    expected = imagecodecs.jpeg8_decode(stream)
    np.testing.assert_array_equal(jpeg.decode(stream, TILE), expected)
    tables, data = split(stream)
    np.testing.assert_array_equal(jpeg.decode(data, TILE, tables=tables), expected)
    assert np.abs(expected - IMAGE.astype(int)).mean() < 12


def grey_with_rare_subsampling():
    """Write a stream of 64 x 64 px, all of one grey, with one sample of colour for 4 x 2 of brightness."""
    stream = encoded().replace(b"\x01\x22\x00\x02\x11", b"\x01\x42\x00\x02\x11")
    start = next(part.stop for part in jpeg.parts_of(stream) if part.marker == jpeg.SCAN_MARKER)
    bits = 8 * (8 * "001010" + 2 * "0000")  # no difference from the block before, end of block
    return stream[:start] + int(bits, 2).to_bytes(len(bits) // 8) + jpeg.END


def test_a_subsampling_that_simplejpeg_does_not_know_is_decoded():
    stream = grey_with_rare_subsampling()
    with pytest.raises(ValueError, match="subsampling"):
        simplejpeg.decode_jpeg(stream)
    assert (jpeg.decode(stream, TILE) == 128).all()
    assert "has no end" in reason(stream[:-2])


def test_grey_and_12_bits_are_decoded_too():
    form = TILE._replace(samples=1)
    stream = imagecodecs.jpeg8_encode(IMAGE[..., 0].copy())
    np.testing.assert_array_equal(jpeg.decode(stream, form)[..., 0], imagecodecs.jpeg8_decode(stream))
    deep = IMAGE[..., 0].astype(np.uint16) * 16
    stream = imagecodecs.jpeg_encode(deep, bitspersample=12, level=95)
    decoded = jpeg.decode(stream, form._replace(dtype=np.dtype(np.uint16)))
    np.testing.assert_array_equal(decoded[..., 0], imagecodecs.jpeg_decode(stream, bitspersample=12))
    assert np.abs(decoded[..., 0].astype(int) - deep).mean() < 16


def test_progressive_streams_and_restart_markers_are_decoded(tmp_path):
    cv2 = pytest.importorskip("cv2")
    for flags in ([cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 3]):
        stream = cv2.imencode(".jpg", IMAGE, flags)[1].tobytes()
        np.testing.assert_array_equal(jpeg.decode(stream, TILE), imagecodecs.jpeg8_decode(stream))


def test_the_container_says_that_colours_are_rgb():
    stream = encoded(outcolorspace="RGB", subsampling="444")
    stream = re.sub(rb"\xff\xee\x00\x0eAdobe.{7}", b"", stream, flags=re.DOTALL)  # as Aperio's
    stream = stream.replace(b"R\x11\0G\x11\0B\x11\0", b"\1\x11\0\2\x11\0\3\x11\0").replace(
        b"R\0G\0B\0", b"\1\0\2\0\3\0"
    )
    right, wrong = jpeg.decode(stream, TILE, is_rgb=True).astype(int), jpeg.decode(stream, TILE).astype(int)
    np.testing.assert_array_equal(right, imagecodecs.jpeg8_decode(stream, colorspace="RGB", outcolorspace="RGB"))
    assert np.abs(right - IMAGE).mean() < 12 < np.abs(wrong - IMAGE).mean()


@pytest.mark.parametrize("share", [0.4, 0.7, 0.99])
def test_a_stream_that_was_cut_is_refused(share):
    stream = encoded()
    part = stream[: int(share * len(stream))]
    assert reason(part) == "its JPEG stream is truncated: Premature end of JPEG file"
    assert "premature end of data segment" in reason(part + jpeg.END)


def test_bytes_too_many_and_an_absent_end_are_refused():
    stream = encoded()
    assert "extraneous bytes before marker" in reason(stream[:-2] + bytes(range(1, 60)) + jpeg.END)
    assert reason(stream[:-2]) == "its JPEG stream is truncated: Premature end of JPEG file"
    np.testing.assert_array_equal(jpeg.decode(stream + bytes(9), TILE), jpeg.decode(stream, TILE))  # padding


@pytest.mark.parametrize(
    "stream", [b"", b"\xff\xd8", b"text", b"\xff\xd8\xff\xd9", bytes(100), b"\xff\xd8\xff\xc0\0\4\0\0"]
)
def test_what_is_no_stream_is_refused(stream):
    assert re.search("not a JPEG stream|damaged at byte|no header of a frame", reason(stream))


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (TILE._replace(heights=range(128, 129)), "64 x 64 pixels of 3 x uint8; expected 128 x 64 of 3 x uint8"),
        (TILE._replace(widths=range(32, 33)), "expected 64 x 32 of"),
        (TILE._replace(samples=1), "expected 64 x 64 of 1 x uint8"),
        (TILE._replace(dtype=np.dtype(np.uint16)), "expected 64 x 64 of 3 x uint16"),
    ],
)
def test_another_form_than_the_containers_is_refused(form, expected):
    assert expected in reason(encoded(), form)


def test_a_size_that_would_take_the_memory_is_refused_before_it_is_taken():
    stream = bytearray(encoded())
    position = stream.index(b"\xff\xc0") + 5
    stream[position : position + 4] = b"\xff\xf0\xff\xf0"
    assert "it holds 65520 x 65520 pixels" in reason(bytes(stream))


def test_a_strip_that_ends_in_a_restart_marker_is_completed():
    stream = encoded()
    start = next(part.stop for part in jpeg.parts_of(stream) if part.marker == jpeg.SCAN_MARKER)
    header, pixels = stream[:start], stream[start:-2]
    for end in (b"\xff\xd0", b"\xff\xd7", jpeg.END, jpeg.END + bytes(3)):
        np.testing.assert_array_equal(jpeg.decode(pixels + end, TILE, header=header), jpeg.decode(stream, TILE))
    assert "does not end in a restart marker" in reason(pixels, header=header)
    assert "premature end" in reason(pixels[:200] + b"\xff\xd1", header=header)


@pytest.mark.parametrize("subsampling", ["444", "420"])
@pytest.mark.parametrize("optimize", [False, True])
def test_holes_of_zeros_are_refused_wherever_they_are(subsampling, optimize):
    image = texture((256, 256, 3))
    form = Form(range(256, 257), range(256, 257), 3, np.dtype(np.uint8))
    stream = imagecodecs.jpeg8_encode(image, level=80, subsampling=subsampling, optimize=optimize)
    holes = 0
    for start in range(0, len(stream) - 100, 997):
        length = min(600, len(stream) - start)
        reason(stream[:start] + bytes(length) + stream[start + length :], form)
        holes += 1
    assert holes >= 9


def test_the_zeros_of_an_empty_picture_are_no_hole():
    blank = np.full((512, 512, 3), 240, np.uint8)
    stream = imagecodecs.jpeg8_encode(blank, optimize=True, subsampling="444")
    form = Form(range(512, 513), range(512, 513), 3, np.dtype(np.uint8))
    assert bytes(jpeg.HOLE_BYTES) in stream
    np.testing.assert_array_equal(jpeg.decode(stream, form), imagecodecs.jpeg8_decode(stream))


def test_fill_bytes_before_a_marker_are_allowed():
    stream = encoded()
    position = stream.index(b"\xff\xc0")
    filled = stream[:position] + b"\xff\xff" + stream[position:-2] + b"\xff" + stream[-2:]
    np.testing.assert_array_equal(jpeg.decode(filled, TILE), jpeg.decode(stream, TILE))
