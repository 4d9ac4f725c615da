"""Read image lists in the form of CellProfiler's LoadData."""

import functools
import os
import re
from collections import Counter

from fieldwork import InputError
from fieldwork.inputs.layouts import images_of_plate
from fieldwork.inputs.names import duplicates
from fieldwork.inputs.names.images import Image, Scan, index_of, natural
from fieldwork.inputs.paths import is_url, path_of_url, with_home
from fieldwork.inputs.platemaps import WELL_COLUMNS
from fieldwork.inputs.tables.reading import column_named, plain_name, read_table
from fieldwork.wells import normal_well, row_letters

LAYOUT_NAME = "image list"
_METADATA = ("Well", "Row", "Column", "Site", "Timepoint", "ZPlane", "Plate")
# Other names of columns that may say the same, in lower case and without blanks and _.
_OTHER_NAMES = {
    "Site": ("site", "field", "fieldid", "fieldindex", "siteid", "fov"),
    "Timepoint": ("timepoint", "t", "time", "timepointid", "timeid", "timeindex"),
    "ZPlane": ("zplane", "z", "plane", "planeid", "zstep", "zslice", "zindex", "slice"),
}
_PLATE_NAMES = ("plate", "plateid", "platename", "platebarcode", "barcode", "assayplatebarcode")
_AMBIGUOUS_NAMES = ("t", "time", "z", "plane", "slice")  # without Metadata_: may be measured
_CHANNEL_NAMES = ("channel", "channelid", "channelname", "wavelength", "stain", "dye", "marker")
# Names of columns that CellProfiler writes in one way, and people in others; a channel's name stands behind some.
_SPELLINGS = {
    name.lower(): name
    for name in (
        "FileName",
        "PathName",
        "URL",
        "Series",
        "Frame",
        *(f"Metadata_{kind}" for kind in ("Well", "Row", "Column")),
    )
}
_SPELLED = re.compile(rf"(?:Image_)?({'|'.join(_SPELLINGS)})(_.+)?", re.IGNORECASE)
_DIFFERENT_LINES = (
    "Lines of one well need Metadata_Site, Metadata_Timepoint or Metadata_ZPlane with whole numbers that differ; lines "
    "of several plates need Metadata_Plate."
)


def read_image_list(path: str | os.PathLike, *, plate: str, url: str | None = None) -> Scan:
    """Read an image list in CellProfiler's LoadData form.

    Parameters
    ----------
    path : path-like
        Of any form that `read_table` takes. Each ``FileName_<Channel>`` (with ``PathName_<Channel>``) or
        ``URL_<Channel>`` is a channel. Wells are ``Metadata_Well`` (or another of `platemaps.WELL_COLUMNS`, in any
        spelling), or ``Metadata_Row`` and ``Metadata_Column``. Optional: ``Metadata_Site`` (else rows are counted
        within a well), ``Metadata_Timepoint``, ``Metadata_ZPlane``, ``Metadata_Plate``; ``Series_<Channel>`` and
        ``Frame_<Channel>``, both from 0: an image of the file, and a page of that. As in BBBC021's own list,
        ``Image_`` may stand before every name and ``_<Channel>`` behind the metadata. Other names of site, time
        point and z plane (``Metadata_Field``, ``Metadata_T``, ``site``) count where lines are alike without them, and
        other names of the plate (``Metadata_Barcode``) where there are several plates.
    plate : str
        The plate's name in the sheet; it picks the plate's rows by ``Metadata_Plate``.
    url : str, optional
        The list's URL, if `path` is a copy: images without a path or URL of their own are beside it.

    Returns
    -------
    Scan
        Its layout is ``image list``. It is not checked that the images exist. A line without any file is a fault of
        each channel; so is a file that several lines name for one channel, but for other fields or planes.

    Raises
    ------
    InputError
        Names the file, the line and the column; or most images are there twice, or every line has one channel.
    """
    file, path = path, url or os.fspath(path)
    names, rows = read_table(file, is_known=_is_known, name=path, twice=True)
    header = list(map(_usual_name, names))
    channels, metadata = _find_columns(header, names, path)
    lines = [(f"{path}, line {line}", cells) for line, cells in rows]
    for where, cells in lines:
        if len(cells) != len(header):
            raise InputError(f"{where}: found {len(cells)} cells, expected {len(header)}.")
    _check_columns_that_are_twice(header, names, lines)
    warnings = []
    columns = _columns_by_other_names(header, metadata, channels, lines, warnings)
    metadata |= columns
    _check_rows_and_columns(metadata, names, lines, warnings, path)
    _check_what_tells_lines_apart(header, names, metadata, channels, lines, warnings, path)
    column_names = {kind: names[index] for kind, index in metadata.items()}
    entries, empty = _entries_of(lines, header, metadata, column_names, channels, list_path=path, at_url=bool(url))
    if not any(image.path for _, image in entries):
        raise InputError(f"{path}: found no image. Expected a line for each field, with its channels' files.")
    notes = [f"{path}: column {names[index]} is taken for Metadata_{kind}." for kind, index in columns.items()]
    if empty:
        notes.append(f"{path}: {empty} cells for an image's name are empty; there are no such images.")
    entries.sort(key=lambda entry: natural(entry[1].path))
    source = "Metadata_Plate" if "Metadata_Plate" in header else column_names.get("Plate", "Metadata_Plate")
    images = images_of_plate(entries, plate, f"{path}, column {source}", notes=notes, warnings=warnings)
    settled = duplicates.settle(_with_files_of_one_field(images))
    duplicates.check_throughout(settled, what_to_do=_DIFFERENT_LINES)
    notes += settled.notes
    warnings += settled.rules
    return Scan(LAYOUT_NAME, settled.images, [], [], settled.duplicates, notes, settled.copies, warnings)


