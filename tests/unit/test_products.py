"""Which tables and figures an experiment has."""

import copy
from contextlib import suppress

import pytest
import yaml
from checkout import ROOT
from prepare import committed, planned

from focal_curvature import config as configuration
from focal_curvature.products import wanted
from focal_curvature.registry import resolve
from focal_curvature.runs import expand

DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
OVER_GAMMA = {"trace", "top_eigenvalue", "adaptive_sharpness", "ece", "trace_ece", "refinement"}
STAGES = {"geometry", "theory", "controls", "trajectory"}
VARIANTS = {"epochs": {"training": {"epochs": [3, 5]}}, "noise": {"data": {"label_noise": 0.1}}}


@pytest.mark.parametrize(
    ("changes", "has", "lacks"),
    [
        ({}, {"claims", "penalties", "arms", *OVER_GAMMA}, {"predictors"}),
        # What compares losses is of no use where there is one.
        (
            {"objectives": {"focal": {"gamma": [0]}}, "regularisers": {}, "variants": VARIANTS},
            {"summary", "predictors", "reliability"},
            {"claims", "penalties", "arms", *OVER_GAMMA},
        ),
        (
            {"objectives": {"focal": {"gamma": [0]}}},
            {"claims", "penalties", "strength"},
            {"predictors", *OVER_GAMMA},
        ),
        # One intervention is held out, and nothing is left to fit to.
        ({"variants": {"epochs": VARIANTS["epochs"]}}, {"claims"}, {"predictors"}),
    ],
    ids=["default", "one loss", "one loss and penalties", "one intervention"],
)
def test_an_experiment_has_what_its_runs_can_show(changes, has, lacks):
    plain = {key: value for key, value in copy.deepcopy(DEFAULT).items() if key not in STAGES}
    runs = expand(configuration.load(plain | changes))
    gathered = ["runs", "reliability", "histories"]
    found = {
        product.name for kind in ("tables", "figures") for product in wanted(kind, gathered, runs)
    }
    assert has <= found
    assert not lacks & found


@pytest.mark.parametrize("folder", sorted(ROOT.glob("paper_figures/*/")), ids=lambda f: f.name)
def test_a_committed_experiment_has_what_its_plan_wants_and_nothing_else(folder):
    names, runs = planned(folder.name)
    tables = {product.name: product for product in wanted("tables", names, runs)}
    figures = {product.name: product for product in wanted("figures", {*names, *tables}, runs)}
    drawn, written = (
        {file.stem for file in folder.glob(f"{kind}/*.csv")} for kind in ("data", "tables")
    )
    for kind in ("png", "pdf"):
        assert {file.stem for file in folder.glob(f"*.{kind}")} == drawn
    assert drawn <= {*figures}
    assert written <= {*tables, "cost"}  # which is of the jobs, and not a plan's to choose
    given = committed(folder)
    lacking = [figures[name] for name in {*figures} - drawn]
    for product in lacking + [tables[name] for name in {*tables} - written]:
        with suppress(KeyError):  # it needs what is newer than the experiment
            assert resolve(product.path)(given).empty, product.name
