"""Find the files of a slide that consists of several: MIRAX, Hamamatsu's VMS and VMU, DICOM, sets of OME-TIFF files."""

import configparser
import contextlib
import functools
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path

from fieldwork.inputs.inside import headers, ome
from fieldwork.inputs.paths import open_file

DICOM_MARK, DICOM_MARK_BYTE = b"DICM", 128
DICOM_HEADER_BYTES = 2**16  # of the elements before the pictures
DICOM_SERIES = (0x0020, 0x000E)  # Series Instance UID, by which readers tell which files are a slide
DICOM_LONG_TYPES = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
DICOM_UNDEFINED = 0xFFFFFFFF  # a length


def files_of(path: str | os.PathLike) -> list[str]:
    """List the files of a slide, the one that the sheet names first, the others by name.

    Parameters
    ----------
    path : path-like
        Of the slide. A file that is absent, or of one file, is alone.

    Returns
    -------
    list of str
        Files that exist, and those that the slide's own files name. Of a MIRAX slide all files of its folder; of
        DICOM the files of the folder that state the same series, or of which the header does not tell.
    """
    path = os.fspath(path)
    suffix = os.path.splitext(path)[1].lower()
    try:
        return [path, *sorted({*_finder_of(path, suffix)(path)} - {path})]
    except (OSError, ValueError, struct.error, configparser.Error):
        return [path]  # the conversion says what is wrong with it


def missing_files(path: str | os.PathLike) -> list[str]:
    """List the files of a slide that do not exist, those that its other files name."""
    path = os.fspath(path)
    if path.lower().endswith(".mrxs"):
        folder = os.path.splitext(path)[0]
        needed = [folder, os.path.join(folder, "Slidedat.ini"), *_mirax_files(folder)]
    elif path.lower().endswith((".vms", ".vmu")):
        needed = [file for file in files_of(path) if not file.lower().endswith(".opt")]  # readers do without
    else:
        return []  # of a set of OME-TIFF files, only those that hold the slide's own planes are needed
    return [file for file in needed if not os.path.exists(file)][:5]


def _finder_of(path, suffix) -> Callable:
    if suffix == ".mrxs":
        return _beside_mirax
    if suffix in (".vms", ".vmu"):
        return _named_by_hamamatsu
    with open_file(path) as file:
        head = file.read(DICOM_MARK_BYTE + len(DICOM_MARK))
    if head[DICOM_MARK_BYTE:] == DICOM_MARK:
        return _dicom_files
    return files_of_set if head[:2] in (b"II", b"MM") else lambda path: []


def _beside_mirax(path):
    folder = os.path.splitext(path)[0]
    return [entry.path for entry in os.scandir(folder) if entry.is_file()] + _mirax_files(folder)


def _mirax_files(folder):
    """Return the data files that the Slidedat.ini of a MIRAX slide names."""
    names = configparser.ConfigParser(strict=False, interpolation=None)
    try:
        names.read_string(Path(folder, "Slidedat.ini").read_text(encoding="utf-8-sig", errors="replace"))
    except (OSError, configparser.Error):
        return []
    stated = [names.get("HIERARCHICAL", "INDEXFILE", fallback="")]
    stated += [name for key, name in names.items("DATAFILE")] if names.has_section("DATAFILE") else []
    return [os.path.join(folder, name) for name in stated if name.lower().endswith(".dat")]


def _named_by_hamamatsu(path):
    """Return the files that a VMS or VMU file names: images, macro, map, optimisation."""
    names = configparser.ConfigParser(strict=False, interpolation=None)
    names.read_string(Path(path).read_text(encoding="utf-8-sig", errors="replace"))
    return [
        os.path.join(os.path.dirname(path), name)
        for section in names.sections()
        for key, name in names.items(section)
        if name and (key.startswith(("imagefile", "mapfile", "macroimage")) or key == "optimisationfile")
    ]


def _dicom_files(path):
    """Return the DICOM files of the folder but for those of which the headers state another series."""
    series = _series_of(path, os.stat(path).st_mtime_ns)
    files = []
    for entry in os.scandir(os.path.dirname(path) or "."):
        # A file that cannot be read is none of the slide's: no reader can read it.
        with contextlib.suppress(OSError):
            if entry.is_file() and not entry.name.startswith("."):
                other = _series_of(entry.path, entry.stat().st_mtime_ns)
                if other is not None and (other == series or not (other and series)):
                    files.append(os.path.join(os.path.dirname(path), entry.name))
    return files


@functools.cache  # every slide of a folder asks for all files
def _series_of(path, stamp):
    """Return the series of a DICOM file, empty where its header does not tell; None of any other file."""
    with open_file(path) as file:
        head = file.read(DICOM_MARK_BYTE + len(DICOM_MARK))
        if head[DICOM_MARK_BYTE:] != DICOM_MARK:
            return None
        head = file.read(DICOM_HEADER_BYTES)
    start = 0
    while start + 12 <= len(head):  # an element: group, number, type, length, value; groups ascend
        group, number, kind, length = struct.unpack_from("<HH2sH", head, start)
        start += 8
        if (group, number) == DICOM_SERIES:
            return head[start : start + length].rstrip(b"\0 ")
        if group > DICOM_SERIES[0] or not kind.isalpha():
            break
        if kind in DICOM_LONG_TYPES:
            (length,) = struct.unpack_from("<I", head, start)
            start += 4
        start = _end_of_sequence(head, start) if length == DICOM_UNDEFINED else start + length
    return b""


def _end_of_sequence(head, start):
    """Return where a sequence of undefined length ends, which may hold others; the end of what was read otherwise."""
    depth = 1
    for mark in re.finditer(rb"SQ\0\0\xff{4}|\xfe\xff\xdd\xe0\0{4}", head[start:]):
        depth += 1 if mark[0].startswith(b"SQ") else -1
        if not depth:
            return start + mark.end()
    return len(head)


def files_of_set(path: str | os.PathLike) -> list[str]:
    """List an OME-TIFF file, and those that its metadata, or their companion file, name.

    Parameters
    ----------
    path : path-like
        A TIFF file.

    Raises
    ------
    OSError, ValueError, struct.error
        The file cannot be read, or is no TIFF.
    """
    path = os.fspath(path)
    description = headers.tiff_header(path).description
    if not description.rstrip().endswith(b"OME>"):
        return [path]
    folder = os.path.dirname(path)
    text = description.decode("utf-8", "replace")
    files = [os.path.join(folder, name) for name in ome.files_named(text)]
    if companion := ome.companion_of(text, path):
        text = Path(companion).read_text(encoding="utf-8", errors="replace")
        files = [companion, *(os.path.join(folder, name) for name in ome.files_named(text))]
    others = [file for file in dict.fromkeys(files) if file.casefold() != path.casefold()]
    # A file of its own under another name: its metadata name the old one.
    alone = len(files) == len(others) == 1 and not os.path.exists(others[0])
    return [path, *([] if alone else others)]
