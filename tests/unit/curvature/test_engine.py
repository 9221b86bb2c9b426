"""The engine against exact Hessians, closed forms, PyHessian and curvlinops."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import curvlinops
import mpmath
import numpy as np
import pytest
import torch
from curvature_problems import (
    FirstLogit,
    Quadratic,
    dense,
    exact_hessian,
    samples,
    tiny_net,
    with_spectrum,
)
from hypothesis import given, settings, strategies
from torch import nn
from torch.nn import functional

from focal_curvature.curvature import Settings, UnsupportedError, estimate, measure
from focal_curvature.curvature.density import density
from focal_curvature.curvature.lanczos import lanczos
from focal_curvature.curvature.landscape import losses_along, random_direction
from focal_curvature.curvature.operators import PRODUCTS, Operator
from focal_curvature.curvature.prepare import frozen_copy
from focal_curvature.curvature.problem import Problem
from focal_curvature.curvature.trace import adaptive, gauss_newton_trace, hutchpp
from focal_curvature.losses.focal import focal
from focal_curvature.models.small_cnn import small_cnn
from focal_curvature.models.small_resnet import small_resnet

ENGINE = Settings(estimator="engine", dtype="float64")
NOTHING = (torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64))


def problem(net=None, loss=None, n=24, **keywords):
    return Problem.of(
        net or tiny_net(), loss or focal(2), samples(n), dtype=torch.float64, **keywords
    )


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def only_program(operator):
    (program,) = operator._programs.values()
    return program


def relu_net():
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 5),
    )  # fmt: skip
    net(torch.randn(64, 1, 4, 4) * 2 + 1)
    return net


# --- products -------------------------------------------------------------------------------


@pytest.mark.parametrize("net", [tiny_net, relu_net])
@pytest.mark.parametrize("gamma", [0, 2])
@pytest.mark.parametrize("batch", [24, 7])
def test_products_are_the_exact_hessians_and_add_up(net, gamma, batch):
    p = problem(net(), focal(gamma), batch=batch)
    exact = exact_hessian(net(), focal(gamma), *samples())
    h, g, r = (dense(p, m) for m in PRODUCTS)
    torch.testing.assert_close(h, exact, rtol=0, atol=1e-13)
    torch.testing.assert_close(h, g + r, rtol=0, atol=1e-13)
    if gamma == 0:
        assert torch.linalg.eigvalsh(g)[0] > -1e-14


def test_samples_beyond_the_chunk_are_linearised_anew_with_the_same_product():
    v = torch.randn(69, generator=generator(), dtype=torch.float64)
    kept, fresh = problem(batch=6, chunk=24), problem(batch=6, chunk=6)
    torch.testing.assert_close(Operator.on(kept)(v), Operator.on(fresh)(v), rtol=0, atol=0)
    assert len(Operator.on(fresh)._kept) == 0


def test_batch_norm_is_folded_only_where_the_function_stays_the_same():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.norm = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2)

        def forward(self, x):
            y = self.convolution(x)
            return (self.norm(y) + y).mean((2, 3))

    torch.manual_seed(0)
    net = Twice()
    net(torch.randn(32, 1, 4, 4) * 3)
    x, y = samples(classes=2)
    p = Problem.of(net, focal(0), (x, y), dtype=torch.float64)
    exact = exact_hessian(frozen_copy(net, torch.float64, x.device), focal(0), x, y)
    torch.testing.assert_close(dense(p), exact, rtol=0, atol=1e-13)
    assert type(problem(relu_net()).model.model[1]) is nn.Identity


def test_randomness_in_the_model_is_found():
    class Noise(nn.Module):
        def forward(self, x):
            return x + torch.randn_like(x)

    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), Noise(), nn.Linear(8, 5))
    with pytest.raises(UnsupportedError, match=r"layer 2 \(Noise\) is random"):
        estimate(net, focal(0), *samples(), ENGINE, seed=0)


def test_networks_that_differ_in_numbers_alone_share_a_program_and_not_a_result():
    def other():
        net = relu_net()
        with torch.no_grad():
            for value in (*net.parameters(), net[1].running_mean, net[1].running_var):
                value.mul_(1.5).add_(0.1)
        return net

    one, two = Operator.on(problem(relu_net())), Operator.on(problem(other()))
    assert only_program(two) is only_program(one)
    exact = exact_hessian(other(), focal(2), *samples())
    torch.testing.assert_close(dense(problem(other())), exact, rtol=0, atol=1e-12)


class Times(nn.Module):
    """Scales by a number, by a tensor that is no buffer, or by a global variable."""

    by = 1.0

    def __init__(self, by=None):
        super().__init__()
        self.own = by

    def forward(self, x):
        return x.tanh() * (Times.by if self.own is None else self.own)


def scaled_net(by):
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 4), Times(by), nn.Linear(4, 5))


def hooked_net(factor):
    net = scaled_net(1.0)
    net[2].register_forward_hook(lambda module, x, out: out * factor)
    return net


@pytest.mark.parametrize(
    "nets",
    [
        (scaled_net(2.0), scaled_net(3.0)),
        (scaled_net(torch.tensor(2.0)), scaled_net(torch.tensor(3.0))),
        (hooked_net(2.0), hooked_net(3.0)),
        (scaled_net(1.0), nn.Sequential(*scaled_net(1.0)[:2], nn.Tanh(), scaled_net(1.0)[3])),
    ],
    ids=["number", "tensor", "hook", "module"],
)
@pytest.mark.parametrize("gammas", [(2, 2), (0, 2)])
def test_what_may_run_other_operations_has_a_program_of_its_own(nets, gammas):
    one, two = (Operator.on(problem(n, focal(g))) for n, g in zip(nets, gammas, strict=True))
    assert only_program(two) is not only_program(one)
    found = dense(problem(nets[1], focal(gammas[1])))
    exact = exact_hessian(nets[1], focal(gammas[1]), *samples())
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-12)


def test_a_global_variable_that_changed_between_two_networks_is_noticed(monkeypatch):
    estimate(scaled_net(None), focal(2), *samples(), ENGINE, seed=0)
    monkeypatch.setattr(Times, "by", 2.0)
    with pytest.raises(RuntimeError, match="part of neither"):
        estimate(scaled_net(None), focal(2), *samples(), ENGINE, seed=0)


def test_a_loss_with_weights_of_its_own_is_traced_for_itself():
    weights = torch.rand(2, 5, generator=generator(), dtype=torch.float64)
    one, two = (nn.CrossEntropyLoss(w, reduction="none") for w in weights)
    assert only_program(Operator.on(problem(loss=one))) is not only_program(
        Operator.on(problem(loss=two))
    )


def test_a_non_finite_product_names_its_layer():
    class Naive(nn.Module):
        def forward(self, logits, labels):
            return (1 - logits.softmax(1).gather(1, labels[:, None])[:, 0]) ** 1.5

    net = nn.Sequential(nn.Flatten(), nn.Linear(5, 5, bias=False))
    net[1].weight.data = 60 * torch.eye(5)
    p = Problem.of(net, Naive(), (torch.eye(5).reshape(5, 1, 1, 5), torch.arange(5)))
    with pytest.raises(FloatingPointError, match=r"hessian product.*1\.weight"):
        Operator.on(p)(torch.ones(25))
    with pytest.raises(FloatingPointError, match="Hessian of the loss in the outputs"):
        estimate(
            net,
            Naive(),
            p.samples.inputs,
            p.samples.targets,
            Settings(estimator="engine", check=False),
            0,
        )


def test_weights_whose_squares_overflow_are_told():
    """A network that training drove far off and left constant has a trace, and no sharpness."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight.fill_(-1e21)
        model[0].bias.zero_()
    x, y = torch.rand(6, 3) + 1, torch.arange(6) % 2
    with pytest.raises(FloatingPointError, match=r"adaptive sharpness: first in 0\.weight"):
        estimate(model, nn.CrossEntropyLoss(), x, y, Settings(estimator="engine"), 0)


