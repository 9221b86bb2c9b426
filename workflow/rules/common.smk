# Loads and checks the configuration, and says where things lie. No rules in here.
import gc
import math
import shutil
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import yaml

# Planning makes millions of objects that stay: to look through them for garbage whenever 700 are new
# is a fifth of its time.
gc.set_threshold(100_000)

# The library of this checkout, and modules of the user's own beside the Snakefile.
ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), os.getcwd()]

from focal_curvature import config as configuration
from focal_curvature import plotting
from focal_curvature.data.sources import archives
from focal_curvature.provenance import PORTABLE_KERNELS, commit
from focal_curvature.registry import import_path, unknown
from focal_curvature.resources import needs
from focal_curvature.runs import expand as expand_runs
from focal_curvature.sources import closure, content_hash

with open(workflow.source_path("../schemas/config.schema.yaml")) as schema:
    try:
        complete = configuration.load(config, yaml.safe_load(schema))
    except configuration.ConfigError as error:
        files = ", ".join(str(file) for file in workflow.configfiles)
        sys.exit("\n".join(f"{files}: {line}" for line in str(error).splitlines()))
config.clear()
config.update(complete)
# Before a job's Python starts, as torch reads them once. On a cluster each job comes by here too.
if config["kernels"] == "portable":
    os.environ.update(PORTABLE_KERNELS)

# The rules by which claims are judged, the same for every experiment. Not an input: where there is no
# shared file system, inputs are looked for in the storage.
CLAIMS = os.path.relpath(ROOT / "workflow/claims.yaml")
with (
    open(workflow.source_path("../schemas/claims.schema.yaml")) as schema,
    open(CLAIMS) as stream,
):
    try:
        JUDGED_BY = configuration.load_claims(yaml.safe_load(stream), yaml.safe_load(schema))
    except configuration.ConfigError as error:
        sys.exit("\n".join(f"{CLAIMS}: {line}" for line in str(error).splitlines()))
    except yaml.YAMLError as error:
        sys.exit(f"{CLAIMS}: not valid YAML: {' '.join(str(error).split())}")

CLAIM_TESTS = frozenset(
    import_path("claim_tests", claim["test"]) for claim in JUDGED_BY["claims"].values()
)

RESULTS = f"results/{config['experiment']}"
PAPER = f"paper_figures/{config['experiment']}"
DATASET = f"results/datasets/{config['data']['name']}"
RUN = f"{RESULTS}/{{model}}/{{objective}}/seed{{seed}}"
TABLE_FORMATS = ["csv", "md", "tex"]

RUNS = {run.folder: run for run in expand_runs(config)}
CELLS = {f"{run.model}/{run.objective.slug}": run for run in RUNS.values()}
SLUGS = tuple(dict.fromkeys(run.objective.slug for run in RUNS.values()))
DATASET_FILES = expand(
    "{folder}/{file}", folder=DATASET, file=["dataset.json", "images.npy", "labels.npy"]
)
SPLITS = f"{RESULTS}/splits.json"

# What a data set is made from: a folder or file of the user's, registered archives, or a wheel.
DATASET_PARAMS = {key: config["data"][key] for key in ["name", "source", "size", "label", "sha256"]}
ARCHIVES = {}
if config["data"]["source"]:
    DATASET_RAW = config["data"]["source"]
elif config["data"]["name"] == "digits":
    DATASET_RAW = []
else:
    ARCHIVES = {archive.name: archive for archive in archives(config["data"]["name"])}
    DATASET_RAW = expand("{folder}/archives/{archive}", folder=DATASET, archive=ARCHIVES)

# Jobs of a whole model beside its runs, and how many runs' measurements of curvature each makes.
MEASUREMENTS = {}

# The closer look at the focal runs of one seed, where it is asked for.
FIGURES = plotting.FIGURES
TABLES = ["summary", "cost"]
GEOMETRY_RUNS, GEOMETRY_TABLES = [], []
if config["geometry"]:
    TABLES += ["estimators"]
    FIGURES += plotting.GEOMETRY_FIGURES
    GEOMETRY_RUNS = [
        f"{RESULTS}/{{model}}/{run.objective.slug}/seed{run.seed}"
        for run in RUNS.values()
        if run.objective.gamma is not None
        and run.seed == config["geometry"]["seed"]
        and run.model == next(iter(config["models"]))
    ]
    GEOMETRY_TABLES = expand(
        "{folder}/geometry/{model}/{table}.csv",
        folder=RESULTS,
        model=config["models"],
        table=["spectrum", "lines", "plane"],
    )
    # Per run both estimators, as many products for lines and planes, and spectra under two losses.
    products = config["curvature"]["probes"] + config["curvature"]["max_iterations"]
    spectra = config["geometry"]["probes"] * config["geometry"]["steps"] / products
    MEASUREMENTS["geometry"] = len(GEOMETRY_RUNS) * (2 + spectra)

