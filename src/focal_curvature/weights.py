"""Weights and checkpoints on disk: atomic, the same bytes for the same content, never a pickle."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from focal_curvature.files import REMEDY, write_atomically

logger = logging.getLogger(__name__)


def save_weights(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values with ``torch.save``, through memory.

    A file name given to ``torch.save`` becomes part of its bytes; a buffer's does not.
    """
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    with write_atomically(path) as stream:
        stream.write(buffer.getbuffer())


def load_weights(path: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Read what :func:`save_weights` wrote; nothing but tensors and plain values is accepted.

    Raises
    ------
    ValueError
        If the file is damaged or holds anything else.
    """
    try:
        # torch.load itself does not look at the checksums in the file.
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} is damaged")
        return torch.load(path, map_location=device, weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch raises whatever its zip reader or unpickler stumbles over
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{path}: cannot be read ({reason}): {REMEDY}") from error


def load_checkpoint(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """Read a checkpoint, or return None if there is none, or it is damaged or another run's.

    Parameters
    ----------
    path : Path
        Where a killed run may have left one.
    fingerprint : str
        Of everything that decides the run; a checkpoint with another one is not used.
    """
    try:
        checkpoint = load_weights(path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        logger.warning("%s: training starts anew", str(error).removesuffix(f": {REMEDY}"))
        return None
    return checkpoint if checkpoint.get("fingerprint") == fingerprint else None
