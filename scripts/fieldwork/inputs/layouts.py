"""Find a plate's images in a folder, and their well, site, channel, time point and z plane, by the files' names.

It opens no image, but a few of those that are there twice.
"""

import difflib
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from fieldwork import InputError
from fieldwork.inputs.names import duplicates, tokens
from fieldwork.inputs.names.folders import IMAGE_SUFFIXES, Files, image_names, image_paths
from fieldwork.inputs.names.images import Image, Scan, natural
from fieldwork.inputs.names.patterns import (
    COLUMNS,
    LAYOUTS,
    THUMBNAIL,
    columns_of_numbers,
    config_layouts,
    counts_from_0,
    described,
    groups_of,
)
from fieldwork.stains import is_dna
from fieldwork.wells import row_and_column

__all__ = ["COLUMNS", "LAYOUTS", "Image", "Scan", "images_of_plate", "natural", "nuclei_channel", "scan_folder"]

MOST_BEGINNINGS = 4  # of names of several plates; more are numbers or times of images
LEAST_SHARE = 0.5  # of the image files, which a layout must fit where the sheet does not name it
_PART_OF_WELL = re.compile(r"(?<![A-Za-z0-9])([A-P]\d\d?)\.([A-Za-z]\d)(?![A-Za-z0-9])")
OTHER_NAMES = (
    "For other names, put a regex with the named groups well, site and channel under the config key 'layouts' "
    "(config/README.md, Layouts, has some to copy), or give an image list (CellProfiler LoadData CSV) instead of the "
    "folder."
)
TWO_PLATES = (
    "If they are two plates, give each a line of the sheet, whose plate is called as its subfolder is, or as its "
    "files' names begin; a regex with the named group 'plate' under the config key 'layouts' tells plates apart, too. "
    "Else give each plate or measurement a folder of its own, or take one of the files away."
)


def scan_folder(
    folder: str | os.PathLike,
    *,
    plate: str,
    layout: str = "auto",
    layouts: dict[str, str] | None = None,
    results: str | os.PathLike | None = None,
    names: Iterable[str] | None = None,
    plate_format: str | None = None,
    others: Collection[str] = (),
) -> Scan:
    """Find a plate's images in a folder and the folders below it, by their names.

    Parameters
    ----------
    folder : path-like
        Files that end in one of `IMAGE_SUFFIXES` are images. Links are followed; hidden folders are left out.
    plate : str
        The plate's name in the sheet; it picks the plate's files where a config regex has a group ``plate``, or where
        files are there twice and the plate's name is a folder's, or the beginning of a name.
    layout : str
        A key of `LAYOUTS` or of `layouts`, or ``auto``: the layout that matches most image files.
    layouts : dict of str to str
        The config's ``layouts``: name -> regex with the named group well, or row and column, and with site, channel,
        plate, z and t where names have them, searched in the path below the folder, with ``/`` between folders. On a
        tie, ``auto`` prefers these to the built-in ones.
    results : path-like, optional
        The folder of the results, which is left out: filtered images have the names of the original ones.
    names : iterable of str, optional
        For a folder at a URL: the files below it, as paths in it.
    plate_format : str, optional
        Number of wells, by which wells that only have a number are counted.
    others : collection of str
        Other plates of the sheet with images from this folder.

    Returns
    -------
    Scan
        At least one image.

    Raises
    ------
    InputError
        The folder cannot be read, no image matches or less than half of them, a name does not say for certain which
        well it is of, most images are there twice, or a layout or regex is wrong.
    """
    folder = os.fspath(folder)
    known = config_layouts(layouts or {}) | LAYOUTS
    candidates = _candidates(known, layout)
    files = image_paths(folder, candidates.values(), results) if names is None else image_names(names)
    notes, warnings = files.notes, files.warnings
    thumbnails = list(filter(THUMBNAIL.search, files))
    paths = [path for path in files if not THUMBNAIL.search(path)] if thumbnails else files
    if not paths:
        raise _without_images(folder, files)
    chosen, matches = _choose_layout(paths, candidates, notes)
    columns = 12
    if "number" in known[chosen].groupindex:
        columns = columns_of_numbers(matches, chosen, plate_format, notes, warnings)
    groups = [groups_of(match) if match else None for match in matches]
    if chosen in tokens.LAYOUTS:
        try:
            groups = tokens.settle_wells(paths, matches, is_asked_for=layout != "auto", plate=plate, warnings=warnings)
        except InputError as error:
            raise InputError(f"{folder!r}, named as in layout {chosen}: {error}") from None
    entries, unmatched = _entries(paths, groups, chosen, folder, columns, notes)
    _check_share(entries, unmatched, folder, layout, known, notes)
    images = images_of_plate(
        entries, plate, f"{folder}: group 'plate' of layouts.{chosen}", notes=notes, warnings=warnings
    )
    own, strangers = duplicates.of_plate(images, plate=plate, folder=folder, others=others)
    settled = duplicates.settle(own, folder=folder)
    if len(own) < len(images) or (strangers and not settled.copies):
        warnings.append(_warning_of_strangers(len(images), len(own), strangers, folder, plate))
    elif chosen in LAYOUTS and not settled.copies:
        warnings += _warnings_of_beginnings(paths, matches, groups)
        warnings += _warnings_of_measurements(settled.images, folder, is_harmony=chosen == "harmony")
    duplicates.check_throughout(settled, folder=folder, what_to_do=TWO_PLATES)
    thumbnails = [os.path.join(folder, path) for path in thumbnails]
    notes += settled.notes
    warnings += [*settled.rules, *_warnings_of_folders(settled, folder)]
    return Scan(chosen, settled.images, thumbnails, unmatched, settled.duplicates, notes, settled.copies, warnings)


