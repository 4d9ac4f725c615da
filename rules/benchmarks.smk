rule benchmarks:
    """Measure which ways are the fastest on this machine, and draw charts."""
    input:
        [f"<results>/benchmarks/{chart}.png" for chart in ("methods", "scaling", "fan_out") if plan.plates.names],
        "<results>/benchmarks/slides.png" if plan.slides.rows else [],
        "<results>/benchmarks/filters.png",
        "<results>/benchmarks/stack.png",
        "<results>/benchmarks/gpu.png" if plan.has_gpu else [],
    localrule: True


rule benchmark_methods:
    """Measure ways of finding nuclei on the images of the first plate."""
    input:
        local(plan.benchmarks.images),
        plan.benchmarks.fetched_images,
    output:
        methods="<results>/benchmarks/methods.csv",
        scaling="<results>/benchmarks/scaling.csv",
        machine="<results>/benchmarks/machine.csv",
    log:
        "<logs>/benchmarks/benchmark_methods.log",
    benchmark:
        "<benchmarks>/benchmarks/benchmark_methods.tsv"
    conda:
        "../envs/fieldwork.yaml"
    threads: CALLER.cores  # alone on the machine: other jobs would be measured too
    resources:
        mem_mb=lambda wildcards, input, threads: memory_mb(threads, held=9 * input.size_mb),
        gpu=int(plan.has_gpu),
        runtime=benchmark_time_limit_min,
    params:
        plate=plan.benchmarks.plate,
        channel=plan.benchmarks.channel,
        detection=plan.benchmarks.detection,
        made_by=made_by("benchmark_methods"),
    script:
        "../scripts/benchmark_methods.py"


rule benchmark_fan_out:
    """Measure the time per field when a job takes a plate, a well or a field."""
    input:
        local(plan.benchmarks.images),
        plan.benchmarks.fetched_images,
        # Not read: it keeps these two benchmarks from running at the same time.
        "<results>/benchmarks/methods.csv",
    output:
        fan_out="<results>/benchmarks/fan_out.csv",
    log:
        "<logs>/benchmarks/benchmark_fan_out.log",
    benchmark:
        "<benchmarks>/benchmarks/benchmark_fan_out.tsv"
    conda:
        "../envs/fieldwork.yaml"
    threads: CALLER.cores
    resources:
        mem_mb=lambda wildcards, threads: threads * 700,
        runtime=benchmark_time_limit_min,
    params:
        plate=plan.benchmarks.plate,
        images=plan.benchmarks.fields,
        channel=plan.benchmarks.channel,
        settings={
            "nuclei": plan.benchmarks.nuclei_settings,
            **{key: config[key] for key in ("pool", "quality", "on_bad_image", "max_failed_fields")},
        },
        snakefile=str(CLONE / "Snakefile"),
        made_by=made_by("benchmark_fan_out"),
    script:
        "../scripts/benchmark_fan_out.py"


rule plot_benchmarks:
    """Draw the benchmarks."""
    input:
        methods="<results>/benchmarks/methods.csv",
        scaling="<results>/benchmarks/scaling.csv",
        fan_out="<results>/benchmarks/fan_out.csv",
        machine="<results>/benchmarks/machine.csv",
    output:
        methods=report(
            "<results>/benchmarks/methods.png",
            caption="report/benchmark.rst",
            category="Benchmarks",
            labels={"benchmark": "methods"},
        ),
        scaling=report(
            "<results>/benchmarks/scaling.png",
            caption="report/benchmark.rst",
            category="Benchmarks",
            labels={"benchmark": "number of workers"},
        ),
        fan_out=report(
            "<results>/benchmarks/fan_out.png",
            caption="report/benchmark.rst",
            category="Benchmarks",
            labels={"benchmark": "fan-out"},
        ),
    log:
        "<logs>/benchmarks/plot_benchmarks.log",
    benchmark:
        "<benchmarks>/benchmarks/plot_benchmarks.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
        runtime=small_time_limit_min,
    params:
        made_by=made_by("plot_benchmarks"),
    script:
        "../scripts/plot_benchmarks.py"


rule benchmark_slides:
    """Measure ways of loading a slide: the first one that can be read."""
    input:
        [local(path) for path in plan.slides.paths_on_disk],
        plan.slides.all_fetched,
    output:
        slides="<results>/benchmarks/slides.csv",
        machine="<results>/benchmarks/slides_machine.csv",
    log:
        "<logs>/benchmarks/benchmark_slides.log",
    benchmark:
        "<benchmarks>/benchmarks/benchmark_slides.tsv"
    conda:
        "../envs/fieldwork.yaml"
    threads: CALLER.cores  # as above
    resources:
        # A region of 4096 x 4096 px, several times over; a worker holds strips or blocks, and the reader's caches.
        mem_mb=lambda wildcards, threads: memory_mb(threads, held=300 + 2000 * plan.has_gpu),
        gpu=int(plan.has_gpu),
        runtime=benchmark_time_limit_min,
    params:
        made_by=made_by("benchmark_slides"),
    script:
        "../scripts/benchmark_slides.py"


