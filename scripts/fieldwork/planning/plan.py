"""Build the plan of a run: what the sheets name, checked, in a form that rules can ask."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from fieldwork import InputError
from fieldwork.gpu import choice as gpu
from fieldwork.inputs import archives, methods, outlining, sheets
from fieldwork.inputs import plates as sheet_plates
from fieldwork.inputs.names.patterns import config_layouts
from fieldwork.inputs.paths import is_url
from fieldwork.inputs.remote import Remote
from fieldwork.planning import function_checks, provenance, runs, snakemake_workarounds
from fieldwork.planning.benchmarks import BenchmarkPlan
from fieldwork.planning.configuration import Configuration
from fieldwork.planning.files import Files, check_folders, shared_by_plates
from fieldwork.planning.measurements import MeasurePlan
from fieldwork.planning.plate_reports import PlateReport, StackReport
from fieldwork.planning.plates import PlatePlan
from fieldwork.planning.roads import Caller
from fieldwork.planning.slides import SlidePlan, check_regions
from fieldwork.planning.stacks import StackPlan
from fieldwork.surroundings import temporary

DEMO_IMAGES = [
    f"resources/demo/images/demo_{row}{column:02}_s{site}_w1.tif"
    for row in "BCDE"
    for column in range(2, 10)
    for site in (1, 2)
]
DEMO_SLIDE = "resources/demo/slide.tif"
DEMO_TISSUE = "resources/demo/tissue.tif"
DEMO_STACK = "resources/demo/stack.tif"
GENERATED = frozenset({*DEMO_IMAGES, DEMO_SLIDE, DEMO_TISSUE, DEMO_STACK})  # by rules; they need not exist yet


class Folders(NamedTuple):
    """Where a run writes, from the working directory on."""

    results: str
    logs: str
    benchmarks: str


@dataclass
class Plan:
    """What the rules ask.

    `notes` are lines on what was chosen for the user. `url_priority` is the unit of priority of jobs that read images,
    1 where some are at URLs, else 0: local copies are kept until their last job, so that a plate's later jobs come
    before its earlier ones and those of other plates, and the copies of one plate, not of all, need room on the disk.
    """

    caller: Caller
    config: dict
    folders: Folders
    files: Files
    remote: Remote
    plates: PlatePlan
    slides: SlidePlan
    stacks: StackPlan
    measurements: MeasurePlan
    benchmarks: BenchmarkPlan
    has_gpu: bool
    module_folders: list[str]
    notes: list[str]
    url_priority: int
    _locks: list = field(default_factory=list)
    _digests: dict = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """True where the sheets name nothing."""
        return not (self.plates.names or self.slides.rows or self.stacks.rows)

    def own_modules(self, functions: Sequence[str]) -> str:
        """Digest the user's own modules that functions are from, so that a change of them makes their results again."""
        return provenance.digest_of(function_checks.module_files(functions, folders=self.module_folders))

    def own_code(self, work: dict) -> str:
        """Digest what the work on an image depends on beside its parameters.

        Parameters
        ----------
        work : dict
            From `methods.detection_of`, or as `StackPlan.frame_work`; only functions of the user's have ``arguments``.

        Returns
        -------
        str
            A digest of the user's own modules that the function is from, the versions of the packages that they import,
            and a digest of each file that an argument names. Of the network, of its model and the runtime's version.
        """
        if outlining.takes_model(work):
            return function_checks.model_code(work)
        if "function" not in work or "arguments" not in work:
            return ""
        key = repr(work)
        if key not in self._digests:  # a plan of thousands of jobs asks for one function
            files = function_checks.argument_files(work["arguments"])
            packages = function_checks.package_versions([work["function"]], folders=self.module_folders)
            digests = [self.own_modules([work["function"]]), *packages, *map(function_checks.file_digest, files)]
            self._digests[key] = " ".join(digests)
        return self._digests[key]

    def detection_code(self, wildcards: object) -> str:
        """Return `own_code` of the detection in a plate."""
        return self.own_code(self.plates.detection(wildcards))

    def cells_code(self, wildcards: object) -> str:
        """Return `own_code` of how the cells of a plate are found."""
        return self.own_code({"arguments": {}, **(self.measurements.cells(wildcards) or {})})

    def made_of(self, wildcards: object) -> dict:
        """Return what decides a plate's table of nuclei beside its images, for the table's metadata.

        Returns
        -------
        dict
            ``settings``: keys of the configuration and of the sheet that count for the plate, and a digest of the
            user's own ``code``. Of files that arguments name there are the names alone, as their content is in it.
            ``libraries`` and ``digest``: from `provenance.code_behind`. ``decided``: what the names of the plate's
            files leave open, and how it was decided; only where there is such a thing.
        """
        plates, measurements = self.plates, self.measurements
        detection, cells = dict(plates.detection(wildcards)), measurements.cells(wildcards)
        nuclei = {"channel": plates.channel(wildcards), **methods.keys_of(detection)}
        if detection["method"] != "peaks":
            nuclei |= {"border": plates.border, **function_checks.outlined_by(detection)}
        if (z := plates.z(wildcards)) != "all":
            nuclei["z"] = z
        if other := plates.calibrate_with(wildcards):
            nuclei["calibrate_with"] = other[0]
        if (code := self.detection_code(wildcards)) and "arguments" in detection:
            nuclei |= {"arguments": function_checks.without_folders(detection["arguments"]), "code": code}
        if cells and (code := self.cells_code(wildcards)):
            cells = {**cells, "code": code}
        illuminated, background = measurements.illuminated(wildcards), measurements.background(wildcards)
        settings = {
            "nuclei": nuclei,
            "measure": {"channels": dict(measurements.channels(wildcards))},
            "illumination": "auto" if illuminated else "none",
            "background": "none" if background is None else background,
            "cells": cells or "none",
            "positive": measurements.positive(wildcards),
        }
        scripts = ["detect_nuclei", "merge_units"]
        scripts += ["calibrate_plate"] * bool(plates.calibrated(wildcards)) + ["illuminate_plate"] * bool(illuminated)
        key = tuple(scripts)
        if key not in self._digests:
            self._digests[key] = provenance.code_behind(scripts)
        made_of = {"settings": settings, **self._digests[key]}
        if groups := measurements.groups(wildcards):
            settings["measure"]["groups"] = groups
        versions = measurements.groups_versions(wildcards) | function_checks.runtime_of(detection)
        made_of["libraries"] = dict(sorted((made_of["libraries"] | versions).items()))
        if decided := plates.plate(wildcards).scan.warnings:
            made_of["decided"] = decided
        return made_of

    @property
    def slide_code(self) -> str:
        """`own_code` of how the nuclei of slides are outlined."""
        return self.own_code(self.slides.nuclei)

    @property
    def stack_code(self) -> str:
        """`own_code` of the work on the frames of stacks."""
        return self.own_code(self.stacks.frame_work.get("detection", self.stacks.frame_work))

    def start_run(self) -> None:
        """Keep other runs out, clear up after killed ones, and log the files of each plate.

        Raises
        ------
        InputError
            Another run holds a folder.
        """
        snakemake_workarounds.take_sigterm_in_a_thread(stop=self.remote.stop)
        results = self.folders.results
        folders = [results] if self.caller.namespace else [".snakemake", results]  # another module holds the first
        self._locks = [runs.hold_folder(Path(folder, "fieldwork.lock")) for folder in folders]
        runs.clear_leftovers(results)
        temporary.delete_leftovers()
        self.remote.clear_leftovers()
        for plate in self.plates.ready.values():
            notes = [self.measurements.described(plate.name)]
            sheet_plates.write_log(plate, self._images_log(plate), notes=notes)

    def summary(self, *, preview: bool = False) -> str:
        """Return what there is at the end of the run, in a few lines; with `preview`, one for every plate and stack."""
        snakemake_workarounds.end_timers()
        results = self.folders.results
        return runs.summary(
            self.plates.names,
            self.slides.rows,
            self.stacks.rows,
            results,
            self.folders.logs,
            downloads=[archive.folder for archive in self.plates.downloads.values()],
            reports=[PlateReport(results, name, self.plates.detections[name]) for name in self.plates.names],
            stack_reports=[
                StackReport(results, name, self.stacks.frame_work.get("detection")) for name in self.stacks.rows
            ],
            preview=preview,
        )

    def nothing_came(self) -> str:
        """Return why a run whose jobs ended well has failed; an empty text where it has not."""
        return runs.no_slide(self.slides.rows, self.folders.results)

    def report_plates(self) -> None:
        """Print what was chosen for the user, and what was found of each plate."""
        for note in self.notes:
            print(note, file=sys.stderr)
        if self.is_empty and not self.caller.namespace:
            named = ", ".join(self.config[kind] for kind in sheets.SHEETS if Path(self.config[kind]).exists())
            print(f"WARNING {named}: no plate, slide or stack is named, so there is nothing to do", file=sys.stderr)
        for plate in self.plates.ready.values():
            sheet_plates.report(plate, self._images_log(plate))
        for warning in shared_by_plates((name, plate.images) for name, plate in self.plates.ready.items()):
            print(warning, file=sys.stderr)

    def _images_log(self, plate):
        return Path(self.folders.logs, "plates", plate.name, "images.log")


