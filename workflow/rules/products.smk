# One rule per table and figure of the experiment; what one is made from, its module says.
FILES = {table: [f"{PAPER}/{table}.csv"] for table in ("runs", "reliability", "histories")}
for name in STAGES:
    for table, pattern in stage_tables(name).items():
        FILES[table] = list(dict.fromkeys(pattern.format(**model) for model in stage_models(name)))
TABLES = wanted("tables", FILES, RUNS.values())
for product in TABLES:
    FILES.setdefault(product.name, [f"{PAPER}/tables/{product.name}.csv"])
FIGURES = wanted("figures", FILES, RUNS.values())

# In the report stands the first format of a table, and a figure as an image.
TARGETS = {
    ("tables", product.name): [
        f"{PAPER}/tables/{product.name}.{format}" for format in product.formats
    ]
    + [f"{PAPER}/{file}" for file in [product.json] if file]
    for product in TABLES
} | {
    ("figures", product.name): [
        f"{PAPER}/{product.name}.png",
        f"{PAPER}/{product.name}.pdf",
        f"{PAPER}/data/{product.name}.csv",
    ]
    for product in FIGURES
}


def inputs_of(product):
    """Table -> files of what a product is made from."""
    names = [*product.needs, *(name for name in product.takes if name in FILES)]
    return {name: FILES[name] for name in names}


def product_sources(product):
    """Sources of a product, with those of what the runs are built with, where their names are from."""
    tests = CLAIM_TESTS if "rules" in product.settings else frozenset()
    given = {product.path, product.write} | tests
    return sources("product", factories(tuple(CELLS)) | given)


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
