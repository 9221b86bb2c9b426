"""Estimates for the cluster against torch's own counts, and what a user may override."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from focal_curvature import config as configuration
from focal_curvature.registry import about, names, resolve
from focal_curvature.resources import needs
from focal_curvature.runs import Regulariser


def complete(**changes):
    config = {
        "experiment": "e",
        "data": {"name": "cifar10", "validation": 5000},
        "models": {"resnet18": {}},
        "objectives": {"focal": {"gamma": [0]}},
        "seeds": [0],
        "training": {"epochs": 100, "batch_size": 128, "learning_rate": 0.1},
    }
    return configuration.load(config | changes)


def ask(stage="train", model="resnet18", runs=1, gpu=True, attempt=1, **changes):
    return needs(stage, complete(**changes), model, runs=runs, gpu=gpu, attempt=attempt)


@pytest.mark.parametrize("name", names("models"))
def test_cost_of_every_registered_model_is_what_torch_counts(name):
    with torch.device("meta"):
        model, image = resolve(names("models")[name])(10, 3, 32).eval(), torch.empty(1, 3, 32, 32)
        with FlopCounterMode(display=False) as counter:
            model(image)
    assert about("models")[name]["cost"] == pytest.approx(
        counter.get_total_flops() / 2 / 1e6, rel=0.05
    )


def test_every_attempt_asks_for_twice_as_much():
    first, third = ask(), ask(attempt=3)
    assert third == {key: 4 * value for key, value in first.items()}


def test_more_work_asks_for_more_time():
    one = ask()["runtime"]
    assert ask(models={"resnet50": {}}, model="resnet50")["runtime"] > 1.5 * one
    longer = {"resnet18": {"training": {"epochs": 200}}}
    assert ask(models=longer)["runtime"] == pytest.approx(2 * one, rel=0.05)
    assert ask(gpu=False)["runtime"] > 20 * one
    assert ask(data={"name": "digits", "train": 1500, "validation": 100})["runtime"] < one / 50
    for stage in ("train", "curvature", "calibration"):
        assert ask(stage, runs=100)["runtime"] > 2 * ask(stage)["runtime"]


def test_penalised_and_compiled_training_ask_for_more_time():
    def penalised(name, **parameters):
        added = Regulariser(name, "", {"strength": 0.1, **parameters})
        return needs(
            "train", complete(), "resnet18", runs=1, gpu=True, attempt=1, regulariser=added
        )["runtime"]

    one = ask()["runtime"]
    assert penalised("hessian_trace") > 10 * one
    assert penalised("gauss_newton_trace") == pytest.approx(5 * one, rel=0.05)
    assert penalised("gauss_newton_trace", every=4) == pytest.approx(2 * one, rel=0.05)
    assert penalised("my_own") > 3 * one
    compiled = {"resnet18": {"training": {"compile": True}}}
    assert ask(models=compiled)["runtime"] >= one + 10


def test_seeds_that_are_trained_as_one_are_held_in_memory_at_once():
    asked = [
        ask(runs=5, gpu=False, jobs={"train": "cell"}, training=complete()["training"] | changes)
        for changes in ({}, {"stacked": True})
    ]
    assert asked[1]["runtime"] == asked[0]["runtime"]
    assert asked[1]["mem_mb"] > 2 * asked[0]["mem_mb"]


def test_a_model_of_ones_own_is_taken_for_a_middling_one():
    own = {"mine": {"factory": "focal_curvature.models.mlp:mlp"}}
    assert ask(models=own, model="mine")["runtime"] == pytest.approx(ask()["runtime"], rel=0.1)


def test_the_configuration_overrides_one_stage_of_one_model():
    models = {"resnet18": {"resources": {"train": {"runtime": 7}}}}
    assert ask(models=models, attempt=2) == ask(attempt=2) | {"runtime": 14}
    assert ask("curvature", models=models) == ask("curvature")


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"trian": {}}, "models.resnet18.resources.trian: 'trian' is unknown: did you mean train"),
        ({"train": {"memory": 1}}, "models.resnet18.resources.train.memory: 'memory' is unknown"),
        ({"train": {"runtime": "2h"}}, "runtime: '2h' is not a whole number"),
        ({"train": {"runtime": 0}}, "runtime: 0 is too small: at least 1"),
    ],
)
def test_a_wrong_override_is_named(resources, words):
    with pytest.raises(configuration.ConfigError, match=words):
        complete(models={"resnet18": {"resources": resources}})
