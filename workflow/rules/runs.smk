# Every run is trained, its curvature measured and its predictions scored, by jobs that serve one run
# or several, as `jobs` in the configuration says. Each run keeps its own files.
WILDCARDS = [
    {"model": run.model, "objective": run.objective.slug, "seed": run.seed} for run in RUNS.values()
]


def cell_of(wildcards):
    """Name of a run's model and objective, if the configuration has it."""
    cell = f"{wildcards.model}/{wildcards.objective}"
    if cell not in CELLS:
        raise WorkflowError(f"{RESULTS}/{cell}: {unknown(cell, CELLS)}")
    return cell


def job_name(kind):
    """Pattern that tells the jobs of a kind apart."""
    parts = ["{model}", "{objective}", "seed{seed}"]
    return "/".join(parts[: 1 + ["model", "cell", "run"].index(config["jobs"][kind])])


def per_job(kind, file):
    """A run's file, or those of all runs that a job serves."""
    serves = config["jobs"][kind]
    if serves == "run":
        return [f"{RUN}/{file}"]
    return expand(
        f"{RESULTS}/{{{{model}}}}/{{objective}}/seed{{seed}}/{file}",
        objective="{objective}" if serves == "cell" else SLUGS,
        seed=config["seeds"],
    )


def specs_of(wildcards):
    """The runs that a job trains, in the order of its files."""
    cell = cell_of(wildcards)
    seeds = [wildcards.seed] if config["jobs"]["train"] == "run" else config["seeds"]
    return [RUNS[f"{cell}/seed{seed}"].to_dict() for seed in seeds]


def following(wildcards):
    """What is measured along the training of a job's runs, as an import path, if anything is."""
    run = CELLS[cell_of(wildcards)]
    if run.training["trace_samples"] is not None:
        return "focal_curvature.curvature.tracking:traces"


def run_sources(script, more=lambda wildcards: None):
    """Sources of a job that builds runs, with those of what else it is given."""

    def find(wildcards):
        whole = tuple(f"{wildcards.model}/{slug}" for slug in SLUGS)
        cells = (cell_of(wildcards),) if "objective" in wildcards.keys() else whole
        given = more(wildcards)
        return sources(script, factories(cells) | {given} if given else factories(cells))

    return find


def asked(kind, resource):
    """What a job asks a cluster for, as a function of the wildcards and the attempt."""

    @cache
    def find(model, cell, attempt):
        added = CELLS[cell].objective.regulariser if cell else None
        gpu = bool(GPU) and kind != "calibration"
        return needs(
            kind, config, model, runs=PER_JOB[kind], gpu=gpu, attempt=attempt, regulariser=added
        )[resource]

    # Only training differs by the objective.
    return lambda wildcards, attempt: find(
        wildcards.model, cell_of(wildcards) if kind == "train" else None, attempt
    )


def group_of(kind):
    """Group of a job: with its run, or with its cell if that is trained in one job.

    Jobs of cells that wait for several runs have a group of their own: in the same one, each would make
    one group of those that it waits for. A job that waits for hundreds is in none: Snakemake would go
    through all of them whenever one ends, and planning becomes quadratic.
    """
    serves = config["jobs"][kind]
    if serves in ("run", config["jobs"]["train"]):
        return "runs"
    return "cells" if serves == "cell" else None


def served(kind):
    """What a job serves, for its message."""
    if config["jobs"][kind] == "model":
        return "{wildcards.model}, all objectives"
    return "{wildcards.model} trained with {wildcards.objective}"


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
