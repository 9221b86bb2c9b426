"""Prepare a data set's arrays: of one's own, from archives, or from scikit-learn."""

from pathlib import Path

import job

from focal_curvature.data import ARRAYS, TABLES, digits, image_folder, numbers, readers


def main(snakemake):
    folder, data = Path(snakemake.output.about).parent, snakemake.params.data
    source = Path(data["source"] or "")
    if source.suffix in ARRAYS + TABLES:
        numbers.decode(
            source, folder, name=data["name"], label=data["label"], expected=data["sha256"]
        )
    elif data["source"]:
        image_folder.decode(
            source,
            folder,
            name=data["name"],
            size=data["size"],
            expected=data["sha256"],
        )
    elif data["name"] == "digits":
        digits.prepare(folder)
    else:
        readers.decode(data["name"], [Path(file) for file in snakemake.input.raw], folder)


if "snakemake" in globals():
    job.run(main, snakemake)
