"""Means and intervals over seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from focal_curvature.analysis.evidence import quantile
from focal_curvature.files import write_atomically

CELL = ["model", "objective", "gamma"]

# What the printed tables show, with its heading and the factor to its unit: two tables, as one of
# all columns is too wide for a page.
PRINTED = {
    "Scores": {
        "accuracy": ("Accuracy (%)", 100),
        "ece": ("ECE (%)", 100),
        "ece_scaled": ("ECE, scaled (%)", 100),
        "noise_floor": ("ECE floor (%)", 100),
        "confidence_gap": ("Confidence gap (%)", 100),
        "nll": ("NLL (nats)", 1),
        "temperature": ("T", 1),
    },
    "Curvature": {
        "top_eigenvalue_objective": ("λmax, objective", 1),
        "top_eigenvalue_cross_entropy": ("λmax, CE", 1),
        "trace_objective": ("Trace, objective", 1),
        "trace_cross_entropy": ("Trace, CE", 1),
        "trace_gauss_newton_cross_entropy": ("Trace, Gauss-Newton, CE", 1),
        "adaptive_sharpness_objective": ("Adaptive sharpness, objective", 1),
        "adaptive_sharpness_cross_entropy": ("Adaptive sharpness, CE", 1),
    },
}

# What a reader must know of a printed number: the metric's column that flags it, the flag's value
# that matters, and how to say so.
FLAGS = {
    "temperature": ("temperature_at_bound", True, "at a bound"),
    **{
        metric: (f"{metric}_converged", False, "not converged")
        for loss in ("objective", "cross_entropy")
        for metric in (f"top_eigenvalue_{loss}", f"trace_{loss}")
    },
}


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Return the mean and Student's t interval of independent values.

    It captures the variation over seeds (initial weights and order of the batches) for one split
    of the data; it assumes that seeds are independent and roughly normal.

    Parameters
    ----------
    values : sequence of float
        One per seed.
    level : float
        Coverage.

    Returns
    -------
    mean, low, high : float
        The interval is NaN for fewer than two values.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, np.nan, np.nan
    student = quantile((1 + level) / 2, len(values) - 1)
    half = np.std(values, ddof=1) / np.sqrt(len(values)) * student
    return mean, mean - half, mean + half


def flags_as_numbers(runs: pd.DataFrame) -> pd.DataFrame:
    """Give a run table's flags as 0 and 1, NaN where there is none, so that they have means."""
    flags = [column for column, *_ in FLAGS.values() if column in runs]
    return runs.assign(**{flag: runs[flag].map({True: 1.0, False: 0.0}) for flag in flags})


def by_cell(runs: pd.DataFrame, metrics: Sequence[str], keys: Sequence[str] = CELL) -> pd.DataFrame:
    """Summarise metrics over the completed runs of each cell.

    Returns
    -------
    DataFrame
        Columns: ``keys``, ``metric``, ``mean``, ``low`` and ``high`` (95% interval over seeds),
        ``n``; in the order in which cells and metrics first appear.
    """
    completed = runs[runs["status"] == "completed"]
    rows = []
    for cell, group in completed.groupby(list(keys), sort=False, dropna=False):
        for metric in metrics:
            values = group[metric].dropna().to_numpy()
            if len(values):
                mean, low, high = interval(values)
                rows.append([*cell, metric, mean, low, high, len(values)])
    return pd.DataFrame(rows, columns=[*keys, "metric", "mean", "low", "high", "n"])


def printed(summary: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Lay a summary out for print: a table per title of ``PRINTED``.

    A row per cell, "mean ± half width" per metric with the number of runs that `FLAGS` warns of,
    n last.
    """
    rows: dict[str, list[dict[str, object]]] = {title: [] for title in PRINTED}
    for (model, objective), group in summary.groupby(["model", "objective"], sort=False):
        means = group.set_index("metric").to_dict("index")
        for title, metrics in PRINTED.items():
            row = {"Model": model, "Objective": objective}
            for metric, (heading, factor) in metrics.items():
                if metric in means:
                    mean, high = (factor * means[metric][key] for key in ("mean", "high"))
                    row[heading] = plus_minus(mean, high) + _warning(metric, means)
            rows[title].append(row | {"n": int(group["n"].max())})
    return {title: pd.DataFrame(part) for title, part in rows.items()}


def _warning(metric: str, means: Mapping[str, Mapping[str, float]]) -> str:
    """Say how many runs have a flag that matters, given a cell's summary by metric."""
    column, value, words = FLAGS.get(metric, ("", True, ""))
    if column not in means:
        return ""
    share = means[column]["mean"]
    runs = round(means[column]["n"] * (share if value else 1 - share))
    return f" ({runs} {words})" if runs else ""


def plus_minus(mean: float, high: float) -> str:
    """Write a mean and its interval's half width with two digits of that, as metrology does."""
    half = high - mean
    if not np.isfinite(half) or half == 0:
        return f"{mean:.4g}"
    digits = max(0, 1 - int(np.floor(np.log10(half))))
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def latex(table: pd.DataFrame) -> str:
    """Write a printed table as a LaTeX tabular that needs the booktabs package."""
    text = table.to_latex(index=False, escape=True)
    symbols = {
        "±": r"$\pm$",
        "λmax": r"$\lambda_{\max}$",
        "γ": r"$\gamma$",
        "ρ": r"$\rho$",
        "Ψ": r"$\Psi$",
        "< 0": "$<$ 0",
    }
    for symbol, command in symbols.items():
        text = text.replace(symbol, command)
    return text


def _markdown(table: pd.DataFrame) -> str:
    return table.to_markdown(index=False, disable_numparse=True) + "\n"


def _html(table: pd.DataFrame) -> str:
    return table.to_html(index=False, border=0) + "\n"


def write(
    table: pd.DataFrame,
    printed: pd.DataFrame | Mapping[str, pd.DataFrame],
    outputs: Sequence[Path],
) -> None:
    """Write a table as CSV, in full, and as printed in Markdown, LaTeX and HTML.

    Parameters
    ----------
    table : DataFrame
        All numbers.
    printed : DataFrame or mapping
        The strings laid out for print; several tables by their titles. One without rows is a line
        that says so.
    outputs : sequence of Path
        Files; the suffix says the format.
    """
    parts = printed if isinstance(printed, Mapping) else {"": printed}

    def joined(title: str, text: Callable[[pd.DataFrame], str]) -> str:
        return "\n".join(
            (title.format(t) if t else "") + ("no completed run\n" if p.empty else text(p))
            for t, p in parts.items()
        )

    formats = {
        ".csv": lambda: table.to_csv(index=False),
        ".md": lambda: joined("**{}**\n\n", _markdown),
        ".tex": lambda: joined("% {}\n", latex),
        ".html": lambda: joined("<h2>{}</h2>\n", _html),
    }
    for output in outputs:
        with write_atomically(output) as stream:
            stream.write(formats[output.suffix]().encode())
