"""Of several files of one place (well, site, channel, time point, z plane), decide which counts, or that none does.

An original counts; copies, previews and masks beside it are listed. Which file is one, these rules say, in this order:

1. By names: ``Copy of NAME``, ``NAME - Copy``, ``NAME (1)``; a folder or a word of the name is ``preview``, ``mask``,
   ``8bit``, ``jpg`` and the like, and not that of the other file.
2. By format: a JPEG beside a TIFF, PNG or BMP file that is not smaller is a copy.
3. By headers: a file with fewer pixels, or with 8 bits beside more, and more of neither, is a copy of one with at most
   16 bits; 32 bits are no microscope's, but results: masks, or images that were corrected.

Rules 2 and 3 look at a few files of every two folders (or two suffixes in one) that hold the same places; all must say
the same. Files without such a difference are equals, and neither counts: they may be of two plates, two measurements,
or before and after.
"""

import operator
import os
import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from fieldwork import InputError
from fieldwork.inputs.names import headers
from fieldwork.inputs.names.images import Image, in_order
from fieldwork.inputs.paths import is_url

MOST_TWICE = 0.5  # of all places: more with two files are no accident
_COMPARED_FILES = 3  # of two folders
_COPY_BITS, _MOST_ORIGINAL_BITS = 8, 16
_COPY = re.compile(
    r"(?i)(?:^|/)(?:(?:copy|kopie)(?: \(\d+\))? (?:of|von) |copie de |copia de )"
    r"|(?: - |[ _])(?:copy|kopie|copie|copia)(?: ?\(?\d+\)?)?(?:\.ome)?\.\w+$| \(\d+\)(?:\.ome)?\.\w+$"
)
_DERIVED = re.compile(
    r"(?i)(?:^|[/_ .-])(?:thumb(?:s|nails?)?|previews?|(?:cp_)?(?:masks?|outlines?)|seg(?:ment(?:ed|ations?|s)?)?"
    r"|overlays?|labels?|8[ _-]?bits?|jpe?gs?|pngs?|reduced|downsampled)(?=[/_ .-])"
)
_LOSSY = (".jpg", ".jpeg")


class Settled(NamedTuple):
    """Images of a plate without duplicates.

    ``images`` in the order of the tables' rows, with a fault where no file counts; ``copies`` beside originals;
    ``duplicates``: the other files of images with a fault; ``rules``: which decided on copies;
    ``twice``: the files of each place of which none counts.
    """

    images: list[Image]
    copies: list[str]
    duplicates: list[str]
    notes: list[str]
    rules: list[str] = []
    twice: list[list[Image]] = []


def is_derived(path: str) -> bool:
    """Return True for a path that says of itself that it is a copy, a preview or a mask."""
    return bool(_COPY.search(path) or _DERIVED.search(path))


def settle(images: Iterable[Image], *, folder: str = "") -> Settled:
    """Sort images, and keep one of each well, site, channel, time point and z plane.

    Parameters
    ----------
    images : iterable of Image
        An image that is there twice, path and all, counts once.
    folder : str
        The plate's folder: names in it count, its own name does not.

    Returns
    -------
    Settled
    """
    places, again = {}, 0
    for image in images:
        others = places.setdefault((image.well, image.site, image.channel, image.timepoint, image.z), [])
        if image in others:
            again += 1
        else:
            others.append(image)
    notes = [f"{again} images are listed twice, as the same; they count once."] if again else []
    several = [files for files in places.values() if len(files) > 1]
    if not several:
        return Settled(in_order(files[0] for files in places.values()), [], [], notes)
    base = len(os.path.join(folder, "")) if folder else 0
    rules = _Rules(several, base)
    kept, pairs, twice, reasons = [], [], [], {}
    for files in places.values():
        original, reason = (files[0], "") if len(files) == 1 else rules.original_of(files)
        if original:
            kept.append(original)
            lost = [image.path for image in files if image is not original]
            pairs += [(path, original.path) for path in lost]
            if lost:
                reasons.setdefault(reason, []).extend(lost)
        else:
            kept.append(files[0]._replace(fault=_fault_of(files)))
            twice.append(files)
    folders = {_class_of(path) for path, original in pairs} - {_class_of(original) for _, original in pairs}
    originals = {original for _, original in pairs}
    kept = [
        image._replace(fault=f"only {image.path!r} is there, a copy, preview or mask by its folder or name")
        if pairs
        and not image.fault
        and image.path not in originals
        and (_class_of(image.path) in folders or is_derived(image.path[base:]))
        else image
        for image in kept
    ]
    decided = [
        f"{len(paths)} files are copies, previews or masks ({reason}), first {paths[0]!r}; their originals count"
        for reason, paths in reasons.items()
    ]
    duplicates = [image.path for _, *others in twice for image in others]
    return Settled(in_order(kept), [path for path, _ in pairs], duplicates, notes, decided, twice)


def _fault_of(files):
    names = " and ".join(repr(image.path) for image in files[:2])
    more = f", and {len(files) - 2} more" if len(files) > 2 else ""
    return f"{len(files)} files are named as this image, and none is known to be a copy: {names}{more}"


