rule figure_data:
    input:
        lambda w: sources(f"plotting.{w.figure}"),
        runs=f"{RESULTS}/runs.csv",
        reliability=f"{RESULTS}/reliability.csv",
    output:
        f"{PAPER}/data/{{figure}}.csv",
    log:
        f"{RESULTS}/logs/figure_data/{{figure}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/figure_data/{{figure}}.tsv"
    message:
        "Compute the table behind the figure {wildcards.figure}"
    conda:
        "../../environment.yml"
    script:
        "../scripts/figure_data.py"


rule figure:
    input:
        lambda w: sources(f"plotting.{w.figure}"),
        data=f"{PAPER}/data/{{figure}}.csv",
    output:
        pdf=f"{PAPER}/{{figure}}.pdf",
        png=report(
            f"{PAPER}/{{figure}}.png",
            caption="../report/{figure}.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
    log:
        f"{RESULTS}/logs/figure/{{figure}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/figure/{{figure}}.tsv"
    message:
        "Draw the figure {wildcards.figure}"
    conda:
        "../../environment.yml"
    script:
        "../scripts/figure.py"
