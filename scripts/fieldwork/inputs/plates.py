"""Open the plates of the sheet: find the images of the nuclei channel, group them into units, report on every file."""

import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from fieldwork import InputError
from fieldwork.inputs import image_lists, layouts, platemaps
from fieldwork.inputs.inside import nuclei as inside_nuclei
from fieldwork.inputs.paths import check_exists, check_path, is_url, normal_path, refuse_results
from fieldwork.inputs.remote import Remote

# The configuration's `fan_out` -> the unit of an image: a detection job takes one unit.
FAN_OUT = {
    "plate": lambda image: "all",
    "well": lambda image: image.well,
    "field": lambda image: f"{image.well}_s{image.site}",
}
LIST_SUFFIXES = (".csv", ".tsv", ".txt")  # of the URL of an image list


class Plate(NamedTuple):
    """One plate: its scan, its nuclei channel, that channel's images by unit, and the path of its platemap or None.

    `inside` is the name of the nuclei channel inside of the files of that channel, where the sheet or the configuration
    names it and the files' names do not; `pages_are` is what pages without names are: z, c, t or nothing.
    """

    name: str
    scan: layouts.Scan
    channel: str
    units: dict[str, list[layouts.Image]]
    platemap: str | None
    inside: str = ""
    pages_are: str = ""

    @property
    def images(self) -> list[layouts.Image]:
        """The images of the nuclei channel, in the order of the tables' rows."""
        return [image for unit in self.units.values() for image in unit]


class Plates(Mapping):
    """The plates of a sheet by name. Each is opened on first use: a job of a cluster then lists its own images only.

    Parameters
    ----------
    rows : iterable of dict
        From `sheets.read_sheet`.
    **options
        Of `open_plate`.

    Attributes
    ----------
    rows : dict of str to dict
        By plate.
    """

    def __init__(self, rows: Iterable[dict], **options: object) -> None:
        self.rows = {row["plate"]: row for row in rows}
        self._options = options
        self._opened = {}

    def __getitem__(self, name: str) -> Plate:
        if name not in self._opened:
            self._opened[name] = open_plate(self.rows[name], **self._options)
        return self._opened[name]

    def __contains__(self, name: object) -> bool:
        return name in self.rows

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def open_plate(
    row: dict,
    *,
    channel: str,
    names: Mapping[str, str] | None = None,
    pages_are: str = "",
    regexes: dict[str, str],
    fan_out: str,
    results: str | os.PathLike,
    generated: Collection[str] = frozenset(),
    remote: Remote | None = None,
) -> Plate:
    """Find the images of one row of the sheet and group them into units.

    Parameters
    ----------
    row : dict
        From `sheets.read_sheet`.
    channel : str
        The nuclei channel, where the row names none.
    names : mapping of str to str, optional
        The configuration's ``channels``: token -> name.
    pages_are : {'', 'z', 'c', 't'}
        What pages without names are, where the row does not say it.
    regexes : dict of str to str
        The configuration's own layouts.
    fan_out : {'plate', 'well', 'field'}
        The size of a unit.
    results : path-like
        The folder of the results, from which no image is taken.
    generated : set of str
        Listed images that a rule makes, so that they need not exist yet.
    remote : Remote, optional
        Needed if the images or the image list are at a URL.

    Returns
    -------
    Plate

    Raises
    ------
    InputError
        Names the sheet's line and what is wrong: an absent folder, list or image, an unknown layout or channel.
    """
    name, source = row["plate"], normal_path(row["images"])
    where = f"{row[None]}: plate '{name}'"
    if "://" in source:
        source = source.rstrip("/")
        check_path(source, where)
    else:
        check_exists(source, where=row[None], what=f"plate '{name}' takes its images from")
        refuse_results(source, results, where=where)
    _check_platemap(row)
    try:
        scan, inside = _scan(row, source, regexes=regexes, results=results, remote=remote), ""
        pages_are = row.get("pages_are", pages_are)
        if scan.images:
            channel, inside = inside_nuclei.choose(
                scan.images, row.get("nuclei_channel", channel), names or {}, pages_are=pages_are
            )
        if pages_are or inside:
            parts = pages_are, bool(inside)
            scan = scan._replace(images=[_with_parts(image, *parts) for image in scan.images])
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    urls = [image.path for image in scan.images if is_url(image.path)]
    for url in urls:
        check_path(url, where)
    absent = remote.absent(urls) if urls and scan.layout == image_lists.LAYOUT_NAME else {}
    units = {}
    for image in scan.images:
        if image.channel == channel:
            check_path(image.path, where)
            units.setdefault(FAN_OUT[fan_out](image), []).append(image)
            named = f"well {image.well}, site {image.site} names the image"
            if image.path in absent:
                raise InputError(f"{where}: {source}: {named} '{image.path}': {absent[image.path]}")
            if scan.layout == image_lists.LAYOUT_NAME and not is_url(image.path) and image.path not in generated:
                check_exists(image.path, where=source, what=named)
    return Plate(name, scan, channel, units, row.get("platemap"), inside, pages_are)


