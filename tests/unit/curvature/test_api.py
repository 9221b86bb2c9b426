"""One call on a model and a loader, against exact Hessians; nothing changed; mistakes told."""

from __future__ import annotations

import copy
import json
import os
import random
import subprocess
import sys
import warnings
from importlib.metadata import requires
from pathlib import Path

import numpy as np
import pytest
import torch
from curvature_problems import exact_hessian, samples, tiny_net
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from focal_curvature import curvature, focal
from focal_curvature.curvature.samples import Samples

SOURCE = Path(__file__).parents[3] / "src"


def batches(size=10, n=24):
    return DataLoader(TensorDataset(*samples(n)), batch_size=size)


def exactly(model, loader, *args, **options):
    """Measure with products to rounding."""
    model.eval()
    return curvature(model, loader, *args, dtype="float64", tolerance=1e-9, **options)


def test_a_model_that_changes_its_inputs_in_place_gets_copies():
    def net(in_place):
        torch.manual_seed(0)
        return nn.Sequential(nn.ReLU(in_place), nn.Flatten(), nn.Linear(16, 5))

    for data in (samples(), list(batches())):
        before = copy.deepcopy(data)
        one, other = (exactly(net(how), data, batch=7) for how in (True, False))
        assert one.record == other.record
        for mine, theirs in zip(data, before, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("size", [1, 7, 8, 24, 30])
def test_batches_are_views_but_for_what_fills_up_the_last(size, padded):
    x, y = samples(24)
    held = Samples(x, y, torch.float32, torch.device("cpu"))
    made = list(held.batches(size, padded=padded))
    assert sum(len(w) for *_, w in made) == (-(-24 // size) * size if padded else 24)
    assert torch.cat([w for *_, w in made])[:24].tolist() == [1 / 24] * 24
    assert torch.equal(torch.cat([part for part, *_ in made])[:24], held.inputs)
    assert torch.equal(torch.cat([part for _, part, _ in made])[:24], held.targets)
    own = held.inputs.untyped_storage().data_ptr()
    for part, _, w in made:
        assert part[w == 0].eq(x[-1]).all()
        assert (part.untyped_storage().data_ptr() == own) == bool((w > 0).all())


def test_a_loader_gives_the_exact_eigenpairs_and_the_exact_matrix_s_trace():
    exact = exact_hessian(tiny_net(), focal(2), *samples())
    result = exactly(tiny_net(), batches(), focal(2.0), k=3, probes=60)
    values, vectors = torch.linalg.eigh(exact)
    torch.testing.assert_close(
        torch.tensor([v.estimate for v in result.eigenvalues], dtype=torch.float64),
        values.flip(0)[:3],
    )
    assert result.top_eigenvalue is result.eigenvalues[0]
    for i, vector in enumerate(result.eigenvectors, 1):
        flat = torch.cat([part.flatten() for part in vector.values()])
        assert abs(flat @ vectors[:, -i]) == pytest.approx(1, abs=1e-6)
    assert list(result.eigenvectors[0]) == [name for name, _ in tiny_net().named_parameters()]
    assert abs(result.trace.estimate - exact.trace()) < 4 * result.trace.stderr
    assert list(result.layers) == list(result.eigenvectors[0])
    total = sum(part.estimate for part in result.layers.values())
    assert total == pytest.approx(result.trace.estimate)


def test_the_density_is_of_the_same_matrix():
    exact = exact_hessian(tiny_net(), focal(2), *samples())
    density = exactly(tiny_net(), batches(), focal(2.0)).density(probes=2, steps=69)
    for nodes in density.nodes:
        assert nodes.max() == pytest.approx(float(torch.linalg.eigvalsh(exact)[-1]))


def flat(model):
    return torch.cat([p.detach().double().flatten() for p in model.parameters()])


def hessian_of(model, value):
    """Exact Hessian of value(model's twin) in the parameters that require a gradient."""
    model = copy.deepcopy(model).double().eval()
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    start = torch.cat([p.detach().flatten() for p in named.values()])

    def function(theta):
        parts = theta.split([p.numel() for p in named.values()])
        new = {n: t.view_as(p) for (n, p), t in zip(named.items(), parts, strict=True)}
        return value(lambda *a, **k: torch.func.functional_call(model, new, a, k))

    return torch.autograd.functional.hessian(function, start)


def top(matrix):
    return float(torch.linalg.eigvalsh(matrix)[-1])


class Named(nn.Module):
    """Takes a mapping of tokens and a mask; gives a mapping with logits; weights are tied."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens, mask):
        mean = (self.embedding(tokens) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return {"logits": self.head(torch.tanh(mean))}


def test_a_mapping_goes_in_and_logits_come_out_of_tied_weights():
    torch.manual_seed(0)
    model = Named()
    tokens, mask = torch.randint(7, (12, 5)), (torch.rand(12, 5) > 0.3).float() + 0.1
    labels = torch.randint(7, (12,))
    loader = [
        ({"tokens": tokens[i : i + 5], "mask": mask[i : i + 5]}, labels[i : i + 5])
        for i in (0, 5, 10)
    ]
    result = exactly(model, loader)
    exact = hessian_of(
        model, lambda call: F.cross_entropy(call(tokens, mask.double())["logits"], labels)
    )
    assert result.top_eigenvalue.estimate == pytest.approx(top(exact))
    assert list(result.layers) == ["embedding.weight"]


def test_forward_calls_the_model_otherwise():
    torch.manual_seed(0)
    model, (x, y) = nn.Bilinear(3, 3, 2), (torch.randn(9, 3), torch.randint(2, (9,)))
    both = exactly(model, [((x, 2 * x), y)])
    once = exactly(model, [(x, y)], forward=lambda model, x: model(x, 2 * x))
    assert both.top_eigenvalue == once.top_eigenvalue


@pytest.mark.parametrize("loss", ["mse", nn.MSELoss(), lambda o, t: ((o - t) ** 2).mean()])
def test_regression(loss):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    x, y = torch.randn(11, 3), torch.randn(11, 2)
    result = exactly(model, [(x[:6], y[:6]), (x[6:], y[6:])], loss)
    exact = hessian_of(model, lambda call: F.mse_loss(call(x.double()), y.double()))
    assert result.top_eigenvalue.estimate == pytest.approx(top(exact))


def test_parts_of_the_parameters_and_frozen_ones():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    x, y = torch.randn(11, 3), torch.randint(2, (11,))
    part = exactly(model, [(x, y)], parameters=["2"])
    assert list(part.layers) == ["2.weight", "2.bias"]
    assert all(p.requires_grad for p in model.parameters())
    model[0].requires_grad_(False)
    frozen = exactly(model, [(x, y)])
    exact = hessian_of(model, lambda call: F.cross_entropy(call(x.double()), y))
    assert frozen.top_eigenvalue.estimate == pytest.approx(top(exact))
    assert frozen.top_eigenvalue.estimate == part.top_eigenvalue.estimate
    with torch.no_grad():  # another network of the same structure
        model[0].weight.mul_(3)
    moved = exactly(model, [(x, y)])
    exact = hessian_of(model, lambda call: F.cross_entropy(call(x.double()), y))
    assert moved.top_eigenvalue.estimate == pytest.approx(top(exact))


def test_half_precision_weights_are_measured_in_float32():
    model = tiny_net().bfloat16()
    result = curvature(model.eval(), batches(), focal(2.0))
    rounded = tiny_net().bfloat16().float()
    assert result.record.dtype == "float32"
    exact = top(exact_hessian(rounded, focal(2), *samples()))
    assert result.top_eigenvalue.estimate == pytest.approx(exact, rel=1e-3)
    assert next(model.parameters()).dtype == torch.bfloat16


def test_chunks_change_nothing_but_rounding():
    whole = exactly(tiny_net(), batches(), focal(2.0))
    parts = exactly(tiny_net(), batches(5), focal(2.0), chunk=6, batch=3)
    assert parts.top_eigenvalue.estimate == pytest.approx(whole.top_eigenvalue.estimate)
    assert parts.record.samples == 24


def test_the_whole_data_set_is_never_held(monkeypatch):
    """At any time, at most the batch that is read and those kept within a chunk are alive."""
    import weakref

    alive = weakref.WeakSet()
    most = 0

    class Reader:
        def __iter__(self):
            nonlocal most
            for i in range(12):
                x = torch.full((2, 3), float(i))
                alive.add(x)
                most = max(most, len(alive))
                yield x, torch.tensor([0, 1])

    exactly(nn.Linear(3, 2), Reader(), chunk=4, batch=2)
    assert 1 <= most <= 4


def test_nothing_of_the_caller_s_changes():
    model = tiny_net()  # batch norm, dropout; in training mode
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = copy.deepcopy(model.state_dict()), model[0].weight.grad.clone()
    generator = torch.Generator().manual_seed(3)
    loader = DataLoader(TensorDataset(*samples()), batch_size=10, generator=generator)
    states = torch.get_rng_state(), random.getstate(), generator.get_state()
    legacy = np.random.get_state()[1].copy()
    with pytest.warns(UserWarning, match="training mode"):
        curvature(model, loader, focal(2.0)).density(probes=2, steps=3)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert torch.equal(states[2], generator.get_state())
    assert (legacy == np.random.get_state()[1]).all()
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(
        before[0].values(), model.state_dict().values(), strict=True))  # fmt: skip
    assert torch.equal(before[1], model[0].weight.grad)
    assert model[6].weight.grad is None


def test_a_model_without_modes_may_be_in_training_mode():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        curvature(nn.Linear(3, 2), [(torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))])


def test_the_same_seed_gives_the_same_bits_and_a_record_for_json():
    one, two = (exactly(tiny_net(), batches(), focal(2.0)) for _ in range(2))
    assert one.eigenvalues == two.eigenvalues
    assert one.trace == two.trace
    record = json.loads(json.dumps(one.to_dict()))
    assert record["top_eigenvalue"]["estimate"] == one.top_eigenvalue.estimate
    assert "eigenvectors" not in record
    assert "eigenvalue 1" in str(one)


def test_progress_is_shown_where_it_is_wanted_alone(capsys):
    curvature(tiny_net().eval(), batches(), focal(2.0), progress=True)
    assert "curvature" in capsys.readouterr().err
    curvature(tiny_net().eval(), batches(), focal(2.0))
    assert capsys.readouterr().err == ""


# --- bad input ------------------------------------------------------------------------------


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 2)

    def forward(self, x):
        return self.inner(x) + torch.rand(())


def linear(**changes):
    model = nn.Linear(3, 2)
    for name, value in changes.items():
        with torch.no_grad():
            getattr(model, name).fill_(value)
    return model


X, Y = torch.arange(12.0).view(4, 3), torch.tensor([0, 1, 1, 0])
SHUFFLED = DataLoader(TensorDataset(torch.randn(64, 3), torch.randint(2, (64,))), 8, shuffle=True)


class Augmented(TensorDataset):
    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + torch.rand(()), y


BAD = {
    "wrong shape": ((linear(), [(X[:, :2], Y)]), ("(2, 2)", "mat1")),
    "wrong shape within": (
        (nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(4, 2))), [(X, Y)]),
        ("1.0",),
    ),
    "empty": ((linear(), []), ("no samples",)),
    "read once": ((linear(), iter([(X, Y)])), ("only once",)),
    "no pairs": ((linear(), [X]), ("pairs",)),
    "lengths": ((linear(), [(X, Y[:3])]), ("4", "3")),
    "labels too large": ((linear(), [(X, Y + 1)]), ("labels", "2", "0 to 1")),
    "labels negative": ((linear(), [(X, Y - 1)]), ("labels", "-1")),
    "NaN in data": ((linear(), [(X, Y), (X / 0, Y)]), ("batch 1", "not finite")),
    "NaN in weights": ((linear(weight=torch.nan), [(X, Y)]), ("weight", "non-finite")),
    "shuffled": ((linear(), SHUFFLED), ("shuffling",)),
    "augmented": ((linear(), DataLoader(Augmented(X, Y), 2)), ("augmentation",)),
    "random": ((Noisy(), [(X, Y)]), ("random",)),
    "unknown loss": ((linear(), [(X, Y)], "hinge"), ("hinge", "cross_entropy")),
    "loss that sums": ((linear(), [(X, Y)], nn.CrossEntropyLoss(reduction="sum")), ("sum",)),
    "loss of other targets": ((linear(), [(X, Y)], "mse"), ("loss",)),
    "class of a loss": ((linear(), [(X, Y)], nn.CrossEntropyLoss), ("class", "CrossEntropyLoss()")),
    "weights alone": ((linear().state_dict(), [(X, Y)]), ("OrderedDict", "nn.Module")),
    "data set": ((linear(), TensorDataset(X, Y)), ("TensorDataset", "DataLoader")),
    "scripted": ((torch.jit.script(linear()), [(X, Y)]), ("TorchScript",)),
    "nothing trained": ((linear().requires_grad_(False), [(X, Y)]), ("gradient",)),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_in_a_line(case):
    arguments, words = BAD[case]
    with pytest.raises((ValueError, FloatingPointError)) as raised:
        curvature(*arguments)
    told = str(raised.value)
    assert "\n" not in told
    for word in words:
        assert word in told


@pytest.mark.parametrize(
    ("option", "value"), [("k", 0), ("dtype", "float16"), ("probes", 1), ("parameters", ["nine"])]
)
def test_bad_options_are_told_by_name(option, value):
    with pytest.raises(ValueError, match=f"{option if option != 'k' else 'k'}|{value}"):
        curvature(linear(), [(X, Y)], **{option: value})


# --- what it needs --------------------------------------------------------------------------

ALONE = """
import sys, importlib, pkgutil
import numpy, torch
import torch._dynamo, torch.fx  # torch imports these when they are first used
allowed = {name.partition(".")[0] for name in sys.modules} | set(sys.stdlib_module_names)
allowed |= {"focal_curvature", *sys.argv[1:]}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(f"the core imports {name}", name=name.partition(".")[0])

sys.meta_path.insert(0, Refuse())
import focal_curvature, focal_curvature.curvature
for module in pkgutil.iter_modules(focal_curvature.curvature.__path__):
    if module.name != "pyhessian_adapter":
        importlib.import_module(f"focal_curvature.curvature.{module.name}")
from focal_curvature import curvature, focal
x, y = torch.randn(8, 3), torch.randint(2, (8,))
print(curvature(torch.nn.Linear(3, 2), [(x, y)], focal(2.0)))
"""


def test_the_core_needs_torch_and_numpy_alone():
    beside = [name.partition(";")[0].split("[")[0].split(">")[0].split("=")[0].strip()
              for name in requires("torch") if "extra" not in name]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *(name.replace("-", "_") for name in beside)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "trace by layer" in done.stdout


def test_the_package_is_typed_and_its_function_shows_its_parameters():
    import inspect

    import focal_curvature.curvature as package

    assert (Path(package.__file__).parents[1] / "py.typed").is_file()
    assert package is curvature
    assert list(inspect.signature(curvature).parameters)[:3] == ["model", "loader", "loss"]
