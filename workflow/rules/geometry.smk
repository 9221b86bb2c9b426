rule geometry:
    input:
        dataset=DATASET_FILES,
        splits=SPLITS,
        model=[f"{run}/model.pt" for run in GEOMETRY_RUNS],
        run=[f"{run}/run.json" for run in GEOMETRY_RUNS],
    output:
        spectrum=f"{RESULTS}/geometry/{{model}}/spectrum.csv",
        lines=f"{RESULTS}/geometry/{{model}}/lines.csv",
        plane=f"{RESULTS}/geometry/{{model}}/plane.csv",
        estimators=f"{RESULTS}/geometry/{{model}}/estimators.csv",
    log:
        f"{RESULTS}/logs/geometry/{{model}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/geometry/{{model}}.tsv"
    # The longest job by far, begun as soon as it can be, or the others would wait for it.
    priority: 1
    conda:
        "../../environment.yml"
    threads: config["threads"]
    resources:
        gpu=GPU,
        runtime=asked_beside("geometry", "runtime"),
        mem_mb=asked_beside("geometry", "mem_mb"),
    params:
        sources=run_sources("geometry"),
        geometry=config["geometry"],
        settings=config["curvature"],
    message:
        "Look closer at the loss surface of {wildcards.model}"
    script:
        "../scripts/geometry.py"
