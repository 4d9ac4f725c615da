"""Choose which picture of a TIFF file is the slide, and which are kept beside it."""

from collections.abc import Sequence
from typing import NamedTuple

from fieldwork.slides import SlideError
from fieldwork.slides.inside.pictures import Picture
from fieldwork.slides.metadata import shown

# A region is as good a slide as the largest one if it has this share of its pixels; the first of those is the slide.
COMPARABLE_SHARE = 0.5
MOST_LISTED = 12  # pictures in a message
LARGEST_ASSOCIATED_PX = 2**26  # of a picture that is kept beside the slide; it is decoded as a whole


class Choice(NamedTuple):
    """The picture of a file that is converted, and what becomes of the others."""

    number: int  # of the picture, among those of the file, from 0
    picture: Picture
    others: list[str]  # number, name and size of other pictures that may be slides, or are larger than this one
    associated: dict[str, Picture]
    warnings: list[str]


def choose(pictures: Sequence[Picture], wanted: int | None) -> Choice:
    """Choose the picture that is the slide.

    Parameters
    ----------
    pictures : sequence of Picture
        From `pictures_of`.
    wanted : int or None
        The number of the picture by the sheet's column ``series``, from 0.

    Returns
    -------
    Choice
        The wanted picture. Else the largest one that is neither marked as reduced nor named label, macro or
        thumbnail; where others have at least `COMPARABLE_SHARE` of its pixels, the first of these.

    Raises
    ------
    SlideError
        There is no such picture, or it cannot be stored; the message lists all pictures.
    """
    listed = "; ".join(f"{number}: {_described(picture)}" for number, picture in enumerate(pictures[:MOST_LISTED]))
    listed += f"; and {len(pictures) - MOST_LISTED} more" * (len(pictures) > MOST_LISTED)
    if not pictures:
        raise SlideError("a TIFF file without images")
    warnings = []
    if wanted is None:
        slides = [number for number, picture in enumerate(pictures) if not picture.kind]
        named = [number for number, picture in enumerate(pictures) if picture.kind not in ("", "reduced")]
        slides = slides or (named if len(named) == len(pictures) else [])
        if not slides:
            raise SlideError(
                f"no picture in it is a slide: all are marked as reduced copies or named label, macro or thumbnail "
                f"({listed}). Column series of the sheet takes one of them by its number"
            )
        largest = max(pictures[number].pixels for number in slides)
        comparable = [number for number in slides if pictures[number].pixels >= COMPARABLE_SHARE * largest]
        chosen = comparable[0]
        if len(comparable) > 1:
            warnings.append(
                f"{len(comparable)} pictures of comparable size: the first is converted, {chosen}: "
                f"{_described(pictures[chosen])}; column series of the sheet takes another: {listed}"
            )
        elif len(pictures) > 1 and chosen:
            rule = "the largest but for reduced copies, label, macro, thumbnail"
            warnings.append(f"picture {chosen} is converted, {rule}: {listed}")
        for number, other in enumerate(pictures):
            if other.kind and other.pixels > pictures[chosen].pixels:
                warnings.append(
                    f"picture {number}, {_described(other)}, is larger than the one that is converted, {chosen}, but "
                    f"marked or named as {other.kind}; column series of the sheet takes it"
                )
    elif wanted >= len(pictures):
        raise SlideError(f"it has no picture {wanted}, which column series of the sheet names; its pictures: {listed}")
    else:
        chosen = wanted
    picture = pictures[chosen]
    fault = picture.fault or (picture.doubt if wanted is None else "")
    if fault:
        more = f". Column series of the sheet takes another of its pictures: {listed}" if len(pictures) > 1 else ""
        raise SlideError(f"{fault}{more}")
    others = [
        f"{number}: {_described(other)}"
        for number, other in enumerate(pictures)
        if number != chosen
        and (other.kind in ("", "reduced") or other.pixels > min(picture.pixels, LARGEST_ASSOCIATED_PX))
    ]
    warnings += filter(None, [picture.warning])
    return Choice(chosen, picture, others, _associated(pictures, chosen), warnings)


def _described(picture):
    return f"{shown(picture.name)} ({picture.size}{', reduced' if picture.kind == 'reduced' else ''})"


def _associated(pictures, chosen):
    """Return name -> picture of label, macro and thumbnail, and of unnamed small pictures in strips."""
    kept = {}
    tiled = pictures[chosen].page.is_tiled
    for number, picture in enumerate(pictures):
        small = picture.pixels < COMPARABLE_SHARE * pictures[chosen].pixels
        unnamed = picture.kind in ("", "reduced")
        if number == chosen or picture.fault or picture.pixels > LARGEST_ASSOCIATED_PX:
            continue
        if unnamed and not (small and tiled and not picture.page.is_tiled):
            continue
        name = f"picture_{number}" if unnamed else picture.kind
        kept[name if name not in kept else f"{name}_{number}"] = picture
    return kept
