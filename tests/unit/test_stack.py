"""Seeds trained as one against the same seeds trained one by one."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from focal_curvature.data.tensors import Split, Tensors
from focal_curvature.models.cifar_resnet import resnet20
from focal_curvature.models.small_cnn import small_cnn
from focal_curvature.registry import names, resolve
from focal_curvature.runs import Objective, Regulariser, RunSpec
from focal_curvature.settings.training import Training
from focal_curvature.stack import stack
from focal_curvature.training import NotStackableError, StoppedError, loop, train

SETTINGS = Training(epochs=2, batch_size=16, learning_rate=0.05, weight_decay=5e-4, stacked=True)


def specs(model="small_resnet", seeds=(0, 3, 7), gamma=2.0, regulariser=None, **training):
    return [
        RunSpec(
            dataset="digits",
            model=model,
            model_factory=f"focal_curvature.models.{model}:{model}",
            model_arguments={"width": 4},
            objective=Objective(
                "focal", "focal_curvature.losses.focal:focal", {"gamma": gamma}, regulariser
            ),
            seed=seed,
            training=replace(SETTINGS, **training),
        )
        for seed in seeds
    ]


@pytest.fixture
def exact(data):
    """The data in float64, and models built so: rounding stays far below what is asked."""
    torch.set_default_dtype(torch.float64)
    splits = {n: Split(s.images.double(), s.labels) for n, s in data.splits.items()}
    yield Tensors(splits, data.classes, data.channels, data.size, data.mean, data.std)
    torch.set_default_dtype(torch.float32)


def close(one, two, tolerance):
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("model", ["small_cnn", "small_resnet"])
@pytest.mark.parametrize(
    "training",
    [
        {},
        {"augmentation": "crop-flip", "nesterov": True},
        {"reduction": "sum", "clip_norm": 0.5},
        {"optimizer": "adamw", "learning_rate": 0.003},
    ],
    ids=["plain", "augmented", "clipped", "adamw"],
)
def test_each_run_is_what_it_is_alone(exact, model, training):
    together = train(specs(model, **training), exact, bins=15)
    for spec, one in zip(specs(model, **training), together, strict=True):
        alone = train([spec], exact, bins=15)[0]
        assert (one.status, one.parameters) == (alone.status, alone.parameters)
        close(one.weights, alone.weights, 1e-9)
        for split, logits in alone.logits.items():
            assert one.logits[split] == pytest.approx(logits, abs=1e-8)
        for mine, theirs in zip(one.history, alone.history, strict=True):
            assert mine == pytest.approx(theirs, rel=1e-7)


def regularised(name, **parameters):
    return Regulariser(name, f"focal_curvature.regularisers.{name}:{name}", parameters)


@pytest.mark.parametrize(
    ("model", "name", "parameters"),
    [
        ("small_resnet", "hessian_trace", {}),
        ("small_resnet", "gauss_newton_trace", {"probes": 2, "every": 3}),
        ("small_cnn", "hessian_trace", {}),
        ("small_cnn", "gauss_newton_trace", {}),
        ("small_resnet", "sam", {}),
        ("small_cnn", "sam", {}),
    ],
)
def test_each_penalised_run_is_what_it_is_alone(exact, model, name, parameters):
    size = {"radius" if name == "sam" else "strength": 0.01}
    chosen = {"regulariser": regularised(name, **size, **parameters), "gamma": 0}
    runs = specs(model, seeds=(0, 3), **chosen)
    for spec, one in zip(runs, train(runs, exact, bins=15), strict=True):
        alone = train([spec], exact, bins=15)[0]
        close(one.weights, alone.weights, 1e-9)
        for mine, theirs in zip(one.history, alone.history, strict=True):
            assert mine == pytest.approx(theirs, rel=1e-7)
            assert mine["ascent" if name == "sam" else "penalised_trace"] != 0


def test_in_single_precision_it_agrees_at_first(data):
    outcomes = train(specs(epochs=1), data, bins=15)
    for spec, one in zip(specs(epochs=1), outcomes, strict=True):
        close(one.weights, train([spec], data, bins=15)[0].weights, 1e-3)


def test_a_repeated_stack_is_bit_identical(data):
    one, two = (train(specs(), data, bins=15) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        assert all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights)
        assert a.history == b.history


def test_a_stopped_stack_resumes_and_ends_with_the_same_bits(data, tmp_path):
    keep = {"checkpoint": tmp_path / "checkpoint.pt", "fingerprint": "a", "bins": 15}
    undisturbed = train(specs(), data, bins=15)
    with pytest.raises(StoppedError, match=r"small_resnet/focal-2: stopped after epoch 1 of 2"):
        train(specs(), data, stop=lambda: True, **keep)
    resumed = train(specs(), data, **keep)
    for a, b in zip(resumed, undisturbed, strict=True):
        assert a.resumed_from == 1
        assert all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights)
        assert a.history == b.history
    assert keep["checkpoint"].exists()


def spoil(monkeypatch, run, epoch):
    """Put a NaN into one run's weights before an epoch, as an overflow would."""
    real = loop.Training.train_epoch

    def train_epoch(training, at):
        if at == epoch:
            with torch.no_grad():
                training.networks.model[-1].weight[run, 0, 0] = torch.nan
        return real(training, at)

    monkeypatch.setattr(loop.Training, "train_epoch", train_epoch)


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_diverges_leaves_the_others_alone(data, tmp_path, monkeypatch, resume):
    three = specs("small_cnn", epochs=3)
    undisturbed = train(three, data, bins=15)
    spoil(monkeypatch, 1, 1)
    keep = {"checkpoint": tmp_path / "checkpoint.pt"} if resume else {}
    if resume:
        for _ in range(2):
            with pytest.raises(StoppedError):
                train(three, data, bins=15, stop=lambda: True, **keep)
    first, lost, last = train(three, data, bins=15, **keep)
    assert lost.status == "diverged"
    assert "loss nan in epoch 2, step 1 of 4" in lost.reason
    assert len(lost.history) == 1
    assert lost.logits["test"].shape == (0, 10)
    for one, other in ((first, undisturbed[0]), (last, undisturbed[2])):
        assert one.status == "completed"
        assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


