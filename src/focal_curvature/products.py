"""Tables and figures of an experiment: one module and one caption each.

A module of ``focal_curvature.tables`` or ``focal_curvature.plotting`` with a literal ``PRODUCT`` is
one: ``needs`` names the tables that it is made from, and beside that it may state

- ``takes``: further tables that it is given where there are such;
- ``where``: which experiments have it, a key of `WHERE`; without it, all that have what it needs;
- ``order``: its place among its kind;
- ``category``: its place in the report, if not beside all others of its kind;
- ``parallel``: whether ``prepare`` takes ``processes`` as well, so many as its job has threads;
- of a table, ``settings`` (what ``prepare`` takes beside the tables: ``rules``, by which claims are
  judged, or keys of the configuration), ``formats`` (else those of `FORMATS`) and ``json`` (a file
  of what ``to_json(table, **settings)`` returns).

``prepare(tables, **settings)`` returns the product's own table; of a figure, ``draw(data)`` draws
that, and of a table, ``printed(table)`` lays it out. Read from the source text: planning does not
import what draws.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from focal_curvature.registry import PACKAGE, literals
from focal_curvature.runs import RunSpec, intervention

FORMATS = ("csv", "md", "tex")
FOLDERS = {"tables": "tables", "figures": "plotting"}
WHERE = {
    "regularised": lambda runs: any(run.objective.regulariser for run in runs),
    "followed": lambda runs: any(run.training.evaluate_every < run.training.epochs for run in runs),
    "not focal alone": lambda runs: any(not run.objective.is_focal for run in runs),
    "of several objectives": lambda runs: len({run.objective.slug for run in runs}) > 1,
    "of several gammas": lambda runs: (
        len({run.objective.gamma for run in runs if run.objective.is_focal}) > 1
    ),
    "varied": lambda runs: len({intervention(r.variant) for r in runs if r.variant}) > 1,
}


@dataclass(frozen=True)
class Product:
    """What a module states in ``PRODUCT``, and where it is."""

    name: str
    kind: Literal["tables", "figures"]
    needs: tuple[str, ...]
    takes: tuple[str, ...] = ()
    where: str | None = None
    order: int = 100
    settings: tuple[str, ...] = ()
    formats: tuple[str, ...] = FORMATS
    category: str | None = None
    json: str | None = None
    parallel: bool = False

    @property
    def write(self) -> str:
        """The import path of what writes its files."""
        return f"{PACKAGE.name}.{FOLDERS[self.kind]}:write"

    @property
    def path(self) -> str:
        """The import path of what makes its table."""
        return f"{PACKAGE.name}.{FOLDERS[self.kind]}.{self.name}:prepare"


@cache
def products(kind: Literal["tables", "figures"]) -> tuple[Product, ...]:
    """Return all products of a kind, in their order."""
    stated = {
        file.stem: literals(file).get("PRODUCT")
        for file in sorted((PACKAGE / FOLDERS[kind]).glob("*.py"))
    }
    made = (Product(name, kind, **entry) for name, entry in stated.items() if entry)
    return tuple(sorted(made, key=lambda product: product.order))


def wanted(
    kind: Literal["tables", "figures"], tables: Collection[str], runs: Sequence[RunSpec]
) -> list[Product]:
    """Return the products of an experiment, given the tables that it makes and its runs."""
    return [
        product
        for product in products(kind)
        if set(product.needs) <= set(tables)
        and (product.where is None or WHERE[product.where](runs))
    ]
