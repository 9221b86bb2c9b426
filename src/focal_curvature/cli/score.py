"""``focal-curvature score``: calibration from a file of logits and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focal_curvature.calibration import Calibration
from focal_curvature.calibration import score as scored
from focal_curvature.cli.files import arrays
from focal_curvature.files import write_atomically, write_json

Pair = tuple[NDArray[Any], NDArray[Any]]


def run(
    file: Path,
    validation: Path | None,
    bins: int,
    gamma: float | None,
    seed: int,
    output: Path | None,
    diagram: Path | None,
) -> None:
    """Score, print a table, write JSON and draw where asked to."""
    if diagram and diagram.suffix not in (".pdf", ".png"):
        raise ValueError(f"--diagram: {diagram.name} is neither .pdf nor .png")
    test, held_out, origin = _split(file, validation, seed)
    try:
        result = scored(*test, *held_out, bins=bins, gamma=gamma, seed=seed)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    print(table(result, origin))
    if output:
        rows = [dict(row) for row in result.reliability]
        write_json(output, {"recalibrated_on": origin, **result.to_dict(), "reliability": rows})
    if diagram:
        draw(result, diagram)


def _split(file: Path, validation: Path | None, seed: int) -> tuple[Pair, Pair, str]:
    """Return test and validation predictions, and what the latter are."""
    content = arrays(file)
    test = _pair(file, content, ("test_", ""))
    if validation:
        return test, _pair(validation, arrays(validation), ("", "validation_")), str(validation)
    if "validation_logits" in content:
        return test, _pair(file, content, ("validation_",)), "the file's validation part"
    if len(test[1]) < 2:
        raise ValueError(f"{file}: {len(test[1])} samples are too few to split: give --validation")
    order = np.random.default_rng(seed).permutation(len(test[1]))
    first, second = np.array_split(order, 2)
    halves = [(test[0][part], test[1][part]) for part in (first, second)]
    return halves[0], halves[1], "a random half; the other half is scored"


def _pair(file: Path, content: dict[str, NDArray[Any]], prefixes: tuple[str, ...]) -> Pair:
    for prefix in prefixes:
        if f"{prefix}logits" in content:
            if f"{prefix}labels" not in content:
                raise ValueError(f"{file}: has {prefix}logits and no {prefix}labels")
            logits, labels = content[f"{prefix}logits"], content[f"{prefix}labels"]
            if labels.shape != logits.shape[:1]:
                raise ValueError(
                    f"{file}: logits {logits.shape} and labels {labels.shape} do not fit: "
                    "(N, K) and (N,) are needed"
                )
            return logits, labels
    raise ValueError(f"{file}: holds {', '.join(content)}: needs arrays logits and labels")


def table(result: Calibration, origin: str) -> str:
    """Return the scores of all variants side by side."""
    record = result.to_dict()
    variants = {name: value for name, value in record.items() if _is_scores(value)}
    lines = [
        f"{result.samples:,} samples, {result.classes} classes, {result.bins} bins; "
        f"temperature {result.temperature:.3f}, fitted on {result.validation_samples:,} "
        f"samples ({origin})",
        f"{'':28}" + "".join(f"{name:>12}" for name in variants),
    ]
    for name in next(iter(variants.values())):
        numbers = (scores[name] for scores in variants.values())
        lines.append(f"{name.replace('_', ' '):28}" + "".join(f"{n:12.4f}" for n in numbers))
    return "\n".join(lines)


def _is_scores(value: Any) -> bool:
    return isinstance(value, dict) and "ece" in value


def draw(result: Calibration, file: Path) -> None:
    """Draw confidence against accuracy by bin; the area of a dot is its share of the samples."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib.figure import Figure

    from focal_curvature import plotting

    with mpl.rc_context(fname=Path(plotting.__file__).with_name("matplotlibrc")):
        figure = Figure(figsize=(3.5, 3.5))
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="0.6", lw=0.6, zorder=0)
        for variant in dict.fromkeys(row["variant"] for row in result.reliability):
            rows: list[Any] = [
                r for r in result.reliability if r["variant"] == variant and r["count"]
            ]
            axes.scatter(
                [row["confidence"] for row in rows],
                [row["accuracy"] for row in rows],
                s=[4 + 80 * row["count"] / result.samples for row in rows],
                alpha=0.8,
                lw=0,
                label=variant,
            )
        axes.set(xlabel="confidence", ylabel="accuracy", aspect="equal", xlim=(0, 1), ylim=(0, 1))
        axes.legend()
        with write_atomically(file) as stream:
            figure.savefig(stream, format=file.suffix[1:])
