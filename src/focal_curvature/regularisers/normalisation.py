"""Batch norm that can be differentiated three times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_REFUSED = (F.layer_norm, F.group_norm, F.instance_norm)


class ComposedBatchNorm(TorchFunctionMode):
    """Within it, batch norm in training mode is composed of elementary operations.

    Torch's own (2.11) takes the batch's statistics for constants in derivatives of third order,
    which the gradient of a Hessian's trace is of, and gives wrong numbers without a word
    (pytorch/pytorch#186256). Layer norm is as wrong (pytorch/pytorch#175754); it and its kin are
    refused with a ValueError.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run a torch function, or what replaces it."""
        if function in _REFUSED:
            raise ValueError(
                f"trace penalties cannot go through {function.__name__}: "
                "its third derivative is wrong in torch; take a model with batch norm or none"
            )
        return (composed_batch_norm if function is F.batch_norm else function)(
            *args, **(kwargs or {})
        )


def composed_batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise (N, C, ...) and update the running statistics, as `torch.nn.functional.batch_norm`.

    Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1.
    """
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    axes = [axis for axis in range(input.ndim) if axis != 1]
    mean = input.mean(axes, keepdim=True)
    centred = input - mean
    variance = centred.square().mean(axes, keepdim=True)
    if running_mean is not None:
        count = input.numel() / input.shape[1]
        with torch.no_grad():
            running_mean.lerp_(mean.flatten(), momentum)
            running_var.lerp_(variance.flatten() * (count / (count - 1)), momentum)
    out = centred * torch.rsqrt(variance + eps)
    if weight is not None:
        out = out * weight.view(mean.shape)
    return out if bias is None else out + bias.view(mean.shape)
