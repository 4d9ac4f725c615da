"""Write in words what came out of a run: a page of HTML, with which the report begins.

Inputs: the tables and pictures of results/screen, settings.json of every plate, slides.csv of every batch, frames.csv
of every stack; without a plate, pictures of the first slides or stacks. Output: summary.html. Warnings are those of
calibrations and of plates, and those in the logs of the jobs that compare wells.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import json
import re
from pathlib import Path

import pandas as pd

from fieldwork import outputs
from fieldwork.job_log import logged
from fieldwork.planning.plate_reports import PlateReport, StackReport
from fieldwork.screen import page, summary
from fieldwork.screen.tables import read_table

WARNING = re.compile(r"\S+ \S+ WARNING (.*)")  # a line of a job's log
TABLES = ("plates", "hits", "replicates", "doses")
PICTURES = {
    "plates": "All plates, well by well",
    "hits": "Treatments by their effect",
    "doses": "Dose-response of the strongest treatments",
}

OVERVIEWS = {"overview.png": "Tissue and density of nuclei in slide", "frames.png": "Frames of stack"}


def main(*, results, logs, detections, batches, stacks, overviews, settings, versions, path):
    folder = Path(results, "screen")
    screen = None
    if detections:
        screen = summary.Screen(
            pd.read_parquet(folder / "wells.parquet"), *(read_table(folder / f"{name}.csv") for name in TABLES)
        )
    slides = [pd.read_csv(path, dtype=str, keep_default_na=False) for path in batches]
    slides = pd.concat(slides, ignore_index=True) if slides else None
    frames = {name: pd.read_csv(Path(results, "stacks", name, "frames.csv")) for name in stacks}
    sections = summary.sections_of(
        screen, slides, frames, list(warnings_of(results, Path(logs), detections, slides, stacks))
    )
    pictures = {title: folder / "plots" / f"{name}.png" for name, title in PICTURES.items()} if detections else {}
    for overview in map(Path, overviews):
        pictures[f"{OVERVIEWS[overview.name]} {overview.parent.name}"] = overview
    plates = {
        name: json.loads(Path(results, "plates", name, "settings.json").read_text(encoding="utf-8"))
        for name in detections
    }
    text = page.page_of(sections, pictures=pictures, settings=settings, plates=plates, versions=versions)
    with outputs.atomic_file(path) as part:
        part.write_text(text, encoding="utf-8")


def warnings_of(results, logs, detections, slides, stacks):
    """Yield what is doubtful about a run, and what was decided."""
    of_jobs = [logs / "screen" / "screen_plates.log"] if detections else []
    of_jobs += [logs / "plates" / name / "profile_wells.log" for name in detections]
    for log in of_jobs:
        if log.exists():
            for line in log.read_text(encoding="utf-8").splitlines():
                if warning := WARNING.fullmatch(line):
                    yield warning[1]
        else:
            yield f"{log} is not there, so that its warnings are not known"
    for name, detection in detections.items():
        yield from PlateReport(results, name, detection).warnings()
    for row in slides.itertuples() if slides is not None else ():
        if row.Slide_Warnings:
            yield f"slide {row.Metadata_Slide}: {row.Slide_Warnings}"
    for name, detection in stacks.items():
        yield from StackReport(results, name, detection).warnings()


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            results=str(Path(snakemake.output[0]).parent),
            logs=snakemake.params.logs,
            batches=snakemake.input.slides,
            overviews=snakemake.input.overviews,
            settings=snakemake.params.settings,
            **snakemake.params.plan,
            path=snakemake.output[0],
        )
