"""Stochastic gradient descent as torch does it, without what torch.optim loads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.sgd import sgd


class SGD:
    """The steps of ``torch.optim.SGD(fused=True)``, bit for bit.

    The class imports torch's compiler when it is made, 1.3 seconds and 100 MB for each process; the
    function behind it does not.

    Parameters
    ----------
    parameters : iterable of Tensor
        Leaves; one without a gradient is left alone.
    settings : mapping
        ``momentum``, ``weight_decay`` and ``nesterov``.
    """

    def __init__(self, parameters: Iterable[Tensor], settings: Mapping[str, Any]) -> None:
        self.parameters = list(parameters)
        self.settings = {key: settings[key] for key in ("momentum", "weight_decay", "nesterov")}
        self.momenta: list[Tensor | None] = [None] * len(self.parameters)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Move all parameters once."""
        used = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        momenta = [self.momenta[i] for i in used]
        sgd(
            [self.parameters[i] for i in used],
            [_laid_out(self.parameters[i]) for i in used],
            momenta,
            fused=True,
            lr=learning_rate,
            dampening=0,
            maximize=False,
            **self.settings,
        )
        for i, momentum in zip(used, momenta, strict=True):
            self.momenta[i] = momentum

    def state_dict(self) -> dict[str, list[Tensor | None]]:
        """Return what a later process needs to go on."""
        return {"momenta": self.momenta}

    def load_state_dict(self, state: Mapping[str, list[Tensor | None]]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        self.momenta = [
            None if momentum is None else momentum.to(parameter.device)
            for momentum, parameter in zip(state["momenta"], self.parameters, strict=True)
        ]


def _laid_out(parameter: Tensor) -> Tensor:
    """Return a gradient in its parameter's layout: the fused kernel goes through both as memory."""
    gradient = parameter.grad
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
