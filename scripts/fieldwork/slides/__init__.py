"""Whole slides: reading them, converting them to OME-Zarr, measuring their tiles, their tables and pictures."""

from fieldwork import NotReadError


class SlideError(Exception):
    """A slide or a part of it cannot be read; the message is the reason, for people."""


class SlideNotReadError(SlideError, NotReadError):
    """A slide or a part of it cannot be read for a reason outside its files."""
