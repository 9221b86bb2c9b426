# One rule per stage that the configuration asks for; what a stage is, `focal_curvature.stages` says.
# The stages that are asked for, and the runs that each is done with.
for name, stage in STAGES.items():

    rule:
        name:
            name
        input:
            dataset=DATASET_FILES,
            splits=SPLITS,
            run=stage_files(name, "run.json"),
            needed=stage_files(name, stage.needs),
        output:
            **stage_tables(name),
        log:
            f"{RESULTS}/logs/{stage_job(name)}.log",
        benchmark:
            counted(name, stage_job(name), stage_wildcards(name) if stage.per_model else [{}])
        # As long as several runs, begun as soon as it can be, or the others would wait for it.
        priority: 1
        group:
            "runs" if serves_one_run(name) else None
        conda:
            "../../environment.yml"
        threads: config["threads"]
        resources:
            gpu=GPU,
            runtime=asked_by_stage(name, "runtime"),
            mem_mb=asked_by_stage(name, "mem_mb"),
        params:
            sources=stage_sources(name),
            stage=stages.path(name),
            settings=config[name],
            curvature=config["curvature"],
            bins=config["calibration"]["bins"],
        message:
            ": ".join([stage.title, *stage_job(name).replace("{", "{wildcards.").split("/", 1)[1:]])
        script:
            "../scripts/stage.py"
