"""The PyHessian adapter against exact Hessians, and each of PyHessian's known defects."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import replace

import pytest
import torch
from curvature_problems import (
    FirstLogit,
    Quadratic,
    exact_hessian,
    samples,
    tiny_net,
    with_spectrum,
)
from torch import nn

from focal_curvature.curvature import Settings, estimate
from focal_curvature.losses.focal import focal
from focal_curvature.settings import option, require_allowed
from focal_curvature.settings.curvature import Curvature

SETTINGS = Settings(estimator="pyhessian", probes=200, max_iterations=300, tolerance=1e-2)
GAMMAS = [0, 0.5, 1, 1.5, 2, 5]


@pytest.mark.parametrize("gamma", [0, 2])
def test_agrees_with_the_exact_hessian(gamma):
    net, loss, (x, y) = tiny_net(), focal(gamma), samples()
    got = estimate(net, loss, x, y, SETTINGS, seed=1)
    exact = exact_hessian(tiny_net(), loss, x, y)
    top = torch.linalg.eigvalsh(exact)[-1].item()
    assert abs(got.trace.estimate - exact.trace().item()) < 3 * got.trace.stderr
    assert got.top_eigenvalue.converged
    assert got.top_eigenvalue.estimate == pytest.approx(top, rel=1e-3)
    assert got.parameters == len(exact)
    assert got.samples == len(y)


def test_softmax_regression_closed_form():
    x, y = samples()
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 5, bias=False))
    got = estimate(net, focal(0), x, y, SETTINGS, seed=0)
    flat = x.flatten(1).double()
    p = (flat @ net[1].weight.detach().double().T).softmax(1)
    hessian = torch.einsum(
        "ni,nj,nab->aibj", flat, flat, torch.diag_embed(p) - p[:, :, None] * p[:, None]
    ) / len(y)
    hessian = hessian.reshape(80, 80)
    assert got.top_eigenvalue.estimate == pytest.approx(
        torch.linalg.eigvalsh(hessian)[-1].item(), rel=1e-3
    )
    assert abs(got.trace.estimate - hessian.trace().item()) < 3 * got.trace.stderr


def test_chunks_of_unequal_size_give_the_whole_sets_numbers():
    net, loss, (x, y) = tiny_net(), focal(2), samples()
    whole = estimate(net, loss, x, y, replace(SETTINGS, probes=20), seed=0)
    parts = estimate(net, loss, x, y, replace(SETTINGS, probes=20, chunk=7), seed=0)
    assert parts.trace.samples == pytest.approx(whole.trace.samples, rel=1e-4, abs=1e-5)
    assert parts.top_eigenvalue.estimate == pytest.approx(whole.top_eigenvalue.estimate, rel=1e-4)


@pytest.mark.parametrize("chunk", [1024, 7])
def test_a_second_call_gives_the_same_bits_and_leaves_the_caller_alone(chunk):
    net, loss, (x, y) = tiny_net().train(), focal(1), samples()
    net[6].weight.grad = torch.full_like(net[6].weight, 5.0)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = torch.random.get_rng_state()
    settings = replace(SETTINGS, probes=20, chunk=chunk)
    first = estimate(net, loss, x, y, settings, seed=4)
    second = estimate(net, loss, x, y, settings, seed=4)
    assert first == second
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(module.training for module in net.modules())
    assert net[0].weight.grad is None
    assert (net[6].weight.grad == 5).all()
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def test_a_negative_trace_keeps_every_probe():
    got = estimate(
        Quadratic(with_spectrum(-9.0, -3.0, -1.0, 2.0)),
        FirstLogit(),
        torch.zeros(3, 1),
        torch.zeros(3, dtype=torch.int64),
        SETTINGS,
        seed=0,
    )
    assert len(got.trace.samples) == got.trace.products == 200
    assert abs(got.trace.estimate + 11) < 3 * got.trace.stderr
    assert got.largest_magnitude == pytest.approx(-9, rel=1e-3)
    top = got.top_eigenvalue
    assert abs(top.estimate - 2) < top.residual * top.estimate < 0.1


def test_a_tiny_hessian_is_measured_as_well_as_a_large_one():
    net = Quadratic(with_spectrum(1e-9, 4e-9, 8e-9))
    x, y = torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64)
    got = estimate(net, FirstLogit(), x, y, SETTINGS, seed=0)
    assert got.top_eigenvalue.estimate == pytest.approx(8e-9, rel=1e-3)
    assert got.top_eigenvalue.converged


def test_an_exhausted_budget_is_said():
    net = Quadratic(with_spectrum(0.98, 0.99, 1.0))
    x, y = torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64)
    settings = replace(SETTINGS, max_iterations=2, tolerance=1e-4)
    assert not estimate(net, FirstLogit(), x, y, settings, seed=0).top_eigenvalue.converged


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("margin", [5, 20, 60, 120])
def test_saturated_logits_stay_finite(gamma, margin):
    x = torch.eye(5).reshape(5, 1, 1, 5)
    y = torch.tensor([0, 1, 2, 3, 0])  # the last one confidently wrong
    net = nn.Sequential(nn.Flatten(), nn.Linear(5, 5, bias=False))
    net[1].weight.data = margin * torch.eye(5)
    got = estimate(net, focal(gamma), x, y, replace(SETTINGS, probes=4), seed=0)
    assert math.isfinite(got.trace.estimate)
    assert math.isfinite(got.top_eigenvalue.estimate)


class NaivePower(nn.Module):
    """(1 - p)**1.5 as published code writes it: finite gradients, non-finite products."""

    def forward(self, logits, labels):
        p = logits.softmax(1).gather(1, labels[:, None])[:, 0]
        return (1 - p) ** 1.5


@pytest.mark.parametrize("chunk", [1024, 2])
def test_a_non_finite_product_names_its_layer(chunk):
    net = nn.Sequential(nn.Flatten(), nn.Linear(5, 5, bias=False))
    net[1].weight.data = 60 * torch.eye(5)
    x, y = torch.eye(5).reshape(5, 1, 1, 5), torch.arange(5)
    with pytest.raises(FloatingPointError, match=r"product.*1\.weight"):
        estimate(net, NaivePower(), x, y, replace(SETTINGS, chunk=chunk), seed=0)


def test_float64_is_used_where_asked():
    net, loss, (x, y) = tiny_net(), focal(1), samples()
    settings = replace(SETTINGS, dtype="float64", tolerance=1e-5, max_iterations=2000)
    got = estimate(net, loss, x, y, settings, seed=0)
    top = torch.linalg.eigvalsh(exact_hessian(tiny_net(), loss, x, y))[-1].item()
    assert got.top_eigenvalue.estimate == pytest.approx(top, rel=1e-9)
    assert net[0].weight.dtype == torch.float32


def test_the_result_is_json_with_its_grounds():
    got = estimate(tiny_net(), focal(1), *samples(), replace(SETTINGS, probes=3), seed=9).to_dict()
    assert json.loads(json.dumps(got, allow_nan=False)) == got
    assert got["estimator"] == "pyhessian"
    assert got["version"] == "0.1"
    assert got["seed"] == 9
    assert len(got["trace"]["samples"]) == 3


@pytest.mark.parametrize("gamma", [0, 2])
def test_gauss_newton_and_adaptive_sharpness_come_from_the_engine(gamma):
    arguments = tiny_net(), focal(gamma), *samples()
    got = estimate(*arguments, replace(SETTINGS, probes=10), seed=0)
    engine = estimate(*arguments, Settings(estimator="engine"), seed=0)
    assert got.gauss_newton_estimator == "engine"
    assert got.gauss_newton.trace == engine.gauss_newton.trace
    assert got.adaptive_sharpness == engine.adaptive_sharpness
    assert got.gauss_newton.trace.method == "exact"
    assert got.estimator == "pyhessian"


class ReadsANumber(nn.Module):
    """A model that only PyHessian can take."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(16, 5), nn.LayerNorm(5))

    def forward(self, x):
        return self.net(x.flatten(1)) / (2.0 if x.abs().sum().item() > 0 else 1.0)


