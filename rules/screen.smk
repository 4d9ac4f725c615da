rule screen_plates:
    """Compare the wells of all plates: controls, hits, replicates and dose-response."""
    input:
        profiles=of_plates("<results>/plates/{plate}/profiles.parquet", plan.plates.screened),
        summaries=of_plates("<results>/plates/{plate}/summary.json", plan.plates.screened),
    output:
        parquet="<results>/screen/wells.parquet",
        csv="<results>/screen/wells.csv",
        plates="<results>/screen/plates.csv",
        hits="<results>/screen/hits.csv",
        replicates="<results>/screen/replicates.csv",
        doses="<results>/screen/doses.csv",
    log:
        "<logs>/screen/screen_plates.log",
    benchmark:
        "<benchmarks>/screen/screen_plates.tsv"
    localrule: True
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
    params:
        columns=plan.measurements.table_columns,
        screen=config["screen"],
        normalize=config["profiles"]["normalize"],
        controls=config["controls"],
        batches=plan.plates.batches,
        made_by=made_by("screen_plates"),
    script:
        "../scripts/screen_plates.py"


rule profile_wells:
    """Aggregate the nuclei of every well of a plate to its profile, and normalise the profiles."""
    input:
        local(plan.plates.newest_platemap),
        nuclei="<results>/plates/{plate}/nuclei.parquet",
        fields="<results>/plates/{plate}/fields.parquet",
        wells="<results>/plates/{plate}/wells.parquet",
    output:
        parquet="<results>/plates/{plate}/profiles.parquet",
        csv="<results>/plates/{plate}/profiles.csv",
    log:
        "<logs>/plates/{plate}/profile_wells.log",
    benchmark:
        "<benchmarks>/plates/{plate}/profile_wells.tsv"
    priority: 2 * plan.url_priority
    localrule: True
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
    params:
        columns=plan.measurements.table_columns,
        profiles=config["profiles"],
        controls=config["controls"],
        min_nuclei=config["screen"]["min_nuclei"],
        platemap=plan.plates.platemap,
        stamps=plan.plates.platemap_stamps,
        made_by=made_by("profile_wells"),
    script:
        "../scripts/profile_wells.py"


rule plot_screen:
    """Draw what came out of the wells of all plates."""
    input:
        wells="<results>/screen/wells.parquet",
        plates="<results>/screen/plates.csv",
        hits="<results>/screen/hits.csv",
        replicates="<results>/screen/replicates.csv",
        doses="<results>/screen/doses.csv",
        profiles=of_plates("<results>/plates/{plate}/profiles.parquet", plan.plates.screened),
    output:
        plates=report(
            "<results>/screen/plots/plates.png",
            caption="report/screen_plates.rst",
            category="Screen",
            labels={"picture": "all plates"},
        ),
        hits=report(
            "<results>/screen/plots/hits.png",
            caption="report/screen_hits.rst",
            category="Screen",
            labels={"picture": "hits, ranked"},
        ),
        doses=report(
            "<results>/screen/plots/doses.png",
            caption="report/screen_doses.rst",
            category="Screen",
            labels={"picture": "dose-response curves"},
        ),
        replicates=report(
            "<results>/screen/plots/replicates.png",
            caption="report/screen_replicates.rst",
            category="Screen",
            labels={"picture": "replicate plates"},
        ),
        profiles=report(
            "<results>/screen/plots/profiles.png",
            caption="report/screen_profiles.rst",
            category="Screen",
            labels={"picture": "profiles, principal components"},
        ),
        edge=report(
            "<results>/screen/plots/edge.png",
            caption="report/screen_edge.rst",
            category="Screen",
            labels={"picture": "edge effect of controls"},
        ),
    log:
        "<logs>/screen/plot_screen.log",
    benchmark:
        "<benchmarks>/screen/plot_screen.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
        runtime=small_time_limit_min,
    params:
        limits=config["screen"]["hit"],
        made_by=made_by("plot_screen"),
    script:
        "../scripts/plot_screen.py"


rule write_summary:
    """Write in words what came out of the plates, slides and stacks."""
    input:
        screen_tables(),
        screen_pictures(),
        notes=of_plates("<results>/plates/{plate}/summary.json", plan.plates.screened),
        settings=of_plates("<results>/plates/{plate}/settings.json", plan.plates.screened),
        overviews=overviews(),
        slides=expand("<results>/plates/{plate}/slides.csv", plate=plan.slides.batches),
        stacks=expand("<results>/stacks/{stack}/frames.csv", stack=plan.stacks.rows),
    output:
        report(
            "<results>/summary.html",
            caption="report/summary.rst",
            category="Summary",
            labels={"page": "what came out"},
        ),
    log:
        "<logs>/write_summary.log",
    localrule: True
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
    params:
        logs=plan.folders.logs,
        plan=lambda wildcards: runs.page_facts(plan.plates, plan.slides, plan.stacks),
        settings=config,
        made_by=made_by("write_summary"),
    script:
        "../scripts/write_summary.py"
