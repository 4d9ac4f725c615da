"""Errors for people: reasons in one line, and no secret of a URL in them."""

import pickle

import pytest

from fieldwork import FrameError, InputError, reason_of
from fieldwork.messages.secrets import without_secrets


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'http://me:S3CRET@h/a.zip?sig=T0KEN': gone", "'http://...@h/a.zip?sig=...': gone"),
        ("http://me:S3/CR@ET@h/a and s3://AKIA:S3CRET@b/k", "http://...@h/a and s3://...@b/k"),
        ("found ['https://T0KEN@h'].", "found ['https://...@h']."),
        ("with url: /a.zip?sv=2020&sig=T0KEN%3D (Caused by", "with url: /a.zip?sv=...&sig=... (Caused by"),
        ("http://h/a?T0KEN, http://h/a#T0KEN.", "http://h/a?..., http://h/a#...."),
        ("with url: /a.zip?T0KEN (Caused by", "with url: /a.zip?... (Caused by"),
    ],
)
def test_secrets_of_urls_are_dots(text, expected):
    assert without_secrets(text) == expected
    for kind in (InputError, FrameError):
        assert str(kind(text)) == str(pickle.loads(pickle.dumps(kind(text)))) == expected
    assert reason_of(ValueError(text)) == f"ValueError: {expected}"


@pytest.mark.parametrize(
    "text",
    [
        "http://h:8080/user@x/a.zip?download=1",
        "tcp://127.0.0.1:8786: mail a@b.c",
        r"^(?P<well>[A-Z]\d+)_(?P=well)\.tif$",
        "s3://bucket/key",
    ],
)
def test_other_texts_stay(text):
    assert without_secrets(text) == text


def test_a_reason_is_never_empty():  # an empty one means a good frame
    assert reason_of(ValueError(), own=ValueError) == "ValueError"
