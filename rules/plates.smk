rule detect_nuclei:
    """Find the nuclei in every field of one unit: a plate, a well or a field."""
    input:
        image_paths,
    output:
        nuclei="<results>/plates/{plate}/units/{unit}.parquet",
        fields="<results>/plates/{plate}/units/{unit}.fields.parquet",
    log:
        "<logs>/plates/{plate}/units/{unit}.log",
    benchmark:
        "<benchmarks>/plates/{plate}/units/{unit}.tsv"
    conda:
        "../envs/fieldwork.yaml"
    threads: unit_threads
    resources:
        mem_mb=pool_memory,
    params:
        images=image_rows,
        channel=lambda wildcards: PLATES[wildcards.plate].channel,
        detection=DETECTION,
        quality=config["quality"],
        stamps=image_stamps,
        made_by=made_by("detect_nuclei"),
    script:
        "../scripts/detect_nuclei.py"


rule merge_units:
    """Join the units of one plate into its tables."""
    input:
        unpack(plate_platemap),
        nuclei=unit_tables("<results>/plates/{plate}/units/{unit}.parquet"),
        fields=unit_tables("<results>/plates/{plate}/units/{unit}.fields.parquet"),
    output:
        nuclei="<results>/plates/{plate}/nuclei.parquet",
        fields="<results>/plates/{plate}/fields.csv",
        wells="<results>/plates/{plate}/wells.csv",
    log:
        "<logs>/plates/{plate}/merge_units.log",
    benchmark:
        "<benchmarks>/plates/{plate}/merge_units.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=1000,  # 1 million nuclei, as tables and as their Parquet file, take about 300 MB
    params:
        quality=config["quality"],
        on_bad_image=config["on_bad_image"],
        max_failed_fields=config["max_failed_fields"],
        stamps=lambda wildcards: stamps(plate_platemap(wildcards).values()),
        made_by=made_by("merge_units"),
    script:
        "../scripts/merge_units.py"


rule plot_densities:
    """Draw random fields of a plate, sorted by their number of nuclei."""
    input:
        nuclei="<results>/plates/{plate}/nuclei.parquet",
        fields="<results>/plates/{plate}/fields.csv",
    output:
        "<results>/plates/{plate}/densities.png",
    log:
        "<logs>/plates/{plate}/plot_densities.log",
    benchmark:
        "<benchmarks>/plates/{plate}/plot_densities.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=1000,
    params:
        channel=lambda wildcards: PLATES[wildcards.plate].channel,
        made_by=made_by("plot_densities"),
    script:
        "../scripts/plot_densities.py"
