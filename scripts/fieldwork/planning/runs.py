"""Keep runs apart: one at a time in a folder, jobs that end with it, and what it did in the end."""

import csv
import fcntl
import hashlib
import io
import json
import math
import os
import shlex
import statistics
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from fieldwork import InputError
from fieldwork.planning import provenance
from fieldwork.planning.plate_reports import FLAGS, FRAME_FLAGS, PlateReport, StackReport
from fieldwork.planning.plates import PlatePlan
from fieldwork.planning.slides import SlidePlan
from fieldwork.planning.stacks import StackPlan

LEAST_PLATES = 4  # of which one can be told to have other counts than the rest
# Below the results, where jobs write; the results themselves may be any folder of the user.
WRITTEN_FOLDERS = ("screen", "screen/plots", "plates/*", "plates/*/units", "plates/*/plots", "slides/*", "stacks/*")


def own_jobs() -> None:
    """Name this process as the run that its jobs end with (`processes.prepare`).

    In a cluster's job it is the Snakemake of that job: the run itself may be on another machine, or out of sight.
    """
    os.environ["FIELDWORK_RUN"] = f"{os.getpid()}@{os.uname().nodename}"


def keep_to_plan(inputs: object, *, plans: bool, module: str | None = None) -> None:
    """Refuse, in a cluster's job, another configuration or other sheets than those of its run.

    Jobs read them again, and would write tables that the run takes for its own.

    Parameters
    ----------
    inputs : object
        What was read; its text must be the same in every process.
    plans : bool
        True in the run itself.
    module : str, optional
        Several modules of a workflow have a plan each.

    Raises
    ------
    InputError
        The configuration or a sheet was changed while the run was at work.
    """
    name, digest = f"FIELDWORK_PLAN_{module or ''}", hashlib.sha256(repr(inputs).encode()).hexdigest()
    if plans:
        os.environ[name] = digest
    elif os.environ.get(name, digest) != digest:
        raise InputError(
            "the configuration or a sheet was changed while the run was at work; "
            "let the run end, or stop it, and start it again"
        )


