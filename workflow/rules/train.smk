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
        f"{RESULTS}/benchmarks/train/{job_name('train')}.tsv"
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
        sources=run_sources("train", trained=True),
        specs=served("train"),
        following=lambda w: following(CELLS[cell_of(w)]),
        bins=config["calibration"]["bins"],
    message:
        "Train {wildcards.model} with {wildcards.objective}"
    script:
        "../scripts/train.py"
