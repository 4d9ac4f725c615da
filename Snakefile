"""Fieldwork: plates, image stacks and whole slides to tables."""

from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")


include: "rules/common.smk"


pathvars:
    results=config["results"],


include: "rules/demo.smk"
include: "rules/plates.smk"
include: "rules/filters.smk"
include: "rules/plate_stores.smk"
include: "rules/slides.smk"
include: "rules/stacks.smk"
include: "rules/benchmarks.smk"


# Too small to be jobs of a cluster, each of which costs seconds.
localrules:
    all,
    tables,
    merge_units,
    merge_slides,
    plot_jobs,


rule all:
    """Everything that the sheets name."""
    default_target: True
    input:
        plate_pictures,
        filtered_tables(),
        slide_tables(),
        stack_tables(),
        lambda wildcards: expand("<results>/plates/{plate}/{plate}.ome.zarr.json", plate=stored()),
        "<results>/jobs.png" if PLATES or SLIDES or STACKS else [],
        expand("<results>/slides/{slide}/overview.png", slide=SLIDES),
        expand("<results>/stacks/{stack}/frames.png", stack=STACKS),


rule tables:
    """The tables alone."""
    input:
        plate_tables(),
        filtered_tables(),
        slide_tables(),
        stack_tables(),


onstart:
    start_run()


onsuccess:
    runs.end_timers()
    print(runs.summary(PLATES, SLIDES, STACKS, config["results"]))


onerror:
    runs.end_timers()
    print("The run failed, see above. What it finished is kept, and the same command goes on from there.")