@pytest.mark.parametrize(("act", "vanish"), [(nn.ReLU, True), (nn.Tanh, False), (nn.GELU, False)])
def test_the_residuals_diagonal_blocks_vanish_for_piecewise_linear_networks_only(act, vanish):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), act(), nn.Linear(6, 5))
    p = problem(net)
    assert Operator.on(p, "residual").blocks_vanish() is vanish
    assert bool((dense(p, "residual").diagonal() == 0).all()) is vanish


POOLS = [
    f"{kind}{dim}d"
    for dim in (1, 2, 3)
    for kind in ("MaxPool", "AvgPool", "AdaptiveMaxPool", "AdaptiveAvgPool", "ReflectionPad")
]


@pytest.mark.parametrize("name", POOLS)
def test_pooling_and_padding_are_known_to_be_piecewise_linear(name):
    torch.manual_seed(0)
    dim = int(name[-2])
    convolution, norm = (getattr(nn, f"{kind}{dim}d") for kind in ("Conv", "BatchNorm"))
    size = 1 if name.startswith("Reflection") else 2
    net = nn.Sequential(
        convolution(1, 2, 3, padding=1), norm(2), nn.ReLU(), getattr(nn, name)(size), nn.Flatten(),
        nn.LazyLinear(3),
    ).eval()  # fmt: skip
    x, y = torch.randn(3, 1, *[4] * dim), torch.arange(3)
    net(x)
    assert Operator(net, focal(2), (x, y), matrix="residual").blocks_vanish()
    got = estimate(net, focal(2), x, y, ENGINE, seed=0)
    assert got.trace.method == "exact"
    assert got.trace.estimate == pytest.approx(exact_hessian(net, focal(2), x, y).trace().item())


