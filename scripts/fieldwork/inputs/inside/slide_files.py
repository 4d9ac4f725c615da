"""Find the files of a slide that consists of several: MIRAX, Hamamatsu's VMS and VMU, DICOM, sets of OME-TIFF files."""

import configparser
import contextlib
import os
import struct
from collections.abc import Callable
from pathlib import Path

from fieldwork.inputs.inside import headers, ome

DICOM_MARK, DICOM_MARK_BYTE = b"DICM", 128


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
        DICOM all DICOM files of the folder: headers alone say which belong together, and readers open all of them.
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
    with open(path, "rb") as file:
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
    files = []
    for entry in os.scandir(os.path.dirname(path) or "."):
        # A file that cannot be read is none of the slide's: no reader can read it.
        if entry.is_file() and not entry.name.startswith("."):
            with contextlib.suppress(OSError), open(entry.path, "rb") as file:
                file.seek(DICOM_MARK_BYTE)
                if file.read(len(DICOM_MARK)) == DICOM_MARK:
                    files.append(os.path.join(os.path.dirname(path), entry.name))
    return files


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
