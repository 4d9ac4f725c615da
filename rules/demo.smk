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


rule score_demo_cells:
    """Compare the outlines of the demo's real plate with those that people drew; fail below 90 %."""
    input:
        annotated=expand(
            "config/demo/bbbc038/labels/bbbc038_{well}_s{site}_w1.png", well=["B02", "B03", "B04"], site=[1, 2]
        ),
        labels="<results>/plates/bbbc038/labels.zarr/zarr.json",
        fields="<results>/plates/bbbc038/fields.csv",
    output:
        score="<results>/demo/cells_score.txt",
    log:
        "<logs>/demo/score_demo_cells.log",
    benchmark:
        "<benchmarks>/demo/score_demo_cells.tsv"
    conda:
        "../envs/fieldwork.yaml"
    resources:
        mem_mb=small_memory_mb,
        runtime=small_time_limit_min,
    params:
        made_by=made_by("score_demo_cells"),
    script:
        "../scripts/score_demo_cells.py"


rule synthesize_demo_slide:
    """Write the demo's slides: one with known nuclei, and a real picture of tissue."""
    output:
        slide=DEMO_SLIDE,
        planted="resources/demo/slide_planted.csv",
        tissue=DEMO_TISSUE,
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
        made_by=made_by("synthesize_demo_slide"),
    script:
        "../scripts/synthesize_demo_slide.py"


rule score_demo_slide:
    """Count how many of the demo slide's planted nuclei were found; fail below 99 %."""
    input:
        planted="resources/demo/slide_planted.csv",
        nuclei="<results>/slides/demo/nuclei.parquet",
        tissue="<results>/slides/tissue/nuclei.parquet",
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