def _with_parts(image, pages_are, is_named):
    """Return an image with what the pages of its file are, and whether its channel must be in it by name."""
    series, frame, *_ = image.inside or (None, None)
    return image._replace(inside=(series, frame, pages_are, is_named))


def _check_platemap(row):
    """Check that the platemap of a row, if any, is a file on disk that can be read."""
    if not (platemap := row.get("platemap")):
        return
    named = f"plate '{row['plate']}'"
    check_path(platemap, f"{row[None]}: {named}")
    if is_url(platemap):
        raise InputError(f"{row[None]}: {named} has the platemap '{platemap}'; expected a file on disk")
    check_exists(platemap, where=row[None], what=f"{named} has the platemap")
    platemaps.read_platemap(platemap)


def _scan(row, source, *, regexes, results, remote):
    """Find the images of a row: of a folder on disk or on S3, or of an image list on disk or at a URL."""
    plate, url = row["plate"], row["images"]
    options = {"plate": plate, "layout": row.get("layout", "auto"), "layouts": regexes}
    if not is_url(source):
        if os.path.isdir(source):
            return layouts.scan_folder(source, results=results, **options)
        return image_lists.read_image_list(source, plate=plate)
    if url.lower().endswith(LIST_SUFFIXES):
        return image_lists.read_image_list(remote.copy(url), plate=plate, url=url)
    if not url.lower().startswith("s3://"):
        raise InputError(
            f"'{url}' is no image list ({', '.join(LIST_SUFFIXES)}); expected one, as folders of web servers "
            "cannot be listed"
        )
    return layouts.scan_folder(source, names=remote.names(source), **options)


def report(plate: Plate, log: str | os.PathLike) -> None:
    """Print one line about a plate's files, with a warning if any is lost.

    Parameters
    ----------
    plate : Plate
    log : path-like
        The log that `write_log` writes; the line names it.
    """
    headline, details = file_report(plate)
    lost = plate.scan.unmatched or plate.scan.duplicates or not plate.images
    print(f"{'WARNING ' if lost else ''}{headline}" + f" ({log})" * bool(details), file=sys.stderr)


def write_log(plate: Plate, log: Path, *, notes: Iterable[str] = ()) -> None:
    """Write what happened to every file of a plate.

    Parameters
    ----------
    plate : Plate
    log : pathlib.Path
        Its folder is created.
    notes : iterable of str
        Further lines.
    """
    headline, details = file_report(plate)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("\n".join([headline, *notes, *details, ""]), encoding="utf-8", errors="backslashreplace")


def file_report(plate: Plate) -> tuple[str, list[str]]:
    """List what happened to every file: read, other channel, skipped, missing.

    Parameters
    ----------
    plate : Plate

    Returns
    -------
    headline : str
        One line for the terminal.
    details : list of str
        Lines for the log: notes, then each list of files.
    """
    images, scan = plate.images, plate.scan
    if not scan.images:
        return f"plate {plate.name}: no image", [*scan.notes, *(f"thumbnail: {path}" for path in scan.thumbnails)]
    wells = {image.well for image in images}
    frames = {(image.well, image.site, image.timepoint, image.z) for image in images}
    path_of = {(image.well, image.site, image.timepoint, image.z): image.path for image in scan.images}
    holes = [path for frame, path in path_of.items() if frame not in frames]
    counts = {
        f"image(s) of channel {plate.channel} in {len(wells)} well(s)": len(images),
        "of other channels": len(scan.images) - len(images),
        "thumbnail(s)": len(scan.thumbnails),
        "whose names match no layout": len(scan.unmatched),
        "duplicate(s)": len(scan.duplicates),
        "frame(s) without that channel": len(holes),
    }
    headline = f"plate {plate.name}, layout {scan.layout}: " + ", ".join(
        f"{count} {what}" for number, (what, count) in enumerate(counts.items()) if count or not number
    )
    lists = {
        "matches no layout, skipped": scan.unmatched,
        "duplicate, skipped": scan.duplicates,
        "thumbnail, skipped": scan.thumbnails,
        f"no image of channel {plate.channel} beside": holes,
    }
    details = [*scan.notes, *(f"{what}: {path}" for what, paths in lists.items() for path in paths)]
    if plate.platemap:
        described = set(platemaps.read_platemap(plate.platemap))
        if without_images := sorted(described - wells):
            details.append(f"in the platemap, without images: {' '.join(without_images)}")
        if not_described := sorted(wells - described):
            details.append(f"with images, not in the platemap: {' '.join(not_described)}")
    return headline, details
