"""A network, a loss and a fixed sample set, as functions of a flat parameter vector."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import TreeSpec, tree_leaves, tree_map_only, tree_unflatten

from ..kernels import IMAGES, require_native_gradient
from .checks import check_loss, check_network, check_targets
from .folding import fold_batch_norm
from .prepare import Called, UnsupportedError, frozen_copy, neutral, refuse, unwrapped
from .samples import Batch, LoadedSamples, Samples

Loss = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class Problem:
    """What the engine's operators share.

    Attributes
    ----------
    model : nn.Module
        Private copy in evaluation mode, batch norms folded into convolutions.
    loss : callable
        (outputs, targets) -> losses (N,), or their mean. It gets outputs in float64, so that its
        derivatives keep their digits where a probability is within float32's resolution of one.
    names : tuple of str
        Names of the parameter tensors, as in the caller's model.
    keys : tuple of str
        Their names in ``model``.
    parameters : tuple of Tensor
        Their values.
    buffer_keys : tuple of str
        Names in ``model`` of what it holds beside, such as running statistics and frozen weights.
    buffers : tuple of Tensor
        Their values.
    samples : Samples or LoadedSamples
        Inputs and targets.
    tree : TreeSpec or None
        Of the model's outputs, where they are not one tensor (n, K, ...).
    shapes : tuple of torch.Size
        A sample's part of each of the outputs.
    padded : bool
        Whether the last batch may be filled up: not where the loss returns a mean.
    batch : int
        Samples worked on at a time.
    chunk : int
        Most samples whose linearisation is kept in memory.
    progress : callable, optional
        Called whenever a product with a batch was made.
    """

    model: nn.Module
    loss: Loss
    names: tuple[str, ...]
    keys: tuple[str, ...]
    parameters: tuple[Tensor, ...]
    buffer_keys: tuple[str, ...]
    buffers: tuple[Tensor, ...]
    samples: Samples | LoadedSamples
    tree: TreeSpec | None
    shapes: tuple[torch.Size, ...]
    padded: bool
    batch: int
    chunk: int
    progress: Callable[[], object] | None = None

    @classmethod
    @neutral()
    def of(
        cls,
        model: nn.Module,
        loss: Loss,
        data: tuple[Any, Any] | Iterable,
        *,
        forward: Callable[[nn.Module, Any], Any] | None = None,
        parameters: Iterable[str | Tensor] | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
        batch: int = 128,
        chunk: int = 1024,
        check: bool = True,
    ) -> Problem:
        """Copy the model into evaluation mode and a dtype, and look whether all fits together.

        Parameters
        ----------
        model : nn.Module
            DataParallel and the like are taken off. Its state stays as it is.
        loss : callable
            (outputs, targets) -> losses (N,), or (N, ...), averaged, or their mean over samples. A
            module of torch's that means is taken apart into samples.
        data : (inputs, targets), or iterable of such pairs
            A tuple of two is the whole sample set, in tensors with a row per sample. An iterable is
            read anew for each pass and must give the same batches each time.
        forward : callable, optional
            (model, inputs) -> outputs; see `Called`.
        parameters : iterable of str or Tensor, optional
            Those to differentiate in: names, names of modules, or the model's own tensors. By
            default all that require a gradient.
        dtype : torch.dtype
            Of parameters, floating inputs and products.
        device : torch.device or str, optional
            By default that of the inputs, or with an iterable that of the model's parameters.
        batch, chunk : int
            See the class.
        check : bool
            Whether to try, on two samples, that samples do not mix, that nothing is random and that
            nothing is computed without gradients.

        Raises
        ------
        UnsupportedError
            Where the curvature cannot be computed; names the layer where it can.
        FloatingPointError
            If a parameter is not finite.
        KernelError
            If a convolution's gradient is wrong on this machine, or the gradient's is; by ``check``
            alone.
        """
        whole = isinstance(data, tuple) and len(data) == 2
        if device is None:
            # A loader's inputs come from wherever it made them; the model stays where it is.
            tensors = [t for t in tree_leaves(data) if isinstance(t, Tensor)] if whole else []
            device = next(iter([*tensors, *model.parameters()]), torch.zeros(())).device
        device = torch.device(device)
        if device.type == "mps":
            raise UnsupportedError("mps has no float64, which sums are kept in: use the cpu")
        samples: Samples | LoadedSamples
        if isinstance(data, tuple) and len(data) == 2:
            samples = Samples(*data, dtype, device)
        else:
            samples = LoadedSamples(data, dtype, device)
        original = unwrapped(model)
        names = _selected(original, parameters)
        twin = frozen_copy(original, dtype, device)
        named = dict(twin.named_parameters())
        for name, p in named.items():
            p.requires_grad_(name in names)
        called = Called(twin, forward)
        x, _ = samples.first(2)
        tree, shapes = check_network(called, x, deeply=check)
        one = _by_sample(loss, device)
        check_targets(samples, shapes if tree is None else (), loss)
        padded = check_loss(one, called, samples, batch=batch, deeply=check)
        fold_batch_norm(called, x)
        if check and device.type == "cpu":
            x, y = samples.first(IMAGES)
            require_native_gradient(called, lambda: mean_of(one, called(x), y), second=True)
        keys = {id(p): key for key, p in called.named_parameters()}
        beside = {
            **dict(called.named_buffers()),
            **{key: p.detach() for key, p in called.named_parameters() if not p.requires_grad},
        }
        return cls(
            model=called,
            loss=one,
            names=names,
            keys=tuple(keys[id(named[name])] for name in names),
            parameters=tuple(named[name].detach() for name in names),
            buffer_keys=tuple(beside),
            buffers=tuple(beside.values()),
            samples=samples,
            tree=tree,
            shapes=shapes,
            padded=padded and whole,
            batch=min(batch, chunk, samples.count),
            chunk=chunk,
        )

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.parameters)

    @property
    def dtype(self) -> torch.dtype:
        """Of parameters and products."""
        return self.parameters[0].dtype

    @property
    def device(self) -> torch.device:
        """Where the work is done."""
        return self.samples.device

    def outputs(self, parameters: tuple[Tensor, ...], inputs: Any) -> Tensor:
        """Return outputs (n, ...) at the given parameters; several tensors as one (n, K)."""
        keys, values = (*self.keys, *self.buffer_keys), (*parameters, *self.buffers)
        out = functional_call(self.model, dict(zip(keys, values, strict=True)), (inputs,))
        if self.tree is None:
            return out
        return torch.cat([leaf.reshape(len(leaf), -1) for leaf in tree_leaves(out)], 1)

    def losses(self, outputs: Tensor, targets: Any) -> Tensor:
        """Return float64 losses (n,) of `outputs`, or their mean, without a dimension."""
        return losses_of(self.loss, self.structured(outputs.double()), targets)

    def structured(self, outputs: Tensor) -> Any:
        """Give `outputs` the form in which the model returned them."""
        if self.tree is None:
            return outputs
        parts = outputs.split([shape.numel() for shape in self.shapes], 1)
        return tree_unflatten(
            [part.unflatten(1, shape) if len(shape) else part[:, 0]
             for part, shape in zip(parts, self.shapes, strict=True)],
            self.tree,
        )  # fmt: skip

    def total(self, outputs: Tensor, targets: Any, weights: Tensor) -> Tensor:
        """Return the weighted sum of the losses, weights (n,)."""
        losses = self.losses(outputs, targets)
        return (losses * weights).sum() if losses.ndim else losses * weights.sum()

    def batches(self, size: int | None = None) -> Iterable[Batch]:
        """Cut the samples into batches (inputs, targets, weights) of one size.

        The weights are 1 / N, so that weighted sums over batches are means over samples.
        """
        return self.samples.batches(size or self.batch, padded=self.padded)

    def split(self, vector: Tensor) -> tuple[Tensor, ...]:
        """Cut a flat vector (P,) into views of the parameters' shapes."""
        parts = vector.split([p.numel() for p in self.parameters])
        return tuple(part.view_as(p) for part, p in zip(parts, self.parameters, strict=True))

    def blocks(self, rows: Tensor) -> Tensor:
        """Sum rows (n, P) over each parameter tensor, (n, L) in float64."""
        parts = rows.split([p.numel() for p in self.parameters], 1)
        return torch.stack([part.sum(1, dtype=torch.float64) for part in parts], 1)


