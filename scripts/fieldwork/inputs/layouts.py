"""Which well, site, channel, time point and z plane an image is of: by its file's name, or by an image list.

This is the one place that knows about file names. It opens no image, and imports only the standard library:
the Snakefile imports it at every start.
"""

import difflib
import os
import re
from collections import Counter, deque
from typing import NamedTuple

from fieldwork import InputError
from fieldwork.stains import is_dna
from fieldwork.wells import normal_well, row_letters

SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")

_GUID = r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"
_WELL = r"(?:[A-Z]|A[A-F])\d\d"  # 1536-well plates end at AF48
_END = r"(?:\.ome)?\.\w+$"  # the name counts, not the container: images exported as PNG keep their names
_THUMBNAIL = re.compile(rf"(?i)_thumb(?:nail)?(?:{_GUID})?{_END}")
# MetaXpress has folders for time points and z steps, and folders of dates and numbers above or between them.
_FOLDERS = r"^(?:(?:TimePoint_(?P<t>\d+)|ZStep_(?P<z>\d+)|[^/]*)/)*"
_SITE_CHANNEL = r"(?:_s(?P<site>\d+))?(?:_(?P<channel>w\d+))?"

# In order of precedence. The groups are those of the config's `layouts`; "well_" is "well" in a second place.
# What real names look like is known from:
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
    copy: str | None = None  # what is read in its place, in a job for which Snakemake has fetched it from a URL


class Scan(NamedTuple):
    """What a plate's folder or image list holds; what is not in the lists is counted in the notes."""

    layout: str
    images: list[Image]
    thumbnails: list[str]
    unmatched: list[str]
    duplicates: list[str]
    notes: list[str]


