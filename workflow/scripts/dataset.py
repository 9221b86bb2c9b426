"""Prepare a data set's arrays from a folder, from archives, or from scikit-learn."""

from pathlib import Path

import job

from focal_curvature.data import digits, image_folder, readers


def main(snakemake):
    folder, data = Path(snakemake.output.about).parent, snakemake.params.data
    if data["source"]:
        image_folder.decode(
            Path(data["source"]),
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
