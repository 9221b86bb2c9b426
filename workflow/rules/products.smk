# One rule per table and figure of the experiment; what one is made from, its module says.
for product in TABLES + FIGURES:

    rule:
        name:
            f"{product.kind}_{product.name}"
        input:
            **inputs_of(product),
            provenance=f"{PAPER}/provenance.json",
        output:
            report(
                TARGETS[product.kind, product.name][0],
                caption=f"../report/{product.kind}/{product.name}.rst",
                category=product.category or product.kind.capitalize(),
                labels={product.kind.removesuffix("s"): product.name},
            ),
            TARGETS[product.kind, product.name][1:],
        log:
            f"{RESULTS}/logs/{product.kind}/{product.name}.log",
        benchmark:
            counted(product.kind, f"{product.kind}/{product.name}")
        group:
            "paper"
        conda:
            "../../environment.yml"
        threads: (workflow.resource_settings.cores or 1) if product.parallel else 1
        resources:
            # Of seconds. A group asks for all of its jobs' minutes, one after the other.
            runtime=lambda wildcards, attempt: 2 * attempt,
        params:
            sources=product_sources(product),
            product=product.path,
            write=product.write,
            tables=list(inputs_of(product)),
            settings={key: JUDGED_BY if key == "rules" else config[key] for key in product.settings},
        message:
            f"Make the {product.kind.removesuffix('s')} {product.name}"
        script:
            "../scripts/product.py"


rule cost:
    input:
        benchmarks=list(BENCHMARKS),
    output:
        report(f"{PAPER}/tables/cost.csv", caption="../report/tables/cost.rst", category="Tables"),
        expand(f"{PAPER}/tables/cost.{{format}}", format=["md", "tex"]),
    log:
        f"{RESULTS}/logs/cost.log",
    benchmark:
        f"{RESULTS}/benchmarks/cost.tsv"
    conda:
        "../../environment.yml"
    params:
        sources=sources("cost"),
        jobs=list(BENCHMARKS.values()),
        runs=Counter(run.model for run in RUNS.values()),
    message:
        "Sum up what everything cost"
    script:
        "../scripts/cost.py"


# Not among the targets of `all`: a run of one's own has nothing to be compared with.
rule verify:
    input:
        runs=f"{PAPER}/runs.csv",
        claims=TARGETS.get(("tables", "claims"), []),
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
