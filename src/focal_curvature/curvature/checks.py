"""Cheap trials, on two samples, of what a curvature of the mean loss supposes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_map_only

from ..memory import out_of_memory
from .prepare import Called, UnsupportedError, first_line, refuse
from .samples import LoadedSamples, Samples, length, rows

# Name of a module, its class's name, whether a gradient goes in, and the tensors it returned.
Call = tuple[str, str, bool, list[Tensor]]

PARTS = 8  # of a batch, whose means are held against its mean
MIXES = "mixes the samples of a batch, so that the loss is no mean over samples"


def _floats(tree: Any) -> list[Tensor]:
    return [t for t in tree_leaves(tree) if isinstance(t, Tensor) and t.is_floating_point()]


def _shown(tree: Any) -> str:
    """Shapes and dtypes of a tree's tensors."""
    return ", ".join(
        f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}"
        if isinstance(t, Tensor)
        else type(t).__name__
        for t in tree_leaves(tree)
    )


@contextmanager
def _calls(model: Called) -> Iterator[list[Call]]:
    """Note what goes into and comes out of each module, innermost first."""
    calls: list[Call] = []

    begun: list[str] = []

    def enter(name: str) -> Callable[[nn.Module, Any], None]:
        return lambda module, _: begun.append(f"{name} ({type(module).__name__})")

    def note(name: str) -> Callable[[nn.Module, Any, Any, Any], None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
            begun.pop()
            # A copy: what comes next may write into it.
            outputs = [t.clone() for t in _floats(out)]
            sources = [*_floats((args, kwargs)), *module.parameters()]
            inward = any(t.requires_grad for t in sources)
            calls.append((name, type(module).__name__, inward, outputs))

        return hook

    hooks = []
    for name, module in model.model.named_modules():
        hooks.append(module.register_forward_pre_hook(enter(name)))
        hooks.append(module.register_forward_hook(note(name), with_kwargs=True))
    try:
        yield calls
    except Exception as error:
        # The model itself is nameless.
        if out_of_memory(error) or len(begun) < 2:
            raise
        raise UnsupportedError(f"layer {begun[-1]}: {first_line(error)}") from error
    finally:
        for hook in hooks:
            hook.remove()


def check_network(
    model: Called, inputs: Any, *, deeply: bool
) -> tuple[TreeSpec | None, tuple[torch.Size, ...]]:
    """Call a network on two samples; see whether it is a function of its weights and one sample.

    From then on one that changes its inputs in place gets copies.

    Parameters
    ----------
    model : Called
        Private, in evaluation mode.
    inputs : Tensor or tree of tensors
        Two samples, or one where there is no other.
    deeply : bool
        Whether to look for randomness, mixing of samples and missing gradients too.

    Returns
    -------
    tree : TreeSpec or None
        Of the outputs, None where they are one tensor of more than one number a sample.
    shapes : tuple of torch.Size
        Of one sample's part of each.

    Raises
    ------
    UnsupportedError
        Names the first layer affected, where one is.
    """
    n = length(inputs)
    given = tree_map_only(Tensor, Tensor.clone, inputs)
    before = [t._version for t in tree_leaves(given) if isinstance(t, Tensor)]
    with refuse(f"the model cannot take the inputs ({_shown(inputs)})"), _calls(model) as calls:
        out = model(given)
    model.copies = before != [t._version for t in tree_leaves(given) if isinstance(t, Tensor)]
    leaves, tree = tree_flatten(out)
    for leaf in leaves:
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
            raise UnsupportedError(
                f"the model returns {_shown(out)}: say by forward= which tensor the loss takes"
            )
        if not leaf.ndim or len(leaf) != n:
            raise UnsupportedError(
                f"the model returns {_shown(out)} for {n} samples: a row per sample is needed"
            )
    if deeply:
        _check_gradients(calls)
        _check_statistics(model.model, {name for name, *_ in calls})
        with torch.no_grad(), _calls(model) as again:
            model(inputs)
        _compare(calls, again, "is random: its output is another the second time, in eval mode")
        if n > 1:
            first = tree_map_only(Tensor, lambda t: t[:1], inputs)
            alone_refused = refuse("the model cannot take a single sample")
            with alone_refused, torch.no_grad(), _calls(model) as alone:
                model(first)
            _compare(calls, alone, MIXES)
    shapes = tuple(leaf.shape[1:] for leaf in leaves)
    return (None if isinstance(out, Tensor) and out.ndim > 1 else tree), shapes


def _check_gradients(calls: list[Call]) -> None:
    """Find the first layer through which no gradient goes though parameters or inputs have one."""
    for name, kind, inward, outputs in calls:
        if inward and outputs and not any(t.requires_grad for t in outputs):
            raise UnsupportedError(
                f"layer {name or 'of the whole model'} ({kind}) is computed without gradients "
                "(no_grad or detach): freeze its parameters, or leave it out by parameters="
            )


def _check_statistics(model: nn.Module, called: set[str]) -> None:
    """Find the first batch norm that uses the batch's statistics in evaluation mode."""
    for name, module in model.named_modules():
        norm = isinstance(module, nn.modules.batchnorm._BatchNorm) and name in called
        if norm and module.running_mean is None:
            raise UnsupportedError(
                f"layer {name} ({type(module).__name__}) {MIXES}: it has no running statistics"
            )


def _compare(ones: list[Call], others: list[Call], what: str) -> None:
    """Hold the first samples' outputs of two calls against each other, layer by layer."""
    final = [_apart(one, other) for one, other in zip(ones[-1:], others[-1:], strict=True)]
    if not any(final):
        return
    for one, other in zip(ones, others, strict=False):
        if one[0] != other[0]:
            break
        if _apart(one, other):
            raise UnsupportedError(f"layer {one[0]} ({one[1]}) {what}")
    raise UnsupportedError(f"the model {what}")


def _apart(one: Call, other: Call) -> bool:
    """Whether outputs differ by more than rounding, as far as both have them."""
    for a, b in zip(one[3], other[3], strict=False):
        if a.ndim != b.ndim or a.shape[1:] != b.shape[1:]:
            continue
        n = min(len(a), len(b)) if a.ndim else 1
        a, b = (a[:n], b[:n]) if a.ndim else (a, b)
        slack = torch.finfo(a.dtype).eps ** 0.5
        finite = a.isfinite().all() and b.isfinite().all()
        if finite and (a - b).abs().max() > slack * b.abs().max():
            return True
    return False


def check_loss(
    loss: Callable[[Any, Any], Tensor],
    model: Called,
    samples: Samples | LoadedSamples,
    *,
    batch: int,
    deeply: bool,
) -> bool:
    """Call a loss on two samples; return whether it gives losses by sample, not their mean.

    A mean is held against those of parts of each batch, if ``deeply``; else of two samples alone.
    Means by the weights of classes, or without some targets, are no means over samples.

    Raises
    ------
    UnsupportedError
        If it takes no such outputs or targets, or gives neither of both.
    """

    def called(out: Any, y: Any) -> Tensor:
        with (
            refuse(f"the loss cannot take outputs {_shown(out)} and targets {_shown(y)}"),
            warnings.catch_warnings(),
        ):
            # torch only warns of targets that it repeats to the outputs' shape.
            warnings.filterwarnings("error", "Using a target size")
            return loss(out, y)

    def double(x: Any) -> Any:
        return tree_map_only(Tensor, Tensor.double, model(x))

    x, y = samples.first(2)
    with torch.no_grad():
        losses = called(double(x), y)
        if not isinstance(losses, Tensor):
            raise UnsupportedError(f"the loss returns a {type(losses).__name__}, not a tensor")
        if losses.ndim:
            if len(losses) != length(x):
                raise UnsupportedError(
                    f"the loss returns {tuple(losses.shape)} for {length(x)} samples: a row per "
                    "sample, or a mean, is needed"
                )
            return True
        tried = ((a, b) for a, b, _ in samples.batches(batch, padded=False)) if deeply else [(x, y)]
        for inputs, targets in tried:
            out, n = double(inputs), length(inputs)
            parts = torch.arange(n).tensor_split(min(n, PARTS))
            means = torch.stack([len(k) / n * called(*rows((out, targets), k)) for k in parts])
            # Not a number, where all targets of a part are ignored, is no agreement either.
            if not (means.sum() - called(out, targets)).abs() <= 1e-5 * means.abs().sum():
                raise UnsupportedError(
                    "the loss of a batch is not the mean of its samples' losses: return losses by "
                    "sample"
                )
    return False


def check_targets(
    samples: Samples | LoadedSamples,
    shapes: tuple[torch.Size, ...],
    loss: Callable[[Any, Any], Tensor],
) -> None:
    """Refuse labels that are no class of a classifier (N, K, ...), K > 1, or left out of a mean.

    Raises
    ------
    UnsupportedError
        Says which labels.
    """
    _, y = samples.first(1)
    if not isinstance(y, Tensor) or y.is_floating_point() or y.dtype == torch.bool:
        return
    least, largest = samples.classes()
    ignored = getattr(loss, "ignore_index", None)
    if getattr(loss, "reduction", "none") == "mean" and ignored in range(least, largest + 1):
        batches = samples.batches(samples.count, padded=False)
        if any((targets == ignored).any() for _, targets, _ in batches):
            raise UnsupportedError(
                f"{type(loss).__name__} leaves targets of {ignored} out (ignore_index), so that "
                "its mean is none over samples: reduce by 'none'"
            )
    if y.ndim != 1 or len(shapes) != 1 or not len(shapes[0]) or shapes[0][0] < 2:
        return
    classes = shapes[0][0]
    if largest >= classes or (least < 0 and least != ignored):
        raise UnsupportedError(
            f"labels go from {least} to {largest}, but the model's {classes} outputs are "
            f"classes 0 to {classes - 1}"
        )
