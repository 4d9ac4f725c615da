rule preview:
    """The calibration of every plate, slide and stack, and a picture of what is found in a part of it."""
    input:
        plate_calibrations,
        plate_illuminations,
        expand("<results>/slides/{slide}/calibration.{kind}", slide=plan.slides.rows, kind=["json", "png"]),
        expand("<results>/stacks/{stack}/calibration.{kind}", stack=plan.stacks.with_nuclei, kind=["json", "png"]),
    localrule: True


rule illuminate_plate:
    """Find the illumination of every measured channel of a plate, in a sample of its fields."""
    input:
        local(plan.measurements.newest_of_sample),
        fetched=plan.measurements.fetched_sample,
    output:
        # It appears with the whole folder, in one rename; beside it lies {channel}.npy of every channel.
        functions="<results>/plates/{plate}/illumination/functions.json",
        illumination=report(
            "<results>/plates/{plate}/illumination.png",
            caption="report/plate_illumination.rst",
            category="Plates",
            subcategory="{plate}",
            labels={"plate": "{plate}", "picture": "illumination"},
        ),
    log:
        "<logs>/plates/{plate}/illuminate_plate.log",
    benchmark:
        "<benchmarks>/plates/{plate}/illuminate_plate.tsv"
    priority: 1 - plan.url_priority  # calibration and detection wait for it
    conda:
        "../envs/fieldwork.yaml"
    threads: fitting(plan.plates.threads, plan.measurements.sample_memory)
    resources:
        mem_mb=plan.measurements.sample_memory,
        runtime=plan.measurements.sample_minutes,
    params:
        images=plan.measurements.sample_rows,
        urls=plan.measurements.sample_urls,
        channel=plan.plates.channel,
        z=plan.plates.z,
        nuclei_channel=plan.measurements.nuclei_channel,
        channels=plan.measurements.channels,
        background=plan.measurements.background,
        stamps=plan.measurements.sample_stamps,
        tried=tries.of("plates/{plate}/illumination/functions"),
        made_by=made_by("illuminate_plate"),
    script:
        "../scripts/illuminate_plate.py"


rule calibrate_plate:
    """Find out how large and how bright the nuclei of a plate are, on a sample of its fields."""
    input:
        local(plan.plates.newest_of_sample),
        fetched=plan.plates.fetched_sample,
        illumination=of_plates("<results>/plates/{plate}/illumination/functions.json", plan.measurements.illuminated),
        other=of_plates("<results>/plates/{plate}/calibration.json", plan.plates.calibrate_with),
    output:
        "<results>/plates/{plate}/calibration.json",
    log:
        "<logs>/plates/{plate}/calibrate_plate.log",
    benchmark:
        "<benchmarks>/plates/{plate}/calibrate_plate.tsv"
    priority: 1 - plan.url_priority  # detection waits for it
    conda:
        "../envs/fieldwork.yaml"
    threads: fitting(plan.plates.calibration_threads, plan.plates.calibration_memory)
    resources:
        mem_mb=plan.plates.calibration_memory,
        gpu=plan.plates.calibration_gpus,
        runtime=plan.plates.calibration_minutes,
    params:
        images=plan.plates.sample_rows,
        urls=plan.plates.sample_urls,
        channel=plan.plates.channel,
        z=plan.plates.z,
        nuclei_channel=plan.measurements.nuclei_channel,
        background=plan.measurements.background,
        settings=plan.plates.calibration_settings,
        own_code=plan.detection_code,
        border=plan.plates.border,
        stamps=plan.plates.sample_stamps,
        tried=tries.of("plates/{plate}/calibration"),
        made_by=made_by("calibrate_plate"),
    script:
        "../scripts/calibrate_plate.py"


