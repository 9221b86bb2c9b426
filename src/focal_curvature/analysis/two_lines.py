"""The two-lines test of a U shape (Simonsohn 2018, doi 10.1177/2515245918805755).

A quadratic fit calls many monotone relations U-shaped. Here two lines are fitted, to the points
before and after a break: a U asks that the first falls and the second rises, each beyond chance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.interpolate import BSpline
from scipy.stats import rankdata
from statsmodels.regression.linear_model import OLS

MIDDLE = (0.1, 0.9)  # the break is sought among the middle 80% of points, as in the paper
FEWEST = 10  # different values of x: a spline of six terms must leave something to chance
KNOTS = np.r_[[0.0] * 4, 1 / 3, 2 / 3, [1.0] * 4]  # cubic regression spline on the ranks


class TwoLines(NamedTuple):
    """Slopes of y over the whole range of x's ranks; before and after the break.

    Attributes
    ----------
    left, right : tuple of float
        Slope, low and high end of its 95% interval, two-sided p-value.
    at : float
        The break, as a fraction of the range of ranks.
    """

    left: tuple[float, float, float, float]
    right: tuple[float, float, float, float]
    at: float


def two_lines(x: np.ndarray, y: np.ndarray) -> TwoLines | None:
    """Fit an interrupted regression with the break that the "Robin Hood" algorithm sets.

    The break is first the median of the points at which a smooth fit is within one standard error
    of its lowest; then it moves among these points towards the line with the stronger
    evidence, which gives points to the weaker one. Standard errors are robust to unequal
    variances (HC3).

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Finite. Of x only the ranks are used: a U shape does not depend on the scale of x, and
        neither negative nor huge values need special care. Where the paper has a generalised
        additive model, the smooth fit is a cubic regression spline of six terms on them.

    Returns
    -------
    TwoLines or None
        None where x or y never varies or points are too few for both lines.
    """
    if len(np.unique(x)) < FEWEST or np.ptp(y) == 0:
        return None
    ranks = rankdata(x)
    ranks = (ranks - ranks.min()) / np.ptp(ranks)
    smooth = OLS(y, BSpline.design_matrix(ranks, KNOTS, 3).toarray()).fit().get_prediction()
    middle = (ranks > MIDDLE[0]) & (ranks < MIDDLE[1])
    if not middle.any():
        return None
    lowest = np.flatnonzero(middle)[np.argmin(smooth.predicted[middle])]
    flat = ranks[middle & (smooth.predicted <= smooth.predicted[lowest] + smooth.se[lowest])]
    first = _fit(ranks, y, float(np.median(flat)))
    if first is None:
        return None
    z = [abs(line[4]) for line in first]
    share = z[1] / sum(z) if sum(z) > 0 else 0.5
    at = float(np.quantile(flat, share))
    lines = _fit(ranks, y, at)
    return lines and TwoLines(lines[0][:4], lines[1][:4], at)


def _fit(x: np.ndarray, y: np.ndarray, at: float) -> list[tuple[float, ...]] | None:
    """Fit both lines twice, the point of the break once in either; the level may jump there."""
    lines = []
    for right in (False, True):
        after = x > at if not right else x >= at
        design = np.column_stack([np.ones_like(x), (x - at) * ~after, (x - at) * after, after])
        side = after if right else ~after
        if len(np.unique(x[side])) < 3 or np.linalg.matrix_rank(design) < 4:
            return None
        fit = OLS(y, design).fit(cov_type="HC3", use_t=True)
        k = 2 if right else 1
        low, high = fit.conf_int()[k]
        lines.append((fit.params[k], low, high, fit.pvalues[k], fit.tvalues[k]))
    return lines
