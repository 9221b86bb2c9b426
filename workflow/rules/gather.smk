# All runs' records in tables; all runs' files are gone through once.
rule gather:
    input:
        run=expand("{run}/run.json", run=RUN_FOLDERS),
        calibration=expand("{run}/calibration.json", run=RUN_FOLDERS),
        reliability=expand("{run}/reliability.csv", run=RUN_FOLDERS),
        objective=expand("{run}/curvature/objective.json", run=RUN_FOLDERS),
        cross_entropy=expand("{run}/curvature/cross_entropy.json", run=RUN_FOLDERS),
        history=expand("{run}/history.csv", run=RUN_FOLDERS),
        dataset=f"{DATASET}/dataset.json",
    output:
        runs=report(f"{PAPER}/runs.csv", caption="../report/tables/runs.rst", category="Tables"),
        reliability=f"{PAPER}/reliability.csv",
        histories=f"{PAPER}/histories.csv",
        provenance=f"{PAPER}/provenance.json",
    log:
        f"{RESULTS}/logs/gather.log",
    benchmark:
        counted("gather")
    conda:
        "../../environment.yml"
    params:
        sources=sources("gather", factories(tuple(CELLS))),
    message:
        "Gather all runs in tables, with versions, commits, machines and cost"
    script:
        "../scripts/gather.py"
