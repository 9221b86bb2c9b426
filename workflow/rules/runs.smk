# Every run is trained, its curvature measured and its predictions scored, by jobs that serve one run
# or several, as `jobs` in the configuration says. Each run keeps its own files.
rule train:
    input:
        dataset=DATASET_FILES,
        splits=SPLITS,
    output:
        model=per_job("train", "model.pt"),
        history=per_job("train", "history.csv"),
        logits=per_job("train", "logits.npz"),
        run=per_job("train", "run.json"),
    log:
        f"{RESULTS}/logs/train/{job_name('train')}.log",
    benchmark:
        counted("train", f"train/{job_name('train')}", WILDCARDS)
    # Others wait for these; what nothing waits for fills the cores in the end.
    priority: 1
    group:
        group_of("train")
    conda:
        "../../environment.yml"
    threads: config["threads"]
    resources:
        gpu=GPU,
        runtime=asked("train", "runtime"),
        mem_mb=asked("train", "mem_mb"),
    params:
        sources=run_sources("train", following),
        specs=specs_of,
        following=following,
        bins=config["calibration"]["bins"],
    message:
        "Train {wildcards.model} with {wildcards.objective}"
    script:
        "../scripts/train.py"


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
        counted("curvature", f"curvature/{job_name('curvature')}", WILDCARDS)
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
        curvature=config["curvature"],
    message:
        f"Measure the curvature of {served('curvature')}"
    script:
        "../scripts/curvature.py"


rule calibration:
    input:
        logits=per_job("calibration", "logits.npz"),
        run=per_job("calibration", "run.json"),
    output:
        scores=per_job("calibration", "calibration.json"),
        reliability=per_job("calibration", "reliability.csv"),
    log:
        f"{RESULTS}/logs/calibration/{job_name('calibration')}.log",
    benchmark:
        counted("calibration", f"calibration/{job_name('calibration')}", WILDCARDS)
    group:
        group_of("calibration")
    conda:
        "../../environment.yml"
    resources:
        runtime=asked("calibration", "runtime"),
        mem_mb=asked("calibration", "mem_mb"),
    params:
        sources=sources("calibration"),
        bins=config["calibration"]["bins"],
        recalibrations=config["calibration"]["recalibrations"],
    message:
        f"Score the calibration of {served('calibration')}"
    script:
        "../scripts/calibration.py"
