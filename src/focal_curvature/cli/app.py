"""Commands, their options and their help. What they do is in a file each, imported when called."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

# What bad input raises: the message is enough.
EXPECTED = (ValueError, OSError, FloatingPointError, MemoryError)

app = typer.Typer(
    name="focal-curvature",
    help="Curvature of a network's loss, and the calibration of its predictions.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def command(example: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add a command whose help ends with an example, and whose mistakes are a line."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def told(*args: Any, **keywords: Any) -> None:
            # Factories and data of the user's own are looked for beside where they work.
            if (here := str(Path.cwd())) not in sys.path:
                sys.path.insert(0, here)
            try:
                function(*args, **keywords)
            except EXPECTED as error:
                print(f"{function.__name__}: {error}", file=sys.stderr)
                raise typer.Exit(2) from None
            except ModuleNotFoundError as error:
                from focal_curvature.cli import EXTRA

                print(f"needs {error.name}: pip install '{EXTRA}'", file=sys.stderr)
                raise typer.Exit(2) from None

        return app.command(epilog=f"Example: {example}", no_args_is_help=True)(told)

    return add


@command(
    "focal-curvature measure mine:build --weights model.pt --data test.npz "
    "--loss cross_entropy --output curvature.json"
)
def measure(
    model: Annotated[
        str,
        typer.Argument(help="Factory, package.module:function, or the name of a model of ours."),
    ],
    data: Annotated[
        str,
        typer.Option(
            help="File .npz with arrays inputs and targets, or package.module:function that "
            "returns batches (inputs, targets)."
        ),
    ],
    weights: Annotated[
        Path | None, typer.Option(help="State dictionary; left out: as the factory makes it.")
    ] = None,
    arguments: Annotated[
        str, typer.Option(help="Of the factory, as a mapping: '{classes: 10, width: 8}'.")
    ] = "{}",
    loss: Annotated[
        str,
        typer.Option(
            help="cross_entropy, binary_cross_entropy, mse, a loss of ours with its parameters "
            "(focal:gamma=2), or package.module:function."
        ),
    ] = "cross_entropy",
    output: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
    k: Annotated[int, typer.Option(min=1, help="Largest eigenvalues.")] = 1,
    parameters: Annotated[
        list[str] | None,
        typer.Option(help="Names of parameters or of layers; left out: all that are trained."),
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1.")] = None,
    chunk: Annotated[
        int, typer.Option(min=1, help="Samples held at a time: bounds memory.")
    ] = 1024,
    seed: Annotated[int, typer.Option(help="Of the random probes.")] = 0,
) -> None:
    """Measure the Hessian of a network's mean loss: eigenvalues, trace, trace by layer."""
    from focal_curvature.cli.measure import run

    options = {"k": k, "dtype": dtype, "device": device, "chunk": chunk, "seed": seed}
    run(model, data, weights, arguments, loss, output, {**options, "parameters": parameters})


@command(
    "focal-curvature score logits.npz --bins 15 --output scores.json --diagram reliability.pdf"
)
def score(
    file: Annotated[
        Path,
        typer.Argument(
            help=".npz with arrays logits (N, K) and labels (N,), and validation_logits and "
            "validation_labels or --validation; a run's logits.npz is one."
        ),
    ],
    validation: Annotated[
        Path | None,
        typer.Option(help=".npz with logits and labels to recalibrate on."),
    ] = None,
    bins: Annotated[int, typer.Option(min=1, help="Equal-width bins.")] = 15,
    gamma: Annotated[
        float | None, typer.Option(help="Of the focal loss trained with: its Psi is undone.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the noise floor and of the halves.")] = 0,
    output: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
    diagram: Annotated[
        Path | None, typer.Option(help="Reliability diagram to draw, .pdf or .png.")
    ] = None,
) -> None:
    """Score predictions before and after recalibration.

    Without validation data a random half is recalibrated on and the other half scored.
    """
    from focal_curvature.cli.score import run

    run(file, validation, bins, gamma, seed, output, diagram)


@command("focal-curvature verify paper_figures/digits")
def verify(
    folder: Annotated[Path, typer.Argument(help="Of the fresh run: paper_figures/<experiment>.")],
    reference: Annotated[
        Path | None, typer.Option(help="Folder to compare with; left out: the last commit's.")
    ] = None,
) -> None:
    """Compare a run with the committed one, verdict by verdict and number by number.

    Ends with status 1 where it does not agree.
    """
    from focal_curvature import verification

    if reference:
        other = verification.read(reference)
        comparison = verification.compare(other, verification.read(folder))
    else:
        comparison = verification.against_commit(folder)
    print(verification.printed(comparison))
    if not comparison.agrees:
        raise typer.Exit(1)


@command("focal-curvature new config/flowers.yaml --source data/flowers --size 32 --epochs 60")
def new(
    file: Annotated[Path, typer.Argument(help="To write; its name is the experiment's.")],
    source: Annotated[
        Path, typer.Option(help="Your images: train/<class>/*, test/<class>/*, or an archive.")
    ],
    size: Annotated[int, typer.Option(help="Side in pixels that images are resized to.")],
    model: Annotated[
        list[str] | None, typer.Option(help="One of ours; may be repeated.  [small_resnet]")
    ] = None,
    gamma: Annotated[
        list[float] | None, typer.Option(help="May be repeated.  [0, 1, 2, 5]")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many.")] = 5,
    epochs: Annotated[int, typer.Option(min=1)] = 60,
    train: Annotated[int | None, typer.Option(help="Training images; left out: all.")] = None,
    validation: Annotated[int, typer.Option(help="Images held out from training.")] = 500,
) -> None:
    """Write a configuration for data of your own, and say what it will cost."""
    from focal_curvature.cli.new import run

    models, gammas = model or ["small_resnet"], gamma or [0, 1, 2, 5]
    run(file, source, size, models, gammas, seeds, epochs, train, validation)
