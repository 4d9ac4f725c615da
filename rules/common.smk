"""Sheets to dicts, targets, and what the rules ask for: glue only, the work is in scripts/fieldwork."""

import os
import sys

from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from fieldwork import InputError, functions, platemaps, plates, provenance, runs, sheets, stacks

DEMO_IMAGES = [
    f"resources/demo/images/demo_{row}{column:02}_s{site}_w1.tif"
    for row in "BCDE"
    for column in range(2, 10)
    for site in (1, 2)
]

DEMO_SLIDE = "resources/demo/slide.tif"
DEMO_STACK = "resources/demo/stack.tif"


def read_sheet_if_any(kind):
    """The rows of a sheet; none where there is no such file, but one of another kind."""
    others = [other for other in ("plates", "slides", "stacks") if other != kind and Path(config[other]).exists()]
    return [] if others and not Path(config[kind]).exists() else sheets.read_sheet(kind, config[kind])


def check_functions():
    """Refuse, before any job, functions that are not there or do not take their arguments."""
    stack, filters = config["stack"], config["filters"]
    calls, metrics = [], []
    if STACKS and stack["function"] != "nuclei":
        calls.append(("stack.function", stack["function"], stack["arguments"]))
    if FILTERED:
        calls += [
            (f"filters.chain.{number}", each["function"], each["arguments"])
            for number, each in enumerate(filters["chain"])
        ]
        metrics = [("filters.metrics", name) for name in filters["metrics"]]
    try:
        functions.check_calls(calls, metrics=metrics, folders=config["module_folders"])
    except InputError as error:
        raise InputError(f"{', '.join(files) or 'configuration'}: {error}") from None


try:
    # Read here and not by `configfile:`: with --directory there may be none, and its errors name file and line.
    files = [path for path in ["config/config.yaml"] if Path(path).exists()]
    given = sheets.read_config(files[0]) if files else {}
    update_config(given, config)  # --configfile and --config come first
    files += map(str, workflow.overwrite_configfiles)
    config = sheets.check_config(given, source=", ".join(files) or "configuration")
    config["results"] = os.path.normpath(config["results"])
    if Path(config["results"]).is_file():
        raise InputError(f"results: '{config['results']}' is a file; expected a folder, which may be there or not")
    PLATES = {
        row["plate"]: plates.open_plate(
            row,
            channel=config["nuclei"]["channel"],
            regexes=config["layouts"],
            fan_out=config["fan_out"],
            results=config["results"],
            made=set(DEMO_IMAGES),
        )
        for row in read_sheet_if_any("plates")
    }
    for plate in PLATES.values():
        if not plate.scan.images and runs.fields_in(config["results"], plate.name):
            raise InputError(
                f"plate '{plate.name}' has no image, but it has tables of images: is a drive not mounted? "
                "If the images are gone for good, delete the tables"
            )
    SLIDES = {row["slide"]: sheets.check_slide(row, made={DEMO_SLIDE}) for row in read_sheet_if_any("slides")}
    STACKS = {
        row["stack"]: sheets.check_stack(row, results=config["results"], made={DEMO_STACK})
        for row in read_sheet_if_any("stacks")
    }
    if workflow.is_main_process:
        for name, row in STACKS.items():
            for path in stacks.files_of(row["path"]):
                sheets.check_path(path, f"{row[None]}: stack '{name}'")
    # Beside them are the user's own modules.
    folders = [os.path.dirname(path) or "." for path in [*reversed(files), "config/config.yaml"]]
    # For scripts, and not as a parameter: what is made does not depend on where the modules lie.
    config["module_folders"] = list(dict.fromkeys(folders))
    FILTERED = list(PLATES) if config["filters"]["chain"] else []
    STORED = [name for name, plate in PLATES.items() if plate.scan.images and config["ome_zarr_plate"]]
    if workflow.is_main_process:
        check_functions()
        runs.forget_without_store(config["results"], SLIDES, STORED)
except InputError as error:
    sys.exit(f"Error: {error}")  # a WorkflowError would come with lines of this file, which is not at fault


def detection_of(settings):
    """The keyword arguments of detect_nuclei."""
    return {
        "sigma": settings["sigma"],
        "min_distance": settings["min_distance"],
        "threshold_abs": settings["threshold"],
    }


