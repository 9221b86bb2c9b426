"""Dinh's rescaling: the same function, another Hessian, the same adaptive sharpness."""

import pytest
import torch
from torch import nn

from focal_curvature.curvature import Settings, estimate
from focal_curvature.curvature.rescaling import Tempered, pairs, rescaled
from focal_curvature.losses.focal import focal
from focal_curvature.models.cifar_resnet import resnet20
from focal_curvature.models.lenet import lenet
from focal_curvature.models.mlp import mlp
from focal_curvature.models.small_cnn import small_cnn
from focal_curvature.models.small_resnet import small_resnet

MODELS = [small_cnn, small_resnet, lenet, mlp, resnet20]


def trained(factory, **arguments):
    """A model with non-trivial batch norms, in evaluation mode."""
    torch.manual_seed(0)
    model = factory(4, 1, 8, **arguments)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    model(torch.randn(16, 1, 8, 8) * 2 + 1)
    return model.eval()


def images(n=12):
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("factory", MODELS)
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_function_is_the_same_for_every_pair(factory, mode):
    model, x = trained(factory), images()
    found = pairs(model)
    assert found
    for pair in found[:3] + found[-1:]:
        twin = rescaled(model, pair, 3.0)
        with torch.no_grad():
            before, after = (getattr(net, mode)()(x) for net in (model, twin))
        assert (after - before).abs().max() <= 1e-5 * before.abs().max()
        model.load_state_dict(trained(factory).state_dict())


def test_pairs_are_the_layers_that_only_one_other_reads():
    assert pairs(small_cnn(4, 1, 8)) == [("0", "3"), ("3", "7"), ("7", "9")]
    # the stem and the blocks' last norms go into a sum or to two readers
    assert pairs(small_resnet(4, 1, 8)) == [
        ("3.norm1", "3.convolution2"),
        ("4.norm1", "4.convolution2"),
    ]


def test_tied_layers_are_no_pairs():
    layers = [nn.Linear(4, 4) for _ in range(5)]
    layers[2].weight = layers[0].weight
    model = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))
    assert pairs(model) == [("6", "8")]
    layers[2].weight = nn.Parameter(layers[0].weight.detach().clone())
    assert len(pairs(model)) == 4


class ReadsANumber(nn.Module):
    def forward(self, x):
        return x if x.sum().item() > 0 else -x


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.last = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.last(self.layer(self.layer(x).relu()).relu())


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)),
        nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4)),
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, affine=False), nn.ReLU()),
        nn.Linear(4, 4),
        ReadsANumber(),
        Twice(),
    ],
    ids=["tanh", "gelu", "norm without scale", "one layer", "not traceable", "used twice"],
)
def test_other_networks_have_no_pairs(model):
    assert pairs(model) == []


@pytest.mark.parametrize("factory", [small_cnn, small_resnet])
def test_the_hessian_changes_as_stated_and_adaptive_sharpness_does_not(factory):
    model, x, y = trained(factory, width=4), images(8), torch.arange(8) % 4
    settings = Settings(estimator="engine", dtype="float64", tolerance=0.5)
    pair, factor = pairs(model)[0], 3.0
    before, after = (
        estimate(net, focal(0), x, y, settings, seed=0)
        for net in (model, rescaled(model, pair, factor))
    )
    expected = {name: trace.estimate for name, trace in before.layer_traces.items()}
    for name in expected:
        if name.rpartition(".")[0] == pair[0]:
            expected[name] /= factor**2
        elif name == f"{pair[1]}.weight":
            expected[name] *= factor**2
    found = {name: trace.estimate for name, trace in after.layer_traces.items()}
    assert found == pytest.approx(expected, rel=1e-5)
    assert after.trace.estimate == pytest.approx(sum(expected.values()), rel=1e-5)
    assert abs(after.trace.estimate / before.trace.estimate - 1) > 0.1
    sharpness = before.adaptive_sharpness.estimate
    assert after.adaptive_sharpness.estimate == pytest.approx(sharpness, rel=1e-5)


def test_the_original_stays_as_it_was():
    model = trained(small_cnn)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rescaled(model, ("0", "3"), 2.0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("factor", [0, -1, float("nan")])
def test_bad_factors_are_refused(factor):
    with pytest.raises(ValueError, match="factor"):
        rescaled(trained(small_cnn), ("0", "3"), factor)


def test_a_tempered_loss_is_that_of_the_divided_logits():
    logits, labels = torch.randn(6, 4), torch.arange(6) % 4
    assert torch.equal(Tempered(focal(2), 1.7)(logits, labels), focal(2)(logits / 1.7, labels))
