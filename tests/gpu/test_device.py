"""Results of a CUDA device against the CPU's, and what a run must keep there; `make gpu-check`."""

import pytest
import torch

from focal_curvature.curvature import estimate
from focal_curvature.data import arrays, digits, splits, tensors
from focal_curvature.runs import Objective, RunSpec
from focal_curvature.training import (
    StoppedError,
    build_loss,
    build_model,
    deterministic,
    train,
    train_stacked,
)

pytestmark = pytest.mark.gpu

TRAINING = {
    "epochs": 3,
    "batch_size": 32,
    "learning_rate": 0.05,
    "momentum": 0.9,
    "nesterov": False,
    "weight_decay": 5e-4,
    "schedule": "cosine",
    "milestones": [],
    "factor": 0.1,
    "reduction": "mean",
    "clip_norm": None,
    "augmentation": "none",
    "evaluate_every": 1,
    "stacked": False,
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """The same digits on both devices."""
    deterministic(1)
    folder = tmp_path_factory.mktemp("digits")
    digits.prepare(folder / "data")
    found = splits.split(arrays.read(folder / "data"), train=200, validation=100, test=200, seed=0)
    splits.write(folder / "splits", found)
    return {
        name: tensors.load(folder / "data", folder / "splits", torch.device(name))
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
        training=TRAINING | training,
    )


@pytest.mark.parametrize("model", ["small_cnn", "small_resnet"])
def test_an_epoch_agrees_with_the_cpu(loaded, model):
    cpu, cuda = (train(spec(model, epochs=1), data, bins=15) for data in loaded.values())
    for name, weight in cpu.weights.items():
        # Seven steps of single precision, each with another order of sums.
        torch.testing.assert_close(cuda.weights[name], weight, rtol=1e-2, atol=1e-3)
    assert cuda.history[0] == pytest.approx(cpu.history[0], rel=0.02, abs=0.02)


@pytest.mark.parametrize("augmentation", ["none", "crop-flip"])
def test_a_repeated_run_is_bit_identical(loaded, augmentation):
    run = spec("small_resnet", augmentation=augmentation)
    one, two = (train(run, loaded["cuda"], bins=15) for _ in range(2))
    assert all(torch.equal(one.weights[name], two.weights[name]) for name in one.weights)


def test_a_stopped_run_resumes_with_the_same_bits(loaded, tmp_path):
    keep = {"checkpoint": tmp_path / "checkpoint.pt", "bins": 15}
    undisturbed = train(spec("small_resnet"), loaded["cuda"], bins=15)
    with pytest.raises(StoppedError):
        train(spec("small_resnet"), loaded["cuda"], stop=lambda: True, **keep)
    resumed = train(spec("small_resnet"), loaded["cuda"], **keep)
    assert resumed.resumed_from == 1
    assert all(torch.equal(resumed.weights[k], v) for k, v in undisturbed.weights.items())


def test_stacked_seeds_agree_with_seeds_alone(loaded):
    runs = [spec("small_resnet", seed, epochs=1) for seed in (0, 1)]
    for run, one in zip(runs, train_stacked(runs, loaded["cuda"], bins=15), strict=True):
        for name, weight in train(run, loaded["cuda"], bins=15).weights.items():
            torch.testing.assert_close(one.weights[name], weight, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("model", ["small_cnn", "small_resnet"])
def test_curvature_agrees_with_the_cpu(loaded, model):
    settings = {"estimator": "engine", "dtype": "float64", "tolerance": 1e-4}
    run = spec(model)
    found = []
    weights = train(run, loaded["cpu"], bins=15).weights
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
        train(spec("small_resnet"), loaded["cuda"], bins=15)
        held.append(torch.cuda.memory_allocated())
    assert held[1] == held[2]