DETECTION = detection_of(config["nuclei"])

FRAME_FUNCTION = config["stack"]["function"]
# What is done with each frame of a stack.
FRAME_WORK = {"function": FRAME_FUNCTION, "arguments": config["stack"]["arguments"]}
if FRAME_FUNCTION == "nuclei":
    FRAME_WORK["arguments"] = detection_of(config["nuclei"] | config["stack"]["arguments"])
    FRAME_WORK["with_quality"] = config["quality"]

BATCHES = {
    plate: [name for name, row in SLIDES.items() if row["plate"] == plate]
    for plate in dict.fromkeys(row["plate"] for row in SLIDES.values())
}

UNITS = {(plate.name, unit): images for plate in PLATES.values() for unit, images in plate.units.items()}
# Units without a table yet; all units where none is missing, as after a change of the configuration.
TO_DO = [
    (plate, unit)
    for plate, unit in UNITS
    if not Path(config["results"], "plates", plate, "units", f"{unit}.parquet").exists()
] or list(UNITS)
FIELDS_TO_DO = sum(len(UNITS[unit]) for unit in TO_DO)


wildcard_constraints:
    plate="[^/]+",
    slide="[^/]+",
    stack="[^/]+",
    unit=r"all|[A-Z]+\d+(_s\d+)?",


def made_by(script):
    """Tie a rule's outputs to the bytes of its script and of every library module behind it."""
    return provenance.digest(Path(workflow.basedir) / "scripts" / f"{script}.py")


def stamps(paths):
    """Size and modification time of files: one that is replaced by an older one has changed too."""
    return [stamp(path) for path in paths]


def stamp(path):
    """None of a file that is not there: its job says so."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def present(images):
    """Their paths. A broken link is left to fail as a bad image."""
    return [image.path for image in images if not Path(image.path).is_symlink() or Path(image.path).exists()]


def images_of(wildcards):
    """The images of one unit, or of the whole plate."""
    unit = wildcards.get("unit")
    return UNITS[wildcards.plate, unit] if unit else PLATES[wildcards.plate].images


def image_paths(wildcards):
    return present(images_of(wildcards))


def image_rows(wildcards):
    """Where each image was taken: well, site, time point, z plane, path."""
    return [(image.well, image.site, image.timepoint, image.z, image.path) for image in images_of(wildcards)]


def image_stamps(wildcards):
    """The state of each image; that of images which a rule makes is Snakemake's business."""
    return stamps(path for path in image_paths(wildcards) if path not in DEMO_IMAGES)


def unit_threads(wildcards):
    """As many workers as let all units that are still to do end soonest."""
    return runs.threads_per_unit(len(TO_DO), fields=FIELDS_TO_DO, cores=workflow.cores or 8)


def pool_memory(wildcards, input, threads):
    """A worker holds an interpreter and some copies of a frame of up to 9 megapixels; mode fork, all frames as well."""
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
    return [
        *expand("<results>/plates/{plate}/{table}", plate=PLATES, table=("nuclei.parquet", "fields.csv", "wells.csv")),
        *expand("<results>/plates/{plate}/filtered/filtered.csv", plate=FILTERED),
    ]


def plate_pictures(wildcards):
    """The pictures of every plate; some go by its platemap. A function: read when `all` is planned, not by each job."""
    pictures = expand("<results>/plates/{plate}/densities.png", plate=PLATES)
    for name, plate in PLATES.items():
        described = sheets.read_platemap(plate.platemap) if plate.platemap else {}
        shown = platemaps.pictures(next(iter(described.values()), {}), with_quality=config["quality"])
        pictures += expand("<results>/plates/{plate}/plots/{picture}.png", plate=name, picture=shown)
    return pictures


def own_modules(names):
    """Digest the modules beside the configuration that these functions are from."""
    return provenance.digest_of(functions.module_files(names, folders=config["module_folders"]))


def all_image_paths(wildcards):
    """The images of all channels. Those that are not there, and that no rule makes, fail as bad ones do."""
    paths = dict.fromkeys(image.path for image in PLATES[wildcards.plate].scan.images)
    return [path for path in paths if path in DEMO_IMAGES or Path(path).exists()]


