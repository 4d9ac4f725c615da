"""Find the archives of plates that the sheet names by URL, and check the folders that they were unpacked into."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from fieldwork import InputError, outputs
from fieldwork.inputs.paths import check_path, is_url, refuse_results
from fieldwork.messages.secrets import without_secrets

# A folder with this file was unpacked by Fieldwork from the archive that it describes; any other is the user's own.
# It is hidden, so that no layout sees it.
RECORD = ".download.json"


class Archive(NamedTuple):
    """An archive of the sheet, the folder for its files, its size in bytes, and its ``md5:...`` or ``sha256:...``."""

    plate: str
    url: str
    folder: str
    size: int | None = None
    checksum: str | None = None

    def __str__(self):
        return f"plate '{self.plate}': {without_secrets(self.url)}"

    @property
    def address(self) -> dict[str, str]:
        """Facts that tell the URL from others in files: without its secrets, and a digest of it if it has some."""
        shown = without_secrets(self.url)
        digest = {"url_sha256": hashlib.sha256(self.url.encode()).hexdigest()} if shown != self.url else {}
        return {"url": shown, **digest}

    def is_at(self, facts: dict) -> bool:
        """Return True if facts, from a file, are of the same URL; older files have all of it."""
        address = {name: facts[name] for name in ("url", "url_sha256") if name in facts}
        return address in (self.address, {"url": self.url})


def of_sheet(rows: Iterable[dict], *, results: str | os.PathLike) -> dict[str, Archive]:
    """Find the plates whose archive the sheet names.

    Parameters
    ----------
    rows : iterable of dict
        From `sheets.read_sheet`.
    results : path-like
        The folder of the results, into which no archive may be unpacked.

    Returns
    -------
    dict of str to Archive
        By plate.

    Raises
    ------
    InputError
        Names the sheet's line: a checksum without a URL, or a folder that cannot be one plate's own.
    """
    archives, named_in = {}, {}  # by plate; and real path of a folder -> where it is named
    for row in rows:
        where = f"{row[None]}: plate '{row['plate']}'"
        if "url" not in row:
            if alone := {"size", "checksum"} & row.keys():
                raise InputError(f"{where} has a {max(alone)}, but no url that it is of; add the url, or take it out")
            continue
        if is_url(row["images"]):
            raise InputError(
                f"{where} has a url, and images at '{row['images']}'; expected the folder that is to have them"
            )
        folder = os.path.normpath(row["images"])
        check_path(folder, where)
        refuse_results(folder, results, where=where)
        real = os.path.realpath(folder)
        if real in named_in:
            raise InputError(
                f"{where} has the folder '{folder}' of {named_in[real]}; give each archive a folder of its own"
            )
        named_in[real] = where
        size = int(row["size"]) if "size" in row else None
        checksum = row["checksum"].lower() if "checksum" in row else None
        archives[row["plate"]] = Archive(row["plate"], row["url"], folder, size, checksum)
    for real, where in named_in.items():
        for above in map(str, Path(real).parents):
            if above in named_in:
                raise InputError(
                    f"{where} has a folder in that of {named_in[above]}; give each archive a folder of its own"
                )
    return archives


def check_folder(archive: Archive) -> dict | None:
    """Check that a plate's folder was unpacked from the archive that the sheet names.

    Parameters
    ----------
    archive : Archive

    Returns
    -------
    dict or None
        `url`, without its secrets, and `url_sha256`, of all of it, where it has some; `bytes`, `sha256`, `md5`,
        `files`; None without a folder, or for one that Fieldwork did not unpack.

    Raises
    ------
    InputError
        The folder was unpacked from another archive.
    """
    facts = read_facts(Path(archive.folder, RECORD))
    if not {"url", "bytes", "sha256", "md5", "files"} <= facts.keys():
        return None
    different = difference(archive, facts)
    if not archive.checksum and not archive.is_at(facts):  # equal bytes may come from anywhere
        different = f"found {facts['url']}, expected {archive.url} (user, password and query count, too)"
    if different:
        raise InputError(
            f"plate '{archive.plate}': '{archive.folder}' was downloaded from another archive than the sheet says: "
            f"{different}. Delete that folder and run `snakemake --cores N download`, or correct the sheet"
        )
    return facts


def without_images(plates: Mapping[str, object], archives: Mapping[str, Archive]) -> Iterator[tuple[str, InputError]]:
    """Yield plates whose images are still to be downloaded, or are not what they should be, and why.

    Parameters
    ----------
    plates : mapping
        `plates.Plates`, which opens a plate when it is asked for.
    archives : mapping of str to Archive
        From `of_sheet`.
    """
    for name, archive in archives.items():
        try:
            check_folder(archive)
            plates[name]
        except InputError as error:
            yield name, error


def forget_deleted(archives: Iterable[Archive], *, results: str | os.PathLike) -> None:
    """Delete the output of downloads whose folder was deleted: Snakemake knows only the output, and makes both again.

    Parameters
    ----------
    archives : iterable of Archive
    results : path-like
        The folder of the outputs ``download.json``; the rule can write one again from the record in a folder.
    """
    for archive in archives:
        if not os.path.exists(archive.folder):
            Path(results, "plates", archive.plate, "download.json").unlink(missing_ok=True)


def difference(archive: Archive, facts: dict) -> str:
    """Describe how the size or checksum of a download differs from the sheet's; empty where they are equal."""
    if archive.size not in (None, facts["bytes"]):
        return f"found {facts['bytes']} bytes, expected {archive.size}"
    kind, _, expected = (archive.checksum or "").partition(":")
    if expected and facts[kind] != expected:
        return f"found {kind}:{facts[kind]}, expected {archive.checksum}"
    return ""


def read_facts(path: Path) -> dict:
    """Read a JSON object from a file; an empty dict without a file, or where it holds anything else."""
    try:
        values = outputs.read_json(path)
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
