rule controls:
    input:
        dataset=DATASET_FILES,
        splits=SPLITS,
        model=[f"{run}/model.pt" for run in CONTROL_RUNS],
        run=[f"{run}/run.json" for run in CONTROL_RUNS],
    output:
        f"{RESULTS}/controls/{{model}}.csv",
    log:
        f"{RESULTS}/logs/controls/{{model}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/controls/{{model}}.tsv"
    conda:
        "../../environment.yml"
    threads: config["threads"]
    resources:
        gpu=GPU,
        runtime=asked_beside("controls", "runtime"),
        mem_mb=asked_beside("controls", "mem_mb"),
    params:
        sources=run_sources("controls"),
        controls=config["controls"],
        settings=config["curvature"],
        bins=config["calibration"]["bins"],
    message:
        "Intervene on {wildcards.model}: what moves curvature, and what calibration"
    script:
        "../scripts/controls.py"
