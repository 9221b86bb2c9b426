"""Gradients of penalties against finite differences and exact traces; SAM against closed forms."""

import copy

import pytest
import torch
from scipy.linalg import hadamard
from torch import nn
from torch.func import functional_call, vmap
from torch.func import hessian as hessian_of
from torch.nn import functional as F

from focal_curvature.losses.focal import focal
from focal_curvature.models.small_cnn import small_cnn
from focal_curvature.models.small_resnet import small_resnet
from focal_curvature.regularisers import gauss_newton_trace as gauss_newton
from focal_curvature.regularisers import hessian_trace as hessian
from focal_curvature.regularisers.normalisation import thrice_differentiable
from focal_curvature.regularisers.sam import sam
from focal_curvature.stack import Stack

CROSS_ENTROPY = focal(0)
KINDS = {"hessian": hessian, "gauss_newton": gauss_newton}
FACTORIES = {"hessian": hessian.hessian_trace, "gauss_newton": gauss_newton.gauss_newton_trace}


@pytest.fixture
def problem():
    """A smooth net with batch norm in training mode, where the two matrices differ."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)).double()
    return model, torch.randn(6, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def flat(tensors):
    return torch.cat([t.detach().flatten() for t in tensors])


def estimated(kind, problem, seed=0, reduction="mean", loss=CROSS_ENTROPY):
    """One estimate, with its graph."""
    model, inputs, labels = problem
    with thrice_differentiable():
        logits = model(inputs)
    total = getattr(loss(logits, labels), reduction)()
    parameters = list(model.parameters())
    rest = (total, logits, parameters, reduction, [generator(seed)])
    return KINDS[kind].estimates(loss, *rest)[0]


def exact(kind, problem, loss=CROSS_ENTROPY):
    """The trace from the full matrix, differentiable in the parameters."""
    model, inputs, labels = problem
    named = dict(model.named_parameters())

    def logits(*values):
        with thrice_differentiable():
            return functional_call(model, dict(zip(named, values, strict=True)), (inputs,))

    values = tuple(named.values())
    if kind == "hessian":
        matrix = torch.autograd.functional.hessian(
            lambda *v: loss(logits(*v), labels).mean(), values, create_graph=True
        )
        return sum(
            block[i].reshape(p.numel(), p.numel()).trace()
            for i, (block, p) in enumerate(zip(matrix, values, strict=True))
        )
    jacobian = torch.autograd.functional.jacobian(logits, values, create_graph=True)
    columns = torch.cat([part.flatten(2) for part in jacobian], 2)  # (N, K, P)
    of_sample = hessian_of(lambda z, y: loss(z[None], y[None]).sum())
    blocks = vmap(of_sample)(model(inputs), labels)
    return torch.einsum("nkp,nkl,nlp->", columns, blocks, columns) / len(labels)


@pytest.fixture
def images():
    torch.manual_seed(0)
    return torch.rand(8, 1, 8, 8, dtype=torch.float64), torch.arange(8)


class Tokens(nn.Module):
    """Attention between layer norms, as in a transformer."""

    def __init__(self):
        super().__init__()
        self.norm, self.attend = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = self.norm(x[:, 0])
        return self.head(self.attend(x, x, x, need_weights=False)[0].mean(1))


@pytest.fixture(params=["smooth", "cnn", "resnet", "tokens", "group norm"])
def any_problem(request, problem, images):
    if request.param == "smooth":
        return problem
    torch.manual_seed(1)
    if request.param == "tokens":
        return Tokens().double(), *images
    if request.param == "group norm":
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.GELU(), nn.Flatten(),
                            nn.Linear(144, 10))  # fmt: skip
        return net.double(), *images
    factory = {"cnn": small_cnn, "resnet": small_resnet}[request.param]
    torch.manual_seed(1)
    return factory(10, 1, 8, width=2).double(), *images


@pytest.mark.parametrize("loss", [CROSS_ENTROPY, focal(2)], ids=["cross-entropy", "focal"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_penaltys_gradient_is_that_of_its_finite_differences(kind, loss, any_problem):
    """In training mode, where torch's own batch norm fails; steps too short to cross a kink."""
    model = any_problem[0]
    gradient = flat(
        torch.autograd.grad(estimated(kind, any_problem, loss=loss), model.parameters())
    )
    assert gradient.norm() > 0.01
    start = nn.utils.parameters_to_vector(model.parameters()).detach()
    step = 1e-6
    for direction in torch.randn(3, len(start), generator=generator(), dtype=torch.float64):
        ends = []
        for sign in (1, -1):
            nn.utils.vector_to_parameters(start + sign * step * direction, model.parameters())
            ends.append(estimated(kind, any_problem, loss=loss).item())
        nn.utils.vector_to_parameters(start, model.parameters())
        room = 1e-6 * float(gradient.norm())
        expected = pytest.approx(float(direction @ gradient), rel=1e-5, abs=room)
        assert (ends[0] - ends[1]) / (2 * step) == expected


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 2, 2)])
def test_composed_batch_norm_is_torchs_and_leaves_the_same_statistics(shape):
    inputs = torch.randn(shape, generator=generator(), dtype=torch.float64)
    kind = nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
    one, two = kind(3).double(), kind(3).double()
    with thrice_differentiable():
        found = one(inputs)
    torch.testing.assert_close(found, two(inputs))
    torch.testing.assert_close(dict(one.named_buffers()), dict(two.named_buffers()))
    evaluated = one.eval()(inputs)
    with thrice_differentiable():
        assert torch.equal(one(inputs), evaluated)


