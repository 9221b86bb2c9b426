"""The optimisers of torch, without what torch.optim's classes load.

The classes import torch's compiler when they are made, 1.3 seconds and 100 MB for each process; the
functions behind them do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from focal_curvature.settings.training import Training


class Optimizer:
    """The steps of ``torch.optim.SGD``, ``Adam`` or ``AdamW`` (``fused=True``), bit for bit.

    Parameters
    ----------
    parameters : iterable of Tensor
        Leaves; one without a gradient is left alone.
    settings : Training
        Which one, and its own settings.
    """

    def __init__(self, parameters: Iterable[Tensor], settings: Training) -> None:
        self.parameters = list(parameters)
        self.settings = settings
        self.moments: list[list[Tensor] | None] = [None] * len(self.parameters)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Move all parameters once."""
        used = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        parameters = [self.parameters[i] for i in used]
        gradients = [_laid_out(parameter) for parameter in parameters]
        decay = self.settings.weight_decay
        if self.settings.optimizer == "sgd":
            momenta = [(self.moments[i] or [None])[0] for i in used]
            sgd(
                parameters,
                gradients,
                momenta,
                fused=True,
                lr=learning_rate,
                dampening=0,
                maximize=False,
                weight_decay=decay,
                momentum=self.settings.momentum,
                nesterov=self.settings.nesterov,
            )
            for i, momentum in zip(used, momenta, strict=True):
                self.moments[i] = None if momentum is None else [momentum]
            return
        for i, p in zip(used, parameters, strict=True):
            if self.moments[i] is None:
                count = torch.zeros((), device=p.device)
                self.moments[i] = [torch.zeros_like(p), torch.zeros_like(p), count]
        first, second, counts = ([self.moments[i][k] for i in used] for k in range(3))
        (adam if self.settings.optimizer == "adam" else adamw)(
            parameters,
            gradients,
            first,
            second,
            [],
            counts,
            fused=True,
            amsgrad=False,
            maximize=False,
            lr=learning_rate,
            weight_decay=decay,
            beta1=self.settings.beta1,
            beta2=self.settings.beta2,
            eps=self.settings.epsilon,
        )

    def state_dict(self) -> dict[str, list[list[Tensor] | None]]:
        """Return what a later process needs to go on."""
        return {"moments": self.moments}

    def load_state_dict(self, state: Mapping[str, list[list[Tensor] | None]]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        self.moments = [
            moments and [moment.to(parameter.device) for moment in moments]
            for moments, parameter in zip(state["moments"], self.parameters, strict=True)
        ]


def _laid_out(parameter: Tensor) -> Tensor:
    """Return a gradient in its parameter's layout: the fused kernel goes through both as memory."""
    gradient = parameter.grad
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
