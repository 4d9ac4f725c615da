"""The run of all slides, and the judgement of every tile."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml
import zarr

from faults.cases.slides import ACROSS, SHAPE, TILE_PX
from faults.catalogue import Failed, SlideCase, Verdict
from faults.snakemake_runs import run

MOST_OFF = 2  # of 255: two decoders of JPEG round differently


def run_slides(folder: Path, cases: Sequence[SlideCase]) -> Iterator[Verdict]:
    """Convert cases as slides, and yield a verdict on each."""
    (folder / "config").mkdir(parents=True)
    (folder / "config/config.yaml").write_text(yaml.safe_dump({"slide": {"chunk": 64, "shard": 512}}))
    rows = ["slide\tpath"]
    for number, case in enumerate(cases):
        case.write(folder / f"S{number}.tif")
        rows.append(f"S{number}\tS{number}.tif")
    (folder / "config/slides.tsv").write_text("\n".join([*rows, ""]))
    # The conversion alone decodes; nuclei would take twice the time.
    targets = [f"results/slides/S{number}/slide.json" for number in range(len(cases))]
    ended = run(folder, "--keep-going", "--", *targets)
    yield Verdict("Runs", "slides", ended.wrong)
    for number, case in enumerate(cases):
        yield Verdict(case.category, case.name, _wrong(folder / f"results/slides/S{number}", case.must))


def _wrong(folder, must):
    """Return what is wrong with a slide."""
    if not (folder / "slide.json").exists():
        return "not converted"
    facts = json.loads((folder / "slide.json").read_text())
    if isinstance(must, Failed):
        if facts["status"] != "failed":
            return f"good, {len(facts['failed_tiles'])} failed tiles; must fail"
        return "" if re.search(must.reason, facts["error"], re.IGNORECASE) else f"reason: {facts['error']}"
    if facts["status"] != "ok":
        return f"failed: {facts['error']}; must be good"
    listed = {row // TILE_PX * ACROSS + column // TILE_PX for row, column, *_ in facts["failed_tiles"]}
    if listed != must.failed:
        return f"failed tiles {sorted(listed)}, not {sorted(must.failed)}"
    store = zarr.open_group(folder / f"{folder.name}.ome.zarr", mode="r")
    stored = np.moveaxis(np.asarray(store["0"][:]).reshape(3, *SHAPE), 0, 2)
    off = np.abs(stored.astype(int) - must.image).max(axis=2)
    for number in range(off.size // TILE_PX**2):
        row, column = (TILE_PX * part for part in divmod(number, ACROSS))
        most = off[row : row + TILE_PX, column : column + TILE_PX].max()
        if number not in must.failed and most > MOST_OFF:
            return f"pixels of tile {number} are off by {most}"
    return ""
