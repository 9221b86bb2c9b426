# What tables and figures are made from, and which files they are. No rules in here.
FILES = {table: [f"{PAPER}/{table}.csv"] for table in ("runs", "reliability", "histories")}
for name in STAGES:
    for table, pattern in stage_tables(name).items():
        FILES[table] = [pattern.format(**job) for job in stage_wildcards(name)]
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
