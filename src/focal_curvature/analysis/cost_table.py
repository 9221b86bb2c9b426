"""What every stage cost, from Snakemake's ``benchmark:`` files, and what a bigger grid would.

By the clock: Snakemake looks at a job twice a second for 15 seconds and then every 30, so that the
processor time in these files is up to 30 seconds short.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

BIGGER = 1000  # runs of the grid that is extrapolated to


def read(files: Iterable[tuple[str, str, Path]]) -> pd.DataFrame:
    """Read benchmark files.

    Parameters
    ----------
    files : iterable of (str, str, Path)
        Stage, model ("" where a job serves all) and file of every job.

    Returns
    -------
    DataFrame
        Columns ``stage``, ``model``, ``s`` (seconds) and ``max_rss`` (MB), a row per job. What
        Snakemake did not see of a job, being too short, is NaN.
    """
    columns = ["s", "max_rss"]
    rows = []
    for stage, model, file in files:
        job = pd.read_csv(file, sep="\t", na_values=["-"])[columns].apply(pd.to_numeric)
        rows.append({"stage": stage, "model": model} | job.iloc[-1].to_dict())
    return pd.DataFrame(rows, columns=["stage", "model", *columns])


def cost(jobs: pd.DataFrame, runs: Mapping[str, int], per_run: Iterable[str]) -> pd.DataFrame:
    """Sum the cost of jobs by stage and model.

    Parameters
    ----------
    jobs : DataFrame
        As from :func:`read`.
    runs : mapping
        Model -> number of its runs.
    per_run : iterable of str
        Stages whose cost grows with the number of runs.

    Returns
    -------
    DataFrame
        Columns ``stage``, ``model``, ``jobs``, ``wall_s`` (sum), ``peak_mb`` (largest resident
        set), and for stages in ``per_run`` (else NaN) ``wall_s_per_run`` and ``wall_h_bigger``: job
        hours of ``BIGGER`` runs of this model, taken as linear in the runs.
    """
    grouped = jobs.groupby(["stage", "model"], sort=False)
    table = grouped.agg(
        jobs=("s", "size"),
        wall_s=("s", "sum"),
        peak_mb=("max_rss", "max"),
    ).reset_index()
    number = table["model"].map(runs).where(table["stage"].isin(list(per_run)))
    table["wall_s_per_run"] = table["wall_s"] / number
    table["wall_h_bigger"] = table["wall_s_per_run"] * BIGGER / 3600
    return table


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """Lay the table out for print, with a last row of sums."""
    total = table[["jobs", "wall_s"]].sum().to_dict()
    total |= {"stage": "all", "model": "", "peak_mb": table["peak_mb"].max()}
    rows = pd.concat([table, pd.DataFrame([total])], ignore_index=True)

    def number(column: str, digits: int) -> pd.Series:
        return rows[column].map(lambda value: "" if pd.isna(value) else f"{value:.{digits}f}")

    return pd.DataFrame(
        {
            "Stage": rows["stage"],
            "Model": rows["model"],
            "Jobs": number("jobs", 0),
            "Wall s": number("wall_s", 1),
            "Peak MB": number("peak_mb", 0),
            "Wall s per run": number("wall_s_per_run", 2),
            f"Job hours for {BIGGER:,} runs": number("wall_h_bigger", 2),
        }
    )
