"""Read image lists in the form of CellProfiler's LoadData."""

import functools
import os
import re
from collections import Counter

from fieldwork import InputError
from fieldwork.inputs.delimited import read_rows
from fieldwork.inputs.layouts import TWO_PLATES, images_of_plate
from fieldwork.inputs.names import duplicates
from fieldwork.inputs.names.images import Image, Scan, index_of, natural
from fieldwork.inputs.paths import is_url, path_of_url
from fieldwork.wells import normal_well, row_letters

LAYOUT_NAME = "image list"
_METADATA = ("Well", "Row", "Column", "Site", "Timepoint", "ZPlane", "Plate")
# Other names of columns that may say the same, in lower case and without blanks and _.
_OTHER_NAMES = {
    "Site": ("site", "field", "fieldid", "fieldindex", "siteid", "fov"),
    "Timepoint": ("timepoint", "t", "time", "timepointid", "timeid", "timeindex"),
    "ZPlane": ("zplane", "z", "plane", "planeid", "zstep", "zslice", "zindex", "slice"),
}
_DIFFERENT_LINES = (
    "Lines of one well need Metadata_Site, Metadata_Timepoint or Metadata_ZPlane with whole numbers that differ."
)


def read_image_list(path: str | os.PathLike, *, plate: str, url: str | None = None) -> Scan:
    """Read an image list in CellProfiler's LoadData form.

    Parameters
    ----------
    path : path-like
        UTF-8; separated by tabs if it ends in .tsv or .txt, else by commas. Each ``FileName_<Channel>`` (with
        ``PathName_<Channel>``) or ``URL_<Channel>`` is a channel. Wells are ``Metadata_Well``, or
        ``Metadata_Row`` and ``Metadata_Column``. Optional: ``Metadata_Site`` (else rows are counted within a
        well), ``Metadata_Timepoint``, ``Metadata_ZPlane``, ``Metadata_Plate``; ``Series_<Channel>`` and
        ``Frame_<Channel>``, both from 0: an image of the file, and a page of that. As in BBBC021's own list,
        ``Image_`` may stand before every name and ``_<Channel>`` behind the metadata. Other names of site, time
        point and z plane (``Metadata_Field``, ``Metadata_T``) count where lines are alike without them.
    plate : str
        The plate's name in the sheet; it picks the plate's rows by ``Metadata_Plate``.
    url : str, optional
        The list's URL, if `path` is a copy: images without a path or URL of their own are beside it.

    Returns
    -------
    Scan
        Its layout is ``image list``. It is not checked that the images exist. A line without any file is a fault of
        each channel.

    Raises
    ------
    InputError
        Names the file, the line and the column; or most images are there twice.
    """
    file, path = path, url or os.fspath(path)
    rows = read_rows(file, delimiter="\t" if path.lower().endswith((".tsv", ".txt")) else ",", name=path)
    _, names = next(rows, (1, []))
    header = [name.removeprefix("Image_") for name in names]
    channels, metadata = _find_columns(header, names, path)
    lines = [(f"{path}, line {line}", cells) for line, cells in rows]
    for where, cells in lines:
        if len(cells) != len(header):
            raise InputError(f"{where}: found {len(cells)} cells, expected {len(header)}.")
    warnings = []
    metadata |= _columns_by_other_names(header, metadata, channels, lines, warnings)
    column_names = {kind: names[index] for kind, index in metadata.items()}
    is_folder = functools.cache(os.path.isdir)
    entries, sites, empty = [], Counter(), 0
    for where, cells in lines:
        texts = {kind: cells[index] for kind, index in metadata.items()}
        read = functools.partial(_read, texts, column_names, where)
        well, timepoint, z = _position(texts, read)
        list_plate = texts.get("Plate")
        sites[list_plate, well, timepoint, z] += 1
        site = sites[list_plate, well, timepoint, z]
        if "Site" in texts:
            site = read("Site", _index_of, "a whole number from 0 to 999999999")
        row = dict(zip(header, cells, strict=True))
        images = {
            channel: _image_path(row, channel, where=where, list_path=path, at_url=bool(url), is_folder=is_folder)
            for channel in channels
        }
        fault = None if any(images.values()) else f"{where} names no file"
        for channel, image in images.items():
            empty += not image
            if image or fault:
                parts = {"fault": fault, "inside": _inside(row, channel, where)}
                entries.append((list_plate, Image(image, well, site, channel, timepoint, z, **parts)))
    if not any(image.path for _, image in entries):
        raise InputError(f"{path}: found no image. Expected a line for each field, with its channels' files.")
    notes = [f"{path}: {empty} cells for an image's name are empty; there are no such images."] if empty else []
    entries.sort(key=lambda entry: natural(entry[1].path))
    images = images_of_plate(entries, plate, f"{path}, column Metadata_Plate", notes)
    settled = duplicates.settle(images)
    duplicates.check_throughout(settled, what_to_do=f"{_DIFFERENT_LINES} {TWO_PLATES}")
    notes += settled.notes
    warnings += settled.rules
    return Scan(LAYOUT_NAME, settled.images, [], [], settled.duplicates, notes, settled.copies, warnings)


