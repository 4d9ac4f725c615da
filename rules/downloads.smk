rule download:
    """Download the images of all plates for which the sheet has the URL of an archive."""
    input:
        expand("<results>/plates/{plate}/download.json", plate=plan.plates.downloads),
    localrule: True


rule download_plate:
    """Fetch the archive of one plate, check it, and unpack it into the plate's folder."""
    output:
        # The folder of images is not declared: Snakemake would put a file of its own into it. There is no made_by,
        # because a changed script fetches the same images.
        "<results>/plates/{plate}/download.json",
    log:
        "<logs>/plates/{plate}/download_plate.log",
    benchmark:
        "<benchmarks>/plates/{plate}/download_plate.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
        runtime=240,  # minutes: 10 GB at 1 MB/s take 170; a job that reaches its limit resumes when it is run again
    params:
        archive=plan.plates.archive,
        sheet=config["plates"],
    script:
        "../scripts/download_plate.py"
