"""Sheets to dicts, targets, and what the rules ask for: glue only, the work is in scripts/fieldwork."""

import functools
import gc
import os
import sys
import time

from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

# Not `workflow.basedir`: in a module, that is the folder of the workflow that uses it.
CLONE = Path(str(workflow.current_basedir)).parent
if not CLONE.is_dir():
    sys.exit(f"Error: Fieldwork runs from a clone, not from '{workflow.current_basedir}'; name a clone's Snakefile")
# What another workflow calls the module that this one is to it; None where this one runs as it is.
MODULE = None if workflow.modifier.is_main_snakefile() else workflow.modifier.namespace

sys.path.insert(0, str(CLONE / "scripts"))
# A cluster's job has it from the run that submitted it, whose process is not to be seen from here.
os.environ.pop("FIELDWORK_RUN", None)

from fieldwork import InputError
from fieldwork.gpu import choice as gpu
from fieldwork.inputs import archives as downloads
from fieldwork.inputs import config as configuration
from fieldwork.inputs import paths, platemaps, plates, sheets, stack_files
from fieldwork.inputs.paths import is_url
from fieldwork.inputs.remote import Remote
from fieldwork.planning import function_checks as functions
from fieldwork.planning import provenance, runs, snakemake_workarounds
from fieldwork.planning import resources as demands

# A plan is millions of objects that stay; to look through them for garbage as often as by default takes a tenth of its
# time.
gc.set_threshold(200_000, 10, 10)

NOW = time.time_ns()
CORES = workflow.resource_settings.cores or 8
# Within the jobs of a cluster, and where such jobs are planned: then there is a number of them, `jobs`, in the profile.
ON_CLUSTER = workflow.remote_exec or workflow.resource_settings.nodes is not None

DEMO_IMAGES = [
    f"resources/demo/images/demo_{row}{column:02}_s{site}_w1.tif"
    for row in "BCDE"
    for column in range(2, 10)
    for site in (1, 2)
]

DEMO_SLIDE = "resources/demo/slide.tif"
DEMO_STACK = "resources/demo/stack.tif"
MADE = {*DEMO_IMAGES, DEMO_SLIDE, DEMO_STACK}

TABLES = ("nuclei.parquet", "fields.csv", "wells.csv")  # of a plate


def read_sheet_if_any(kind):
    """The rows of a sheet; none where there is no such file, but one of another kind."""
    path = config[kind]
    others = [other for other in ("plates", "slides", "stacks") if other != kind and Path(config[other]).exists()]
    # One that is named otherwise than by default is to be there.
    absent = path == f"config/{kind}.tsv" and others and not Path(path).exists()
    return [] if absent else sheets.read_sheet(kind, path)


def stored():
    """The plates that are to become OME-Zarr stores."""
    return [name for name, plate in PLATES.items() if config["ome_zarr_plate"] and plate.scan.images]


def unready():
    """The plates whose images are still to be downloaded, or are not what they should be: `download` goes on without them."""
    found = {}
    for name, archive in DOWNLOADS.items():
        try:
            downloads.check_folder(archive)
            PLATES[name]
        except InputError as error:
            found[name] = error
    return found


def require(found, message):
    """End the run where a target is of something that is not there."""
    if not found:
        sys.exit(f"Error: {message}")


def require_images(names):
    """End the run where one of these plates is not ready, or not in the sheet."""
    for name in names:
        require(name in PLATES or name in UNREADY, f"plate '{name}' is not in the sheet '{config['plates']}'")
    needed = [name for name in names if name in UNREADY]
    if absent := [f"'{name}'" for name in needed if not Path(DOWNLOADS[name].folder).exists()]:
        target = "the module's rule `download`" if MODULE else "`snakemake --cores N download`"
        sys.exit(f"Error: no images yet of plate(s) {', '.join(absent)}: run {target} first")
    if needed:
        sys.exit(f"Error: {UNREADY[needed[0]]}")


