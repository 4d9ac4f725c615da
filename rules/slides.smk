rule convert_slide:
    """Convert a slide to OME-Zarr, with its pyramid, its pictures and a label of the tissue."""
    input:
        local(plan.slides.newest_file),
        fetched=plan.slides.fetched,
    output:
        # The store beside it is not declared: Snakemake would put a file of its own into it, and a failed slide has none.
        "<results>/slides/{slide}/slide.json",
    log:
        "<logs>/slides/{slide}/convert_slide.log",
    benchmark:
        "<benchmarks>/slides/{slide}/convert_slide.tsv"
    conda:
        "../envs/fieldwork.yaml"
    threads: fitting(plan.slides.threads, plan.slides.conversion_memory)
    resources:
        mem_mb=plan.slides.conversion_memory,
        runtime=plan.slides.minutes,
    params:
        path=plan.slides.path,
        store=plan.slides.store,
        settings=plan.slides.settings,
        max_failed=config["max_failed_fields"],
        stamps=plan.slides.stamps,
        tried=tries.of("slides/{slide}/slide"),
        made_by=made_by("convert_slide"),
    script:
        "../scripts/convert_slide.py"


rule calibrate_slide:
    """Find out how large and how dark the nuclei of a slide are, on a sample of its tissue."""
    input:
        "<results>/slides/{slide}/slide.json",
    output:
        "<results>/slides/{slide}/calibration.json",
    log:
        "<logs>/slides/{slide}/calibrate_slide.log",
    benchmark:
        "<benchmarks>/slides/{slide}/calibrate_slide.tsv"
    priority: 1  # detection waits for it
    conda:
        "../envs/fieldwork.yaml"
    threads: fitting(plan.slides.threads, plan.slides.calibration_memory)
    resources:
        mem_mb=plan.slides.calibration_memory,
        runtime=plan.slides.minutes,
    params:
        store=plan.slides.store,
        detection=plan.slides.nuclei,
        own_code=plan.slide_code,
        tried=tries.of("slides/{slide}/calibration"),
        made_by=made_by("calibrate_slide"),
    script:
        "../scripts/calibrate_slide.py"


rule plot_slide_calibration:
    """Draw what is found in some tiles of a slide's sample."""
    input:
        facts="<results>/slides/{slide}/slide.json",
        record="<results>/slides/{slide}/calibration.json",
    output:
        report(
            "<results>/slides/{slide}/calibration.png",
            caption="report/slide_calibration.rst",
            category="Slides",
            labels={"slide": "{slide}", "picture": "calibration"},
        ),
    log:
        "<logs>/slides/{slide}/plot_slide_calibration.log",
    benchmark:
        "<benchmarks>/slides/{slide}/plot_slide_calibration.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=plan.slides.calibration_memory,
        runtime=plan.slides.minutes,
    params:
        store=plan.slides.store,
        made_by=made_by("plot_slide_calibration"),
    script:
        "../scripts/plot_slide_calibration.py"


rule detect_slide_nuclei:
    """Find the nuclei of a slide where there is tissue: outlines, or peaks where the configuration has a threshold."""
    input:
        facts="<results>/slides/{slide}/slide.json",
        calibration=plan.slides.calibrations("<results>/slides/{slide}/calibration.json"),
        regions=local(plan.slides.newest_regions),
    output:
        nuclei="<results>/slides/{slide}/nuclei.parquet",
        tiles="<results>/slides/{slide}/tiles.parquet",
    log:
        "<logs>/slides/{slide}/detect_slide_nuclei.log",
    benchmark:
        "<benchmarks>/slides/{slide}/detect_slide_nuclei.tsv"
    conda:
        "../envs/fieldwork.yaml"
    threads: fitting(plan.slides.threads, plan.slides.detection_memory)
    resources:
        mem_mb=plan.slides.detection_memory,
        gpu=int(plan.has_gpu),
        runtime=plan.slides.minutes,
    params:
        store=plan.slides.store,
        tile=config["slide"]["tile"],
        detection={**{key: config["slide"][key] for key in ("ring_um", "positive")}, "nuclei": plan.slides.nuclei},
        own_code=plan.slide_code,
        made_of=plan.slides.made_of,
        regions=plan.slides.regions,
        regions_stamps=plan.slides.regions_stamps,
        tried=tries.of("slides/{slide}/nuclei"),
        made_by=made_by("detect_slide_nuclei"),
    script:
        "../scripts/detect_slide_nuclei.py"


rule count_slide_regions:
    """Count the nuclei in the regions that the sheet names for a slide."""
    input:
        facts="<results>/slides/{slide}/slide.json",
        nuclei="<results>/slides/{slide}/nuclei.parquet",
        tiles="<results>/slides/{slide}/tiles.parquet",
        regions=local(plan.slides.newest_regions),
    output:
        "<results>/slides/{slide}/regions.csv",
    log:
        "<logs>/slides/{slide}/count_slide_regions.log",
    benchmark:
        "<benchmarks>/slides/{slide}/count_slide_regions.tsv"
    localrule: True
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=1000,
    params:
        plate=plan.slides.plate,
        regions=plan.slides.regions,
        regions_stamps=plan.slides.regions_stamps,
        max_failed=config["max_failed_fields"],
        made_by=made_by("count_slide_regions"),
    script:
        "../scripts/count_slide_regions.py"


rule merge_slides:
    """Join the slides of one batch into a table of one row each."""
    input:
        slides=batch_tables("<results>/slides/{slide}/slide.json"),
        tiles=batch_tables("<results>/slides/{slide}/tiles.parquet"),
        nuclei=batch_tables("<results>/slides/{slide}/nuclei.parquet"),
    output:
        "<results>/plates/{plate}/slides.csv",
    log:
        "<logs>/plates/{plate}/merge_slides.log",
    benchmark:
        "<benchmarks>/plates/{plate}/merge_slides.tsv"
    localrule: True
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=1000,
    params:
        on_bad_image=config["on_bad_image"],
        max_failed=config["max_failed_fields"],
        made_by=made_by("merge_slides"),
    script:
        "../scripts/merge_slides.py"


rule plot_slide:
    """Draw a slide: its tissue, and the density of its nuclei."""
    input:
        facts="<results>/slides/{slide}/slide.json",
        nuclei="<results>/slides/{slide}/nuclei.parquet",
    output:
        report(
            "<results>/slides/{slide}/overview.png",
            caption="report/slide.rst",
            category="Slides",
            labels={"slide": "{slide}", "picture": "tissue and density of nuclei"},
        ),
    log:
        "<logs>/slides/{slide}/plot_slide.log",
    benchmark:
        "<benchmarks>/slides/{slide}/plot_slide.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
        runtime=small_time_limit_min,
    params:
        store=plan.slides.store,
        made_by=made_by("plot_slide"),
    script:
        "../scripts/plot_slide.py"