def make_plan(
    configuration: Configuration, *, caller: Caller, remote: Remote, location_of: Callable[[str], str]
) -> Plan:
    """Read the sheets, check what they name, and build the plan.

    Parameters
    ----------
    configuration : Configuration
        Its values get ``results`` in its place, and ``module_folders``, for scripts.
    caller : Caller
    remote : fieldwork.inputs.remote.Remote
    location_of : callable
        Returns the location of a path of the rules: see `locate`.

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        Names the file and the line, or the key, what was found and what is expected.
    """
    config = configuration.values
    folders = Folders(*map(location_of, ("<results>", "<logs>", "<benchmarks>")))
    config["results"] = folders.results
    files = Files(remote, GENERATED)
    plate_rows = sheets.read_sheet_if_any("plates", config)
    slide_rows, stack_rows = _checked_rows(config, remote)
    if caller.main:
        plate_names = [*(row["plate"] for row in plate_rows), *{row["plate"] for row in slide_rows.values()}]
        names = {"plates": plate_names, "slides": slide_rows, "stacks": stack_rows}
        check_folders(folders._asdict(), names, source=configuration.source)
    options = {"caller": caller, "files": files, "config": config}
    has_gpu = caller.on_cluster and config["device"] == "gpu"  # of nodes nothing is known: jobs ask for one
    detections = methods.of_plates(config["nuclei"], plate_rows)
    plates = PlatePlan(
        _open_plates(plate_rows, configuration, remote),
        archives.of_sheet(plate_rows, results=config["results"]),
        detections,
        has_gpu=has_gpu,
        **options,
    )
    slides, stacks = SlidePlan(slide_rows, has_gpu=has_gpu, **options), StackPlan(stack_rows, **options)
    measurements = MeasurePlan(plates, files, config=config)
    if caller.main:
        of_others = stacks.frame_work.get("detection", {}), slides.nuclei if slide_rows else {}
        function_checks.check_model(config["nuclei"]["model"], [*detections.values(), *of_others], configuration.source)
        measurements.check(source=configuration.source, in_stacks=stacks.measures_nuclei)
        _check_device(configuration, plates=plates, slides=slide_rows, stacks=stacks)
        check_regions(slide_rows)
    _check_urls(slide_rows, stack_rows, remote)
    runs.keep_to_plan([config, plate_rows, slide_rows, stack_rows], plans=caller.main, module=caller.namespace)
    # Not a parameter of rules: results don't depend on where the modules lie.
    config["module_folders"] = configuration.folders
    if caller.main or methods.OWN in {stacks.method, *map(plates.method, plates.names)}:
        segmenters = _segmenters(configuration, plate_rows, detections, stacks)
        plates.declared = stacks.declared = _check_functions(configuration, segmenters, plates=plates, stacks=stacks)
    if caller.main:
        if not caller.on_cluster and _may_use_cupy(config["device"], plates=plates, slides=slide_rows):
            has_gpu = gpu.check(config["device"], pool=config["pool"], source=configuration.source)
            plates.has_gpu = slides.has_gpu = has_gpu  # known only now: functions and plates are checked first
        _forget_deleted(plates, slide_rows, measurements.illuminated_plates, config["results"])
    return Plan(
        caller=caller,
        config=config,
        folders=folders,
        files=files,
        remote=remote,
        plates=plates,
        slides=slides,
        stacks=stacks,
        measurements=measurements,
        benchmarks=BenchmarkPlan(plates, files, nuclei=config["nuclei"]),
        has_gpu=has_gpu,
        module_folders=configuration.folders,
        notes=[*configuration.notes, *methods.notes_on_rows(plate_rows)] if plate_rows or stack_rows else [],
        url_priority=1 if remote.known else 0,
    )


