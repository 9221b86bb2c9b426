rule curvature:
    input:
        dataset=DATASET_FILES,
        splits=SPLITS,
        model=per_job("curvature", "model.pt"),
        run=per_job("curvature", "run.json"),
    output:
        objective=per_job("curvature", "curvature/objective.json"),
        cross_entropy=per_job("curvature", "curvature/cross_entropy.json"),
    log:
        f"{RESULTS}/logs/curvature/{job_name('curvature')}.log",
    benchmark:
        f"{RESULTS}/benchmarks/curvature/{job_name('curvature')}.tsv"
    # With the trainings, the most of the time: begun before what nothing waits for.
    priority: 1
    group:
        group_of("curvature")
    conda:
        "../../environment.yml"
    threads: config["threads"]
    resources:
        gpu=GPU,
        runtime=asked("curvature", "runtime"),
        mem_mb=asked("curvature", "mem_mb"),
    params:
        sources=run_sources("curvature"),
        settings=config["curvature"],
    message:
        f"Measure the curvature of {job_text('curvature')}"
    script:
        "../scripts/curvature.py"
