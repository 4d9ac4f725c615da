"""Whole slides: reading them, converting them to OME-Zarr, measuring their tiles, their tables and pictures."""


class SlideError(Exception):
    """A slide or a part of it cannot be read; the message is the reason, for people."""
