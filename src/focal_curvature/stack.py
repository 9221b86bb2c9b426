"""Networks of one architecture, trained as one: a step of each is one step of all.

On small images, a step of a small network is mostly the overhead of calling its operations. Here S
networks become one of S times the channels, in which convolutions and normalisations keep to their
own group and linear layers are one batched product. Each equals what it is alone up to rounding
(which training amplifies). A stack of one is the network itself.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from focal_curvature.kernels import safe_convolutions

SAMPLES = 8  # on which a stack is held against its networks
TOLERANCE = 1e-3  # of the largest logit


class NotStackableError(Exception):
    """These networks cannot be trained as one; the message says why."""


class _Linears(nn.Module):
    """Linear layers side by side: inputs (N, S * I) to outputs (N, S * O)."""

    def __init__(self, layer: nn.Linear, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.weight.new_empty(size, *layer.weight.shape))
        self.bias = None
        if layer.bias is not None:
            self.bias = nn.Parameter(layer.bias.new_empty(size, 1, layer.out_features))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply each network's part of the features by its own weights."""
        parts = x.unflatten(1, (len(self.weight), -1)).transpose(0, 1)
        weight = self.weight.transpose(1, 2)
        out = parts @ weight if self.bias is None else torch.baddbmm(self.bias, parts, weight)
        return out.transpose(0, 1).flatten(1)


def _shares_weights(model: nn.Module) -> bool:
    """Whether several modules hold one and the same parameter or buffer."""
    held = [
        id(tensor)
        for module in model.modules()  # each once, however often it is used
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
    ]
    return len(set(held)) < len(held)


def _widened(module: nn.Module, size: int, made: dict[int, nn.Module]) -> nn.Module:
    """Return a module for ``size`` times the channels; ``made`` holds what was made already."""
    if id(module) in made:
        return made[id(module)]
    some = next(itertools.chain(module.parameters(), module.buffers()), None)
    where = {} if some is None else {"device": some.device, "dtype": some.dtype}
    if type(module) is nn.Conv2d:
        wide: nn.Module = nn.Conv2d(
            size * module.in_channels,
            size * module.out_channels,
            module.kernel_size,
            module.stride,
            module.padding,
            module.dilation,
            size * module.groups,
            module.bias is not None,
            module.padding_mode,
            **where,
        )
    elif type(module) in (nn.BatchNorm1d, nn.BatchNorm2d):
        wide = type(module)(
            size * module.num_features,
            module.eps,
            module.momentum,
            module.affine,
            module.track_running_stats,
            **where,
        )
    elif type(module) is nn.Linear:
        wide = _Linears(module, size)
    elif module._parameters or module._buffers:
        raise NotStackableError(f"{type(module).__name__} has weights of its own")
    else:
        wide = copy.copy(module)
        wide._modules = {
            name: child and _widened(child, size, made) for name, child in module._modules.items()
        }
    for name, parameter in module._parameters.items():
        if parameter is not None:
            wide._parameters[name].requires_grad_(parameter.requires_grad)
    made[id(module)] = wide
    return wide


