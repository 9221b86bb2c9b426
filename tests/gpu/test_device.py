"""Results of a CUDA device against the CPU's, and what a run must keep there; `make gpu-check`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy import stats

from focal_curvature.curvature import Settings, estimate
from focal_curvature.data import arrays, digits, splits, tensors
from focal_curvature.determinism import deterministic
from focal_curvature.losses.focal import focal
from focal_curvature.runs import Objective, RunSpec
from focal_curvature.settings.training import Training
from focal_curvature.training import StoppedError, build_loss, build_model, evaluation, train

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[2]
EXPERIMENT = Training(**yaml.safe_load((ROOT / "config.yaml").read_text())["training"])
TRAINING = replace(EXPERIMENT, epochs=3, stacked=False)
MIXED = {"precision": "bfloat16"}
COMPILED = {"compile": True}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """The same digits on both devices."""
    deterministic(1)
    folder = tmp_path_factory.mktemp("digits")
    digits.prepare(folder / "data")
    found = splits.split(arrays.read(folder / "data"), train=200, validation=100, test=None, seed=0)
    splits.write(folder / "splits.json", found)
    return {
        name: tensors.load(folder / "data", folder / "splits.json", torch.device(name))
        for name in ("cpu", "cuda")
    }


def spec(model, seed=0, **training):
    return RunSpec(
        dataset="digits",
        model=model,
        model_factory=f"focal_curvature.models.{model}:{model}",
        model_arguments={},
        objective=Objective("focal", "focal_curvature.losses.focal:focal", {"gamma": 2}),
        seed=seed,
        training=replace(TRAINING, **training),
    )


def alone(run, data, **settings):
    return train([run], data, **settings)[0]


@pytest.mark.parametrize("model", ["small_cnn", "small_resnet"])
def test_an_epoch_agrees_with_the_cpu(loaded, model):
    cpu, cuda = (alone(spec(model, epochs=1), data, bins=15) for data in loaded.values())
    for name, weight in cpu.weights.items():
        # Seven steps of single precision, each with another order of sums.
        torch.testing.assert_close(cuda.weights[name], weight, rtol=1e-2, atol=1e-3)
    assert cuda.history[0] == pytest.approx(cpu.history[0], rel=0.02, abs=0.02)


@pytest.mark.parametrize("training", [MIXED, COMPILED, MIXED | COMPILED], ids=str)
def test_an_epoch_mixed_or_compiled_agrees_with_the_plain_one_on_the_cpu(loaded, training):
    plain = alone(spec("small_resnet", epochs=1), loaded["cpu"], bins=15)
    other = alone(spec("small_resnet", epochs=1, **training), loaded["cuda"], bins=15)
    assert {n: w.dtype for n, w in other.weights.items()} == {
        n: w.dtype for n, w in plain.weights.items()
    }
    # Seven steps of which the gradients are rounded to 0.4% each, or to single precision.
    within = 0.05 if training.get("precision") else 0.02
    for key in ("train_loss", "train_nll", "validation_nll"):
        assert other.history[0][key] == pytest.approx(plain.history[0][key], rel=within)


@pytest.mark.parametrize(
    "training",
    [{"augmentation": "none"}, {"augmentation": "crop-flip"}, MIXED, MIXED | COMPILED],
    ids=str,
)
def test_a_repeated_run_is_bit_identical(loaded, training):
    run = spec("small_resnet", **training)
    one, two = (alone(run, loaded["cuda"], bins=15) for _ in range(2))
    assert all(torch.equal(one.weights[name], two.weights[name]) for name in one.weights)


@pytest.mark.parametrize("training", [{}, MIXED | COMPILED], ids=str)
def test_a_stopped_run_resumes_with_the_same_bits(loaded, tmp_path, training):
    keep = {"checkpoint": tmp_path / "checkpoint.pt", "bins": 15}
    run = spec("small_resnet", **training)
    undisturbed = alone(run, loaded["cuda"], bins=15)
    with pytest.raises(StoppedError):
        alone(run, loaded["cuda"], stop=lambda: True, **keep)
    resumed = alone(run, loaded["cuda"], **keep)
    assert resumed.resumed_from == 1
    assert all(torch.equal(resumed.weights[k], v) for k, v in undisturbed.weights.items())


def test_stacked_seeds_agree_with_seeds_alone(loaded):
    runs = [spec("small_resnet", seed, epochs=1) for seed in (0, 1)]
    for run, one in zip(runs, train(runs, loaded["cuda"], bins=15), strict=True):
        for name, weight in alone(run, loaded["cuda"], bins=15).weights.items():
            torch.testing.assert_close(one.weights[name], weight, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("model", ["small_cnn", "small_resnet"])
def test_curvature_agrees_with_the_cpu(loaded, model):
    settings = Settings(estimator="engine", dtype="float64", tolerance=1e-4)
    run = spec(model)
    found = []
    weights = alone(run, loaded["cpu"], bins=15).weights
    for name, data in loaded.items():
        net = build_model(run, data, torch.device(name))
        net.load_state_dict(weights)
        split = data.splits["train"]
        loss = build_loss(run.objective)
        found.append(estimate(net, loss, split.images, split.labels, settings, 0))
    cpu, cuda = found
    assert cuda.top_eigenvalue.estimate == pytest.approx(cpu.top_eigenvalue.estimate, rel=1e-3)
    assert cuda.trace.estimate == pytest.approx(cpu.trace.estimate, rel=1e-3)


def test_memory_of_the_device_is_given_back(loaded):
    held = []
    for _ in range(3):
        alone(spec("small_resnet"), loaded["cuda"], bins=15)
        held.append(torch.cuda.memory_allocated())
    assert held[1] == held[2]


# Differences of test accuracy and ECE (fractions) too small to matter to a claim.
MARGIN = 0.03


def test_mixed_and_compiled_runs_score_as_plain_ones(loaded):
    """Two one-sided Welch tests over five seeds: both means are within the margin, at level 5%."""
    labels = loaded["cuda"].splits["test"].labels.cpu()
    scores = []
    for training in ({}, MIXED | COMPILED):
        settings = {"stacked": False, "evaluate_every": 40, "epochs": EXPERIMENT.epochs} | training
        runs = [
            alone(spec("small_resnet", seed, **settings), loaded["cuda"], bins=15).logits["test"]
            for seed in range(5)
        ]
        scores.append([evaluation.scores(torch.from_numpy(r), labels, focal(2), 15) for r in runs])
    for score in ("accuracy", "ece"):
        plain, fast = (np.array([row[score] for row in rows]) for rows in scores)
        above = stats.ttest_ind(fast, plain - MARGIN, equal_var=False, alternative="greater")
        below = stats.ttest_ind(fast, plain + MARGIN, equal_var=False, alternative="less")
        assert max(above.pvalue, below.pvalue) < 0.05, (score, plain, fast)
