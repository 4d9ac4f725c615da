"""Which of several z planes of a field counts."""

from collections.abc import Sequence
from typing import Any

from fieldwork import frames, quality

LEAST_CONTRAST = 0.5  # of a plane that may be the sharpest, in times of the highest: noise alone has the slope of edges


def choose(planes: Sequence[Any], *, z: str | int) -> list[Any]:
    """Choose the planes of a field that count.

    Parameters
    ----------
    planes : list of images.FieldPlane
        Of all its time points.
    z : {'all', 'best', 'projection'} or int
        All; or of every time point one: the sharpest, by `quality.sharpness`, of those with at least `LEAST_CONTRAST`,
        of equal ones the first; the only one, as no file says that a plane is a projection; or that of this number, in
        the file's name, or else in the file, where they count from 1.

    Raises
    ------
    FrameError
        There is no such plane, or images are too small to tell which is sharp.
    """
    if z == "all":
        return list(planes)
    moments = {}
    for plane in planes:
        moments.setdefault(plane.timepoint, []).append(plane)
    return [_one_of(of_moment, z) for of_moment in moments.values()]


def _one_of(planes, z):
    if z == "best":
        if len(planes) > 1 and min(planes[0].image.shape) < quality.LEAST_SIDE_PX:
            raise frames.FrameError(
                f"too small to tell the sharpest plane; expected {quality.LEAST_SIDE_PX} px or more"
            )
        contrasts = [quality.contrast(plane.image) if len(planes) > 1 else 0 for plane in planes]
        least = LEAST_CONTRAST * max(contrasts)
        clear = [plane for plane, contrast in zip(planes, contrasts, strict=True) if contrast >= least]
        return max(clear, key=lambda plane: quality.sharpness(plane.image))
    matching = planes if z == "projection" else [plane for plane in planes if plane.z in (None, z)]
    if len(matching) == 1:
        return matching[0]
    wanted = "none is known to be a projection" if z == "projection" else f"none is plane {z}"
    raise frames.FrameError(f"holds the z planes {', '.join(str(plane.z) for plane in planes)}; {wanted} (nuclei.z)")