def of_plate(
    images: Sequence[Image], *, plate: str, folder: str, others: Collection[str] = ()
) -> tuple[list[Image], int]:
    """Select the images whose folder or first part of the name is the plate's name, where other plates are there, too.

    They are where images carry the name of another plate that the sheet takes from this folder, or where the plate's
    name parts what is there twice. Copies, previews and masks by their names are not parted from their originals by
    this.

    Parameters
    ----------
    images : list of Image
        All of the folder.
    plate, folder : str
    others : collection of str
        Other plates of the sheet with images from this folder.

    Returns
    -------
    images : list of Image
        All, where no other plate is known to be there, or none carries the plate's name.
    number : int
        How many of all don't carry it, where some do.

    Raises
    ------
    InputError
        All images carry the name of another plate.
    """
    base = len(os.path.join(folder, ""))
    own = re.compile(rf"(?i)(?:^|/){re.escape(plate)}(?:/|[_ .-][^/]*$)")
    is_own = {image: bool(own.search(image.path[base:])) for image in images}
    number = sum(is_own.values())
    if not number or number == len(is_own) and not others:
        return list(images), 0
    names = {name.lower() for name in others}
    kept = [image for image in images if not _is_of(names, image.path[base:], plate, is_own=is_own[image])]
    if not kept:
        raise InputError(
            f"{folder!r}: all {len(images)} images carry the name of another plate of the sheet that has its images "
            f"from this folder, as {images[0].path!r}. Give plate {plate!r} its own folder"
        )
    if len({image[1:6] for image in kept}) < len(kept):  # well, site, channel, time point, z plane
        places = {}
        for image in dict.fromkeys(kept):
            if not is_derived(image.path[base:]):
                places.setdefault(image[1:6], []).append(is_own[image])
        several = [files for files in places.values() if len(files) > 1]
        if several and all(sum(files) == 1 for files in several):
            kept = [image for image in kept if is_own[image]]
    return kept, len(images) - number


def _is_of(names, path, plate, *, is_own):
    """Return True for a path that carries one of some names of plates, and not the plate's; P1_2 is more than P1."""
    if not names:
        return False
    *folders, last = path.lower().split("/")
    carried = {*folders, *(last[: sign.start()] for sign in re.finditer("[_ .-]", last))} & names
    return any(not is_own or len(name) > len(plate) for name in carried)


def check_throughout(settled: Settled, *, folder: str = "", what_to_do: str) -> None:
    """Check that few places have two files of which none is the original.

    Raises
    ------
    InputError
        More than `MOST_TWICE` of all places have: the folder holds two plates, or one twice. Names the first.
    """
    if len(settled.twice) <= MOST_TWICE * len(settled.images):
        return
    first, second, *_ = settled.twice[0]
    named = " and ".join(map(repr, dict.fromkeys([first.path, second.path])))
    position = f"well {first.well}, site {first.site}, channel {first.channel}"
    raise InputError(
        f"{len(settled.twice)} of {len(settled.images)} images are there twice, and no file is known to be a copy: "
        f"{difference_of(first.path, second.path, folder)}, as for {position}: {named}. "
        f"{what_to_do}"
    )


def difference_of(first: str, second: str, folder: str = "") -> str:
    """Describe in what two paths differ: the folder, or the name."""
    if first == second:
        return "lines name one file, and differ in which part of it"
    folders = [os.path.dirname(path) for path in (first, second)]
    if folders[0] == folders[1]:
        return "names differ"
    inside = [os.path.relpath(path, folder) if folder and not is_url(folder) else path for path in folders]
    return f"folders differ ({inside[0]!r} and {inside[1]!r})"


class _Rules:
    """The rules for one plate: what is asked of files is asked once for two folders."""

    def __init__(self, several: Sequence[list[Image]], base: int) -> None:
        self._base = base
        self._pairs = {}
        for files in several:
            for first in files:
                for second in files:
                    key = (_class_of(first.path), _class_of(second.path))
                    if first is not second:
                        self._pairs.setdefault(key, []).append((first.path, second.path))
        self._answers = {}

    def original_of(self, files):
        """Return the image that is the original of others, and the rule that says so; else (None, "")."""
        named = [image for image in files if not is_derived(image.path[self._base :])]
        if len(named) == 1:
            return named[0], "their names say so"
        candidates = named or files
        for image in candidates:
            others = [other for other in candidates if other is not image]
            answers = [self._is_copy(other.path, image.path) for other in others]
            if all(answers):
                return image, answers[0]
        return None, ""

    def _is_copy(self, path, original):
        """Return why a file is a copy of another one, as all compared files of the two folders say; else nothing."""
        key = (_class_of(path), _class_of(original))
        if key[0] == key[1]:  # nothing but the names parts them
            return ""
        if key not in self._answers:
            pairs = self._pairs[key]
            chosen = pairs[:: max(1, len(pairs) // _COMPARED_FILES)][:_COMPARED_FILES]
            reasons = {_reason(*pair) for pair in chosen}
            self._answers[key] = reasons.pop() if len(reasons) == 1 else ""
        return self._answers[key]


def _reason(path, original):
    """Return why a file is a copy of another one, or nothing."""
    sizes = [None if is_url(name) else headers.size_of(name) for name in (path, original)]
    is_lossy, original_is_lossy = (name.lower().endswith(_LOSSY) for name in (path, original))
    if is_lossy and not original_is_lossy:
        if None in sizes or all(map(operator.le, *sizes)):
            return "JPEG beside a format without loss"
        return ""
    if None in sizes or sizes[1].bits > _MOST_ORIGINAL_BITS or not all(map(operator.le, *sizes)):
        return ""
    is_smaller = sizes[0][:2] != sizes[1][:2] or sizes[0].bits < sizes[1].bits and sizes[0].bits <= _COPY_BITS
    return "fewer pixels or bits than the original" if is_smaller and original_is_lossy <= is_lossy else ""


def _class_of(path):
    return os.path.dirname(path), os.path.splitext(path)[1].lower()
