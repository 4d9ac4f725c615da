"""A whole run: one at a time in a folder, what its jobs die with, what it did in the end."""

import csv
import fcntl
import hashlib
import os
import sys
from contextlib import suppress
from pathlib import Path

from fieldwork import InputError


def own_jobs():
    """Have the jobs that this process starts die with it (fieldwork/__init__.py).

    In a cluster's job it is the Snakemake of that job: the run itself may be on another machine, or not to be seen.
    """
    os.environ["FIELDWORK_RUN"] = f"{os.getpid()}@{os.uname().nodename}"


def keep_to_plan(read, *, plans, module=None):
    """Have a cluster's jobs refuse another configuration, or other sheets, than those of the run that sent them.

    They read them again, and would write tables that the run takes for those of its own.

    Parameters
    ----------
    read : object
        What was read; its text must be the same in every process.
    plans : bool
        True of the run itself.
    module : str, optional
        Several modules of a workflow have a plan each.

    Raises
    ------
    InputError
        They were changed while the run was at work.
    """
    name, digest = f"FIELDWORK_PLAN_{module or ''}", hashlib.sha256(repr(read).encode()).hexdigest()
    if plans:
        os.environ[name] = digest
    elif os.environ.get(name, digest) != digest:
        raise InputError(
            "the configuration or a sheet was changed while the run was at work; "
            "let the run end, or stop it, and start it again"
        )


def hold_folder(path):
    """Keep a second run out of a folder for as long as this process lives.

    Snakemake's own lock outlasts a killed run and must then be lifted by hand; the kernel lifts this one.

    Parameters
    ----------
    path : path-like
        The lock file; its folder is made.

    Returns
    -------
    file object
        Keep it: the lock goes with it.

    Raises
    ------
    InputError
        Another run holds the folder.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        stream = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - it stays open on purpose
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); expected a folder that is yours") from None
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.seek(0)
        holder = stream.read().strip() or "unknown"
        raise InputError(
            f"another run (process {holder}) is at work in {Path(path).absolute().parent}; "
            "wait for it to end, or stop it"
        ) from None
    except OSError as error:
        print(f"{path}: no lock on this file system ({error}): see to it that no second run starts", file=sys.stderr)
    stream.truncate(0)
    stream.write(f"{os.getpid()}\n")
    stream.flush()
    return stream


def clear_leftovers(results):
    """Delete what jobs of a killed run were writing; to be called while `results` is held."""
    for folder in ("plates/*", "plates/*/units", "plates/*/plots", "slides/*", "stacks/*"):
        for part in Path(results).glob(f"{folder}/.*.part"):
            if not part.is_dir():  # a slide's store is gone on with; jobs clear up after stores of their own
                part.unlink(missing_ok=True)


def forget_incomplete(results, *, slides=(), stored=(), plates=(), filters=False):
    """Have stores and filtered images made again that were deleted, which Snakemake does not know of.

    The JSON file or table beside them is put aside, and put back where they are there again.

    Parameters
    ----------
    results : path-like
    slides, stored, plates : iterable of str
        Slides, plates that are made into stores, and all plates.
    filters : bool
        Images are to be filtered; where they are not, a plate's table of them is put back whatever is there.
    """
    stores = [(Path(results, "slides", name, f"{name}.ome.zarr"), "slide.json") for name in slides]
    stores += [(Path(results, "plates", name, f"{name}.ome.zarr"), f"{name}.ome.zarr.json") for name in stored]
    for store, name in stores:
        _hide_or_show(store.with_name(name), shown=lambda facts, store=store: store.exists() or _failed(facts))
    for plate in plates:
        table = Path(results, "plates", plate, "filtered", "filtered.csv")
        _hide_or_show(table, shown=lambda table: not filters or _images_are_there(table))


def _hide_or_show(path, *, shown):
    """Put a file aside where it is not to be shown to Snakemake, or back where it is."""
    aside = path.with_name(f".{path.name}.aside")
    with suppress(FileNotFoundError):  # there is none; or the job of another run, which is refused later, replaces it
        if not path.exists():
            if shown(aside):
                os.replace(aside, path)
        elif not shown(path):
            os.replace(path, aside)
        else:
            aside.unlink(missing_ok=True)


def _failed(facts):
    return '"status": "failed"' in facts.read_text(encoding="utf-8", errors="replace")


def _images_are_there(table):
    """Tell whether the filtered images are beside their table that it says were saved."""
    with table.open(encoding="utf-8", newline="") as stream:
        saved = [name for row in csv.DictReader(stream) if (name := row.get("FileName_Filtered"))]
    folder, there = table.parent, set()
    for inner in {os.path.dirname(name) for name in saved}:  # listed: asking for each takes long on a network's disk
        with suppress(OSError):
            there |= {os.path.join(inner, name) for name in os.listdir(folder / inner)}
    return there.issuperset(saved)


def fields_in(results, plate):
    """Count the fields in a plate's tables; 0 where there are none yet."""
    return len(_rows(Path(results) / "plates" / plate / "fields.csv") or [])