@pytest.mark.parametrize("factory", [small_cnn, small_resnet])
def test_the_projects_networks_have_exact_traces(factory):
    torch.manual_seed(0)
    net = factory(5, 1, 4, width=2)
    net(torch.randn(32, 1, 4, 4))
    got = estimate(net, focal(2), *samples(), ENGINE, seed=0)
    exact = exact_hessian(net, focal(2), *samples())
    assert got.trace.method == "exact"
    assert got.trace.estimate == pytest.approx(exact.trace().item(), rel=1e-10)
    assert got.residual.trace.estimate == 0


def test_a_tensor_used_twice_is_not_taken_for_linear():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 5)

        def forward(self, x):
            return self.layer(self.layer(x.flatten(1)[:, :5]).relu())

    assert not Operator.on(problem(Tied()), "residual").blocks_vanish()


# --- traces ---------------------------------------------------------------------------------


def test_gauss_newton_trace_and_scaled_trace_are_exact_by_layer():
    p = problem(relu_net(), focal(2))
    got = gauss_newton_trace(p, generator(), budget=5, relative_error=0.01)
    diagonal = dense(p, "gauss_newton").diagonal()
    theta = torch.cat([t.flatten() for t in p.parameters])
    want = torch.stack([part.sum() for part in diagonal.split([t.numel() for t in p.parameters])])
    torch.testing.assert_close(got.layers[0], want)
    assert got.scaled.sum().item() == pytest.approx((theta.square() * diagonal).sum().item())
    assert got.passes == 4  # five classes less the direction that softmax doesn't see


def test_more_classes_than_budget_are_mixed_without_bias():
    p = problem(tiny_net(), focal(2))
    truth = dense(p, "gauss_newton").trace().item()
    hits = []
    for seed in range(60):
        got = gauss_newton_trace(p, generator(seed), budget=3, relative_error=1e-9)
        assert len(got.layers) == 3
        hits.append(got.layers.sum().item() / 3)
    assert abs(np.mean(hits) - truth) < 3 * np.std(hits) / math.sqrt(60)
    assert np.std(hits) < 0.2 * truth