# Theory held against the focal runs' predictions, and interventions on the runs of one seed.
FOCAL_RUNS = [
    f"{RESULTS}/{folder}" for folder, run in RUNS.items() if run.objective.gamma is not None
]
THEORY_TABLES, CONTROL_RUNS, CONTROL_TABLES = [], [], []
if config["theory"]:
    TABLES += ["theory"]
    FIGURES += plotting.THEORY_FIGURES
    THEORY_TABLES = expand(
        "{folder}/theory/{table}.csv",
        folder=RESULTS,
        table=["predictions", "posterior_points", "posterior_plane"],
    )
if config["controls"]:
    TABLES += ["controls"]
    FIGURES += plotting.CONTROL_FIGURES
    CONTROL_RUNS = [
        f"{RESULTS}/{{model}}/{run.objective.slug}/seed{run.seed}"
        for run in RUNS.values()
        if run.objective.gamma in config["controls"]["gammas"]
        and run.seed == config["controls"]["seed"]
        and run.model == next(iter(config["models"]))
    ]
    CONTROL_TABLES = expand("{folder}/controls/{model}.csv", folder=RESULTS, model=config["models"])
    # As trained, with its temperature, and rescaled.
    MEASUREMENTS["controls"] = len(CONTROL_RUNS) * (2 + len(config["controls"]["factors"]))

# The runs that are followed along their training, where that is asked for.
TRAJECTORY_RUNS, TRAJECTORY_TABLES = [], []
if config["trajectory"]:
    TABLES += ["trajectory"]
    FIGURES += plotting.TRAJECTORY_FIGURES
    TRAJECTORY_RUNS = expand(
        "{folder}/{{model}}/{objective}/seed{seed}",
        folder=RESULTS,
        objective=config["trajectory"]["objectives"],
        seed=config["trajectory"]["seeds"],
    )
    TRAJECTORY_TABLES = expand(
        "{folder}/trajectory/{model}.csv", folder=RESULTS, model=config["models"]
    )
    MEASUREMENTS["trajectory"] = len(TRAJECTORY_RUNS) * len(config["trajectory"]["epochs"])

# What a regularised run says of itself, if the penalty is one on a trace.
REGULARISED_RUNS = [
    f"{RESULTS}/{folder}" for folder, run in RUNS.items() if run.objective.regulariser
]
if config["regularisers"]:
    TABLES += ["penalties"]
    FIGURES += plotting.REGULARISER_FIGURES
if config["regularisers"] or list(config["objectives"]) != ["focal"]:
    FIGURES += plotting.ARM_FIGURES

RUN_FOLDERS = [f"{RESULTS}/{folder}" for folder in RUNS]

# Only a counter of jobs at a time; which device a job gets is not Snakemake's to say.
GPU = int(
    config["device"] == "cuda" or config["device"] == "auto" and bool(shutil.which("nvidia-smi"))
)


@cache
def sources(script, factories=frozenset()):
    """One hash of what decides a script's results: its own files, and those of `factories` it is given.

    With the choice of kernels, where it is not torch's own.
    In a rule's params, not as inputs: contents count, not the times of a checkout, and some twenty
    inputs for each of 30,000 jobs are a third of planning.
    """
    own = content_hash(closure(ROOT / f"workflow/scripts/{script}.py", factories))
    return own if config["kernels"] == "native" else f"{own} {config['kernels']}"


def cell_of(wildcards):
    """Name of a run's model and objective, if the configuration has it."""
    cell = f"{wildcards.model}/{wildcards.objective}"
    if cell not in CELLS:
        raise WorkflowError(f"{RESULTS}/{cell}: {unknown(cell, CELLS)}")
    return cell


def following(run):
    """What is measured along the training of a run, as an import path, if anything is."""
    if run.objective.regulariser and run.training["trace_samples"] is not None:
        return "focal_curvature.curvature.tracking:traces"


@cache
def factories(cells, trained):
    """What the runs of cells are built with, and followed with where they are trained."""
    runs = [CELLS[cell] for cell in cells]
    paths = {run.model_factory for run in runs} | {run.objective.factory for run in runs}
    paths |= {run.objective.regulariser.factory for run in runs if run.objective.regulariser}
    return frozenset(paths | ({following(run) for run in runs} - {None} if trained else set()))


def run_sources(script, trained=False):
    """Sources of a job that builds runs, as a function of its wildcards: one cell, or a whole model."""

    def find(wildcards):
        whole = tuple(f"{wildcards.model}/{slug}" for slug in SLUGS)
        cells = (cell_of(wildcards),) if "objective" in wildcards.keys() else whole
        return sources(script, factories(cells, trained))

    return find


def per_job(stage, file):
    """A run's file, or those of all runs that a job serves, as `jobs` in the configuration says."""
    serves = config["jobs"][stage]
    if serves == "run":
        return [f"{RUN}/{file}"]
    return expand(
        f"{RESULTS}/{{{{model}}}}/{{objective}}/seed{{seed}}/{file}",
        objective="{objective}" if serves == "cell" else SLUGS,
        seed=config["seeds"],
    )


