rule measure_frames:
    """Apply a function to every frame of a stack, in order."""
    input:
        local(stack_sources),
        fetched=fetched_stack,
    output:
        **({"nuclei": "<results>/stacks/{stack}/nuclei.parquet"} if FRAME_FUNCTION == "nuclei" else {}),
        # Images that the function gives lie beside it. They are not declared: whether there are any shows only when
        # the function has been called, and Snakemake would put a file of its own into a Zarr store.
        frames="<results>/stacks/{stack}/frames.csv",
    log:
        "<logs>/stacks/{stack}/measure_frames.log",
    benchmark:
        "<benchmarks>/stacks/{stack}/measure_frames.tsv"
    conda:
        "../envs/fieldwork.yaml"
    threads: threads_among(len(STACKS))
    resources:
        mem_mb=pool_memory,
        runtime=minutes,
    params:
        path=lambda wildcards: STACKS[wildcards.stack]["path"],
        place={"channel": config["stack"]["channel"], "z": config["stack"]["z"]},
        work=FRAME_WORK,
        images=None if FRAME_FUNCTION == "nuclei" else config["stack"]["images"],
        own_modules=own_modules([FRAME_FUNCTION]),
        stamps=stack_stamps,
        made_by=made_by("measure_frames"),
    script:
        "../scripts/measure_frames.py"


rule plot_stack:
    """Draw a stack: what was measured, frame by frame, and a few of its frames."""
    input:
        local(stack_sources),
        **({"nuclei": "<results>/stacks/{stack}/nuclei.parquet"} if FRAME_FUNCTION == "nuclei" else {}),
        fetched=fetched_stack,
        frames="<results>/stacks/{stack}/frames.csv",
    output:
        report(
            "<results>/stacks/{stack}/frames.png",
            caption="report/stack.rst",
            category="Stacks",
            labels={"stack": "{stack}", "picture": "frame by frame"},
        ),
    log:
        "<logs>/stacks/{stack}/plot_stack.log",
    benchmark:
        "<benchmarks>/stacks/{stack}/plot_stack.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory,
    params:
        path=lambda wildcards: STACKS[wildcards.stack]["path"],
        place={"channel": config["stack"]["channel"], "z": config["stack"]["z"]},
        made_by=made_by("plot_stack"),
    script:
        "../scripts/plot_stack.py"
