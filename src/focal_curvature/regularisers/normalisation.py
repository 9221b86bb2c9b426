"""Networks that can be differentiated three times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from focal_curvature.curvature.prepare import twice_differentiable


@contextmanager
def thrice_differentiable() -> Iterator[None]:
    """Compose normalisations and attention of elementary operations.

    Torch's own (2.11) batch norm in training mode takes the batch's statistics for constants in
    derivatives of third order, which the gradient of a Hessian's trace is of, and gives wrong
    numbers without a word (pytorch/pytorch#186256). Layer norm and its kin are as wrong
    (pytorch/pytorch#175754).
    """
    with twice_differentiable(recurrent=False), _Composed():
        yield


class _Composed(TorchFunctionMode):
    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run a torch function, or what replaces it."""
        return _COMPOSED.get(function, function)(*args, **(kwargs or {}))


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


def composed_layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    """Normalise over the last dimensions, as `torch.nn.functional.layer_norm`.

    Ba et al. 2016, arXiv 1607.06450, equation 4.
    """
    out = _standardised(input, range(-len(normalized_shape), 0), eps)
    return _affine(out, weight, bias)


def composed_group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    """Normalise (N, C, ...) over groups of channels, as `torch.nn.functional.group_norm`.

    Wu and He 2018, arXiv 1803.08494, equation 7.
    """
    grouped = input.unflatten(1, (num_groups, -1)).flatten(2)
    out = _standardised(grouped, (2,), eps).reshape(input.shape)
    return _affine(out, *_by_channel(input, weight, bias))


def composed_instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of each image, as `torch.nn.functional.instance_norm`.

    Raises
    ------
    ValueError
        With running statistics, which are not kept.
    """
    if running_mean is not None:
        raise ValueError("trace penalties keep no running statistics of instance norm")
    out = _standardised(input, range(2, input.ndim), eps)
    return _affine(out, *_by_channel(input, weight, bias))


def _standardised(input: Tensor, axes: Sequence[int], eps: float) -> Tensor:
    centred = input - input.mean(tuple(axes), keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(tuple(axes), keepdim=True) + eps)


def _by_channel(input: Tensor, *parameters: Tensor | None) -> list[Tensor | None]:
    shape = (-1, *[1] * (input.ndim - 2))
    return [None if p is None else p.view(shape) for p in parameters]


def _affine(out: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    out = out if weight is None else out * weight
    return out if bias is None else out + bias


_COMPOSED: dict[Callable[..., Any], Callable[..., Any]] = {
    F.batch_norm: composed_batch_norm,
    F.layer_norm: composed_layer_norm,
    F.group_norm: composed_group_norm,
    F.instance_norm: composed_instance_norm,
}
