"""Choose the images on which a plate or a stack is calibrated: spread over it, and fixed by their order alone."""

from collections.abc import Sequence
from itertools import groupby, zip_longest
from typing import TypeVar

from fieldwork.inputs.names.images import Image, planes_of_fields

MOST_SAMPLE_IMAGES = 96
# 2**32 times the golden ratio's fraction: multiples of it, modulo 2**32, fill the range evenly and without a period, so
# that no pattern of the plate (every other column, one of four quadrants) escapes.
GOLDEN_STEP = 2_654_435_769

Item = TypeVar("Item")


def sample_of(images: Sequence[Image], *, of_planes: bool = False) -> list[Image]:
    """Choose images spread evenly over the wells of a plate.

    Parameters
    ----------
    images : sequence of Image
        The plate's images of the nuclei channel, sorted by well.
    of_planes : bool
        Images of one well, site and time point are the z planes of a field: choose fields, with all their images.

    Returns
    -------
    list of Image
        At most `MOST_SAMPLE_IMAGES`, or fields, in the order in which they are read: one of each well, then a second
        one of each. Any first part of them is spread over the plate, too.
    """
    if of_planes:
        fields = {planes[0]: planes for planes in planes_of_fields(images)}
        return [image for first in sample_of(list(fields)) for image in fields[first]]
    wells = [list(of_well) for _, of_well in groupby(images, key=lambda image: image.well)]
    ordered = [spread(wells[index], start=index) for index in spread(range(len(wells)))]
    rounds = (image for images in zip_longest(*ordered) for image in images if image)
    return [image for _, image in zip(range(MOST_SAMPLE_IMAGES), rounds, strict=False)]


def spread(items: Sequence[Item], start: int = 0) -> list[Item]:
    """Return items in an order of which every first part is spread over all of them.

    Parameters
    ----------
    items : sequence
    start : int
        From 0: another one gives another order.
    """
    steps = range(start, start + len(items))
    return [item for _, item in sorted(zip((GOLDEN_STEP * step % 2**32 for step in steps), items, strict=True))]
