"""A plate of the sheet: the images of its nuclei channel, and the units that detection jobs take them in."""

import os
import sys
from collections.abc import Mapping
from typing import NamedTuple

from fieldwork import InputError
from fieldwork.inputs import image_lists, layouts, platemaps
from fieldwork.inputs.paths import check_path, existing, is_url, normal_path, refuse_results

FAN_OUT = {
    "plate": lambda image: "all",
    "well": lambda image: image.well,
    "field": lambda image: f"{image.well}_s{image.site}",
}
LISTS = (".csv", ".tsv", ".txt")  # how the URL of an image list ends


class Plate(NamedTuple):
    """One plate: its scan, its nuclei channel, that channel's images by unit, and the path of its platemap or None."""

    name: str
    scan: layouts.Scan
    channel: str
    units: dict[str, list[layouts.Image]]
    platemap: str | None

    @property
    def images(self):
        """Images of the nuclei channel, in the order of the tables' rows."""
        return [image for unit in self.units.values() for image in unit]


class Plates(Mapping):
    """The plates of a sheet by name, opened when first asked for: a cluster's job then looks for its own images only.

    Parameters
    ----------
    rows : iterable of dict
        From `sheets.read_sheet`.
    **options
        Of `open_plate`.
    """

    def __init__(self, rows, **options):
        self._rows = {row["plate"]: row for row in rows}
        self._options = options
        self._opened = {}

    def __getitem__(self, name):
        if name not in self._opened:
            self._opened[name] = open_plate(self._rows[name], **self._options)
        return self._opened[name]

    def __contains__(self, name):
        return name in self._rows

    def __iter__(self):
        return iter(self._rows)

    def __len__(self):
        return len(self._rows)


def open_plate(row, *, channel, regexes, fan_out, results, made=frozenset(), remote=None):
    """Find the images of one row of the sheet and deal them out to units.

    Parameters
    ----------
    row : dict
        From `sheets.read_sheet`.
    channel : str
        The nuclei channel, where the row names none.
    regexes : dict
        The configuration's own layouts.
    fan_out : {'plate', 'well', 'field'}
        What a unit is.
    results : path-like
        The folder of the results, where no image is taken from.
    made : set of str
        Listed images that a rule makes, so that they need not be there yet.
    remote : fieldwork.remote.Remote, optional
        Of use where something lies at a URL.

    Returns
    -------
    Plate

    Raises
    ------
    InputError
        Names the sheet's line and what is wrong: an absent folder, list or image, an unknown layout or channel.
    """
    place, name, source = row[None], row["plate"], normal_path(row["images"])
    if "://" in source:
        source = source.rstrip("/")
        check_path(source, f"{place}: plate '{name}'")
    else:
        existing(source, place=place, what=f"plate '{name}' takes its images from")
        refuse_results(source, results, place=f"{place}: plate '{name}'")
    if platemap := row.get("platemap"):
        check_path(platemap, f"{place}: plate '{name}'")
        if is_url(platemap):
            raise InputError(f"{place}: plate '{name}' has the platemap '{platemap}'; expected a file on disk")
        existing(platemap, place=place, what=f"plate '{name}' has the platemap")
        platemaps.read_platemap(platemap)
    try:
        if is_url(source):
            scan = _scan_url(row["images"], row, regexes, remote)
        elif os.path.isdir(source):
            scan = layouts.scan_folder(
                source, plate=name, layout=row.get("layout", "auto"), layouts=regexes, results=results
            )
        else:
            scan = image_lists.read_image_list(source, plate=name)
        if scan.images:
            channel = layouts.nuclei_channel(scan.images, row.get("nuclei_channel", channel))
    except InputError as error:
        raise InputError(f"{place}: plate '{name}': {error}") from None
    urls = [image.path for image in scan.images if is_url(image.path)]
    for url in urls:
        check_path(url, f"{place}: plate '{name}'")
    absent = remote.absent(urls) if urls and scan.layout == "image list" else {}
    units = {}
    for image in scan.images:
        if image.channel == channel:
            check_path(image.path, f"{place}: plate '{name}'")
            units.setdefault(FAN_OUT[fan_out](image), []).append(image)
            if image.path in absent:
                raise InputError(
                    f"{place}: plate '{name}': {source}: well {image.well}, site {image.site} names the image "
                    f"'{image.path}': {absent[image.path]}"
                )
            if not os.path.isdir(source) and not is_url(image.path) and image.path not in made:
                existing(image.path, place=source, what=f"well {image.well}, site {image.site} names the image")
    return Plate(name, scan, channel, units, platemap)


def _scan_url(url, row, regexes, remote):
    """Find the images of a list at a URL, or of a folder on S3."""
    if url.lower().endswith(LISTS):
        return image_lists.read_image_list(remote.copy(url), plate=row["plate"], url=url)
    if not url.lower().startswith("s3://"):
        raise InputError(
            f"'{url}' is no image list ({', '.join(LISTS)}); expected one, as folders of web servers cannot be listed"
        )
    folder = url.rstrip("/")
    return layouts.scan_folder(
        folder, plate=row["plate"], layout=row.get("layout", "auto"), layouts=regexes, names=remote.names(folder)
    )


def report(plate, log):
    """Print what was found of a plate.

    Parameters
    ----------
    plate : Plate
    log : path-like
        Where `write_log` says what became of each file.
    """
    headline, details = account(plate)
    lost = plate.scan.unmatched or plate.scan.duplicates or not plate.images
    print(f"{'WARNING ' if lost else ''}{headline}", f"({log})" if details else "", file=sys.stderr)


def write_log(plate, log):
    """Write what became of every file of a plate.

    Parameters
    ----------
    plate : Plate
    log : pathlib.Path
        Its folder is made.
    """
    headline, details = account(plate)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("\n".join([headline, *details, ""]), encoding="utf-8", errors="backslashreplace")


def account(plate):
    """Say what became of every file of a plate: read, of another channel, skipped, or a hole.

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
    places = {(image.well, image.site, image.timepoint, image.z) for image in images}
    others = {(image.well, image.site, image.timepoint, image.z): image.path for image in scan.images}
    holes = [path for place, path in others.items() if place not in places]
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
    details = [*scan.notes, *(f"{what}: {item}" for what, items in lists.items() for item in items)]
    if plate.platemap:
        described = set(platemaps.read_platemap(plate.platemap))
        details += [f"in the platemap, without images: {' '.join(sorted(described - wells))}"] * bool(described - wells)
        details += [f"with images, not in the platemap: {' '.join(sorted(wells - described))}"] * bool(
            wells - described
        )
    return headline, details