rule plot_calibration:
    """Draw what is found in some fields of a plate's sample."""
    input:
        record="<results>/plates/{plate}/calibration.json",
        illumination=of_plates("<results>/plates/{plate}/illumination/functions.json", plan.measurements.illuminated),
        fetched=plan.plates.fetched_sample,
    output:
        calibration=report(
            "<results>/plates/{plate}/calibration.png",
            caption="report/plate_calibration.rst",
            category="Plates",
            subcategory="{plate}",
            labels={"plate": "{plate}", "picture": "calibration"},
        ),
    log:
        "<logs>/plates/{plate}/plot_calibration.log",
    benchmark:
        "<benchmarks>/plates/{plate}/plot_calibration.tsv"
    priority: plan.url_priority
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=plan.plates.calibration_memory,
        gpu=plan.plates.calibration_gpus,
        runtime=plan.plates.calibration_minutes,
    params:
        urls=plan.plates.sample_urls,
        channel=plan.plates.channel,
        z=plan.plates.z,
        nuclei_channel=plan.measurements.nuclei_channel,
        background=plan.measurements.background,
        settings=plan.plates.calibration_settings,
        own_code=plan.detection_code,
        border=plan.plates.border,
        made_by=made_by("plot_calibration"),
    script:
        "../scripts/plot_calibration.py"


rule detect_nuclei:
    """Find the nuclei in every field of one unit: a plate, a well or a field."""
    input:
        # `local`, here and elsewhere: a path from a sheet gets no module's prefix.
        local(plan.measurements.newest_image),
        fetched=plan.measurements.fetched_images,
        illumination=of_plates("<results>/plates/{plate}/illumination/functions.json", plan.measurements.illuminated),
        calibration=of_plates("<results>/plates/{plate}/calibration.json", plan.plates.calibrated),
    output:
        # The outlines; none of a plate with peaks.
        **({"labels": "<results>/plates/{plate}/units/{unit}.labels.parquet"} if plan.plates.keeps_labels else {}),
        **({"cells": "<results>/plates/{plate}/units/{unit}.cells.parquet"} if plan.plates.keeps_cells else {}),
        nuclei="<results>/plates/{plate}/units/{unit}.parquet",
        fields="<results>/plates/{plate}/units/{unit}.fields.parquet",
    log:
        "<logs>/plates/{plate}/units/{unit}.log",
    benchmark:
        "<benchmarks>/plates/{plate}/units/{unit}.tsv"
    priority: plan.url_priority
    conda:
        "../envs/fieldwork.yaml"
    threads: fitting(plan.plates.unit_threads, plan.measurements.unit_memory)
    resources:
        mem_mb=plan.measurements.unit_memory,
        gpu=plan.plates.unit_gpus,
        runtime=plan.measurements.unit_minutes,
    params:
        images=plan.measurements.image_rows,
        urls=plan.measurements.image_urls,
        channel=plan.plates.channel,
        z=plan.plates.z,
        nuclei_channel=plan.measurements.nuclei_channel,
        channels=plan.measurements.channels,
        background=plan.measurements.background,
        detection=plan.plates.detection,
        own_code=plan.detection_code,
        border=plan.plates.border,
        cells=plan.measurements.cells,
        cells_code=plan.cells_code,
        groups=plan.measurements.groups,
        groups_versions=plan.measurements.groups_versions,
        quality=config["quality"],
        stamps=plan.measurements.image_stamps,
        tried=tries.of("plates/{plate}/units/{unit}"),
        made_by=made_by("detect_nuclei"),
    script:
        "../scripts/detect_nuclei.py"


rule merge_units:
    """Join the units of one plate into its tables."""
    input:
        local(plan.plates.newest_platemap),
        nuclei=unit_tables("<results>/plates/{plate}/units/{unit}.parquet"),
        fields=unit_tables("<results>/plates/{plate}/units/{unit}.fields.parquet"),
    output:
        nuclei="<results>/plates/{plate}/nuclei.parquet",
        fields="<results>/plates/{plate}/fields.csv",
        fields_parquet="<results>/plates/{plate}/fields.parquet",
        wells="<results>/plates/{plate}/wells.csv",
        wells_parquet="<results>/plates/{plate}/wells.parquet",
        summary="<results>/plates/{plate}/summary.json",
        settings="<results>/plates/{plate}/settings.json",
    log:
        "<logs>/plates/{plate}/merge_units.log",
    benchmark:
        "<benchmarks>/plates/{plate}/merge_units.tsv"
    priority: 2 * plan.url_priority
    localrule: True  # here and elsewhere: the start of a cluster's job takes longer than this work
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=1000,  # 1 million nuclei, as tables and as their Parquet file, take about 300 MB
    params:
        channel=plan.plates.channel,
        nuclei_channel=plan.measurements.nuclei_channel,
        channels=plan.measurements.channels,
        cells=plan.measurements.cells,
        positive=plan.measurements.positive,
        columns=plan.measurements.table_columns,
        controls=config["controls"],
        made_of=plan.made_of,
        detection=plan.plates.detection,
        flags=config["flags"],
        exclude_flags=config["screen"]["exclude_flags"],
        quality=config["quality"],
        on_bad_image=config["on_bad_image"],
        max_failed_fields=config["max_failed_fields"],
        platemap=plan.plates.platemap,
        stamps=plan.plates.platemap_stamps,
        made_by=made_by("merge_units"),
    script:
        "../scripts/merge_units.py"