class Stack:
    """S networks of one architecture as one.

    Attributes
    ----------
    model : nn.Module
        Of one network, itself; of several, a model into which their weights are copied, that maps
        images (N, S * C, H, W) to logits (N, S * K). What belongs to a network is a block of the
        first dimension of every parameter and buffer, and of the second one of what it maps.
    size : int
        S, the number of networks.

    Raises
    ------
    NotStackableError
        If there are several, with a layer that has weights and is none of Conv2d, BatchNorm1d,
        BatchNorm2d and Linear, or with layers that share a weight.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.size = len(networks)
        self._one = networks[0]
        states = [network.state_dict() for network in networks]
        self._shapes = {name: value.shape for name, value in states[0].items()}
        self.model = networks[0]
        if self.size > 1:
            if _shares_weights(networks[0]):
                raise NotStackableError("its layers share weights")
            self.model = _widened(networks[0], self.size, {})
            with torch.no_grad():
                for name, value in self.model.state_dict().items():
                    whole = torch.stack([state[name] for state in states])
                    value.copy_(whole.view(value.shape) if value.ndim else whole[0])
        # Channels last: up to 1.8 times as fast on a CPU, and what tensor cores take.
        self.model.to(memory_format=torch.channels_last)
        safe_convolutions(self.model)

    def __call__(self, images: Tensor, model: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return logits (S, N, K) of images (N, S, ...), one's own for each network.

        ``model`` is called in place of the stack's: with other weights, or compiled.
        """
        call = model or self.model
        if self.size == 1:
            return call(images[:, 0])[None]
        flat = images.flatten(1, 2)
        if flat.ndim == 4:
            flat = flat.contiguous(memory_format=torch.channels_last)
        return call(flat).unflatten(1, (self.size, -1)).transpose(0, 1)

    def shared(self, images: Tensor) -> Tensor:
        """Return logits (S, N, K) of images (N, ...) that all networks see."""
        return self(images[:, None].expand(-1, self.size, *images.shape[1:]))

    def norms(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the Euclidean norm (S,) of each network's part of some tensors."""
        parts = [self._parts(tensor) for tensor in tensors]
        norms = [torch.linalg.vector_norm(part, dim=tuple(range(1, part.ndim))) for part in parts]
        return torch.stack(norms).norm(dim=0)

    def scaled(self, tensor: Tensor, factors: Tensor) -> Tensor:
        """Return a tensor of which each network's part is multiplied by one of factors (S,)."""
        parts = self._parts(tensor)
        return (parts * factors.view(-1, *[1] * (parts.ndim - 1))).view_as(tensor)

    def state(self, index: int) -> dict[str, Tensor]:
        """Return the state of one of the networks, copied to the CPU."""
        return {
            name: value.cpu().clone(memory_format=torch.contiguous_format)
            for name, value in self._state(index).items()
        }

    def network(self, index: int) -> nn.Module:
        """Return one of the networks as it is now; good until the next is asked for."""
        if self.size > 1:
            self._one.load_state_dict(self._state(index))
        return self._one

    def not_finite(self) -> list[str | None]:
        """Return for each network the name of a tensor with a value that is not finite, if any."""
        state = self.model.state_dict()
        if self.size > 1:  # a count of batches is one for all
            state = {name: value for name, value in state.items() if value.ndim}
        finite = [value.reshape(self.size, -1).isfinite().all(dim=1) for value in state.values()]
        columns = torch.stack(finite, dim=1).tolist()  # one wait for the device
        return [
            next((name for name, good in zip(state, column, strict=True) if not good), None)
            for column in columns
        ]

    def _parts(self, tensor: Tensor) -> Tensor:
        """View a tensor (S * n, ...) as (S, n, ...); one of a single number has no dimension."""
        return tensor.reshape(self.size, -1, *tensor.shape[1:])

    def _state(self, index: int) -> dict[str, Tensor]:
        return {
            # A count of batches is one for all.
            name: value.detach().reshape(self.size, *self._shapes[name])[index]
            if value.ndim
            else value
            for name, value in self.model.state_dict().items()
        }


def stack(networks: Sequence[nn.Module], images: Tensor) -> Stack:
    """Stack networks, after trying on a few images that this leaves their outputs as they are.

    Parameters
    ----------
    networks : sequence of nn.Module
        One becomes the stack; several are copied, and the first serves :meth:`Stack.network`.
    images : Tensor
        (N, ...), of which a few are used.

    Raises
    ------
    NotStackableError
        If a layer is of another kind, or shares its weights; if the model draws random numbers
        (dropout), mixes channels outside its layers (concatenation), or does anything else whose
        stack differs from it.
    """
    if len(networks) == 1:
        return Stack(networks)
    twins = copy.deepcopy(list(networks))
    trial = Stack(twins)
    sample = images[:SAMPLES]
    # Evaluation after training mode: what the first did to running statistics counts too.
    for training in (True, False):
        for model in (trial.model, *twins):
            model.train(training)
        with torch.no_grad():
            expected = torch.stack([model(sample) for model in twins])
            try:
                logits = trial.shared(sample)
            except Exception as error:  # whatever a layer raises that counts its channels
                line = str(error).partition("\n")[0]
                raise NotStackableError(f"its layers do not fit together ({line})") from error
        if logits.shape != expected.shape or not (
            (logits - expected).abs().max() <= TOLERANCE * expected.abs().max()
        ):
            raise NotStackableError("the stack's outputs differ from the networks'")
    return Stack(networks)
