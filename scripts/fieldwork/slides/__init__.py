"""Whole slides: reading them, converting them to OME-Zarr, measuring their tiles, their tables and pictures."""


class SlideError(Exception):
    """The reason why a slide or a part of it cannot be read, as a text for people."""
