rule calibrate_stack:
    """Find out how large and how bright the nuclei of a stack are, on a sample of its frames."""
    input:
        local(plan.stacks.newest_file),
        fetched=plan.stacks.fetched,
    output:
        "<results>/stacks/{stack}/calibration.json",
    log:
        "<logs>/stacks/{stack}/calibrate_stack.log",
    benchmark:
        "<benchmarks>/stacks/{stack}/calibrate_stack.tsv"
    priority: 1  # detection waits for it
    conda:
        "../envs/fieldwork.yaml"
    threads: fitting(plan.stacks.threads, plan.stacks.calibration_memory)
    resources:
        mem_mb=plan.stacks.calibration_memory,
        gpu=plan.stacks.gpus,
        runtime=plan.stacks.minutes,
    params:
        path=plan.stacks.path,
        selection=plan.stacks.selection,
        work=plan.stacks.frame_work,
        own_code=plan.stack_code,
        stamps=plan.stacks.stamps,
        tried=tries.of("stacks/{stack}/calibration"),
        made_by=made_by("calibrate_stack"),
    script:
        "../scripts/calibrate_stack.py"


rule plot_stack_calibration:
    """Draw what is found in some frames of a stack's sample."""
    input:
        local(plan.stacks.newest_file),
        record="<results>/stacks/{stack}/calibration.json",
        fetched=plan.stacks.fetched,
    output:
        calibration=report(
            "<results>/stacks/{stack}/calibration.png",
            caption="report/stack_calibration.rst",
            category="Stacks",
            labels={"stack": "{stack}", "picture": "calibration"},
        ),
    log:
        "<logs>/stacks/{stack}/plot_stack_calibration.log",
    benchmark:
        "<benchmarks>/stacks/{stack}/plot_stack_calibration.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=plan.stacks.calibration_memory,
        gpu=plan.stacks.gpus,
        runtime=plan.stacks.minutes,
    params:
        path=plan.stacks.path,
        selection=plan.stacks.selection,
        work=plan.stacks.frame_work,
        own_code=plan.stack_code,
        made_by=made_by("plot_stack_calibration"),
    script:
        "../scripts/plot_stack_calibration.py"


rule measure_frames:
    """Apply a function to every frame of a stack, in order."""
    input:
        local(plan.stacks.newest_file),
        **({"calibration": "<results>/stacks/{stack}/calibration.json"} if plan.stacks.takes_calibration else {}),
        fetched=plan.stacks.fetched,
    output:
        **({"nuclei": "<results>/stacks/{stack}/nuclei.parquet"} if plan.stacks.finds_nuclei else {}),
        **({"labels": f"<results>/stacks/{{stack}}/{plan.stacks.labels}"} if plan.stacks.labels else {}),
        # Images that the function returns lie beside the table. They are not declared: only a call of the function
        # shows whether it returns images, and Snakemake would put a file of its own into a Zarr store.
        frames="<results>/stacks/{stack}/frames.csv",
    log:
        "<logs>/stacks/{stack}/measure_frames.log",
    benchmark:
        "<benchmarks>/stacks/{stack}/measure_frames.tsv"
    conda:
        "../envs/fieldwork.yaml"
    threads: fitting(plan.stacks.threads, plan.stacks.pool_memory)
    resources:
        mem_mb=plan.stacks.pool_memory,
        gpu=plan.stacks.gpus,
        runtime=plan.stacks.minutes,
    params:
        path=plan.stacks.path,
        selection=plan.stacks.selection,
        work=plan.stacks.frame_work,
        channels=plan.stacks.channels,
        images=plan.stacks.images,
        own_code=plan.stack_code,
        stamps=plan.stacks.stamps,
        tried=tries.of("stacks/{stack}/frames"),
        made_by=made_by("measure_frames"),
    script:
        "../scripts/measure_frames.py"


rule plot_stack:
    """Draw the measurements of a stack, frame by frame, and a few of its frames."""
    input:
        local(plan.stacks.newest_file),
        **({"nuclei": "<results>/stacks/{stack}/nuclei.parquet"} if plan.stacks.finds_nuclei else {}),
        **({"labels": f"<results>/stacks/{{stack}}/{plan.stacks.labels}"} if plan.stacks.labels else {}),
        fetched=plan.stacks.fetched,
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
        mem_mb=small_memory_mb,
        runtime=small_time_limit_min,
    params:
        path=plan.stacks.path,
        selection=plan.stacks.selection,
        made_by=made_by("plot_stack"),
    script:
        "../scripts/plot_stack.py"
