rule trajectory:
    input:
        dataset=DATASET_FILES,
        splits=SPLITS,
        model=[f"{run}/model.pt" for run in TRAJECTORY_RUNS],
        run=[f"{run}/run.json" for run in TRAJECTORY_RUNS],
    output:
        f"{RESULTS}/trajectory/{{model}}.csv",
    log:
        f"{RESULTS}/logs/trajectory/{{model}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/trajectory/{{model}}.tsv"
    # As long as several runs, begun as soon as it can be.
    priority: 1
    conda:
        "../../environment.yml"
    threads: config["threads"]
    resources:
        gpu=GPU,
        runtime=asked_beside("trajectory", "runtime"),
        mem_mb=asked_beside("trajectory", "mem_mb"),
    params:
        sources=run_sources("trajectory"),
        trajectory=config["trajectory"],
        settings=config["curvature"],
        bins=config["calibration"]["bins"],
    message:
        "Follow the curvature of {wildcards.model} along its training"
    script:
        "../scripts/trajectory.py"
