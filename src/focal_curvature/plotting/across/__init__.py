"""Figures over all experiments: one file each, as in `focal_curvature.plotting`.

``prepare`` takes ``runs`` (experiment -> its ``runs.csv``), ``rules`` (the content of
``claims.yaml``) and ``pooled`` (the table of `focal_curvature.analysis.pooled.judge`).
"""

FIGURES = ("pooled", "relative_curvature", "shares")
