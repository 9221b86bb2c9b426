import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from focal_curvature.products import wanted
from focal_curvature.runs import CROSS_ENTROPY, RunSpec, expand, number_text, variants
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
    assert (small.training.epochs, wide.training.epochs) == (3, 9)
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
        "ce-hessian_trace-0.01": (0, 0.01),
        "ce-hessian_trace-0.001": (0, 0.001),
        "ce-sam-0.05": (0, 0.05),
        "ce-gauss_newton_trace-probes2-strength0.1": (0, 0.1),
    } | {"ce-mine-3": (0, 3)}
    arm = arms["ce-sam-0.05"]
    assert (arm.base, arm.is_cross_entropy) == (CROSS_ENTROPY, False)
    for run in expand(config):
        assert RunSpec.from_dict(json.loads(json.dumps(run.to_dict()))) == run


def test_a_regulariser_is_added_to_the_losses_that_it_names(config):
    config["objectives"] = {"focal": {"gamma": [0, 3]}, "brier": {}}
    config["regularisers"] = {
        "gauss_newton_trace": {"strength": [0.001, 0.01], "objectives": ["ce", "focal-3", "brier"]},
        "sam": {"radius": [0.1], "objectives": ["focal-3"]},
    }
    arms = {run.objective.slug: run.objective for run in expand(config)}
    assert list(arms) == [
        *("ce", "focal-3", "brier"),
        *(
            f"{base}-gauss_newton_trace-{strength}"
            for base in ("ce", "focal-3", "brier")
            for strength in ("0.001", "0.01")
        ),
        "focal-3-sam-0.1",
    ]
    both = arms["focal-3-gauss_newton_trace-0.001"]
    assert (both.gamma, both.strength, both.base) == (3, 0.001, arms["focal-3"])
    assert [slug for slug, arm in arms.items() if arm.is_focal] == ["ce", "focal-3"]
    assert [slug for slug, arm in arms.items() if arm.is_plain] == ["ce", "focal-3", "brier"]
    assert [slug for slug, arm in arms.items() if arm.is_cross_entropy] == ["ce"]
    config["regularisers"]["sam"]["objectives"] = ["focal-2"]
    with pytest.raises(ValueError, match=r"regularisers\.sam\.objectives: 'focal-2' is unknown"):
        expand(config)


def test_a_variant_is_a_model_of_its_own_with_the_same_start():
    config = {
        "data": {"name": "d", "train": 400, "validation": 50, "test": None, "split_seed": 1},
        "objectives": {"focal": {"gamma": [0]}},
        "seeds": [4],
        "training": {"epochs": 30, "batch_size": 8, "learning_rate": 0.1},
        "models": {
            "mlp": {"factory": None, "arguments": {}, "training": {"epochs": 9}},
            "lenet": {"factory": None, "arguments": {}, "training": {}},
        },
        "variants": {
            "adam": {
                "training": {"optimizer": "adam", "learning_rate": 0.001, "milestones": [2, 3]},
                "data": {},
                "models": ["lenet"],
            },
            "epochs": {"training": {"epochs": [3, 5]}, "data": {}, "models": None},
            "less": {
                "training": {},
                "data": {"train": [100], "label_noise": [0, 0.2]},
                "models": ["mlp"],
            },
        },
    }
    config["data"]["label_noise"] = 0
    runs = {run.model: run for run in expand(config | {"models": variants(config)})}
    noise = [f"mlp-less-label_noise{share}-train100" for share in ("0", "0.2")]
    epochs = [f"{model}-epochs-{count}" for count in (3, 5) for model in ("mlp", "lenet")]
    assert list(runs) == ["mlp", "lenet", "lenet-adam", *epochs, *noise]
    assert runs["mlp-epochs-5"].folder == "mlp-epochs-5/ce/seed4"
    assert [runs[m].training.epochs for m in ("mlp", *epochs)] == [9, 3, 3, 5, 5]
    assert runs["lenet-adam"].training.milestones == [2, 3]
    assert (runs["lenet-adam"].training.optimizer, runs["lenet-adam"].data) == ("adam", {})
    assert runs[noise[1]].data == {
        **{"train": 100, "validation": 50, "test": None},
        **{"split_seed": 1, "label_noise": 0.2},
    }
    told = [(run.architecture, run.variant) for run in runs.values()]
    assert told[:3] == [("mlp", None), ("lenet", None), ("lenet", "adam")]
    # What the initial weights are drawn by.
    assert runs["mlp-epochs-3"].model_factory == runs["mlp"].model_factory
    for run in runs.values():
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


@pytest.mark.parametrize(("every", "there"), [(1, True), (9, True), (12, False)])
def test_training_curves_are_of_runs_that_were_evaluated_along_the_way(config, every, there):
    config["training"] |= {"epochs": 10, "evaluate_every": every}
    config["models"]["wide"]["training"]["epochs"] = 10
    figures = wanted("figures", {"runs", "histories"}, expand(config))
    assert ("training" in {figure.name for figure in figures}) == there
    assert "strength" not in {figure.name for figure in figures}  # of regularised runs
