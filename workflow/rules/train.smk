rule train:
    input:
        run_sources("training"),
        dataset=DATASET_FILES,
        splits=SPLIT_FILES,
    output:
        model=f"{RUN}/model.pt",
        history=f"{RUN}/history.csv",
        logits=f"{RUN}/logits.npz",
        run=f"{RUN}/run.json",
    log:
        f"{RESULTS}/logs/train/{{model}}/{{objective}}/seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{{model}}/{{objective}}/seed{{seed}}.tsv"
    group:
        "runs"
    conda:
        "../../environment.yml"
    threads: config["threads"]
    resources:
        gpu=GPU,
        runtime=asked("train", "runtime"),
        mem_mb=asked("train", "mem_mb"),
    params:
        spec=lambda w: RUNS[f"{w.model}/{w.objective}/seed{w.seed}"].to_dict(),
        bins=config["calibration"]["bins"],
    message:
        "Train {wildcards.model} with {wildcards.objective}, seed {wildcards.seed}"
    script:
        "../scripts/train.py"
