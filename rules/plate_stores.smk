rule write_plate_store:
    """Write a plate as one OME-Zarr store, with all its channels, and its nuclei as a label image."""
    input:
        local(plan.plates.newest_of_all_images),
        fetched=plan.plates.all_fetched_images,
        nuclei="<results>/plates/{plate}/nuclei.parquet",
        fields="<results>/plates/{plate}/fields.csv",
        labels=of_plates("<results>/plates/{plate}/labels.zarr/zarr.json", plan.plates.labels),
    output:
        # The store beside it is not declared: Snakemake would put a file of its own into it.
        "<results>/plates/{plate}/{plate}.ome.zarr.json",
    log:
        "<logs>/plates/{plate}/write_plate_store.log",
    benchmark:
        "<benchmarks>/plates/{plate}/write_plate_store.tsv"
    priority: 2 * plan.url_priority
    conda:
        "../envs/fieldwork.yaml"
    threads: fitting(plan.plates.threads, plan.plates.store_memory)
    resources:
        mem_mb=plan.plates.store_memory,
        runtime=plan.plates.minutes,
    params:
        store=plan.plates.store,
        images=plan.plates.all_images,
        urls=plan.plates.all_image_urls,
        channel=plan.plates.channel,
        sigma=plan.plates.sigma,
        settings=plan.plates.store_settings,
        on_bad_image=config["on_bad_image"],
        stamps=plan.plates.all_image_stamps,
        tried=tries.of("plates/{plate}/{plate}.ome.zarr"),
        made_by=made_by("write_plate_store"),
    script:
        "../scripts/write_plate_store.py"
