"""Sheets to dicts, targets, and what the rules ask for: glue only, the work is in scripts/fieldwork."""

import sys

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from fieldwork import InputError, plates, provenance, runs, sheets

DEMO_IMAGES = [
    f"resources/demo/images/demo_{row}{column:02}_s{site}_w1.tif"
    for row in "BCDE"
    for column in range(2, 10)
    for site in (1, 2)
]

try:
    config = sheets.check_config(config, source=", ".join(workflow.configfiles) or "configuration")
    PLATES = {
        row["plate"]: plates.open_plate(
            row,
            channel=config["nuclei"]["channel"],
            regexes=config["layouts"],
            fan_out=config["fan_out"],
            made=set(DEMO_IMAGES),
        )
        for row in sheets.read_sheet("plates", config["plates"])
    }
    for kind in ("slides", "stacks"):
        if Path(config[kind]).exists() and sheets.read_sheet(kind, config[kind]):
            raise InputError(f"{config[kind]}: this version reads plates only; empty the sheet of {kind}")
except InputError as error:
    sys.exit(f"Error: {error}")  # a WorkflowError would come with lines of this file, which is not at fault

DETECTION = {
    "sigma": config["nuclei"]["sigma"],
    "min_distance": config["nuclei"]["min_distance"],
    "threshold_abs": config["nuclei"]["threshold"],
}

# Fields of each unit that has no table yet; all units where none is missing, as after a change of the configuration.
TO_DO = {
    (plate.name, unit): len(images)
    for plate in PLATES.values()
    for unit, images in plate.units.items()
    if not Path(config["results"], "plates", plate.name, "units", f"{unit}.parquet").exists()
} or {(plate.name, unit): len(images) for plate in PLATES.values() for unit, images in plate.units.items()}


wildcard_constraints:
    plate="[^/]+",
    unit=r"all|[A-Z]+\d+(_s\d+)?",


def made_by(script):
    """Tie a rule's outputs to the bytes of its script and of every library module behind it."""
    return provenance.digest(Path(workflow.basedir) / "scripts" / f"{script}.py")


def unit_images(wildcards):
    """The images of one unit. A broken link is left to fail as a bad image."""
    images = PLATES[wildcards.plate].units[wildcards.unit]
    return [image.path for image in images if not Path(image.path).is_symlink() or Path(image.path).exists()]


def unit_rows(wildcards):
    """Where each image of a unit was taken: well, site, time point, z plane, path."""
    images = PLATES[wildcards.plate].units[wildcards.unit]
    return [(image.well, image.site, image.timepoint, image.z, image.path) for image in images]


def unit_threads(wildcards):
    """As many workers as let all units that are still to do end soonest."""
    return runs.threads_per_unit(len(TO_DO), fields=sum(TO_DO.values()), cores=workflow.cores or 8)


def unit_memory(wildcards, input, threads):
    """A worker holds an interpreter, a field and its float64 copies; mode fork, all the unit's images as well."""
    held = 3 * input.size_mb if config["pool"]["mode"] == "fork" else 0  # 3: compressed images
    return int(threads * 350 + 300 + held)


def unit_tables(path):
    """One table of every unit of a plate, in the order of its rows."""
    return lambda wildcards: expand(path, plate=wildcards.plate, unit=PLATES[wildcards.plate].units)


def plate_platemap(wildcards):
    platemap = PLATES[wildcards.plate].platemap
    return {"platemap": platemap} if platemap else {}


def plate_tables():
    """The tables of every plate in the sheet."""
    return expand("<results>/plates/{plate}/{table}", plate=PLATES, table=("nuclei.parquet", "fields.csv", "wells.csv"))


def start_run():
    """Keep other runs out, and say what was found of every plate; the details go to its log."""
    global running
    try:
        running = runs.hold_folder(".snakemake/fieldwork.lock")
    except InputError as error:
        raise WorkflowError(str(error)) from None
    for plate in PLATES.values():
        headline, details = plates.account(plate)
        log = Path("logs/plates", plate.name, "images.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("\n".join([headline, *details, ""]), encoding="utf-8")
        print(headline, f"({log})" if details else "", file=sys.stderr)
