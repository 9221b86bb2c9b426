"""One file per figure: ``prepare`` computes its table, ``draw`` draws from that table alone."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

FIGURES = ("top_eigenvalue", "trace", "trace_ece", "ece", "reliability", "verdicts")
# Need the configuration's `geometry`, `theory`, `controls`, `trajectory` and `regularisers`.
GEOMETRY_FIGURES = ("spectrum", "lines", "plane")
THEORY_FIGURES = ("bound", "logit_curvature", "posterior")
CONTROL_FIGURES = ("interventions",)
TRAJECTORY_FIGURES = ("trajectory",)
REGULARISER_FIGURES = ("strength",)
ARM_FIGURES = ("arms",)  # need `regularisers`, or an objective beside focal loss
ALL_FIGURES = (
    *(FIGURES + GEOMETRY_FIGURES + THEORY_FIGURES + CONTROL_FIGURES),
    *(TRAJECTORY_FIGURES + REGULARISER_FIGURES + ARM_FIGURES),
)


def path(figure: str) -> str:
    """Return the import path of what draws a figure."""
    return f"{__name__}.{figure}:draw"


def load(figure: str) -> ModuleType:
    """Import a figure's module, which has ``prepare(tables)`` and ``draw(data)``."""
    return importlib.import_module(f"{__name__}.{figure}")


def draw(figure: str, data: Path, outputs: list[Path]) -> None:
    """Draw a figure from the CSV file that its ``prepare`` made.

    Parameters
    ----------
    figure : str
        One of ``ALL_FIGURES``.
    data : Path
        Without rows where all runs of the figure diverged: drawn as a line that says so.
    outputs : list of Path
        Files to write; the suffix says the format. The same table gives the same bytes.
    """
    import matplotlib as mpl

    mpl.use("agg")
    import pandas as pd

    from focal_curvature.files import write_atomically
    from focal_curvature.plotting.common import nothing

    style = Path(__file__).with_name("matplotlibrc")
    with mpl.rc_context(fname=style):
        table = pd.read_csv(data)
        drawn = nothing() if table.empty else load(figure).draw(table)
        for output in outputs:
            kind = output.suffix[1:]
            stamp = {"pdf": {"CreationDate": None}, "png": {"Software": None}}[kind]
            with write_atomically(output) as stream:
                drawn.savefig(stream, format=kind, metadata=stamp)
