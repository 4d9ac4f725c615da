"""Find a plate's images in a folder, and their well, site, channel, time point and z plane, by the files' names.

Only this module knows how instruments name files. It opens no image.
"""

import difflib
import os
import re
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fieldwork import InputError
from fieldwork.stains import is_dna
from fieldwork.wells import normal_well, row_letters

IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")

_GUID = r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"
_WELL = r"(?:[A-Z]|A[A-F])\d\d"  # 1536-well plates end at AF48
_END = r"(?:\.ome)?\.\w+$"  # the name counts, not the container: images exported as PNG keep their names
_THUMBNAIL = re.compile(rf"(?i)_thumb(?:nail)?(?:{_GUID})?{_END}")
# MetaXpress has folders for time points and z steps, and folders of dates and numbers above or between them.
_FOLDERS = r"^(?:(?:TimePoint_(?P<t>\d+)|ZStep_(?P<z>\d+)|[^/]*)/)*"
_SITE_CHANNEL = r"(?:_s(?P<site>\d+))?(?:_(?P<channel>w\d+))?"

# In order of precedence. The groups are those of the config's `layouts`; "well_" is "well" once more in a pattern.
# The patterns follow real names from:
# bbbc021: BBBC021v1's four families. A GUID has a fixed length: "_w266923EBB-..." can only be channel w2.
# imagexpress, metaxpress: test plates of faim-ipa and plateviewer; CellProfiler#505 (no site or no channel).
# cellvoyager: tests of fractal-tasks-core (CV7000, CV8000); cellpainting-gallery, cpg0016 source_10.
# harmony: cellpainting-gallery, cpg0000 source_4; older Operettas count channels in records ("p01rc2-ch1").
# incell: CellProfiler#3725 (both schemes; the second is version 7.2's); Bio-Formats' InCellReader; MoBIE.
# scanr: forum.image.sc/t/14872; Bio-Formats' ScanrReader; fractal-uzh-converters ("B2--W00014": rows of 12).
_PATTERNS = {
    "bbbc021": rf"{_FOLDERS}(?:Week\d+_(?:\d+_?|4sites)_)?(?P<well>[A-P]\d\d)_s(?P<site>\d)"
    rf"_(?P<channel>w[124]){_GUID}{_END}",
    "imagexpress": rf"{_FOLDERS}(?:[^/]*_)?(?P<well>{_WELL}){_SITE_CHANNEL}{_GUID}{_END}",
    "metaxpress": rf"{_FOLDERS}(?:[^/]*_)?(?P<well>{_WELL}){_SITE_CHANNEL}{_END}",
    "cellvoyager": rf"(?:^|[/_])(?P<well>{_WELL})_T(?P<t>\d+)F(?P<site>\d+)L\d+A\d+Z(?P<z>\d+)"
    rf"(?P<channel>C\d+){_END}",
    "harmony": r"(?:^|[/_])r(?P<row>\d\d)c(?P<column>\d\d)f(?P<site>\d+)p(?P<z>\d+)-?"
    rf"(?P<channel>(?:rc\d+-)?ch\d+)sk(?P<t>\d+)fk\d+fl\d+{_END}",
    "incell": r"(?:^|[/_])(?:(?P<well>[A-Z]{1,2}(?: - )?\d+)\((?=fld |wv )(?:fld (?P<site>\d+))?"
    r"(?: ?wv (?P<channel>[^()/]+?))?(?:(?: -)? (?:z (?P<z>\d+)|time (?P<t>\d+) - \d+ ?ms))*\)"
    rf"|(?P<well_>[A-Z]{{1,2}}_\d+)_f(?P<site_>\d+)_c\d+_(?P<channel_>x[^/]*_m[^/]*)"
    rf"_z(?P<z_>\d+)_t(?P<t_>\d+)){_END}",
    "scanr": r"(?:(?:^|/)(?P<well>(?:[A-Z]|A[A-F])\d\d?))?--W(?P<number>\d+)--P(?P<site>\d+)"
    rf"--Z(?P<z>\d+)--T(?P<t>\d+)--(?P<channel>[^/]+?){_END}",
}
LAYOUTS = {name: re.compile(pattern) for name, pattern in _PATTERNS.items()}
_GROUPS = ("well", "site", "channel", "plate", "z", "t")


