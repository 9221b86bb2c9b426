"""Networks of every kind against exact Hessians in float64, and those that are refused, by name."""

from __future__ import annotations

import copy
import logging
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from curvature_problems import dense, exact_hessian, samples
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

import focal_curvature
from focal_curvature.curvature import (
    Operator,
    Settings,
    UnsupportedError,
    by_sample,
    estimate,
    lanczos,
)
from focal_curvature.curvature import dense as dense_layers
from focal_curvature.curvature import probes as probes_module
from focal_curvature.curvature.engine import estimate_of
from focal_curvature.curvature.probes import Probes
from focal_curvature.curvature.problem import Problem
from focal_curvature.curvature.trace import gauss_newton_trace
from focal_curvature.losses.focal import focal

DOUBLE = torch.float64


# --- networks that are not piecewise linear, or not called with one tensor for another ---------


class Attention(nn.Module):
    """Four tokens of four numbers, by torch's module or by its function."""

    def __init__(self, module):
        super().__init__()
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True) if module else None
        self.mix, self.head = nn.Linear(4, 12), nn.Linear(4, 5)

    def forward(self, x):
        x = x.flatten(2)[:, 0].unflatten(1, (4, 4))
        if self.attend is not None:
            x = x + self.attend(x, x, x, need_weights=False)[0]
        else:
            q, k, v = (t.unflatten(2, (2, 2)).transpose(1, 2) for t in self.mix(x).chunk(3, 2))
            x = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.head(x.mean(1))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(
            4, 2, 4, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.layer(x[:, 0]).mean(1))


class Tied(nn.Module):
    """Words that are predicted by the table that embeds them."""

    def __init__(self):
        super().__init__()
        self.embed, self.read = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.read.weight = self.embed.weight

    def forward(self, words):
        return self.read(self.embed(words).mean(1).tanh())


class Compared(nn.Module):
    """A ReLU network with a layer that is only compared with, so that it has no gradient."""

    def __init__(self):
        super().__init__()
        self.gate, self.body, self.head = nn.Linear(16, 3), nn.Linear(16, 3), nn.Linear(3, 5)

    def forward(self, x):
        x = x.flatten(1)
        return self.head((self.gate(x) > 0) * self.body(x).relu())


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.layer, self.head = kind(4, 3, batch_first=True), nn.Linear(3, 5)

    def forward(self, x):
        return self.head(self.layer(x[:, 0])[0][:, -1])


class Two(nn.Module):
    """Two outputs, for two targets."""

    def __init__(self):
        super().__init__()
        self.body, self.one, self.two = nn.Linear(16, 3), nn.Linear(3, 5), nn.Linear(3, 1)

    def forward(self, x):
        h = self.body(x.flatten(1)).tanh()
        return {"classes": self.one(h), "number": self.two(h)[:, 0]}


class BothLosses(nn.Module):
    def forward(self, out, targets):
        labels, numbers = targets
        squares = (out["number"] - numbers) ** 2
        return F.cross_entropy(out["classes"], labels, reduction="none") + squares


class Keywords(nn.Module):
    """Takes a mapping, and returns one with logits among others."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(16, 5)

    def forward(self, pixels, scale=None, flag=True):
        out = self.net(pixels.flatten(1)).tanh()
        return {"hidden": pixels, "logits": out * scale[:, None] if flag else out}


class Turned(nn.Module):
    """Pairs of numbers turned by complex constants, as rotary embeddings do."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(16, 6), nn.Linear(6, 5)
        self.register_buffer("turn", torch.polar(torch.ones(3), torch.arange(3.0)))

    def forward(self, x):
        pairs = torch.view_as_complex(self.body(x.flatten(1)).tanh().unflatten(1, (3, 2)))
        return self.head(torch.view_as_real(pairs * self.turn).flatten(1).relu())


def images(n=12):
    return samples(n)


def words(n=12):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(5, (n, 4), generator=generator), images(n)[1]


def two_targets(n=12):
    x, y = images(n)
    return x, (y, torch.linspace(-1, 1, n))


def keyword_inputs(n=12):
    x, y = images(n)
    return {"pixels": x, "scale": torch.linspace(0.5, 1.5, n), "flag": True}, y


def conv(*rest):
    return [nn.Conv2d(1, 2, 3, padding=1), *rest, nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Linear(8, 5)]  # fmt: skip


def between(activation):
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3), activation, nn.Linear(3, 5))


ZOO = {
    "gelu": (lambda: between(nn.GELU()), images),
    "softplus": (lambda: between(nn.Softplus()), images),
    "layer norm": (
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(16, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 5)
        ),
        images,
    ),
    "group norm": (lambda: nn.Sequential(*conv(nn.GroupNorm(2, 2), nn.SiLU())), images),
    "instance norm": (lambda: nn.Sequential(*conv(nn.InstanceNorm2d(2, affine=True))), images),
    "attention, module": (lambda: Attention(True), images),
    "attention, function": (lambda: Attention(False), images),
    "encoder layer": (Layer, images),
    "tied embedding": (Tied, words),
    "compared layer": (Compared, images),
    "complex buffer": (Turned, images),
    "lstm": (lambda: Recurrent(nn.LSTM), images),
    "gru": (lambda: Recurrent(nn.GRU), images),
    "weight norm": (
        lambda: nn.Sequential(
            nn.Flatten(), parametrizations.weight_norm(nn.Linear(16, 3)), nn.Tanh(), nn.Linear(3, 5)
        ),
        images,
    ),
    "two outputs": (Two, two_targets),
    "mapping": (Keywords, keyword_inputs),
}  # fmt: skip


