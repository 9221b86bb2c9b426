import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from focal_curvature.runs import CROSS_ENTROPY, RunSpec, expand, number_text
from focal_curvature.seeds import derive_seed


@pytest.fixture
def config():
    return {
        "data": {"name": "digits"},
        "models": {"small_cnn": {}, "wide": {"factory": "mine:net", "training": {"epochs": 9}}},
        "objectives": {"focal": {"gamma": [0, 0.5, 2.0]}, "label_smoothing": {"epsilon": 0.05}},
        "seeds": [0, 7],
        "training": {"epochs": 3, "batch_size": 8, "learning_rate": 0.1},
    }


def test_expansion_is_the_full_grid_in_order(config):
    folders = [run.folder for run in expand(config)]
    assert folders[:4] == [
        "small_cnn/ce/seed0",
        "small_cnn/ce/seed7",
        "small_cnn/focal-0.5/seed0",
        "small_cnn/focal-0.5/seed7",
    ]
    assert len(folders) == len(set(folders)) == 2 * 4 * 2


def test_names_become_import_paths_and_overrides_apply(config):
    small, wide = expand(config)[0], expand(config)[-1]
    assert small.model_factory == "focal_curvature.models.small_cnn:small_cnn"
    assert wide.model_factory == "mine:net"
    assert (small.training["epochs"], wide.training["epochs"]) == (3, 9)
    assert wide.objective.slug == "label_smoothing-0.05"
    assert wide.objective.gamma is None


def test_a_run_survives_json(config):
    for run in expand(config):
        assert RunSpec.from_dict(run.to_dict()) == run


def test_a_regulariser_is_an_arm_of_its_own_on_cross_entropy(config):
    config["regularisers"] = {
        "hessian_trace": {"strength": [0.01, 1e-3]},
        "sam": {"radius": [0.05]},
        "gauss_newton_trace": {"probes": 2, "strength": [0.1]},
        "mine": {"factory": "focal_curvature.regularisers.sam:sam", "radius": [3]},
    }
    config["objectives"] = {"focal": {"gamma": [0, 2]}, "label_smoothing": {"epsilon": [0.05]}}
    arms = {run.objective.slug: run.objective for run in expand(config)}
    assert {slug: (arm.gamma, arm.strength) for slug, arm in arms.items()} == {
        "ce": (0, None),
        "focal-2": (2, None),
        "label_smoothing-0.05": (None, 0.05),
        "ce-hessian_trace-0.01": (None, 0.01),
        "ce-hessian_trace-0.001": (None, 0.001),
        "ce-sam-0.05": (None, 0.05),
        "ce-gauss_newton_trace-probes2-strength0.1": (None, 0.1),
    } | {"ce-mine-3": (None, 3)}
    arm = arms["ce-sam-0.05"]
    assert (arm.base, arm.is_cross_entropy) == (CROSS_ENTROPY, False)
    for run in expand(config):
        assert RunSpec.from_dict(json.loads(json.dumps(run.to_dict()))) == run


def test_one_number_has_one_text():
    assert number_text(1.0) == number_text(1) == "1"
    assert number_text(5e-4) == "0.0005"
    assert number_text(100) == "100"


@given(st.floats(0, 1e6))
def test_number_text_is_exact(value):
    assert float(number_text(value)) == value


def test_seeds_depend_on_every_part():
    seeds = {derive_seed(*parts) for parts in [("a", 1), ("a", 2), ("b", 1), ("a", "1")]}
    assert len(seeds) == 4
    assert derive_seed("a", 1) == derive_seed("a", 1) < 2**63