def test_where_all_diverge_nothing_is_left_to_train(data):
    outcomes = train(specs("small_cnn", gamma=0, learning_rate=1e8), data, bins=15)
    assert [o.status for o in outcomes] == ["diverged"] * 3
    assert all("epoch 1, step" in o.reason for o in outcomes)


class Dropping(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = small_cnn(10, 1, 8, width=4)

    def forward(self, x):
        return F.dropout(self.layers(x), 0.5, self.training)


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.layers = small_cnn(10, 1, 8, width=4)

    def forward(self, x):
        return self.scale * self.layers(x)


class Joined(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 3, 3)
        self.last = nn.Linear(5 * 36, 10)

    def forward(self, x):
        return self.last(torch.cat([self.one(x), self.two(x)], dim=1).flatten(1))


class ByValue(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = small_cnn(10, 1, 8, width=4)

    def forward(self, x):
        return self.layers(x) - self.layers(x).mean(1, keepdim=True)


def tied(kind):
    """Layers that share a weight, or running statistics."""
    one, two = (nn.Linear(64, 64), nn.BatchNorm1d(64)), (nn.Linear(64, 64), nn.BatchNorm1d(64))
    if kind == "weight":
        two[0].weight = one[0].weight
    else:
        two[1].running_mean = one[1].running_mean
    return nn.Sequential(nn.Flatten(), *one, *two, nn.Linear(64, 10))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (Dropping, "outputs differ"),
        (Own, "Own has weights of its own"),
        (ByValue, "outputs differ"),
        (lambda: resnet20(10, 1, 8), "outputs differ|do not fit"),
        (Joined, "outputs differ"),
        (lambda: tied("weight"), "share weights"),
        (lambda: tied("statistics"), "share weights"),
    ],
    ids=[
        *("dropout", "own weights", "mixed logits", "padded channels", "concatenation"),
        *("tied weights", "tied statistics"),
    ],
)
def test_what_cannot_be_stacked_is_refused(data, build, words):
    torch.manual_seed(0)
    models = [build() for _ in range(2)]
    with pytest.raises(NotStackableError, match=words):
        stack(models, data.splits["train"].images)


def test_several_runs_are_measured_along_training_each_by_itself(exact):
    def measure(run, model, epoch):
        model.eval()
        with torch.no_grad():
            logits = model(exact.splits["validation"].images)
        nll = F.cross_entropy(logits, exact.splits["validation"].labels).item()
        return {"measured": nll, "seed": run.seed, "at": epoch}

    settings = {"epochs": 3, "evaluate_every": 2}
    runs = specs(**settings)
    for spec, one in zip(runs, train(runs, exact, bins=15, measure=measure), strict=True):
        assert [(row["seed"], row["at"]) for row in one.history] == [(spec.seed, 2), (spec.seed, 3)]
        for row in one.history:
            assert row["measured"] == pytest.approx(row["validation_nll"], rel=1e-9)
        close(one.weights, train([spec], exact, bins=15)[0].weights, 1e-9)


def test_a_mixed_stack_is_each_mixed_run_up_to_rounding(data):
    runs = specs("small_cnn", epochs=1, precision="bfloat16")
    for spec, one in zip(runs, train(runs, data, bins=15), strict=True):
        close(one.weights, train([spec], data, bins=15)[0].weights, 0.02)


@pytest.mark.parametrize("name", ["lenet", "mlp"])
def test_other_models_stack_and_come_apart_again(name):
    models = [resolve(names("models")[name])(10, 3, 28) for _ in range(2)]
    before = copy.deepcopy(models[0].state_dict())
    whole = stack(models, torch.rand(8, 3, 28, 28))
    for run, model in enumerate(models):
        close(whole.state(run), model.state_dict(), 0)
    close(models[0].state_dict(), before, 0)


def test_a_layer_that_is_used_twice_is_stacked(exact):
    torch.manual_seed(0)
    twice = [nn.Linear(64, 64) for _ in range(2)]
    models = [nn.Sequential(nn.Flatten(), m, nn.Tanh(), m, nn.Linear(64, 10)) for m in twice]
    images = exact.splits["train"].images
    logits = stack(models, images).shared(images)
    for mine, model in zip(logits, models, strict=True):
        torch.testing.assert_close(mine, model(images))