def hold_folder(path: str | os.PathLike) -> TextIO:
    """Lock a folder against a second run for as long as this process lives.

    Snakemake's own lock outlasts a killed run and must be lifted by hand; the kernel lifts this one.

    Parameters
    ----------
    path : path-like
        The lock file; its folder is created.

    Returns
    -------
    file object
        Keep it: the lock ends with it.

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


def clear_leftovers(results: str | os.PathLike) -> None:
    """Delete what jobs of a killed run were writing. Call it while `results` is locked."""
    for folder in WRITTEN_FOLDERS:
        for part in Path(results).glob(f"{folder}/.*.part"):
            if not part.is_dir():  # a slide's store is resumed; jobs delete other stores themselves
                part.unlink(missing_ok=True)


def forget_incomplete(
    results: str | os.PathLike,
    *,
    slides: Iterable[str] = (),
    stored: Iterable[str] = (),
    plates: Iterable[str] = (),
    filters: bool = False,
    illuminated: Iterable[str] = (),
) -> None:
    """Hide what stands beside deleted files that Snakemake does not know, so that it runs again.

    These are stores, filtered images and illumination functions. The JSON file or table is renamed, and renamed back
    where they are back.

    Parameters
    ----------
    results : path-like
    slides, stored, plates : iterable of str
        Slides, plates that are written as stores, and all plates.
    filters : bool
        Images are to be filtered; where not, a plate's table of them is renamed back in any case.
    illuminated : iterable of str
        Plates whose illumination is corrected.
    """
    stores = [(Path(results, "slides", name, f"{name}.ome.zarr"), "slide.json") for name in slides]
    stores += [(Path(results, "plates", name, f"{name}.ome.zarr"), f"{name}.ome.zarr.json") for name in stored]
    for store, name in stores:
        _hide_or_show(store.with_name(name), shown=lambda facts, store=store: store.exists() or _failed(facts))
    for plate in plates:
        table = Path(results, "plates", plate, "filtered", "filtered.csv")
        _hide_or_show(table, shown=lambda table: not filters or _images_exist(table))
    for plate in illuminated:
        _hide_or_show(Path(results, "plates", plate, "illumination", "functions.json"), shown=_functions_exist)


def _hide_or_show(path, *, shown):
    """Rename a file that Snakemake must not see, or back one that it may see; `shown` says which."""
    aside = path.with_name(f".{path.name}.aside")
    with suppress(FileNotFoundError):  # no such file; or the job of another run, which is refused later, replaces it
        if not path.exists():
            if shown(aside):
                os.replace(aside, path)
        elif not shown(path):
            os.replace(path, aside)
        else:
            aside.unlink(missing_ok=True)


def _failed(facts):
    return '"status": "failed"' in facts.read_text(encoding="utf-8", errors="replace")


def _images_exist(table):
    """Return True if all filtered images that a table says were saved are beside it."""
    with table.open(encoding="utf-8", newline="") as stream:
        saved = [name for row in csv.DictReader(stream) if (name := row.get("FileName_Filtered"))]
    folder, present = table.parent, set()
    for inner in {os.path.dirname(name) for name in saved}:  # a network's disk lists faster than it looks up each
        with suppress(OSError):
            present |= {os.path.join(inner, name) for name in os.listdir(folder / inner)}
    return present.issuperset(saved)


def _functions_exist(record):
    """Return True if all illumination functions that a record names are beside it."""
    try:
        files = [values["file"] for values in json.loads(record.read_bytes())["channels"].values()]
    except (ValueError, KeyError, AttributeError, TypeError):  # it is damaged
        return False
    return all((record.parent / name).is_file() for name in files if name)


def page_facts(plates: PlatePlan, slides: SlidePlan, stacks: StackPlan) -> dict:
    """Return what the page that sums up a run is told of its plan.

    Parameters
    ----------
    plates : PlatePlan
    slides : SlidePlan
    stacks : StackPlan

    Returns
    -------
    dict
        ``detections`` and ``stacks``: plate or stack -> how nuclei are found there, None where none are looked for;
        ``versions``: library -> version of what computed the tables, and ``code``, a digest of Fieldwork's modules.
    """
    scripts = ["detect_nuclei", "profile_wells", "screen_plates"] if plates.ready else []
    scripts += ["convert_slide", "detect_slide_nuclei"] if slides.rows else []
    scripts += ["measure_frames"] if stacks.rows else []
    code = provenance.code_behind(scripts)
    return {
        "detections": {name: plates.detections[name] for name in plates.ready},
        "stacks": dict.fromkeys(stacks.rows, stacks.frame_work.get("detection")),
        "versions": {**code["libraries"], "code": code["digest"]},
    }


def summary(
    plates: Iterable[str],
    slides: Iterable[str],
    stacks: Iterable[str],
    results: str | os.PathLike,
    logs: str | os.PathLike,
    *,
    downloads: Iterable[str] = (),
    reports: Iterable[PlateReport] = (),
    stack_reports: Iterable[StackReport] = (),
    preview: bool = False,
) -> str:
    """Return a few lines on what exists now: plates, slides, stacks, failures, nuclei, and where.

    Parameters
    ----------
    plates, slides, stacks : iterable of str
        Names in the sheets.
    results, logs : path-like
    downloads : iterable of str
        Folders of the plates that the sheet has a URL for.
    reports : iterable of PlateReport
        Of the plates.
    stack_reports : iterable of StackReport
    preview : bool
        The run was to show what is found in a sample of each plate and stack, and nothing else is said.

    Returns
    -------
    str
    """
    lines, results, reports, stack_reports = [], Path(results), list(reports), list(stack_reports)
    tables_of = {}
    if downloads := list(downloads):
        downloaded = sum(map(os.path.exists, downloads))
        lines += [f"Downloads: the images of {downloaded} of {len(downloads)} plates with a url are there."]
    if preview:  # no table is new
        plates, slides, stacks = [], [], []
    if plates := list(plates):
        tables_of = {plate: _rows(results / "plates" / plate / "wells.csv") for plate in plates}
        tables_of = {plate: rows for plate, rows in tables_of.items() if rows is not None}
        lines += _plate_lines(results, logs, plates, tables_of, reports)
    if slides := list(slides):
        status = Counter(slide_status(results, slide) for slide in slides)
        rest = {"failed": status["failed"], "not yet done": status[None]}
        rest["with a damaged slide.json (delete it, and run the same command again)"] = status["damaged"]
        lines += [
            f"Slides: {status['ok']} of {len(slides)} converted"
            + "".join(f", {count} {word}" for word, count in rest.items() if count)
            + ".",
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
        lines += _doubtful_frames(tables)
    if preview:
        lines += [line for report in (*reports, *stack_reports) if (line := report.preview())]
    doubts = [doubt for report in (*reports, *stack_reports) for doubt in report.warnings(preview=preview)]
    lines += [f"WARNING {doubt}" for doubt in doubts]
    return "\n".join([*lines, *_next_lines(results, tables_of, reports)])


def _plate_lines(results, logs, plates, tables_of, reports):
    """Return what exists of plates, by the tables of the wells of those that are done."""
    tables = list(tables_of.values())
    fields, failed, nuclei = (
        sum(int(row[column] or 0) for rows in tables for row in rows)
        for column in ("Fields_Total", "Fields_Failed", "Count_Nuclei")
    )
    lines = [
        f"Plates: {len(tables)} of {len(plates)} done. Fields: {fields:,}, of which {failed:,} failed. "
        f"Nuclei: {nuclei:,}.",
        f"Tables: {results / 'plates'}/*/nuclei.parquet, fields.csv, wells.csv. Logs: {logs}/plates/.",
    ]
    lines += _screen_lines(results, tables)
    if flagged := sum((Counter(report.flagged) for report in reports), Counter()):
        lines += [
            "Fields with a doubtful count: "
            + ", ".join(f"{flagged[key]:,} {FLAGS[key]}" for key in FLAGS if flagged[key])
        ]
    filtered = [_rows(results / "plates" / plate / "filtered" / "filtered.csv") or [] for plate in plates]
    if any(filtered):
        lines += [f"Filtered images: {_count(filtered)}. Files: {results / 'plates'}/*/filtered/."]
    return lines


def _next_lines(results, tables_of, reports):
    """Return what to open next: the odd plate, the page, the viewer; an empty list where there are no results."""
    if not any(results.glob("*/*/*.csv")):
        return []
    odd, page = _odd_plate(tables_of, reports), results / "summary.html"
    lines = [f"Look first at plate {odd}."] * bool(odd)
    if page.exists():
        lines += [
            f"Open next: {page}, what came out in words and pictures; the same command with --report "
            f"{results / 'report.html'} puts all pictures on one page."
        ]
    return [*lines, f"To see images with their nuclei, and to tune: {_viewer_command(results)}"]


def _viewer_command(results):
    """Return the command that shows results in the browser, as it is typed in the working directory."""
    clone, folder = Path(__file__).resolve().parents[3], Path.cwd()
    if clone == folder and clone / ".venv" in Path(sys.executable).parents and results == Path("results"):
        return "make view"
    command = [sys.executable, str(clone / "scripts" / "view.py"), "--directory", str(folder)]
    return shlex.join(command + ["--results", str(folder / results)] * (results != Path("results")))


def _odd_plate(tables_of, reports):
    """Return which of several plates is to be looked at first, and why; None where no plate stands out.

    That is the one with the largest share of failed and doubtful fields. Where no field of any plate is so, and there
    are four plates or more, it is the one whose fields have less than half, or more than twice, as many nuclei as those
    of the plate in the middle.
    """
    if len(tables_of) < 2:
        return None
    shares, means = {}, {}
    for report in [report for report in reports if report.plate in tables_of]:
        rows = tables_of[report.plate]
        fields, failed, nuclei = (
            sum(int(row[column] or 0) for row in rows) for column in ("Fields_Total", "Fields_Failed", "Count_Nuclei")
        )
        counts = {"failed": failed, **{what: report.flagged.get(key, 0) for key, what in FLAGS.items()}}
        named = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        shares[report.plate] = (sum(counts.values()) / max(fields, 1), f"{named} of {fields:,} fields")
        if fields > failed:
            means[report.plate] = nuclei / (fields - failed)
    worst = max(shares, key=lambda plate: shares[plate][0], default=None)
    if worst and shares[worst][0]:
        return f"{worst}: {shares[worst][1]}"
    middle = statistics.median(means.values()) if len(means) >= LEAST_PLATES else 0
    far = [plate for plate, mean in means.items() if not middle / 2 <= mean <= middle * 2]
    if not middle or not far:
        return None
    worst = max(far, key=lambda plate: abs(math.log((means[plate] + 1) / (middle + 1))))
    return f"{worst}: {means[worst]:.3g} nuclei a field, and {middle:.3g} in the plate in the middle"


def slide_status(results: str | os.PathLike, slide: str) -> str | None:
    """Return ``ok`` or ``failed``, as a slide's ``slide.json`` says, or ``damaged``; None where none exists."""
    try:
        status = json.loads(Path(results, "slides", slide, "slide.json").read_bytes())["status"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "damaged"
    return status if status in ("ok", "failed") else "damaged"


def no_slide(slides: Iterable[str], results: str | os.PathLike) -> str:
    """Return one line on a sheet all of whose slides failed; an empty text where one was converted, or is to be done.

    Parameters
    ----------
    slides : iterable of str
        Names in the sheet.
    results : path-like
    """
    slides = list(slides)
    if not slides or any(slide_status(results, slide) != "failed" for slide in slides):
        return ""
    return (
        f"no slide of the sheet was converted: all {len(slides)} failed; the reasons are in the column Slide_Error of "
        f"{Path(results, 'plates')}/*/slides.csv"
    )


def _doubtful_frames(tables):
    """Return a line on the frames whose count is doubtful, in a list; an empty one where there are none."""
    flagged = Counter(
        flag for rows in tables for row in rows for column, flag in FRAME_FLAGS.items() if row.get(column) == "True"
    )
    doubtful = ", ".join(f"{flagged[flag]:,} {flag}" for flag in FRAME_FLAGS.values() if flagged[flag])
    return [f"Frames with a doubtful count: {doubtful}"] if doubtful else []


def _count(tables):
    """Return in words how many rows tables of images or frames have, and how many failed."""
    status = [row["Image_Status"] for rows in tables for row in rows]
    return f"{len(status):,}, of which {status.count('failed'):,} failed"


def _screen_lines(results, wells):
    """Return how many wells of some tables are left out of comparisons, and what the comparison of plates found."""
    excluded = sum(row.get("Excluded") == "True" for rows in wells for row in rows)
    lines = [f"Wells left out of comparisons (Excluded): {excluded:,} of {sum(map(len, wells)):,}."] * bool(excluded)
    folder = results / "screen"
    if hits := _rows(folder / "hits.csv"):
        number = sum(row["Hit"] == "True" for row in hits)
        with_ec50 = sum(bool(row["EC50"]) for row in _rows(folder / "doses.csv") or [])
        lines += [
            f"Screen: {number:,} hits in {len(hits):,} treatments, doses and readouts, {with_ec50:,} EC50s. "
            f"Tables: {folder}/hits.csv, doses.csv, replicates.csv, plates.csv, wells.csv."
        ]
    return lines


def _rows(path):
    """Return the rows of a CSV file; None where none exists, or a damaged one, which stderr names."""
    with suppress(FileNotFoundError):
        table = path.read_bytes()
        if table.endswith(b"\n") and b"\0" not in table:
            return list(csv.DictReader(io.StringIO(table.decode("utf-8", "replace"), newline="")))
        print(f"WARNING {path} is damaged; delete it, and run the same command again", file=sys.stderr)
    return None