def test_the_stated_standard_error_covers_the_truth():
    net, (x, y) = tiny_net(), samples()
    truth = exact_hessian(tiny_net(), focal(2), x, y).trace().item()
    inside = 0
    for seed in range(40):
        t = estimate(net, focal(2), x, y, replace(ENGINE, probes=40, max_iterations=1), seed).trace
        assert t.method == "stratified by sample"
        inside += abs(t.estimate - truth) < 2 * t.stderr
    assert 33 <= inside <= 40  # 95% of 40 is 38; fewer than 33 has a chance below 1%


def test_stopping_at_a_requested_error_leaves_the_stated_one_honest():
    """The number of probes depends on their values, which could bias the error downwards."""
    p = problem()
    truth, operator = dense(p).trace().item(), Operator.on(p)
    found = [hutchpp(operator, generator(k), budget=2000, relative_error=0.2) for k in range(100)]
    assert all(t.converged and t.stderr <= 0.2 * abs(t.estimate) for t in found)
    assert len({len(t.samples) for t in found}) > 5
    inside = sum(abs(t.estimate - truth) < 2 * t.stderr for t in found)
    assert inside >= 87  # 95% is 95; fewer than 87 has a chance of 0.1%


def test_a_trace_says_whether_the_requested_error_was_met():
    asked = replace(ENGINE, relative_error=1e-3, max_iterations=1)
    few, many = (
        estimate(tiny_net(), focal(2), *samples(), replace(asked, **more), seed=0).trace
        for more in ({"probes": 8}, {"probes": 8, "relative_error": 10})
    )
    assert few.converged is False
    assert few.stderr > 1e-3 * abs(few.estimate)
    assert many.converged is True


def test_layer_traces_of_a_smooth_network_are_those_of_the_exact_blocks():
    diagonal = exact_hessian(tiny_net(), focal(2), *samples()).diagonal()
    sizes = [p.numel() for p in tiny_net().parameters()]
    want = [part.sum().item() for part in diagonal.split(sizes)]
    asked = replace(ENGINE, probes=100, relative_error=1e-9, max_iterations=1)
    got = estimate(tiny_net(), focal(2), *samples(), asked, seed=0).layer_traces
    for trace, exact in zip(got.values(), want, strict=True):
        assert abs(trace.estimate - exact) < 3.5 * trace.stderr + 1e-12 * abs(exact)
    assert any(trace.stderr for trace in got.values())


class InFloat32(nn.Module):
    """Code that keeps to float32 in one of two ways, after a convolution and its batch norm."""

    def __init__(self, how):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.how = how

    def forward(self, x):
        x = self.norm(self.convolution(x.float() if self.how == "float" else x))
        x = x.relu().mean((2, 3))
        return x @ (torch.full((3, 5), 0.5) if self.how == "full" else x.new_full((3, 5), 0.5))


@pytest.mark.parametrize("how", ["float", "full"])
def test_a_network_that_cannot_be_called_in_float64_is_measured_without_folding(how):
    found = []
    for kind in ("plain", how):
        torch.manual_seed(0)
        found.append(
            estimate(
                InFloat32(kind), focal(2), *samples(), replace(ENGINE, dtype="float32"), seed=0
            )
        )
    assert found[1].trace.estimate == pytest.approx(found[0].trace.estimate, rel=1e-5)
    assert found[1].top_eigenvalue.estimate == pytest.approx(
        found[0].top_eigenvalue.estimate, rel=1e-3
    )


def test_layer_traces_add_up_to_the_trace():
    got = estimate(tiny_net(), focal(2), *samples(), ENGINE, seed=0)
    total = sum(t.estimate for t in got.layer_traces.values())
    assert total == pytest.approx(got.trace.estimate)
    assert list(got.layer_traces) == [name for name, _ in tiny_net().named_parameters()]


@pytest.mark.parametrize("squared", [False, True])
def test_hutchpp_is_exact_on_a_full_basis_and_unbiased_on_a_part(squared):
    p = problem()
    h = dense(p)
    truth = (h @ h if squared else h).trace().item()
    operator = Operator.on(p)
    full = lanczos(operator, torch.ones(p.size, dtype=torch.float64), max_iterations=69)
    found = []
    for m in (5, len(full.basis)):
        for seed in range(5):
            got = hutchpp(
                operator, generator(seed), basis=full.basis[:m], images=full.images[:m],
                squared=squared, budget=40, relative_error=1e-9,
            )  # fmt: skip
            found.append(abs(got.estimate - truth) / (got.stderr + 1e-9 * abs(truth)))
    assert max(found) < 4
    assert np.mean(found) < 2


