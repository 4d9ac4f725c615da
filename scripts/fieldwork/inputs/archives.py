"""The archives of plates that the sheet names by URL, and the folders that they were unpacked into."""

import os
from pathlib import Path
from typing import NamedTuple

from fieldwork import InputError, outputs
from fieldwork.inputs.paths import check_path, is_url, refuse_results

# In every folder that was made here: what it was made of. Another folder is the user's own. Hidden: no layout sees it.
RECORD = ".download.json"


class Archive(NamedTuple):
    """An archive of the sheet, the folder it becomes, its size in bytes, and its ``md5:...`` or ``sha256:...``."""

    plate: str
    url: str
    folder: str
    size: int | None = None
    checksum: str | None = None

    def __str__(self):
        return f"plate '{self.plate}': {self.url}"


def of_sheet(rows, *, results):
    """Find the plates whose archive the sheet names.

    Parameters
    ----------
    rows : list of dict
        From `sheets.read_sheet`.
    results : path-like
        The folder of the results, into which nothing is unpacked.

    Returns
    -------
    dict of str to Archive
        By plate.

    Raises
    ------
    InputError
        Names the sheet's line: a checksum without a URL, or a folder that cannot be one plate's own.
    """
    found, places = {}, {}
    for row in rows:
        place = f"{row[None]}: plate '{row['plate']}'"
        if "url" not in row:
            if alone := {"size", "checksum"} & row.keys():
                raise InputError(f"{place} has a {max(alone)}, but no url that it is of; add the url, or take it out")
            continue
        if is_url(row["images"]):
            raise InputError(
                f"{place} has a url, and images at '{row['images']}'; expected the folder that is to have them"
            )
        folder = os.path.normpath(row["images"])
        check_path(folder, place)
        refuse_results(folder, results, place=place)
        real = os.path.realpath(folder)
        if real in places:
            raise InputError(
                f"{place} has the folder '{folder}' of {places[real]}; give each archive a folder of its own"
            )
        places[real] = place
        size = int(row["size"]) if "size" in row else None
        checksum = row["checksum"].lower() if "checksum" in row else None
        found[row["plate"]] = Archive(row["plate"], row["url"], folder, size, checksum)
    for real, place in places.items():
        for above in map(str, Path(real).parents):
            if above in places:
                raise InputError(
                    f"{place} has a folder in that of {places[above]}; give each archive a folder of its own"
                )
    return found


def check_folder(archive):
    """Read what a plate's folder was made of, and check that it is what the sheet says.

    Parameters
    ----------
    archive : Archive

    Returns
    -------
    dict or None
        `url`, `bytes`, `sha256`, `md5`, `files`; None where there is no folder, or one that was not made here.

    Raises
    ------
    InputError
        The folder was made of another archive.
    """
    facts = read_json(Path(archive.folder, RECORD))
    if not {"url", "bytes", "sha256", "md5", "files"} <= facts.keys():
        return None
    different = difference(archive, facts)
    if not archive.checksum and facts["url"] != archive.url:  # equal bytes may come from anywhere
        different = f"found {facts['url']}, expected {archive.url}"
    if different:
        raise InputError(
            f"plate '{archive.plate}': '{archive.folder}' was downloaded from another archive than the sheet says: "
            f"{different}. Delete that folder and run `snakemake --cores N download`, or correct the sheet"
        )
    return facts


def forget_deleted(archives, *, results):
    """Have folders downloaded again that were deleted, which Snakemake does not know of.

    Parameters
    ----------
    archives : iterable of Archive
    results : path-like
        Where Snakemake looks for ``download.json``; the rule can write it again, from what is noted in a folder.
    """
    for archive in archives:
        if not os.path.exists(archive.folder):
            Path(results, "plates", archive.plate, "download.json").unlink(missing_ok=True)


def difference(archive, facts):
    """Say what of an archive is not as the sheet says; empty where all is."""
    if archive.size not in (None, facts["bytes"]):
        return f"found {facts['bytes']} bytes, expected {archive.size}"
    kind, _, expected = (archive.checksum or "").partition(":")
    if expected and facts[kind] != expected:
        return f"found {kind}:{facts[kind]}, expected {archive.checksum}"
    return ""


def read_json(path):
    """A dict; an empty one where there is no such file, or nonsense in it."""
    try:
        values = outputs.read_json(path)
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
