"""The run of all stacks, and the judgement of every frame."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml

from faults.catalogue import Failed, Frames, StackCase, Verdict
from faults.plates import read_rows
from faults.snakemake_runs import run, wrong_end

MODULE = '''"""Figures of a frame."""


def figures(image):
    return {"total": float(image.sum(dtype=float)), "low": float(image.min()), "high": float(image.max())}
'''


def run_stacks(folder: Path, cases: Sequence[StackCase]) -> Iterator[Verdict]:
    """Run cases as stacks, and yield a verdict on each."""
    (folder / "config").mkdir(parents=True)
    (folder / "config/config.yaml").write_text(yaml.safe_dump({"stack": {"function": "frame_figures.figures"}}))
    (folder / "config/frame_figures.py").write_text(MODULE)
    rows = ["stack\tpath"]
    for number, case in enumerate(cases):
        case.write(folder / f"S{number}{case.suffix}")
        rows.append(f"S{number}\tS{number}{case.suffix}")
    (folder / "config/stacks.tsv").write_text("\n".join([*rows, ""]))
    ended = run(folder, "--keep-going", "tables")
    yield Verdict("Runs", "stacks, some of which cannot be read", wrong_end(ended, status=1))
    for number, case in enumerate(cases):
        yield Verdict(case.category, case.name, _wrong(folder, f"S{number}", case, ended.printed))


def _wrong(folder, name, case, printed):
    """Return what is wrong with the tables of a stack, or with the message of one that must have none."""
    rows = read_rows(folder / f"results/stacks/{name}/frames.csv")
    log = folder / f"logs/stacks/{name}/measure_frames.log"
    lines = [line for line in printed.splitlines() if re.search(rf"\b{name}\b", line)]
    said = "\n".join([*lines, log.read_text(errors="replace") if log.exists() else ""])
    if not isinstance(case.must, Frames):
        if rows:
            return f"{len(rows)} rows, where there must be none"
        return "" if re.search(case.must.message, said) else f"said: {said[-300:]}"
    if len(rows) != len(case.must.frames):
        return f"{len(rows)} rows, not {len(case.must.frames)}: {said[-300:]}"
    wrong = [_wrong_frame(row, must) for row, must in zip(rows, case.must.frames, strict=True)]
    return "; ".join(f"frame {number}: {text}" for number, text in enumerate(wrong) if text)


def _wrong_frame(row, must):
    """Return what is wrong with a frame."""
    if isinstance(must, Failed):
        if row["Image_Status"] != "failed":
            return f"good, sum {row['total']}; must fail"
        return "" if re.search(must.reason, row["Image_Error"], re.IGNORECASE) else f"reason: {row['Image_Error']}"
    if row["Image_Status"] != "ok":
        return f"failed: {row['Image_Error']}; must be good"
    image = must.image.astype(float)
    figures = {"total": image.sum(), "low": image.min(), "high": image.max()}
    return ", ".join(
        f"{name} {row[name]}, not {value}" for name, value in figures.items() if not np.isclose(float(row[name]), value)
    )