def _is_known(name):
    return bool(_SPELLED.fullmatch(name)) or plain_name(name) in WELL_COLUMNS


def _usual_name(name):
    """Return a column's name as CellProfiler writes it, and without ``Image_`` before it."""
    match = _SPELLED.fullmatch(name)
    return _SPELLINGS[match[1].lower()] + (match[2] or "") if match else name.removeprefix("Image_")


def _entries_of(lines, header, metadata, column_names, channels, *, list_path, at_url):
    """Return plate and image of every cell that names one, or lacks one for a fault; and how many cells are empty."""
    is_folder = functools.cache(os.path.isdir)
    entries, sites, empty = [], Counter(), 0
    for where, cells in lines:
        texts = {kind: cells[index] for kind, index in metadata.items()}
        read = functools.partial(_read, texts, column_names, where)
        well, timepoint, z = _position(texts, read)
        plate = texts.get("Plate")
        sites[plate, well, timepoint, z] += 1
        site = sites[plate, well, timepoint, z]
        if "Site" in texts:
            site = read("Site", _index_of, "a whole number from 0 to 999999999")
        row = dict(zip(header, cells, strict=True))
        images = {
            channel: _image_path(row, channel, where=where, list_path=list_path, at_url=at_url, is_folder=is_folder)
            for channel in channels
        }
        fault = None if any(images.values()) else f"{where} names no file"
        for channel, image in images.items():
            empty += not image
            if image or fault:
                parts = {"fault": fault, "inside": _inside(row, channel, where)}
                entries.append((plate, Image(image, well, site, channel, timepoint, z, **parts)))
    return entries, empty


def _find_columns(header, names, path):
    """Return the channels, and kind of metadata -> index of its column; `names` are those in the file, for messages."""
    channels = [name.partition("_")[2] for name in header if name.startswith(("FileName_", "URL_"))]
    channels = list(dict.fromkeys(filter(None, channels)))
    metadata = {}
    for kind in _METADATA:
        for name in (f"Metadata_{kind}", *(f"Metadata_{kind}_{channel}" for channel in channels)):
            if name in header:
                metadata.setdefault(kind, header.index(name))
    is_placed = "Well" in metadata or {"Row", "Column"} <= metadata.keys()
    if not is_placed and (name := column_named(WELL_COLUMNS, header)):
        metadata["Well"], is_placed = header.index(name), True
    if not channels or not is_placed:
        raise InputError(
            f"{path}, line 1: found columns {', '.join(map(repr, names)) or 'none'}. Expected FileName_<Channel> "
            "with PathName_<Channel>, or URL_<Channel>, for each channel; and Metadata_Well, or Metadata_Row "
            "with Metadata_Column."
        )
    return channels, metadata


