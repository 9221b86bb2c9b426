"""A private copy of the model, in a stated mode, as a function that can be differentiated twice."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from ..kernels import safe_convolutions
from ..memory import out_of_memory


class UnsupportedError(ValueError):
    """A model, loss or data whose curvature cannot be computed; one line says why."""


@contextmanager
def refuse(what: str) -> Iterator[None]:
    """Replace whatever the body raises, but for memory's end, by an UnsupportedError in one line.

    Raises
    ------
    UnsupportedError
        ``what``, and the first line of what went wrong.
    """
    try:
        yield
    except Exception as error:
        if out_of_memory(error):
            raise
        raise UnsupportedError(f"{what}: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Return an exception's message without what follows its first line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def neutral() -> Iterator[None]:
    """Compute as if the caller had set no mode: no inference mode, no autocast, with gradients."""
    with ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            modes.enter_context(torch.autocast(device, enabled=False))
        yield


class _ComposedWeightNorm(TorchFunctionMode):
    """Within it, weight norm is composed of elementary operations."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if func is torch._weight_norm:
            v, g, *dim = args
            return v * (g / torch.norm_except_dim(v, 2, *dim))
        return func(*args, **(kwargs or {}))


class _PlainEmbedding(TorchFunctionMode):
    """Within it, embeddings have the derivatives of what they compute.

    A padding vector, which is never trained, is a constant, also to forward derivatives; gradients
    are neither divided by frequencies nor sparse.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if func is not F.embedding:
            return func(*args, **(kwargs or {}))
        return self._embedding(*args, **(kwargs or {}))

    @staticmethod
    def _embedding(
        inputs: Tensor,
        weight: Tensor,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        *_: Any,
        **__: Any,
    ) -> Tensor:
        if max_norm is not None:
            raise UnsupportedError("max_norm changes the weights whenever it is called")
        if padding_idx is not None:
            place = torch.arange(len(weight), device=weight.device) == padding_idx % len(weight)
            weight = torch.where(place[:, None], weight.detach(), weight)
        return F.embedding(inputs, weight)


def _weight_norms(model: nn.Module) -> bool:
    """Whether some weight is normalised, by a parametrisation or by a hook."""
    parts = [*model.modules(), *(h for m in model.modules() for h in m._forward_pre_hooks.values())]
    return any(type(part).__name__ in ("_WeightNorm", "WeightNorm") for part in parts)


@contextmanager
def twice_differentiable(
    *, recurrent: bool = True, weight_norm: bool = True, embedding: bool = False
) -> Iterator[None]:
    """Run the kernels that have derivatives of second order, where torch's fastest has none.

    Attention is composed of elementary operations: torch 2.11's fused kernels have neither a
    forward derivative nor a second backward one. So is weight norm, if ``weight_norm``: its second
    derivative is wrong, and not symmetric, since it takes the norms for constants. And so are
    recurrent layers, if ``recurrent``: oneDNN and cuDNN are then not used at all. Embeddings have
    their plain derivatives, if ``embedding``.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with ExitStack() as kernels:
            kernels.enter_context(sdpa_kernel(SDPBackend.MATH))
            if recurrent:
                kernels.enter_context(torch.backends.mkldnn.flags(enabled=False))
                # Or it takes oneDNN's place in convolutions, with 50 times its rounding.
                kernels.enter_context(torch.backends.nnpack.flags(enabled=False))
                kernels.enter_context(torch.backends.cudnn.flags(enabled=False))
            if weight_norm:
                kernels.enter_context(_ComposedWeightNorm())
            if embedding:
                kernels.enter_context(_PlainEmbedding())
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def gradients(
    of: Sequence[Tensor], to: Iterable[Tensor], weights: Sequence[Tensor] | None = None
) -> tuple[Tensor, ...]:
    """Differentiate a weighted sum, with a graph; zeros where nothing depends on something."""
    to = tuple(to)
    reached = [i for i, part in enumerate(of) if part.requires_grad]
    if not reached:
        return tuple(map(torch.zeros_like, to))
    return torch.autograd.grad(
        [of[i] for i in reached],
        to,
        weights and [weights[i] for i in reached],
        create_graph=True,
        allow_unused=True,
        materialize_grads=True,
    )


