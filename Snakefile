"""Fieldwork: plates, image stacks and whole slides to tables."""

from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")


include: "rules/common.smk"


# First, and so the default, also of a workflow that begins with this one as a module.
rule all:
    """Everything that the sheets name."""
    input:
        plate_products() if workflow.is_main_process else [],  # jobs open no plate but their own
        filtered_tables(),
        slide_tables(),
        stack_tables(),
        expand("<results>/plates/{plate}/{plate}.ome.zarr.json", plate=stored() if workflow.is_main_process else []),
        "<results>/jobs.png" if PLATES or UNREADY or SLIDES or STACKS else [],
        expand("<results>/slides/{slide}/overview.png", slide=SLIDES),
        expand("<results>/stacks/{stack}/frames.png", stack=STACKS),
    localrule: True


rule tables:
    """The tables alone."""
    input:
        plate_tables,
        filtered_tables(),
        slide_tables(),
        stack_tables(),
    localrule: True


include: "rules/demo.smk"
include: "rules/downloads.smk"
include: "rules/plates.smk"
include: "rules/filters.smk"
include: "rules/plate_stores.smk"
include: "rules/slides.smk"
include: "rules/stacks.smk"
include: "rules/benchmarks.smk"


onstart:
    start_run()


onsuccess:
    snakemake_workarounds.end_timers()
    folders = [archive.folder for archive in DOWNLOADS.values()]
    print(runs.summary([*PLATES, *UNREADY], SLIDES, STACKS, config["results"], LOGS, downloads=folders))


onerror:
    snakemake_workarounds.end_timers()
    print("The run failed, see above. What it finished is kept, and the same command goes on from there.")
