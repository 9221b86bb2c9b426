# What a stage's job is done with, and what it asks a cluster for. No rules in here.
STAGES = {name: stage for name, stage in stages.stages().items() if config[name]}
SETTINGS = {name: read(stage.settings, config[name]) for name, stage in STAGES.items()}
STAGE_RUNS = {name: settings.select(RUNS.values()) for name, settings in SETTINGS.items()}


def stage_job(name):
    """Pattern that tells a stage's jobs apart."""
    return f"{name}/{{model}}" if STAGES[name].per_model else name


def stage_tables(name):
    """Table -> file of a stage's job."""
    folder = f"{RESULTS}/{stage_job(name)}"
    return {table: f"{folder}/{table}.csv" for table in STAGES[name].tables}


def stage_runs(name, model=None):
    """The runs that a stage's job is done with."""
    return [run for run in STAGE_RUNS[name] if model in (None, run.model)]


def stage_models(name):
    """The models of these runs, each as its wildcard."""
    return [{"model": model} for model in dict.fromkeys(run.model for run in stage_runs(name))]


def stage_files(name, file):
    """A file of each of these runs, as a function of the wildcards."""
    return lambda wildcards: [
        f"{RESULTS}/{run.folder}/{file}" for run in stage_runs(name, wildcards.get("model"))
    ]


def stage_sources(name):
    """Sources of a stage's job: the stage's, and those of what its runs are built with."""

    def find(wildcards):
        runs = stage_runs(name, wildcards.get("model"))
        cells = tuple(dict.fromkeys(run.cell for run in runs))
        return sources("stage", factories(cells) | {stages.path(name)})

    return find


def asked_by_stage(name, resource):
    """What a stage's job asks a cluster for, as a function of the wildcards and the attempt."""
    return lambda wildcards, attempt: needs_of_stage(
        STAGES[name],
        SETTINGS[name],
        config,
        stage_runs(name, wildcards.get("model")),
        per_job=PER_JOB,
        gpu=bool(GPU),
        attempt=attempt,
    )[resource]
