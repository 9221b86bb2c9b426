rule theory:
    input:
        logits=[f"{run}/logits.npz" for run in FOCAL_RUNS],
        run=[f"{run}/run.json" for run in FOCAL_RUNS],
    output:
        bound=f"{RESULTS}/theory/bound.csv",
        logit_curvature=f"{RESULTS}/theory/logit_curvature.csv",
        predictions=f"{RESULTS}/theory/predictions.csv",
    log:
        f"{RESULTS}/logs/theory.log",
    benchmark:
        f"{RESULTS}/benchmarks/theory.tsv"
    conda:
        "../../environment.yml"
    params:
        sources=sources("theory"),
        settings=config["theory"],
    message:
        "Hold theory against the predictions of the focal runs"
    script:
        "../scripts/theory.py"


rule posterior:
    output:
        scores=f"{RESULTS}/theory/posterior.csv",
        points=f"{RESULTS}/theory/posterior_points.csv",
        plane=f"{RESULTS}/theory/posterior_plane.csv",
    log:
        f"{RESULTS}/logs/posterior.log",
    benchmark:
        f"{RESULTS}/benchmarks/posterior.tsv"
    conda:
        "../../environment.yml"
    params:
        sources=sources("posterior"),
        settings=config["theory"],
    message:
        "Recover a known posterior from networks trained with focal loss"
    script:
        "../scripts/posterior.py"