def _check_columns_that_are_twice(header, names, lines):
    """Check that columns of one name say the same in every line."""
    first = {}
    for index, name in enumerate(header):
        other = first.setdefault(name, index)
        for where, cells in lines if other != index else ():
            if cells[other] != cells[index]:
                raise InputError(
                    f"{where}: columns {names[other]} and {names[index]} are there twice, and say different things "
                    f"({cells[other]!r} and {cells[index]!r}). Delete or rename one of them."
                )


def _columns_by_other_names(header, metadata, channels, lines, warnings):
    """Return kind of metadata -> index of a column with another name: where lines are alike or of several plates."""
    columns = {}
    for index in _columns_named(_PLATE_NAMES, header, channels) if "Plate" not in metadata else ():
        if len({cells[index] for _, cells in lines} - {""}) > 1:
            columns["Plate"] = index
            break
    positions = Counter(_position_cells(cells, metadata | columns) for _, cells in lines)
    if max(positions.values(), default=1) == 1:
        return columns
    for kind, other_names in _OTHER_NAMES.items():
        for index in _columns_named(other_names, header, channels) if kind not in metadata else ():
            texts = {cells[index] for _, cells in lines}
            if kind in columns or len(texts) < 2:
                continue
            if all(text == "" or _is_index(text) for text in texts):
                columns[kind] = index
            else:
                warnings.append(
                    f"column {header[index]!r} could be {kind}, but has texts such as {min(texts)!r} and "
                    f"{max(texts)!r}; it does not count. Expected whole numbers, in a column Metadata_{kind}"
                )
    return columns


def _check_rows_and_columns(metadata, names, lines, warnings, path):
    """Check that rows and columns are those of the wells, where there are all three; warn where they never are."""
    if not {"Well", "Row", "Column"} <= metadata.keys():
        return
    others, equal = [], 0
    for where, cells in lines:
        well, row, column = (cells[metadata[kind]] for kind in ("Well", "Row", "Column"))
        try:
            stated, own = normal_well(row_letters(_whole(row)) + _whole(column)), normal_well(well)
        except ValueError:  # the well alone counts
            continue
        equal += stated == own
        if stated != own:
            others.append(f"{where}: {names[metadata['Well']]} {well!r}, {row!r} and {column!r} are {stated}")
    columns = f"columns {names[metadata['Row']]} and {names[metadata['Column']]}"
    if len(others) <= equal and others:
        raise InputError(
            f"{path}: {columns} contradict {names[metadata['Well']]} in {len(others)} of {len(lines)} lines "
            f"({others[0]}). Put them right, or delete these two."
        )
    if others:
        warnings.append(f"{columns} are not those of {names[metadata['Well']]} ({others[0]}); they do not count")


def _whole(text):
    """Return the text of a number without the .0 that a spreadsheet or pandas wrote."""
    return re.sub(r"(?<=\d)\.0+$", "", text)


def _check_what_tells_lines_apart(header, names, metadata, channels, lines, warnings, path):
    """Check that lines of one field differ by nothing but its numbers: refuse channels, and warn of other columns."""
    groups = {}
    for _, cells in lines:
        groups.setdefault(_position_cells(cells, metadata), []).append(cells)
    groups = [group for group in groups.values() if len(group) > 1]

    def differs(index):
        return any(len({cells[index] for cells in group} - {""}) > 1 for group in groups)

    for index in filter(differs, _columns_named(_CHANNEL_NAMES, header, channels)):
        texts = sorted({cells[index] for group in groups for cells in group} - {""})
        raise InputError(
            f"{path}: column {names[index]} names a channel in every line ({', '.join(texts[:4])}), and lines of one "
            "field differ by it. Expected one line for each field, with a column FileName_<Channel> for each channel."
        )
    columns = [
        name
        for index, name in enumerate(header)
        if name.startswith("Metadata_") and index not in metadata.values() and differs(index)
    ]
    if groups and "Site" not in metadata:
        others = f"; they differ by {', '.join(columns)}, which does not count" if columns else ""
        warnings.append(
            f"there is no column Metadata_Site, so that lines of one well are counted as its sites, in "
            f"the list's order{others}"
        )


def _position_cells(cells, metadata):
    """Return what a line says of its image's position, without the names of kinds."""
    return tuple(cells[index] for index in metadata.values())


