"""The run of a stack of which every frame meets another function of the user's."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml

from faults.catalogue import FunctionCase, Returns, Verdict
from faults.plates import read_rows
from faults.snakemake_runs import run


def run_functions(folder: Path, cases: Sequence[FunctionCase]) -> Iterator[Verdict]:
    """Run cases as frames of a stack, and yield a verdict on each."""
    (folder / "config").mkdir(parents=True)
    bodies = "".join(f"def of_frame_{number}(image):\n    {case.code}\n\n\n" for number, case in enumerate(cases))
    # Before the run, the workflow tries the function on an image of zeros: the frame of the first, good one.
    bodies += "def of_any(image):\n    return globals()[f'of_frame_{image[0, 0]}'](image)\n"
    (folder / "config/odd.py").write_text(bodies)
    (folder / "config/config.yaml").write_text(yaml.safe_dump({"stack": {"function": "odd.of_any"}}))
    (folder / "config/stacks.tsv").write_text("stack\tpath\nS\tS.npy\n")
    images = np.ones((len(cases), 64, 64), np.uint16) * np.arange(len(cases), dtype=np.uint16)[:, None, None]
    np.save(folder / "S.npy", images)
    ended = run(folder, "tables", cores=2)
    yield Verdict("Runs", "a stack of odd functions", ended.wrong)
    rows = read_rows(folder / "results/stacks/S/frames.csv")
    for number, case in enumerate(cases):
        wrong = _wrong(rows[number], case.must) if number < len(rows) else "no row"
        yield Verdict(case.category, case.name, wrong)


def _wrong(row, must):
    """Return what is wrong with a frame."""
    if isinstance(must, Returns):
        if row["Image_Status"] != "ok":
            return f"failed: {row['Image_Error']}; must be good"
        return "" if float(row["value"]) == must.value else f"value {row['value']}"
    if row["Image_Status"] != "failed":
        return f"good, value {row['value']}; must fail"
    return "" if re.search(must.reason, row["Image_Error"], re.DOTALL) else f"reason: {row['Image_Error'][:300]}"