def member(name):
    torch.manual_seed(0)
    make, data = ZOO[name]
    return make(), BothLosses() if name == "two outputs" else focal(1), data()


@pytest.mark.parametrize("name", ZOO)
def test_products_and_traces_of_the_zoo_are_those_of_the_exact_hessian(name):
    net, loss, data = member(name)
    exact = exact_hessian(member(name)[0], loss, *data, numerical=True)
    problem = Problem.of(net, loss, data, dtype=DOUBLE, batch=12)
    torch.testing.assert_close(dense(problem), exact, rtol=1e-7, atol=1e-8)
    parts = [dense(problem, matrix) for matrix in ("gauss_newton", "residual")]
    torch.testing.assert_close(sum(parts), exact, rtol=1e-7, atol=1e-8)
    asked = Settings(estimator="engine", dtype="float64", tolerance=1e-6, probes=40)
    got = estimate_of(problem, asked, seed=0)
    assert got.top_eigenvalue.estimate == pytest.approx(
        torch.linalg.eigvalsh(exact)[-1].item(), rel=1e-6
    )
    slack = 4 * got.trace.stderr + 1e-7 * exact.trace().abs().item()
    assert abs(got.trace.estimate - exact.trace().item()) < slack
    total = sum(t.estimate for t in got.layer_traces.values())
    assert total == pytest.approx(got.trace.estimate, rel=1e-9)


def mixed_net():
    """Dense layers of which one has no bias and one no trained weight."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3, bias=False), nn.Tanh(), nn.Linear(3, 5),
                        nn.GELU(), nn.Linear(5, 5))  # fmt: skip
    net[3].weight.requires_grad_(False)
    return net


def test_dense_layers_have_the_exact_traces_by_tensor():
    torch.manual_seed(0)
    problem = Problem.of(mixed_net(), focal(1), images(), dtype=DOUBLE, batch=5)
    assert dense_layers.applies(problem)
    generator = torch.Generator().manual_seed(0)
    theta = torch.cat([p.flatten() for p in problem.parameters])[None]
    diagonal = dense(problem, "gauss_newton").diagonal()[None]
    passes = gauss_newton_trace(problem, generator, budget=5, relative_error=0.01)
    torch.testing.assert_close(passes.layers, problem.blocks(diagonal))
    torch.testing.assert_close(passes.scaled, problem.blocks(theta.square() * diagonal))


class Convolutions(nn.Module):
    """Convolutions, whose kernels share a row and column; and work in place."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(1, 4, 3, padding="same")
        self.two = nn.Conv2d(4, 4, 3, groups=2, bias=False)
        self.three, self.head = nn.Conv1d(4, 3, 2), nn.Linear(3, 5)

    def forward(self, x):
        x = self.one(x).tanh()
        x = self.three(self.two(input=x).flatten(2)).tanh()
        features = x.mean(2)
        out = self.head(features * 1)
        return out + features.mul_(0).sum()


class Bias(nn.Module):
    """A weight that is frozen, a layer of which one parameter is the input, and a scale."""

    def __init__(self):
        super().__init__()
        self.start, self.scale = nn.Parameter(torch.ones(1, 4)), nn.Parameter(torch.ones(16))
        self.first, self.body, self.head = nn.Linear(4, 3), nn.Linear(16, 3), nn.Linear(3, 5)
        self.body.weight.requires_grad_(False)

    def forward(self, x):
        return self.head((self.first(self.start) + self.body(x.flatten(1) * self.scale)).sigmoid())


BY_SAMPLE = {
    **{name: ZOO[name][0] for name in ("gelu", "layer norm", "attention, function",
                                       "encoder layer", "weight norm")},
    "mixed": mixed_net,
    "convolutions": Convolutions,
    "bias": Bias,
}  # fmt: skip


@pytest.mark.parametrize("name", BY_SAMPLE)
def test_traces_by_sample_are_those_of_the_exact_residual_by_tensor(name):
    torch.manual_seed(0)
    problem = Problem.of(BY_SAMPLE[name](), focal(1), images(), dtype=DOUBLE, batch=5)
    exact = problem.blocks(dense(problem, "residual").diagonal()[None])[0].tolist()
    generator = torch.Generator().manual_seed(0)
    asked = {"budget": 300, "relative_error": 1e-9, "offset": 0.0}
    total, layers = by_sample.traces(problem, generator, **asked)
    assert (total.products, total.converged) == (301, False)
    for found, want in zip((total, *layers), (sum(exact), *exact), strict=True):
        assert abs(found.estimate - want) <= 4 * found.stderr + 1e-12


@pytest.mark.parametrize("name", ["gelu", "layer norm"])
def test_standard_errors_by_sample_are_the_spread_over_seeds(name):
    net, loss, data = member(name)
    problem = Problem.of(net, loss, data, dtype=DOUBLE)
    exact = dense(problem, "residual").trace().item()
    found = []
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        total, _ = by_sample.traces(
            problem, generator, budget=80, relative_error=0.01, offset=10 * abs(exact)
        )
        found.append((total.estimate - exact) / total.stderr)
    # The mean of 60 squares of standard normal numbers is within these but for 0.1%.
    assert 0.5 < sum(z * z for z in found) / 60 < 1.7
    assert abs(sum(found) / 60) < 4 / 60**0.5


