"""Interventions on a trained network: equal functions of other curvature, and other confidence.

Dinh et al. 2017, "Sharp minima can generalize for deep nets" (arXiv 1703.04933), section 4: ReLU
is positively homogeneous, relu(a x) = a relu(x) for a > 0, so that one layer can be multiplied by a
and the next one divided by it. The function stays, the Hessian does not.
"""

from __future__ import annotations

import copy
import operator
from collections import Counter

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

AFFINE = (nn.Conv2d, nn.Linear)
# What commutes with a positive factor, as a module, a function or a method.
HOMOGENEOUS = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.Flatten,
    nn.Identity,
    nn.Dropout,
)
HOMOGENEOUS_CALLS = {
    F.relu,
    F.max_pool2d,
    F.avg_pool2d,
    F.adaptive_avg_pool2d,
    torch.relu,
    torch.flatten,
    "relu",
    "flatten",
    "view",
    "reshape",
    "mean",
}


def pairs(model: nn.Module) -> list[tuple[str, str]]:
    """List the layers that can be multiplied, each with the one that can be divided in turn.

    The first is a convolution, a linear layer, or a batch norm with trained scale and shift: its
    output is multiplied where weight and bias are, in training and in evaluation mode alike. The
    second is the convolution or linear layer that alone reads what becomes of it, through ReLU,
    pooling and the like. (A convolution *before* a batch norm is not taken for a first one: batch
    norm undoes the factor only in training mode, and but for its epsilon.) No other module has
    their parameters.

    Parameters
    ----------
    model : nn.Module
        One whose forward pass `torch.fx` can trace; others have no pairs.

    Returns
    -------
    list of (str, str)
        Names of modules, in the order of the forward pass; empty where there are none, as without
        ReLU units, or where every output goes to more than one reader.
    """
    try:
        graph = fx.Tracer().trace(model)
    except Exception:  # whatever a model of the user's own does when it is traced
        return []
    modules = dict(model.named_modules())
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    holders = Counter(p for m in model.modules() for p in m.parameters(recurse=False))

    def alone(node: fx.Node) -> bool:
        """Whether a module is called once, and its parameters are no other's."""
        own = modules[node.target].parameters()
        return calls[node.target] == 1 and all(holders[p] == 1 for p in own)

    def module(node: fx.Node) -> nn.Module | None:
        return modules[node.target] if node.op == "call_module" else None

    layers = []
    for node in graph.nodes:
        first = module(node)
        norm = type(first) is nn.BatchNorm2d and first.affine
        if (type(first) not in AFFINE and not norm) or not alone(node):
            continue
        after = node
        while len(after.users) == 1:
            after = next(iter(after.users))
            if type(module(after)) in AFFINE and alone(after):
                layers.append((node.target, after.target))
            called = after.op in ("call_function", "call_method")
            if not isinstance(module(after), HOMOGENEOUS) and not (
                called and after.target in HOMOGENEOUS_CALLS
            ):
                break
    return layers


def rescaled(model: nn.Module, pair: tuple[str, str], factor: float) -> nn.Module:
    """Return a copy with one layer multiplied and the next one divided.

    Its logits are the same to rounding. Blocks of its Hessian that belong to the first layer's
    parameters are divided by factor^2, those of the second layer's weight multiplied by it.

    Parameters
    ----------
    model : nn.Module
    pair : (str, str)
        One of `pairs`.
    factor : float
        > 0.

    Raises
    ------
    ValueError
        For a factor that is not positive.
    """
    if not factor > 0:
        raise ValueError(f"factor must be positive, not {factor}")
    twin = copy.deepcopy(model)
    first, second = (operator.attrgetter(name)(twin) for name in pair)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.mul_(factor)
        second.weight.div_(factor)
    return twin


class Tempered(nn.Module):
    """A loss of logits divided by a temperature: that of the temperature-scaled model.

    Parameters
    ----------
    loss : nn.Module
        (logits (N, K), labels (N,)) -> losses (N,).
    temperature : float
        > 0.
    """

    def __init__(self, loss: nn.Module, temperature: float) -> None:
        super().__init__()
        self.loss, self.temperature = loss, temperature

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the losses of shape (N,)."""
        return self.loss(logits / self.temperature, labels)
