"""JPEG 2000 streams of another form, or without their end, are errors."""

import imagecodecs
import numpy as np
import pytest

from fieldwork.decoding import DecodeError, Form, jpeg2000
from slide_files import texture

IMAGE = texture((64, 96, 3))
TILE = Form(range(64, 65), range(96, 97), 3, np.dtype(np.uint8))


def encoded(image=IMAGE, **options):
    return imagecodecs.jpeg2k_encode(image, **{"level": 0, "codecformat": "j2k"} | options)


def reason(stream, form=TILE):
    with pytest.raises(DecodeError) as caught:
        jpeg2000.decode(stream, form)
    return str(caught.value)


@pytest.mark.parametrize("codecformat", ["j2k", "jp2"])
def test_pixels_are_decoded_from_streams_and_files(codecformat):
    np.testing.assert_array_equal(jpeg2000.decode(encoded(codecformat=codecformat), TILE), IMAGE)
    grey, form = IMAGE[..., 0].astype(np.uint16) * 200, TILE._replace(samples=1, dtype=np.dtype(np.uint16))
    stream = encoded(grey, codecformat=codecformat)
    np.testing.assert_array_equal(jpeg2000.decode(stream, form)[..., 0], grey)


@pytest.mark.parametrize("codecformat", ["j2k", "jp2"])
def test_a_stream_that_was_cut_anywhere_is_refused(codecformat):
    stream = encoded(codecformat=codecformat)
    for share in (0, 0.001, 0.1, 0.5, 0.9):
        reason(stream[: int(share * len(stream))])
    assert "no end mark" in reason(stream[:-2])


@pytest.mark.parametrize(
    "form",
    [
        TILE._replace(heights=range(96, 97)),
        TILE._replace(widths=range(64, 65)),
        TILE._replace(samples=1),
        TILE._replace(dtype=np.dtype(np.uint16)),
        TILE._replace(dtype=np.dtype(np.int8)),
    ],
)
def test_another_form_than_the_containers_is_refused(form):
    assert "it holds 64 x 96 pixels of 3 x uint8; expected" in reason(encoded(), form)


def test_a_size_that_would_take_the_memory_is_refused_before_it_is_taken():
    stream = bytearray(encoded())
    stream[8:16] = b"\x7f\xff\xff\xff" * 2
    assert "it holds 2147483647 x 2147483647 pixels" in reason(bytes(stream))


def test_a_damaged_header_is_refused():
    stream = encoded()
    assert "not a JPEG 2000 stream" in reason(bytes(200))
    position = stream.index(b"\xff\x52")  # the coding style
    reason(stream[: position + 2] + b"\xff" * 12 + stream[position + 14 :])
