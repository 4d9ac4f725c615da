rule filter_images:
    """Filter the images of one plate, and measure them before and after."""
    input:
        local(image_sources),
        fetched=fetched_images,
    output:
        # The filtered images lie beside it.
        "<results>/plates/{plate}/filtered/filtered.csv",
    log:
        "<logs>/plates/{plate}/filter_images.log",
    benchmark:
        "<benchmarks>/plates/{plate}/filter_images.tsv"
    conda:
        "../envs/fieldwork.yaml"
    threads: threads_among(len(PLATES))
    resources:
        mem_mb=pool_memory,
        runtime=minutes,
    params:
        images=image_rows,
        urls=image_urls,
        channel=lambda wildcards: PLATES[wildcards.plate].channel,
        filters=config["filters"],
        own_modules=own_modules(each["function"] for each in config["filters"]["chain"]),
        stamps=image_stamps,
        made_by=made_by("filter_images"),
    script:
        "../scripts/filter_images.py"
