# What a stage's job is done with, and what it asks a cluster for. No rules in here.
STAGES = {name: stage for name, stage in stages.stages().items() if config[name]}
SETTINGS = {name: read(stage.settings, config[name]) for name, stage in STAGES.items()}


def serves_one_run(name):
    """Whether each run is a job of a stage, in its run's group."""
    return STAGES[name].by_run and config["jobs"]["stages"] == "run"


def stage_job(name):
    """Pattern that tells a stage's jobs apart."""
    stage = STAGES[name]
    if serves_one_run(name):
        return f"{name}/{{model}}/{{objective}}/seed{{seed}}"
    return f"{name}/{{model}}" if stage.per_model else name


# Job -> the runs that it is done with, of each stage.
STAGE_JOBS = {name: defaultdict(list) for name in STAGES}
for name, settings in SETTINGS.items():
    for run in settings.select(RUNS.values()):
        STAGE_JOBS[name][stage_job(name).format(**wildcards_of(run))].append(run)


def stage_tables(name):
    """Table -> file of a stage's job."""
    folder = f"{RESULTS}/{stage_job(name)}"
    return {table: f"{folder}/{table}.csv" for table in STAGES[name].tables}


def stage_runs(name, wildcards):
    """The runs that a stage's job is done with."""
    return STAGE_JOBS[name].get(stage_job(name).format(**wildcards), [])


def stage_wildcards(name):
    """The wildcards of each job of a stage."""
    return [wildcards_of(runs[0]) for runs in STAGE_JOBS[name].values()]


def stage_files(name, file):
    """A file of each of these runs, as a function of the wildcards."""
    return lambda wildcards: [
        f"{RESULTS}/{run.folder}/{file}" for run in stage_runs(name, wildcards)
    ]


def stage_sources(name):
    """Sources of a stage's job: the stage's, and those of what its runs are built with."""

    def find(wildcards):
        runs = stage_runs(name, wildcards)
        cells = tuple(dict.fromkeys(run.cell for run in runs))
        return sources("stage", factories(cells) | {stages.path(name)})

    return find


def asked_by_stage(name, resource):
    """What a stage's job asks a cluster for, as a function of the wildcards and the attempt."""
    return lambda wildcards, attempt: needs_of_stage(
        STAGES[name],
        SETTINGS[name],
        config,
        stage_runs(name, wildcards),
        per_job=PER_JOB,
        gpu=bool(GPU),
        attempt=attempt,
    )[resource]
