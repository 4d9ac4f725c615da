rule write_plate_store:
    """Write a plate as one OME-Zarr, with all its channels, and its nuclei as a label."""
    input:
        local(all_image_sources),
        fetched=all_fetched_images,
        nuclei="<results>/plates/{plate}/nuclei.parquet",
        fields="<results>/plates/{plate}/fields.csv",
    output:
        # The store beside it is not declared: Snakemake would put a file of its own into it.
        "<results>/plates/{plate}/{plate}.ome.zarr.json",
    log:
        "<logs>/plates/{plate}/write_plate_store.log",
    benchmark:
        "<benchmarks>/plates/{plate}/write_plate_store.tsv"
    priority: SOON
    conda:
        "../envs/fieldwork.yaml"
    threads: threads_among(len(PLATES))
    resources:
        mem_mb=plate_store_memory,
        runtime=minutes,
    params:
        store=plate_store,
        images=lambda wildcards: [tuple(image) for image in PLATES[wildcards.plate].scan.images],
        urls=all_image_urls,
        channel=lambda wildcards: PLATES[wildcards.plate].channel,
        sigma=config["nuclei"]["sigma"],
        settings=plate_store_settings(),
        on_bad_image=config["on_bad_image"],
        stamps=all_image_stamps,
        made_by=made_by("write_plate_store"),
    script:
        "../scripts/write_plate_store.py"