def test_a_model_that_vmap_cannot_take_has_a_hessian_and_no_gauss_newton_trace(caplog):
    got = estimate(ReadsANumber(), focal(1), *samples(), replace(SETTINGS, probes=3), seed=0)
    assert math.isfinite(got.trace.estimate)
    assert got.gauss_newton is got.adaptive_sharpness is got.gauss_newton_estimator is None
    assert "no Gauss-Newton trace" in caplog.text
    json.dumps(got.to_dict(), allow_nan=False)


def test_a_device_that_pyhessian_does_not_know_is_refused():
    x = torch.zeros(2, 1, 4, 4, device="meta")
    with pytest.raises(ValueError, match="PyHessian runs on cpu and cuda only"):
        estimate(tiny_net(), focal(1), x, torch.zeros(2), SETTINGS, seed=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"probes": 1}, "probes: 1 is below 2"),
        ({"dtype": "float16"}, "dtype: 'float16' is none of"),
        ({"estimator": "guess"}, "estimator: 'guess' is none of"),
        ({"tolerance": 0}, "tolerance: 0 is not above 0"),
        ({"top": 0}, "top: 0 is below 1"),
        ({"matrices": ("hessian", "fisher")}, "matrices: .*fisher.* are not all of"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        Settings(**settings)


def test_settings_are_built_from_a_configurations_and_from_others():
    assert Settings.of(Curvature(probes=7, samples=3), top=2) == Settings(probes=7, top=2)
    assert Settings.of(Settings(frobenius=True), chunk=3) == Settings(frobenius=True, chunk=3)


@pytest.mark.parametrize(
    ("limits", "allowed", "refused"),
    [
        ({"minimum": 1}, 1, 0),
        ({"exclusiveMinimum": 1}, 2, 1),
        ({"maximum": 1}, 1, 2),
        ({"exclusiveMaximum": 1}, 0, 1),
    ],
)
def test_every_limit_of_a_schema_is_held_without_it(limits, allowed, refused):
    kind = dataclasses.make_dataclass("Kind", [("value", int, option(0, **limits))])
    require_allowed(kind(allowed))
    with pytest.raises(ValueError, match=f"value: {refused} is .* 1"):
        require_allowed(kind(refused))
