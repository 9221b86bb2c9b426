# Loads and checks the configuration, and says where things lie. No rules in here.
import atexit
import gc
import shutil
import sys
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import yaml

# Planning makes millions of objects that stay: to look through them for garbage whenever 700 are new
# is a fifth of its time, and once more at the end a sixth of what is left.
gc.set_threshold(100_000)
atexit.register(gc.freeze)

# The library of this checkout, or the installed one where the workflow is taken from a repository
# elsewhere, and modules of the user's own beside the Snakefile.
ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).resolve().parents[1]
sys.path[:0] = [*([str(ROOT / "src")] if (ROOT / "src").is_dir() else []), os.getcwd()]

try:
    from focal_curvature import config as configuration
except ModuleNotFoundError as error:
    if error.name != "focal_curvature":
        raise
    sys.exit(
        "this workflow needs its package, of the same version: "
        "pip install 'focal-curvature[workflow] @ git+<the repository>@<tag>'"
    )
from focal_curvature import stages
from focal_curvature.data.sources import archives, facts
from focal_curvature.products import wanted
from focal_curvature.provenance import PORTABLE_KERNELS, commit
from focal_curvature.registry import import_path, unknown
from focal_curvature.resources import needs, needs_of_stage
from focal_curvature.runs import expand as expand_runs
from focal_curvature.sentences import sentences
from focal_curvature.settings import read
from focal_curvature.sources import closure, content_hash


def loaded(load, files, *arguments):
    """What `load` makes of a file's content, or the end with a line per mistake."""
    try:
        return load(*arguments)
    except configuration.ConfigError as error:
        sys.exit("\n".join(f"{files}: {line}" for line in str(error).splitlines()))


# Snakemake takes the last of keys that are there twice.
for file in workflow.configfiles:
    loaded(configuration.once, file, Path(file).read_text(encoding="utf-8"))

# Snakemake leaves numbers in lists and mappings of --config text.
config.update({key: configuration.as_yaml(config[key]) for key in workflow.config_settings.config})
complete = loaded(configuration.load, ", ".join(map(str, workflow.configfiles)), config)
config.clear()
config.update(complete, sentences=sentences(complete))
# Before a job's Python starts, as torch reads them once. On a cluster each job comes by here too.
if config["kernels"] == "portable":
    os.environ.update(PORTABLE_KERNELS)

# Scripts from a repository elsewhere are fetched one by one: this one, which they import, beside them.
workflow.source_path("../scripts/job.py")

# The rules by which claims are judged, the same for every experiment. Not an input: where there is no
# shared file system, inputs are looked for in the storage.
CLAIMS = "workflow/claims.yaml"
with (
    open(workflow.source_path("../schemas/claims.schema.yaml"), encoding="utf-8") as schema,
    open(workflow.source_path("../claims.yaml"), encoding="utf-8") as stream,
):
    try:
        written = yaml.safe_load(loaded(configuration.once, CLAIMS, stream.read()))
        allowed = yaml.safe_load(schema)
    except yaml.YAMLError as error:
        sys.exit(f"{CLAIMS}: not valid YAML: {' '.join(str(error).split())}")
JUDGED_BY = loaded(configuration.load_claims, CLAIMS, written, allowed)

CLAIM_TESTS = frozenset(
    import_path("claim_tests", claim["test"]) for claim in JUDGED_BY["claims"].values()
)

RESULTS = f"results/{config['experiment']}"
PAPER = f"paper_figures/{config['experiment']}"
DATASET = f"results/datasets/{config['data']['name']}"
RUN = f"{RESULTS}/{{model}}/{{objective}}/seed{{seed}}"

RUNS = {run.folder: run for run in expand_runs(config)}
CELLS = {run.cell: run for run in RUNS.values()}
SLUGS = tuple(dict.fromkeys(run.objective.slug for run in RUNS.values()))
RUN_FOLDERS = [f"{RESULTS}/{folder}" for folder in RUNS]
DATASET_FILES = [f"{DATASET}/{file}" for file in ("dataset.json", "images.npy", "labels.npy")]
SPLITS = f"{RESULTS}/splits.json"

# How many runs a job of each kind serves.
PER_CELL = {"run": 1, "cell": len(config["seeds"]), "model": len(config["seeds"]) * len(SLUGS)}
PER_JOB = {kind: PER_CELL[config["jobs"][kind]] for kind in ("train", "curvature", "calibration")}

# Only a counter of jobs at a time; which device a job gets is not Snakemake's to say.
GPU = int(
    config["device"] == "cuda" or config["device"] == "auto" and bool(shutil.which("nvidia-smi"))
)

# Benchmark file -> (what is done, model) of every job, for the table of costs.
BENCHMARKS = {}


def counted(kind, name="", jobs=({},), folder=f"{RESULTS}/benchmarks"):
    """The benchmark file of a rule, which counts in the table of costs for each job's wildcards."""
    pattern = f"{folder}/{name or kind}.tsv"
    for wildcards in jobs:
        BENCHMARKS[pattern.format(**wildcards)] = (kind, wildcards.get("model", ""))
    return pattern


@cache
def sources(script, factories=frozenset()):
    """One hash of what decides a script's results: its own files, and those of `factories` it is given.

    With the choice of kernels, where it is not torch's own.
    In a rule's params, not as inputs: contents count, not the times of a checkout, and some twenty
    inputs for each of 30,000 jobs are a third of planning.
    """
    own = content_hash(closure(Path(workflow.source_path(f"../scripts/{script}.py")), factories))
    return own if config["kernels"] == "native" else f"{own} {config['kernels']}"


@cache
def factories(cells):
    """What the runs of cells are built with."""
    parts = [
        part
        for cell in cells
        for part in (CELLS[cell].objective, CELLS[cell].objective.regulariser)
    ]
    models = {CELLS[cell].model_factory for cell in cells}
    return frozenset(models | {part.factory for part in parts if part})


wildcard_constraints:
    # General: an alternative per seed and objective would be tried for every file of a large grid.
    model="[^/]+",
    objective="[^/]+",
    seed="[0-9]+",
