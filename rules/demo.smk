rule synthesize_demo:
    """Draw the demo plate: known nuclei, fewer where the platemap has more of the compound."""
    input:
        platemap="config/demo/platemap.csv",
    output:
        images=DEMO_IMAGES,
        planted="resources/demo/planted.csv",
    log:
        "<logs>/demo/synthesize_demo.log",
    benchmark:
        "<benchmarks>/demo/synthesize_demo.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=500,
    params:
        made_by=made_by("synthesize_demo"),
    script:
        "../scripts/synthesize_demo.py"


rule score_demo:
    """Count how many of the demo's planted nuclei were found."""
    input:
        planted="resources/demo/planted.csv",
        nuclei="<results>/plates/demo/nuclei.parquet",
    output:
        score="<results>/demo/score.txt",
    log:
        "<logs>/demo/score_demo.log",
    benchmark:
        "<benchmarks>/demo/score_demo.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=500,
    params:
        made_by=made_by("score_demo"),
    script:
        "../scripts/score_demo.py"
