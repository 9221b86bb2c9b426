"""``focal-curvature measure``: the curvature of a model from files."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from focal_curvature import registry
from focal_curvature.cli.files import arrays, mapping
from focal_curvature.curvature import measure


def run(
    model: str,
    data: str,
    weights: Path | None,
    arguments: str,
    loss: str,
    output: Path | None,
    options: dict[str, Any],
) -> None:
    """Measure, print a table, and write JSON where asked to."""
    network = _network(model, mapping("--arguments", arguments), weights)
    _require_usable(options["device"])
    result = measure(network, _data(data), _loss(loss), **options)
    print(result)
    if output:
        from focal_curvature.files import write_json

        write_json(output, {"model": model, "loss": loss, "data": data, **result.to_dict()})


def _require_usable(device: str | None) -> None:
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:  # the latter where torch is without CUDA
        raise ValueError(
            f"--device: {device!r} cannot be used here: give cpu, or a GPU as cuda:1"
        ) from error


def _made(kind: str, path: str, arguments: dict[str, Any]) -> Any:
    """Call a factory; a failure of its own is told in a line."""
    try:
        return registry.resolve(path)(**arguments)
    except Exception as error:  # the user's code may raise anything
        raise ValueError(f"{kind} {path}: {error}") from error


def _network(name: str, arguments: dict[str, Any], weights: Path | None) -> nn.Module:
    model = _made("model", registry.import_path("models", name), arguments)
    if not isinstance(model, nn.Module):
        raise ValueError(f"model {name}: returns a {type(model).__name__}, not an nn.Module")
    if weights:
        model.load_state_dict(fitting(_state(weights), model, weights))
    return model.eval()


def _state(file: Path) -> Any:
    from focal_curvature.weights import load_weights

    try:
        state: Any = load_weights(file)
    except ValueError as error:
        what = (
            "is a pickled model"
            if isinstance(error.__cause__, pickle.UnpicklingError)
            else "is no file of weights, or not a whole one"
        )
        raise ValueError(f"{file}: {what}: save model.state_dict() with torch.save") from error
    for key in ("state_dict", "model", "model_state_dict"):  # of checkpoints
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    return state


def fitting(state: Any, model: nn.Module, file: Path) -> dict[str, Tensor]:
    """Return weights that fit a model.

    Raises
    ------
    ValueError
        In a line: which are missing, unknown, or of another shape.
    """
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{file}: holds no state dictionary: write torch.save(model.state_dict())")
    wanted = model.state_dict()
    problems = [f"{name} is missing" for name in wanted if name not in state]
    problems += [f"{name} is not of this model" for name in state if name not in wanted]
    problems += [
        f"{name} is {tuple(state[name].shape)}, the model's {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in state and state[name].shape != value.shape
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ValueError(
            f"{file}: {problems[0]}{more}: give the factory that these weights were trained with, "
            "by --arguments"
        )
    return state


def _data(place: str) -> tuple[Tensor, Tensor] | Iterable[Any]:
    if ":" in place and not Path(place).exists():
        return _made("data", place, {})
    file = Path(place)
    content = arrays(file)
    inputs = next((content[name] for name in ("inputs", "images", "x") if name in content), None)
    targets = next((content[name] for name in ("targets", "labels", "y") if name in content), None)
    if inputs is None or targets is None:
        raise ValueError(f"{file}: holds {', '.join(content)}: needs arrays inputs and targets")
    if inputs.dtype == np.uint8:
        raise ValueError(
            f"{file}: inputs are uint8: store them as the model was trained on them, as float32"
        )
    return torch.from_numpy(inputs), torch.from_numpy(targets)


def _loss(text: str) -> str | nn.Module:
    """Build the loss that ``name`` or ``name:parameter=value,...`` stands for."""
    name, _, rest = text.partition(":")
    known = registry.names("losses")
    if name in known:
        pairs = dict(pair.partition("=")[::2] for pair in rest.split(",") if pair)
        return _made("loss", known[name], {k: yaml.safe_load(v) for k, v in pairs.items()})
    return _made("loss", text, {}) if rest else text