def test_the_exact_part_of_a_norm_may_be_below_the_range_of_float32():
    spectrum = (0.5, 1.0, 2.0, 3.0)
    net = Quadratic(1e-22 * with_spectrum(*spectrum))
    wanted = Settings(estimator="engine", frobenius=True, tolerance=1e-6)
    norm = estimate(net, FirstLogit(), *NOTHING, wanted, seed=0).hessian.frobenius
    assert norm.estimate == pytest.approx(1e-44 * sum(x * x for x in spectrum), rel=1e-4)


def test_adaptive_sampling_stops_at_the_requested_error_or_the_budget():
    def draw(n):
        return 10 + torch.randn(n, generator=random, dtype=torch.float64)

    random = generator()
    enough = adaptive(draw, budget=10_000, relative_error=0.005)
    assert enough.std() / math.sqrt(len(enough)) <= 0.005 * enough.mean() * 1.1
    assert 200 < len(enough) < 1000  # (1 / 0.05)**2 = 400
    assert len(adaptive(draw, budget=30, relative_error=0.005)) == 30


# --- eigenvalues ----------------------------------------------------------------------------


def test_top_eigenvalues_with_honest_residuals():
    settings = replace(ENGINE, top=3, tolerance=1e-8, matrices=("gauss_newton", "residual"))
    got = estimate(tiny_net(), focal(2), *samples(), settings, seed=0)
    p = problem()
    for matrix in PRODUCTS:
        want = torch.linalg.eigvalsh(dense(p, matrix)).flip(0)[:3].tolist()
        found = getattr(got, matrix).eigenvalues
        assert [e.estimate for e in found] == pytest.approx(want, rel=1e-10)
        assert all(e.converged and e.residual <= 1e-8 for e in found)


@pytest.mark.parametrize(
    "spectrum",
    [(-9.0, -3.0, -1.0, 2.0), (-5.0, -2.0, -1.0, -0.5), (0.0, 0.0, 0.0, 4.0), (1e-9, 2e-9, 8e-9)],
)
def test_indefinite_negative_and_rank_deficient_quadratics(spectrum):
    net = Quadratic(with_spectrum(*spectrum))
    got = estimate(net, FirstLogit(), *NOTHING, replace(ENGINE, tolerance=1e-9), seed=0)
    assert got.top_eigenvalue.estimate == pytest.approx(max(spectrum), rel=1e-5)
    assert got.largest_magnitude == pytest.approx(max(spectrum, key=abs), rel=1e-5)
    assert abs(got.trace.estimate - sum(spectrum)) <= 3 * got.trace.stderr + 1e-6 * max(spectrum)


