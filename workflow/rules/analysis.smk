rule tables:
    input:
        run=expand("{run}/run.json", run=RUN_FOLDERS),
        calibration=expand("{run}/calibration.json", run=RUN_FOLDERS),
        reliability=expand("{run}/reliability.csv", run=RUN_FOLDERS),
        objective=expand("{run}/curvature/objective.json", run=RUN_FOLDERS),
        cross_entropy=expand("{run}/curvature/cross_entropy.json", run=RUN_FOLDERS),
        dataset=f"{DATASET}/dataset.json",
    output:
        runs=report(f"{RESULTS}/runs.csv", caption="../report/runs.rst", category="Tables"),
        reliability=f"{RESULTS}/reliability.csv",
        # In the same job, as planning 10,000 runs goes through all of their files once per rule.
        provenance=f"{PAPER}/provenance.json",
    log:
        f"{RESULTS}/logs/tables.log",
    benchmark:
        f"{RESULTS}/benchmarks/tables.tsv"
    conda:
        "../../environment.yml"
    params:
        sources=sources("tables"),
    message:
        "Gather all runs in one table, with versions, commits, machines and cost"
    script:
        "../scripts/tables.py"


rule summary:
    input:
        runs=f"{RESULTS}/runs.csv",
        provenance=f"{PAPER}/provenance.json",
    output:
        report(f"{PAPER}/tables/summary.csv", caption="../report/summary.rst", category="Tables"),
        expand(f"{PAPER}/tables/summary.{{format}}", format=TABLE_FORMATS[1:]),
    log:
        f"{RESULTS}/logs/summary.log",
    benchmark:
        f"{RESULTS}/benchmarks/summary.tsv"
    group:
        "paper"
    conda:
        "../../environment.yml"
    params:
        sources=sources("summary"),
    message:
        "Summarise each model and objective over its seeds"
    script:
        "../scripts/summary.py"


rule claims:
    input:
        runs=f"{RESULTS}/runs.csv",
        provenance=f"{PAPER}/provenance.json",
        controls=CONTROL_TABLES,
    output:
        claims=f"{PAPER}/claims.json",
        html=report(
            f"{PAPER}/tables/claims.html", caption="../report/claims.rst", category="Verdicts"
        ),
        tables=expand(f"{PAPER}/tables/claims.{{format}}", format=TABLE_FORMATS),
    log:
        f"{RESULTS}/logs/claims.log",
    benchmark:
        f"{RESULTS}/benchmarks/claims.tsv"
    group:
        "paper"
    conda:
        "../../environment.yml"
    params:
        sources=sources("claims", CLAIM_TESTS),
        rules=JUDGED_BY,
        experiment=config["experiment"],
    message:
        "Test the claims"
    script:
        "../scripts/claims.py"


rule estimators:
    input:
        tables=expand(
            "{folder}/geometry/{model}/estimators.csv", folder=RESULTS, model=config["models"]
        ),
    output:
        report(
            f"{PAPER}/tables/estimators.csv",
            caption="../report/estimators.rst",
            category="Tables",
        ),
        expand(f"{PAPER}/tables/estimators.{{format}}", format=TABLE_FORMATS[1:]),
    log:
        f"{RESULTS}/logs/estimators.log",
    benchmark:
        f"{RESULTS}/benchmarks/estimators.tsv"
    group:
        "paper"
    conda:
        "../../environment.yml"
    params:
        sources=sources("estimators"),
    message:
        "Hold the estimators of curvature against each other"
    script:
        "../scripts/estimators.py"


rule theory_table:
    input:
        bound=f"{RESULTS}/theory/bound.csv",
        logit_curvature=f"{RESULTS}/theory/logit_curvature.csv",
        posterior=f"{RESULTS}/theory/posterior.csv",
    output:
        report(f"{PAPER}/tables/theory.csv", caption="../report/theory.rst", category="Tables"),
        expand(f"{PAPER}/tables/theory.{{format}}", format=TABLE_FORMATS[1:]),
    log:
        f"{RESULTS}/logs/theory_table.log",
    benchmark:
        f"{RESULTS}/benchmarks/theory_table.tsv"
    group:
        "paper"
    conda:
        "../../environment.yml"
    params:
        sources=sources("theory_table"),
    message:
        "Gather what came of theory in one table"
    script:
        "../scripts/theory_table.py"