def mean_of(loss: Loss, outputs: Any, targets: Any) -> Tensor:
    """Return the mean of a loss of what a model returned, in float64."""
    return losses_of(loss, tree_map_only(Tensor, Tensor.double, outputs), targets).mean()


def losses_of(loss: Loss, outputs: Any, targets: Any) -> Tensor:
    """Return losses (n,), or (): what a loss returns, averaged over all but the samples."""
    losses = loss(outputs, targets)
    return losses.flatten(1).mean(1) if losses.ndim > 1 else losses


def _selected(model: nn.Module, parameters: Iterable[str | Tensor] | None) -> tuple[str, ...]:
    """Return the names of the parameters to differentiate in, in the model's order."""
    named = dict(model.named_parameters())
    if parameters is None:
        names = tuple(name for name, p in named.items() if p.requires_grad)
        if not names:
            raise UnsupportedError("no parameter of the model requires a gradient")
        return names
    selected: set[str] = set()
    for wanted in [parameters] if isinstance(parameters, str) else parameters:
        hits = {
            name for name, p in named.items()
            if (p is wanted if isinstance(wanted, Tensor)
                else name == wanted or name.startswith(f"{wanted}."))
        }  # fmt: skip
        if not hits:
            what = "a tensor given" if isinstance(wanted, Tensor) else repr(wanted)
            raise UnsupportedError(f"{what} is no parameter of the model: {', '.join(named)}")
        selected |= hits
    if not selected:
        raise UnsupportedError("no parameter was selected")
    return tuple(name for name in named if name in selected)


def _by_sample(loss: Loss, device: torch.device) -> Loss:
    """Return a private copy of a loss that returns losses by sample where it would return a mean.

    Raises
    ------
    UnsupportedError
        For a loss that sums, or weighs samples by their class in the mean.
    """
    if not isinstance(loss, nn.Module):
        return loss
    with refuse("the loss cannot be copied"):
        twin = copy.deepcopy(loss).to(device=device, dtype=torch.float64)
    if getattr(twin, "reduction", "none") != "none":
        name = type(twin).__name__
        if twin.reduction not in ("mean", "batchmean"):
            raise UnsupportedError(f"{name} reduces by {twin.reduction}: say 'mean' or 'none'")
        if getattr(twin, "weight", None) is not None:
            raise UnsupportedError(
                f"{name} with class weights is no mean over samples: reduce by 'none'"
            )
        summed = twin.reduction == "batchmean"  # over all but the samples
        vars(twin)["reduction"] = "none"
        if summed:
            return lambda outputs, targets: twin(outputs, targets).flatten(1).sum(1)
    return twin