def locate(path: str, *, prefixed: Callable[[str], str], filled: Callable[[str], str], source: str) -> str:
    """Return the location of a path of the rules: a module may have a prefix, and pathvars of its own.

    Parameters
    ----------
    path : str
        As in a rule: ``<results>``.
    prefixed, filled : callable
        Put a module's prefix before a path, and fill in its pathvars, as Snakemake does.
    source : str
        Of the configuration, for the message.

    Raises
    ------
    InputError
        The path cannot stand behind the prefix.
    """
    location = filled(prefixed(f"{path}/"))
    if location != prefixed(filled(f"{path}/")):  # as Snakemake does with paths that functions return
        raise InputError(
            f"{source}: the folder '{filled(path)}' cannot stand behind the module's prefix; "
            "expected a relative path that does not begin with .., or no prefix (and never replace_prefix)"
        )
    return os.path.normpath(location)


def _open_plates(rows, configuration, remote):
    config = configuration.values
    try:
        config_layouts(config["layouts"])
    except InputError as error:
        raise InputError(f"{configuration.source}: {error}") from None
    return sheet_plates.Plates(
        rows,
        channel=config["nuclei"]["channel"],
        names=config["channels"],
        pages_are=config["pages_are"],
        regexes=config["layouts"],
        fan_out=config["fan_out"],
        z=config["nuclei"]["z"],
        results=config["results"],
        most_failed=0 if config["on_bad_image"] == "stop" else config["max_failed_fields"],
        source=configuration.source,
        generated=GENERATED,
        remote=remote,
    )


