"""The run of a plate whose files have odd names, and whose platemap has odd values."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from faults import plates
from faults.catalogue import FieldCase, ValueCase, Verdict
from faults.snakemake_runs import run

COLUMN = "drug"
LAYOUT = r"(?s)^.*_(?P<well>[A-P]\d\d)_s(?P<site>\d+)_(?P<channel>w\d)\.tif$"  # whatever comes before


def run_names(folder: Path, cases: Sequence[FieldCase | ValueCase]) -> Iterator[Verdict]:
    """Run cases, and yield a verdict on each."""
    files = [case for case in cases if isinstance(case, FieldCase)]
    values = [case for case in cases if isinstance(case, ValueCase)]
    [plate] = {case.plate for case in files}
    folder.mkdir(parents=True)
    with open(folder / f"{plate}.csv", "w", encoding="utf-8", newline="") as stream:
        rows = [[plates.well_of(number), case.must.value] for number, case in enumerate(values)]
        csv.writer(stream).writerows([["well", COLUMN], *rows])
    places = plates.write(folder, files, layout=LAYOUT)
    ended = run(folder, "tables")
    yield Verdict("Runs", "a plate of odd names", ended.wrong)
    yield from plates.judge(folder, places)
    listed = plates.read_rows(folder / f"results/plates/{plate}/fields.csv")
    names = {row["Metadata_Well"]: row["FileName_DNA"] for row in listed}
    for number, case in enumerate(files):
        name = plates.file_name(case, number)
        wrong = (
            "" if names.get(plates.well_of(number)) == name else f"{names.get(plates.well_of(number))!r}, not {name!r}"
        )
        if name.isprintable():
            yield Verdict("Names of files in tables", case.name, wrong)
    wells = plates.read_rows(folder / f"results/plates/{plate}/wells.csv")
    seen = {row["Metadata_Well"]: row[f"Metadata_{COLUMN}"] for row in wells}
    for number, case in enumerate(values):
        value = seen.get(plates.well_of(number))
        wrong = (
            ""
            if value is not None and _plain(value) == _plain(case.must.value)
            else f"{value!r}, not {case.must.value!r}"
        )
        yield Verdict(case.category, case.name, wrong)


def _plain(value):
    """Return a value in which a line break, of any kind, is a blank."""
    return " ".join(value.splitlines())
