"""Planes: 2-D frames of a file."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from fieldwork import FrameError

ANY_COLOUR = " in 3 colours"  # how a form ends where each colour of an image is flat, or the user named one


class ChannelError(FrameError):
    """The file has several channels or colours, and not the wanted one, or none is wanted."""


class Plane(NamedTuple):
    """One 2-D frame of a file."""

    timepoint: int | None  # from 1; None where the file has one time point
    z: int | None  # from 1; None where the file has one z plane
    image: np.ndarray  # (rows, columns)
    colours: str = ""  # of a colour image: what was taken of it, for its form; nothing where it is grey
    notes: tuple[str, ...] = ()  # how stored values became those of `image`, where they are not the same


def with_position(planes: list[Plane], *, timepoint: int | None, z: int | None) -> list[Plane]:
    """Return the planes of a file with the time point and z plane that its name states.

    Parameters
    ----------
    planes : list of Plane
    timepoint, z : int or None
        From the name; None keeps those of the planes.

    Returns
    -------
    list of Plane

    Raises
    ------
    FrameError
        The file has several planes, although its name says that it is one of them.
    """
    if any(None not in (timepoint, plane.timepoint) or None not in (z, plane.z) for plane in planes):
        raise FrameError(f"holds {len(planes)} planes; its name says that it is one of them, so 1 is expected")
    return [
        plane._replace(timepoint=plane.timepoint if timepoint is None else timepoint, z=plane.z if z is None else z)
        for plane in planes
    ]


def usual_form(forms: Iterable[str]) -> str | None:
    """Return the form (size, type, colour) of most images: an absolute majority decides; None where there is none.

    A colour image in which nothing varies leaves open which colour it is, and counts to the colour, or grey, of most
    others.
    """
    counts = Counter(forms)
    for form in [form for form in counts if form.endswith(ANY_COLOUR)]:
        grey = form.removesuffix(ANY_COLOUR)
        decided = Counter(
            {other: count for other, count in counts.items() if other == grey or other.startswith(f"{form}, ")}
        )
        for colour, votes in decided.most_common(1):
            if votes * 2 > decided.total():
                counts[colour] += counts.pop(form)
    form, votes = max(counts.items(), key=lambda item: item[1], default=(None, 0))
    return form if votes * 2 > counts.total() else None


def has_form(form: str, usual: str) -> bool:
    """Return True if a form is the usual one, or leaves open the colour alone."""
    if form.removesuffix(ANY_COLOUR) == usual.removesuffix(ANY_COLOUR):
        return True
    return form.endswith(ANY_COLOUR) and usual.startswith(f"{form}, ")
