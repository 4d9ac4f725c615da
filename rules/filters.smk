rule filter_images:
    """Filter the images of one plate, and measure them before and after."""
    input:
        local(plan.plates.newest_image),
        fetched=plan.plates.fetched_images,
    output:
        # The filtered images lie beside the table.
        "<results>/plates/{plate}/filtered/filtered.csv",
    log:
        "<logs>/plates/{plate}/filter_images.log",
    benchmark:
        "<benchmarks>/plates/{plate}/filter_images.tsv"
    conda:
        "../envs/fieldwork.yaml"
    threads: fitting(plan.plates.threads, plan.plates.pool_memory)
    resources:
        mem_mb=plan.plates.pool_memory,
        runtime=plan.plates.minutes,
    params:
        images=plan.plates.image_rows,
        urls=plan.plates.image_urls,
        channel=plan.plates.channel,
        filters=config["filters"],
        own_modules=plan.own_modules([step["function"] for step in config["filters"]["chain"]]),
        stamps=plan.plates.image_stamps,
        tried=tries.of("plates/{plate}/filtered"),
        made_by=made_by("filter_images"),
    script:
        "../scripts/filter_images.py"
