"""Whether a plate has several time points: by the names of files, by its list, or inside of the files."""

import struct
from collections.abc import Sequence

from fieldwork.inputs.inside import headers
from fieldwork.inputs.names.images import Image
from fieldwork.inputs.paths import is_url


def are_several(images: Sequence[Image], *, pages_are: str = "") -> bool:
    """Return True if images were taken at several time points.

    Names and lists say it of all images; of files that may hold time points, the first and the last one are opened, if
    they are at no URL.

    Parameters
    ----------
    images : list of Image
        Of a plate's nuclei channel.
    pages_are : {'', 'z', 'c', 't'}
        As for `headers.channels_in`.
    """
    if len({image.timepoint for image in images} - {None}) > 1:
        return True
    # Of a file whose page a list names, that page counts alone.
    may_hold = (
        image
        for image in images
        if image.path and image.timepoint is None and (image.inside or (None, None))[1] is None
    )
    paths = [image.path for image in may_hold if not is_url(image.path)]
    return any(_holds_several(path, pages_are) for path in dict.fromkeys([*paths[:1], *paths[-1:]]))


def _holds_several(path, pages_are):
    try:
        return headers.timepoints_in(path, pages_are=pages_are) > 1
    except (OSError, ValueError, struct.error):
        return False  # its fields will fail