NORMS = {
    "layer": (lambda: nn.LayerNorm((2, 2)), (5, 4, 2, 2)),
    "group": (lambda: nn.GroupNorm(2, 4), (5, 4, 2, 2)),
    "instance": (lambda: nn.InstanceNorm2d(4, affine=True), (5, 4, 2, 2)),
    "plain": (lambda: nn.LayerNorm(3, elementwise_affine=False), (5, 3)),
}


@pytest.mark.parametrize("name", NORMS)
def test_other_composed_normalisations_are_torchs(name):
    make, shape = NORMS[name]
    norm = make().double()
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    inputs = torch.randn(shape, generator=generator(), dtype=torch.float64)
    with thrice_differentiable():
        found = norm(inputs)
    torch.testing.assert_close(found, norm(inputs))


def value_and_gradient(value, problem):
    gradient = torch.autograd.grad(value, list(problem[0].parameters()))
    return torch.cat([value.detach()[None], flat(gradient)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", [CROSS_ENTROPY, focal(2)], ids=["cross-entropy", "focal"])
def test_orthogonal_signs_give_the_exact_trace_and_its_gradient(kind, loss, problem, monkeypatch):
    """The average of vv' over a Hadamard matrix's rows is the identity, without any noise."""
    rows = iter(torch.tensor(hadamard(64), dtype=torch.float64))
    samples = []
    for row in rows:
        left = row.clone()

        def next_signs(like, _):
            nonlocal left
            mine, left = left[: like.numel()], left[like.numel() :]
            return mine.view_as(like)

        monkeypatch.setattr(KINDS[kind], "random_signs", next_signs)
        samples.append(value_and_gradient(estimated(kind, problem, loss=loss), problem))
    found = torch.stack(samples).mean(0)
    truth = value_and_gradient(exact(kind, problem, loss), problem)
    assert truth[1:].norm() > 0.01
    torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_estimate_and_gradient_are_unbiased(kind, problem):
    truth = value_and_gradient(exact(kind, problem), problem)
    samples = torch.stack(
        [value_and_gradient(estimated(kind, problem, seed), problem) for seed in range(200)]
    )
    directions = torch.stack([torch.eye(len(truth), dtype=torch.float64)[0], truth])
    apart = directions @ (samples.mean(0) - truth)
    stderr = (samples @ directions.T).std(0) / len(samples) ** 0.5
    assert (apart.abs() < 3 * stderr).all()
    assert (stderr < directions @ truth).all()


def test_the_two_traces_differ_by_the_residual(problem):
    assert abs(exact("hessian", problem) - exact("gauss_newton", problem)) > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_a_summed_loss_has_the_trace_of_its_sum(kind, problem):
    mean, summed = (estimated(kind, problem, reduction=r).item() for r in ("mean", "sum"))
    assert summed == pytest.approx(6 * mean)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saturated_net_has_finite_gradients(kind, problem):
    model, inputs, _ = problem
    with torch.no_grad():
        model[-1].weight.mul_(1e4)
    labels = model(inputs).argmax(1)
    gradient = torch.autograd.grad(estimated(kind, (model, inputs, labels)), model.parameters())
    assert all(g.isfinite().all() for g in gradient)


def step_of(regulariser, model, loss, inputs, labels, draws=None, step=0):
    """Take a step of one network by itself."""
    rest = ("mean", [draws], step)
    return regulariser(Stack([model]), loss, inputs[:, None], labels[None], *rest)


def gradient_of(regulariser, problem, step=0, seed=0):
    model, inputs, labels = problem
    model.zero_grad()
    found = step_of(regulariser, model, CROSS_ENTROPY, inputs, labels, generator(seed), step)
    return flat(p.grad for p in model.parameters()), found


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_descends_loss_plus_strength_times_trace(kind, problem):
    model, inputs, labels = problem
    value = estimated(kind, problem)
    with thrice_differentiable():
        expected = F.cross_entropy(model(inputs), labels) + 0.3 * value
    wanted = flat(torch.autograd.grad(expected, model.parameters()))
    gradient, found = gradient_of(FACTORIES[kind](0.3), problem)
    torch.testing.assert_close(gradient, wanted)
    assert found["loss"].item() == pytest.approx(expected.item())
    assert found["penalised_trace"].item() == pytest.approx(value.item())


@pytest.mark.parametrize("kind", KINDS)
def test_penalties_at_every_third_step_add_up_to_the_same(kind, problem):
    gradients, found = zip(
        *(gradient_of(FACTORIES[kind](0.3, every=3), problem, step) for step in range(6)),
        strict=True,
    )
    always, _ = gradient_of(FACTORIES[kind](0.3), problem)
    torch.testing.assert_close(torch.stack(gradients).mean(0), always)
    assert [f["penalised_trace"].isnan().item() for f in found] == [False, True, True] * 2


def test_probes_are_averaged(problem):
    draws = generator()
    singles = []
    for _ in range(4):
        model, inputs, labels = problem
        model.zero_grad()
        step_of(hessian.hessian_trace(1), model, CROSS_ENTROPY, inputs, labels, draws)
        singles.append(flat(p.grad for p in model.parameters()))
    together, _ = gradient_of(hessian.hessian_trace(1, probes=4), problem)
    torch.testing.assert_close(together, torch.stack(singles).mean(0))


class Quadratic(nn.Module):
    """Loss w'Aw / 2 for any input, as the "logit"."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
        self.register_buffer("a", torch.tensor([3.0, 0.5], dtype=torch.float64))

    def forward(self, x):
        return (self.a * self.w.square()).sum() / 2 + 0 * x


def test_sam_on_a_quadratic_is_its_closed_form():
    model = Quadratic()
    w, a = model.w.detach().clone(), model.a
    batch = (lambda z, _: z[:, 0], torch.zeros(4, 1, dtype=torch.float64), torch.zeros(4))
    found = step_of(sam(0.1), model, *batch)
    ascent = w + 0.1 * a * w / (a * w).norm()
    torch.testing.assert_close(model.w.grad, a * ascent)
    assert found["loss"].item() == pytest.approx(float(a @ w.square() / 2))
    assert found["ascent"].item() == pytest.approx(float(a @ (ascent**2 - w**2) / 2))
    assert torch.equal(model.w, w)
    with torch.no_grad():
        model.w.zero_()
    step_of(sam(0.1), model, *batch)
    assert torch.equal(model.w.grad, torch.zeros(2, dtype=torch.float64))


class Beside(nn.Module):
    """A layer, beside one that is not called and one behind which no gradient goes."""

    def __init__(self):
        super().__init__()
        self.body, self.unused, self.detached = nn.Linear(3, 3), nn.Linear(2, 2), nn.Linear(3, 3)

    def forward(self, x):
        return self.body(x) + 0 * self.detached(x).detach()


@pytest.mark.parametrize("factory", [sam, *FACTORIES.values()])
def test_a_layer_that_is_not_reached_changes_nothing(factory, problem):
    _, inputs, labels = problem
    torch.manual_seed(0)
    beside = Beside().double()
    alone = copy.deepcopy(beside.body)
    losses = [
        step_of(factory(0.1), model, CROSS_ENTROPY, inputs, labels, generator())["loss"].item()
        for model in (alone, beside)
    ]
    assert losses[0] == pytest.approx(losses[1])
    for one, other in zip(alone.parameters(), beside.body.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    for layer in (beside.unused, beside.detached):
        assert all(p.grad is None or not p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize("factory", [sam, *FACTORIES.values()])
def test_running_statistics_count_a_batch_once(factory, problem):
    model, inputs, _ = problem
    plain = copy.deepcopy(model)
    plain(inputs)
    gradient_of(factory(0.1), problem)
    torch.testing.assert_close(dict(model.named_buffers()), dict(plain.named_buffers()))


@pytest.mark.parametrize("factory", [sam, *FACTORIES.values()])
@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_a_strength_that_is_none_is_refused(factory, value):
    with pytest.raises(ValueError, match="positive and finite"):
        factory(value)