def _columns_named(wanted, header, channels):
    """Yield the index of each column that has a name, in any case, with or without Metadata_ and _<Channel>."""
    for index, name in enumerate(header):
        bare = re.sub("(?i)^metadata_", "", name)
        is_bare = bare == name
        for channel in channels:
            bare = bare.removesuffix(f"_{channel}")
        bare = re.sub("[ _]", "", bare.lower())
        if bare in wanted and not (is_bare and bare in _AMBIGUOUS_NAMES):
            yield index


def _with_files_of_one_field(images):
    """Return images of which those have a fault that have their file in common, so that none is certain."""
    positions = {}
    for image in images:
        if image.path:
            positions.setdefault((image.path, image.channel, image.inside), {})[_position_of(image)] = image
    shared = {file: list(of_file.values()) for file, of_file in positions.items() if len(of_file) > 1}
    if not shared:
        return images
    return [
        image._replace(fault=_fault_of_shared(image, shared[image.path, image.channel, image.inside]))
        if (image.path, image.channel, image.inside) in shared
        else image
        for image in images
    ]


def _fault_of_shared(image, images):
    other = next(other for other in images if _position_of(other) != _position_of(image))
    numbers = {"site": other.site, "time point": other.timepoint, "z plane": other.z}
    position = ", ".join(f"{name} {number}" for name, number in numbers.items() if number is not None)
    return (
        f"the list names {image.path!r} {len(images)} times, also for well {other.well}, {position}; a part of a file "
        f"is named by Frame_{image.channel} and Series_{image.channel}"
    )


def _position_of(image):
    return image.well, image.site, image.timepoint, image.z


def _index_of(text):
    """Read a whole number, also where a spreadsheet or pandas wrote it as 1.0."""
    return index_of(re.sub(r"\.0+$", "", text))


def _is_index(text):
    try:
        _index_of(text)
    except ValueError:
        return False
    return True


def _read(texts, column_names, where, kind, convert, expected):
    """Convert the text of one kind of metadata; InputError names its column where that fails."""
    try:
        return convert(texts[kind])
    except ValueError:
        raise InputError(f"{where}, column {column_names[kind]}: found {texts[kind]!r}, expected {expected}.") from None


def _position(texts, read):
    """Return well, time point and z plane of a row."""
    if "Well" in texts:
        well = read("Well", normal_well, "a well such as B02")
    else:
        without_zeros = {kind: _whole(texts[kind]) for kind in ("Row", "Column")}
        texts |= without_zeros
        texts["Column"] = read("Row", row_letters, "a row such as B or 2") + texts["Column"]
        well = read("Column", normal_well, "a row such as B or 2 and a column such as 2")
    timepoint, z = (
        read(kind, _index_of, "a whole number from 0 to 999999999, or nothing") if texts.get(kind) else None
        for kind in ("Timepoint", "ZPlane")
    )
    return well, timepoint, z


def _inside(row, channel, where):
    """Return which image of its file, and which page of that, a row takes of a channel; nothing if it says neither."""
    numbers = []
    for name in (f"Series_{channel}", f"Frame_{channel}"):
        text = row.get(name, "")
        try:
            numbers.append(_index_of(text) if text else None)
        except ValueError:
            raise InputError(
                f"{where}, column {name}: found {text!r}, expected a whole number from 0, or nothing."
            ) from None
    return (*numbers, "", False) if any(number is not None for number in numbers) else ()


def _image_path(row, channel, *, where, list_path, at_url, is_folder):
    """Return the path or URL of a row's image of a channel; empty where its cell is empty."""
    parent, name = row.get(f"PathName_{channel}", ""), row.get(f"FileName_{channel}")
    if name is None or (f"URL_{channel}" in row and f"PathName_{channel}" not in row):
        parent, name = os.path.split(path_of_url(row[f"URL_{channel}"], f"{where}, column URL_{channel}"))
    if not name:
        return ""
    parent, name = with_home(parent), with_home(name)
    image = os.path.join(parent.rstrip("/") if is_url(parent) else parent, name)
    near_list = os.path.join(os.path.dirname(list_path), parent)
    # A folder that is not in the working directory is looked for beside the list; for a list at a URL, only there.
    if not is_url(image) and (not os.path.isabs(image) if at_url else not is_folder(parent) and is_folder(near_list)):
        image = os.path.join(near_list, name)
    return image
