"""How a run is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from focal_curvature.settings import option


@dataclass(frozen=True)
class Training:
    """Stochastic gradient descent."""

    epochs: int = option(
        about="passes over the training split", choose="passes over the training split", minimum=1
    )
    batch_size: int = option(
        about="images per step",
        choose="images per step; batches are as equal as possible, none is dropped",
        minimum=1,
    )
    learning_rate: float = option(
        about="peak step size", choose="of the first step", exclusiveMinimum=0
    )
    momentum: float = option(0.9, choose="of the steps", minimum=0, exclusiveMaximum=1)
    nesterov: bool = option(False, choose="Nesterov's momentum")
    optimizer: Literal["sgd", "adam", "adamw"] = option(
        "sgd",
        choose="`sgd`, `adam`, or `adamw`, which decays weights apart from the gradient; momentum "
        "is sgd's, `beta1`, `beta2` and `epsilon` the others'",
    )
    beta1: float = option(0.9, choose="of adam and adamw", minimum=0, exclusiveMaximum=1)
    beta2: float = option(0.999, choose="of adam and adamw", minimum=0, exclusiveMaximum=1)
    epsilon: float = option(1e-8, choose="of adam and adamw", exclusiveMinimum=0)
    weight_decay: float = option(
        0, choose="added to the gradient, times the weights: the L2 penalty", minimum=0
    )
    schedule: Literal["constant", "cosine", "step"] = option(
        "cosine",
        about="cosine decays to zero by step; step multiplies at each milestone",
        choose="`cosine` to zero; `step` multiplies by `factor` after each of `milestones`; "
        "`constant`",
    )
    milestones: list[int] = option(
        [],
        about="epochs after which the step schedule multiplies",
        choose="epochs after which the step schedule multiplies",
        items={"type": "integer", "minimum": 1},
    )
    factor: float = option(
        0.1,
        about="what it multiplies by",
        choose="what the step schedule multiplies by",
        exclusiveMinimum=0,
        maximum=1,
    )
    reduction: Literal["mean", "sum"] = option(
        "mean",
        about="over the batch; sum, with clip_norm, is how Mukhoti et al. 2020 trained",
        choose="over the batch. Mukhoti et al. 2020 trained with `sum` and a gradient norm of at "
        "most 2, which ties gamma to the step size (`cifar10.yaml` says how): selectable, to stand "
        "beside their numbers",
    )
    clip_norm: float | None = option(
        None,
        about="largest norm of the gradient, or null",
        choose="largest norm of the gradient; `null`: unclipped",
        exclusiveMinimum=0,
    )
    augmentation: Literal["none", "crop", "crop-flip"] = option(
        "none",
        about="of the training images",
        choose="of the training images; `crop` pads an eighth on each side",
    )
    stacked: bool = option(
        False,
        about="whether all seeds of a cell are trained as one; needs jobs.train cell",
        choose="`true` trains all seeds of a cell as one network of so many times the channels: "
        "two to three times as fast for small networks on small images, no use for large ones. "
        "Needs `jobs: {train: cell}`. A run agrees with the same run trained alone up to rounding, "
        "which training amplifies. Models with dropout, layer norm or concatenated channels are "
        "trained one seed after the other, and the log says so",
    )
    precision: Literal["float32", "bfloat16"] = option(
        "float32",
        about="of a training step's forward and backward pass; weights and evaluation are float32",
        choose="`bfloat16`: the forward and backward pass of a training step in mixed precision "
        "(`torch.autocast`), for processors and GPUs with instructions for it. Weights, optimiser, "
        "batch norm's statistics and the loss stay in float32, and so do evaluation, logits and "
        "curvature. Another run than a float32 one, not a faster copy of it. With a regulariser, "
        "only where it has `every`: its steps stay in float32, those between are mixed",
    )
    compile: bool = option(
        False,
        about="whether torch.compile makes the training step's network; needs a C++ compiler",
        choose="`true` has `torch.compile` make the training step's network: minutes at the start, "
        "at most twice per job, for faster steps of large networks on a GPU. Needs a C++ compiler "
        "(on a GPU also Triton, which comes with torch). The last bits depend on what the compiler "
        "makes, and so on its version. With a regulariser, as `precision`",
    )
    evaluate_every: int = option(
        1,
        about="epochs between rows of history.csv",
        choose="epochs between rows of `history.csv`",
        minimum=1,
    )
    trace_samples: int | None = option(
        None,
        about="training images that a regularised run's history has both traces on, or null",
        choose="`null`: none. How many training images (a fixed stratified draw) a regularised "
        "run's `history.csv` has the traces of the Hessian and the Gauss-Newton matrix on, in "
        "evaluation mode, at evaluated epochs: `trace_hessian`, `trace_gauss_newton`. "
        "`penalised_trace` is there in any case: the penalty's own estimates, averaged over the "
        "epoch's steps, with batch norm in training mode, where it may be negative. An evaluation "
        "on 64 digits costs as much as an epoch or two of training. Plain runs are left as they "
        "are",
        minimum=1,
    )