def summary(plates, slides, stacks, results, logs, *, downloads=()):
    """Say in a few lines what there is now: plates, slides, stacks, what failed, nuclei, where.

    Parameters
    ----------
    plates, slides, stacks : iterable of str
        Those of the sheets.
    results, logs : path-like
    downloads : iterable of str
        The folders of the plates that the sheet has a URL for.

    Returns
    -------
    str
    """
    lines, results = [], Path(results)
    if downloads := list(downloads):
        there = sum(map(os.path.exists, downloads))
        lines += [f"Downloads: the images of {there} of {len(downloads)} plates with a url are there."]
    if plates := list(plates):
        tables = [rows for plate in plates if (rows := _rows(results / "plates" / plate / "wells.csv")) is not None]
        fields, failed, nuclei = (
            sum(int(row[column] or 0) for rows in tables for row in rows)
            for column in ("Fields_Total", "Fields_Failed", "Count_Nuclei")
        )
        lines += [
            f"Plates: {len(tables)} of {len(plates)} done. Fields: {fields:,}, of which {failed:,} failed. "
            f"Nuclei: {nuclei:,}.",
            f"Tables: {results / 'plates'}/*/nuclei.parquet, fields.csv, wells.csv. Logs: {logs}/plates/.",
        ]
        filtered = [_rows(results / "plates" / plate / "filtered" / "filtered.csv") or [] for plate in plates]
        if any(filtered):
            lines += [f"Filtered images: {_count(filtered)}. Files: {results / 'plates'}/*/filtered/."]
    if slides := list(slides):
        done = sum((results / "slides" / slide / f"{slide}.ome.zarr").exists() for slide in slides)
        lines += [
            f"Slides: {done} of {len(slides)} converted"
            + (f", {len(slides) - done} failed." if done < len(slides) else "."),
            f"Stores and tables: {results / 'slides'}/*, {results / 'plates'}/*/slides.csv. Logs: {logs}/slides/.",
        ]
    if stacks := list(stacks):
        tables = [rows for stack in stacks if (rows := _rows(results / "stacks" / stack / "frames.csv")) is not None]
        counts = [row["Image_Count_Nuclei"] for rows in tables for row in rows if "Image_Count_Nuclei" in row]
        nuclei = f" Nuclei: {sum(int(count or 0) for count in counts):,}." if counts else ""  # or a function's figures
        lines += [
            f"Stacks: {len(tables)} of {len(stacks)} done. Frames: {_count(tables)}.{nuclei}",
            f"Tables and images: {results / 'stacks'}/*/. Logs: {logs}/stacks/.",
        ]
    return "\n".join(lines)


def _count(tables):
    """Say how many rows tables of images or frames have, and how many failed."""
    status = [row["Image_Status"] for rows in tables for row in rows]
    return f"{len(status):,}, of which {status.count('failed'):,} failed"


def _rows(path):
    """The rows of a CSV; None where there is none."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))
    except FileNotFoundError:
        return None