class Image(NamedTuple):
    """One image file of a plate, as its name or its list describes it."""

    path: str
    well: str
    site: int
    channel: str
    timepoint: int | None
    z: int | None
    copy: str | None = None  # the file to read, in a job for which Snakemake has fetched the image from a URL
    # Which part of the file: series and frame, from 0 or None, as an image list names them; what pages without names
    # are; and True if the channel must be in it by name. Nothing where none of that is said.
    inside: tuple[int | None, int | None, str, bool] | tuple[()] = ()


class Scan(NamedTuple):
    """The files of a plate's folder or image list; the notes count those that are in none of the lists."""

    layout: str
    images: list[Image]
    thumbnails: list[str]
    unmatched: list[str]
    duplicates: list[str]
    notes: list[str]


def scan_folder(
    folder: str | os.PathLike,
    *,
    plate: str,
    layout: str = "auto",
    layouts: dict[str, str] | None = None,
    results: str | os.PathLike | None = None,
    names: Iterable[str] | None = None,
) -> Scan:
    """Find a plate's images in a folder and the folders below it, by their names.

    Parameters
    ----------
    folder : path-like
        Files that end in one of `IMAGE_SUFFIXES` are images. Links are followed; hidden folders are left out.
    plate : str
        The plate's name in the sheet; it picks the plate's files where a config regex has a group ``plate``.
    layout : str
        A key of `LAYOUTS` or of `layouts`, or ``auto``: the layout that matches most image files.
    layouts : dict of str to str
        The config's ``layouts``: name -> regex with the named group well, and with site, channel, plate, z
        and t where names have them, searched in the path below the folder, with ``/`` between folders. On a
        tie, ``auto`` prefers these to the built-in ones.
    results : path-like, optional
        The folder of the results, which is left out: filtered images have the names of the original ones.
    names : iterable of str, optional
        For a folder at a URL: the files below it, as paths in it.

    Returns
    -------
    Scan

    Raises
    ------
    InputError
        The folder cannot be read, no image matches, or a layout or regex is wrong.
    """
    folder = os.fspath(folder)
    known = _config_layouts(layouts or {}) | LAYOUTS
    if layout != "auto" and layout not in known:
        near = difflib.get_close_matches(layout, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Put others under the config key 'layouts'."
        raise InputError(f"layout {layout!r} is unknown. Expected auto, {', '.join(known)}. {hint}")
    candidates = known if layout == "auto" else {layout: known[layout]}
    if names is None:
        images, notes = _image_paths(folder, candidates.values(), results)
    else:
        images, notes = _image_names(names)
    thumbnails = list(filter(_THUMBNAIL.search, images))
    paths = [path for path in images if not _THUMBNAIL.search(path)] if thumbnails else images
    chosen, matches = _choose_layout(paths, candidates, notes)
    entries, unmatched = _entries(paths, matches, chosen, folder, notes)
    if paths and not entries:
        examples = ", ".join(map(repr, paths[:3]))
        wanted = "a known layout" if layout == "auto" else f"layout {layout}"
        raise InputError(
            f"{folder!r}: found {len(paths)} image files ({examples}), none named as in {wanted}. "
            f"{' '.join(notes)}\n  Known layouts: {', '.join(known)}. For other names, put a regex with the "
            "named groups well, site and channel under the config key 'layouts', or give an image list "
            "(CellProfiler LoadData CSV) instead of the folder."
        )
    images = images_of_plate(entries, plate, f"{folder}: group 'plate' of layouts.{chosen}", notes)
    images, duplicates = sorted_without_duplicates(images)
    thumbnails = [os.path.join(folder, path) for path in thumbnails]
    return Scan(chosen, images, thumbnails, unmatched, duplicates, notes)


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


def natural(text: str) -> tuple[list[str | int], str]:
    """Return a sort key by which w2 comes before w10, in any case."""
    parts = re.split(r"(\d+)", text.lower())
    parts[1::2] = map(int, parts[1::2])
    return parts, text


def _config_layouts(layouts):
    """Compile the config's regexes."""
    compiled = {}
    for name, pattern in layouts.items():
        if name in LAYOUTS or name == "auto":
            raise InputError(f"layouts.{name}: the name of a built-in layout. Give the regex another name.")
        try:
            compiled[name] = re.compile(pattern)
        except (re.error, TypeError) as error:
            raise InputError(
                f"layouts.{name}: {pattern!r} is no regular expression ({error}). Expected one of Python's, "
                "such as (?P<well>[A-P][0-9]{2})_s(?P<site>[0-9]+)_(?P<channel>w[0-9])."
            ) from None
        groups = compiled[name].groupindex
        if "well" not in groups or not groups.keys() <= set(_GROUPS):
            raise InputError(
                f"layouts.{name}: found the named groups {', '.join(groups) or '(none)'} in {pattern!r}. "
                f"Expected (?P<well>...) and, where the names have them, {', '.join(_GROUPS[1:])}; no others."
            )
    return compiled


def _image_paths(folder, regexes, results):
    """List the image files below a folder, as paths in it, in natural order; and notes on all other files."""
    paths, others, again, seen = [], Counter(), [], set()
    left_out = os.path.realpath(results) if results else None
    pending = deque([""])
    while pending:
        below = pending.pop()
        directory = os.path.join(folder, below)
        if left_out and os.path.realpath(directory) == left_out:
            continue
        try:
            status = os.stat(directory)
            if (status.st_dev, status.st_ino) in seen:  # links can make loops, and n! ways through n folders
                again.append(below)
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(directory) as entries:
                entries = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise InputError(f"{directory!r}: {error.strerror}. Expected a folder that can be read.") from None
        for entry in entries:
            path = below + entry.name
            is_link = entry.is_symlink()
            is_folder = os.path.isdir(entry.path) if is_link else entry.is_dir()
            is_image = entry.name.lower().endswith(IMAGE_SUFFIXES)
            if entry.name.startswith(".") or entry.name == "@eaDir":  # Synology's previews, named like images
                others["hidden"] += 1
            elif is_image and not (is_folder and not any(regex.search(path) for regex in regexes)):
                paths.append(path)  # also a folder with the name of a plate's image: it fails as an image
            elif is_folder and is_link:
                pending.appendleft(f"{path}/")  # links last: a folder that is reached twice keeps its own path
            elif is_folder:
                pending.append(f"{path}/")
            else:
                others[os.path.splitext(entry.name)[1].lower() or "no suffix"] += 1
    notes = _notes_on_others(others)
    if again:
        notes.append(f"{len(again)} links lead to folders that were read already, first {again[0]!r}.")
    return sorted(paths, key=lambda path: (natural(path), path)), notes


def _image_names(names):
    """List the images among the objects of a folder at a URL, as `_image_paths` does with files."""
    paths, others = [], Counter()
    for name in names:
        last = os.path.basename(name)
        if any(part.startswith(".") or part == "@eaDir" for part in name.split("/")):
            others["hidden"] += 1
        elif last.lower().endswith(IMAGE_SUFFIXES):
            paths.append(name)
        else:
            others[os.path.splitext(last)[1].lower() or "no suffix"] += 1
    return sorted(paths, key=lambda path: (natural(path), path)), _notes_on_others(others)


def _notes_on_others(others):
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
    return [f"{others.total()} files that are no images were not looked at: {kinds}."] if others else []


def _choose_layout(paths, candidates, notes):
    """Return the name of the layout that matches most paths, and its match or None for each path; note the choice."""
    matches = {name: [regex.search(path) for path in paths] for name, regex in candidates.items()}
    counts = {name: len(paths) - layout_matches.count(None) for name, layout_matches in matches.items()}
    chosen = max(counts, key=counts.get)  # the first of the largest: a tie goes to the earlier layout
    if len(candidates) > 1 and counts[chosen]:
        others = ", ".join(f"{name} {count}" for name, count in counts.items() if count and name != chosen)
        share = f"layout auto: {chosen} matches {counts[chosen]} of {len(paths)} image files"
        notes.insert(0, f"{share}; others: {others or 'none matches any'}.")
    return chosen, matches[chosen]


def _entries(paths, matches, layout, folder, notes):
    """Return (plate or None, Image) for each path that describes an image, and the other paths."""
    columns = _columns_of_scanr(matches, notes) if layout == "scanr" else 12
    entries, unmatched, reasons = [], [], []
    for path, match in zip(paths, matches, strict=True):
        try:
            if match:
                entries.append(_described(match, os.path.join(folder, path), columns))
        except ValueError as error:
            reasons.append(f"{path!r}: {error}")
            match = None
        if not match:
            unmatched.append(os.path.join(folder, path))
    if reasons:
        notes.append(f"layout {layout}: {len(reasons)} files match but are of no use, first {reasons[0]}.")
    return entries, unmatched


def _columns_of_scanr(matches, notes):
    """Return the columns of the plate on which scanR numbers the wells: 12, or 24 where a number is above 96."""
    numbers = [int(match["number"]) for match in matches if match and not match["well"]]
    wells, columns = (384, 24) if max(numbers, default=0) > 96 else (96, 12)
    if numbers:
        notes.append(
            f"layout scanr: {len(numbers)} files have a well number and no well name; the highest is "
            f"{max(numbers)}, so they are counted row by row on a plate of {wells} wells."
        )
    return columns


def index_of(text: str) -> int:
    """Read a site, time point or z plane: 0 to 999999999, which any table of integers can hold; else ValueError."""
    if not text.isdecimal() or len(text) > 9:
        raise ValueError(f"{text!r} is no number from 0 to 999999999")
    return int(text)


def _described(match, path, columns):
    """Convert a match to (plate or None, Image); ValueError where a text is no well or no number."""
    groups = {name.rstrip("_"): text for name, text in match.groupdict().items() if text is not None}
    well = groups.get("well", "")
    if "row" in groups:
        well = row_letters(groups["row"]) + groups["column"]
    elif "number" in groups and not well:
        row, column = divmod(int(groups["number"]) - 1, columns)
        if not 0 <= row < columns * 2 // 3:  # 8 rows of 12, 16 rows of 24
            raise ValueError(f"no well {groups['number']} on a plate with {columns} columns")
        well = f"{row_letters(str(row + 1))}{column + 1}"
    timepoint, z = (index_of(groups[name]) if name in groups else None for name in ("t", "z"))
    site, channel = index_of(groups.get("site", "1")), groups.get("channel", "w1")
    return groups.get("plate"), Image(path, normal_well(well), site, channel, timepoint, z)


def images_of_plate(entries: list[tuple[str | None, Image]], plate: str, source: str, notes: list[str]) -> list[Image]:
    """Select the images of one plate of the sheet.

    Parameters
    ----------
    entries : list of (str or None, Image)
        The name of the image's plate in a file's name or list, if it is there; and the image.
    plate : str
        The plate's name in the sheet.
    source : str
        Where the entries' names of plates are from, for messages.
    notes : list of str
        A note on other plates is added to these.

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
    notes += [f"{source}: found {name!r}; the sheet's name {plate!r} is used." for name in plates]
    return [image for _, image in entries]


def sorted_without_duplicates(images: Iterable[Image]) -> tuple[list[Image], list[str]]:
    """Sort images; of several with the same well, site, channel, time point and z plane, keep the first.

    Parameters
    ----------
    images : iterable of Image

    Returns
    -------
    images : list of Image
        By well, site, time point, z plane, channel: the order of the tables' rows.
    duplicates : list of str
        Paths of the images that were not kept.
    """
    first, duplicates = {}, []
    for image in images:
        if first.setdefault(image[1:6], image) is not image:
            duplicates.append(image.path)
    channels = {image.channel: natural(image.channel) for image in images}

    def order(image):
        # B02 < AA01; None < 0
        time_and_z = [-1 if number is None else number for number in (image.timepoint, image.z)]
        return len(image.well), image.well, image.site, time_and_z, channels[image.channel]

    return sorted(first.values(), key=order), duplicates
