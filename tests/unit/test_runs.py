import pytest
from hypothesis import given
from hypothesis import strategies as st

from focal_curvature.runs import RunSpec, expand, number_text
from focal_curvature.seeds import derive_seed


@pytest.fixture
def config():
    return {
        "data": {"name": "digits"},
        "models": {"small_cnn": {}, "wide": {"factory": "mine:net", "training": {"epochs": 9}}},
        "objectives": {"focal": {"gamma": [0, 0.5, 2.0]}, "label_smoothing": {"epsilon": 0.05}},
        "seeds": [0, 7],
        "training": {"epochs": 3, "learning_rate": 0.1},
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
