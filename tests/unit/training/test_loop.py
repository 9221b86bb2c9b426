import logging
import math
import os
import shutil
from dataclasses import replace

import pandas as pd
import pytest
import torch
from operations import Operations
from torch import nn

from focal_curvature.curvature.tracking import traces
from focal_curvature.data import tensors
from focal_curvature.losses.focal import focal
from focal_curvature.registry import resolve
from focal_curvature.runs import Objective, Regulariser, RunSpec
from focal_curvature.settings.training import Training
from focal_curvature.stack import stack
from focal_curvature.trained import TrainedRun
from focal_curvature.training import StoppedError, build, build_model, loop, train
from focal_curvature.training.evaluation import logits_of
from focal_curvature.training.optimizer import Optimizer
from focal_curvature.training.schedule import learning_rate
from focal_curvature.weights import load_weights, save_weights

SETTINGS = Training(epochs=4, batch_size=16, learning_rate=0.05, weight_decay=5e-4)


def spec(model="small_resnet", gamma=2.0, seed=0, regulariser=None, **training):
    return RunSpec(
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


def alone(run, data, **settings):
    """Train one run by itself."""
    return train([run], data, bins=15, **settings)[0]


def regularised(name, **parameters):
    return Regulariser(name, f"focal_curvature.regularisers.{name}:{name}", parameters)


REGULARISERS = {
    "hessian_trace": regularised("hessian_trace", strength=1e-3),
    "gauss_newton_trace": regularised("gauss_newton_trace", strength=1e-3),
    "every": regularised("gauss_newton_trace", strength=1e-3, every=3),
    "sam": regularised("sam", radius=0.05),
}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize("augmentation", ["none", "crop-flip"])
def test_a_repeated_run_is_bit_identical(data, augmentation):
    one, two = (alone(spec(augmentation=augmentation), data) for _ in range(2))
    assert same(one.weights, two.weights)
    assert one.history == two.history
    assert (one.logits["test"] == two.logits["test"]).all()


def test_another_seed_is_another_run(data):
    one, two = (alone(spec(seed=s), data) for s in (0, 1))
    assert not same(one.weights, two.weights)


def test_objectives_start_from_the_same_weights(data):
    one, two = (build_model(spec(gamma=g), data, torch.device("cpu")) for g in (0, 5))
    assert same(one.state_dict(), two.state_dict())


def test_building_a_model_leaves_the_global_generator_alone(data):
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    build_model(spec(), data, torch.device("cpu"))
    assert torch.equal(torch.rand(1), expected)


def test_training_learns_and_records_every_epoch(data):
    outcome = alone(spec("small_cnn", gamma=0, epochs=40), data)
    assert outcome.status == "completed"
    assert [row["epoch"] for row in outcome.history] == list(range(1, 41))
    first, last = outcome.history[0], outcome.history[-1]
    assert last["train_nll"] < 0.2 < first["train_nll"]
    assert last["train_loss"] == pytest.approx(last["train_nll"], rel=1e-9)
    for split in ("train", "validation", "test"):
        assert outcome.logits[split].shape == (len(data.splits[split].labels), 10)
    right = outcome.logits["validation"].argmax(1) == data.splits["validation"].labels.numpy()
    assert right.mean() == last["validation_accuracy"]


@pytest.mark.parametrize("width", ["wide", -1])
def test_arguments_that_give_no_model_are_named(data, width):
    wrong = replace(spec("small_cnn"), model_arguments={"width": width})
    with pytest.raises(ValueError, match=r"models\.small_cnn\.arguments: {'width': .* no model: "):
        build_model(wrong, data, torch.device("cpu"))


@pytest.mark.parametrize("model", ["small_cnn", "small_resnet", "own"])
def test_arguments_that_give_a_model_which_takes_no_images_are_named(data, monkeypatch, model):
    run = replace(spec(model), model_arguments={"width": 0})
    if model == "own":
        factory = lambda classes, channels, size, width: nn.Conv2d(3, classes, 1)  # noqa: E731
        monkeypatch.setattr(build, "resolve", lambda _: factory)
    with pytest.raises(ValueError, match=rf"^models\.{model}\.arguments: {{'width': 0}} give no"):
        alone(run, data)


def test_where_memory_ends_in_building_a_model_or_loading_its_images_it_says_what_to_change(
    data, digits_folder, splits_file, monkeypatch
):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(build, "resolve", lambda _: full)
    with pytest.raises(MemoryError, match=r"make it smaller \(models\.small_cnn\.arguments\)"):
        build_model(spec("small_cnn"), data, torch.device("cpu"))
    monkeypatch.setattr(tensors, "Split", full)
    with pytest.raises(MemoryError, match=r"while loading the images: lower data\.train"):
        tensors.load(digits_folder, splits_file, torch.device("cpu"))


def test_parameters_that_a_factory_refuses_are_named(data):
    smoothing = Objective(
        "label_smoothing",
        "focal_curvature.losses.label_smoothing:label_smoothing",
        {"epsilon": 5},
    )
    with pytest.raises(ValueError, match=r"objectives\.label_smoothing: epsilon must be"):
        alone(replace(spec(), objective=smoothing), data)
    with pytest.raises(ValueError, match=r"regularisers\.sam: radius must be"):
        alone(spec(gamma=0, regulariser=regularised("sam", radius=-1)), data)


class Pair(nn.Sequential):
    def forward(self, x):
        return super().forward(x), x


def layers(classes, kind=nn.Sequential):
    return kind(nn.Flatten(), nn.Linear(64, classes))


OWN_MODELS = {
    "two outputs": (lambda classes, *_: layers(classes, Pair), "returns a tuple for 2 images"),
    "too many classes": (lambda classes, *_: layers(classes + 1), r"returns \(2, 11\) for 2"),
    "half": (lambda classes, *_: layers(classes).half(), r"1\.weight is torch\.float16: torch"),
    "frozen": (lambda classes, *_: layers(classes).requires_grad_(False), "no parameter requires"),
    "without parameters": (lambda *_: nn.Flatten(), "no parameter requires"),
    "lazy": (lambda classes, *_: nn.LazyLinear(classes), "lazy layers"),
    "no model": (lambda *_: print, "builtin_function_or_method is no nn.Module"),
    "no arguments": (lambda: nn.Flatten(), "called with classes, channels, size: too many"),
}


@pytest.mark.parametrize("kind", OWN_MODELS)
def test_a_model_of_one_s_own_that_cannot_be_trained_is_refused_in_a_line(data, monkeypatch, kind):
    factory, message = OWN_MODELS[kind]
    monkeypatch.setattr(build, "resolve", lambda path: factory if path == "own" else resolve(path))
    run = replace(spec(), model="own", model_factory="own", model_arguments={})
    with pytest.raises(ValueError, match=message) as refused:
        alone(run, data)
    assert str(refused.value).startswith("models.own: ")
    assert "\n" not in str(refused.value)


def weighted(reduction, **_):
    weights = torch.linspace(0.5, 2, 10, dtype=torch.float64)  # as numpy has them
    return nn.CrossEntropyLoss(weights, reduction=reduction)


def own_loss(**parameters):
    return replace(spec(), objective=Objective("own", f"{__name__}:weighted", parameters))


def test_a_loss_with_weights_of_its_own_trains_and_is_scored_exactly(data):
    outcome = alone(own_loss(reduction="none"), data)
    assert outcome.reason is None
    logits, labels = outcome.logits["validation"], data.splits["validation"].labels
    exact = weighted("none").double()(torch.as_tensor(logits).double(), labels).mean()
    assert outcome.history[-1]["validation_loss"] == pytest.approx(exact.item(), rel=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_loss_that_joins_samples_is_refused_before_training(data, reduction):
    with pytest.raises(ValueError, match=r"^objectives\.own: returns \(\) for 2 samples"):
        alone(own_loss(reduction=reduction), data)


class Scaled(nn.Module):
    """Logits with a scale that is a single number, as CLIP has one."""

    def __init__(self, classes):
        super().__init__()
        self.scale, self.layers = nn.Parameter(torch.tensor(2.0)), layers(classes)

    def forward(self, x):
        return self.scale * self.layers(x)


def scaled(classes, *_):
    return Scaled(classes)


@pytest.mark.parametrize("name", [None, *REGULARISERS])
def test_a_parameter_without_a_dimension_is_trained_like_any_other(data, name):
    regulariser = REGULARISERS[name] if name else None
    run = spec(gamma=0, regulariser=regulariser, epochs=1, clip_norm=0.1)
    run = replace(run, model="own", model_factory=f"{__name__}:scaled", model_arguments={})
    outcome = alone(run, data)
    assert outcome.status == "completed"
    assert outcome.weights["scale"].shape == ()
    assert outcome.weights["scale"] != 2


def test_a_parameter_without_a_dimension_that_is_not_finite_is_found(data):
    model = scaled(10)
    networks = stack([model], data.splits["train"].images)
    assert networks.not_finite() == [None]
    nn.init.constant_(model.scale, math.nan)
    assert networks.not_finite() == ["scale"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_history_may_begin_with_epochs_without_a_penalised_step(data, tmp_path, precision):
    """Of four steps an epoch the first and the seventeenth are penalised."""
    rare = regularised("gauss_newton_trace", strength=1e-3, every=16)
    settings = {"epochs": 5, "evaluate_every": 2, "precision": precision}
    run = spec("small_cnn", gamma=0, regulariser=rare, **settings)
    TrainedRun.write(tmp_path, run, data, alone(run, data), {})
    history = pd.read_csv(tmp_path / "history.csv")
    assert list(history["epoch"]) == [2, 4, 5]
    assert list(history["penalised_trace"].notna()) == [False, False, True]
    assert history.drop(columns="penalised_trace").notna().all(axis=None)


class StopError(Exception):
    pass


@pytest.mark.parametrize("name", [None, "adam", *REGULARISERS])
def test_a_stopped_run_resumes_and_ends_with_the_same_bits(data, tmp_path, monkeypatch, name):
    run = spec(optimizer="adam", learning_rate=0.003)
    if name != "adam":
        run = spec(gamma=0, regulariser=REGULARISERS[name]) if name else spec()
    undisturbed = alone(run, data)
    checkpoint = tmp_path / "checkpoint.pt"
    real = loop.Training.train_epoch

    def stop_in_epoch_2(*args):
        if args[-1] == 2:
            raise StopError
        return real(*args)

    monkeypatch.setattr(loop.Training, "train_epoch", stop_in_epoch_2)
    keep = {"checkpoint": checkpoint, "checkpoint_seconds": 0, "fingerprint": "a"}
    with pytest.raises(StopError):
        alone(run, data, **keep)
    monkeypatch.setattr(loop.Training, "train_epoch", real)
    resumed = alone(run, data, **keep)
    assert resumed.resumed_from == 2
    assert same(resumed.weights, undisturbed.weights)
    assert resumed.history == undisturbed.history
    # Until the outcome is on disk, it is what a killed job can go on from.
    assert checkpoint.exists()


@pytest.mark.parametrize("name", REGULARISERS)
def test_a_regulariser_changes_the_weights_and_says_what_it_saw(data, name):
    run = spec(gamma=0, regulariser=REGULARISERS[name], epochs=1, augmentation="crop-flip")
    with Operations() as operations:
        outcome = alone(run, data)
    assert not operations.not_deterministic
    assert outcome.status == "completed"
    assert not same(
        outcome.weights, alone(replace(run, objective=spec(gamma=0).objective), data).weights
    )
    reported = "ascent" if name == "sam" else "penalised_trace"
    values = [row[reported] for row in outcome.history]
    assert all(math.isfinite(value) and value != 0 for value in values)
    # The history's loss is the base loss, that runs can be compared by.
    assert outcome.history[-1]["train_loss"] == pytest.approx(outcome.history[-1]["train_nll"])


def test_a_vanishing_penalty_leaves_images_and_batches_as_they_were(data):
    tiny = regularised("gauss_newton_trace", strength=1e-12)
    settings = {"epochs": 1, "augmentation": "crop-flip", "momentum": 0.0}
    plain = alone(spec("small_cnn", gamma=0, **settings), data)
    found = alone(spec("small_cnn", gamma=0, regulariser=tiny, **settings), data)
    for name, weight in plain.weights.items():
        torch.testing.assert_close(found.weights[name], weight, rtol=1e-5, atol=1e-6)


def test_a_strong_penalty_lowers_its_trace(data):
    strong = regularised("gauss_newton_trace", strength=0.1)
    ends = []
    for regulariser in (None, strong):
        last = alone(
            spec("small_cnn", gamma=0, regulariser=regulariser, epochs=20, evaluate_every=20),
            data,
            measure=lambda _, model, epoch: traces(
                model, focal(0), data.splits["train"].images, data.splits["train"].labels, epoch
            ),
        ).history[-1]
        # No residual on the diagonal of a network of ReLUs.
        assert last["trace_hessian"] == last["trace_gauss_newton"]
        ends.append(last["trace_gauss_newton"])
    assert ends[1] < ends[0] / 2


def test_a_run_blown_up_by_its_penalty_names_the_penalty(data):
    wild = regularised("hessian_trace", strength=1e12)
    outcome = alone(spec(gamma=0, regulariser=wild), data)
    assert outcome.status == "diverged"
    assert "lower regularisers.hessian_trace" in outcome.reason


@pytest.mark.parametrize("content", ["foreign", "damaged"])
def test_a_checkpoint_of_another_run_or_a_damaged_one_is_not_used(data, tmp_path, caplog, content):
    checkpoint = tmp_path / "checkpoint.pt"
    save_weights(checkpoint, {"fingerprint": "other", "epoch": 3})
    if content == "damaged":
        checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    outcome = alone(spec(), data, checkpoint=checkpoint, fingerprint="mine")
    assert outcome.resumed_from == 0
    told = [line for line in caplog.messages if "training starts anew" in line]
    assert len(told) == (content == "damaged")
    assert same(outcome.weights, alone(spec(), data).weights)


def test_divergence_is_an_outcome_that_names_epoch_step_and_remedy(data):
    outcome = alone(spec("small_cnn", gamma=0, learning_rate=1e8), data)
    assert outcome.status == "diverged"
    assert "epoch 1, step" in outcome.reason
    assert "training.learning_rate" in outcome.reason
    assert outcome.logits["test"].shape == (0, 10)


def test_weight_decay_shrinks_and_clipping_bounds_the_first_step(data):
    plain, decayed = (
        alone(spec("small_cnn", epochs=1, schedule="constant", weight_decay=w), data)
        for w in (0.0, 1.0)
    )
    norm = [sum(v.norm() ** 2 for v in o.weights.values()).sqrt() for o in (plain, decayed)]
    assert norm[1] < norm[0]
    start = build_model(spec("small_cnn"), data, torch.device("cpu")).state_dict()
    one_step = {"epochs": 1, "batch_size": 60, "momentum": 0.0, "weight_decay": 0.0}
    clipped = alone(
        spec("small_cnn", **one_step, schedule="constant", learning_rate=1.0, clip_norm=0.01),
        data,
    )
    moved = torch.cat([(clipped.weights[k] - start[k]).flatten() for k in start]).norm().item()
    assert moved == pytest.approx(0.01, rel=1e-3)


def test_summed_loss_is_the_mean_loss_with_a_larger_step(data):
    one_step = {"epochs": 1, "batch_size": 60, "momentum": 0.0, "weight_decay": 0.0}
    mean = alone(spec("small_cnn", **one_step, learning_rate=0.06), data)
    summed = alone(spec("small_cnn", **one_step, learning_rate=0.001, reduction="sum"), data)
    for name, weight in mean.weights.items():
        torch.testing.assert_close(weight, summed.weights[name], rtol=1e-4, atol=1e-6)


def test_cosine_goes_from_peak_to_nearly_zero():
    rates = [learning_rate(SETTINGS, e, s, 5) for e in range(4) for s in range(5)]
    assert rates[0] == 0.05
    assert rates == sorted(rates, reverse=True)
    assert rates[10] == pytest.approx(0.025)
    assert 0 < rates[-1] < 0.001


def test_steps_multiply_at_the_milestones():
    settings = replace(SETTINGS, schedule="step", milestones=[2, 3], factor=0.1)
    rates = [learning_rate(settings, epoch, 0, 5) for epoch in range(4)]
    assert rates == pytest.approx([0.05, 0.05, 0.005, 0.0005])


class Foreign:
    def __reduce__(self):
        return print, ("executed",)


def test_weights_on_disk_are_the_same_bytes_and_never_a_pickle(tmp_path, capsys):
    weights = nn.Linear(3, 2).state_dict()
    for name in ("one.pt", "two.pt"):
        save_weights(tmp_path / name, weights)
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "two.pt").read_bytes()
    assert same(load_weights(tmp_path / "one.pt"), weights)
    torch.save({"x": Foreign()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match=r"evil\.pt: cannot be read"):
        load_weights(tmp_path / "evil.pt")
    assert "executed" not in capsys.readouterr().out


def test_history_scores_are_fractions_of_the_split(data):
    row = alone(spec(epochs=1), data).history[0]
    for key in ("accuracy", "mean_confidence", "ece"):
        assert 0 <= row[f"validation_{key}"] <= 1
    assert math.isfinite(row["validation_loss"])
    assert row["validation_loss"] < row["validation_nll"]  # (1 - p)^2 is below one


OPTIMIZERS = {
    "sgd": {"momentum": 0.0, "nesterov": False},
    "momentum": {"momentum": 0.9, "nesterov": False},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "adam": {"optimizer": "adam", "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-7},
    "adamw": {"optimizer": "adamw", "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-7},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_those_of_torch_to_the_bit(name):
    settings = replace(SETTINGS, **OPTIMIZERS[name])
    arguments = {"weight_decay": 5e-4, "lr": 1, "fused": True}
    if settings.optimizer == "sgd":
        arguments |= {"momentum": settings.momentum, "nesterov": settings.nesterov}
    else:
        betas = (settings.beta1, settings.beta2)
        arguments |= {"betas": betas, "eps": settings.epsilon}
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    kind = kinds[settings.optimizer]
    torch.manual_seed(0)
    ours = [torch.randn(shape, requires_grad=True) for shape in ((4, 3), (5,), (2,))]
    theirs = [p.detach().clone().requires_grad_() for p in ours]
    one, two = Optimizer(ours, settings), kind(theirs, **arguments)
    for step in range(4):
        if step == 2:  # as a resumed run does
            state, one = one.state_dict(), Optimizer(ours, settings)
            one.load_state_dict(state)
        for p, q in zip(ours[:2], theirs[:2], strict=True):  # the last one is not used
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        one.step(0.1 / (1 + step))
        two.param_groups[0]["lr"] = 0.1 / (1 + step)
        two.step()
        assert all(torch.equal(p, q) for p, q in zip(ours, theirs, strict=True))
    one.zero_grad()
    assert all(p.grad is None for p in ours)


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_a_step_does_not_depend_on_how_a_gradient_lies_in_memory(name):
    settings = replace(SETTINGS, **OPTIMIZERS[name])
    torch.manual_seed(0)
    weight, gradient = torch.randn(2, 4, 3, 2, 2)
    ends = []
    for layout in (torch.contiguous_format, torch.channels_last):
        p = weight.clone(memory_format=layout).requires_grad_()
        optimizer = Optimizer([p], settings)
        for other in (torch.contiguous_format, torch.channels_last):
            p.grad = gradient.clone(memory_format=other)
            optimizer.step(0.1)
        ends.append(p.detach().contiguous())
    assert torch.equal(*ends)


@pytest.mark.parametrize("model", ["small_cnn", "small_resnet"])
def test_mixed_precision_is_of_the_step_alone(data, model):
    plain, mixed = (alone(spec(model, precision=p), data) for p in ("float32", "bfloat16"))
    assert {name: value.dtype for name, value in mixed.weights.items()} == {
        name: value.dtype for name, value in plain.weights.items()
    }
    # Four steps at bfloat16's unit roundoff of 0.4% or less each, most of which cancels.
    first = [outcome.history[0]["train_loss"] for outcome in (plain, mixed)]
    assert first[1] == pytest.approx(first[0], rel=0.01)
    assert first[1] != first[0]
    # What is kept is what float32 makes of the weights.
    evaluated = build_model(spec(model), data, torch.device("cpu"))
    evaluated = evaluated.to(memory_format=torch.channels_last)
    evaluated.load_state_dict(mixed.weights)
    test = logits_of(evaluated, data.splits["test"].images)
    assert torch.equal(torch.from_numpy(mixed.logits["test"]), test)


def test_the_loss_of_a_mixed_step_is_of_float32_logits(data):
    images, cpu = data.splits["train"].images, torch.device("cpu")
    model = build_model(spec("small_cnn"), data, cpu)
    networks = stack([model], images)
    assert build.build_forward(networks, spec("small_cnn"), cpu) is networks
    mixed = build.build_forward(networks, spec("small_cnn", precision="bfloat16"), cpu)
    logits = mixed(images[:, None])[0]
    expected = model(images)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, expected)
    torch.testing.assert_close(logits, expected, rtol=0.02, atol=0.02)


def resumes(run, data, tmp_path):
    """Train in one go and in two; return the former after holding the latter against it."""
    keep = {"checkpoint": tmp_path / "checkpoint.pt"}
    undisturbed = alone(run, data)
    with pytest.raises(StoppedError):
        alone(run, data, stop=lambda: True, **keep)
    resumed = alone(run, data, **keep)
    assert resumed.resumed_from == 1
    assert same(resumed.weights, undisturbed.weights)
    assert resumed.history == undisturbed.history
    return undisturbed


def test_a_stopped_run_in_mixed_precision_resumes_with_the_same_bits(data, tmp_path):
    resumes(spec(precision="bfloat16"), data, tmp_path)


def compiled_mlp(units, **training):
    settings = {"compile": True, "epochs": 2} | training
    return replace(spec("mlp", **settings), model_arguments={"hidden": [units]})


CXX = os.environ.get("CXX", "g++")  # what torch.compile looks for


@pytest.mark.skipif(not shutil.which(CXX), reason=f"no C++ compiler here: {CXX}")
def test_a_compiled_run_is_the_plain_one_up_to_rounding_and_resumes(data, tmp_path):
    from torch._inductor import config

    # What torch does first to compile many kernels is not worth it for a network of two layers.
    quick = {"compile_threads": 1, "cpp_cache_precompile_headers": False, "cpp.vec_isa_ok": True}
    with config.patch(quick):
        compiled = resumes(compiled_mlp(8), data, tmp_path)
    plain = alone(compiled_mlp(8, compile=False), data)
    assert compiled.weights.keys() == plain.weights.keys()
    for one, two in zip(compiled.history, plain.history, strict=True):
        assert one == pytest.approx(two, rel=1e-4)


def test_between_regularised_steps_compiled_ones_are_taken(data):
    run = spec("mlp", gamma=0, regulariser=REGULARISERS["every"], epochs=1)
    run = replace(run, model_arguments={"hidden": [5]})
    compiled = alone(replace(run, training=replace(run.training, compile=True)), data)
    plain = alone(run, data)
    assert compiled.history[0] == pytest.approx(plain.history[0], rel=1e-4)


def test_a_machine_that_cannot_compile_is_told_the_setting(data):
    from torch._inductor import config

    none = {"cpp.cxx": (None, "no-such-compiler"), "force_disable_caches": True}
    with config.patch(none), pytest.raises(ValueError, match=r"compile: true .*to false") as caught:
        alone(compiled_mlp(4), data)
    assert str(caught.value).startswith("training.compile: true is not possible here")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("setting", [{"precision": "bfloat16"}, {"compile": True}])
def test_no_step_but_a_plain_one_is_mixed_or_compiled(data, setting):
    with pytest.raises(ValueError, match=r"regularisers\.sam: needs every: .*float32"):
        alone(spec(gamma=0, regulariser=REGULARISERS["sam"], **setting), data)


def test_between_regularised_steps_mixed_ones_are_taken_and_none_is_missed(data):
    steps = {}
    for precision in ("float32", "bfloat16"):
        run = spec(gamma=0, regulariser=REGULARISERS["every"], precision=precision)
        training = loop.Training([run], data, 15, None)
        shown = data.splits["train"].images[:32, None], data.splits["train"].labels[:32, None].T
        for step in range(4):
            reports = training._step(*shown, [torch.Generator().manual_seed(step)], step)
            gradient = [p.grad.clone() for p in training.networks.model.parameters()]
            steps[precision, step] = reports["loss"], gradient
    for step in range(4):
        (one, plain), (two, mixed) = steps["float32", step], steps["bfloat16", step]
        assert torch.equal(one, two) == (step % 3 == 0)
        assert two.item() == pytest.approx(one.item(), rel=0.01)
        assert all(map(torch.equal, plain, mixed)) == (step % 3 == 0)


def test_reports_keep_their_order_which_is_that_of_the_history(data, monkeypatch):
    training = loop.Training([spec(gamma=0, regulariser=REGULARISERS["sam"])], data, 15, None)
    reported = dict.fromkeys([f"of_{name}" for name in "zyxwvabcd"], torch.zeros(1))
    real = training.regulariser
    monkeypatch.setattr(training, "regulariser", lambda *given: real(*given) | reported)
    training.train_epoch(0)
    assert list(training.reports) == ["ascent", *reported]


def test_an_epoch_reports_what_its_regularised_steps_saw(data):
    run = spec(gamma=0, regulariser=REGULARISERS["every"], precision="bfloat16", epochs=4)
    mixed = alone(run, data).history
    plain = alone(replace(run, training=replace(run.training, precision="float32")), data).history
    found, expected = ([row["penalised_trace"] for row in rows] for rows in (mixed, plain))
    assert found == pytest.approx(expected, rel=0.2)
    assert found != expected


def test_the_log_tells_the_epoch_done_and_the_epoch_of_the_scores(data, caplog, monkeypatch):
    monkeypatch.setattr(loop, "LOG_SECONDS", -1)
    with caplog.at_level(logging.INFO, logger="focal_curvature"):
        alone(spec("small_cnn", epochs=4, evaluate_every=2), data)
    lines = [message.partition(": ")[2] for message in caplog.messages]
    heads = ["epoch 1 of 4", "epoch 2 of 4", "epoch 3 of 4, scores of epoch 2", "epoch 4 of 4"]
    assert [line.partition(":")[0] for line in lines] == heads
    scores = [line.partition(": ")[2] for line in lines]
    assert scores[0] == ""
    assert scores[1] == scores[2] != scores[3]