rule sum_timepoints:
    """Sum up the fields of each well of one plate at each time point; asked for where a plate has several."""
    input:
        fields="<results>/plates/{plate}/fields.parquet",
    output:
        timepoints="<results>/plates/{plate}/timepoints.csv",
    log:
        "<logs>/plates/{plate}/sum_timepoints.log",
    benchmark:
        "<benchmarks>/plates/{plate}/sum_timepoints.tsv"
    priority: 2 * plan.url_priority
    localrule: True
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
    params:
        made_by=made_by("sum_timepoints"),
    script:
        "../scripts/sum_timepoints.py"


# A plate's pictures depend on its platemap and images, but a rule's outputs cannot: hence four rules with one script.
# `plan.plates.further_products` names the pictures of a plate.
rule plot_plate:
    """Draw the nuclei of a plate by well, by treatment, at the rim, in random fields; and its image quality."""
    input:
        nuclei="<results>/plates/{plate}/nuclei.parquet",
        fields="<results>/plates/{plate}/fields.csv",
        wells="<results>/plates/{plate}/wells.csv",
        labels=of_plates("<results>/plates/{plate}/labels.zarr/zarr.json", plan.plates.labels),
        fetched=plan.plates.fetched_images,
    output:
        **(
            {
                "quality": report(
                    "<results>/plates/{plate}/plots/quality.png",
                    caption="report/plate_quality.rst",
                    category="Plates",
                    subcategory="{plate}",
                    labels={"plate": "{plate}", "picture": "image quality per well"},
                ),
                "focus": report(
                    "<results>/plates/{plate}/plots/focus.png",
                    caption="report/plate_focus.rst",
                    category="Plates",
                    subcategory="{plate}",
                    labels={"plate": "{plate}", "picture": "best, median and worst focus"},
                ),
            }
            if config["quality"]
            else {}
        ),
        nuclei=report(
            "<results>/plates/{plate}/plots/nuclei.png",
            caption="report/plate_nuclei.rst",
            category="Plates",
            subcategory="{plate}",
            labels={"plate": "{plate}", "picture": "nuclei per well"},
        ),
        fields=report(
            "<results>/plates/{plate}/plots/fields.png",
            caption="report/plate_fields.rst",
            category="Plates",
            subcategory="{plate}",
            labels={"plate": "{plate}", "picture": "nuclei per field by treatment"},
        ),
        edge=report(
            "<results>/plates/{plate}/plots/edge.png",
            caption="report/plate_edge.rst",
            category="Plates",
            subcategory="{plate}",
            labels={"plate": "{plate}", "picture": "edge effect"},
        ),
        densities=report(
            "<results>/plates/{plate}/densities.png",
            caption="report/plate_densities.rst",
            category="Plates",
            subcategory="{plate}",
            labels={"plate": "{plate}", "picture": "random fields"},
        ),
    log:
        "<logs>/plates/{plate}/plot_plate.log",
    benchmark:
        "<benchmarks>/plates/{plate}/plot_plate.tsv"
    priority: 2 * plan.url_priority
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
        runtime=small_time_limit_min,
    params:
        urls=plan.plates.image_urls,
        channel=plan.plates.channel,
        sigma=plan.plates.sigma,
        controls=config["controls"],
        made_by=made_by("plot_plate"),
    script:
        "../scripts/plot_plate.py"


