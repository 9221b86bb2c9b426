"""The data set and its splits."""

from __future__ import annotations

from dataclasses import dataclass

from focal_curvature.settings import NAME, option


@dataclass(frozen=True)
class Data:
    """The data set and its splits."""

    name: str = option(
        about="a known data set, or a name of your own where there is a source",
        choose="`digits`, `mnist`, `fashion_mnist`, `kmnist`, `cifar10`, `cifar100`, `svhn`, "
        "`letters` (16 numbers for each of 20,000 printed capitals), `satellite` (36 for each of "
        "6,435 places), `dna` (180 for each of 3,186 sequences), or a name of your own with a "
        "`source`. The three of numbers come with Debian's package `r-cran-mlbench`: `directories: "
        "[/usr/lib/R/site-library/mlbench/data]`",
        pattern=NAME,
        maxLength=100,
    )
    validation: int = option(
        about="validation images, held out from training for the temperature",
        choose="images held out from training, for the temperature",
        minimum=1,
    )
    source: str | None = option(
        None,
        about="your own data: a folder train/<class>/* and test/<class>/* or an archive of it, "
        "arrays (.npz), or a table (.csv, .parquet)",
        choose="your own data. Images: a folder `train/<class>/*`, `test/<class>/*` or an archive "
        "of it, resized to `size` x `size` pixels; a folder that changed is read again. Arrays: a "
        "`.npz` file with `inputs`, vectors (N, D) or square images (N, H, H), (N, C, H, H), and "
        "`labels`, integers or names; `test_inputs` and `test_labels` if there is a test set. A "
        "table: `.csv` or `.parquet`, with the column of labels named by `label` and numbers in "
        "all others. Everything is standardised on the training split, by channel or feature. A "
        "model gets a vector as an image of one pixel with D channels (`mlp` takes it; a model "
        "that can't is told before any job). `examples/word_languages.py` makes such arrays, with "
        "a known posterior",
        minLength=1,
    )
    size: int | None = option(
        None,
        about="side in pixels that your own image files are resized to",
        choose="side in pixels that your own image files are resized to",
        minimum=4,
    )
    label: str | None = option(
        None,
        about="the column of labels of your own table",
        choose="the column of labels of your own table",
        minLength=1,
    )
    sha256: str | None = option(
        None,
        about="what your own file must hash to",
        choose="the hash that your own file must have, if you wish",
        pattern=r"^[0-9a-f]{64}(?!\n)$",
    )
    directories: list[str] = option(
        [],
        about="local directories searched for archives before any mirror",
        choose="searched for the public archives before any mirror; so is the environment variable "
        "`FOCAL_CURVATURE_DATA`. Hashes are verified always",
        items={"type": "string", "minLength": 1},
    )
    train: int | None = option(
        None,
        about="training images, or null for all that are left",
        choose="number of images; `null` takes all that are left. Data without a test set need "
        "this or `test`. Splits are stratified. Few training images show over-confidence sooner",
        minimum=1,
    )
    test: int | None = option(
        None,
        about="test images, or null for all that are left",
        choose="as `train`, one of which data without a test set need. Where there is one, test "
        "images come from it alone. The floor of ECE falls as 1/sqrt(test images)",
        minimum=1,
    )
    label_noise: float = option(
        0,
        about="share of the training labels that are replaced by another class",
        choose="share of the training labels (drawn by `split_seed`) that are replaced by another "
        "class; validation and test labels stay as they are",
        minimum=0,
        maximum=1,
    )
    split_seed: int = option(
        0,
        about="seed of the stratified split",
        choose="another split of the same data. Intervals over seeds do not cover this choice",
        minimum=0,
        maximum=2**32 - 1,
    )