def placed(path):
    """Where a path of the rules lies: a module may have a prefix, and pathvars of its own."""
    prefixed, filled = workflow.modifier.path_modifier.replace_prefix, workflow.pathvars.apply
    place = filled(prefixed(f"{path}/"))
    if place != prefixed(filled(f"{path}/")):  # as Snakemake does with paths that functions give
        raise InputError(
            f"{source}: the folder '{filled(path)}' cannot stand behind the module's prefix; "
            "expected a relative path that does not begin with .., or no prefix (and never replace_prefix)"
        )
    return os.path.normpath(place)


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
        raise InputError(f"{source}: {error}") from None


REMOTE = Remote(storage, asks=workflow.is_main_process)

try:
    # Read here and not by `configfile:`: with --directory there may be none, and its errors name file and line.
    # None of them in a module: they are the other workflow's, which gives what is ours in `config:`.
    files = [path for path in ["config/config.yaml"] if Path(path).exists() and not MODULE]
    given = configuration.read_config(files[0]) if files else {}
    if not MODULE:
        files += [*map(str, workflow.overwrite_configfiles), *["--config"] * bool(workflow.config_settings.config)]
    source = f"config of module {MODULE}" if MODULE else ", ".join(files) or "configuration"
    if not isinstance(config, dict):
        raise InputError(f"{source}: found {config!r}; expected keys and values")
    update_config(given, config)  # --configfile and --config come first
    config = configuration.check_config(given, source=source)
    config["results"] = os.path.normpath(config["results"])
except InputError as error:
    sys.exit(f"Error: {error}")


pathvars:
    results=config["results"],


try:
    config["results"], LOGS, BENCHMARKS = map(placed, ("<results>", "<logs>", "<benchmarks>"))
    if Path(config["results"]).is_file():
        raise InputError(f"results: '{config['results']}' is a file; expected a folder, which may be there or not")
    plate_rows = read_sheet_if_any("plates")
    PLATES = plates.Plates(
        plate_rows,
        channel=config["nuclei"]["channel"],
        regexes=config["layouts"],
        fan_out=config["fan_out"],
        results=config["results"],
        made=MADE,
        remote=REMOTE,
    )
    DOWNLOADS = downloads.of_sheet(plate_rows, results=config["results"])
    UNREADY = unready() if workflow.is_main_process else {}
    if UNREADY:
        PLATES = {name: PLATES[name] for name in PLATES if name not in UNREADY}
    SLIDES = {row["slide"]: sheets.check_slide(row, made=MADE) for row in read_sheet_if_any("slides")}
    STACKS = {
        row["stack"]: sheets.check_stack(row, results=config["results"], made=MADE)
        for row in read_sheet_if_any("stacks")
    }
    if workflow.is_main_process:
        for plate in PLATES.values():
            if not plate.scan.images and runs.fields_in(config["results"], plate.name):
                raise InputError(
                    f"plate '{plate.name}' has no image, but it has tables of images: is a drive not mounted? "
                    "If the images are gone for good, delete the tables"
                )
        for name, row in STACKS.items():
            for path in stack_files.files_of(row["path"]):
                paths.check_path(path, f"{row[None]}: stack '{name}'")
    for kind, rows in (("slide", SLIDES), ("stack", STACKS)):  # in jobs too, for which the answers are kept
        named = {row["path"]: f"{row[None]}: {kind} '{name}'" for name, row in rows.items()}
        REMOTE.check({path: place for path, place in named.items() if is_url(path)})
    runs.keep_to_plan([config, plate_rows, SLIDES, STACKS], plans=workflow.is_main_process, module=MODULE)
    # Beside them are the user's own modules.
    folders = [os.path.dirname(path) or "." for path in [*reversed(files), "config/config.yaml"]]
    # For scripts, and not as a parameter: what is made does not depend on where the modules lie.
    config["module_folders"] = list(dict.fromkeys(folders))
    # Of a cluster's nodes nothing is known here: if it is to be a GPU, jobs ask for one. Jobs here look for themselves.
    HAS_GPU = ON_CLUSTER and config["device"] == "gpu"
    FILTERED = list(PLATES) if config["filters"]["chain"] else []
    if workflow.is_main_process:
        check_functions()
        if not ON_CLUSTER and (PLATES or SLIDES):
            HAS_GPU = gpu.check(config["device"], pool=config["pool"], source=source)
        runs.forget_incomplete(config["results"], slides=SLIDES, stored=stored(), plates=PLATES, filters=bool(FILTERED))
        downloads.forget_deleted(DOWNLOADS.values(), results=config["results"])
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