rule plot_doses:
    """Draw nuclei against the doses of a plate whose platemap has some."""
    input:
        nuclei="<results>/plates/{plate}/nuclei.parquet",
        fields="<results>/plates/{plate}/fields.csv",
        wells="<results>/plates/{plate}/wells.csv",
    output:
        doses=report(
            "<results>/plates/{plate}/plots/doses.png",
            caption="report/plate_doses.rst",
            category="Plates",
            subcategory="{plate}",
            labels={"plate": "{plate}", "picture": "dose-response"},
        ),
    log:
        "<logs>/plates/{plate}/plot_doses.log",
    benchmark:
        "<benchmarks>/plates/{plate}/plot_doses.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
        runtime=small_time_limit_min,
    params:
        channel=plan.plates.channel,
        controls=config["controls"],
        made_by=made_by("plot_plate"),
    script:
        "../scripts/plot_plate.py"


rule plot_controls:
    """Draw how a plate's wells differ from the negative controls of its platemap."""
    input:
        nuclei="<results>/plates/{plate}/nuclei.parquet",
        fields="<results>/plates/{plate}/fields.csv",
        wells="<results>/plates/{plate}/wells.csv",
    output:
        controls=report(
            "<results>/plates/{plate}/plots/controls.png",
            caption="report/plate_controls.rst",
            category="Plates",
            subcategory="{plate}",
            labels={"plate": "{plate}", "picture": "robust z and Z'"},
        ),
    log:
        "<logs>/plates/{plate}/plot_controls.log",
    benchmark:
        "<benchmarks>/plates/{plate}/plot_controls.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
        runtime=small_time_limit_min,
    params:
        channel=plan.plates.channel,
        controls=config["controls"],
        made_by=made_by("plot_plate"),
    script:
        "../scripts/plot_plate.py"


rule plot_timepoints:
    """Draw the nuclei of every well over time, of a plate that has several time points."""
    input:
        nuclei="<results>/plates/{plate}/nuclei.parquet",
        fields="<results>/plates/{plate}/fields.csv",
        wells="<results>/plates/{plate}/wells.csv",
        timepoints="<results>/plates/{plate}/timepoints.csv",
    output:
        timepoints=report(
            "<results>/plates/{plate}/plots/timepoints.png",
            caption="report/plate_timepoints.rst",
            category="Plates",
            subcategory="{plate}",
            labels={"plate": "{plate}", "picture": "nuclei over time"},
        ),
    log:
        "<logs>/plates/{plate}/plot_timepoints.log",
    benchmark:
        "<benchmarks>/plates/{plate}/plot_timepoints.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
        runtime=small_time_limit_min,
    params:
        channel=plan.plates.channel,
        controls=config["controls"],
        made_by=made_by("plot_plate"),
    script:
        "../scripts/plot_plate.py"


rule join_labels:
    """Join the label images of one plate's units into one store."""
    input:
        labels=unit_tables("<results>/plates/{plate}/units/{unit}.labels.parquet"),
        fields=unit_tables("<results>/plates/{plate}/units/{unit}.fields.parquet"),
    output:
        # It appears with the whole store, in one rename. The folder is not declared: Snakemake would put a file into it.
        metadata="<results>/plates/{plate}/labels.zarr/zarr.json",
    log:
        "<logs>/plates/{plate}/join_labels.log",
    benchmark:
        "<benchmarks>/plates/{plate}/join_labels.tsv"
    priority: 2 * plan.url_priority
    localrule: True
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
    params:
        made_by=made_by("join_labels"),
    script:
        "../scripts/join_labels.py"


rule join_cells:
    """Join the cells of one plate's units into one store, in the form of the label images of its nuclei."""
    input:
        labels=unit_tables("<results>/plates/{plate}/units/{unit}.cells.parquet"),
        fields=unit_tables("<results>/plates/{plate}/units/{unit}.fields.parquet"),
    output:
        metadata="<results>/plates/{plate}/cells.zarr/zarr.json",
    log:
        "<logs>/plates/{plate}/join_cells.log",
    benchmark:
        "<benchmarks>/plates/{plate}/join_cells.tsv"
    priority: 2 * plan.url_priority
    localrule: True
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
    params:
        made_by=made_by("join_labels"),
    script:
        "../scripts/join_labels.py"