rule controls_table:
    input:
        tables=CONTROL_TABLES,
    output:
        report(
            f"{PAPER}/tables/controls.csv",
            caption="../report/controls.rst",
            category="Tables",
        ),
        expand(f"{PAPER}/tables/controls.{{format}}", format=TABLE_FORMATS[1:]),
    log:
        f"{RESULTS}/logs/controls_table.log",
    benchmark:
        f"{RESULTS}/benchmarks/controls_table.tsv"
    group:
        "paper"
    conda:
        "../../environment.yml"
    params:
        sources=sources("controls_table"),
    message:
        "Lay out the interventions in one table"
    script:
        "../scripts/controls_table.py"


rule trajectory_table:
    input:
        tables=TRAJECTORY_TABLES,
    output:
        report(
            f"{PAPER}/tables/trajectory.csv",
            caption="../report/trajectory.rst",
            category="Tables",
        ),
        expand(f"{PAPER}/tables/trajectory.{{format}}", format=TABLE_FORMATS[1:]),
    log:
        f"{RESULTS}/logs/trajectory_table.log",
    benchmark:
        f"{RESULTS}/benchmarks/trajectory_table.tsv"
    group:
        "paper"
    conda:
        "../../environment.yml"
    params:
        sources=sources("trajectory_table"),
    message:
        "Correlate curvature and calibration along training"
    script:
        "../scripts/trajectory_table.py"


rule penalties:
    input:
        run=expand("{run}/run.json", run=REGULARISED_RUNS),
        history=expand("{run}/history.csv", run=REGULARISED_RUNS),
    output:
        report(
            f"{PAPER}/tables/penalties.csv",
            caption="../report/penalties.rst",
            category="Tables",
        ),
        expand(f"{PAPER}/tables/penalties.{{format}}", format=TABLE_FORMATS[1:]),
    log:
        f"{RESULTS}/logs/penalties.log",
    benchmark:
        f"{RESULTS}/benchmarks/penalties.tsv"
    group:
        "paper"
    conda:
        "../../environment.yml"
    params:
        sources=sources("penalties"),
    message:
        "Describe the penalised traces along training"
    script:
        "../scripts/penalties.py"


rule cost:
    input:
        benchmarks=list(benchmarks()),
    output:
        report(f"{PAPER}/tables/cost.csv", caption="../report/cost.rst", category="Tables"),
        expand(f"{PAPER}/tables/cost.{{format}}", format=TABLE_FORMATS[1:]),
    log:
        f"{RESULTS}/logs/cost.log",
    benchmark:
        f"{RESULTS}/benchmarks/cost.tsv"
    conda:
        "../../environment.yml"
    params:
        sources=sources("cost"),
        jobs=list(benchmarks().values()),
        runs=Counter(run.model for run in RUNS.values()),
    message:
        "Sum up what every stage cost"
    script:
        "../scripts/cost.py"


# Not among the targets of `all`: a run of one's own has nothing to be compared with.
rule verify:
    input:
        runs=f"{RESULTS}/runs.csv",
        claims=f"{PAPER}/claims.json",
        summary=f"{PAPER}/tables/summary.csv",
        provenance=f"{PAPER}/provenance.json",
    output:
        f"{RESULTS}/verification.csv",
    log:
        f"{RESULTS}/logs/verify.log",
    conda:
        "../../environment.yml"
    params:
        sources=sources("verify"),
        commit=lambda w: commit(ROOT),
    message:
        f"Compare {PAPER} with what the last commit has of it"
    script:
        "../scripts/verify.py"