# Local copies of images at URLs are kept until the last job that reads them: let that be soon, so that the copies of one
# plate, and not of all, need room on the disk.
SOON = 1 if REMOTE.known else 0


wildcard_constraints:
    plate="[^/]+",
    slide="[^/]+",
    stack="[^/]+",
    unit=r"all|[A-Z]+\d+(_s\d+)?",


def made_by(script):
    """Tie a rule's outputs to the bytes of its script and of every library module behind it."""
    return provenance.digest(CLONE / "scripts" / f"{script}.py")


@functools.cache
def stamp(path):
    """Size and modification time: a file that is replaced by an older one has changed too. None where there is no file."""
    if is_url(path):
        return REMOTE.known.get(path)
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def on_disk(paths):
    """Those that are files which are there."""
    return [path for path in paths if not is_url(path) and stamp(path)]


def sources(paths):
    """What Snakemake is told of images: those that a rule makes, and the newest of the others.

    An image that is newer than a table has it made again; what else becomes of them, their stamps say. All of them
    would make planning several times as long, and the command lines of a cluster's jobs longer than Linux allows.
    Of what a wrong clock puts in the future it would say that the new tables are too old.
    """
    past = [path for path in on_disk(paths) if stamp(path)[1] <= NOW]
    newest = max(past, key=lambda path: stamp(path)[1], default=None)
    return [path for path in paths if path in MADE or path == newest]


def stamps_of(paths):
    """The state of each image; that of images which a rule makes is Snakemake's business."""
    return [stamp(path) for path in paths if path not in MADE]


def megabytes(paths):
    return sum(found[0] for path in paths if (found := stamp(path))) / 1e6


def fetched(paths):
    """Have Snakemake fetch those that are URLs: all of them, and not only the newest; jobs are given its copies."""
    return [REMOTE.input(path) for path in paths if is_url(path)]


def images_of(wildcards):
    """The images of one unit, or of the whole plate."""
    require_images([wildcards.plate])
    plate, unit = PLATES[wildcards.plate], wildcards.get("unit")
    if not unit:
        return plate.images
    require(unit in plate.units, f"plate '{plate.name}' has no unit '{unit}' with fan_out: {config['fan_out']}")
    return plate.units[unit]


def image_paths(wildcards):
    return [image.path for image in images_of(wildcards)]


def image_urls(wildcards):
    return list(filter(is_url, image_paths(wildcards)))


def fetched_images(wildcards):
    return fetched(image_paths(wildcards))


def image_sources(wildcards):
    return sources(image_paths(wildcards))


def image_rows(wildcards):
    """Where each image was taken: well, site, time point, z plane, path."""
    return [(image.well, image.site, image.timepoint, image.z, image.path) for image in images_of(wildcards)]


def image_stamps(wildcards):
    return stamps_of(image_paths(wildcards))


@functools.cache
def files_of_stack(path):
    """Of a Zarr store there may be hundreds of thousands, and Snakemake asks again and again."""
    return stack_files.files_of(path)


def work(wildcards):
    """Seconds of one core that a unit, a plate, a slide or a stack takes."""
    if "slide" in wildcards.keys():
        return demands.SLIDE_SECONDS_PER_MB * megabytes([SLIDES[wildcards.slide]["path"]])
    if "stack" in wildcards.keys():
        return demands.SECONDS_PER_MB * megabytes(files_of_stack(STACKS[wildcards.stack]["path"]))
    return demands.SECONDS_PER_MB * megabytes(image_paths(wildcards))


