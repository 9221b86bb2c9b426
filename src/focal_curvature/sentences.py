"""What the captions of several products say in the same words, from an experiment's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def sentences(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the sentences by name.

    Parameters
    ----------
    config : mapping
        A complete configuration.

    Returns
    -------
    dict
        ``estimator`` of the curvature; ``measured``, on what it was; ``curvature``, both, for the
        two losses.
    """
    curvature = config["curvature"]
    estimator = f"Estimator: {curvature['estimator']}"
    measured = (
        f"Curvature is that of the mean loss over {curvature['samples'] or 'all'} images of the "
        f"{curvature['split']} split at the final weights, batch norm in evaluation mode"
    )
    return {
        "estimator": estimator,
        "measured": measured,
        "curvature": f"{measured}, under the training objective and under plain cross-entropy at "
        f"the same weights (the same numbers at γ = 0). {estimator}",
    }