def _find_columns(header, names, path):
    """Return the channels, and kind of metadata -> index of its column; `names` are those in the file, for messages."""
    channels = [name.partition("_")[2] for name in header if name.startswith(("FileName_", "URL_"))]
    channels = list(dict.fromkeys(channels))
    metadata = {}
    for kind in _METADATA:
        for name in (f"Metadata_{kind}", *(f"Metadata_{kind}_{channel}" for channel in channels)):
            if name in header:
                metadata.setdefault(kind, header.index(name))
    if not channels or ("Well" not in metadata and not {"Row", "Column"} <= metadata.keys()):
        raise InputError(
            f"{path}, line 1: found columns {', '.join(map(repr, names)) or 'none'}. Expected FileName_<Channel> "
            "with PathName_<Channel>, or URL_<Channel>, for each channel; and Metadata_Well, or Metadata_Row "
            "with Metadata_Column. Tabs stand between them in .tsv and .txt files, commas in all others."
        )
    return channels, metadata


def _columns_by_other_names(header, metadata, channels, lines, warnings):
    """Return kind of metadata -> index of a column with another name, where lines are alike without such columns."""
    positions = Counter(tuple(cells[index] for index in metadata.values()) for _, cells in lines)
    if max(positions.values(), default=1) == 1:
        return {}
    columns = {}
    for kind, index in _candidates(header, metadata, channels):
        texts = {cells[index] for _, cells in lines}
        if kind in columns or len(texts) < 2:
            continue
        if all(text == "" or _is_index(text) for text in texts):
            columns[kind] = index
        else:
            warnings.append(
                f"column {header[index]!r} could be {kind}, but has texts such as {min(texts)!r} and {max(texts)!r}; "
                f"it does not count. Expected whole numbers, in a column Metadata_{kind}"
            )
    return columns


def _candidates(header, metadata, channels):
    """Yield kind of metadata and index for each column whose name may say what none of the known columns does."""
    for index, name in enumerate(header):
        bare = name.removeprefix("Metadata_")
        for channel in channels:
            bare = bare.removesuffix(f"_{channel}")
        bare = re.sub("[ _]", "", bare.lower())
        for kind, names in _OTHER_NAMES.items():
            if name.startswith("Metadata_") and kind not in metadata and bare in names:
                yield kind, index


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
        without_zeros = {kind: re.sub(r"(?<=\d)\.0+$", "", texts[kind]) for kind in ("Row", "Column")}
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
    image = os.path.join(parent.rstrip("/") if is_url(parent) else parent, name)
    near_list = os.path.join(os.path.dirname(list_path), parent)
    # A folder that is not in the working directory is looked for beside the list; for a list at a URL, only there.
    if not is_url(image) and (not os.path.isabs(image) if at_url else not is_folder(parent) and is_folder(near_list)):
        image = os.path.join(near_list, name)
    return image
