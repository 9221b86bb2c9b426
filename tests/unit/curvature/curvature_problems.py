"""Tiny problems whose Hessians are known, for the curvature tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_map_only

from focal_curvature.curvature import Operator, Problem


class Quadratic(nn.Module):
    """Logits whose "loss" is half theta' A theta plus nothing else, whatever the sample."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.linspace(-1, 1, len(matrix)))
        self.register_buffer("matrix", matrix)

    def forward(self, inputs: Tensor) -> Tensor:
        value = self.theta @ self.matrix @ self.theta / 2
        return value.expand(len(inputs), 1)


class FirstLogit(nn.Module):
    """A loss that is the first logit itself."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return logits[:, 0]


def with_spectrum(*eigenvalues: float, seed: int = 0) -> Tensor:
    """A dense symmetric matrix with the given eigenvalues."""
    generator = torch.Generator().manual_seed(seed)
    n = len(eigenvalues)
    q, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    return ((q * torch.tensor(eigenvalues, dtype=torch.float64)) @ q.T).float()


def exact_hessian(
    model: nn.Module,
    loss: nn.Module,
    inputs: Any,
    labels: Any,
    names: Sequence[str] | None = None,
    *,
    numerical: bool = False,
) -> Tensor:
    """Full float64 Hessian of the mean loss, parameters in the model's order.

    By autograd, or by differences of gradients: some of torch's second derivatives are wrong.
    """
    model = model.double().eval()
    names = names or [name for name, _ in model.named_parameters()]
    params = {k: p.detach() for k, p in model.named_parameters() if k in names}
    flat = torch.cat([p.flatten() for p in params.values()])
    inputs, labels = tree_map_only(
        Tensor, lambda t: t.double() if t.is_floating_point() else t, (inputs, labels)
    )

    def mean_loss(theta: Tensor) -> Tensor:
        parts = theta.split([p.numel() for p in params.values()])
        named = {k: t.view_as(p) for (k, p), t in zip(params.items(), parts, strict=True)}
        keywords = inputs if isinstance(inputs, dict) else {}
        out = functional_call(model, named, () if keywords else (inputs,), keywords)
        if isinstance(out, dict) and "logits" in out:
            out = out["logits"]
        return loss(out, labels).mean()

    if not numerical:
        return torch.autograd.functional.hessian(mean_loss, flat)
    rows = []
    for i in range(len(flat)):
        step = torch.zeros_like(flat)
        step[i] = 3e-4
        one, two = (
            torch.autograd.functional.jacobian(mean_loss, flat + k * step)
            - torch.autograd.functional.jacobian(mean_loss, flat - k * step)
            for k in (1, 2)
        )
        rows.append((8 * one - two) / 36e-4)
    return torch.stack(rows)


def dense(problem: Problem, matrix: str = "hessian") -> Tensor:
    """The whole matrix, from products."""
    return Operator.on(problem, matrix)(torch.eye(problem.size, dtype=problem.dtype))


def tiny_net() -> nn.Module:
    """A convolution, batch norm with non-trivial statistics, and a linear layer; 69 parameters."""
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.BatchNorm2d(2),
        nn.Tanh(),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    net(torch.randn(64, 1, 4, 4) * 2 + 1)
    return net


def samples(n: int = 24, classes: int = 5) -> tuple[Tensor, Tensor]:
    """Random images (n, 1, 4, 4) and labels (n,)."""
    generator = torch.Generator().manual_seed(7)
    images = torch.randn(n, 1, 4, 4, generator=generator)
    return images, torch.randint(classes, (n,), generator=generator)
