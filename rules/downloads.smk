rule download:
    """The images of all plates whose archives the sheet names by URL."""
    input:
        expand("<results>/plates/{plate}/download.json", plate=plan.plates.downloads),
    localrule: True


rule download_plate:
    """Fetch the archive of one plate, check it, and unpack it into the plate's folder."""
    output:
        # The folder of images is not declared: Snakemake would put a file of its own into it. What was fetched does not
        # go by the script either, so that there is no made_by here.
        "<results>/plates/{plate}/download.json",
    log:
        "<logs>/plates/{plate}/download_plate.log",
    benchmark:
        "<benchmarks>/plates/{plate}/download_plate.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
        runtime=240,  # minutes: 10 GB at 1 MB/s take 170; a job that is ended by its limit is gone on from
    params:
        archive=lambda wildcards: plan.plates.downloads[wildcards.plate]._asdict(),
    script:
        "../scripts/download_plate.py"