def all_image_stamps(wildcards):
    return stamps(path for path in all_image_paths(wildcards) if path not in DEMO_IMAGES)


def plate_store(wildcards):
    return f"{config['results']}/plates/{wildcards.plate}/{wildcards.plate}.ome.zarr"


def plate_store_settings():
    slide = config["slide"]
    return {"version": slide["ome_zarr"], **{key: slide[key] for key in ("chunk", "codec", "level")}}


def plate_store_memory(wildcards, input, threads):
    """A worker holds an interpreter, and a field's images (compressed ones, unpacked) with levels and label."""
    images = PLATES[wildcards.plate].scan.images
    field = 3 * input.size_mb / len({(image.well, image.site) for image in images})
    return int(300 + threads * (200 + 4 * field))


def stack_files(wildcards):
    """What a stack is made of: its file, the images of its folder, or the folder of a Zarr store."""
    path = STACKS[wildcards.stack]["path"]
    return path if stacks.is_zarr(path) else stacks.files_of(path)


def stack_stamps(wildcards):
    """The state of a stack's files; that of the demo's is Snakemake's business."""
    path = STACKS[wildcards.stack]["path"]
    return [] if path == DEMO_STACK else stamps(stacks.files_of(path))


def stack_tables():
    """The tables of every stack in the sheet."""
    names = ["frames.csv", "nuclei.parquet"] if FRAME_FUNCTION == "nuclei" else ["frames.csv"]
    return expand("<results>/stacks/{stack}/{table}", stack=STACKS, table=names)


def slide_store(wildcards):
    return f"{config['results']}/slides/{wildcards.slide}/{wildcards.slide}.ome.zarr"


def slide_settings(wildcards):
    """How a slide is converted; its own reader comes before the configured one."""
    slide = config["slide"]
    return {
        "reader": SLIDES[wildcards.slide].get("reader", slide["reader"]),
        "version": slide["ome_zarr"],
        **{key: slide[key] for key in ("chunk", "shard", "codec", "level")},
    }


def slide_stamps(wildcards):
    """The state of a slide's file; that of the demo's is Snakemake's business."""
    return stamps(path for path in [SLIDES[wildcards.slide]["path"]] if path != DEMO_SLIDE)


def slide_memory(wildcards, threads):
    """A worker holds an interpreter and some copies of a block, with its levels and compressed; so does its reader."""
    side = max(config["slide"]["shard"], 2 * config["slide"]["chunk"])
    return int(300 + threads * (150 + 5 * 3 * side**2 / 1e6))


def batch_tables(path):
    """One file of every slide of a batch."""
    return lambda wildcards: expand(path, slide=BATCHES[wildcards.plate])


def slide_tables():
    """The tables of every slide and batch in the sheet."""
    return [
        *expand(
            "<results>/slides/{slide}/{table}", slide=SLIDES, table=("slide.json", "nuclei.parquet", "tiles.parquet")
        ),
        *expand("<results>/plates/{plate}/slides.csv", plate=BATCHES),
    ]


def benchmark_images(wildcards):
    """The first plate's images, at most 240 of them: a plate of BBBC021."""
    return present(image for plate in list(PLATES.values())[:1] for image in plate.images)[:240]


def benchmark_fields(wildcards):
    """A few wells of them, for runs of the whole workflow."""
    images = [image for plate in list(PLATES.values())[:1] for image in plate.images][:16]
    return [(image.well, image.site, image.timepoint, image.z, image.path) for image in images]


def first_channel(wildcards):
    return next((plate.channel for plate in PLATES.values()), "auto")


def start_run():
    """Keep other runs out, and clear up after those that were killed."""
    global locks
    try:
        locks = [runs.hold_folder(Path(folder, "fieldwork.lock")) for folder in (".snakemake", config["results"])]
    except InputError as error:
        raise WorkflowError(str(error)) from None
    runs.clear_leftovers(config["results"])


if workflow.is_main_process:
    for plate in PLATES.values():
        plates.report(plate, None if workflow.dryrun else Path("logs/plates", plate.name, "images.log"))