def threads_among(jobs):
    """So many jobs of a kind share this machine's cores; a cluster's job asks for as many as it has work for."""

    def threads(wildcards):
        return demands.threads_on_cluster(work(wildcards)) if ON_CLUSTER else max(1, CORES // max(1, jobs))

    return threads


def unit_threads(wildcards):
    """Here, as many workers as let all units that are still to do end soonest."""
    if ON_CLUSTER:
        return demands.threads_on_cluster(work(wildcards))
    units, fields = units_to_do()
    return demands.threads_per_unit(units, fields=fields, cores=CORES)


def minutes(wildcards, threads, attempt):
    return attempt * demands.minutes(work(wildcards), threads=threads)


def small_memory(wildcards, attempt):
    return attempt * 1000


@functools.cache
def units_to_do():
    """Numbers of units without a table yet, and of their fields; of all where none is missing: the configuration changed."""
    units = {(plate.name, unit): len(images) for plate in PLATES.values() for unit, images in plate.units.items()}
    missing = {
        (plate, unit): fields
        for (plate, unit), fields in units.items()
        if not Path(config["results"], "plates", plate, "units", f"{unit}.parquet").exists()
    }
    return len(missing or units), sum((missing or units).values())


def pool_memory(wildcards, threads, attempt):
    """In mode fork the job holds all frames, which may be compressed."""
    seconds = work(wildcards) if config["pool"]["mode"] == "fork" else 0
    return attempt * demands.memory(threads, held=3 * seconds / demands.SECONDS_PER_MB)


def unit_gpus(wildcards, threads):
    """1 where the job will take a GPU."""
    return int(gpu.wanted(config["device"], frames=len(images_of(wildcards)), workers=threads))


def unit_memory(wildcards, threads, attempt):
    """A process that holds a GPU has CUDA's libraries in its memory: 2 GB is a guess."""
    held = 2000 * unit_gpus(wildcards, threads) if HAS_GPU else 0
    return pool_memory(wildcards, threads, attempt) + attempt * held


def unit_tables(path):
    """One table of every unit of a plate, in the order of its rows."""
    return lambda wildcards: expand(path, plate=wildcards.plate, unit=PLATES[wildcards.plate].units)


def plate_platemap(wildcards):
    """Its path, in a list; none where the plate has none."""
    require_images([wildcards.plate])
    return list(filter(None, [PLATES[wildcards.plate].platemap]))


def plate_tables(wildcards):
    """The tables of every plate in the sheet."""
    require_images(UNREADY)
    return expand("<results>/plates/{plate}/{table}", plate=PLATES, table=TABLES)


def plate_wells(wildcards):
    require_images(UNREADY)
    return expand("<results>/plates/{plate}/wells.csv", plate=PLATES)


def filtered_tables():
    return expand("<results>/plates/{plate}/filtered/filtered.csv", plate=FILTERED)


def plate_products():
    """The pictures of every plate, some of which go by its platemap, and with them its tables.

    Of what one job makes, the first picture is enough to ask for, but where something else was deleted: planning
    thousands of plates then takes an eighth less.
    """
    products = expand("<results>/plates/{plate}/densities.png", plate=PLATES)
    for name, plate in PLATES.items():
        described = platemaps.read_platemap(plate.platemap) if plate.platemap else {}
        shown = platemaps.pictures(next(iter(described.values()), {}), with_quality=config["quality"])
        folder = Path(config["results"], "plates", name)
        drawn = (folder / "densities.png").exists()
        asked = [
            product
            for product in [*TABLES, *(f"plots/{picture}.png" for picture in shown)]
            if product in ("plots/doses.png", "plots/controls.png") or drawn and not (folder / product).exists()
        ]
        products += expand("<results>/plates/{plate}/{product}", plate=name, product=asked)
    return products


def own_modules(names):
    """Digest the modules beside the configuration that these functions are from."""
    return provenance.digest_of(functions.module_files(names, folders=config["module_folders"]))


def all_image_paths(wildcards):
    """Of all channels; a file may have several."""
    require_images([wildcards.plate])
    return list(dict.fromkeys(image.path for image in PLATES[wildcards.plate].scan.images))


def all_image_sources(wildcards):
    return sources(all_image_paths(wildcards))


def all_image_urls(wildcards):
    """Without those that are not there, which fail as bad images do."""
    return [path for path in all_image_paths(wildcards) if path in REMOTE.known]


def all_fetched_images(wildcards):
    return fetched(all_image_urls(wildcards))


def all_image_stamps(wildcards):
    return stamps_of(all_image_paths(wildcards))


def plate_store(wildcards):
    return f"{config['results']}/plates/{wildcards.plate}/{wildcards.plate}.ome.zarr"


def plate_store_settings():
    slide = config["slide"]
    return {"version": slide["ome_zarr"], **{key: slide[key] for key in ("chunk", "codec", "level")}}


def plate_store_memory(wildcards, threads, attempt):
    """A worker holds a field's images (compressed ones, unpacked) with levels and label."""
    images = PLATES[wildcards.plate].scan.images
    field = 3 * megabytes(image.path for image in images) / len({(image.well, image.site) for image in images})
    return attempt * demands.memory(threads, worker=200 + 4 * field)


def stack_sources(wildcards):
    """Its file, the newest image of its folder, or the folder of a Zarr store."""
    require(wildcards.stack in STACKS, f"stack '{wildcards.stack}' is not in the sheet '{config['stacks']}'")
    path = STACKS[wildcards.stack]["path"]
    return sources([path] if stack_files.is_zarr(path) else files_of_stack(path))


def fetched_stack(wildcards):
    return fetched([STACKS[wildcards.stack]["path"]])


def stack_stamps(wildcards):
    return stamps_of(files_of_stack(STACKS[wildcards.stack]["path"]))


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


def slide_sources(wildcards):
    require(wildcards.slide in SLIDES, f"slide '{wildcards.slide}' is not in the sheet '{config['slides']}'")
    return sources([SLIDES[wildcards.slide]["path"]])


def fetched_slide(wildcards):
    return fetched([SLIDES[wildcards.slide]["path"]])


def slide_stamps(wildcards):
    return stamps_of([SLIDES[wildcards.slide]["path"]])


def slide_memory(wildcards, threads, attempt):
    """A worker holds some copies of a block, with its levels and compressed; so does its reader."""
    side = max(config["slide"]["shard"], 2 * config["slide"]["chunk"])
    return attempt * demands.memory(threads, worker=150 + 5 * 3 * side**2 / 1e6)


def batch_tables(path):
    """One file of every slide of a batch."""

    def tables(wildcards):
        batch = wildcards.plate
        require(batch in BATCHES, f"no slide in the sheet '{config['slides']}' is of plate '{batch}'")
        return expand(path, slide=BATCHES[batch])

    return tables


def slide_tables():
    """The tables of every slide and batch in the sheet."""
    return [
        *expand(
            "<results>/slides/{slide}/{table}", slide=SLIDES, table=("slide.json", "nuclei.parquet", "tiles.parquet")
        ),
        *expand("<results>/plates/{plate}/slides.csv", plate=BATCHES),
    ]


def first_plate_images():
    return next((plate.images for plate in PLATES.values()), [])


def benchmark_paths():
    """The first plate's images that are there, at most 240 of them: a plate of BBBC021."""
    paths = [image.path for image in first_plate_images()]
    there = {*MADE, *on_disk(paths)}
    return [path for path in paths if path in there or is_url(path)][:240]


def benchmark_images(wildcards):
    require_images([] if PLATES else UNREADY)
    return [path for path in benchmark_paths() if not is_url(path)]


def fetched_benchmark_images(wildcards):
    return fetched(benchmark_paths())


def benchmark_fields(wildcards):
    """A few wells of them, for runs of the whole workflow."""
    return [(image.well, image.site, image.timepoint, image.z, image.path) for image in first_plate_images()[:16]]


def first_channel(wildcards):
    return next((plate.channel for plate in PLATES.values()), "auto")


def images_log(plate):
    return Path(LOGS, "plates", plate.name, "images.log")


def start_run():
    """Keep other runs out, and clear up after those that were killed."""
    global locks
    snakemake_workarounds.take_sigterm_in_a_thread()
    folders = [config["results"]] if MODULE else [".snakemake", config["results"]]  # another module holds the first
    try:
        locks = [runs.hold_folder(Path(folder, "fieldwork.lock")) for folder in folders]
    except InputError as error:
        raise WorkflowError(str(error)) from None
    runs.clear_leftovers(config["results"])
    REMOTE.clear_leftovers()
    for plate in PLATES.values():
        plates.write_log(plate, images_log(plate))


runs.own_jobs()
if workflow.is_main_process:
    for plate in PLATES.values():
        plates.report(plate, images_log(plate))