def _candidates(known, layout):
    """Return the layouts that may be chosen: the one that the sheet names, or all."""
    if layout == "auto":
        return known
    if layout not in known:
        near = difflib.get_close_matches(layout, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Put others under the config key 'layouts'."
        raise InputError(f"layout {layout!r} is unknown. Expected auto, {', '.join(known)}. {hint}")
    return {layout: known[layout]}


def _warning_of_strangers(images, own, strangers, folder, plate):
    """Describe what became of images whose names have another beginning than the plate's."""
    if own < images:
        return (
            f"{images - own} images were left out: other plates are in {folder!r}, and these are not in a "
            f"folder {plate!r}, and their names don't begin with it"
        )
    return (
        f"{strangers} of {images} images are not in a folder {plate!r}, and their names don't begin with it, "
        "as those of the others; they are taken for images of this plate"
    )


def _warnings_of_beginnings(paths, matches, groups):
    """Return a warning in a list where names begin in a few ways: they may be those of several plates."""
    beginnings = set()
    for path, match, of_path in zip(paths, matches, groups, strict=True):
        well = match.groupdict().get("well") if match else None
        if of_path and (well is None or of_path["well"] == well):  # else another part is the well
            position = match.start() if well is None else match.start("well")
            position += path[position] in "/_"  # which a pattern asks for before the well
            beginnings.add(path[path.rfind("/", 0, position) + 1 : position])
    if not 2 <= len(beginnings) <= MOST_BEGINNINGS:
        return []
    listed = ", ".join(map(repr, sorted(beginnings)))
    return [f"the names begin in {len(beginnings)} ways ({listed}); they are taken for images of one plate"]


def _warnings_of_measurements(images, folder, *, is_harmony):
    """Return a warning in a list where a few folders hold other wells each: perhaps measurements, or plates.

    Folders of a single well, row or column each part a plate; but Harmony has one folder of images.
    """
    wells = {}
    for image in images:
        if image.path:
            wells.setdefault(os.path.dirname(image.path), set()).add(image.well)
    if not 2 <= len(wells) <= MOST_BEGINNINGS or len(set().union(*wells.values())) < sum(map(len, wells.values())):
        return []
    lines = [[{position[axis] for position in map(row_and_column, own)} for axis in (0, 1)] for own in wells.values()]
    if not is_harmony and any(all(len(line[axis]) == 1 for line in lines) for axis in (0, 1)):
        return []
    listed = ", ".join(f"{os.path.relpath(name, folder)!r} ({len(own)})" for name, own in sorted(wells.items()))
    return [
        f"{len(wells)} folders hold images of other wells each ({listed}); they are taken for one plate: are they "
        "several plates, or several measurements of one?"
    ]


def _warnings_of_folders(settled, folder):
    """Return a warning in a list where two folders hold an image each of one place, and others: perhaps two plates."""
    good = {os.path.dirname(image.path) for image in settled.images if not image.fault}
    for first, second, *_ in settled.twice:
        folders = {os.path.dirname(first.path), os.path.dirname(second.path)}
        if len(folders) > 1 and folders <= good:
            difference = duplicates.difference_of(first.path, second.path, folder)
            return [
                f"{len(settled.twice)} images are there twice and fail, as in well {first.well} ({difference}); all "
                "others of these folders are taken for images of this plate: are they two plates, or two measurements?"
            ]
    return []


def _without_images(folder, files: Files):
    """Return the error of a folder without an image that is read."""
    if files:
        content = f"only {len(files)} thumbnails ({files[0]!r})."
        remedy = "Give the folder of the images themselves."
    elif files.zarr is not None:
        content = f"a Zarr store ({os.path.join(folder, files.zarr)!r}), which is not read as a plate."
        remedy = "Give the folder of the plate's own images, as the microscope wrote them, or export TIFF files."
    elif files.foreign:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(files.foreign.items()))
        content = f"only files of formats that are not read ({kinds})."
        remedy = "Export the images as TIFF files, one for each well, site and channel."
    else:
        content = "no image." if files.notes else "no image; is a drive not mounted?"
        remedy = " ".join([f"Expected files that end in {', '.join(IMAGE_SUFFIXES)}.", *files.notes])
    return InputError(f"{folder!r}: found {content} {remedy}")