rule plot_slide_benchmark:
    """Draw the benchmark of loading a slide."""
    input:
        slides="<results>/benchmarks/slides.csv",
        machine="<results>/benchmarks/slides_machine.csv",
    output:
        slides=report(
            "<results>/benchmarks/slides.png",
            caption="report/benchmark.rst",
            category="Benchmarks",
            labels={"benchmark": "loading of a slide"},
        ),
    log:
        "<logs>/benchmarks/plot_slide_benchmark.log",
    benchmark:
        "<benchmarks>/benchmarks/plot_slide_benchmark.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
        runtime=small_time_limit_min,
    params:
        made_by=made_by("plot_benchmarks"),
    script:
        "../scripts/plot_benchmarks.py"


rule benchmark_frames:
    """Measure ways to work through many generated images: batches to filter, and a stack."""
    output:
        filters="<results>/benchmarks/filters.csv",
        stack="<results>/benchmarks/stack.csv",
        machine="<results>/benchmarks/frames_machine.csv",
    log:
        "<logs>/benchmarks/benchmark_frames.log",
    benchmark:
        "<benchmarks>/benchmarks/benchmark_frames.tsv"
    conda:
        "../envs/fieldwork.yaml"
    threads: CALLER.cores  # as above
    resources:
        # A stack of 210 MB, several times over; a worker holds an image of 2048 x 2048 px, also as real numbers.
        mem_mb=lambda wildcards, threads: memory_mb(threads, held=300),
        runtime=benchmark_time_limit_min,
    params:
        made_by=made_by("benchmark_frames"),
    script:
        "../scripts/benchmark_frames.py"


rule benchmark_gpu:
    """Measure detection on a GPU against one core, in generated fields and tiles."""
    output:
        gpu="<results>/benchmarks/gpu.csv",
        machine="<results>/benchmarks/gpu_machine.csv",
    log:
        "<logs>/benchmarks/benchmark_gpu.log",
    benchmark:
        "<benchmarks>/benchmarks/benchmark_gpu.tsv"
    conda:
        "../envs/fieldwork.yaml"
    threads: CALLER.cores  # as above
    resources:
        mem_mb=lambda wildcards, threads: memory_mb(threads, held=5800),  # 2,000 fields of 2.6 MB
        gpu=1,
        runtime=benchmark_time_limit_min,
    params:
        detection=plan.benchmarks.detection,
        slide_detection=config["slide"]["nuclei"],
        made_by=made_by("benchmark_gpu"),
    script:
        "../scripts/benchmark_gpu.py"


rule plot_gpu_benchmark:
    """Draw the benchmark of a GPU."""
    input:
        gpu="<results>/benchmarks/gpu.csv",
        machine="<results>/benchmarks/gpu_machine.csv",
    output:
        gpu=report(
            "<results>/benchmarks/gpu.png",
            caption="report/benchmark.rst",
            category="Benchmarks",
            labels={"benchmark": "GPU"},
        ),
    log:
        "<logs>/benchmarks/plot_gpu_benchmark.log",
    benchmark:
        "<benchmarks>/benchmarks/plot_gpu_benchmark.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
        runtime=small_time_limit_min,
    params:
        made_by=made_by("plot_benchmarks"),
    script:
        "../scripts/plot_benchmarks.py"


rule plot_frame_benchmarks:
    """Draw the benchmarks of many images."""
    input:
        filters="<results>/benchmarks/filters.csv",
        stack="<results>/benchmarks/stack.csv",
        machine="<results>/benchmarks/frames_machine.csv",
    output:
        filters=report(
            "<results>/benchmarks/filters.png",
            caption="report/benchmark.rst",
            category="Benchmarks",
            labels={"benchmark": "filter batches"},
        ),
        stack=report(
            "<results>/benchmarks/stack.png",
            caption="report/benchmark.rst",
            category="Benchmarks",
            labels={"benchmark": "frames of a stack"},
        ),
    log:
        "<logs>/benchmarks/plot_frame_benchmarks.log",
    benchmark:
        "<benchmarks>/benchmarks/plot_frame_benchmarks.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
        runtime=small_time_limit_min,
    params:
        made_by=made_by("plot_benchmarks"),
    script:
        "../scripts/plot_benchmarks.py"


rule plot_jobs:
    """Draw the time and the memory of the jobs that made the tables, by rule."""
    input:
        plate_wells,
        slide_tables(),
        stack_tables(),
        filtered_tables(),
    output:
        report(
            "<results>/jobs.png",
            caption="report/jobs.rst",
            category="Run",
            labels={"picture": "time and memory of jobs"},
        ),
    log:
        "<logs>/plot_jobs.log",
    localrule: True
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
    params:
        benchmarks=plan.folders.benchmarks,
        made_by=made_by("plot_jobs"),
    script:
        "../scripts/plot_jobs.py"