def test_a_start_almost_orthogonal_to_the_top_vector_does_not_settle_on_the_second():
    values = torch.cat([torch.tensor([1.0, 0.8]), torch.linspace(-0.1, 0.1, 200)]).double()
    for seed in range(20):
        start = torch.randn(202, generator=generator(seed), dtype=torch.float64)
        start[0] *= 1e-3
        got = lanczos(lambda v: values * v, start, tolerance=1e-2)
        assert got.eigenvalues[0].estimate == pytest.approx(1, rel=1e-2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_multiple_eigenvalue_is_found_as_often_as_it_is_there(dtype):
    """The Hessian of least squares is that of one output, once for each of three."""
    x = torch.randn(40, 5, generator=generator())
    extended = torch.cat([x, torch.ones(40, 1)], 1).double()
    want = torch.linalg.eigvalsh(extended.T @ extended * 2 / 3 / 40).flip(0).repeat_interleave(3)
    for k in (1, 2, 4, 18):
        got = measure(
            nn.Linear(5, 3), (x, torch.zeros(40, 3)), "mse", k=k, tolerance=1e-5, dtype=dtype
        )
        assert [e.estimate for e in got.eigenvalues] == pytest.approx(want[:k].tolist(), rel=1e-5)
        assert all(e.converged for e in got.eigenvalues)
        vectors = torch.stack(
            [torch.cat([p.flatten() for p in v.values()]) for v in got.eigenvectors]
        )
        torch.testing.assert_close(vectors @ vectors.T, torch.eye(k).to(vectors), atol=1e-5, rtol=0)


def test_copies_are_looked_for_within_the_products_allowed():
    values = torch.cat([torch.ones(3), torch.linspace(-0.1, 0.1, 50)]).double()
    products = 0

    def operator(v):
        nonlocal products
        products += 1
        return values * v

    start = torch.randn(53, generator=generator(), dtype=torch.float64)
    alone = lanczos(operator, start, tolerance=1e-2)
    assert products == alone.eigenvalues[0].products
    for most in (1, 2, 8, 100):
        products = 0
        got = lanczos(operator, start, k=3, tolerance=1e-2, max_iterations=most)
        assert products == got.eigenvalues[0].products <= most
    assert [e.estimate for e in got.eigenvalues] == pytest.approx([1, 1, 1], rel=1e-4)


def test_a_zero_that_is_no_eigenvalue_has_a_residual_that_says_so():
    matrix, start = torch.tensor([[0.0, 1], [1, 0]]).double(), torch.tensor([1.0, 0]).double()
    for scale in (1, 100):
        (value,) = lanczos(lambda v, s=scale: s * matrix @ v, start, max_iterations=1).eigenvalues
        assert (value.estimate, value.converged) == (0, False)
        assert value.residual > 1
        json.dumps(value.residual, allow_nan=False)
    (value,) = lanczos(lambda v: matrix @ v, start).eigenvalues
    assert value.estimate == pytest.approx(1)


def test_a_zero_hessian_is_zero():
    got = estimate(Quadratic(torch.zeros(4, 4)), FirstLogit(), *NOTHING, ENGINE, seed=0)
    assert got.top_eigenvalue.estimate == got.trace.estimate == 0
    assert got.top_eigenvalue.converged


def test_an_exhausted_budget_is_said():
    net = Quadratic(with_spectrum(*np.linspace(1, 2, 30)))
    got = estimate(net, FirstLogit(), *NOTHING, replace(ENGINE, max_iterations=2), seed=0)
    assert not got.top_eigenvalue.converged
    assert got.top_eigenvalue.products == 2


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 1.5, 2, 5])
@pytest.mark.parametrize("margin", [5, 20, 60, 120])
def test_saturated_logits_stay_finite(gamma, margin):
    x, y = torch.eye(5).reshape(5, 1, 1, 5), torch.tensor([0, 1, 2, 3, 0])
    net = nn.Sequential(nn.Flatten(), nn.Linear(5, 5, bias=False))
    net[1].weight.data = margin * torch.eye(5)
    got = estimate(net, focal(gamma), x, y, Settings(estimator="engine"), seed=0)
    assert math.isfinite(got.trace.estimate)
    assert math.isfinite(got.top_eigenvalue.estimate)