def _check_share(entries, unmatched, folder, layout, known, notes):
    """Check that a layout fits some files, and at least half of them where the sheet does not name it."""
    if not entries:
        examples = ", ".join(repr(os.path.relpath(path, folder)) for path in unmatched[:3])
        wanted = "a known layout" if layout == "auto" else f"layout {layout}"
        parts = next(filter(None, map(_PART_OF_WELL.search, unmatched)), None)
        hint = f" If {parts[1]!r} of {parts[0]!r} is the well, a regex says what {parts[2]!r} is." if parts else ""
        raise InputError(
            f"{folder!r}: found {len(unmatched)} image files ({examples}), none named as in {wanted}. "
            f"{' '.join(notes)} Known layouts: {', '.join(known)}.{hint} {OTHER_NAMES}"
        )
    base = len(os.path.join(folder, ""))
    others = [path for path in unmatched if not duplicates.is_derived(path[base:])]
    if layout == "auto" and len(entries) < LEAST_SHARE * (len(entries) + len(others)):
        fitting, other = (
            ", ".join(repr(path[base:]) for path in paths[:3])
            for paths in ([image.path for _, image in entries], others)
        )
        raise InputError(
            f"{folder!r}: of {len(entries) + len(others)} image files, {len(entries)} are named as in a known layout "
            f"({fitting}), and {len(others)} are not ({other}). {' '.join(notes)} To leave these out, name the layout "
            f"in the sheet's column 'layout'. {OTHER_NAMES}"
        )


def _choose_layout(paths, candidates, notes):
    """Return the name of the layout that matches most paths, and its match or None for each path; note the choice."""
    matches, counts = {}, {}
    for name, regex in candidates.items():
        matches[name] = [regex.search(path) for path in paths]
        counts[name] = len(paths) - matches[name].count(None)
        if counts[name] == len(paths):  # no later layout can have more
            break
    chosen = max(counts, key=counts.get)  # the first of the largest: a tie goes to the earlier layout
    if len(candidates) > 1 and counts[chosen]:
        others = ", ".join(f"{name} {count}" for name, count in counts.items() if count and name != chosen)
        share = f"layout auto: {chosen} matches {counts[chosen]} of {len(paths)} image files"
        is_whole = counts[chosen] == len(paths)
        notes.insert(0, f"{share}." if is_whole else f"{share}; others: {others or 'none matches any'}.")
    return chosen, matches[chosen]


