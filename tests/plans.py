"""Plans of working directories that tests write, made without Snakemake."""

from pathlib import Path
from typing import NamedTuple

import pytest
from snakemake.utils import update_config

from fieldwork.inputs.remote import Remote
from fieldwork.planning import configuration, plan
from fieldwork.planning.roads import Caller
from workspace import GUID


class Wildcards(dict):
    """The wildcards of a job, as Snakemake hands them to functions."""

    __getattr__ = dict.__getitem__


class PlateFolder(NamedTuple):
    """A plate to write: empty files under BBBC021's names."""

    name: str
    wells: tuple[str, ...] = ("B02",)
    sites: int = 2
    platemap: str = ""  # text of the file


def write_sheets(folder: Path, *, plates=(), slides=(), stacks=()):
    """Write sheets and the files that they name: 1 MB for each image."""
    rows = {"plates": ["plate\timages\tplatemap"], "slides": ["slide\tpath\tplate"], "stacks": ["stack\tpath"]}
    for plate in plates:
        images = folder / "images" / plate.name
        images.mkdir(parents=True)
        for well in plate.wells:
            for site in range(1, plate.sites + 1):
                for channel in ("w1", "w2"):
                    (images / f"Week1_150607_{well}_s{site}_{channel}{GUID}.tif").write_bytes(bytes(10**6))
        platemap = f"config/{plate.name}.csv" if plate.platemap else ""
        (folder / "config").mkdir(exist_ok=True)
        if platemap:
            (folder / platemap).write_text(plate.platemap)
        rows["plates"].append(f"{plate.name}\timages/{plate.name}\t{platemap}")
    for name, batch in slides:
        (folder / f"{name}.tif").write_bytes(bytes(10**6))
        rows["slides"].append(f"{name}\t{name}.tif\t{batch}")
    for name in stacks:
        (folder / f"{name}.tif").write_bytes(bytes(10**6))
        rows["stacks"].append(f"{name}\t{name}.tif")
    (folder / "config").mkdir(exist_ok=True)
    for kind, lines in rows.items():
        (folder / "config" / f"{kind}.tsv").write_text("\n".join([*lines, ""]))


def plan_in(folder: Path, *, cores=2, main=True, on_cluster=False, namespace=None, **config) -> plan.Plan:
    """Return the plan of a working directory with this configuration."""
    caller = Caller(main=main, namespace=namespace, cores=cores, on_cluster=on_cluster)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        settings = configuration.read(config, caller=caller, named=["--config"] if config else [], merge=update_config)
        places = {"<results>": settings.values["results"], "<logs>": "logs", "<benchmarks>": "benchmarks"}
        return plan.make_plan(settings, caller=caller, remote=Remote(None, asks=main), location_of=places.get)
