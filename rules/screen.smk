rule screen_plates:
    """Compare the wells of all plates: controls, hits, replicates and dose-response."""
    input:
        profiles=of_plates("<results>/plates/{plate}/profiles.parquet", plan.plates.screened),
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