def _entries(paths, groups, layout, folder, columns, notes):
    """Return (plate or None, Image) for each path that describes an image, and the other paths."""
    entries, unmatched, reasons = [], [], []
    for path, of_path in zip(paths, groups, strict=True):
        try:
            if of_path:
                entries.append(described(of_path, os.path.join(folder, path), columns))
        except ValueError as error:
            if counts_from_0(of_path):
                raise InputError(
                    f"{os.path.join(folder, path)!r}: by layout {layout}, found row or column 0, expected numbers from "
                    "1: where counting begins with 0, no file is of the well that its name says. Rename the files, or "
                    "give an image list (CellProfiler LoadData CSV); if this is no image of a well, take it away."
                ) from None
            reasons.append(f"{path!r}: {error}")
            of_path = None
        if not of_path:
            unmatched.append(os.path.join(folder, path))
    if reasons:
        notes.append(f"layout {layout}: {len(reasons)} files match but are of no use, first {reasons[0]}.")
    return entries, unmatched


def images_of_plate(
    entries: list[tuple[str | None, Image]], plate: str, source: str, *, notes: list[str], warnings: list[str]
) -> list[Image]:
    """Select the images of one plate of the sheet.

    Parameters
    ----------
    entries : list of (str or None, Image)
        The name of the image's plate in a file's name or list, if it is there; and the image.
    plate : str
        The plate's name in the sheet.
    source : str
        Where the entries' names of plates are from, for messages.
    notes, warnings : list of str
        A note on other plates, and a warning of another name, are added to these.

    Returns
    -------
    list of Image
        All, if they are of a single plate, whatever its name.

    Raises
    ------
    InputError
        There are several plates, but not this one.
    """
    plates = Counter(name for name, _ in entries if name)
    if plate in plates:
        others = len(entries) - plates[plate]
        if others:
            notes.append(f"{source}: {others} images are not of plate {plate!r} and were left out.")
        return [image for name, image in entries if name == plate]
    if len(plates) > 1:
        raise InputError(
            f"{source}: found the plates {', '.join(map(repr, sorted(plates, key=natural)))}, expected "
            f"{plate!r} among them. Name the plate in the sheet as it is named there."
        )
    warnings += [f"{source}: found {name!r} alone; it is taken for {plate!r}, as the sheet calls it" for name in plates]
    return [image for _, image in entries]


def nuclei_channel(images: Iterable[Image], requested: str = "auto", names: Mapping[str, str] | None = None) -> str:
    """Choose the channel in which to look for nuclei.

    Parameters
    ----------
    images : iterable of Image
    requested : str
        A channel, in any case; or ``auto``: the first in natural order that is named like a DNA stain (DAPI,
        Hoechst, DNA, nuclei; but no brightfield), else the first.
    names : mapping of str to str, optional
        The configuration's ``channels``: token in any case -> name, which counts as the token does.

    Returns
    -------
    str
        As the images name it.

    Raises
    ------
    InputError
        There is no such channel.
    """
    channels = sorted({image.channel for image in images}, key=natural)
    given = {token.lower(): name for token, name in (names or {}).items()}
    name_of = {channel: given.get(channel.lower(), channel) for channel in channels}
    if requested == "auto":
        stains = [channel for channel in channels if is_dna(name_of[channel])]
        matching = stains or channels
    else:
        named = [channel for channel in channels if name_of[channel].lower() == requested.lower()]
        matching = [channel for channel in channels if channel.lower() == requested.lower()] or named
    if not matching:
        raise InputError(
            f"nuclei channel {requested!r}: not found. Expected auto or one of the channels there: "
            f"{', '.join(channels) or '(no images, no channels)'} (an image list can name those inside of files)."
        )
    return requested if requested in matching else matching[0]
