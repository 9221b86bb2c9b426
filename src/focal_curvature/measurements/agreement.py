"""Whether a run's records are of the settings that they are gathered for.

Snakemake knows what files were made with by its own notes, which results that are unpacked from
elsewhere, or that outlived them, have not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from focal_curvature.runs import RunSpec
from focal_curvature.settings import read
from focal_curvature.settings.curvature import Curvature


def require_configured(
    spec: RunSpec,
    config: Mapping[str, Any],
    run: Mapping[str, Any],
    calibration: Mapping[str, Any],
    curvatures: Mapping[str, Mapping[str, Any]],
) -> None:
    """Hold a run's records against the configuration.

    What older records lack is not compared.

    Parameters
    ----------
    spec : RunSpec
        Of the run, as configured.
    config : mapping
        A complete configuration.
    run, calibration : mapping
        Content of ``run.json`` and ``calibration.json``.
    curvatures : mapping
        Of what -> content of ``curvature/<what>.json``.

    Raises
    ------
    ValueError
        Names the file and the settings that are others, or that the measured weights are.
    """
    measured = asdict(read(Curvature, config["curvature"]))
    asked = {
        "run.json": (run["spec"], spec.to_dict()),
        "calibration.json": (calibration, {"bins": config["calibration"]["bins"]}),
    }
    weights = run["sha256"]["model.pt"]
    for what, record in curvatures.items():
        file = f"curvature/{what}.json"
        found = {key: record[key] for key in ("split",) if key in record}
        asked[file] = (found | record.get("settings", {}), measured)
        if record.get("weights_sha256", weights) != weights:
            raise ValueError(f"{spec.folder}/{file}: is of other weights than model.pt: delete it")
    for file, (found, wanted) in asked.items():
        if others := [*_others(found, json.loads(json.dumps(wanted)))]:
            raise ValueError(
                f"{spec.folder}/{file}: was made with {', '.join(others)}: delete it to make it "
                "anew, or give the experiment another name"
            )


def _others(found: Mapping[str, Any], wanted: Mapping[str, Any], place: str = "") -> Iterator[str]:
    for key in found.keys() & wanted.keys():
        one, other = found[key], wanted[key]
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _others(one, other, f"{place}{key}.")
        elif one != other:
            yield f"{place}{key} {one!r} in place of {other!r}"