def test_what_is_known_to_be_zero_has_no_error():
    """A last layer's own residual; and that of a layer on vectors before elementwise functions."""
    torch.manual_seed(0)
    net = between(nn.GELU())
    problem = Problem.of(net, focal(1), images(), dtype=DOUBLE)
    exact = problem.blocks(dense(problem, "residual").diagonal()[None])[0]
    probes = Probes(problem, torch.Generator().manual_seed(0))
    assert list(probes.weights) == [0, 2]
    forms = []
    for x, y, _ in problem.batches():
        forms.append(probes.forms(x, by_sample._slopes(problem, x, y), 3))
    mean = torch.cat(forms).mean(0)
    assert mean.shape == (3, 4)
    torch.testing.assert_close(mean[:, 2:], torch.zeros(3, 2, dtype=DOUBLE))
    problem = Problem.of(net, focal(1), images(), dtype=DOUBLE, parameters=["1.weight"])
    total, _ = by_sample.traces(
        problem, torch.Generator().manual_seed(0), budget=2, relative_error=1e-9, offset=0.0
    )
    assert total.estimate == pytest.approx(float(exact[0]), rel=1e-9)
    assert total.stderr < 1e-6 * abs(total.estimate)


def test_draws_go_where_the_spread_is():
    net, loss, data = member("encoder layer")
    problem = Problem.of(net, loss, data, dtype=DOUBLE)
    strata = [by_sample._Stratum(scale * torch.randn(32, 4, 2, dtype=DOUBLE)) for scale in (1, 9)]
    spread = sum(float(s.variances()[-1]) / s.draws for s in strata) ** 0.5
    one, nine = by_sample._allocated(strata, spread / 1.5, 10**6)
    assert one == 0 < nine
    assert by_sample._allocated(strata, 0.0, 10**6) == [12, 12]
    assert by_sample._allocated(strata, spread / 1.5, 32 * nine // 2) == [0, nine // 2]
    few, _ = by_sample.traces(
        problem, torch.Generator().manual_seed(0), budget=3, relative_error=1e-9, offset=0.0
    )
    assert few.products == 4


@pytest.mark.parametrize("largest", [1, 500])
def test_signs_take_no_more_memory_than_allowed(largest, monkeypatch):
    monkeypatch.setattr(probes_module, "LARGEST", largest)
    net, loss, data = member("encoder layer")
    problem = Problem.of(net, loss, data, dtype=DOUBLE)
    sizes = []
    forms = Probes.forms

    def noted(self, x, slopes, draws):
        sizes.append(len(slopes) * draws)
        return forms(self, x, slopes, draws)

    monkeypatch.setattr(Probes, "forms", noted)
    by_sample.traces(
        problem, torch.Generator().manual_seed(0), budget=4, relative_error=1e-9, offset=0.0
    )
    assert sum(sizes) == 12 * 4
    assert max(sizes) == {1: 1, 500: 3}[largest]


@pytest.mark.parametrize("name", ["layer norm", "group norm", "attention, module", "tied embedding",
                                  "lstm", "weight norm"])  # fmt: skip
def test_other_networks_are_not_taken_for_dense_ones(name):
    net, loss, data = member(name)
    assert not dense_layers.applies(Problem.of(net, loss, data))


class Squares(nn.Module):
    """A dense layer whose weight is read a second time."""

    def __init__(self, how):
        super().__init__()
        self.layer, self.how = nn.Linear(16, 5), how

    def forward(self, x):
        x = self.layer(x.flatten(1))
        if self.how == "norm":
            return x + self.layer.weight.square().sum()
        return x + (self.layer.weight @ x.new_ones(16))


@pytest.mark.parametrize("how", ["norm", "product"])
def test_a_weight_that_is_read_elsewhere_is_not_a_dense_layers_alone(how):
    assert not dense_layers.applies(Problem.of(Squares(how), focal(1), images()))


@pytest.mark.parametrize("name", ["attention, module", "encoder layer", "lstm", "weight norm"])
def test_pyhessian_takes_them_too(name):
    net, loss, data = member(name)
    exact = exact_hessian(member(name)[0], loss, *data, numerical=True)
    got = estimate(net, loss, *data, Settings(probes=60, max_iterations=300, tolerance=1e-3), 0)
    top = torch.linalg.eigvalsh(exact)[-1].item()
    assert got.top_eigenvalue.estimate == pytest.approx(top, rel=1e-3)
    assert abs(got.trace.estimate - exact.trace().item()) < 4 * got.trace.stderr


# --- batch norm is folded only where it may be --------------------------------------------------


class Preactivation(nn.Module):
    """A convolution's output goes to a batch norm and to the sum: He et al. 2016."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.convolution, self.head = nn.Conv2d(2, 2, 3, padding=1), nn.Linear(2, 5)

    def forward(self, x):
        x = self.stem(x)
        return self.head((x + self.convolution(self.norm(x).tanh())).mean((2, 3)))


class Shared(nn.Module):
    """One convolution under two batch norms, on two inputs or on its one output."""

    def __init__(self, calls):
        super().__init__()
        self.convolution, self.calls = nn.Conv2d(1, 2, 3, padding=1), calls
        self.one, self.two, self.head = nn.BatchNorm2d(2), nn.BatchNorm2d(2), nn.Linear(2, 5)

    def forward(self, x):
        y = self.convolution(x)
        z = self.convolution(x * 0.5) if self.calls == 2 else y
        return self.head((self.one(y).tanh() * self.two(z).tanh()).mean((2, 3)))


class Returned(nn.Module):
    """A feature map that is returned as well, and read by the loss."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.head = nn.Linear(2, 5)

    def forward(self, x):
        y = self.convolution(x)
        return self.head(self.norm(y).tanh().mean((2, 3))), y


class OfBoth(nn.Module):
    def forward(self, out, labels):
        return F.cross_entropy(out[0], labels, reduction="none") + out[1].square().mean((1, 2, 3))


class ReadsWeight(nn.Module):
    """A network whose own code reads a layer's weight."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(*conv(nn.BatchNorm2d(2), nn.Tanh()))

    def forward(self, x):
        return self.net(x) + self.net[0].weight.square().sum()


def changed(what):
    net = nn.Sequential(*conv(nn.BatchNorm2d(2), nn.Tanh()))
    if what == "pruned":
        prune.l1_unstructured(net[0], "weight", 0.5)
    elif what == "weight norm":
        parametrizations.weight_norm(net[0])
    elif what == "old weight norm":
        nn.utils.weight_norm(net[0])
    elif what == "spectral norm":
        parametrizations.spectral_norm(net[0])
    elif what == "hook on the convolution":
        net[0].register_forward_hook(lambda module, x, out: out.tanh())
    elif what == "hook on the batch norm":
        net[1].register_forward_pre_hook(lambda module, x: (x[0].tanh(),))
    elif what == "frozen":
        net[1].weight.requires_grad_(False)
    return net


FOLDS = {
    "pre-activation": Preactivation,
    "one output, two batch norms": lambda: Shared(1),
    "two calls, two batch norms": lambda: Shared(2),
    "weight read elsewhere": ReadsWeight,
    **{
        what: lambda what=what: changed(what)
        for what in (
            "nothing", "pruned", "weight norm", "old weight norm", "spectral norm",
            "hook on the convolution", "hook on the batch norm", "frozen",
        )
    },
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
@pytest.mark.parametrize("fresh", [True, False], ids=["fresh statistics", "trained statistics"])
@pytest.mark.parametrize("name", FOLDS)
def test_folding_changes_no_hessian(name, fresh):
    def make():
        torch.manual_seed(0)
        net = FOLDS[name]()
        if not fresh:
            net(torch.randn(32, 1, 4, 4) * 3 + 1)
        return net

    problem = Problem.of(make(), focal(1), images(), dtype=DOUBLE, batch=12)
    names = problem.names
    exact = exact_hessian(make(), focal(1), *images(), names, numerical=True)
    torch.testing.assert_close(dense(problem), exact, rtol=1e-7, atol=1e-8)
    folded = any(isinstance(module, nn.Identity) for module in problem.model.modules())
    assert folded is (name in ("nothing", "frozen"))


def test_a_map_that_is_returned_is_not_folded():
    torch.manual_seed(0)
    net = Returned()
    problem = Problem.of(net, OfBoth(), images(), dtype=DOUBLE, batch=12)
    exact = exact_hessian(net, OfBoth(), *images())
    torch.testing.assert_close(dense(problem), exact, rtol=1e-9, atol=1e-11)


# --- what a curvature of the mean loss supposes -------------------------------------------------


class Noise(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)


class Unseen(nn.Module):
    """Computes a part without gradients."""

    def __init__(self, how):
        super().__init__()
        self.inner, self.how = nn.Linear(16, 5), how

    def forward(self, x):
        if self.how == "no_grad":
            with torch.no_grad():
                return self.inner(x)
        return self.inner(x).detach()


class PartlyUnseen(nn.Module):
    def forward(self, x):
        with torch.no_grad():
            scale = x.tanh()
        return x * scale


def flat(*middle):
    return nn.Sequential(nn.Flatten(), *middle, nn.Linear(5, 5))


@pytest.mark.parametrize("estimator", ["engine", "pyhessian"])
@pytest.mark.parametrize(
    ("net", "message"),
    [
        (lambda: flat(nn.Linear(16, 5), Noise()), r"layer 2 \(Noise\) is random"),
        (lambda: flat(nn.Linear(16, 5), nn.BatchNorm1d(5, track_running_stats=False)),
         r"layer 2 \(BatchNorm1d\) mixes the samples"),
        (lambda: flat(Unseen("no_grad")), r"layer 1\.inner \(Linear\) is computed"),
        (lambda: flat(Unseen("detach")), r"layer 1 \(Unseen\) is computed"),
    ],
)  # fmt: skip
def test_structure_that_is_supposed_is_checked_and_the_layer_named(net, message, estimator):
    torch.manual_seed(0)
    with pytest.raises(UnsupportedError, match=message) as error:
        estimate(net(), focal(1), *images(), Settings(estimator=estimator), 0)
    assert "\n" not in str(error.value)


def test_an_unsymmetric_product_is_noticed():
    torch.manual_seed(0)
    net = flat(nn.Linear(16, 5), PartlyUnseen())
    with pytest.raises(UnsupportedError, match="not symmetric"):
        estimate(net, focal(1), *images(), Settings(estimator="engine"), 0)


def test_a_shuffling_loader_is_noticed():
    data = torch.utils.data.TensorDataset(*images())
    with pytest.raises(UnsupportedError, match="turn shuffling"):
        Operator(
            flat(nn.Linear(16, 5)),
            nn.CrossEntropyLoss(),
            torch.utils.data.DataLoader(data, 4, shuffle=True),
        )(torch.ones(115))


# --- what other libraries stop at ---------------------------------------------------------------


class Unused(nn.Module):
    """Parameters that the loss does not depend on, or only linearly, and frozen ones."""

    def __init__(self):
        super().__init__()
        self.spare = nn.Linear(3, 3)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.Tanh(), nn.Linear(4, 5))
        self.net[3].requires_grad_(False)
        self.shift = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return torch.cat([self.net(x), self.shift.expand(len(x), 1)], 1)


class PlusLast(nn.Module):
    """A loss that is linear in the last output."""

    def forward(self, out, labels):
        return F.cross_entropy(out[:, :-1], labels, reduction="none") + out[:, -1]


@pytest.mark.parametrize("chunk", [1024, 5])
@pytest.mark.parametrize("estimator", ["engine", "pyhessian"])
def test_unused_linear_and_frozen_parameters_have_zero_rows(estimator, chunk):
    torch.manual_seed(0)
    net = Unused()
    asked = Settings(
        estimator=estimator, probes=60, max_iterations=200, chunk=chunk, tolerance=1e-4
    )
    got = estimate(net, PlusLast(), *images(), asked, 0)
    assert got.parameters == sum(p.numel() for p in net.parameters() if p.requires_grad)
    wanted = [name for name, p in net.named_parameters() if p.requires_grad]
    exact = exact_hessian(net, PlusLast(), *images(), names=wanted)
    assert got.top_eigenvalue.estimate == pytest.approx(
        torch.linalg.eigvalsh(exact)[-1].item(), rel=1e-3
    )
    assert abs(got.trace.estimate - exact.trace().item()) < 4 * got.trace.stderr + 1e-4


def test_networks_that_differ_in_frozen_weights_alone_share_no_result():
    def make(factor):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.Tanh(), nn.Linear(4, 5))
        net[1].requires_grad_(False).weight.data.mul_(factor)
        return net

    for factor in (1, 2):
        problem = Problem.of(make(factor), focal(1), images(), dtype=DOUBLE, check=False)
        exact = exact_hessian(make(factor), focal(1), *images(), names=["3.weight", "3.bias"])
        torch.testing.assert_close(dense(problem), exact, rtol=1e-9, atol=1e-11)


class OldSquare(torch.autograd.Function):
    """A function of autograd as most are written: without a forward derivative."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, slope):
        return 2 * slope * ctx.saved_tensors[0]


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        return 2 * slope * ctx.saved_tensors[0]


class Apply(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function.apply(x)


class ReadsANumber(nn.Module):
    def forward(self, x):
        return x.tanh() / (2.0 if x.abs().sum().item() > 0 else 1.0)


def hooked():
    net = flat(nn.Linear(16, 5), nn.Tanh())
    net[1].register_full_backward_hook(lambda module, inward, outward: None)
    return net


@pytest.mark.parametrize(
    "make",
    [
        lambda: flat(nn.Linear(16, 5), Apply(OldSquare)),
        lambda: flat(nn.Linear(16, 5), ReadsANumber()),
        hooked,
    ],
    ids=["custom function", "reads a number", "backward hook"],
)
def test_what_cannot_be_traced_is_differentiated_backwards_twice(make, caplog):
    def net():
        torch.manual_seed(0)
        return make()

    problem = Problem.of(net(), focal(1), images(), dtype=DOUBLE, batch=5)
    exact = exact_hessian(net(), focal(1), *images())
    torch.testing.assert_close(dense(problem), exact, rtol=1e-9, atol=1e-11)
    parts = [dense(problem, matrix) for matrix in ("gauss_newton", "residual")]
    torch.testing.assert_close(sum(parts), exact, rtol=1e-9, atol=1e-11)
    asked = Settings(estimator="engine", dtype="float64", probes=60)
    got = estimate_of(problem, asked, seed=0)
    assert abs(got.trace.estimate - exact.trace().item()) < 4 * got.trace.stderr + 1e-9
    assert all("\n" not in record.message for record in caplog.records)


@pytest.mark.parametrize("estimator", ["engine", "pyhessian"])
def test_a_function_without_a_second_derivative_is_refused_in_a_line(estimator):
    with pytest.raises(UnsupportedError, match=r"not symmetric|differentiated twice") as error:
        estimate(flat(nn.Linear(16, 5), Apply(Once)), focal(1), *images(),
                 Settings(estimator=estimator), 0)  # fmt: skip
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("estimator", ["engine", "pyhessian"])
def test_one_behind_which_no_layer_is_left_is_refused_and_no_zero(estimator):
    """Autograd says nothing there: all products are zeros."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), Apply(Once))
    with pytest.raises(UnsupportedError, match="once_differentiable"):
        estimate(net, focal(1), *images(), Settings(estimator=estimator), 0)


def test_an_optional_pass_that_fails_leaves_pyhessians_answer(caplog):
    torch.manual_seed(0)
    net = Recurrent(nn.LSTM)
    got = estimate(net, focal(1), *images(), Settings(probes=3, max_iterations=3), 0)
    assert got.trace.estimate
    assert got.gauss_newton is got.adaptive_sharpness is got.resolved is None
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "no Gauss-Newton trace" in record.message
    assert "\n" not in record.message


def numbers(got):
    return got.top_eigenvalue, got.trace, got.layer_traces


@pytest.mark.parametrize("estimator", ["engine", "pyhessian"])
@pytest.mark.parametrize(
    "mode", [torch.inference_mode, torch.no_grad, lambda: torch.autocast("cpu")]
)
def test_the_callers_modes_change_nothing(mode, estimator):
    asked = Settings(estimator=estimator, probes=5, max_iterations=5)

    def run():
        torch.manual_seed(0)
        net = flat(nn.Linear(16, 5), nn.Tanh())
        return numbers(estimate(net, focal(1), *images(), asked, 0))

    expected = run()
    with mode():
        assert run() == expected


@pytest.mark.parametrize("estimator", ["engine", "pyhessian"])
@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda net: torch.compile(net, backend="eager")])
def test_wrappers_are_taken_off(wrap, estimator):
    torch.manual_seed(0)
    net, asked = flat(nn.Linear(16, 5), nn.Tanh()), Settings(estimator=estimator, probes=5)
    one, other = (estimate(m, focal(1), *images(), asked, 0) for m in (net, wrap(net)))
    assert numbers(one) == numbers(other)


class Tuple(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.net, self.kind = flat(nn.Linear(16, 5), nn.Tanh()), kind

    def forward(self, x):
        out = self.net(x)
        return (out, x) if self.kind == "tuple" else {"logits": out, "input": x}


def test_models_that_return_more_than_logits():
    torch.manual_seed(0)
    net = Tuple("mapping")
    plain = estimate(net.net, focal(1), *images(), Settings(estimator="engine"), 0)
    found = estimate(net, focal(1), *images(), Settings(estimator="engine"), 0)
    assert found.trace == plain.trace
    net.kind = "tuple"
    with pytest.raises(UnsupportedError, match=r"the loss cannot take outputs .*and targets"):
        estimate(net, focal(1), *images(), Settings(estimator="engine"), 0)
    by_forward = Operator(net, focal(1), images(), forward=lambda m, x: m(x)[0])
    v = by_forward.normal(torch.Generator().manual_seed(0))
    torch.testing.assert_close(by_forward(v), Operator(net.net, focal(1), images())(v))


# --- bad input ----------------------------------------------------------------------------------


X, Y = images()


@pytest.mark.parametrize("estimator", ["engine", "pyhessian"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, Y[:5]), "12 inputs have 5 targets"),
        ((X[:0], Y[:0]), "no samples"),
        ((X, Y + 3), "labels go from .* to .*, but the model's 5 outputs are classes 0 to 4"),
        ((X, Y - 9), "labels go from -"),
        ((X, Y.double()), "the loss cannot take outputs .* and targets .*float64"),
        ((X[:, :, :3], Y), r"the model cannot take the inputs \(\(2, 1, 3, 4\) float32\)"),
        ((X.long(), Y), "the model cannot take the inputs"),
    ],
)
def test_bad_data_is_a_line(arguments, message, estimator):
    with pytest.raises(UnsupportedError, match=message) as error:
        estimate(flat(nn.Linear(16, 5)), focal(1), *arguments, Settings(estimator=estimator), 0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_labels_of_another_integer_type_are_the_same_labels(dtype):
    net, asked = flat(nn.Linear(16, 5)), Settings(estimator="engine")
    one, other = (estimate(net, focal(1), X, y, asked, 0) for y in (Y, Y.to(dtype)))
    assert numbers(one) == numbers(other)


def test_nothing_to_differentiate_is_a_line():
    net = flat(nn.Linear(16, 5)).requires_grad_(False)
    for estimator in ("engine", "pyhessian"):
        with pytest.raises(UnsupportedError, match="no parameter of the model requires a gradient"):
            estimate(net, focal(1), X, Y, Settings(estimator=estimator), 0)


def test_weights_that_are_not_finite_are_named():
    net = flat(nn.Linear(16, 5))
    net[1].bias.data[2] = torch.nan
    with pytest.raises(FloatingPointError, match=r"parameters: first in 1\.bias"):
        Operator(net, focal(1), (X, Y))


@pytest.mark.parametrize("wrap", [lambda *pair: pair, lambda *pair: [pair]])
def test_inputs_that_are_no_numbers_are_refused(wrap):
    x = X.clone()
    x[3, 0, 1, 1] = torch.nan
    with pytest.raises(UnsupportedError, match="not finite in 1 of 12 samples"):
        Operator(flat(nn.Linear(16, 5)), focal(1), wrap(x, Y))


@pytest.mark.parametrize("chunk", [12, 8, 5])
def test_a_loaders_small_batches_are_kept_as_far_as_they_fit(chunk):
    torch.manual_seed(0)
    net = flat(nn.Linear(16, 5))
    loader = [(X[i : i + 2], Y[i : i + 2]) for i in range(0, 12, 2)]
    hessian = Operator(net, focal(1), loader, dtype=DOUBLE, batch=4, chunk=chunk)
    v = hessian.normal(torch.Generator().manual_seed(0))
    first, whole = hessian(v), Operator(net, focal(1), (X, Y), dtype=DOUBLE)(v)
    torch.testing.assert_close(first, whole)
    torch.testing.assert_close(hessian(v), first)
    assert len(hessian._kept) == {12: 6, 8: 2, 5: 0}[chunk]


def test_a_model_that_cannot_be_copied_is_refused():
    net = flat(nn.Linear(16, 5))
    net.generator = (i for i in range(3))
    with pytest.raises(UnsupportedError, match="cannot be copied"):
        Operator(net, focal(1), (X, Y))


def test_complex_parameters_are_refused():
    net = flat(nn.Linear(16, 5))
    net.scale = nn.Parameter(torch.ones(1, dtype=torch.complex64))
    with pytest.raises(UnsupportedError, match="scale is complex"):
        Problem.of(net, focal(1), images())


def test_lazy_layers_are_refused():
    with pytest.raises(UnsupportedError, match="lazy"):
        Operator(nn.Sequential(nn.Flatten(), nn.LazyLinear(5)), focal(1), (X, Y))


# --- the public operator ------------------------------------------------------------------------


def test_an_operator_needs_no_configuration():
    torch.manual_seed(0)
    net = flat(nn.Linear(16, 5), nn.GELU())
    exact = exact_hessian(flat_copy(net), focal(0), X, Y)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), 5)
    v = torch.randn(115, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    for data in ((X, Y), loader, [(X[:7], Y[:7]), (X[7:], Y[7:])]):
        for loss in (focal(0), nn.CrossEntropyLoss(), F.cross_entropy):
            hessian = Operator(net, loss, data, dtype=DOUBLE, chunk=6)
            assert (hessian.size, hessian.dtype, hessian.device.type) == (115, DOUBLE, "cpu")
            torch.testing.assert_close(hessian(v), exact @ v, rtol=1e-9, atol=1e-12)
    top = lanczos(hessian, hessian.normal(torch.Generator().manual_seed(0)), tolerance=1e-8)
    assert top.eigenvalues[0].estimate == pytest.approx(torch.linalg.eigvalsh(exact)[-1].item())


def flat_copy(net):
    twin = flat(nn.Linear(16, 5), nn.GELU())
    twin.load_state_dict(net.state_dict())
    return twin


def test_a_part_of_the_parameters_has_its_block():
    torch.manual_seed(0)
    net = flat(nn.Linear(16, 5), nn.GELU())
    exact = exact_hessian(flat_copy(net), focal(0), X, Y)
    for parameters in (["3"], ["3.bias", "3.weight"], list(net[3].parameters()), "3"):
        block = Operator(net, focal(0), (X, Y), dtype=DOUBLE, parameters=parameters)
        assert block.names == ("3.weight", "3.bias")
        torch.testing.assert_close(dense(block.problem), exact[85:, 85:], rtol=1e-9, atol=1e-12)
    with pytest.raises(UnsupportedError, match=r"'4' is no parameter of the model: 1\.weight"):
        Operator(net, focal(0), (X, Y), parameters=["4"])


def test_regression():
    torch.manual_seed(0)
    net, y = (
        nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Tanh(), nn.Linear(3, 2)),
        X[:, 0, :2, 0],
    )

    class Squares(nn.Module):
        def forward(self, out, y):
            return (out - y).square().mean(1)

    exact = exact_hessian(net, Squares(), X, y.double())
    for loss in (nn.MSELoss(), Squares(), F.mse_loss):
        problem = Problem.of(net, loss, (X, y), dtype=DOUBLE)
        torch.testing.assert_close(dense(problem), exact, rtol=1e-9, atol=1e-12)
    got = estimate_of(Problem.of(net, nn.MSELoss(), (X, y)), Settings(estimator="engine"), 0)
    assert got.resolved


@pytest.mark.parametrize("how", [(1,), (-1,), ()])
@pytest.mark.parametrize("loss", [nn.MSELoss(), F.mse_loss])
def test_outputs_that_are_one_number_a_sample(loss, how):
    """`squeeze` without a dimension takes a single sample's row as well."""
    torch.manual_seed(0)
    net = flat(nn.Linear(16, 5), nn.ReLU())
    net[-1] = nn.Linear(5, 1)
    numbers = torch.linspace(-1, 1, len(X))
    exact = exact_hessian(copy.deepcopy(net), nn.MSELoss(), X, numbers[:, None])

    class Squeezed(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x).squeeze(*how)

    loader = [(X[:11], numbers[:11]), (X[11:], numbers[11:])]
    for data in ((X, numbers), loader):
        problem = Problem.of(Squeezed(), loss, data, dtype=DOUBLE)
        torch.testing.assert_close(dense(problem), exact, rtol=1e-9, atol=1e-12)
        got = estimate_of(problem, Settings(estimator="engine", dtype="float64"), 0)
        slack = 4 * got.trace.stderr + 1e-9
        assert abs(got.trace.estimate - exact.trace().item()) < slack


def test_a_mean_of_batches_is_one_over_samples():
    net = flat(nn.Linear(16, 5), nn.LogSoftmax(1))
    shares = torch.rand(len(X), 5, generator=torch.Generator().manual_seed(0)).softmax(1)
    loss = nn.KLDivLoss(reduction="batchmean")
    exact = exact_hessian(copy.deepcopy(net), loss, X, shares)
    problem = Problem.of(net, loss, (X, shares), dtype=DOUBLE)
    torch.testing.assert_close(dense(problem), exact, rtol=1e-9, atol=1e-12)


class Words(nn.Module):
    """Eight words of three numbers each, the second of which may be padding."""

    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.read = nn.Embedding(8, 3, **options), nn.Linear(3, 5)
        nn.init.normal_(self.embed.weight)

    def forward(self, x):
        return self.read(self.embed(x).mean(1).tanh())


@pytest.mark.parametrize("estimator", ["engine", "pyhessian"])
@pytest.mark.parametrize(
    ("options", "untrained"),
    [({"padding_idx": 1}, [1]), ({"padding_idx": -7}, [1]), ({"scale_grad_by_freq": True}, [])],
)
def test_embeddings_have_the_derivatives_of_what_they_compute(options, untrained, estimator):
    exact = exact_hessian(Words(), focal(1), *words(), numerical=True)
    for row in untrained:
        exact[3 * row : 3 * row + 3] = exact[:, 3 * row : 3 * row + 3] = 0
    problem = Problem.of(Words(**options), focal(1), words(), dtype=DOUBLE)
    torch.testing.assert_close(dense(problem), exact, rtol=1e-7, atol=1e-8)
    asked = Settings(estimator=estimator, tolerance=1e-4, probes=60, max_iterations=200)
    got = estimate(Words(**options), focal(1), *words(), asked, 0)
    assert got.top_eigenvalue.estimate == pytest.approx(
        torch.linalg.eigvalsh(exact)[-1].item(), rel=1e-3
    )
    assert abs(got.trace.estimate - exact.trace().item()) < 4 * got.trace.stderr + 1e-4


def test_an_embedding_that_changes_its_weights_is_refused():
    with pytest.raises(UnsupportedError, match=r"layer embed \(Embedding\): max_norm"):
        Problem.of(Words(max_norm=1.0), focal(1), words())


# Of which the first two samples do not tell.
LATE = torch.cat([Y[:9], torch.tensor([0, 0, 0])])
ALIKE = Y.sort().values


@pytest.mark.parametrize(
    ("loss", "labels", "message"),
    [
        (nn.CrossEntropyLoss(ignore_index=0), LATE, "leaves targets of 0 out"),
        (nn.CrossEntropyLoss(), LATE.where(LATE > 0, -100), "leaves targets of -100 out"),
        (partial(F.cross_entropy, weight=torch.rand(5).double()), ALIKE, "not the mean of its"),
        (partial(F.cross_entropy, ignore_index=0), LATE, "not the mean of its"),
    ],
)
def test_means_that_are_none_over_samples_are_refused(loss, labels, message):
    for data in ((X, labels), [(X[:8], labels[:8]), (X[8:], labels[8:])]):
        with pytest.raises(UnsupportedError, match=message):
            Problem.of(flat(nn.Linear(16, 5)), loss, data)


def test_targets_that_a_loss_leaves_out_have_none():
    net = flat(nn.Linear(16, 5))
    loss = nn.CrossEntropyLoss(reduction="none", ignore_index=0)
    exact = exact_hessian(copy.deepcopy(net), loss, X, LATE)
    problem = Problem.of(net, loss, (X, LATE), dtype=DOUBLE)
    torch.testing.assert_close(dense(problem), exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (nn.CrossEntropyLoss(reduction="sum"), "reduces by sum"),
        (nn.CrossEntropyLoss(torch.rand(5)), "class weights"),
        (lambda out, y: F.cross_entropy(out, y, reduction="sum"), "not the mean of its"),
        (lambda out, y: out.sum(0), "a row per sample, or a mean"),
        (lambda out, y: 0.0, "returns a float"),
    ],
)
def test_losses_that_are_no_mean_over_samples_are_refused(loss, message):
    with pytest.raises(UnsupportedError, match=message):
        Operator(flat(nn.Linear(16, 5)), loss, (X, Y))


def test_data_that_can_be_read_only_once_are_refused():
    with pytest.raises(UnsupportedError, match="only once"):
        Operator(flat(nn.Linear(16, 5)), focal(0), ((X, Y) for _ in range(3)))


def test_the_library_imports_torch_and_numpy_alone():
    code = (
        "import sys, numpy, torch; known = set(sys.modules); import focal_curvature.curvature;"
        "print(*set(sys.modules) - known - set(sys.stdlib_module_names))"
    )
    source = str(Path(focal_curvature.__file__).parents[1])
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=True,
    )
    leaves = {"focal_curvature", "focal_curvature.kernels", "focal_curvature.memory"}
    below = ("focal_curvature.curvature", "focal_curvature.settings", "torch.", "numpy.")
    assert not [n for n in set(found.stdout.split()) - leaves if not n.startswith(below)]


