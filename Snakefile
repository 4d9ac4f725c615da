"""Fieldwork: plates, image stacks and whole slides to tables."""

from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")


include: "rules/common.smk"
include: "rules/targets.smk"


report: "rules/report/workflow.rst"


# First, and so the default, also of a workflow that begins with this one as a module.
rule all:
    """Everything that the sheets name."""
    input:
        plate_products(),
        screen_tables(),
        screen_pictures(),
        filtered_tables(),
        slide_tables(),
        stack_tables(),
        expand("<results>/plates/{plate}/{plate}.ome.zarr.json", plate=plan.plates.stored if CALLER.main else []),
        [] if plan.is_empty else ["<results>/jobs.png", "<results>/summary.html"],
        expand("<results>/slides/{slide}/{picture}.png", slide=plan.slides.rows, picture=["overview", "calibration"]),
        expand("<results>/stacks/{stack}/frames.png", stack=plan.stacks.rows),
        expand("<results>/stacks/{stack}/calibration.png", stack=plan.stacks.with_nuclei),
    localrule: True


rule tables:
    """The tables alone."""
    input:
        plate_tables,
        screen_tables(),
        filtered_tables(),
        slide_tables(),
        stack_tables(),
    localrule: True


include: "rules/demo.smk"
include: "rules/downloads.smk"
include: "rules/plates.smk"
include: "rules/filters.smk"
include: "rules/screen.smk"
include: "rules/plate_stores.smk"
include: "rules/slides.smk"
include: "rules/stacks.smk"
include: "rules/benchmarks.smk"


onstart:
    try:
        plan.part.start_run()
    except InputError as error:
        raise WorkflowError(str(error)) from None


onsuccess:
    show_summary()


onerror:
    snakemake_workarounds.end_timers()
    print("The run failed, see above. What it finished is kept, and the same command goes on from there.")
