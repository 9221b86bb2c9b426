"""One verdict from those of other claims, by rules fixed beforehand.

`direct` is of the experiment that sets curvature and gamma apart, `mediation` of the analysis of
focal runs alone, `function_kept` of interventions that move curvature and keep the function.

- Supported: `direct` and `mediation` are both supported, and `function_kept` is not contradicted.
- Contradicted: `direct` is contradicted, and `mediation` is not supported. Or, where `direct` was
  not tested, both others are contradicted.
- Mixed: two of them are supported and contradicted.
- Inconclusive: anything else; not tested, where neither `direct` nor `mediation` was.

Focal runs alone support nothing: what moves curvature at equal gamma may move calibration itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from focal_curvature.analysis.evidence import (
    CONTRADICTED,
    INCONCLUSIVE,
    MIXED,
    NOT_TESTED,
    SUPPORTED,
)
from focal_curvature.analysis.questions import SHARE, Kind

__all__ = ["combination"]

KEYS = {
    "of": {
        "type": "object",
        "additionalProperties": False,
        "required": ["direct", "mediation", "function_kept"],
        "properties": {
            "direct": {"type": "string", "description": "key of a claim"},
            "mediation": {"type": "string", "description": "key of a claim"},
            "function_kept": {"type": "string", "description": "key of a claim"},
        },
        "description": "claims that it rests on",
    },
    "measures": {"$ref": "#/$defs/measures"},
    "hessian_of": {"$ref": "#/$defs/hessian_of"},
    "outcomes": {"$ref": "#/$defs/outcomes"},
    "gammas": {"$ref": "#/$defs/gammas"},
}
OPTIONAL: list[str] = []


def combination() -> Kind:
    """Return the kind."""
    return Kind("none: of the verdicts it rests on", SHARE, combine=combine)


def combine(verdicts: Mapping[str, str]) -> tuple[str, str]:
    """Return the verdict and its reason from `direct`, `mediation` and `function_kept`."""
    reason = "; ".join(f"{name.replace('_', ' ')} {verdict}" for name, verdict in verdicts.items())
    direct, mediation, kept = (verdicts[k] for k in ("direct", "mediation", "function_kept"))
    if direct == mediation == NOT_TESTED:
        return NOT_TESTED, reason
    if direct == mediation == SUPPORTED and kept != CONTRADICTED:
        return SUPPORTED, reason
    if direct == CONTRADICTED and mediation != SUPPORTED:
        return CONTRADICTED, reason
    if direct == NOT_TESTED and mediation == kept == CONTRADICTED:
        return CONTRADICTED, reason
    if {SUPPORTED, CONTRADICTED} <= {direct, mediation, kept}:
        return MIXED, reason
    return INCONCLUSIVE, reason
