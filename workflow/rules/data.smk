rule download:
    output:
        f"{DATASET}/archives/{{archive}}",
    params:
        # Its row of the registry: another hash is another file.
        archive=lambda w: vars(ARCHIVES[w.archive]),
    log:
        f"{DATASET}/archives/{{archive}}.log",
    benchmark:
        f"{DATASET}/archives/{{archive}}.tsv"
    message:
        "Download {wildcards.archive}"
    conda:
        "../../environment.yml"
    script:
        "../scripts/download.py"


rule dataset:
    input:
        sources(DATASET_READER),
        raw=DATASET_RAW,
    output:
        images=f"{DATASET}/images.npy",
        labels=f"{DATASET}/labels.npy",
        about=f"{DATASET}/dataset.json",
    params:
        data=DATASET_PARAMS,
    log:
        f"{DATASET}/dataset.log",
    benchmark:
        f"{DATASET}/dataset.tsv"
    message:
        f"Prepare the data set {config['data']['name']}"
    conda:
        "../../environment.yml"
    script:
        "../scripts/dataset.py"


rule splits:
    input:
        sources("data.splits"),
        dataset=DATASET_FILES,
    output:
        train=f"{RESULTS}/splits/train.txt",
        validation=f"{RESULTS}/splits/validation.txt",
        test=f"{RESULTS}/splits/test.txt",
    params:
        data={key: config["data"][key] for key in ["train", "validation", "test", "split_seed"]},
    log:
        f"{RESULTS}/logs/splits.log",
    benchmark:
        f"{RESULTS}/benchmarks/splits.tsv"
    message:
        "Split the data"
    conda:
        "../../environment.yml"
    script:
        "../scripts/splits.py"
