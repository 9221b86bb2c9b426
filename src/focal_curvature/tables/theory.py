"""What came of holding theory against the runs' predictions and a known posterior, in one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

PRODUCT = {"needs": ("bound", "logit_curvature", "posterior"), "order": 40}
COLUMNS = ["part", "model", "gamma", "case", "measure", "value", "n"]
# Measure -> how it is taken over the runs; of the posterior there is one network per gamma.
BOUND = {"holds": "mean", "largest_violation": "max"}
LOGIT_CURVATURE = {"ratio": "mean", "negative": "mean", "largest_deviation": "max"}
POSTERIOR = dict.fromkeys(
    ("temperature", "mean_absolute_error", "kullback_leibler", "confidence_bias"), "mean"
)
# Entropies and variants with their names in print.
ENTROPIES = {"full": "entropy", "true class": "true class's term"}
VARIANTS = {"raw": "as trained", "scaled": "temperature scaled", "psi": "Ψ"}


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Gather the three tables.

    Parameters
    ----------
    tables : mapping
        ``bound``, a row per run, gamma and entropy; ``logit_curvature``, a row per focal run, all
        runs having the same samples; ``posterior``, a row per gamma and variant.

    Returns
    -------
    DataFrame
        Columns ``COLUMNS``, a row per number; ``part`` is the name of the table that it is from.

        - ``bound``, by model, gamma of the loss and entropy (``case``), over the predictions of n
          runs: ``holds`` (share of samples) and ``largest_violation`` (nats).
        - ``logit_curvature``, by model and gamma, over n runs: mean ``ratio`` of the traces,
          ``negative`` (share of samples), ``largest_deviation`` relative to the closed form.
        - ``posterior``, by gamma and variant (``case``): ``temperature``,
          ``mean_absolute_error``, ``kullback_leibler`` (nats), ``confidence_bias``.
    """
    bound, posterior = (
        table.rename(columns={name: "case"})
        for table, name in ((tables["bound"], "entropy"), (tables["posterior"], "variant"))
    )
    parts = [
        _long(bound, ["model", "gamma", "case"], BOUND).assign(part="bound"),
        _long(tables["logit_curvature"], ["model", "gamma"], LOGIT_CURVATURE).assign(
            part="logit_curvature"
        ),
        _long(posterior, ["gamma", "case"], POSTERIOR).assign(part="posterior"),
    ]
    return pd.concat([part.reindex(columns=COLUMNS) for part in parts]).fillna(
        {"model": "", "case": ""}
    )


def _long(table: pd.DataFrame, keys: list[str], measures: dict[str, str]) -> pd.DataFrame:
    grouped = table.groupby(keys)
    values = grouped.agg(measures).assign(n=grouped.size()).reset_index()
    return values.melt([*keys, "n"], list(measures), "measure")


def printed(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Lay the table out for print: a table per part, by its title."""
    bound = [
        {"Model": model, "γ": f"{gamma:g}", "Runs": n}
        | {
            f"Holds, {name} (%)": f"{100 * values[case, 'holds']:.2f}"
            for case, name in ENTROPIES.items()
        }
        | {
            f"Largest violation, {name} (nats)": f"{values[case, 'largest_violation']:.2g}"
            for case, name in ENTROPIES.items()
        }
        for (model, gamma), values, n in _cells(table, "bound", ["model", "gamma"])
    ]
    curvature = [
        {
            **{"Model": model, "γ": f"{gamma:g}", "Runs": n},
            "Trace over CE's": f"{values['', 'ratio']:.3f}",
            "Negative (%)": f"{100 * values['', 'negative']:.2f}",
            "Largest deviation from closed form": f"{values['', 'largest_deviation']:.1e}",
        }
        for (model, gamma), values, n in _cells(table, "logit_curvature", ["model", "gamma"])
    ]
    posterior = [
        {
            **{"γ": f"{gamma:g}", "Estimate": name},
            "T": f"{values[case, 'temperature']:.2f}" if case == "scaled" else "",
            "Mean absolute error": f"{values[case, 'mean_absolute_error']:.4f}",
            "KL divergence (nats)": f"{values[case, 'kullback_leibler']:.4f}",
            "Confidence bias": f"{values[case, 'confidence_bias']:+.4f}",
        }
        for (gamma,), values, _ in _cells(table, "posterior", ["gamma"])
        for case, name in VARIANTS.items()
    ]
    return {
        "The bound": pd.DataFrame(bound),
        "Curvature in the logits": pd.DataFrame(curvature),
        "A known posterior": pd.DataFrame(posterior),
    }


def _cells(
    table: pd.DataFrame, part: str, keys: list[str]
) -> Iterator[tuple[tuple, pd.Series, int]]:
    """Yield the keys of each cell of a part, its values by case and measure, and its n."""
    for key, cell in table[table["part"] == part].groupby(keys, sort=False):
        yield key, cell.set_index(["case", "measure"])["value"], int(cell["n"].max())