def served(stage):
    """The runs that a job of a stage serves, in the order of its files."""

    def find(wildcards):
        cell = cell_of(wildcards)
        per_run = config["jobs"][stage] == "run"
        seeds = [wildcards.seed] if per_run else config["seeds"]
        return [RUNS[f"{cell}/seed{seed}"].to_dict() for seed in seeds]

    return find


def runs_per_job(stage):
    """How many runs a stage's job serves."""
    cell = len(config["seeds"])
    return {"run": 1, "cell": cell, "model": cell * len(SLUGS)}[config["jobs"][stage]]


def asked(stage, resource):
    """What a stage's jobs ask a cluster for, as a function of the wildcards and the attempt."""
    runs = runs_per_job(stage)

    @cache
    def find(model, cell, attempt):
        gpu = bool(GPU) and stage != "calibration"
        added = CELLS[cell].objective.regulariser if cell else None
        return needs(stage, config, model, runs=runs, gpu=gpu, attempt=attempt, regulariser=added)[
            resource
        ]

    # Only training differs by the objective.
    return lambda wildcards, attempt: find(
        wildcards.model, cell_of(wildcards) if stage == "train" else None, attempt
    )


def asked_beside(job, resource):
    """The same for a job that measures curvature of a model's runs as often as MEASUREMENTS says.

    The trajectory's trains these runs once more, and measures on samples of its own.
    """
    settings = config
    if job == "trajectory" and config["trajectory"]:
        own = config["curvature"] | {"samples": config["trajectory"]["samples"]}
        settings = config | {"curvature": own}

    def find(wildcards, attempt):
        def ask(stage, times, regulariser=None):
            # As many as the stage's own job serves, for which the user's numbers stand.
            runs = runs_per_job(stage)
            found = needs(
                stage,
                settings,
                wildcards.model,
                runs=runs,
                gpu=bool(GPU),
                attempt=attempt,
                regulariser=regulariser,
            )
            return found | {"runtime": math.ceil(found["runtime"] * times / runs)}

        parts = [ask("curvature", MEASUREMENTS[job])]
        for slug in config["trajectory"]["objectives"] if job == "trajectory" else ():
            added = CELLS[f"{wildcards.model}/{slug}"].objective.regulariser
            parts.append(ask("train", len(config["trajectory"]["seeds"]), added))
        values = [part[resource] for part in parts]
        return sum(values) if resource == "runtime" else max(values)

    return find


def group_of(stage):
    """Group of a stage's jobs: with its run, or with its cell if that is trained in one job.

    Jobs of cells that wait for several runs have a group of their own: in the same one, each would make
    one group of those that it waits for. A job that waits for hundreds is in none: Snakemake would go
    through all of them whenever one ends, and planning becomes quadratic.
    """
    serves = config["jobs"][stage]
    if serves in ("run", config["jobs"]["train"]):
        return "runs"
    return "cells" if serves == "cell" else None


def job_name(stage):
    """Pattern that tells a stage's jobs apart in logs and benchmarks."""
    parts = ["{model}", "{objective}", "seed{seed}"]
    return str(Path(*parts[: 1 + ["model", "cell", "run"].index(config["jobs"][stage])]))


def benchmarks():
    """Benchmark file -> (stage, model) of every job but the one that adds them up, in order."""
    folder = f"{RESULTS}/benchmarks"
    found = {f"{DATASET}/archives/{archive}.tsv": ("download", "") for archive in ARCHIVES}
    found[f"{DATASET}/dataset.tsv"] = ("dataset", "")
    found[f"{folder}/splits.tsv"] = ("splits", "")
    for stage in ("train", "curvature", "calibration"):
        pattern = f"{folder}/{stage}/{job_name(stage)}.tsv"
        for run in RUNS.values():
            own = {"model": run.model, "objective": run.objective.slug, "seed": run.seed}
            found[pattern.format(**own)] = (stage, run.model)
    for stage in ("geometry", "controls", "trajectory"):
        for model in config["models"] if config[stage] else ():
            found[f"{folder}/{stage}/{model}.tsv"] = (stage, model)
    single = ["theory", "posterior", "theory_table"] if config["theory"] else []
    single += ["tables", "summary", "claims"]
    single += ["estimators"] if config["geometry"] else []
    single += ["controls_table"] if config["controls"] else []
    single += ["trajectory_table"] if config["trajectory"] else []
    single += ["penalties"] if config["regularisers"] else []
    for stage in (*single, "figure_tables"):
        found[f"{folder}/{stage}.tsv"] = (stage, "")
    for figure in FIGURES:
        found[f"{folder}/figure/{figure}.tsv"] = ("figure", "")
    return found


def job_text(stage):
    """What a stage's job serves, for its message."""
    if config["jobs"][stage] == "model":
        return "{wildcards.model}, all objectives"
    return "{wildcards.model} trained with {wildcards.objective}"


wildcard_constraints:
    # General: an alternative per seed and objective would be tried for every file of a large grid.
    model="[^/]+",
    objective="[^/]+",
    seed="[0-9]+",
    figure="|".join(FIGURES),
    archive="|".join(map(re.escape, ARCHIVES)),
