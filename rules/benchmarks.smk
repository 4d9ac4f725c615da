rule benchmarks:
    """Which way is the fastest on this machine, and why."""
    input:
        "<results>/benchmarks/methods.png",
        "<results>/benchmarks/scaling.png",
        "<results>/benchmarks/fan_out.png",


rule benchmark_methods:
    """Measure ways of finding nuclei on the images of the first plate."""
    input:
        benchmark_images,
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
    threads: workflow.cores or 8  # alone on the machine: anything else at work would be measured too
    resources:
        mem_mb=lambda wildcards, input, threads: int(threads * 350 + 300 + 9 * input.size_mb),
    params:
        channel=first_channel,
        detection=DETECTION,
        made_by=made_by("benchmark_methods"),
    script:
        "../scripts/benchmark_methods.py"


rule benchmark_fan_out:
    """Measure what a field costs when a job takes a plate, a well or a field."""
    input:
        benchmark_images,
        # Not needed, but measured first: the two must not run at the same time.
        "<results>/benchmarks/methods.csv",
    output:
        fan_out="<results>/benchmarks/fan_out.csv",
    log:
        "<logs>/benchmarks/benchmark_fan_out.log",
    benchmark:
        "<benchmarks>/benchmarks/benchmark_fan_out.tsv"
    conda:
        "../envs/fieldwork.yaml"
    threads: workflow.cores or 8
    resources:
        mem_mb=lambda wildcards, threads: threads * 700,
    params:
        images=benchmark_fields,
        channel=first_channel,
        snakefile=workflow.main_snakefile,
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
        methods="<results>/benchmarks/methods.png",
        scaling="<results>/benchmarks/scaling.png",
        fan_out="<results>/benchmarks/fan_out.png",
    log:
        "<logs>/benchmarks/plot_benchmarks.log",
    benchmark:
        "<benchmarks>/benchmarks/plot_benchmarks.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=500,
    params:
        made_by=made_by("plot_benchmarks"),
    script:
        "../scripts/plot_benchmarks.py"