def logit_trace(logits, label, gamma):
    """Trace of focal loss's Hessian in the logits of a sample, in 100 digits, by the chain rule."""
    with mpmath.workdps(100):
        powers = [mpmath.e ** mpmath.mpf(z) for z in logits]
        p = [power / sum(powers) for power in powers]
        rest = sum(q for k, q in enumerate(p) if k != label)  # 1 - p without cancellation

        def loss(right):
            return -((1 - right) ** gamma) * mpmath.log(right)

        first, second = (
            (mpmath.diff(loss, p[label], n) for n in (1, 2))
            if gamma
            else (
                -1 / p[label],
                p[label] ** -2,
            )
        )
        slopes = [p[label] * (rest if k == label else -q) for k, q in enumerate(p)]
        bends = [s**2 / p[label] - p[label] * q * (1 - q) for s, q in zip(slopes, p, strict=True)]
        return float(second * sum(s**2 for s in slopes) + first * sum(bends))


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 1.5, 2, 5])
@pytest.mark.parametrize("margin", [5, 20, 60])
@pytest.mark.parametrize("labels", [[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]])
def test_saturated_logits_have_the_exact_trace(gamma, margin, labels):
    """Of a linear network on unit vectors: the mean of the traces in the logits.

    At a margin of 60 the trace is 1e-25: where another class than the label's is that much more
    probable, its 1 - p is below the resolution of float64 and its term is lost.
    """
    x, y = torch.eye(5).reshape(5, 1, 1, 5), torch.tensor(labels)
    net = nn.Sequential(nn.Flatten(), nn.Linear(5, 5, bias=False))
    net[1].weight.data = margin * torch.eye(5)
    rows = (margin * np.eye(5)).tolist()
    want = np.mean([logit_trace(r, k, gamma) for r, k in zip(rows, labels, strict=True)])
    lost = 1e-20 if margin == 60 else 1e-36  # the latter underflows in float32
    for dtype, error in (("float32", 1e-4), ("float64", 1e-6)):
        settings = Settings(estimator="engine", dtype=dtype)
        got = estimate(net, focal(gamma), x, y, settings, seed=0).trace
        assert got.estimate == pytest.approx(want, rel=error, abs=lost), dtype


# --- properties -----------------------------------------------------------------------------


class Scaled(nn.Module):
    def __init__(self, loss, factor):
        super().__init__()
        self.loss, self.factor = loss, factor

    def forward(self, logits, labels):
        return self.factor * self.loss(logits, labels)


@settings(max_examples=10)
@given(factor=strategies.floats(1e-6, 1e6), seed=strategies.integers(0, 2**31))
def test_scaling_the_loss_scales_the_spectrum(factor, seed):
    net, (x, y) = relu_net(), samples()
    one = estimate(net, focal(1), x, y, ENGINE, seed=seed)
    other = estimate(net, Scaled(focal(1), factor), x, y, ENGINE, seed=seed)
    assert other.trace.estimate == pytest.approx(factor * one.trace.estimate, rel=1e-9)
    assert other.top_eigenvalue.estimate == pytest.approx(
        factor * one.top_eigenvalue.estimate, rel=1e-9
    )
    assert other.top_eigenvalue.iterations == one.top_eigenvalue.iterations


@settings(max_examples=10)
@given(order=strategies.permutations(range(24)), batch=strategies.integers(1, 24))
def test_the_order_and_batching_of_samples_change_nothing(order, batch):
    net, (x, y) = relu_net(), samples()
    one = estimate(net, focal(1), x, y, ENGINE, seed=0)
    other = estimate(net, focal(1), x[order], y[order], replace(ENGINE, batch=batch), seed=0)
    assert other.trace.estimate == pytest.approx(one.trace.estimate, rel=1e-10)
    assert other.top_eigenvalue.estimate == pytest.approx(one.top_eigenvalue.estimate, rel=1e-10)


def test_adaptive_sharpness_ignores_relu_rescaling_while_the_trace_does_not():
    net, (x, y) = relu_net(), samples()
    one = estimate(net, focal(1), x, y, ENGINE, seed=0)
    with torch.no_grad():
        net[5].weight *= 8
        net[5].bias *= 8
        net[7].weight /= 8
    other = estimate(net, focal(1), x, y, ENGINE, seed=0)
    assert other.adaptive_sharpness.estimate == pytest.approx(one.adaptive_sharpness.estimate)
    assert other.trace.estimate > 5 * one.trace.estimate


def test_the_caller_is_left_alone_and_the_same_seed_gives_the_same_bits():
    net, (x, y) = tiny_net().train(), samples()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = torch.random.get_rng_state()
    settings = Settings(estimator="engine", frobenius=True, batch=7)
    assert estimate(net, focal(1), x, y, settings, 3) == estimate(net, focal(1), x, y, settings, 3)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(m.training for m in net.modules())
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


