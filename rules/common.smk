"""Read the configuration and build the plan that rules ask (scripts/fieldwork/planning)."""

import sys

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.enums import Quietness
from snakemake.utils import update_config
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

# Not `workflow.basedir`: in a module, that is the folder of the workflow that uses it.
CLONE = Path(str(workflow.current_basedir)).parent
if not CLONE.is_dir():
    sys.exit(f"Error: Fieldwork runs from a clone, not from '{workflow.current_basedir}'; name a clone's Snakefile")
sys.path.insert(0, str(CLONE / "scripts"))

import fieldwork

if Path(fieldwork.__file__ or "").parent.resolve() != Path(CLONE, "scripts", "fieldwork").resolve():
    sys.exit(
        f"Error: '{fieldwork.__file__}' is imported already, and the library of this clone is in '{CLONE}/scripts'; "
        "a workflow can use one clone only"
    )

from fieldwork import InputError
from fieldwork.cluster import failed_jobs, slurm
from fieldwork.inputs.remote import Remote
from fieldwork.planning import configuration, provenance, resources, runs, snakemake_workarounds
from fieldwork.planning.plan import DEMO_IMAGES, DEMO_SLIDE, DEMO_STACK, DEMO_TISSUE, Caller, make_plan, locate
from fieldwork.planning.plates import SCREEN, SCREEN_PICTURES, TABLES
from fieldwork.planning.resources import benchmark_time_limit_min, memory_mb, small_memory_mb, small_time_limit_min
from fieldwork.surroundings import limits
from fieldwork.surroundings.tries import Tries

snakemake_workarounds.keep_warnings_harmless()
snakemake_workarounds.show_any_path()
snakemake_workarounds.collect_garbage_seldom()
snakemake_workarounds.hand_library_to_jobs(CLONE / "scripts")

# Within a cluster's jobs, and where such jobs are planned: there the profile has a number of them, `jobs`.
ON_CLUSTER = workflow.remote_exec or workflow.resource_settings.nodes is not None
# Jobs on this machine together take no more than it has for this run. `--touch` and the like have no cores.
cores, room = workflow.resource_settings.cores, None
if workflow.is_main_process and cores and not ON_CLUSTER:
    cores = resources.usable_cores(cores)
    room = resources.Room(workflow.global_resources["mem_mb"].value if "mem_mb" in workflow.global_resources else None)
    if workflow.modifier.is_main_snakefile():  # not the other rules of a workflow that has this one as a module
        workflow.register_resource("_cores", cores)
        workflow.register_resource("mem_mb", room.megabytes)

CALLER = Caller(
    main=workflow.is_main_process,
    namespace=None if workflow.modifier.is_main_snakefile() else workflow.modifier.namespace,
    cores=cores or 8,
    on_cluster=ON_CLUSTER,
)

if CALLER.main:
    snakemake_workarounds.settle(workflow, is_main=CALLER.namespace is None)
    if CALLER.namespace is None:
        # A plate's job has hundreds of inputs; only the logs list them.
        snakemake_workarounds.hide_noise(workflow, noise=[Quietness.RULES, Quietness.REASON, Quietness.HOST])
        snakemake_workarounds.report_what_is_drawn(workflow)
    failed_jobs.show_failed_jobs(RemoteExecutor)
    slurm.follow_stopped_jobs(sys.modules.get("snakemake_executor_plugin_slurm"), logger)

with snakemake_workarounds.one_line_errors():
    if CALLER.main:
        limits.check(workers=0 if ON_CLUSTER else CALLER.cores)
    resources.refuse_memory_per_cpu(
        workflow.resource_settings.default_resources or {}, workflow.resource_settings.overwrite_resources
    )
    settings = configuration.read(
        config,
        caller=CALLER,
        named=[*map(str, workflow.overwrite_configfiles), *["--config"] * bool(workflow.config_settings.config)],
        merge=update_config,
    )
    config = settings.values


pathvars:
    results=config["results"],


with snakemake_workarounds.one_line_errors():
    plan = make_plan(
        settings,
        caller=CALLER,
        remote=Remote(storage, asks=CALLER.main),
        location_of=lambda path: locate(
            path,
            prefixed=workflow.modifier.path_modifier.replace_prefix,
            filled=workflow.pathvars.apply,
            source=settings.source,
        ),
    )
    plan = snakemake_workarounds.ForRules(plan)
tries = Tries(config["results"], on_cluster=ON_CLUSTER)


wildcard_constraints:
    plate="[^/]+",
    slide="[^/]+",
    stack="[^/]+",
    unit=r"all|[A-Z]+\d+(_s\d+)?",


def made_by(script):
    """Tie a rule's outputs to the bytes of its script and of every library module behind it."""
    return provenance.digest(CLONE / "scripts" / f"{script}.py")


def fitting(threads, memory):
    """Return an input function: as many threads of a job as this machine has memory for."""
    return room.threads(threads, memory) if room else threads


def unit_tables(path):
    """Return an input function: one table of every unit of a plate, in the order of its rows."""
    return lambda wildcards: expand(path, plate=wildcards.plate, unit=plan.plates.units(wildcards.plate))


def of_plates(path, names):
    """Return an input function: one file of every plate that a function of the plan names."""
    return lambda wildcards: expand(path, plate=names(wildcards))


def batch_tables(path):
    """Return an input function: one file of every slide of a batch."""
    return lambda wildcards: expand(path, slide=plan.slides.batch(wildcards))


runs.own_jobs()
if CALLER.main:
    plan.report_plates()
    show_summary = snakemake_workarounds.shown_in_the_end(workflow, plan.summary, plan.nothing_came)
