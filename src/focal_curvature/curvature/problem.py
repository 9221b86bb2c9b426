"""A network, a loss and a fixed sample set, as functions of a flat parameter vector."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .prepare import fold_batch_norm, frozen_copy, trainable


@dataclass(frozen=True)
class Problem:
    """What the engine's operators share.

    Attributes
    ----------
    model : nn.Module
        Private copy in evaluation mode, batch norms folded into convolutions.
    loss : nn.Module
        (logits (N, K), labels (N,)) -> losses (N,).
    names : tuple of str
        Names of the trainable parameter tensors, as in the caller's model.
    keys : tuple of str
        Their names in ``model``.
    parameters : tuple of Tensor
        Their values.
    buffer_keys : tuple of str
        Names in ``model`` of what it holds beside parameters, such as running statistics.
    buffers : tuple of Tensor
        Their values.
    inputs, labels : Tensor
        (N, ...) and (N,).
    batch : int
        Samples worked on at a time.
    chunk : int
        Most samples whose linearisation is kept in memory.
    """

    model: nn.Module
    loss: nn.Module
    names: tuple[str, ...]
    keys: tuple[str, ...]
    parameters: tuple[Tensor, ...]
    buffer_keys: tuple[str, ...]
    buffers: tuple[Tensor, ...]
    inputs: Tensor
    labels: Tensor
    batch: int
    chunk: int

    @classmethod
    def of(
        cls,
        model: nn.Module,
        loss: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        *,
        dtype: torch.dtype = torch.float32,
        batch: int = 64,
        chunk: int = 1024,
    ) -> Problem:
        """Copy the model into evaluation mode and a dtype, on the device of the inputs."""
        twin = frozen_copy(model, dtype, inputs.device)
        inputs = inputs.to(dtype)
        if inputs.ndim == 4:  # CPU convolutions reorder any other layout on every call
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        named = trainable(twin)
        folded = fold_batch_norm(twin, inputs[:2])
        keys = {id(p): key for key, p in folded.named_parameters()}
        buffers = dict(folded.named_buffers())
        return cls(
            model=folded,
            loss=loss,
            names=tuple(named),
            keys=tuple(keys[id(p)] for p in named.values()),
            parameters=tuple(p.detach() for p in named.values()),
            buffer_keys=tuple(buffers),
            buffers=tuple(buffers.values()),
            inputs=inputs,
            labels=labels,
            batch=min(batch, chunk, len(labels)),
            chunk=chunk,
        )

    def subset(self, n: int) -> Problem:
        """Return the same problem on the first n samples."""
        n = min(n, len(self.labels))
        return replace(
            self, inputs=self.inputs[:n], labels=self.labels[:n], batch=min(self.batch, n)
        )

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.parameters)

    def logits(self, parameters: tuple[Tensor, ...], inputs: Tensor) -> Tensor:
        """Logits (n, K) of inputs (n, ...) at the given parameters."""
        keys, values = (*self.keys, *self.buffer_keys), (*parameters, *self.buffers)
        return functional_call(self.model, dict(zip(keys, values, strict=True)), (inputs,))

    def batches(self, size: int | None = None) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Cut inputs, labels and weights into batches of one size.

        The weights are 1 / N, so that weighted sums over batches are means over samples; the last
        batch is filled up with copies of weight zero, so that one traced program serves all.
        """
        size = size or self.batch
        n = len(self.labels)
        count = -(-n // size)
        index = torch.arange(count * size, device=self.labels.device)
        weights = (index < n).to(self.parameters[0].dtype) / n
        return [
            (self.inputs[i], self.labels[i], w)
            for i, w in zip(index.clamp(max=n - 1).split(size), weights.split(size), strict=True)
        ]

    def split(self, vector: Tensor) -> tuple[Tensor, ...]:
        """Cut a flat vector (P,) into views of the parameters' shapes."""
        parts = vector.split([p.numel() for p in self.parameters])
        return tuple(part.view_as(p) for part, p in zip(parts, self.parameters, strict=True))