def _checked_rows(config, remote):
    """Return slide -> row and stack -> row of the sheets."""
    slides = sheets.read_sheet_if_any("slides", config)
    stacks = sheets.read_sheet_if_any("stacks", config)
    return (
        {row["slide"]: sheets.check_slide(row, generated=GENERATED) for row in slides},
        {row["stack"]: sheets.check_stack(row, results=config["results"], generated=GENERATED) for row in stacks},
    )


def _may_use_cupy(device, *, plates, slides):
    """Return True if jobs, or benchmarks, may ask CuPy for a GPU; functions of the user's need no CuPy."""
    return bool(slides) or any(device != "gpu" or plates.method(name) == "peaks" for name in plates.ready)


def _check_device(configuration, *, plates, slides, stacks):
    """Refuse a GPU that nothing would use."""
    if configuration.values["device"] != "gpu" or slides or not (plates.names or stacks.rows):
        return
    if {*map(plates.method, plates.names)} <= {"auto"} and stacks.method != methods.OWN:
        raise InputError(
            f"{configuration.source}: device: gpu, but nothing would use it: only nuclei.method: peaks, slides "
            "and functions of your own do; set device: auto"
        )


def _check_urls(slide_rows, stack_rows, remote):
    """Check that slides and stacks at URLs exist; in jobs too, for which the answers are kept."""
    for kind, rows in (("slide", slide_rows), ("stack", stack_rows)):
        lines = {row["path"]: f"{row[None]}: {kind} '{name}'" for name, row in rows.items()}
        remote.check({path: line for path, line in lines.items() if is_url(path)})


def _segmenters(configuration, rows, detections, stacks):
    """Return where a function of the user's that finds nuclei stands, its name, and its arguments; each one once."""
    source = configuration.source
    places = [(row, detections[row["plate"]]) for row in rows]
    if stacks.method == methods.OWN:
        places.append(({}, stacks.frame_work["detection"]))
    segmenters = {}
    for row, detection in places:
        if function := detection.get("function"):
            key = f"{row[None]}: method" if "method" in row else f"{source}: nuclei.method"
            segmenters.setdefault(function, (key, function, detection["arguments"]))
    return list(segmenters.values())


def _check_functions(configuration, segmenters, *, plates, stacks):
    """Check, before any job, that the user's functions exist and take their arguments; return what segmenters declare.

    The jobs ask too, where plates need the answer: it was kept.
    """
    stack, filters = configuration.values["stack"], configuration.values["filters"]
    source, calls, metrics = configuration.source, [], []
    if stacks.rows and not stacks.finds_nuclei:
        calls.append((f"{source}: stack.function", stack["function"], stack["arguments"]))
    cells = configuration.values["cells"]
    if plates.names and isinstance(cells, str) and cells != "none":
        calls.append((f"{source}: cells", cells, {"channels": None}))
    if plates.filtered:
        calls += [
            (f"{source}: filters.chain.{number}", step["function"], step["arguments"])
            for number, step in enumerate(filters["chain"])
        ]
        metrics = [(f"{source}: filters.metrics", name) for name in filters["metrics"]]
    return function_checks.check_calls(calls, segmenters=segmenters, metrics=metrics, folders=configuration.folders)


def _forget_deleted(plates, slide_rows, illuminated, results):
    """Bring Snakemake to make again what was deleted and it does not know: stores, images, functions, downloads."""
    runs.forget_incomplete(
        results,
        slides=slide_rows,
        stored=plates.stored,
        plates=plates.ready,
        filters=bool(plates.filtered),
        illuminated=illuminated,
    )
    archives.forget_deleted(plates.downloads.values(), results=results)
