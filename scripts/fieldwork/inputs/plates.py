"""Open the plates of the sheet: find the images of the nuclei channel, group them into units, report on every file."""

import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fieldwork import InputError
from fieldwork.inputs import image_lists, layouts, platemaps
from fieldwork.inputs.inside import nuclei as inside_nuclei
from fieldwork.inputs.inside import timepoints
from fieldwork.inputs.names import missing
from fieldwork.inputs.names.folders import FOREIGN_SUFFIXES, IMAGE_SUFFIXES
from fieldwork.inputs.names.images import doubts_about_moments, in_order, planes_of_fields
from fieldwork.inputs.paths import (
    check_exists,
    check_path,
    is_url,
    normal_path,
    refuse_results,
    shown_in_utf_8,
    suits_snakemake,
)
from fieldwork.inputs.remote import Remote
from fieldwork.inputs.tables.reading import TABLE_SUFFIXES
from fieldwork.wells import row_and_column

# The configuration's `fan_out` -> the unit of an image: a detection job takes one unit.
FAN_OUT = {
    "plate": lambda image: "all",
    "well": lambda image: image.well,
    "field": lambda image: f"{image.well}_s{image.site}",
}
# Layouts with folders ZStep_0, which is a projection, ZStep_1 ...
METAXPRESS = ("bbbc021", "imagexpress", "metaxpress")


class Plate(NamedTuple):
    """One plate: its scan, its nuclei channel, that channel's images by unit, and the path of its platemap or None.

    `inside` is the name of the nuclei channel inside of the files of that channel, where the sheet or the configuration
    names it and the files' names do not; `pages_are` is what pages without names are: z, c, t or nothing; `z` is which
    z planes of an image count, as for `plates.images.chosen_planes`; `doubts` are those about its platemap.
    """

    name: str
    scan: layouts.Scan
    channel: str
    units: dict[str, list[layouts.Image]]
    platemap: str | None
    inside: str = ""
    pages_are: str = ""
    z: str | int = "all"
    doubts: Sequence[str] = ()

    @property
    def images(self) -> list[layouts.Image]:
        """The images of the nuclei channel, in the order of the tables' rows."""
        return [image for unit in self.units.values() for image in unit]

    @property
    def has_timepoints(self) -> bool:
        """True if the images were taken at several time points, as far as is known before any job."""
        return timepoints.are_several(self.images, pages_are=self.pages_are)


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
        self._of_source = {}
        for name, row in self.rows.items():
            self._of_source.setdefault(_source_of(row), []).append(name)

    def __getitem__(self, name: str) -> Plate:
        if name not in self._opened:
            row = self.rows[name]
            others = [other for other in self._of_source[_source_of(row)] if other != name]
            self._opened[name] = open_plate(row, others=others, **self._options)
        return self._opened[name]

    def __contains__(self, name: object) -> bool:
        return name in self.rows

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


class _ConfigurationError(InputError):
    """The configuration is wrong for a plate, and not the sheet's line."""


