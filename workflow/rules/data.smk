from focal_curvature.files import listing

# What a data set is made from: a folder or file of the user's, registered archives, or a wheel.
DATASET_PARAMS = {key: config["data"][key] for key in ["name", "source", "size", "label", "sha256"]}
registered = not config["data"]["source"] and config["data"]["name"] != "digits"
ARCHIVES = {each.name: each for each in archives(config["data"]["name"])} if registered else {}
DATASET_RAW = config["data"]["source"] or [f"{DATASET}/archives/{name}" for name in ARCHIVES]


# Nodes of a cluster may have no way out.
localrules:
    download,


rule download:
    output:
        f"{DATASET}/archives/{{archive}}",
    log:
        f"{DATASET}/archives/{{archive}}.log",
    benchmark:
        counted("download", "archives/{archive}", [{"archive": a} for a in ARCHIVES], DATASET)
    wildcard_constraints:
        archive="|".join(map(re.escape, ARCHIVES)),
    conda:
        "../../environment.yml"
    params:
        # Its row of the registry: another hash is another file.
        archive=lambda w: vars(ARCHIVES[w.archive]),
    message:
        "Download {wildcards.archive}"
    script:
        "../scripts/download.py"


rule dataset:
    input:
        raw=DATASET_RAW,
    output:
        images=f"{DATASET}/images.npy",
        labels=f"{DATASET}/labels.npy",
        about=f"{DATASET}/dataset.json",
    log:
        f"{DATASET}/dataset.log",
    benchmark:
        counted("dataset", folder=DATASET)
    group:
        "data"
    conda:
        "../../environment.yml"
    params:
        sources=sources("dataset"),
        data=DATASET_PARAMS,
        archives=[vars(archive) for archive in ARCHIVES.values()],
        facts=vars(facts(config["data"]["name"])) if ARCHIVES else None,
        # Names, sizes and times: the time of a folder says nothing of what is in the ones below. As a
        # function, as jobs that don't make the data set need not look.
        listing=lambda w: (
            listing(Path(config["data"]["source"])) if config["data"]["source"] else None
        ),
    message:
        f"Prepare the data set {config['data']['name']}"
    script:
        "../scripts/dataset.py"


rule splits:
    input:
        dataset=DATASET_FILES,
    output:
        SPLITS,
    log:
        f"{RESULTS}/logs/splits.log",
    benchmark:
        counted("splits")
    group:
        "data"
    conda:
        "../../environment.yml"
    params:
        sources=sources("splits"),
        data={key: config["data"][key] for key in ["train", "validation", "test", "split_seed"]},
    message:
        "Split the data"
    script:
        "../scripts/splits.py"
