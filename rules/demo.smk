# Rectangle of the demo slide where nuclei are planted and counted, in px; elsewhere its tissue is a real picture.
DEMO_PLANTED = {"row": 640, "column": 2048, "height": 1792, "width": 1792}


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
        mem_mb=small_memory_mb,
        runtime=small_time_limit_min,
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
        mem_mb=small_memory_mb,
        runtime=small_time_limit_min,
    params:
        of={"name": "plate", "frame": ["Metadata_Well", "Metadata_Site"]},
        made_by=made_by("score_demo"),
    script:
        "../scripts/score_demo.py"


rule synthesize_demo_slide:
    """Draw the demo slide: a piece of real tissue, and a piece with known nuclei."""
    output:
        slide=DEMO_SLIDE,
        planted="resources/demo/slide_planted.csv",
    log:
        "<logs>/demo/synthesize_demo_slide.log",
    benchmark:
        "<benchmarks>/demo/synthesize_demo_slide.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
        runtime=small_time_limit_min,
    params:
        region=DEMO_PLANTED,
        made_by=made_by("synthesize_demo_slide"),
    script:
        "../scripts/synthesize_demo_slide.py"


rule score_demo_slide:
    """Count how many of the demo slide's planted nuclei were found; fail below 99 %."""
    input:
        planted="resources/demo/slide_planted.csv",
        nuclei="<results>/slides/demo/nuclei.parquet",
    output:
        score="<results>/demo/slide_score.txt",
    log:
        "<logs>/demo/score_demo_slide.log",
    benchmark:
        "<benchmarks>/demo/score_demo_slide.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
        runtime=small_time_limit_min,
    params:
        region=DEMO_PLANTED,
        made_by=made_by("score_demo_slide"),
    script:
        "../scripts/score_demo_slide.py"


rule synthesize_demo_stack:
    """Draw the demo stack: a film of known nuclei that grow in number."""
    output:
        stack=DEMO_STACK,
        planted="resources/demo/stack_planted.csv",
    log:
        "<logs>/demo/synthesize_demo_stack.log",
    benchmark:
        "<benchmarks>/demo/synthesize_demo_stack.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
        runtime=small_time_limit_min,
    params:
        made_by=made_by("synthesize_demo_stack"),
    script:
        "../scripts/synthesize_demo_stack.py"


rule score_demo_stack:
    """Count how many of the demo stack's planted nuclei were found."""
    input:
        planted="resources/demo/stack_planted.csv",
        nuclei="<results>/stacks/demo/nuclei.parquet",
    output:
        score="<results>/demo/stack_score.txt",
    log:
        "<logs>/demo/score_demo_stack.log",
    benchmark:
        "<benchmarks>/demo/score_demo_stack.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
        runtime=small_time_limit_min,
    params:
        of={"name": "stack", "frame": ["Metadata_Frame"]},
        made_by=made_by("score_demo"),
    script:
        "../scripts/score_demo.py"
