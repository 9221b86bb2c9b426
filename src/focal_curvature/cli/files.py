"""What commands read."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray


def arrays(file: Path) -> dict[str, NDArray[Any]]:
    """Return all arrays of an .npz file; pickled objects are refused.

    Raises
    ------
    ValueError
        If it is no such file. The message names it.
    """
    try:
        with np.load(file, allow_pickle=False) as held:
            if not hasattr(held, "files"):
                raise ValueError("a single array")
            return {name: held[name] for name in held.files}
    except (ValueError, zipfile.BadZipFile) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{file}: not an .npz file of arrays ({reason})") from error


def mapping(option: str, text: str) -> dict[str, Any]:
    """Return a mapping given as YAML or JSON on the command line.

    Raises
    ------
    ValueError
        If it is none, or has a key twice.
    """
    from focal_curvature.config import ConfigError, once

    try:
        value = yaml.safe_load(once(text))
    except yaml.YAMLError:
        value = None
    except ConfigError as error:
        raise ValueError(f"{option}: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{option}: {text!r} is not a mapping such as '{{classes: 10}}'")
    return value
