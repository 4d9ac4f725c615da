"""Whether a plate has several time points: by the names of files, by its list, or inside of the files."""

import struct
from collections.abc import Sequence

from fieldwork.inputs.inside import headers
from fieldwork.inputs.names.images import Image
from fieldwork.inputs.paths import is_url

IMAGES_TRIED = 3  # the first ones may be bad


def are_several(images: Sequence[Image], *, pages_are: str = "") -> bool:
    """Return True if images were taken at several time points.

    Names and lists say it of all images; of files that may hold time points, the first that can be read says it. Those
    at URLs are not opened.

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
    paths = dict.fromkeys(image.path for image in may_hold if not is_url(image.path))
    for path in [*paths][:IMAGES_TRIED]:
        try:
            return headers.timepoints_in(path, pages_are=pages_are) > 1
        except (OSError, ValueError, struct.error):
            continue
    return False
