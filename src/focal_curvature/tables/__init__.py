"""One file per table that an experiment publishes: ``prepare`` computes, ``printed`` lays out."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from focal_curvature.analysis.summary import write as write_printed
from focal_curvature.files import write_json


def write(
    product: str, table: pd.DataFrame, outputs: Sequence[Path], settings: Mapping[str, Any]
) -> None:
    """Write a table that a module here has prepared.

    Parameters
    ----------
    product : str
        Import path of its ``prepare``.
    table : DataFrame
    outputs : sequence of Path
        The suffix says the format; of JSON, the module's ``to_json`` says the content.
    settings : mapping
        That it was prepared with.
    """
    module = importlib.import_module(product.partition(":")[0])
    for output in outputs:
        if output.suffix == ".json":
            write_json(output, module.to_json(table, **settings))
    printed = [output for output in outputs if output.suffix != ".json"]
    write_printed(table, module.printed(table), printed)
