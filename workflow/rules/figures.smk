rule figure_tables:
    input:
        runs=f"{RESULTS}/runs.csv",
        reliability=f"{RESULTS}/reliability.csv",
        provenance=f"{PAPER}/provenance.json",
        claims=f"{PAPER}/tables/claims.csv",
        geometry=GEOMETRY_TABLES,
        theory=THEORY_TABLES,
        controls=CONTROL_TABLES,
        trajectory=TRAJECTORY_TABLES,
    output:
        expand(f"{PAPER}/data/{{figure}}.csv", figure=FIGURES),
    log:
        f"{RESULTS}/logs/figure_tables.log",
    benchmark:
        f"{RESULTS}/benchmarks/figure_tables.tsv"
    group:
        "paper"
    conda:
        "../../environment.yml"
    params:
        sources=sources("figure_tables", frozenset(map(plotting.path, FIGURES))),
    message:
        "Compute the tables behind the figures"
    script:
        "../scripts/figure_tables.py"


rule figure:
    input:
        data=f"{PAPER}/data/{{figure}}.csv",
    output:
        pdf=f"{PAPER}/{{figure}}.pdf",
        png=report(
            f"{PAPER}/{{figure}}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
    log:
        f"{RESULTS}/logs/figure/{{figure}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/figure/{{figure}}.tsv"
    group:
        "paper"
    conda:
        "../../environment.yml"
    params:
        sources=lambda w: sources("figure", frozenset([plotting.path(w.figure)])),
    message:
        "Draw the figure {wildcards.figure}"
    script:
        "../scripts/figure.py"
