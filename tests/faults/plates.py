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

from faults.catalogue import Failed, FieldCase, Good, Verdict
from faults.snakemake_runs import run

COLUMNS = 24
ROWS = string.ascii_uppercase[:16]
SIGMA, MIN_DISTANCE = 3, 5
THRESHOLDS = {"u16": 1000, "u8": 16, "f32": 0.02}
FIGURES = {"Mean": np.mean, "Median": np.median, "Std": np.std, "Min": np.min, "Max": np.max}


def write(folder: Path, cases: Sequence[FieldCase]) -> dict[str, FieldCase]:
    """Write cases as fields of plates, one for each type, and return file name -> case."""
    (folder / "config").mkdir(parents=True)
    files, rows = {}, ["plate\timages\tsigma\tmin_distance\tthreshold"]
    for plate in dict.fromkeys(case.plate for case in cases):
        images = folder / "images" / plate
        images.mkdir(parents=True)
        rows.append(f"{plate}\timages/{plate}\t{SIGMA}\t{MIN_DISTANCE}\t{THRESHOLDS[plate]}")
        for number, case in enumerate(case for case in cases if case.plate == plate):
            site, well = divmod(number, COLUMNS * len(ROWS))
            name = f"X_{ROWS[well // COLUMNS]}{well % COLUMNS + 1:02}_s{site + 1}_w1{case.suffix}"
            case.write(images / name)
            files[f"{plate}/{name}"] = case
    (folder / "config/plates.tsv").write_text("\n".join([*rows, ""]))
    (folder / "config/config.yaml").write_text(yaml.safe_dump({"max_failed_fields": 1.0}))
    return files


def judge(folder: Path, files: dict[str, FieldCase]) -> Iterator[Verdict]:
    """Yield a verdict on every field of a run's plates."""
    rows = {}
    for plate in dict.fromkeys(case.plate for case in files.values()):
        table = folder / f"results/plates/{plate}/fields.csv"
        if table.exists():
            with open(table, encoding="utf-8", newline="") as stream:
                rows |= {f"{plate}/{row['FileName_DNA']}": row for row in csv.DictReader(stream)}
    for name, case in files.items():
        yield Verdict(case.category, case.name, wrong_of(rows[name], case.must) if name in rows else "no row")


def run_fields(folder: Path, cases: Sequence[FieldCase], *, cores: int = 1) -> list[Verdict]:
    """Run cases as fields of plates, and return the verdicts."""
    files = write(folder, cases)
    ended = run(folder, "tables", cores=cores)
    verdicts = list(judge(folder, files))
    return verdicts if not ended.wrong else [verdict._replace(wrong=ended.wrong) for verdict in verdicts]


def wrong_of(row: dict[str, str], must: Good | Failed) -> str:
    """Return what is wrong with a row; nothing where it is as it must be."""
    error = row["Image_Error"]
    if isinstance(must, Failed):
        if row["Image_Status"] != "failed":
            return f"good, mean {row['ImageQuality_MeanIntensity_DNA']}; must fail ({must.reason})"
        return "" if re.search(must.reason, error) and not error.startswith("not read:") else f"reason: {error}"
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
