"""One file per figure: ``prepare`` computes its table, ``draw`` draws from that table alone."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def load(figure: str) -> ModuleType:
    """Import a figure's module, which has ``prepare(tables)`` and ``draw(data)``."""
    return importlib.import_module(f"{__name__}.{figure}")


def write(
    product: str, table: pd.DataFrame, outputs: Sequence[Path], settings: Mapping[str, Any]
) -> None:
    """Write a figure's table as CSV, and the figure as drawn from that file.

    Parameters
    ----------
    product : str
        Import path of its ``prepare``.
    table : DataFrame
    outputs : sequence of Path
        The CSV file, and images; the suffix says the format.
    settings : mapping
        Not used: a figure has none.
    """
    from focal_curvature.files import write_atomically

    (data,) = (output for output in outputs if output.suffix == ".csv")
    with write_atomically(data) as stream:
        table.to_csv(stream, index=False)
    draw(data.stem, data, [output for output in outputs if output != data])


def draw(figure: str, data: Path, outputs: list[Path]) -> None:
    """Draw a figure from the CSV file that its ``prepare`` made.

    Parameters
    ----------
    figure : str
        Name of its module.
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
        module = load(figure)
        drawn = module.draw(table) if len(table) else nothing(*getattr(module, "NOTHING", ()))
        # Each layout starts from the last one: without this, files would depend on their order.
        if drawn.axes:
            drawn.get_layout_engine().execute(drawn)
        drawn.set_layout_engine("none")
        for output in outputs:
            kind = output.suffix[1:]
            stamp = {"pdf": {"CreationDate": None}, "png": {"Software": None}}[kind]
            with write_atomically(output) as stream:
                drawn.savefig(stream, format=kind, metadata=stamp)