class Called(nn.Module):
    """A network as a function of one batch of inputs, twice differentiable.

    Parameters
    ----------
    model : nn.Module
    forward : callable, optional
        (model, inputs) -> outputs. Without it a mapping is passed as keyword arguments, a tuple or
        list as positional ones, and of outputs with ``logits`` those are taken.
    """

    def __init__(self, model: nn.Module, forward: Callable[..., Any] | None = None) -> None:
        super().__init__()
        self.model, self.call = model, forward
        self.copies = False  # where the model's code changes its inputs in place
        self.recurrent = any(isinstance(m, nn.RNNBase | nn.RNNCellBase) for m in model.modules())
        self.weight_norm = _weight_norms(model)
        self.embedding = any(isinstance(m, nn.Embedding) for m in model.modules())

    def forward(self, inputs: Any) -> Any:
        """Return a tensor, or a tree of tensors for losses that take one."""
        if self.copies:
            inputs = tree_map_only(Tensor, Tensor.clone, inputs)
        with twice_differentiable(
            recurrent=self.recurrent, weight_norm=self.weight_norm, embedding=self.embedding
        ):
            out = self._outputs(inputs)
        if any(len(t) > 1 for t in tree_leaves(inputs) if isinstance(t, Tensor) and t.ndim):
            return out
        # `squeeze` leaves a single sample without its row.
        return tree_map_only(Tensor, lambda t: t if t.ndim and len(t) == 1 else t[None], out)

    def _outputs(self, inputs: Any) -> Any:
        if self.call is not None:
            return self.call(self.model, inputs)
        if isinstance(inputs, Mapping):
            out = self.model(**inputs)
        elif isinstance(inputs, tuple | list):
            out = self.model(*inputs)
        else:
            out = self.model(inputs)
        if isinstance(out, Mapping) and "logits" in out:
            return out["logits"]
        return out if isinstance(out, Tensor) else getattr(out, "logits", out)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the network itself, without DataParallel and the like around it or a compiler."""
    while isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        model = model.module
    inner = getattr(model, "_orig_mod", None)
    return unwrapped(inner) if isinstance(inner, nn.Module) else model


def frozen_copy(model: nn.Module, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """Copy a model into evaluation mode, without gradients; the caller's stays as it was.

    Evaluation mode means: batch norm uses its running statistics, dropout is off. Convolutions with
    a defective kernel are made safe.

    Raises
    ------
    UnsupportedError
        If it is TorchScript, cannot be copied, or has parameters that are complex or have no shape
        yet.
    FloatingPointError
        If one of its parameters is not finite.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise UnsupportedError("TorchScript cannot be looked into: give the model it was made from")
    lazy = nn.parameter.UninitializedParameter
    if any(isinstance(p, lazy) for p in model.parameters()):
        raise UnsupportedError("the model has lazy layers: call it once on a batch first")
    if name := next((name for name, p in model.named_parameters() if p.is_complex()), ""):
        raise UnsupportedError(f"parameter {name} is complex: view it as real (torch.view_as_real)")

    def converted(t: Tensor) -> Tensor:
        # `Module.to` would cut complex buffers, as of rotary embeddings, down to their real part.
        if t.is_complex():
            return t.to(dtype.to_complex())
        return t.to(dtype) if t.is_floating_point() else t

    # A weight that a hook computes (pruning, weight norm) cannot be copied by itself, nor need be.
    computed = [
        t for m in model.modules() for t in tree_leaves(vars(m))
        if isinstance(t, Tensor) and not t.is_leaf
    ]  # fmt: skip
    with refuse("the model cannot be copied"):
        twin = copy.deepcopy(model, {id(t): t.detach().clone() for t in computed})
        twin = twin.to(device).eval()._apply(converted)
    twin.zero_grad(set_to_none=True)
    safe_convolutions(twin)
    named = dict(twin.named_parameters())
    require_finite(named, named.values(), "parameters")
    return twin


def require_finite(names: Iterable[str], parts: Iterable[Tensor], what: str) -> None:
    """Raise FloatingPointError that names the first layer whose part is not finite."""
    bad = [name for name, part in zip(names, parts, strict=True) if not part.isfinite().all()]
    if bad:
        raise FloatingPointError(
            f"non-finite {what}: first in {bad[0]} ({len(bad)} parameter tensors affected)"
        )
