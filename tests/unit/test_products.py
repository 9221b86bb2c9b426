"""Which tables and figures an experiment has."""

import copy
from pathlib import Path

import pytest
import yaml

from focal_curvature import config as configuration
from focal_curvature.products import wanted
from focal_curvature.runs import expand

DEFAULT = yaml.safe_load((Path(__file__).parents[2] / "config.yaml").read_text(encoding="utf-8"))
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