def scan_folder(folder, *, plate, layout="auto", layouts=None, results=None, names=None):
    """Find a plate's images in a folder and the folders below it, by their names.

    Parameters
    ----------
    folder : path
        Files that end in one of `SUFFIXES` are images. Links are followed; hidden folders are left out.
    plate : str
        The plate's name in the sheet; it picks the plate's files where a config regex has a group ``plate``.
    layout : str
        A key of `LAYOUTS` or of `layouts`, or ``auto``: the layout that matches most image files.
    layouts : dict of str to str
        The config's ``layouts``: name -> regex with the named group well, and with site, channel, plate, z
        and t where names have them, searched in the path below the folder, with ``/`` between folders. On a
        tie, ``auto`` prefers these to the built-in ones.
    results : path, optional
        The folder of the results, which is left out: filtered images are called like the images that they are made of.
    names : list of str, optional
        The files below the folder, as paths in it, where it is one at a URL.

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
        found, notes = _image_paths(folder, candidates.values(), results)
    else:
        found, notes = _image_names(names)
    thumbnails = list(filter(_THUMBNAIL.search, found))
    paths = [path for path in found if not _THUMBNAIL.search(path)] if thumbnails else found
    matches = {name: [regex.search(path) for path in paths] for name, regex in candidates.items()}
    counts = {name: sum(map(bool, these)) for name, these in matches.items()}
    chosen = max(counts, key=counts.get)  # the first of the largest: a tie goes to the earlier layout
    if layout == "auto" and counts[chosen]:
        others = ", ".join(f"{name} {count}" for name, count in counts.items() if count and name != chosen)
        found_by = f"layout auto: {chosen} matches {counts[chosen]} of {len(paths)} image files"
        notes.insert(0, f"{found_by}; others: {others or 'none matches any'}.")
    columns = 12
    if chosen == "scanr":
        numbers = [int(match["number"]) for match in matches[chosen] if match and not match["well"]]
        wells, columns = (384, 24) if max(numbers, default=0) > 96 else (96, 12)
        if numbers:
            notes.append(
                f"layout scanr: {len(numbers)} files have a well number and no well name; the highest is "
                f"{max(numbers)}, so they are counted row by row on a plate of {wells} wells."
            )

    entries, unmatched, reasons = [], [], []
    for path, match in zip(paths, matches[chosen], strict=True):
        try:
            if match:
                entries.append(_described(match, os.path.join(folder, path), columns))
        except ValueError as error:
            reasons.append(f"{path!r}: {error}")
            match = None
        if not match:
            unmatched.append(os.path.join(folder, path))
    if reasons:
        notes.append(f"layout {chosen}: {len(reasons)} files match but are of no use, first {reasons[0]}.")
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


def nuclei_channel(images, requested="auto"):
    """Name the channel in which to look for nuclei.

    Parameters
    ----------
    images : iterable of Image
    requested : str
        A channel, in any case; or ``auto``: the first in natural order that is named like a DNA stain (DAPI,
        Hoechst, DNA, nuclei; but no brightfield), else the first.

    Raises
    ------
    InputError
        There is no such channel.
    """
    channels = sorted({image.channel for image in images}, key=natural)
    if requested == "auto":
        stains = [name for name in channels if is_dna(name)]
        same = stains or channels
    else:
        same = [name for name in channels if name.lower() == requested.lower()]
    if not same:
        raise InputError(
            f"nuclei channel {requested!r}: not found. Expected auto or one of the channels there: "
            f"{', '.join(channels) or '(no images, no channels)'} (an image list can name those inside of files)."
        )
    return requested if requested in same else same[0]


def natural(text):
    """Sort key by which w2 comes before w10, whatever the case."""
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
    """List the image files below a folder, as paths in it, in natural order; note what else is there."""
    paths, others, again, seen = [], Counter(), [], set()
    left_out = os.path.realpath(results) if results else None
    pending = deque([""])
    while pending:
        below = pending.pop()
        here = os.path.join(folder, below)
        if left_out and os.path.realpath(here) == left_out:
            continue
        try:
            status = os.stat(here)
            if (status.st_dev, status.st_ino) in seen:  # links can make loops, and n! ways through n folders
                again.append(below)
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(here) as entries:
                entries = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise InputError(f"{here!r}: {error.strerror}. Expected a folder that can be read.") from None
        for entry in entries:
            path = below + entry.name
            is_link = entry.is_symlink()
            is_folder = os.path.isdir(entry.path) if is_link else entry.is_dir()
            is_image = entry.name.lower().endswith(SUFFIXES)
            if entry.name.startswith(".") or entry.name == "@eaDir":  # Synology's previews, named like images
                others["hidden"] += 1
            elif is_image and not (is_folder and not any(regex.search(path) for regex in regexes)):
                paths.append(path)  # also a folder that is named like a plate's image: it fails as an image
            elif is_folder and is_link:
                pending.appendleft(f"{path}/")  # links last: what is reached twice is known by its own path
            elif is_folder:
                pending.append(f"{path}/")
            else:
                others[os.path.splitext(entry.name)[1].lower() or "no suffix"] += 1
    notes = _others_noted(others)
    if again:
        notes.append(f"{len(again)} links lead to folders that were read already, first {again[0]!r}.")
    return sorted(paths, key=lambda path: (natural(path), path)), notes


def _image_names(names):
    """Sort out the images among the objects of a folder at a URL, as `_image_paths` does with files."""
    paths, others = [], Counter()
    for name in names:
        last = os.path.basename(name)
        if any(part.startswith(".") or part == "@eaDir" for part in name.split("/")):
            others["hidden"] += 1
        elif last.lower().endswith(SUFFIXES):
            paths.append(name)
        else:
            others[os.path.splitext(last)[1].lower() or "no suffix"] += 1
    return sorted(paths, key=lambda path: (natural(path), path)), _others_noted(others)


def _others_noted(others):
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
    return [f"{others.total()} files that are no images were not looked at: {kinds}."] if others else []


def index_of(text):
    """Read a site, time point or z plane; ValueError where it is none that a table of 64-bit integers can hold."""
    if not text.isdecimal() or len(text) > 9:
        raise ValueError(f"{text!r} is no number from 0 to 999999999")
    return int(text)


def _described(match, path, columns):
    """Turn a match into (plate or None, Image); ValueError where a text is no well or no number."""
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


def images_of_plate(entries, plate, source, notes):
    """Take the images of the sheet's plate from entries (plate there or None, Image)."""
    plates = Counter(there for there, _ in entries if there)
    if plate in plates:
        others = len(entries) - plates[plate]
        if others:
            notes.append(f"{source}: {others} images are not of plate {plate!r} and were left out.")
        return [image for there, image in entries if there == plate]
    if len(plates) > 1:
        raise InputError(
            f"{source}: found the plates {', '.join(map(repr, sorted(plates, key=natural)))}, expected "
            f"{plate!r} among them. Name the plate in the sheet as it is named there."
        )
    notes += [f"{source}: found {there!r}; the sheet's name {plate!r} is used." for there in plates]
    return [image for _, image in entries]


def sorted_without_duplicates(images):
    """Sort images; where several claim one place, keep the first and list the paths of the others."""
    first, duplicates = {}, []
    for image in images:
        if first.setdefault(image[1:], image) is not image:
            duplicates.append(image.path)
    channels = {image.channel: natural(image.channel) for image in images}

    def order(image):
        # B02 < AA01; None < 0
        time_and_z = [-1 if number is None else number for number in (image.timepoint, image.z)]
        return len(image.well), image.well, image.site, time_and_z, channels[image.channel]

    return sorted(first.values(), key=order), duplicates
