"""Read image lists in the form of CellProfiler's LoadData."""

import functools
import os
from collections import Counter

from fieldwork import InputError
from fieldwork.inputs.delimited import read_rows
from fieldwork.inputs.layouts import Image, Scan, images_of_plate, index_of, natural, sorted_without_duplicates
from fieldwork.inputs.paths import is_url, path_of_url
from fieldwork.wells import normal_well, row_letters


def read_image_list(path, *, plate, url=None):
    """Read an image list in CellProfiler's LoadData form.

    Parameters
    ----------
    path : path
        UTF-8; separated by tabs if it ends in .tsv or .txt, else by commas. Each ``FileName_<Channel>`` (with
        ``PathName_<Channel>``) or ``URL_<Channel>`` is a channel. Wells are ``Metadata_Well``, or
        ``Metadata_Row`` and ``Metadata_Column``. Optional: ``Metadata_Site`` (else rows are counted within a
        well), ``Metadata_Timepoint``, ``Metadata_ZPlane``, ``Metadata_Plate``. As in BBBC021's own list,
        ``Image_`` may stand before every name and ``_<Channel>`` behind the metadata.
    plate : str
        The plate's name in the sheet; it picks the plate's rows by ``Metadata_Plate``.
    url : str, optional
        Where the list is from, if `path` is a copy: images without a path or URL of their own are beside it.

    Returns
    -------
    Scan
        Its layout is ``image list``. Whether the images exist is not looked at.

    Raises
    ------
    InputError
        Names the file, the line and the column.
    """
    file, path = path, url or os.fspath(path)
    rows = read_rows(file, delimiter="\t" if path.lower().endswith((".tsv", ".txt")) else ",", name=path)
    _, names = next(rows, (1, []))
    header = [name.removeprefix("Image_") for name in names]
    channels = [name.partition("_")[2] for name in header if name.startswith(("FileName_", "URL_"))]
    channels = list(dict.fromkeys(channels))
    columns = {}  # kind of metadata -> place of its column
    for kind in ("Well", "Row", "Column", "Site", "Timepoint", "ZPlane", "Plate"):
        for name in (f"Metadata_{kind}", *(f"Metadata_{kind}_{channel}" for channel in channels)):
            if name in header:
                columns.setdefault(kind, header.index(name))
    if not channels or ("Well" not in columns and not {"Row", "Column"} <= columns.keys()):
        raise InputError(
            f"{path}, line 1: found columns {', '.join(map(repr, names)) or 'none'}. Expected FileName_<Channel> "
            "with PathName_<Channel>, or URL_<Channel>, for each channel; and Metadata_Well, or Metadata_Row "
            "with Metadata_Column. Tabs stand between them in .tsv and .txt files, commas in all others."
        )

    is_folder = functools.cache(os.path.isdir)
    entries, sites, notes, empty = [], Counter(), [], 0
    for line, cells in rows:
        if len(cells) != len(header):
            raise InputError(f"{path}, line {line}: found {len(cells)} cells, expected {len(header)}.")
        row = dict(zip(header, cells, strict=True))
        texts = {kind: cells[place] for kind, place in columns.items()}

        def read(kind, convert, expected, line=line, texts=texts):
            try:
                return convert(texts[kind])
            except ValueError:
                where = f"{path}, line {line}, column {names[columns[kind]]}"
                raise InputError(f"{where}: found {texts[kind]!r}, expected {expected}.") from None

        if "Well" in texts:
            well = read("Well", normal_well, "a well such as B02")
        else:
            letters = read("Row", row_letters, "a row such as B or 2")
            texts["Column"] = letters + texts["Column"]
            well = read("Column", normal_well, "a row such as B or 2 and a column such as 2")
        timepoint, z = (
            read(kind, index_of, "a whole number from 0 to 999999999, or nothing") if texts.get(kind) else None
            for kind in ("Timepoint", "ZPlane")
        )
        of_plate = texts.get("Plate")
        sites[of_plate, well, timepoint, z] += 1
        site = sites[of_plate, well, timepoint, z]
        if "Site" in texts:
            site = read("Site", index_of, "a whole number from 0 to 999999999")
        for channel in channels:
            parent, name = row.get(f"PathName_{channel}", ""), row.get(f"FileName_{channel}")
            if name is None or (f"URL_{channel}" in row and f"PathName_{channel}" not in row):
                where = f"{path}, line {line}, column URL_{channel}"
                parent, name = os.path.split(path_of_url(row[f"URL_{channel}"], where))
            if not name:
                empty += 1
                continue
            image = os.path.join(parent.rstrip("/") if is_url(parent) else parent, name)
            beside = os.path.join(os.path.dirname(path), parent)
            # Not in the working directory, but beside the list. Nothing in a list at a URL is taken from there.
            if not is_url(image) and (not os.path.isabs(image) if url else not is_folder(parent) and is_folder(beside)):
                image = os.path.join(beside, name)
            entries.append((of_plate, Image(image, well, site, channel, timepoint, z)))
    if not entries:
        raise InputError(f"{path}: found no image. Expected a line for each field, with its channels' files.")
    if empty:
        notes.append(f"{path}: {empty} cells for an image's name are empty; such images were left out.")
    entries.sort(key=lambda entry: natural(entry[1].path))
    images = images_of_plate(entries, plate, f"{path}, column Metadata_Plate", notes)
    images, duplicates = sorted_without_duplicates(images)
    return Scan("image list", images, [], [], duplicates, notes)