# --- density and landscape ------------------------------------------------------------------


def test_density_moments_agree_with_the_trace_and_a_full_rule_with_the_spectrum():
    p = problem()
    h = dense(p)
    got = density(Operator.on(p), generator(), probes=30, steps=69)
    np.testing.assert_allclose(got.weights.sum(1), 1)
    assert abs(got.trace.estimate - h.trace().item()) < 3 * got.trace.stderr
    assert abs(got.square.estimate - h.square().sum().item()) < 3 * got.square.stderr
    ends = torch.linalg.eigvalsh(h)[[0, -1]].tolist()
    used = np.where(got.weights > 1e-12, got.nodes, 0)
    np.testing.assert_allclose([used.min(), used.max()], ends, rtol=1e-8)


def test_the_loss_along_an_eigenvector_has_its_curvature():
    p = problem()
    values, vectors = torch.linalg.eigh(dense(p))
    steps = np.array([-1e-3, 0.0, 1e-3])
    ((low, middle, high),) = losses_along([p], [vectors[:, -1]], [steps])
    assert (low - 2 * middle + high) / 1e-6 == pytest.approx(values[-1].item(), rel=1e-3)
    (surface,) = losses_along([p], [vectors[:, -1], vectors[:, 0]], [steps, np.array([0.0, 0.5])])
    np.testing.assert_allclose(surface[:, 0], [low, middle, high])
    assert surface.shape == (3, 2)


def test_a_random_direction_has_the_filters_own_lengths():
    p = problem()
    for own, part in zip(p.parameters, p.split(random_direction(p, generator())), strict=True):
        if own.ndim > 1:
            torch.testing.assert_close(part.flatten(1).norm(dim=1), own.flatten(1).norm(dim=1))
        else:
            assert not part.any()


# --- peers ----------------------------------------------------------------------------------


def test_agrees_with_pyhessian():
    net, (x, y) = relu_net(), samples()
    ours = estimate(net, focal(1), x, y, Settings(estimator="engine"), seed=0)
    theirs = estimate(net, focal(1), x, y, Settings(probes=400, max_iterations=400), seed=0)
    assert abs(ours.trace.estimate - theirs.trace.estimate) < 3 * theirs.trace.stderr
    assert ours.top_eigenvalue.estimate == pytest.approx(theirs.top_eigenvalue.estimate, rel=1e-3)


class Mean(nn.Module):
    """A loss as curvlinops wants it."""

    reduction = "mean"

    def __init__(self, loss):
        super().__init__()
        self.loss = loss

    def forward(self, logits, labels):
        return self.loss(logits, labels).mean()


@pytest.mark.parametrize("gamma", [0, 1, 2.5])
@pytest.mark.parametrize(
    ("matrix", "peer"),
    [
        ("hessian", curvlinops.HessianLinearOperator),
        ("gauss_newton", curvlinops.GGNLinearOperator),
    ],
)
def test_agrees_with_curvlinops(gamma, matrix, peer):
    net = relu_net().double().eval()
    x, y = samples()
    theirs = peer(net, Mean(focal(gamma)), list(net.parameters()), [(x.double(), y)])
    v = torch.randn(theirs.shape[0], generator=generator(), dtype=torch.float64)
    ours = Operator.on(problem(relu_net(), focal(gamma)), matrix)(v)
    torch.testing.assert_close(ours, theirs @ v, rtol=0, atol=1e-12)


def test_the_result_is_json():
    settings = replace(ENGINE, matrices=("residual",), frobenius=True)
    got = estimate(tiny_net(), focal(1), *samples(), settings, seed=0).to_dict()
    assert json.loads(json.dumps(got, allow_nan=False)) == got
    assert got["estimator"] == "engine"


def test_cross_entropy_module_of_torch_works_as_a_loss():
    class Plain(nn.Module):
        def forward(self, logits, labels):
            return functional.cross_entropy(logits, labels, reduction="none")

    one, other = (
        estimate(relu_net(), loss, *samples(), ENGINE, seed=0) for loss in (Plain(), focal(0))
    )
    assert one == other