def open_plate(
    row: dict,
    *,
    channel: str,
    names: Mapping[str, str] | None = None,
    pages_are: str = "",
    regexes: dict[str, str],
    fan_out: str,
    results: str | os.PathLike,
    z: str | int = "all",
    most_failed: float = 1,
    source: str = "configuration",
    generated: Collection[str] = frozenset(),
    remote: Remote | None = None,
    others: Collection[str] = (),
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
    z : {'all', 'projection', 'best'} or int
        The configuration's ``nuclei.z``: which z planes of a field count.
    most_failed : float
        The configuration's ``max_failed_fields``: share of the images of the nuclei channel that may be missing, or
        there twice.
    source : str
        Of the configuration, for messages.
    generated : set of str
        Listed images that a rule makes, so that they need not exist yet.
    remote : Remote, optional
        Needed if the images or the image list are at a URL.
    others : collection of str
        Other plates of the sheet with images from this folder.

    Returns
    -------
    Plate

    Raises
    ------
    InputError
        Names the sheet's line, or the configuration, and what is wrong: an absent folder, list or image, an unknown
        layout or channel, too many images that are missing or there twice.
    """
    name, origin = row["plate"], _source_of(row)
    where = f"{row[None]}: plate '{name}'"
    if "://" in origin:
        check_path(origin, where)
    else:
        check_exists(origin, where=row[None], what=f"plate '{name}' takes its images from")
        refuse_results(origin, results, where=where)
    described = _described_wells(row)
    try:
        scan, projection = _with_projections(
            _scan(row, origin, regexes=regexes, results=results, remote=remote, others=others)
        )
        pages_are, requested = row.get("pages_are", pages_are), row.get("nuclei_channel", channel)
        try:
            scan, channel, inside = _with_nuclei(scan, requested, names or {}, pages_are)
        except InputError as error:
            if "nuclei_channel" in row:
                raise
            raise _ConfigurationError(f"{source}: nuclei.channel is {requested}; {where}: {error}") from None
        images = missing.with_missing(scan.images, channel)
        scan = scan._replace(warnings=[*scan.warnings, *doubts_about_moments(images)])
        doubts = platemaps.doubts_about_wells(described, {image.well for image in images}, row.get("platemap"))
        images, z = _of_plane(images, z, projection)
        missing.check_faults(images, most_failed)
        _check_format(row, scan.images)
    except _ConfigurationError as error:
        raise InputError(str(error)) from None
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    # Now, as the jobs fail such images and not the plan: others are done.
    images, scan = list(map(_with_odd_name, images)), scan._replace(images=list(map(_with_odd_name, scan.images)))
    _check_files(scan, images, where=where, origin=origin, generated=generated, remote=remote)
    units = {}
    for image in images:
        units.setdefault(FAN_OUT[fan_out](image), []).append(image)
    return Plate(name, scan, channel, units, row.get("platemap"), inside, pages_are, z, doubts)


def _with_nuclei(scan, requested, names, pages_are):
    """Choose the channel of the nuclei; return the scan with doubts about it, the channel, and its part of files."""
    channel, inside = inside_nuclei.choose(scan.images, requested, names, pages_are=pages_are)
    if requested == "auto":
        doubts = inside_nuclei.doubts_about(channel, names, {image.channel for image in scan.images})
        scan = scan._replace(warnings=[*scan.warnings, *doubts])
    if pages_are or inside:
        scan = scan._replace(images=[_with_parts(image, pages_are, bool(inside)) for image in scan.images])
    return scan, channel, inside


def _check_files(scan, images, *, where, origin, generated, remote):
    """Check that Snakemake can take the images, and that those of a list are there."""
    is_list = scan.layout == image_lists.LAYOUT_NAME
    for url in {image.path for image in scan.images if is_url(image.path)}:  # of failed rows, too, for its secrets
        check_path(url, where)
    urls = [image.path for image in scan.images if not image.fault and is_url(image.path)]
    absent = remote.absent(urls) if urls and is_list else {}
    for image in images:
        if not image.fault:
            named = f"well {image.well}, site {image.site} names the image"
            if image.path in absent:
                raise InputError(f"{where}: {origin}: {named} '{image.path}': {absent[image.path]}")
            if is_list and not is_url(image.path) and image.path not in generated:
                check_exists(image.path, where=origin, what=named)


def _with_parts(image, pages_are, is_named):
    """Return an image with what the pages of its file are, and whether its channel must be in it by name."""
    series, frame, *_ = image.inside or (None, None)
    return image._replace(inside=(series, frame, pages_are, is_named))


def _check_format(row, images):
    """Check that the plate has all wells, where the sheet says how many it has."""
    if plate_format := row.get("plate_format"):
        columns = layouts.COLUMNS[plate_format]
        positions = {image.well: row_and_column(image.well) for image in images}
        wrong = [well for well, (line, column) in positions.items() if line >= columns * 2 // 3 or column >= columns]
        if wrong:
            raise InputError(
                f"a plate of {plate_format} wells (column 'plate_format') has no well {wrong[0]}; found {len(wrong)} "
                "such wells by the images' names. Expected another plate_format, or another layout"
            )


def _described_wells(row):
    """Return the wells of a row's platemap, which is a file on disk; none without one."""
    if not (platemap := row.get("platemap")):
        return set()
    named = f"plate '{row['plate']}'"
    check_path(platemap, f"{row[None]}: {named}")
    if is_url(platemap):
        raise InputError(f"{row[None]}: {named} has the platemap '{platemap}'; expected a file on disk")
    check_exists(platemap, where=row[None], what=f"{named} has the platemap")
    return set(platemaps.read_platemap(platemap, row["plate"]))


def _source_of(row):
    """Return the folder or image list of a row."""
    source = normal_path(row["images"])
    return source.rstrip("/") if "://" in source else source


def _scan(row, source, *, regexes, results, remote, others):
    """Find the images of a row: of a folder on disk or on S3, or of an image list on disk or at a URL."""
    plate, url = row["plate"], row["images"]
    options = {"plate": plate, "layout": row.get("layout", "auto"), "layouts": regexes}
    options |= {"plate_format": row.get("plate_format"), "others": others}
    if not is_url(source):
        if os.path.isdir(source):
            return layouts.scan_folder(source, results=results, **options)
        if source.lower().endswith((*IMAGE_SUFFIXES, *FOREIGN_SUFFIXES)):
            raise InputError(
                f"{source!r} is one file of images; expected a folder of TIFF files, one for each well, site and "
                "channel, or an image list"
            )
        return image_lists.read_image_list(source, plate=plate)
    if url.lower().endswith(TABLE_SUFFIXES):
        return image_lists.read_image_list(remote.copy(url), plate=plate, url=url)
    if not url.lower().startswith("s3://"):
        raise InputError(
            f"'{url}' is no image list ({', '.join(TABLE_SUFFIXES)}); expected one, as folders of web servers "
            "cannot be listed"
        )
    return layouts.scan_folder(source, names=remote.names(source), **options)


def _with_odd_name(image):
    """Return an image with a fault where its name cannot stand in tables, or its URL in Snakemake."""
    path, fault = shown_in_utf_8(image.path), image.fault
    if path != image.path:
        fault = fault or f"the name {path!r} has bytes that are no UTF-8 text, which tables cannot hold; rename it"
    elif is_url(path) and not suits_snakemake(path):
        fault = fault or f"the URL {path!r} has one of {{ }} < > in it, which Snakemake cannot read; rename the object"
    return image._replace(path=path, fault=fault) if fault else image


def _with_projections(scan):
    """Return a scan in which every image has a plane, if one has, and the plane that is a projection, or None.

    Images without a z plane beside images with one are projections, and so is MetaXpress's ZStep_0. So no grouping of
    the plate's tables by planes loses rows.
    """
    planes = {image.z for image in scan.images} - {None}
    without = sum(image.z is None for image in scan.images)
    if scan.layout == image_lists.LAYOUT_NAME or not planes:
        return scan, None
    if not without:
        return scan, 0 if scan.layout in METAXPRESS and min(planes) == 0 < max(planes) else None
    projection = min(0, min(planes) - 1)
    images = [image if image.z is not None else image._replace(z=projection) for image in scan.images]
    note = f"{without} images without a z plane beside images with one: taken for projections, plane {projection}"
    return scan._replace(images=images, notes=[*scan.notes, note]), projection


def _of_plane(images, z, projection):
    """Return the images of a z plane that is asked for by its number, or as the projection; and what jobs look for.

    A field without it becomes an image with a fault. Images without a plane may have planes inside of their files.
    """
    planes = sorted({image.z for image in images} - {None})
    if z == "projection" and planes:
        if projection is None:
            raise InputError(
                f"nuclei.z is projection, but by the names no image is one; there are the z planes "
                f"{', '.join(map(str, planes))}. Expected best, all, or a plane's number"
            )
        z = projection
    if isinstance(z, str) or not planes:
        return images, z
    chosen = []
    for others in planes_of_fields(images):
        own = [image for image in others if image.z in (None, z)]
        there = ", ".join(str(image.z) for image in others)
        fault = f"no image of z plane {z}; there are planes {there} (nuclei.z)"
        chosen += own or [others[0]._replace(path="", z=z, fault=fault, inside=())]
    return in_order(chosen), z


def report(plate: Plate, log: str | os.PathLike) -> None:
    """Print one line about a plate's files, with a warning if any is lost, and one for every decision to look at.

    Parameters
    ----------
    plate : Plate
    log : path-like
        The log that `write_log` writes; the line names it.
    """
    headline, details = file_report(plate)
    lost = plate.scan.unmatched or plate.scan.duplicates or any(image.fault for image in plate.images)
    print(f"{'WARNING ' if lost else ''}{headline}" + f" ({log})" * bool(details), file=sys.stderr)
    for warning in (*plate.scan.warnings, *plate.doubts):
        print(f"WARNING plate {plate.name}: {warning}", file=sys.stderr)


def _frame_of(image):
    return image.well, image.site, image.timepoint, image.z


def write_log(plate: Plate, log: Path, *, notes: Iterable[str] = ()) -> None:
    """Write what happened to every file of a plate; a log that cannot be written is a warning.

    Parameters
    ----------
    plate : Plate
    log : pathlib.Path
        Its folder is created.
    notes : iterable of str
        Further lines.
    """
    headline, details = file_report(plate)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("\n".join([headline, *notes, *details, ""]), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        print(f"WARNING {log}: cannot be written ({error.strerror}); it would list every file", file=sys.stderr)


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
    failed = [image for image in images if image.fault]
    wells = {image.well for image in images}
    frames = set(map(_frame_of, images))
    files = [image for image in scan.images if image.path]
    own = {_frame_of(image): image.path for image in files if image.channel == plate.channel}
    other_planes = [path for frame, path in own.items() if frame not in frames]
    holes = [
        path
        for frame, path in {_frame_of(image): image.path for image in files}.items()
        if frame not in {*frames, *own}
    ]
    counts = {
        f"image(s) of channel {plate.channel} in {len(wells)} well(s)": len(images) - len(failed),
        f"of other z planes than {plate.z} (nuclei.z)": len(other_planes),
        "of other channels": sum(image.channel != plate.channel for image in files),
        "thumbnail(s)": len(scan.thumbnails),
        "whose names match no layout": len(scan.unmatched),
        "copies, previews or masks": len(scan.copies),
        "duplicate(s)": len(scan.duplicates),
        f"failed field(s), as the image is missing or there twice, first in well {failed[0].well}"
        if failed
        else "": len(failed),
        "frame(s) without that channel": len(holes),
    }
    headline = f"plate {plate.name}, layout {scan.layout}: " + ", ".join(
        f"{count} {what}" for number, (what, count) in enumerate(counts.items()) if count or not number
    )
    lists = {
        "matches no layout, skipped": scan.unmatched,
        "copy, preview or mask, skipped": scan.copies,
        "duplicate, skipped": scan.duplicates,
        f"of another z plane than {plate.z}, skipped (nuclei.z)": other_planes,
        "thumbnail, skipped": scan.thumbnails,
        f"no image of channel {plate.channel} beside": holes,
    }
    details = [*scan.notes, *scan.warnings, *(f"{what}: {path}" for what, paths in lists.items() for path in paths)]
    details += [f"failed: well {image.well}, site {image.site}: {image.fault}" for image in failed]
    if plate.platemap:
        described = set(platemaps.read_platemap(plate.platemap, plate.name))
        if without_images := sorted(described - wells):
            details.append(f"in the platemap, without images: {' '.join(without_images)}")
        if not_described := sorted(wells - described):
            details.append(f"with images, not in the platemap: {' '.join(not_described)}")
    return headline, details
