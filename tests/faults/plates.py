"""Runs of plates whose fields are cases, and the judgement of every row."""

import csv
import re
import string
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml
from skimage.feature import peak_local_max
from skimage.filters import gaussian

from faults.catalogue import NOT_READ, Failed, FieldCase, Good, GoodOrFailed, Verdict
from faults.snakemake_runs import run

COLUMNS = 24
ROWS = string.ascii_uppercase[:16]
WELLS = COLUMNS * len(ROWS)
SIGMA, MIN_DISTANCE = 3, 5
THRESHOLDS = {"u16": 1000, "u8": 16, "f32": 0.02}
FIGURES = {"Mean": np.mean, "Median": np.median, "Std": np.std, "Min": np.min, "Max": np.max}


def write(folder: Path, cases: Sequence[FieldCase], *, layout: str = "") -> dict[tuple[str, str, str], FieldCase]:
    """Write cases as fields of plates, one for each type, and return plate, well and site -> case."""
    (folder / "config").mkdir(parents=True)
    places, rows = {}, ["plate\timages\tlayout\tplatemap\tsigma\tmin_distance\tthreshold"]
    for plate in dict.fromkeys(case.plate for case in cases):
        images = folder / "images" / plate
        images.mkdir(parents=True)
        named = "own" if layout else ""
        platemap = f"{plate}.csv" if (folder / f"{plate}.csv").exists() else ""
        rows.append(f"{plate}\timages/{plate}\t{named}\t{platemap}\t{SIGMA}\t{MIN_DISTANCE}\t{THRESHOLDS[plate]}")
        for number, case in enumerate(case for case in cases if case.plate == plate):
            site, well = number // WELLS + 1, well_of(number)
            case.write(images / file_name(case, number))
            places[plate, well, str(site)] = case
    (folder / "config/plates.tsv").write_text("\n".join([*rows, ""]))
    (folder / "config/config.yaml").write_text(
        yaml.safe_dump({"max_failed_fields": 1.0, "layouts": {"own": layout} if layout else {}})
    )
    return places


def well_of(number: int) -> str:
    """Return the well of the field of a number."""
    row, column = divmod(number % WELLS, COLUMNS)
    return f"{ROWS[row]}{column + 1:02}"


def file_name(case: FieldCase, number: int) -> str:
    """Return the name of the image file of a case."""
    return f"{case.prefix}_{well_of(number)}_s{number // WELLS + 1}_w1{case.suffix}"


def judge(folder: Path, places: dict[tuple[str, str, str], FieldCase]) -> Iterator[Verdict]:
    """Yield a verdict on every field of a run's plates."""
    rows = {}
    for plate in dict.fromkeys(case.plate for case in places.values()):
        for row in read_rows(folder / f"results/plates/{plate}/fields.csv"):
            rows[plate, row["Metadata_Well"], row["Metadata_Site"]] = row
    for place, case in places.items():
        yield Verdict(case.category, case.name, wrong_of(rows[place], case.must) if place in rows else "no row")


def read_rows(table: Path) -> list[dict[str, str]]:
    """Read the rows of a table; none where there is no table."""
    if not table.exists():
        return []
    with open(table, encoding="utf-8", errors="surrogateescape", newline="") as stream:
        return list(csv.DictReader(stream))


def run_fields(folder: Path, cases: Sequence[FieldCase], *, cores: int = 1) -> list[Verdict]:
    """Run cases as fields of plates, and return the verdicts."""
    places = write(folder, cases)
    ended = run(folder, "tables", cores=cores)
    return [Verdict("Runs", "plates", ended.wrong), *judge(folder, places)]


def wrong_of(row: dict[str, str], must: Good | Failed | GoodOrFailed) -> str:
    """Return what is wrong with a row; nothing where it is as it must be."""
    error = row["Image_Error"]
    if isinstance(must, Failed):
        if row["Image_Status"] != "failed":
            return f"good, mean {row['ImageQuality_MeanIntensity_DNA']}; must fail ({must.reason})"
        is_said = error.startswith("not read:") == must.reason.startswith(NOT_READ)
        return "" if is_said and re.search(must.reason, error, re.IGNORECASE) else f"reason: {error}"
    if isinstance(must, GoodOrFailed) and row["Image_Status"] == "failed":
        return "" if re.search(must.reason, error, re.IGNORECASE) else f"reason: {error}"
    if row["Image_Status"] != "ok":
        return f"failed: {error}; must be good"
    figures = {
        f"ImageQuality_{name}Intensity_DNA": float(of(must.image.astype(np.float64))) for name, of in FIGURES.items()
    }
    figures |= {"Image_Height": must.image.shape[0], "Image_Width": must.image.shape[1]}
    figures |= {"Image_Count_Nuclei": count_of(must.image)}
    wrong = [f"{name} {row[name]}, not {value:.9g}" for name, value in figures.items() if not _same(row[name], value)]
    return "; ".join(wrong)


def count_of(image: np.ndarray) -> int:
    """Count the nuclei of an image as scikit-image does."""
    threshold = {np.uint16: 1000, np.uint8: 16, np.float32: 0.02}[image.dtype.type]
    smooth = gaussian(image, SIGMA, preserve_range=True)
    return len(peak_local_max(smooth, min_distance=MIN_DISTANCE, threshold_abs=threshold))


def _same(text, value):
    return np.isclose(float(text), value, rtol=1e-5, atol=0)
