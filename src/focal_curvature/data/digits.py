"""The 1,797 hand-written digits that scikit-learn's wheel carries: real data without a network.

Alpaydin and Kaynak 1998, "Optical recognition of handwritten digits", UCI Machine Learning
Repository: its test set, 8 x 8 pixels that count the ink of 4 x 4 blocks, 0 to 16.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import numpy as np

from focal_curvature.data import arrays


def prepare(folder: Path) -> None:
    """Write the data set's arrays and description into ``folder``, as one pool of 1,797 images."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    archive = files("sklearn.datasets.data").joinpath("digits.csv.gz")
    arrays.write(
        folder,
        name="digits",
        images=digits.images.astype(np.uint8)[:, None],
        labels=digits.target,
        classes=[str(name) for name in digits.target_names],
        pools={"all": [0, len(digits.target)]},
        scale=16,
        sources=[
            {
                "name": f"digits.csv.gz of scikit-learn {version('scikit-learn')}",
                "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
            }
        ],
    )
