"""The lists of the page: the plates, slides and stacks of a folder of results, and their tables, as JSON."""

import logging
import os
import re

from fieldwork import InputError, outputs
from fieldwork.doses import read_dose, unit_of_column
from fieldwork.inputs.paths import is_url
from fieldwork.viewer import fields
from fieldwork.viewer.results import NotFound, Results, inside, inside_or_none, read_rows
from fieldwork.viewer.slides import facts_of
from fieldwork.wells import plate_format

log = logging.getLogger(__name__)

SUMMARY, REPORT = "summary.html", "report.html"
TABLES = ("wells.csv", "fields.csv", "nuclei.parquet", "profiles.csv", "timepoints.csv", "slides.csv", "settings.json")


def contents(results: Results) -> dict:
    """List the plates, slides and stacks of the results.

    Parameters
    ----------
    results : Results

    Returns
    -------
    dict
        'folder', and the lists 'plates' (name, wells, nuclei, fields, failed), 'slides' (name, status: ok, failed or
        damaged) and 'stacks' (name), sorted by name; 'screen' is `screen`.
    """
    return {
        "folder": str(results.folder.resolve()),
        "plates": [_plate_summary(results, name) for name in _names(results, "plates", "wells.csv")],
        "slides": [
            {"name": name, "status": _slide_status(results, name)} for name in _names(results, "slides", "slide.json")
        ],
        "stacks": [{"name": name} for name in _names(results, "stacks", "frames.csv")],
        "screen": screen(results),
    }


def screen(results: Results) -> dict:
    """List what compares the plates.

    Parameters
    ----------
    results : Results

    Returns
    -------
    dict
        'summary' and 'report', the names of the pages or None, and the names of 'tables' and 'pictures'.
    """
    names = {kind: [] for kind in ("csv", "png")}
    for kind, *folder in (("csv", "screen"), ("png", "screen", "plots")):
        if path := inside_or_none(results, *folder):
            names[kind] = sorted(entry.name for entry in path.glob(f"*.{kind}"))
    pages = {kind: name if inside_or_none(results, name) else None for kind, name in _PAGES.items()}
    return {**pages, "tables": names["csv"], "pictures": names["png"]}


_PAGES = {"summary": SUMMARY, "report": REPORT}


def _names(results, kind, table):
    """List the names of the plates, slides or stacks whose table exists, in alphabetical order."""
    folder = results.folder / kind
    entries = os.listdir(folder) if folder.is_dir() else []
    names = sorted(entries, key=lambda name: (name.casefold(), name))
    return [name for name in names if inside_or_none(results, kind, name, table)]


def _slide_status(results, slide):
    """Return the status of a slide; one unreadable slide.json must not hide the rest of the list."""
    try:
        status = facts_of(results, slide)["status"]
    except (InputError, OSError, KeyError):
        status = None
    return status if status in ("ok", "failed") else "damaged"


def _plate_summary(results, plate):
    """Return the name and the counts of a plate; counts of 0 if its table cannot be read."""
    try:
        return _counts_of(results, plate)
    except Exception:  # one unreadable table must not hide the rest of the list
        log.exception("plate %s", plate)
        return {"name": plate, "wells": 0, "nuclei": 0, "fields": 0, "failed": 0}


def _counts_of(results, plate):
    wells = read_rows(inside(results, "plates", plate, "wells.csv"))
    total = {name: sum(int(row[name] or 0) for row in wells) for name in ("Count_Nuclei", "Fields_Total")}
    failed = sum(int(row["Fields_Failed"]) for row in wells)
    return {
        "name": plate,
        "wells": len(wells),
        "nuclei": total["Count_Nuclei"],
        "fields": total["Fields_Total"],
        "failed": failed,
    }


def plate(results: Results, name: str) -> dict:
    """Return what the page of a plate shows.

    Parameters
    ----------
    results : Results
    name : str

    Returns
    -------
    dict
        'wells', the rows of wells.csv, column -> text; 'format', the plate's rows and columns; 'treatments', for each
        well what its platemap says, column -> text with its unit; 'thumbnails', for each well the row in fields.csv of
        its first good field on disk; 'channels' from `fields.channels`; 'nuclei', the settings with which they were
        found, and 'typical', the diameter and the contrast of a nucleus in the calibration, and the background;
        'tables' and 'pictures', names of files, the latter as lists of folders and file; 'pages' as of `screen`.
    """
    wells = read_rows(inside(results, "plates", name, "wells.csv"))
    thumbnails = {}
    for number, row in enumerate(fields.rows(results, name)):
        if row["Image_Status"] == "ok" and not is_url(row["PathName_DNA"]):
            thumbnails.setdefault(row["Metadata_Well"], number)
    folder = inside(results, "plates", name)
    pictures = sorted([path.relative_to(folder).parts for path in [*folder.glob("*.png"), *folder.glob("plots/*.png")]])
    return {
        "wells": wells,
        "format": plate_format(row["Metadata_Well"] for row in wells),
        "treatments": {row["Metadata_Well"]: treatment_of(row) for row in wells},
        "thumbnails": thumbnails,
        "channels": fields.channels(results, name),
        "nuclei": fields.settings(results, name).get("nuclei", {}),
        "typical": _typical(results, name),
        "tables": [table for table in TABLES if (folder / table).is_file()],
        "pictures": pictures,
        "pages": {kind: page if inside_or_none(results, page) else None for kind, page in _PAGES.items()},
    }


def _typical(results, plate):
    """Return diameter and contrast of a typical nucleus of a plate, and its background; None where not known."""
    path = inside_or_none(results, "plates", plate, "calibration.json")
    record = outputs.read_json(path) if path else {}
    return {name: record.get(name) for name in ("diameter", "contrast", "background")}


def treatment_of(row: dict[str, str]) -> dict[str, str]:
    """Return what the platemap says of a well: column -> text; a dose has the unit that its column's name ends in."""
    columns = [name for name in row if name.startswith("Metadata_") and name not in ("Metadata_Plate", "Metadata_Well")]
    shown = {}
    for column in columns:
        text, name = row[column], column.removeprefix("Metadata_")
        if not text:
            continue
        dose, unit = read_dose(text), unit_of_column(column)
        if dose is not None and not dose.unit and unit:
            name = re.match("(?i)(concentration|conc|dose)s?|", name)[0] or name
            text = f"{text} {re.sub('^u', 'µ', unit)}"
        shown[name] = text
    return shown


def well(results: Results, plate: str, name: str) -> dict:
    """List the fields of a well.

    Parameters
    ----------
    results : Results
    plate, name : str

    Returns
    -------
    dict
        Under 'fields', the well's rows of fields.csv, column -> text, with the number of the row, from 0, under
        'field'.
    """
    rows = [
        {"field": number, **row}
        for number, row in enumerate(fields.rows(results, plate))
        if row["Metadata_Well"] == name
    ]
    if not rows:
        raise NotFound(f"plate {plate} has no field in well {name}")
    return {"fields": rows}
