# Which runs a job serves, what they are made with, and what it asks a cluster for. No rules in here.


def wildcards_of(run):
    """What tells a run's files from those of others."""
    return {"model": run.model, "objective": run.objective.slug, "seed": run.seed}


WILDCARDS = [wildcards_of(run) for run in RUNS.values()]


def cell_of(wildcards):
    """Name of a run's model and objective, if the configuration has it."""
    cell = f"{wildcards.model}/{wildcards.objective}"
    if cell not in CELLS:
        raise WorkflowError(f"{RESULTS}/{cell}: {unknown(cell, CELLS)}")
    return cell


def job_name(kind):
    """Pattern that tells the jobs of a kind apart."""
    patterns = {"model": "{model}", "cell": "{model}/{objective}"}
    return patterns.get(config["jobs"][kind], "{model}/{objective}/seed{seed}")


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
    if run.training.trace_samples is not None:
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