# --- numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ["engine", "pyhessian"])
@pytest.mark.parametrize("gamma", [0, 2])
def test_probabilities_next_to_one_keep_their_digits(gamma, estimator):
    """1 - p is 8e-9 here, below float32's resolution of one, which halves the eigenvalue."""
    x, y = torch.eye(5).reshape(5, 1, 1, 5), torch.arange(5)
    net = nn.Sequential(nn.Flatten(), nn.Linear(5, 5, bias=False))
    net[1].weight.data = 20 * torch.eye(5)
    asked = Settings(estimator=estimator, probes=400, max_iterations=400, tolerance=1e-4)
    got = estimate(net, focal(gamma), x, y, asked, 0)
    exact = exact_hessian(net, focal(gamma), x, y)
    want = torch.linalg.eigvalsh(exact)[-1].item()
    assert got.top_eigenvalue.estimate == pytest.approx(want, rel=1e-3)
    slack = 4 * got.trace.stderr + 1e-4 * exact.trace().item()
    assert abs(got.trace.estimate - exact.trace().item()) < slack
    assert got.resolved is True


@pytest.mark.parametrize("margin", [5, 20, 60, 2000])
def test_what_float64_does_not_resolve_is_said(margin):
    x, y = torch.eye(5).reshape(5, 1, 1, 5), torch.arange(5)
    net = nn.Sequential(nn.Flatten(), nn.Linear(5, 5, bias=False))
    net[1].weight.data = margin * torch.eye(5)
    assert estimate(net, focal(0), x, y, Settings(estimator="engine"), 0).resolved is (margin < 30)


def test_memory_of_the_gauss_newton_pass_is_that_of_a_batch(monkeypatch):
    from focal_curvature.curvature import trace

    torch.manual_seed(0)
    problem = Problem.of(flat(nn.Linear(16, 5)), focal(1), images(), dtype=DOUBLE, batch=4)
    whole = trace.gauss_newton_trace(problem, None, budget=9, relative_error=0.01)
    most = []
    hessians = trace._Roots._roots
    monkeypatch.setattr(
        trace._Roots, "_roots",
        lambda self, x, y, w: most.append(len(w)) or hessians(self, x, y, w),
    )  # fmt: skip
    monkeypatch.setattr(trace, "LARGEST", 2 * 5**2)
    parts = trace.gauss_newton_trace(problem, None, budget=9, relative_error=0.01)
    torch.testing.assert_close(parts.layers, whole.layers)
    assert max(most) == 1  # of 115 parameters, there is room for one sample
    assert len(most) == 2 * 12  # twice, since they are not kept
